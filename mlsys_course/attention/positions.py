"""Where a token stands: sinusoidal or learned positions to add, rotary ones to turn queries and keys by."""

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor

from ..substrate.dtypes import check_floating
from ..substrate.model_config import RotaryScaling


def sinusoidal_positions(
    T: int, C: int, base: float = 10000.0, device: torch.device | str | None = None
) -> Float[Tensor, "T C"]:
    """Channels 2i and 2i+1 of row t are sin and cos of t * base^(-2i/C), in float32.

    Sines and cosines alternate, as in the paper (some code concatenates them). Raises ValueError for odd C.
    Source: Vaswani et al. 2017, section 3.5. Lab 2, exercise ``sinusoidal_positions``.
    """
    if C % 2:
        raise ValueError(f"C={C} is odd, but channels come in pairs of sine and cosine; choose an even C")
    angles = rotary_angles(T, C, 0, base, torch.float32, device)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)  # (T, C/2, 2) -> (T, C)


def learned_positions(table: Float[Tensor, "L C"], T: int, offset: int = 0) -> Float[Tensor, "T C"]:
    """Rows offset to offset + T - 1 of a trained table, to add to the embeddings as BERT and GPT-2 do.

    A row gets gradients only from sequences that reach it, so there is none beyond the table: raises ValueError there.
    Source: Gehring et al. 2017, "Convolutional sequence to sequence learning". Lab 2, exercise ``learned_positions``.
    """
    length = table.shape[0]
    if offset < 0 or T < 0 or offset + T > length:
        raise ValueError(f"positions {offset} to {offset + T - 1} were asked of a table for 0 to {length - 1}; "
                         "shorten the sequence, or train a longer table")  # fmt: skip
    return table[offset : offset + T]


def rotary_positions(
    x: Float[Tensor, "*batch T D"],
    offset: int = 0,
    base: float = 10000.0,
    positions: Real[Tensor, "*#batch T"] | None = None,
    scaling: RotaryScaling | None = None,
) -> Float[Tensor, "*batch T D"]:
    """Turn channels i and i + D/2 of row t, as a point in a plane, by the angle (offset + t) * base^(-2i/D).

    With ``positions``, each row has its own instead of t: packed documents count from 0 each, padding on the left
    counts for nothing. They broadcast to x without D: of (B, T) for all heads give ``positions[:, None]``. ``scaling``
    stretches them to a longer context, as in LLaMA 3.1 (``scaled_frequencies``).

    The pairs are "halves", as in GPT-NeoX and in Hugging Face's LLaMA; the paper and Meta's LLaMA pair 2i with 2i+1,
    which is the same up to the order of the rows of W_q and W_k. Angles are in float32 or better, the result in x's
    dtype. Raises ValueError for odd D, and for whole numbers. Source: Su et al. 2021, "RoFormer", equation 15. Lab 2,
    exercise ``rotary_positions``.
    """
    check_floating(x=x)
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"head_dim={D} is odd, but rotary positions turn pairs of channels; choose an even head_dim")
    precise = torch.promote_types(x.dtype, torch.float32)  # bfloat16 cannot tell position 256 from 257
    if positions is not None and positions.shape[-1:] != (T,):
        raise ValueError(f"positions {tuple(positions.shape)}, but x has T={T} rows; give each row its position")
    angles = rotary_angles(T, D, offset, base, precise, x.device, positions, scaling)
    first, second = x.to(precise).chunk(2, dim=-1)  # (..., T, D/2) each
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def scaled_frequencies(frequency: Float[Tensor, " half"], scaling: RotaryScaling) -> Float[Tensor, " half"]:
    """Radians a token, for a context ``factor`` times as long: fast turns stay, slow ones are that much slower.

    How often a frequency turns in the original context decides: more than ``high`` times it stays, less than ``low``
    times it is divided by ``factor``, and between them the two mix linearly. Source: LLaMA 3.1's published code,
    ``apply_scaling``; Grattafiori et al. 2024, section 3.4.2.
    """
    turns = scaling.original_context * frequency / (2 * math.pi)
    kept = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
    return frequency * (kept + (1 - kept) / scaling.factor)


def rotary_angles(
    T: int,
    width: int,
    offset: int,
    base: float,
    dtype: torch.dtype,
    device: torch.device | str | None,
    positions: Tensor | None = None,
    scaling: RotaryScaling | None = None,
) -> Float[Tensor, "*batch T half"]:
    """Position times frequency: (offset + t) * base^(-2i/width), with ``positions`` for t where they are given."""
    t = torch.arange(T, device=device) if positions is None else positions
    position = (t + offset).to(dtype)
    frequency = base ** (-torch.arange(0, width, 2, device=device, dtype=dtype) / width)
    return position[..., None] * (frequency if scaling is None else scaled_frequencies(frequency, scaling))
