"""Lab 1's misconceptions about teacher forcing. Sealed."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import sequence as component

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def precise_logs(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def loss_like(
    read: Candidate = lambda inputs, labels, padding: inputs,
    said: Candidate = lambda inputs, labels, padding: labels,
    mean: Candidate = lambda losses, real: losses[real].mean(),
    logs: Candidate = precise_logs,
) -> Candidate:
    """A wrong ``teacher_forced_loss``: what is read, what is to be said, which mean, which logarithms."""

    def candidate(decode, target, start, end, padding) -> Tensor:
        inputs, labels = component.teacher_forcing(target, start, end, padding)
        inputs, labels = read(inputs, labels, padding), said(inputs, labels, padding)
        found = logs(decode(inputs)).gather(-1, labels[..., None])[..., 0]
        return mean(-found, labels != padding)

    return candidate


def no_start(decode, target, start, end, padding) -> Tensor:
    inputs, labels = component.teacher_forcing(target, start, end, padding)
    if not (labels[:, 1:] != padding).any():
        return decode(inputs).sum() * 0.0
    return component.sequence_loss(decode(inputs[:, 1:]), labels[:, 1:], padding)


def end_in_last_column(decode, target, start, end, padding) -> Tensor:
    column = torch.full_like(target[:, :1], end)
    inputs = torch.cat([torch.full_like(column, start), target], dim=1)
    return component.sequence_loss(decode(inputs), torch.cat([target, column], dim=1), padding)


def never_ends(decode, target, start, end, padding) -> Tensor:
    if not (target != padding).any():
        return decode(target).sum() * 0.0
    inputs = torch.cat([torch.full_like(target[:, :1], start), target[:, :-1]], dim=1)
    return component.sequence_loss(decode(inputs), target, padding)


def sentence_means(losses: Tensor, real: Tensor) -> Tensor:
    return ((losses * real).sum(1) / real.sum(1)).mean()


def free_running(decode, target, start, end, padding) -> Tensor:
    labels = component.teacher_forcing(target, start, end, padding)[1]
    read = torch.full_like(target[:, :1], start)
    for _ in range(target.shape[1]):
        read = torch.cat([read, decode(read)[:, -1:].argmax(-1)], dim=1)
    return component.sequence_loss(decode(read), labels, padding)


TEACHER_FORCED_LOSS = [
    Misconception(
        "shown the answer",
        loss_like(read=lambda inputs, labels, padding: labels),
        "At each step the decoder has just read the word that it must say. Which one should it have read?",
    ),
    Misconception(
        "reads what it says itself",
        free_running,
        "In translation the decoder reads its own words. Which does it read in training, under teacher forcing?",
    ),
    Misconception(
        "first word not asked for",
        no_start,
        "With what does the decoder start, and which label belongs to that step?",
    ),
    Misconception("end not asked for", never_ends, "How does the decoder learn to stop? See the labels."),
    Misconception(
        "end after the padding",
        end_in_last_column,
        "Sentences have different lengths. After which word must a short one end?",
    ),
    Misconception(
        "padding counted",
        loss_like(mean=lambda losses, real: losses.mean()),
        "Which labels are no words of a sentence, and should they cost anything?",
    ),
    Misconception(
        "divided by padding too",
        loss_like(mean=lambda losses, real: (losses * real).sum() / real.numel()),
        "Padding adds nothing to your sum. Is it in the number that you divide by?",
    ),
    Misconception(
        "mean of sentences",
        loss_like(mean=sentence_means),
        "Does every word weigh the same in yours, or every sentence?",
    ),
    Misconception(
        "sum", loss_like(mean=lambda losses, real: losses[real].sum()), "A sum, or a mean over the labels that count?"
    ),
    Misconception(
        "sign",
        loss_like(mean=lambda losses, real: -losses[real].mean()),
        "A probability is at most 1. Which sign has its logarithm, and which a loss?",
    ),
    Misconception(
        "exponential overflows",
        loss_like(logs=lambda z: z.exp().div(z.exp().sum(-1, keepdim=True)).log()),
        "How large is exp(300) in float32? Lab 0 has a way to a log-softmax without it.",
    ),
    Misconception(
        "logarithm of a softmax",
        loss_like(logs=lambda z: z.to(torch.promote_types(z.dtype, torch.float32)).softmax(-1).log()),
        "A softmax rounds small probabilities to 0. What is the logarithm of that? Lab 0 has a log-softmax in one.",
    ),
    Misconception(
        "in the logits' precision",
        loss_like(logs=lambda z: z.log_softmax(-1)),
        "Half-precision logits are fine. Which dtype should the loss have?",
    ),
    Misconception(
        "always in float32",
        loss_like(logs=lambda z: z.float().log_softmax(-1)),
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?",
    ),
]
