"""Seeded draws: the same on every machine (NumPy's PCG64), and keyed by the term's secret."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")


def group_of(student: str, secret: bytes, groups: int) -> int:
    """Which of so many groups a student is in: it cannot be told without the term's secret."""
    digest = hmac.new(secret, f"group of {student}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest, "big") % groups


def _generator(secret: bytes, *purpose: str) -> np.random.Generator:
    digest = hmac.new(secret, "/".join(purpose).encode(), hashlib.sha256).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


class Draw:
    """A stream of random inputs for one purpose, such as ``("lab02_attention", "attention", "sealed")``.

    With ``group`` what tensors hold comes from a stream of that group's own: any two groups agree on every size, choice
    and order, and share no number.
    """

    def __init__(self, secret: bytes, *purpose: str, group: int | None = None):
        self.generator = self.tensors = _generator(secret, *purpose)
        if group is not None:
            self.tensors = _generator(secret, *purpose, f"group {group}")

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
        """A tensor of independent normal entries with standard deviation ``scale``."""
        return torch.from_numpy(np.asarray(self.tensors.standard_normal(shape) * scale)).to(dtype)

    def uniform(
        self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """A tensor of independent uniform entries."""
        return torch.from_numpy(np.asarray(self.tensors.uniform(low, high, shape))).to(dtype)

    def integers(self, *shape: int, low: int = 0, high: int) -> torch.Tensor:
        """An int64 tensor of entries in [low, high)."""
        return torch.from_numpy(np.asarray(self.tensors.integers(low, high, shape)))

    def booleans(self, *shape: int, probability: float = 0.5) -> torch.Tensor:
        """A bool tensor whose entries are True with ``probability``."""
        return torch.from_numpy(np.asarray(self.tensors.random(shape) < probability))

    def integer(self, low: int, high: int) -> int:
        """One whole number in [low, high]."""
        return int(self.generator.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        """One real number in [low, high)."""
        return float(self.generator.uniform(low, high))

    def choice(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[int(self.generator.integers(len(options)))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """``options`` in a random order."""
        return [options[int(i)] for i in self.generator.permutation(len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """``count`` different ones of ``options``."""
        return self.shuffled(options)[:count]


def drawn(options: dict[str, Sequence[Any]], draw: Draw) -> dict[str, Any]:
    """One value for each name: the simplest kind of variants."""
    return {name: draw.choice(values) for name, values in options.items()}
