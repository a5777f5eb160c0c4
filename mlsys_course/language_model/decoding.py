"""From logits to the next token: temperature, top-k and top-p shape a distribution, a uniform number draws from it."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..foundations import BadInput


def next_distribution(
    logits: Float[Tensor, "*batch V"], temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> Float[Tensor, "*batch V"]:
    """Probabilities of the next token: softmax(logits / temperature), cut to the top k, then to the top p.

    Tokens stand from likely to unlikely, equal ones by id. ``top_k`` keeps the first k (None: all; so does a k of V or
    more). ``top_p`` keeps the fewest of what is left whose probabilities, which sum to 1 again by then, come to p: each
    token with less than p before it. What is kept sums to 1, the rest is 0. A temperature of 0 is the limit case: 1 for
    the largest logit, the lowest id of equals. Logits are finite, or -inf for what may not come, at least one finite in
    a row, as large as they may be; a temperature may be as low as 1e-30. The result is float32, or float64 where
    logits are. Raises BadInput for a temperature below 0 or infinite, a ``top_k`` below 1, and a ``top_p`` outside
    (0, 1]; NaN is both. Source: Fan et al. 2018, "Hierarchical neural story generation" (top-k); Holtzman et al. 2020,
    "The curious case of neural text degeneration" (top-p). Lab 4, exercise ``next_distribution``.
    """
    check_options(temperature, top_k, top_p)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        temperature, top_k = 1.0, 1  # of one token, any temperature makes the same
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature  # at most 0: no temperature overflows
    order = scaled.argsort(dim=-1, descending=True, stable=True)  # equal ones by id
    ranked = scaled.gather(-1, order)
    if top_k is not None:
        ranked[..., top_k:] = -math.inf
    probabilities = ranked.softmax(-1)
    if top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter(-1, order, probabilities)


def check_options(temperature: float, top_k: int | None, top_p: float) -> None:
    """Raises BadInput, as ``next_distribution`` says."""
    if not 0 <= temperature < math.inf:
        raise BadInput(f"temperature={temperature}; give a finite number of at least 0, where 0 is greedy")
    if top_k is not None and top_k < 1:
        raise BadInput(f"top_k={top_k} keeps no token; give at least 1, or None to keep all")
    if not 0 < top_p <= 1:
        raise BadInput(f"top_p={top_p}; give a number above 0 and at most 1, which keeps all")


def sample(probabilities: Float[Tensor, "*batch V"], u: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """The token that a uniform number u in [0, 1) draws: the first whose cumulative probability exceeds u.

    u counts in units of the row's sum, so that rounding never leads beyond the last token, and what has probability 0
    never comes. The same u draws the same token on every machine. Source: inverse transform sampling, Devroye 1986.
    """
    cumulative = probabilities.double().cumsum(-1)
    reached = u.double()[..., None].to(cumulative.device) * cumulative[..., -1:]
    return (cumulative <= reached).sum(-1)


def repetition_penalty(
    logits: Float[Tensor, "*batch V"], tokens: Int[Tensor, "*batch T"], penalty: float
) -> Float[Tensor, "*batch V"]:
    """The logits with those of tokens that occurred made smaller: divided by ``penalty`` where positive, else times it.

    A token counts once, however often it occurred. 1 changes nothing, below 1 repetition is encouraged. Raises
    ValueError for a penalty of 0 or less. Source: Keskar et al. 2019, "CTRL", section 4.1; dividing alone would make a
    negative logit larger.
    """
    if not 0 < penalty < math.inf:
        raise BadInput(f"penalty={penalty}; give a number above 0, where 1 changes nothing")
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
