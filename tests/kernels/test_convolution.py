"""Both convolutions against PyTorch's, forward and backward; and each entry moves once."""

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.kernels import conv2d, im2col, tiled_matmul
from mlsys_course.substrate.fast_memory import FastMemory

SHAPES = [((2, 3, 8, 9), (3, 3), 1, 1), ((1, 2, 9, 7), (5, 5), 2, 2), ((2, 1, 6, 6), (1, 1), 1, 0),
          ((1, 3, 10, 11), (3, 5), 3, 0), ((1, 1, 3, 3), (3, 3), 1, 4), ((1, 2, 7, 5), (2, 4), 4, 1)]  # fmt: skip


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), SHAPES)
def test_columns_are_unfolds(shape, kernel, stride, padding, normal):
    ours, theirs = (normal(*shape).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours.data)
    got, want = im2col(ours, kernel, stride, padding), F.unfold(theirs, kernel, stride=stride, padding=padding)
    torch.testing.assert_close(got, want)
    grad = normal(*want.shape)
    got.backward(grad)
    want.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), SHAPES)
def test_direct_is_pytorchs_and_moves_once(shape, kernel, stride, padding, normal):
    (_, C, H, W), (R, _) = shape, kernel
    x, w = normal(*shape), normal(4, C, *kernel)
    want = F.conv2d(x, w, stride=stride, padding=padding)
    memory = FastMemory(w.numel() + R * C * W + 4 * want.shape[3])
    image, weights = memory.array(x), memory.array(w)
    torch.testing.assert_close(memory.read(conv2d(memory, image, weights, stride, padding)), want)
    assert memory.loads[0] <= x.numel() and memory.loads[1] == w.numel() and memory.in_use == 0
    assert memory.moved <= x.numel() + w.numel() + want.numel()
    if stride <= R and not (H + 2 * padding - R) % stride and padding < R:
        assert memory.loads[0] == x.numel()


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), SHAPES)
def test_columns_times_weights_are_the_same(shape, kernel, stride, padding, normal):
    x, w = normal(*shape), normal(4, shape[1], *kernel)
    want = F.conv2d(x, w, stride=stride, padding=padding)
    columns = im2col(x, kernel, stride, padding)
    for one, right in zip(columns, want, strict=True):
        memory = FastMemory(192)
        found = tiled_matmul(memory, memory.array(w.flatten(1)), memory.array(one))
        torch.testing.assert_close(memory.read(found), right.flatten(1))


def test_what_is_refused(normal):
    x = normal(1, 2, 4, 4)
    for kernel, stride, padding in (((5, 1), 1, 0), ((3, 3), 0, 0), ((3, 3), 1, -1)):
        with pytest.raises(ValueError, match=r"does not fit|at least 1"):
            im2col(x, kernel, stride, padding)
        memory = FastMemory(1000)
        with pytest.raises(ValueError, match=r"does not fit|at least 1"):
            conv2d(memory, memory.array(x), memory.array(normal(1, 2, *kernel)), stride, padding)
    memory = FastMemory(1000)
    with pytest.raises(ValueError, match="channels"):
        conv2d(memory, memory.array(x), memory.array(normal(1, 3, 3, 3)))
