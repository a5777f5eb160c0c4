"""Products in blocks of any size are PyTorch's product."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys_course.foundations import BadInput, block_matmul, tile_product

sizes, blocks = st.integers(0, 7), st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(st.tuples(sizes, sizes, sizes), st.tuples(blocks, blocks, blocks))
def test_any_blocks_of_any_matrices(shape, block):
    n, k, m = shape
    generator = torch.Generator().manual_seed(n + 10 * k + 100 * m)
    a = torch.randn(n, k, generator=generator, dtype=torch.float64)
    b = torch.randn(k, m, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(block_matmul(a, b, block), a @ b)


def test_tiles_fit_and_each_pair_meets_once(normal):
    met = []

    def multiply(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        met.append((x.shape[0], x.shape[1], y.shape[1]))
        return tile_product(x, y)

    block_matmul(normal(7, 10), normal(10, 5), (3, 4, 2), multiply)
    assert len(met) == 3 * 3 * 3 and {tuple(size) for size in met} == {
        (n, k, m) for n in (3, 1) for k in (4, 2) for m in (2, 1)
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_long_sums_keep_their_bits(dtype, device):
    a, b = (torch.full(shape, 0.5, dtype=dtype, device=device) for shape in ((2, 2048), (2048, 3)))
    assert torch.equal(block_matmul(a, b, (1, 1, 3)), torch.full((2, 3), 512.0, dtype=dtype, device=device))


@pytest.mark.parametrize(
    ("shape", "block", "said"),
    [((3, 4), (2, 2, 2), "a has 4 columns and b has 3 rows"), ((3, 3), (2, 0, 2), r"block=\(2, 0, 2\)")],
)
def test_what_does_not_fit_is_named(shape, block, said):
    with pytest.raises(BadInput, match=said):
        block_matmul(torch.zeros(shape), torch.zeros(3, 3), block)
