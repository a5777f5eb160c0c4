"""Lab 1's misconceptions about the whole model of sequence to sequence, and about input feeding. Sealed."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception

from . import references

Tensor = torch.Tensor
Candidate = Callable[..., Any]


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
    decoder_mask: Candidate = lambda mask: None,
    asks: Candidate = lambda s, h: (s, h),
    looks: Candidate = lambda h, s: (h, s),
) -> Candidate:
    """A wrong ``seq2seq``: one of its steps is another."""

    def candidate(source, mask, inputs, weights, *, rnn, score, attend) -> tuple[Tensor, Tensor]:
        x, y = weights["source_embedding"][source], weights[embedding][inputs]
        h = rnn(x, references.zeros(x, weights["encoder"]), *weights["encoder"], encoder_mask(mask))
        s = rnn(y, start(h, mask), *weights[cell], decoder_mask(mask))
        h = memory(h, mask)
        attention, both = attend(score(*asks(s, h)), *looks(h, s), attend_mask(mask))
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
        "the decoder given the source's mask",
        model_like(decoder_mask=lambda mask: mask),
        "The mask speaks of source tokens. Which of the inputs are padding?",
    ),
    Misconception(
        "scores of source against target",
        model_like(asks=lambda s, h: (h, s)),
        "Your score's axes are source by target. Which of its two arguments is the decoder's?",
    ),
    Misconception(
        "attends to the decoder's states",
        model_like(looks=lambda h, s: (s, h)),
        "Whose states are averaged in yours? See the order of attend's arguments.",
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
    next_from: Candidate = lambda now, s_0: now,
    masked: bool = True,
) -> Candidate:
    """A wrong ``input_feeding``: what is fed, what at first, in which order."""

    def candidate(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend) -> Tensor:
        s, a, joined, Ch = s_0, first(h), [], h.shape[-1]
        for t in range(y.shape[1]):
            before, s = s, cell(order(y[:, t], a), next_from(s, s_0), w_xh, w_hh, b)
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
        "the last channels are fed",
        feeding_like(fed=lambda both, Ch: both[..., -Ch:]),
        "In which of the channels of [a; s] stands the context, and how many are they?",
    ),
    Misconception(
        "every step starts from s_0",
        feeding_like(next_from=lambda now, s_0: s_0),
        "Each of your steps calls the cell. With which state, and who hands it on?",
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
