"""What this room's tests share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors here are so small that a second thread would mostly wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
