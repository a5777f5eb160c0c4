"""A long result in a few numbers: all of it takes part."""

import pytest
import torch

from mlsys_course.desk.check import sampled
from mlsys_course.desk.check.sampled import PIECE


@pytest.mark.parametrize("size", [0, 1, 100, PIECE, 3 * PIECE + 7])
def test_every_entry_counts(size):
    x = torch.randn(size, dtype=torch.float64)
    found = sampled(x, 50)
    assert torch.equal(found["some"], x[::50])
    for place in {0, size // 2, size - 1} if size else ():
        other = x.clone()
        other[place] += 1
        assert not torch.allclose(sampled(other, 50)["all"], found["all"], atol=1e-6)


def test_order_counts_and_rows_are_looked_at():
    x = torch.randn(60, 4, dtype=torch.float64)
    assert torch.equal(sampled(x, 20)["some"], x[[0, 20, 40]])
    assert not torch.allclose(sampled(x.flip(0), 20)["all"], sampled(x, 20)["all"])
