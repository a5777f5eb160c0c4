"""``checkpoint`` against the plain function and ``torch.utils.checkpoint``."""

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn

from mlsys_course.memory import checkpoint
from mlsys_course.substrate.memory_meter import peak_bytes

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def theirs(function, *args, **kwargs):
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False, **kwargs)


def plain(function, *args, **kwargs):
    return function(*args, **kwargs)


def network(device="cpu"):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, 8)).to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("through", [checkpoint, theirs])
def test_values_gradients_and_random_states_are_those_of_the_plain_function(through, device):
    found = []
    for call in (plain, through):
        model, x = network(device), torch.linspace(-1, 1, 24, device=device).view(3, 8).requires_grad_()
        torch.manual_seed(5)
        y = call(model, call(model, x))
        between = torch.rand(2, device=device)
        y.square().sum().backward()
        found.append([y, x.grad, between, torch.rand(2, device=device), *(p.grad for p in model.parameters())])
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_it_is_called_again_once_and_only_for_backward():
    calls = []

    def double(x):
        calls.append(torch.is_grad_enabled())
        return 2 * x

    x = torch.ones(2, requires_grad=True)
    y = checkpoint(double, x)
    assert calls == [False]
    y.sum().backward()
    assert calls == [False, True] and x.grad.tolist() == [2, 2]
    with torch.no_grad():
        assert not checkpoint(double, x).requires_grad


def test_arguments_of_all_kinds(normal):
    def function(x, index, name, *, weight, shift=0.0):
        assert name == "name" and not index.requires_grad
        return (x[index] @ weight + shift).tanh(), index + 1

    x, weight, index = normal(5, 3).requires_grad_(), normal(3, 2).requires_grad_(), torch.tensor([0, 2, 2])
    want = torch.autograd.grad(function(x, index, "name", weight=weight, shift=0.5)[0].sum(), (x, weight))
    y, places = checkpoint(function, x, index, "name", weight=weight, shift=0.5)
    y.sum().backward()
    assert places.tolist() == [1, 3, 3] and not places.requires_grad
    for got, expected in zip((x.grad, weight.grad), want, strict=True):
        torch.testing.assert_close(got, expected)


def test_parameters_get_gradients_though_no_argument_needs_one(normal):
    layer = nn.Linear(3, 2).double()
    checkpoint(layer, normal(4, 3)).sum().backward()
    assert layer.weight.grad is not None
    y = checkpoint(lambda x: x.detach() * 2, normal(4, 3))  # and where nothing does
    (y.sum() + layer.bias.sum()).backward()


def test_nested(normal):
    x = normal(4, 3).requires_grad_()
    other = x.detach().clone().requires_grad_()

    def inner(x):
        return x.sin().cos()

    def outer(x):
        return checkpoint(inner, x).exp() + checkpoint(inner, 2 * x)

    checkpoint(outer, x).sum().backward()
    outer(other).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_is_that_of_the_first_call(enabled):
    seen, weight = [], torch.randn(4, 4, requires_grad=True)

    def function(x):
        seen.append((x @ weight).dtype)
        return (x @ weight).float().sum()

    with torch.autocast("cpu", torch.bfloat16, enabled):
        y = checkpoint(function, torch.randn(2, 4))
    with torch.autocast("cpu", torch.bfloat16, not enabled):
        y.backward()
    assert seen == 2 * [torch.bfloat16 if enabled else torch.float32]


def test_an_argument_that_was_changed_in_between_is_told(normal):
    x = normal(3).requires_grad_()
    given = x * 1
    y = checkpoint(torch.sin, given)
    given.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_is_made_inside_is_not_kept():
    def layer(x):
        for _ in range(10):
            x = x.sin()
        return x

    def stack(call):
        x = torch.ones(10_000, requires_grad=True)
        for _ in range(10):
            x = call(layer, x)
        F.mse_loss(x, torch.zeros_like(x)).backward()

    assert peak_bytes(stack, checkpoint) <= 1.05 * peak_bytes(stack, theirs) < 0.3 * peak_bytes(stack, plain)
