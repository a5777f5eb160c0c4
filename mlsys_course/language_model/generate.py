"""Text token by token: the model says what may come next, one token is chosen, and joins what the model reads."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..attention import KVCache, padding_mask
from ..foundations import BadInput
from ..transformer import EncoderDecoder
from .decoding import next_distribution, sample

Model = Callable[..., Tensor]  # (tokens (B, T), caches=...) -> logits (B, T, V), as lab 3's ``Decoder``
Caches = Sequence[KVCache]


@torch.no_grad()
def generate(
    model: Model,
    tokens: Int[Tensor, "B T"],
    n_new: int,
    caches: Caches | None = None,
    u: Float[Tensor, "B n_new"] | None = None,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    next_distribution: Callable[..., Tensor] = next_distribution,
) -> Int[Tensor, "B T_and_new"]:
    """``tokens`` and at most ``n_new`` that the model writes after them, one after the other.

    ``model(tokens, caches=caches)`` gives logits (B, T, V) for the token after each. Without ``caches`` it reads
    everything at each step. With them, one ``KVCache`` a layer, it reads each token once: first ``tokens``, then what
    was chosen; the result is the same. They may hold earlier tokens, and in the end hold all but the last one.

    Each step takes the largest logit, the lowest id of equals; or with uniforms ``u``, new token i of row b is what
    ``u[b, i]`` draws (``sample``) from ``next_distribution(logits, temperature, top_k, top_p)``. A row in which ``end``
    was written goes on with ``end``; where it stands in all rows, nothing more is written. Raises BadInput for an
    empty prompt, before the model is asked, and where more tokens come than the caches or the model have room for.
    Source: Vaswani et al. 2017, section 3.1: "auto-regressive". Lab 4, exercise ``generate``.
    """
    if tokens.ndim != 2 or not tokens.shape[1]:
        raise BadInput(f"tokens {tuple(tokens.shape)}: a prompt (B, T) has a token at least; begin with a start sign")
    written, new = tokens, tokens
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for step in range(n_new):
        logits = model(written if caches is None else new, caches=caches)[:, -1]  # (B, V)
        if u is None:
            chosen = logits.argmax(-1)
        else:
            chosen = sample(next_distribution(logits, temperature, top_k, top_p), u[:, step])
        if end is not None:
            chosen = chosen.masked_fill(ended, end)
            ended = ended | (chosen == end)
        new = chosen[:, None]
        written = torch.cat((written, new), dim=1)
        if end is not None and ended.all():
            break
    return written


@torch.no_grad()
def generate_batch(
    model: Model,
    prompts: Sequence[Int[Tensor, " T"]],
    n_new: int,
    caches: Caches | None = None,
    end: int | None = None,
) -> list[Int[Tensor, " T_and_new"]]:
    """Prompts of different lengths at once, greedily: each as ``generate`` continues it alone, to its first ``end``.

    Prompts are padded on the left, so that all of them write in the same column; ``model(tokens, mask, caches=...)``
    takes a mask (B, 1, 1, S) that hides the padding from everyone. Positions must be rotary: these see distances only,
    so a sequence may begin anywhere. The caches are empty. Raises BadInput without a prompt, and for an empty one.
    """
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise BadInput(f"prompts of lengths {[len(p) for p in prompts]}; give one at least, each with a token at least")
    T = max(map(len, prompts))
    padding = [T - len(prompt) for prompt in prompts]
    tokens = torch.stack([F.pad(p, (n, 0)) for p, n in zip(prompts, padding, strict=True)])
    first = torch.tensor(padding, device=tokens.device)[:, None, None, None]  # each row's first column that counts

    def masked(tokens: Tensor, caches: Caches | None) -> Tensor:
        S = tokens.shape[1] + (caches[0].offset if caches else 0)
        return model(tokens, torch.arange(S, device=tokens.device) >= first, caches=caches)

    written = generate(masked, tokens, n_new, caches, end=end)
    rows = [row[n:] for row, n in zip(written, padding, strict=True)]
    return [_up_to(end, row, len(prompt)) for row, prompt in zip(rows, prompts, strict=True)]


def _up_to(end: int | None, row: Tensor, start: int) -> Tensor:
    """The row with one ``end`` at most of those that stand from ``start`` on."""
    ends = (row[start:] == end).nonzero() if end is not None else row[:0]
    return row[: start + int(ends[0]) + 1] if len(ends) else row


def generate_target(
    model: EncoderDecoder,
    source: Int[Tensor, "B S"],
    start: int,
    n_new: int,
    lengths: Int[Tensor, " B"] | None = None,
    end: int | None = None,
) -> Int[Tensor, "B T"]:
    """What an encoder-decoder writes about a source: ``start``, then at most ``n_new`` tokens.

    The source is encoded once; what is chosen is as of ``generate``, greedily. ``lengths`` counts the source's
    tokens that stand before padding. Source: Raffel et al. 2020, "T5". Lab 4, extension ``generate_target``.
    """
    mask = None if lengths is None else padding_mask(lengths, source.shape[1])
    with torch.no_grad():
        memory = model.encode(source, mask)

    def next_token(target: Tensor, caches: Caches | None = None) -> Tensor:
        return model.head(model.decode(target, memory, mask))

    first = torch.full((len(source), 1), start, device=source.device)
    return generate(next_token, first, n_new, end=end)
