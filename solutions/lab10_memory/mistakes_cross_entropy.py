"""Lab 10, sealed: misconceptions about the chunked loss, those that are right but not thrifty first."""

import torch
import torch.nn.functional as F

from autograder.exercise import Misconception
from mlsys_course.memory import chunked_cross_entropy

Tensor = torch.Tensor
Results = tuple[Tensor, Tensor, Tensor]


def wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def count_of(targets: Tensor, ignore_index: int) -> Tensor:
    return (targets != ignore_index).sum().clamp(min=1)


def parts(hidden: Tensor, targets: Tensor, chunk: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(hidden.split(chunk), targets.split(chunk), strict=True))


def all_logits_at_once(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    logits = wide(h @ w.T)
    total = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum")
    loss = total / count_of(targets, ignore_index)
    return loss, *torch.autograd.grad(loss, (h, w))


def autograd_keeps_each_chunk(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    total = wide(hidden.new_zeros(()))
    for rows, target in parts(h, targets, chunk):
        total = total + F.cross_entropy(wide(rows @ w.T), target, ignore_index=ignore_index, reduction="sum")
    loss = total / count_of(targets, ignore_index)
    return loss, *torch.autograd.grad(loss, (h, w))


def collects_gradients_of_logits(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    loss, collected = wide(hidden.new_zeros(())), []
    count = count_of(targets, ignore_index)
    for rows, target in parts(hidden, targets, chunk):
        logits = wide(rows @ weight.T).requires_grad_()
        part = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="sum") / count
        collected.append(torch.autograd.grad(part, logits)[0].to(hidden.dtype))
        loss += part.detach()
    gradient = torch.cat(collected)
    return loss, gradient @ weight, gradient.T @ hidden


def mean_of_chunk_means(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    found = [
        chunked_cross_entropy(rows, weight, target, chunk, ignore_index)
        for rows, target in parts(hidden, targets, chunk)
    ]
    losses, of_hidden, of_weight = zip(*found, strict=True)
    n = len(found)
    return sum(losses) / n, torch.cat(of_hidden) / n, sum(of_weight) / n


def counts_padding(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    share = count_of(targets, ignore_index) / len(targets)
    loss, of_hidden, of_weight = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    return loss * share, of_hidden * share, of_weight * share


def padding_has_gradients(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    loss, of_hidden, of_weight = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    rest = torch.where(targets == ignore_index, 0, ignore_index)  # as if their target were the first word
    _, more_hidden, more_weight = chunked_cross_entropy(hidden, weight, rest, chunk, ignore_index)
    share = count_of(rest, ignore_index) / count_of(targets, ignore_index)
    return loss, of_hidden + share * more_hidden, of_weight + share * more_weight


def nothing_over_nothing(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    results = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    none = torch.zeros((), device=hidden.device) / (targets != ignore_index).sum()  # NaN where none counts
    loss, of_hidden, of_weight = (result + none.to(result.dtype) for result in results)
    return loss, of_hidden, of_weight


def gradients_of_the_sum(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    loss, of_hidden, of_weight = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    count = count_of(targets, ignore_index)
    return loss, of_hidden * count, of_weight * count


def last_chunks_weight_gradient(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    loss, of_hidden, _ = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    rows, target = parts(hidden, targets, chunk)[-1]
    share = count_of(target, ignore_index) / count_of(targets, ignore_index)
    return loss, of_hidden, share * chunked_cross_entropy(rows, weight, target, chunk, ignore_index)[2]


def drops_the_last_chunk(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    whole = len(targets) // chunk * chunk
    kept = torch.where(torch.arange(len(targets), device=targets.device) < whole, targets, ignore_index)
    share = count_of(kept, ignore_index) / count_of(targets, ignore_index)
    loss, of_hidden, of_weight = chunked_cross_entropy(hidden, weight, kept, chunk, ignore_index)
    return share * loss, share * of_hidden, share * of_weight


def target_not_subtracted(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    """The gradient of log-sum-exp alone."""
    loss, of_hidden, of_weight = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    share = wide(targets != ignore_index)[:, None] / count_of(targets, ignore_index)
    safe = targets.where(targets != ignore_index, 0)
    of_hidden = of_hidden + (share * weight[safe]).to(hidden.dtype)
    return loss, of_hidden, of_weight.index_add(0, safe, (share * hidden).to(weight.dtype))


def overflows(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    loss, of_hidden, of_weight = wide(hidden.new_zeros(())), [], torch.zeros_like(wide(weight))
    count = count_of(targets, ignore_index)
    for rows, target in parts(hidden, targets, chunk):
        counted = (target != ignore_index)[:, None]
        target = target[:, None].where(counted, 0)
        exponentials = wide(rows @ weight.T).exp()
        p = exponentials / exponentials.sum(-1, keepdim=True)
        loss -= p.gather(1, target).log().where(counted, 0.0).sum() / count
        gradient = p.scatter_add(1, target, -torch.ones_like(p[:, :1])).where(counted, 0.0) / count
        of_hidden.append(gradient.to(hidden.dtype) @ weight)
        of_weight += gradient.T @ wide(rows)
    return loss, torch.cat(of_hidden), of_weight.to(weight.dtype)


def sums_in_the_inputs_dtype(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    _, of_hidden, of_weight = chunked_cross_entropy(hidden, weight, targets, chunk, ignore_index)
    total = hidden.new_zeros(())
    for rows, target in parts(hidden, targets, chunk):
        part = F.cross_entropy(wide(rows @ weight.T), target, ignore_index=ignore_index, reduction="sum")
        total += part.to(hidden.dtype)
    return wide(total) / count_of(targets, ignore_index), of_hidden, of_weight


MISCONCEPTIONS = [
    Misconception(
        "all_logits_at_once",
        all_logits_at_once,
        "Your peak is that of several tensors of N x V numbers. Print the shape of the largest tensor that you make.",
    ),
    Misconception(
        "collects_gradients_of_logits",
        collects_gradients_of_logits,
        "Your peak is about that of two tensors of N x V numbers. What do you keep of each chunk, and what for? "
        "Everything that a chunk gives to the results can be added before the next one begins.",
    ),
    Misconception(
        "autograd_keeps_each_chunk",
        autograd_keeps_each_chunk,
        "Your peak is about that of all N x V logits, though you may never see them in one tensor. When the loop makes "
        "its last chunk, who still holds what was made for the first, and until when?",
    ),
    Misconception(
        "mean_of_chunk_means",
        mean_of_chunk_means,
        "Take 5 tokens in chunks of 4. With which weight should the fifth enter the mean, and with which does it?",
    ),
    Misconception("counts_padding", counts_padding, "By how many tokens do you divide when some do not count?"),
    Misconception(
        "padding_has_gradients",
        padding_has_gradients,
        "A token that is not in the loss cannot move it. Look at grad_hidden where targets == ignore_index.",
    ),
    Misconception("nothing_over_nothing", nothing_over_nothing, "What should come out when no token counts?"),
    Misconception(
        "gradients_of_the_sum",
        gradients_of_the_sum,
        "Your gradients belong to another function than your loss: they grow with the number of tokens.",
    ),
    Misconception(
        "last_chunks_weight_gradient",
        last_chunks_weight_gradient,
        "Each token has a row of its own in grad_hidden, but all of them pull at the same weight. What of the first "
        "chunk is left in grad_weight?",
    ),
    Misconception(
        "drops_the_last_chunk",
        drops_the_last_chunk,
        "How many chunks of 4 do 10 tokens have? Which tokens are in each?",
    ),
    Misconception(
        "target_not_subtracted",
        target_not_subtracted,
        "The loss has two terms, and the logit of the target stands in both. Differentiate the second one too.",
    ),
    Misconception(
        "overflows",
        overflows,
        "exp(100) does not fit in float32, and the loss of such a logit does. What may you subtract?",
    ),
    Misconception(
        "sums_in_the_inputs_dtype",
        sums_in_the_inputs_dtype,
        "Add 3.5 a thousand times to a bfloat16 number. Where does it stop growing?",
    ),
]
