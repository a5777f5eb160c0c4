"""Workers that lie, and how they are found out over several rounds."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .robust import robust_aggregate

Attack = Callable[[Tensor], Tensor]  # of the honest gradients (P, n), what each liar sends


def sign_flip(strength: float = 1.0) -> Attack:
    """The honest mean's opposite, so many times as long."""
    return lambda honest: -strength * honest.mean(0)


def a_little(strength: float = 1.0) -> Attack:
    """The mean less so many standard deviations, entry by entry: within what honest gradients scatter.

    All liars send the same. Source: Baruch, Baruch and Goldberg 2019, "A little is enough".
    """
    return lambda honest: honest.mean(0) - strength * honest.std(0)


def coordinated(strength: float = 1.0) -> Attack:
    """All liars send one vector that stands at right angles to the mean, as long as an honest gradient is."""

    def attack(honest: Tensor) -> Tensor:
        mean = honest.mean(0)
        aside = mean.roll(1) - mean * (mean.roll(1) @ mean) / (mean @ mean)
        return strength * aside * honest.norm(dim=1).mean() / aside.norm()

    return attack


def expel_liars(rounds: Sequence[Mapping[int, Float[Tensor, " n"]]], f: int, margin: float) -> list[list[int]]:
    """Whom the server expels after each round, ranks in ascending order.

    A round is what each rank sent, by rank; who was away is missing, which is no lie. In every round, of those who are
    not expelled yet: who sent an entry that is not finite is expelled, and plays no part in what follows. Each other
    rank's deviation from the median of them all, entry by entry, is added to its sum over rounds: honest noise
    averages out, a bias adds up. Liars move each round's median a little, and so all sums alike: how far a rank is off
    is the Euclidean distance of its sum from the median, entry by entry, of the sums of those present. A rank is
    suspect that is farther off than ``margin`` times the median distance. Suspects leave, the farthest first and of
    equal ones the lower rank, while fewer than f ranks have been expelled in all, for whatever reason. A median of an
    even number is the mean of the middle two.
    Lab 8, exercise ``expel_liars``.
    """
    sums: dict[int, Tensor] = {}
    expelled: set[int] = set()
    by_round = []
    for sent in rounds:
        present = sorted(sent.keys() - expelled)
        leaving = [rank for rank in present if not sent[rank].isfinite().all()]
        trusted = [rank for rank in present if rank not in leaving]
        if trusted:
            for rank, deviation in zip(trusted, _from_the_median([sent[rank] for rank in trusted]), strict=True):
                sums[rank] = sums.get(rank, 0) + deviation
            distances = _from_the_median([sums[rank] for rank in trusted]).norm(dim=1).tolist()
            most = margin * statistics.median(distances)
            suspects = [
                rank
                for distance, rank in sorted(zip(distances, trusted, strict=True), key=lambda pair: -pair[0])
                if distance > most
            ]
            leaving += suspects[: max(f - len(expelled) - len(leaving), 0)]
        expelled |= {*leaving}
        by_round.append(sorted(leaving))
    return by_round


def _from_the_median(rows: Sequence[Float[Tensor, " n"]]) -> Float[Tensor, "P n"]:
    stacked = torch.stack([*rows])
    return stacked - robust_aggregate(stacked, "median", 0)
