"""The product is PyTorch's, and what moves stays below 1.9 times what must."""

import math

import pytest
import torch

from mlsys_course.kernels import matmul_bound, tiled_matmul
from mlsys_course.substrate.fast_memory import FastMemory


def product(x, y, capacity):
    memory = FastMemory(capacity)
    return memory.read(tiled_matmul(memory, memory.array(x), memory.array(y))), memory


@pytest.mark.parametrize(
    "sizes", [(24, 24, 24), (17, 30, 23), (1, 40, 7), (40, 1, 40), (5, 6, 1), (0, 3, 4), (3, 0, 4)][::-1]
)
@pytest.mark.parametrize("capacity", [3, 48, 80, 300])
def test_the_product_is_pytorchs(sizes, capacity, normal):
    m, k, n = sizes
    x, y = normal(m, k), normal(k, n)
    got, memory = product(x, y, capacity)
    torch.testing.assert_close(got, x @ y)
    assert memory.in_use == 0 and memory.peak <= capacity and memory.multiplications == m * k * n


def test_a_batch(normal):
    x, y = normal(3, 9, 14), normal(3, 14, 5)
    got, memory = product(x, y, 75)
    torch.testing.assert_close(got, x @ y)
    assert memory.moved == 3 * product(x[0], y[0], 75)[1].moved


@pytest.mark.parametrize("capacity", [48, 108, 192, 768])
@pytest.mark.parametrize("sizes", [(48, 48, 48), (47, 53, 61), (96, 20, 64), (1, 90, 90)])
def test_what_moves(sizes, capacity, normal):
    m, k, n = sizes
    _, memory = product(normal(m, k), normal(k, n), capacity)
    side = math.isqrt(capacity // 3)
    assert memory.moved == m * n + m * k * math.ceil(n / side) + k * n * math.ceil(m / side)
    loaded = math.ceil(n / side) * side * math.ceil(m / side) * side / (m * n)  # edges, as if they were whole tiles
    assert memory.moved <= m * n + math.sqrt(3) * 1.04 * max(loaded, 1) * matmul_bound(m, k, n, capacity)


@pytest.mark.parametrize(("m", "k", "n", "capacity"), [(40, 80, 40, 300), (16, 41, 16, 48), (30, 64, 45, 108)])
def test_long_sums_stay_within_the_exercises_limit(m, k, n, capacity, normal):
    _, memory = product(normal(m, k), normal(k, n), capacity)
    assert memory.moved <= 1.9 * matmul_bound(m, k, n, capacity)


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (3, 4, 5)), ((3,), (3, 4))])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="shapes are"):
        product(torch.zeros(shapes[0]), torch.zeros(shapes[1]), 100)
