"""Drawn tensors, devices to run on, and small configurations of each family."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

Normal = Callable[..., torch.Tensor]


@pytest.fixture
def normal() -> Normal:
    """``normal(2, 3, dtype=...)``: independent normal entries, the same on every machine."""
    generator = np.random.Generator(np.random.PCG64(30))

    def draw(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(generator.standard_normal(shape) * scale).to(dtype)

    return draw


@pytest.fixture
def tokens() -> Callable[..., torch.Tensor]:
    """``tokens(B, T)``: drawn from a vocabulary of 60."""
    generator = np.random.Generator(np.random.PCG64(31))
    return lambda *shape: torch.from_numpy(generator.integers(0, 60, shape))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param
