"""Lab 11, sealed: misconceptions about the steps of ZeRO 1, 2 and 3."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import sharding as S
from mlsys_course.all_reduce import all_gather, all_reduce, reduce_scatter
from mlsys_course.sharding.shards import flat_padded, pieces_of, write_back
from mlsys_course.sharding.zero1 import mean_gradient, summed_gradient
from mlsys_course.sharding.zero3 import gathered


def cut(flat, comm):
    """This rank's part."""
    return flat.chunk(comm.world_size)[comm.rank].clone()


# ---- ZeRO 1 ----------------------------------------------------------------------------------------------------------


def everything_everywhere(parameters, make_optimizer, comm, state=None):
    """Gradients are scattered and gathered again; each rank steps all parameters, with all states."""
    if state is None:
        whole = flat_padded(parameters, comm.world_size).requires_grad_()
        state = whole, make_optimizer([whole])
    whole, optimizer = state
    whole.grad = torch.cat(all_gather(mean_gradient(parameters, comm), comm))
    optimizer.step()
    whole.grad = None
    write_back(whole, parameters)
    return state


def reduced_twice(parameters, comm):
    """All-reduced, then scattered."""
    for p in parameters:
        p.grad = all_reduce(torch.zeros_like(p) if p.grad is None else p.grad, comm) / comm.world_size
    return mean_gradient(parameters, comm)


def reduced_and_cut(parameters, comm):
    """All-reduced, of which each rank takes its part."""
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
    total = all_reduce(flat_padded(gradients, comm.world_size), comm)
    for p in parameters:
        p.grad = None
    return cut(total, comm) / comm.world_size


def not_reduced(parameters, comm):
    """This rank's part of its own gradient."""
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
    own = flat_padded(gradients, comm.world_size)
    for p in parameters:
        p.grad = None
    return cut(own, comm)


def summed(parameters, comm):
    return mean_gradient(parameters, comm) * comm.world_size


def kept_grad(parameters, comm):
    own = [p.grad for p in parameters]
    found = mean_gradient(parameters, comm)
    for p, grad in zip(parameters, own, strict=True):
        p.grad = grad
    return found


SCATTERED = "shard.grad = mean_gradient(parameters, comm)"
GATHERED = "write_back(torch.cat(all_gather(shard.detach(), comm)), parameters)"

mistake = wrong(S.zero1_step)
ZERO1 = [
    Misconception("every rank keeps all states", everything_everywhere,
        "Your parameters are right, and a rank holds as much as without sharding. Which tensors is make_optimizer "
        "called with, and how long are they?"),
    mistake("gradients are reduced twice",
        "Half as many bytes again as needed, or more. How often is each gradient summed over the ranks, and does a "
        "rank need the sum of what is not its part?", mean_gradient=reduced_twice),
    mistake("all-reduced and cut",
        "An all-reduce is a reduce-scatter and an all-gather. Which of the two does a rank need that steps its own "
        "part only?", mean_gradient=reduced_and_cut),
    mistake("a sum for the mean", "With one rank your step is right. Whose gradients are in the sum, and how many?",
        mean_gradient=summed),
    mistake("not reduced", "A rank steps its part by its own examples only. What do the others know of that part?",
        mean_gradient=not_reduced),
    mistake("a new optimizer in each step",
        "The first step is right. What does an optimizer with a memory remember in the second?",
        "if state is None:", "if True:"),
    mistake("the others' parts stay as they were",
        "Compare the ranks' parameters after a step. Who tells a rank what became of the other parts?",
        GATHERED, "write_back(torch.cat([shard.detach() if r == comm.rank else x for r, x in enumerate("
        "flat_padded(parameters, comm.world_size).chunk(comm.world_size))]), parameters)"),
    mistake("gradients stay", "After the step, which parameters still have a gradient?", mean_gradient=kept_grad),
]  # fmt: skip


# ---- mixed precision -------------------------------------------------------------------------------------------------


def wide_sum(parameters, comm):
    """Gradients are widened before they travel."""
    own = [(torch.zeros_like(p) if p.grad is None else p.grad).float() for p in parameters]
    for p in parameters:
        p.grad = None
    return reduce_scatter(flat_padded(own, comm.world_size), comm)


def kept_sum(parameters, comm):
    own = [p.grad for p in parameters]
    found = summed_gradient(parameters, comm)
    for p, grad in zip(parameters, own, strict=True):
        p.grad = grad
    return found


WIDE = "Half as many bytes again as needed. Two things travel in a step: of which dtype is each when it leaves?"
SUMMED = "summed_gradient(parameters, comm).float() / comm.world_size"
mistake = wrong(S.mixed_zero1_step)
MIXED = [
    mistake("the optimizer works on 16 bits",
        "A parameter near 4 in bfloat16 and a step of 0.01: which is the next number that it can become? Who "
        "remembers what is left?", ".detach().float().requires_grad_()", ".detach().requires_grad_()",
        SUMMED, "summed_gradient(parameters, comm) / comm.world_size"),
    mistake("gradients travel in float32", WIDE, summed_gradient=wide_sum),
    mistake("everything travels in float32",
        "Twice as many bytes as needed: you send what is wide. When are gradients widened, when are masters rounded?",
        "rounded = master.detach().to(parameters[0].dtype)", "rounded = master.detach()", summed_gradient=wide_sum),
    mistake("a sum for the mean", "With one rank your step is right. Whose gradients are in the sum, and how many?",
        SUMMED, "summed_gradient(parameters, comm).float()"),
    mistake("gradients stay", "After the step, which parameters still have a gradient?", summed_gradient=kept_sum),
]  # fmt: skip


