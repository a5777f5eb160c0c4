"""Beam search: several continuations side by side, so that a good one need not begin with the likeliest token."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..foundations import BadInput


class Hypothesis(NamedTuple):
    """A continuation: its new tokens, and its total log-probability divided by their number to the length penalty."""

    tokens: list[int]
    score: float


@torch.no_grad()
def beam_search(
    next_logits: Callable[[Int[Tensor, "N T"]], Float[Tensor, "N V"]],
    prompt: Int[Tensor, " T"],
    width: int,
    n_new: int,
    end: int | None = None,
    length_penalty: float = 1.0,
) -> list[Hypothesis]:
    """The best continuations that a beam of ``width`` finds, at most ``width`` of them, the best score first.

    ``next_logits(tokens)`` gives logits (N, V) for the token after each of N sequences that begin with ``prompt``: of a
    decoder the last position's, of an encoder-decoder those of its decoder. At each of ``n_new`` steps every live
    hypothesis is extended by every token, and extensions stand by their total log-probability. Those by ``end`` that
    are among the first ``width`` of all are finished and go no further; of the others the first ``width`` live on, and
    where there are none, the search ends. After the last step the live ones are finished too. A finished hypothesis
    scores its total log-probability divided by n ** ``length_penalty``, n its new tokens, ``end`` counted: 0 leaves the
    total, which favours short ones, 1 is the mean. A ``width`` of 1 is greedy. Raises BadInput for an empty prompt, and
    a ``width`` or ``n_new`` below 1. Source: Sutskever et al. 2014, section 3.2; Wu et al. 2016, section 7, for the
    length. Lab 4, exercise ``beam_search``.
    """
    if prompt.ndim != 1 or not len(prompt) or width < 1 or n_new < 1:
        raise BadInput(f"prompt {tuple(prompt.shape)}, {width=}, {n_new=}: give one sequence (T,), and 1 or more each")
    live, totals = prompt[None], torch.zeros(1, dtype=torch.float64, device=prompt.device)
    finished: list[Hypothesis] = []

    def finish(tokens: Tensor, total: Tensor) -> None:
        new = tokens[len(prompt) :].tolist()
        finished.append(Hypothesis(new, float(total) / len(new) ** length_penalty))

    for _ in range(n_new):
        extended = totals[:, None] + next_logits(live).double().log_softmax(-1)  # (N, V)
        order = extended.flatten().argsort(dim=0, descending=True, stable=True)
        order = order[: 2 * width]  # at most ``width`` of these end
        parent, token = order // extended.shape[1], order % extended.shape[1]
        tokens, best = torch.cat((live[parent], token[:, None]), dim=1), extended.flatten()[order]
        ends = torch.zeros_like(token, dtype=torch.bool) if end is None else token == end
        for rank in ends[:width].nonzero()[:, 0].tolist():
            finish(tokens[rank], best[rank])
        live, totals = tokens[~ends][:width], best[~ends][:width]
        if not len(live):
            break
    for one, total in zip(live, totals, strict=True):
        finish(one, total)
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[:width]
