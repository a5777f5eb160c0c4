"""The kernel of `fused_cross_entropy.py`: one program a row, which goes through it in blocks, twice."""

import triton
import triton.language as tl


@triton.jit
def of_a_row(logits, stride, targets, losses, V, ignored, BLOCK: tl.constexpr = 8192):
    """The sum of exponentials is rescaled whenever a larger logit comes, as in online softmax."""
    row = tl.program_id(0).to(tl.int64)
    place, target = logits + row * stride, tl.load(targets + row)
    columns = tl.arange(0, BLOCK)
    most, total = -float("inf"), 0.0
    for start in range(0, V, BLOCK):
        x = tl.load(place + start + columns, mask=start + columns < V, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(most, tl.max(x, 0))
        total = total * tl.exp(most - larger) + tl.sum(tl.exp(x - larger), 0)
        most = larger
    log_z = most + tl.log(total)
    counts = target != ignored
    own = tl.load(place + tl.where(counts, target, 0)).to(tl.float32)
    tl.store(losses + row, tl.where(counts, log_z - own, 0.0))
    tl.debug_barrier()  # every thread has read what is written over now
    for start in range(0, V, BLOCK):
        inside = start + columns < V
        x = tl.load(place + start + columns, mask=inside, other=-float("inf")).to(tl.float32)
        gradient = tl.exp(x - log_z) - tl.where(start + columns == target, 1.0, 0.0)
        tl.store(place + start + columns, tl.where(counts, gradient, 0.0), mask=inside)
