"""Norms against ``nn.LayerNorm`` and ``nn.RMSNorm``, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.testing import assert_close

from mlsys_course import transformer as component
from mlsys_course.substrate.dtypes import NotFloating

layer_norm = jaxtyped(typechecker=beartype)(component.layer_norm)
rms_norm = jaxtyped(typechecker=beartype)(component.rms_norm)
CLOSE = {
    torch.float64: {},
    torch.float32: {"atol": 2e-5, "rtol": 2e-5},
    torch.bfloat16: {"atol": 3e-2, "rtol": 3e-2},
}


@pytest.fixture(params=[False, True], ids=["naive", "fast"])
def fast(request):
    return request.param


def oracle(norm, C, epsilon, gain, bias=None):
    module = norm(C, epsilon, dtype=torch.float64)
    module.weight.data.copy_(gain)
    if bias is not None:
        module.bias.data.copy_(bias)
    return module


@pytest.mark.parametrize("dtype", list(CLOSE), ids=str)
@pytest.mark.parametrize("shape", [(2, 5, 12), (12,), (1, 3)])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_layer_norm_is_torchs(dtype, shape, epsilon, fast, normal, device):
    x, gain, bias, cotangent = normal(*shape), normal(shape[-1]), normal(shape[-1]), normal(*shape)
    x, gain, bias, cotangent = (t.to(device, dtype).requires_grad_() for t in (x + 0.5, gain, bias, cotangent))
    theirs = oracle(nn.LayerNorm, shape[-1], epsilon, gain, bias).to(device)
    x_theirs = x.detach().double().requires_grad_()
    want = theirs(x_theirs)
    wanted = torch.autograd.grad(want, (x_theirs, theirs.weight, theirs.bias), cotangent.double())
    got = layer_norm(x, gain, bias, epsilon, fast)
    assert got.dtype == dtype
    assert_close(got.double(), want, **CLOSE[dtype])
    found = [g.double() for g in torch.autograd.grad(got, (x, gain, bias), cotangent)]
    assert_close(found, list(wanted), **CLOSE[dtype])


@pytest.mark.parametrize("dtype", list(CLOSE), ids=str)
@pytest.mark.parametrize("shape", [(2, 5, 12), (12,), (1, 3)])
@pytest.mark.parametrize("epsilon", [1e-6, 0.3])
def test_rms_norm_is_torchs(dtype, shape, epsilon, fast, normal, device):
    x, gain, cotangent = normal(*shape) + 0.5, normal(shape[-1]), normal(*shape)
    x, gain, cotangent = (t.to(device, dtype).requires_grad_() for t in (x, gain, cotangent))
    theirs = oracle(nn.RMSNorm, shape[-1], epsilon, gain).to(device)
    x_theirs = x.detach().double().requires_grad_()
    want = theirs(x_theirs)
    wanted = torch.autograd.grad(want, (x_theirs, theirs.weight), cotangent.double())
    got = rms_norm(x, gain, epsilon, fast)
    assert got.dtype == dtype
    assert_close(got.double(), want, **CLOSE[dtype])
    found = [g.double() for g in torch.autograd.grad(got, (x, gain), cotangent)]
    assert_close(found, list(wanted), **CLOSE[dtype])


def test_what_a_norm_does_not_see(normal):
    """LayerNorm does not see shift and scale of a token, RMSNorm does not see its scale."""
    x, gain, bias = normal(4, 16), normal(16), normal(16)
    assert_close(layer_norm(7 * x + 3, gain, bias, 0.0), layer_norm(x, gain, bias, 0.0))
    assert_close(rms_norm(7 * x, gain, 0.0), rms_norm(x, gain, 0.0))
    assert not torch.allclose(rms_norm(x + 3, gain, 0.0), rms_norm(x, gain, 0.0))


def test_bfloat16_statistics_are_precise(normal):
    """A mean of 40 would swallow the deviations if it were taken off in bfloat16."""
    x = (normal(4, 512) + 40).bfloat16()
    one, zero = torch.ones(512, dtype=torch.bfloat16), torch.zeros(512, dtype=torch.bfloat16)
    want = nn.functional.layer_norm(x.double(), (512,))
    assert_close(layer_norm(x, one, zero).double(), want, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("function", [lambda x, g: component.layer_norm(x, g, g), component.rms_norm])
def test_a_gain_of_another_width_is_told(function, normal):
    for wrong in (normal(5), normal(4, 6)):
        with pytest.raises(ValueError, match="one number for each channel"):
            function(normal(4, 6), wrong)


def test_modules_hold_what_the_functions_take(normal):
    x = normal(3, 8, dtype=torch.float32)
    assert_close(component.LayerNorm(8, 0.1)(x), nn.LayerNorm(8, 0.1)(x))
    assert_close(component.RMSNorm(8, 0.1)(x), nn.RMSNorm(8, 0.1)(x))


ONES = torch.ones(3)
TRUNCATING = {  # ours, and what PyTorch refuses alike
    "layer_norm": (lambda x: component.layer_norm(x, ONES, ONES), lambda x: F.layer_norm(x, (3,))),
    "layer_norm, fast": (lambda x: component.layer_norm(x, ONES, ONES, fast=True), lambda x: F.layer_norm(x, (3,))),
    "rms_norm": (lambda x: component.rms_norm(x, ONES), None),  # PyTorch's gives what our rule forbids: other dtypes
    "rms_norm, fast": (lambda x: component.rms_norm(x, ONES, fast=True), None),
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


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
@pytest.mark.parametrize("epsilon", [1e-5, 0.4])
def test_the_gradient_by_hand_is_pytorchs(shape, epsilon, normal):
    x, gradient = normal(*shape), normal(*shape)
    leaves = [t.requires_grad_() for t in (x, normal(7), normal(7))]
    want = torch.autograd.grad(torch.nn.functional.layer_norm(x, (7,), *leaves[1:], epsilon), leaves, gradient)
    assert_close(component.layer_norm_backward(x.detach(), leaves[1].detach(), gradient, epsilon), want)


def test_the_gradient_by_hand_keeps_its_dtype(normal):
    given = [t.to(torch.bfloat16) for t in (normal(2, 7), normal(7), normal(2, 7))]
    exact = component.layer_norm_backward(*(t.double() for t in given))
    for got, want in zip(component.layer_norm_backward(*given), exact, strict=True):
        assert got.dtype == torch.bfloat16
        assert_close(got.double(), want, atol=0.03, rtol=0.01)
