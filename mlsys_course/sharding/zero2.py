"""ZeRO 2: a bucket's gradients are scattered as soon as backward has them all, and then freed."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..all_reduce import all_gather
from ..substrate.ranks import Communicator
from .shards import write_back
from .zero1 import MakeOptimizer, mean_gradient, own_shard


def zero2_step(
    buckets: Sequence[Sequence[Tensor]],
    backward: Callable[[], Any],
    make_optimizer: MakeOptimizer,
    comm: Communicator,
    state: Any = None,
) -> Any:
    """``zero1_step``, of which ``backward()`` is a part, and no rank ever holds the whole gradient.

    Each bucket is a list of parameters of one dtype; buckets leave in their order, on every rank alike. ``state`` as in
    ``zero1_step``. A rank holds its part of each bucket's gradient, and whole those that have not left.
    Source: Rajbhandari et al. 2020, section 5.2. Lab 11, exercise ``zero2_step``.
    """
    if state is None:
        shards = [own_shard(bucket, comm) for bucket in buckets]
        state = shards, make_optimizer(shards)
    shards, optimizer = state
    scatter_during(backward, buckets, shards, comm)
    optimizer.step()
    for bucket, shard in zip(buckets, shards, strict=True):
        shard.grad = None
        write_back(torch.cat(all_gather(shard.detach(), comm)), bucket)
    return state


def scatter_during(
    backward: Callable[[], Any], buckets: Sequence[Sequence[Tensor]], shards: Sequence[Tensor], comm: Communicator
) -> None:
    """Run backward; each shard's .grad is this rank's part of its bucket's mean gradient."""
    missing = [set(bucket) for bucket in buckets]
    home = {p: k for k, bucket in enumerate(buckets) for p in bucket}
    waiting = deque(range(len(buckets)))

    def scatter_whole() -> None:
        while waiting and not missing[waiting[0]]:
            k = waiting.popleft()
            shards[k].grad = mean_gradient(buckets[k], comm)

    def ready(p: Tensor) -> None:
        missing[home[p]].discard(p)
        scatter_whole()

    hooks = [p.register_post_accumulate_grad_hook(ready) for p in home]
    try:
        backward()
    finally:
        for hook in hooks:
            hook.remove()
    for bucket in missing:  # what no gradient came for counts as zeros
        bucket.clear()
    scatter_whole()
