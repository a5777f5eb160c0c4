"""Small models with drawn weights, in ours and in Hugging Face's classes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch


@pytest.fixture
def normal_seed() -> int:
    return 40


@pytest.fixture
def tokens(one_thread) -> Callable[..., torch.Tensor]:
    """``tokens(B, T)``: drawn from a vocabulary of 40."""
    generator = np.random.Generator(np.random.PCG64(41))
    return lambda *shape: torch.from_numpy(generator.integers(0, 40, shape))
