"""Lab 1's misconceptions about sequence to sequence: its loss, the whole model, input feeding. Sealed."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import sequence as component

from . import references

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


TEACHER_FORCED_LOSS = [
    Misconception(
        "shown the answer",
        loss_like(read=lambda inputs, labels, padding: labels),
        "At each step the decoder has just read the word that it must say. Which one should it have read?",
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


def model_like(
    encoder_mask: Candidate = lambda mask: mask,
    attend_mask: Candidate = lambda mask: mask,
    start: Candidate = lambda h, mask: h[:, -1],
    embedding: str = "target_embedding",
    cell: str = "decoder",
    joined: Candidate = lambda both, C: both,
    logits: Candidate = lambda z: z,
    bias: bool = True,
    memory: Candidate = lambda h, mask: h,
) -> Candidate:
    """A wrong ``seq2seq``: one of its steps is another."""

    def candidate(source, mask, inputs, weights, *, rnn, score, attend) -> tuple[Tensor, Tensor]:
        x, y = weights["source_embedding"][source], weights[embedding][inputs]
        h = rnn(x, references.zeros(x, weights["encoder"]), *weights["encoder"], encoder_mask(mask))
        s = rnn(y, start(h, mask), *weights[cell])
        h = memory(h, mask)
        attention, both = attend(score(s, h), h, s, attend_mask(mask))
        z = joined(both, s.shape[-1]) @ weights["output"]
        return logits(z + weights["output_bias"] if bias else z), attention

    return candidate


def no_context(both: Tensor, C: int) -> Tensor:
    return torch.cat([torch.zeros_like(both[..., :-C]), both[..., -C:]], dim=-1)


def no_state(both: Tensor, C: int) -> Tensor:
    return torch.cat([both[..., :-C], torch.zeros_like(both[..., -C:])], dim=-1)


SEQ2SEQ = [
    Misconception(
        "encoder reads padding",
        model_like(encoder_mask=lambda mask: None),
        "The decoder starts from the encoder's last state. What has that read in a short sentence?",
    ),
    Misconception(
        "padding attended to",
        model_like(attend_mask=lambda mask: None),
        "The encoder knows the mask in yours. Who else looks at the source?",
    ),
    Misconception(
        "mask nowhere",
        model_like(encoder_mask=lambda mask: None, attend_mask=lambda mask: None),
        "With and without the mask your logits are the same. Which two parts need it?",
    ),
    Misconception(
        "decoder starts from zeros",
        model_like(start=lambda h, mask: torch.zeros_like(h[:, -1])),
        "What does your decoder know of the source before its first word?",
    ),
    Misconception(
        "decoder starts from the first state",
        model_like(start=lambda h, mask: h[:, 0]),
        "Which encoder state has read the whole sentence?",
    ),
    Misconception(
        "decoder starts from the mean",
        model_like(start=lambda h, mask: h.mean(1)),
        "One encoder state has read the whole sentence. Is a mean of all of them the same?",
    ),
    Misconception(
        "the source's embedding for the target",
        model_like(embedding="source_embedding"),
        "Two languages, two tables. From which one come the target's words?",
    ),
    Misconception(
        "the encoder's weights in the decoder", model_like(cell="encoder"), "Whose weights does your decoder use?"
    ),
    Misconception(
        "context dropped", model_like(joined=no_context), "Do your logits change with what is attended to? Should they?"
    ),
    Misconception(
        "state dropped", model_like(joined=no_state), "Do your logits change with the decoder's own state? Should they?"
    ),
    Misconception(
        "probabilities", model_like(logits=lambda z: z.softmax(-1)), "Logits are asked for. Who takes the softmax?"
    ),
    Misconception("output bias missing", model_like(bias=False), "What is added to every row of the logits?"),
]


def feeding_like(
    fed: Candidate = lambda both, Ch: both[..., :Ch],
    first: Candidate = lambda h: torch.zeros_like(h[:, 0]),
    order: Candidate = lambda y, a: torch.cat([y, a], dim=-1),
    said: Candidate = lambda now, before: now,
    masked: bool = True,
) -> Candidate:
    """A wrong ``input_feeding``: what is fed, what at first, in which order."""

    def candidate(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend) -> Tensor:
        s, a, joined, Ch = s_0, first(h), [], h.shape[-1]
        for t in range(y.shape[1]):
            before, s = s, cell(order(y[:, t], a), s, w_xh, w_hh, b)
            _, both = attend(score(said(s, before)[:, None], h), h, s[:, None], mask if masked else None)
            a = fed(both[:, 0], Ch)
            joined.append(both)
        return torch.cat(joined, dim=1)

    return candidate


INPUT_FEEDING = [
    Misconception(
        "nothing is fed",
        feeding_like(fed=lambda both, Ch: torch.zeros_like(both[..., :Ch])),
        "What did the step before look at? Your next step is not told.",
    ),
    Misconception(
        "context before the word",
        feeding_like(order=lambda y, a: torch.cat([a, y], dim=-1)),
        "In which order stand the word and the context in the cell's input?",
    ),
    Misconception(
        "starts with the mean of the source",
        feeding_like(first=lambda h: h.mean(1)),
        "Before the first step nothing has been attended to. Which context is fed to it?",
    ),
    Misconception(
        "looks before it reads",
        feeding_like(said=lambda now, before: before),
        "Which state asks at step t: that after reading word t, or that before?",
    ),
    Misconception("padding attended to", feeding_like(masked=False), "Who needs the source's mask?"),
    Misconception(
        "gradient cut at the feed",
        feeding_like(fed=lambda both, Ch: both[..., :Ch].detach()),
        "The result is right, the gradients are not. Through what does a later step depend on an earlier one?",
    ),
]
