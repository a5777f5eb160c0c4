"""An encoder-decoder as a conditional language model: what it is shown, what it must say, and how it is scored."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..substrate.dtypes import check_floating


def teacher_forcing(
    target: Int[Tensor, "B T"], start: int, end: int, padding: int
) -> tuple[Int[Tensor, "B T1"], Int[Tensor, "B T1"]]:
    """What the decoder reads and what it must say: [start, y_1, ..., y_n] and [y_1, ..., y_n, end].

    ``target`` is padded on the right; T1 = T + 1. Both are padded there too, so that input t and label t belong to
    one step. Raises ValueError where a word follows padding.
    """
    real = target != padding
    if (real[:, 1:] & ~real[:, :-1]).any():
        raise ValueError(f"target has words after padding={padding}; pad on the right only")
    edge = target.new_full((target.shape[0], 1), padding)
    inputs = torch.cat((torch.full_like(edge, start), target), dim=1)
    labels = torch.cat((target, edge), dim=1)
    labels[torch.arange(len(target), device=target.device), real.sum(1)] = end
    return inputs, labels


def sequence_loss(logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"], padding: int) -> Float[Tensor, ""]:
    """-log P(label) averaged over all labels of the batch that are not ``padding``: each token weighs the same.

    In float32 or better. Raises ValueError where shapes do not fit, ``padding`` or a label is outside the V classes,
    or all is padding.
    """
    check_floating(logits=logits)
    V = logits.shape[-1]
    if logits.shape[:-1] != labels.shape:
        raise ValueError(f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}: expected (B, T, V) and (B, T)")
    if not 0 <= padding < V:
        raise ValueError(f"padding={padding} is outside the {V} classes; choose an index from 0 to {V - 1}")
    if ((labels < 0) | (labels >= V)).any():
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, but there are {V} classes, 0 to {V - 1}")
    real = labels != padding
    if not real.any():
        raise ValueError("all labels are padding, so there is nothing to average; leave empty sequences out")
    log_p = F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    chosen = log_p.gather(-1, labels[..., None]).squeeze(-1)  # (B, T)
    return -chosen[real].mean()


def teacher_forced_loss(
    decode: Callable[[Tensor], Tensor], target: Int[Tensor, "B T"], start: int, end: int, padding: int
) -> Float[Tensor, ""]:
    """The decoder's loss on ``target``, whose true words it is shown: ``decode`` maps inputs (B, T1) to their logits.

    Raises ValueError as its two steps do. Lab 1, exercise ``teacher_forced_loss``.
    """
    inputs, labels = teacher_forcing(target, start, end, padding)
    return sequence_loss(decode(inputs), labels, padding)


def greedy_decode(
    step: Callable[[Tensor, Any], tuple[Tensor, Any]],
    state: Any,
    B: int,
    start: int,
    end: int,
    padding: int,
    max_length: int,
    device: torch.device | str | None = None,
) -> Int[Tensor, "B T"]:
    """The most likely word at each step, fed back as the next input, until all B sequences have said ``end``.

    ``step(token (B,), state)`` returns (logits (B, V), next state). The result holds neither ``start`` nor ``end``;
    after a sequence's end stands ``padding``. T is the longest sequence's length, at most ``max_length``; 0 where all
    end at once. Among equal logits the lowest index wins. Raises ValueError for a ``max_length`` below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length}; allow 1 word or more")
    token = torch.full((B,), start, device=device)
    done = torch.zeros(B, dtype=torch.bool, device=device)
    said = []
    for _ in range(max_length):
        logits, state = step(token, state)
        token = logits.argmax(-1)  # (B,)
        done = done | (token == end)
        if done.all():
            break
        said.append(torch.where(done, padding, token))
    return torch.stack(said, dim=1) if said else token.new_empty(B, 0)
