"""The middle of many gradients, some of which lie: median, trimmed mean, Krum."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Rule = Literal["median", "trimmed_mean", "krum"]


def robust_aggregate(rows: Float[Tensor, "P n"], rule: Rule, f: int) -> Float[Tensor, " n"]:
    """One gradient of P, of which at most f may be lies; a new tensor of the same dtype.

    A row with an entry that is not finite is a lie at sight: it is left out and f falls by one. Of the m rows left:
    ``median``, entry by entry, of an even number the mean of the middle two; ``trimmed_mean``, entry by entry the mean
    without the f largest and the f smallest; ``krum``, the row whose squared distances to its m - f - 2 nearest others
    add up to the least, of equal ones the first.
    Raises ValueError where more than f rows are not finite, or m < 2f + 1; for ``krum`` m < 2f + 3.
    Source: Blanchard et al. 2017, "Machine learning with adversaries"; Yin et al. 2018, "Byzantine-robust distributed
    learning". Lab 8, exercise ``robust_aggregate``.
    """
    kept = rows[rows.isfinite().all(1)]
    m = len(kept)
    f -= len(rows) - m
    needed = 2 * f + (3 if rule == "krum" else 1)
    if f < 0 or m < needed:
        raise ValueError(
            f"{m} of {len(rows)} rows are finite and {f} more may lie; {rule} needs f >= 0 and {needed} rows"
        )
    if rule == "krum":
        squared = (kept[:, None] - kept).square().sum(-1)  # (m, m); zero to itself, the least
        scores = squared.sort(1).values[:, 1 : m - f - 1].sum(1)
        return kept[int(scores.argmin())].clone()
    cut = f if rule == "trimmed_mean" else (m - 1) // 2
    return kept.sort(0).values[cut : m - cut].mean(0)
