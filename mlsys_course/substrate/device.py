"""Where to compute, and from which seed."""

import random

import numpy as np
import torch


def best() -> torch.device:
    """The GPU where PyTorch finds one with CUDA, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed(n: int) -> None:
    """Start the generators of Python, NumPy and PyTorch (all devices) from ``n``."""
    random.seed(n)
    np.random.seed(n)  # libraries that a lab calls may draw from NumPy's global generator
    torch.manual_seed(n)
