"""The extensions: a product near the bound, and SwiGLU in one kernel, against PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.kernels import fused_swiglu, matmul_bound, stationary_matmul, tiled_matmul
from mlsys_course.kernels.fused_swiglu import swiglu_traffic
from mlsys_course.substrate.fast_memory import FastMemory


@pytest.mark.parametrize("sizes", [(12, 30, 20), (7, 1, 9), (1, 8, 1), (0, 3, 4), (3, 0, 4)])
@pytest.mark.parametrize("capacity", [3, 8, 63, 400])
def test_the_product_is_pytorchs(sizes, capacity, normal):
    m, k, n = sizes
    x, y, memory = normal(m, k), normal(k, n), FastMemory(capacity)
    got = memory.read(stationary_matmul(memory, memory.array(x), memory.array(y)))
    torch.testing.assert_close(got, x @ y)
    assert memory.in_use == 0


def test_it_comes_near_the_bound_and_moves_less_than_three_tiles(normal):
    x, y, counts = normal(40, 200), normal(200, 40), []
    for product in (stationary_matmul, tiled_matmul):
        memory = FastMemory(440)
        product(memory, memory.array(x), memory.array(y))
        counts.append(memory.moved / matmul_bound(40, 200, 40, 440))
    assert counts[0] <= 1.25 and counts[1] > 1.6


@pytest.mark.parametrize("sizes", [(8, 12, 16), (7, 5, 9), (1, 1, 1), (0, 4, 3), (3, 0, 2)])
@pytest.mark.parametrize("side", [1, 3, 4, 20])
def test_swiglu_is_pytorchs(sizes, side, normal):
    T, C, width = sizes
    x, gate, up, memory = normal(T, C) * 3, normal(C, width), normal(C, width), FastMemory(5 * side * side)
    got = memory.read(fused_swiglu(memory, *map(memory.array, (x, gate, up)), side))
    torch.testing.assert_close(got, F.silu(x @ gate) * (x @ up))
    assert memory.moved == swiglu_traffic(T, C, width, side) and memory.in_use == 0


def test_large_gates_do_not_become_nan(normal):
    x, memory = normal(4, 4) * 1e4, FastMemory(80)
    arrays = [memory.array(one) for one in (x, normal(4, 4), normal(4, 4))]
    assert bool(memory.read(fused_swiglu(memory, *arrays, 4)).isfinite().all())


def test_what_is_refused():
    memory = FastMemory(100)
    for shapes in (((2, 3), (4, 5)), ((2, 3, 4), (2, 4, 5))):
        with pytest.raises(ValueError, match="shapes are"):
            stationary_matmul(memory, *(memory.array(torch.zeros(shape)) for shape in shapes))
    for shapes in (((2, 3), (3, 5), (3, 4)), ((2, 3), (4, 5), (4, 5))):
        with pytest.raises(ValueError, match="shapes are"):
            fused_swiglu(memory, *(memory.array(torch.zeros(shape)) for shape in shapes), 2)
