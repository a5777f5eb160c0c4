"""The machine: what moves is counted, what does not fit is refused, and a program does what was done by hand."""

import math

import pytest
import torch

from mlsys_course.substrate.fast_memory import FastMemory, Full, carried_out, written


def test_a_kernel_by_hand_counts_every_entry(normal):
    x, y = normal(4, 6), normal(6, 5)
    memory = FastMemory(4 * 6 + 6 * 5 + 4 * 5)
    a, b, c = memory.array(x), memory.array(y), memory.new(4, 5)
    left, right, total = memory.load(a), memory.load(b), memory.full(4, 5)
    memory.matmul_add(total, left, right)
    memory.store(total, c)
    torch.testing.assert_close(memory.read(c), x @ y)
    assert (memory.moved, memory.peak, memory.multiplications) == (24 + 30 + 20, 74, 120)
    assert (memory.loads[0], memory.loads[1], memory.stores[2], memory.operations) == (24, 30, 20, 6)
    with pytest.raises(Full, match="takes 1 entries; 0 of 74"):
        memory.full(1, 1)
    memory.free(left)
    assert memory.in_use == 50 and memory.full(3, 8).shape == (3, 8)
    with pytest.raises(ValueError, match="freed"):
        memory.exp(left)


def test_arithmetic_is_pytorchs(normal):
    x, column, row = normal(3, 4), normal(3, 1), normal(1, 4)
    memory = FastMemory(1000)
    tiles = {name: memory.load(memory.array(value)) for name, value in (("x", x), ("column", column), ("row", row))}
    want = x.clone()
    for name, function in (("add", torch.add), ("subtract", torch.sub), ("multiply", torch.mul)):
        for other, value in (("column", column), ("row", row), ("x", None)):
            getattr(memory, name)(tiles["x"], tiles[other])
            want = function(want, want if value is None else value)
    memory.divide(tiles["x"], 3)
    memory.add(tiles["x"], tiles["column"])
    memory.maximum(tiles["x"], tiles["row"])
    want = torch.maximum(want / 3 + column, row)
    sums, most, copied = memory.rowsum(tiles["x"]), memory.rowmax(tiles["x"]), memory.copy(tiles["x"])
    memory.maximum(copied, 0.5)
    memory.log(copied)
    memory.exp(copied)
    found = [memory.new(*tile.shape) for tile in (tiles["x"], sums, most, copied)]
    for tile, array in zip((tiles["x"], sums, most, copied), found, strict=True):
        memory.store(tile, array)
    right = [want, want.sum(1, keepdim=True), want.amax(1, keepdim=True), want.clamp(min=0.5)]
    torch.testing.assert_close([memory.read(array) for array in found], right)


def test_views_are_of_the_same_numbers(normal):
    x = normal(5, 9)
    memory = FastMemory(200)
    tile, out = memory.load(memory.array(x)), memory.new(3, 4)
    view = tile[1:4, ::2][:, 1:].T
    assert view.shape == (4, 3) and memory.in_use == 45
    memory.multiply(view, 2.0)
    memory.store(view.T, out)
    torch.testing.assert_close(memory.read(out), 2 * x[1:4, ::2][:, 1:])
    torch.testing.assert_close(view[0:2, 1:].shape, (2, 2))
    for index in ((0, slice(None)), slice(None, None, -1)):
        with pytest.raises(IndexError):
            tile[index]


@pytest.mark.parametrize(("low", "high"), [(None, 0), (-1, 2), (2, None), (None, None), (9, None), (None, -9)])
def test_a_band_is_triu_and_tril(low, high, normal):
    x = normal(4, 6)
    memory = FastMemory(100)
    tile, out = memory.load(memory.array(x)), memory.new(4, 6)
    memory.keep_band(tile, low, high)
    memory.store(tile, out)
    kept = torch.ones(4, 6).triu(-10 if low is None else low).tril(10 if high is None else high).bool()
    torch.testing.assert_close(memory.read(out), x.masked_fill(~kept, -math.inf))


def test_regions_are_pytorchs(normal):
    x = normal(2, 5, 7)
    memory = FastMemory(1000)
    a = memory.array(x)
    for index in ((1, slice(1, 4), slice(5, 99)), (0,), (1, 3), (-1, slice(-2, None)), (0, slice(None), 2)):
        tile, want = memory.load(a[index]), x[index]
        out = memory.new(*tile.shape)
        memory.store(tile, out)
        torch.testing.assert_close(memory.read(out), want.reshape(tile.shape))
    for bad, error in (
        ((2,), IndexError),
        ((0, 0, 0), ValueError),
        ((), ValueError),
        ((0, slice(0, 4, 2)), IndexError),
    ):
        with pytest.raises(error):
            memory.load(a[bad])
    with pytest.raises(ValueError, match="does not fit"):
        memory.store(memory.full(2, 2), a[0, :3, :2])


def kernel(memory, a, b):
    """A little of everything."""
    left, right, out = memory.load(a[0:3]), memory.load(b), memory.new(2, 3)
    total = memory.full(3, 2, -math.inf)
    memory.maximum(total, 0.25)
    memory.matmul_add(total, left[:, ::2], right[1:4])
    memory.keep_band(total, None, 0, 1e-300)
    memory.multiply(total, memory.rowmax(total))
    memory.free(left)
    memory.store(total.T, out)
    return out


def test_a_program_does_what_the_kernel_does(normal):
    x, y = normal(4, 5), normal(4, 2)
    text = written(60, [(4, 5), (4, 2)], kernel)
    other = carried_out(text["program"], 60, [x, y])
    by_hand = FastMemory(60)
    out = kernel(by_hand, by_hand.array(x), by_hand.array(y))
    (found,) = text["results"]
    assert torch.equal(other.read(other.arrays[found]), by_hand.read(out))
    for name in ("moved", "peak", "in_use", "multiplications", "operations"):
        assert getattr(other, name) == getattr(by_hand, name)


@pytest.mark.parametrize(
    "program",
    [
        "load a0[0:9,0:9]\nread a0[0:1]",
        "load a7[0:1]",
        "full 9 9 0.0\nfull 9 9 0.0",
        "new 99999999 99999999",
        "new -1 -1",
        "full 2 2 0.0\nmatmul_add t0[0:9:1,0:2:1] t0[0:2:1,0:2:1] t0[0:1:1,0:2:1]",
        "exp t0[0:2:1,0:2:1]",
        "_note x",
        "full 2 2\nkeep_band t0[] 0 0 __import__",
        "\n".join(["full 0 0 0.0"] * 20_001),
    ],
)
def test_what_is_no_program_is_refused(program):
    with pytest.raises(Exception):  # noqa: B017 (of any kind, since whoever judges catches all)
        carried_out(program, 100, [torch.zeros(9, 9)])


def test_numbers_are_not_to_be_had_where_a_kernel_is_written_down():
    def curious(memory, a):
        return memory.read(a)

    with pytest.raises(ValueError, match="elsewhere"):
        written(10, [(2, 2)], curious)
    with pytest.raises(RuntimeError, match="larger tiles"):
        written(10, [(2, 2)], lambda memory, a: [memory.new(1) for _ in range(20_001)])
