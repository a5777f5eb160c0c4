"""Lab 9, sealed: misconceptions about a data-parallel step."""

import torch

from autograder.exercise import Misconception


def step(model, optimizer, loss, examples, comm, all_reduce, mistake=""):
    """One step with a place for each mistake."""
    ranks = comm.world_size
    total = float(all_reduce(torch.tensor(float(len(examples)), dtype=torch.float64), comm))
    if mistake != "not zeroed":
        optimizer.zero_grad()
    weight = 1 / ranks if mistake == "every rank alike" else len(examples) / total
    if mistake == "over ranks with examples":
        busy = float(all_reduce(torch.tensor(float(len(examples) > 0), dtype=torch.float64), comm))
        weight = 1 / busy
    if mistake == "weights":
        weight = 1.0  # each rank for itself
    if mistake == "not divided":
        weight = float(len(examples))
    if mistake == "a sum":
        weight = weight * ranks
    if len(examples) or mistake == "asks for the mean of nothing":
        (loss(model, examples) * weight).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    if mistake == "weights":
        return average_weights(optimizer, trained, comm, all_reduce)
    if mistake == "step first":
        optimizer.step()
    for p in trained:
        own = torch.zeros_like(p) if p.grad is None else p.grad
        p.grad = own * ranks if mistake == "nothing is sent" else all_reduce(own, comm)
    if mistake != "step first":
        optimizer.step()


def average_weights(optimizer, trained, comm, all_reduce):
    """Each rank steps by the mean of its own examples, then weights are averaged."""
    for p in trained:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    optimizer.step()
    with torch.no_grad():
        for p in trained:
            p.copy_(all_reduce(p, comm) / comm.world_size)


def mis_stepped(name: str, mistake: str, hint: str) -> Misconception:
    return Misconception(name, lambda *a: step(*a, mistake=mistake), hint)


STEP = [
    mis_stepped(
        "weights are averaged, not gradients",
        "weights",
        "With plain descent it comes to the same. Of an optimizer that remembers: whose gradients does each rank's "
        "AdamW see?",
    ),
    mis_stepped("a sum for the mean", "a sum", "With two ranks your step is twice as long. What is a mean over all?"),
    mis_stepped(
        "a sum over examples",
        "not divided",
        "Each gradient counts n_r times. By what is the sum to be divided before the optimizer steps?",
    ),
    mis_stepped(
        "every rank counts alike",
        "every rank alike",
        "A rank with one example and a rank with three: how much does each example count?",
    ),
    mis_stepped(
        "gradients are not zeroed", "not zeroed", "The first step is right. What is in grad when the second begins?"
    ),
    mis_stepped("step before the sum", "step first", "Which gradient does the optimizer see when it steps?"),
    mis_stepped("nothing is sent", "nothing is sent", "Compare the ranks' weights after a step: are they the same?"),
    mis_stepped(
        "mean over the ranks that have examples",
        "over ranks with examples",
        "A rank with one example and a rank with three: how much does each example count?",
    ),
]
