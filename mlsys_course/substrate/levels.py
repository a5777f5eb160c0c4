"""Tables of levels for numbers of few bits, all of them from -1 or 0 to 1."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal


def normal_float(bits: int = 4, offset: float = 0.9677083) -> Float[Tensor, " L"]:
    """The levels of NormalFloat: 0, and on both sides quantiles of a normal distribution, up to -1 and 1, in float32.

    Half of the 2^bits levels are above 0, one fewer below. Source: Dettmers et al. 2023, "QLoRA", section 3; the offset
    is that of its published code.
    """
    half = 2 ** (bits - 1)
    normal = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    above = normal.icdf(torch.linspace(offset, 0.5, half + 1, dtype=torch.float64)[:-1])
    below = -normal.icdf(torch.linspace(offset, 0.5, half, dtype=torch.float64)[:-1])
    levels = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
    return (levels / levels.max()).float()


def dynamic_levels(signed: bool = True) -> Float[Tensor, " L"]:
    """256 levels for 8 bits whose gaps shrink with their size: seven decades, each in twice as many parts as the last.

    With ``signed`` half of them are below 0; without, all are from 0 to 1 and twice as fine.
    Source: Dettmers et al. 2022, section 1.3, dynamic tree quantization.
    """
    found = [0.0, 1.0]
    for decade in range(7):
        parts = 2 ** (decade + (not signed))
        edges = torch.linspace(0.1, 1.0, parts + 1, dtype=torch.float64)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        found += [*middles.tolist(), *((-middles).tolist() if signed else [])]
    return torch.tensor(sorted(found), dtype=torch.float64).float()
