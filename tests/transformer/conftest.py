"""Drawn tokens, and where this room's drawn tensors start."""

from collections.abc import Callable

import numpy as np
import pytest
import torch


@pytest.fixture
def normal_seed() -> int:
    return 30


@pytest.fixture
def tokens() -> Callable[..., torch.Tensor]:
    """``tokens(B, T)``: drawn from a vocabulary of 60."""
    generator = np.random.Generator(np.random.PCG64(31))
    return lambda *shape: torch.from_numpy(generator.integers(0, 60, shape))
