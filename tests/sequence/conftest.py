"""What this room's tests share: their tensors are small."""

import pytest


@pytest.fixture(autouse=True)
def calm(one_thread: None) -> None:
    """One thread for each test."""
