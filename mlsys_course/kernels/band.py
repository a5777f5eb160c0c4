"""Which keys a query sees, as a band of the matrix of scores: what lies outside is never loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..substrate.fast_memory import FastMemory, Tile


@dataclass(frozen=True)
class Band:
    """Query i sees key j where ``low`` <= j - i <= ``high``. The last query sees the last key."""

    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def of(cls, T: int, S: int, causal: bool, window: int | None) -> Band:
        """All keys; with ``causal`` those up to the query's own, of which ``window`` leaves that many.

        Raises ValueError for a window without causal, or below 1.
        """
        if window is not None and (window < 1 or not causal):
            raise ValueError(f"window={window}, causal={causal}: a window is at least 1, and looks back: causal=True")
        high = S - T if causal else math.inf
        return cls(-math.inf if window is None else high - window + 1, high)

    def hides(self, i: int, rows: int, j: int, columns: int) -> bool:
        """Whether of a tile at query i and key j no entry is seen."""
        return j - (i + rows - 1) > self.high or j + columns - 1 - i < self.low

    def cut(self, memory: FastMemory, scores: Tile, i: int, j: int, otherwise: float = -math.inf) -> None:
        """In a tile of scores at query i and key j, what is not seen becomes ``otherwise``."""
        rows, columns = scores.shape
        low = None if j - (i + rows - 1) >= self.low else int(self.low) - (j - i)
        high = None if j + columns - 1 - i <= self.high else int(self.high) - (j - i)
        if low is not None or high is not None:
            memory.keep_band(scores, low, high, otherwise)