# ---- ZeRO 2 ----------------------------------------------------------------------------------------------------------


def at_the_end(backward, buckets, shards, comm):
    """Backward to its end; then bucket by bucket."""
    backward()
    for bucket, shard in zip(buckets, shards, strict=True):
        shard.grad = mean_gradient(bucket, comm)


CLEARED = "        bucket.clear()"
mistake = wrong(S.zero2_step)
ZERO2 = [
    mistake("gradients are whole until backward ends",
        "Your weights are right, and a rank holds a gradient of the whole model. At which moment could the first "
        "bucket have left?", scatter_during=at_the_end),
    mistake("gradients are reduced twice",
        "More bytes than needed. How often is each bucket summed over the ranks, and does a rank need the sum of what "
        "is not its part?", mean_gradient=reduced_twice),
    mistake("all-reduced and cut",
        "An all-reduce is a reduce-scatter and an all-gather. Which of the two does a rank need that steps its own "
        "part only?", mean_gradient=reduced_and_cut),
    mistake("a sum for the mean", "With one rank your step is right. Whose gradients are in the sum, and how many?",
        mean_gradient=summed),
    mistake("not reduced", "A rank steps its part by its own examples only. What do the others know of that part?",
        mean_gradient=not_reduced),
    mistake("a bucket that is not full never leaves",
        "No hook is called for a weight that backward does not reach. Who sends its bucket, and when?",
        CLEARED, "        pass"),
    mistake("a new optimizer in each step",
        "The first step is right. What does an optimizer with a memory remember in the second?",
        "if state is None:", "if True:"),
    mistake("gradients stay", "After the step, which weights still have a gradient?", mean_gradient=kept_grad),
]  # fmt: skip


# ---- ZeRO 3 ----------------------------------------------------------------------------------------------------------


class Gather(torch.autograd.Function):
    """All-gather forward, reduce-scatter backward, and nothing about who keeps what."""

    @staticmethod
    def forward(ctx, shard, comm, reduce):
        ctx.comm, ctx.reduce = comm, reduce
        return torch.cat(all_gather(shard.detach(), comm))

    @staticmethod
    def backward(ctx, *grad_outputs):
        return ctx.reduce(*grad_outputs, ctx.comm), None, None


def mean_part(grad, comm):
    return reduce_scatter(grad, comm) / comm.world_size


def never_freed(layer, shard, shapes, x, comm):
    """What autograd saves for backward are the whole weights."""
    if shard.numel() != S.shard_size(sum(torch.Size(shape).numel() for shape in shapes), comm.world_size):
        raise ValueError("a shard of another size")
    return layer(x, pieces_of(Gather.apply(shard, comm, mean_part), shapes))


def summed_part(flat, comm):
    return reduce_scatter(flat, comm) * comm.world_size


def all_reduced_part(flat, comm):
    return cut(all_reduce(flat, comm), comm)


def own_part(flat, comm):
    return cut(flat, comm) * comm.world_size


def gathered_twice(shard, shapes, comm):
    """Once for each use of what it returns, as who gathers weight and bias one after the other from all parts."""
    gathered(shard, shapes, comm)
    return gathered(shard, shapes, comm)


FROZEN = "        if not of_shard:\n            return None, None, None, None, x_grad\n"

mistake = wrong(S.zero3_layer)
ZERO3 = [
    Misconception("gathered weights are never freed", never_freed,
        "Your gradients are right, and after forward a rank holds all layers whole. What does autograd save of a "
        "product for backward?"),
    mistake("a sum for the mean", "With one rank your gradients are right. Whose are in the sum, and how many?",
        reduce_scatter=summed_part),
    mistake("all-reduced and cut",
        "An all-reduce is a reduce-scatter and an all-gather. Which of the two does a rank need that keeps its own "
        "part only?", reduce_scatter=all_reduced_part),
    mistake("not reduced", "A shard's gradient comes from one rank's examples only. What do the others know of it?",
        reduce_scatter=own_part),
    mistake("gathered twice", "Count the all-gathers of one layer, forward and backward: where are more than two?",
        gathered=gathered_twice),
    mistake("frozen weights are scattered too",
        "Weights that need no gradient: what is there to send after backward?",
        FROZEN, "        if not of_shard:\n            reduce_scatter(shard.repeat(ctx.comm.world_size), ctx.comm)\n"
        "            return None, None, None, None, x_grad\n"),
    mistake("x is averaged too", "x is a rank's own. Which ranks' losses depend on it?",
        "x_grad = found.pop() if of_x else None", "x_grad = found.pop() / ctx.comm.world_size if of_x else None"),
    mistake("a shard of any size is taken",
        "A shard of a length that no such layer has: what does your function say?", "if shard.shape != (held,):",
        "if False:"),
]  # fmt: skip
