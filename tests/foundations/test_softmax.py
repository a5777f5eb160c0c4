"""Softmax, its logarithm and its gradient against PyTorch's, in every dtype, and where PyTorch has NaN."""

import pytest
import torch
import torch.nn.functional as F

from mlsys_course import foundations as component
from mlsys_course.foundations import (
    BadInput,
    cross_entropy,
    log_softmax,
    smooth_cross_entropy,
    softmax,
    softmax_gradient,
)
from mlsys_course.substrate.dtypes import NotFloating

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SHAPES = [((5,), -1), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -2), ((3, 1), 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("shift", [0.0, 900.0, -900.0])
def test_as_pytorch_has_them(normal, shape, dim, dtype, shift, device):
    x = (normal(*shape, scale=3.0) + shift).to(dtype).to(device)
    torch.testing.assert_close(softmax(x, dim), F.softmax(x, dim))
    torch.testing.assert_close(log_softmax(x, dim), F.log_softmax(x, dim))


def test_minus_infinity_among_others(normal):
    x = normal(4, 5)
    x[0, 2] = x[1, :4] = -torch.inf
    torch.testing.assert_close(softmax(x), F.softmax(x, -1))
    torch.testing.assert_close(log_softmax(x), F.log_softmax(x, -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_to_choose_from(dtype, device):
    x = torch.tensor([[1.0, 2.0], [-torch.inf, -torch.inf]], dtype=dtype, device=device)
    assert torch.equal(softmax(x)[1], torch.zeros(2, dtype=dtype, device=device))
    assert torch.equal(log_softmax(x)[1], x[1])
    torch.testing.assert_close(softmax(x)[0], F.softmax(x[0], -1))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0), (2, 0, 3)])
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_empty_in_empty_out(function, shape, device):
    for dim in range(len(shape)):
        x = torch.zeros(shape, dtype=torch.bfloat16, device=device)
        assert function(x, dim).shape == shape and function(x, dim).dtype == x.dtype


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_gradient_of_softmax_is_autograds(normal, shape, dim, device):
    x, grad = normal(*shape).to(device).requires_grad_(), normal(*shape, scale=2.0).to(device)
    y = F.softmax(x, dim)
    (expected,) = torch.autograd.grad(y, x, grad)
    torch.testing.assert_close(softmax_gradient(y.detach(), grad, dim), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_loss_and_gradient_are_pytorchs(normal, dtype, smoothing, device):
    logits = normal(6, 5, scale=4.0).to(dtype).to(device).requires_grad_()
    labels = torch.tensor([0, 4, 2, 2, 1, 3], device=device)
    wide = logits.to(torch.promote_types(dtype, torch.float32))
    expected = F.cross_entropy(wide, labels, label_smoothing=smoothing)
    (expected_grad,) = torch.autograd.grad(expected, logits)
    loss, grad = cross_entropy(logits.detach(), labels, smoothing=smoothing)
    torch.testing.assert_close((loss, grad), smooth_cross_entropy(logits.detach(), labels, smoothing))
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(grad, expected_grad)


def test_a_class_ruled_out_costs_nothing(normal):
    logits = normal(2, 4)
    logits[0, 1] = logits[1, 3] = -torch.inf
    loss, grad = cross_entropy(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0, 1])))
    assert grad[0, 1] == 0 and grad.isfinite().all()


@pytest.mark.parametrize(
    ("rows", "labels", "said"),
    [
        (2, [0, 3], "labels has 3, but the classes are 0 to 2"),
        (2, [-100, 1], "labels has -100"),
        (0, [], "no rows"),
        (2, [1], r"labels has shape \(1,\), expected \(2,\)"),
    ],
)
def test_bad_labels_are_named(rows, labels, said):
    with pytest.raises(BadInput, match=said):
        cross_entropy(torch.zeros(rows, 3), torch.tensor(labels, dtype=torch.int64))


def test_smoothing_is_a_share():
    with pytest.raises(BadInput, match=r"smoothing=1\.5; choose a number from 0 to 1"):
        cross_entropy(torch.zeros(1, 3), torch.tensor([0]), smoothing=1.5)


TRUNCATING = {  # ours, and what PyTorch refuses alike
    "softmax": (component.softmax, lambda x: F.softmax(x, -1)),
    "log_softmax": (component.log_softmax, lambda x: F.log_softmax(x, -1)),
    "softmax_gradient": (lambda x: component.softmax_gradient(x, x), lambda x: F.softmax(x, -1)),
    "cross_entropy": (
        lambda x: component.cross_entropy(x, torch.tensor([0, 1])),
        lambda x: F.cross_entropy(x, torch.tensor([0, 1])),
    ),
    "block_matmul": (lambda x: component.block_matmul(x, x.T, (1, 1, 1)), None),  # PyTorch has one, and it is exact
}


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64, torch.complex64], ids=str)
@pytest.mark.parametrize("name", TRUNCATING)
def test_numbers_without_fractions_are_refused(name, dtype):
    ours, theirs = TRUNCATING[name]
    x = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype)
    with pytest.raises(NotFloating, match=rf"is {dtype}; floating-point numbers are expected"):
        ours(x)
    if theirs and not dtype.is_complex:
        with pytest.raises((RuntimeError, NotImplementedError)):
            theirs(x)
