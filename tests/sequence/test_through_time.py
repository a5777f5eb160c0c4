"""Back-propagation through time against autograd and finite differences."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import sequence as component
from mlsys_course.sequence import length_mask, rnn

rnn_backward = jaxtyped(typechecker=beartype)(component.rnn_backward)

NAMES = ("x", "h_0", "w_xh", "w_hh", "b")
B, T, CX, C = 3, 7, 4, 5


@pytest.fixture
def given(normal):
    def draw(T=T, dtype=torch.float64):
        return [normal(*shape, scale=0.6, dtype=dtype) for shape in ((B, T, CX), (B, C), (CX, C), (C, C), (C,))]

    return draw


def by_hand(tensors, d_states, mask=None, chunk=None):
    x, h_0, w_xh, w_hh, b = tensors
    return rnn_backward(x, h_0, rnn(x, h_0, w_xh, w_hh, b, mask), d_states, w_xh, w_hh, mask, chunk)


def in_pieces(tensors, chunk, mask):
    """``rnn`` whose state is cut off autograd's graph every ``chunk`` steps."""
    x, h, *weights = tensors
    pieces = []
    for start in range(0, x.shape[1], chunk):
        part = slice(start, start + chunk)
        pieces.append(rnn(x[:, part], h, *weights, None if mask is None else mask[:, part]))
        h = pieces[-1][:, -1].detach()
    return torch.cat(pieces, 1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("T", "chunk"), [(7, None), (1, None), (7, 1), (7, 3), (6, 3), (7, 7), (7, 100)])
def test_equals_autograd(T, chunk, masked, given, normal):
    tensors, d_states = [x.requires_grad_() for x in given(T)], normal(B, T, C)
    mask = length_mask(torch.tensor([T, 1, max(1, T - 2)]), T) if masked else None
    output = in_pieces(tensors, chunk or T, mask)
    want = torch.autograd.grad(output, tensors, d_states, materialize_grads=True)
    with torch.no_grad():
        found = by_hand(tensors, d_states, mask, chunk)
    assert tuple(found) == NAMES
    assert_close(found, dict(zip(NAMES, want, strict=True)))


def test_equals_finite_differences(given, normal):
    tensors, d_states = given(), normal(B, T, C)
    found, epsilon = by_hand(tensors, d_states), 1e-6
    for place, name in enumerate(NAMES):
        direction = normal(*tensors[place].shape)

        def loss(step, place=place, direction=direction):
            moved = [t + step * direction if i == place else t for i, t in enumerate(tensors)]
            return (rnn(*moved) * d_states).sum()

        slope = (loss(epsilon) - loss(-epsilon)) / (2 * epsilon)
        assert_close((found[name] * direction).sum(), slope, rtol=1e-6, atol=1e-8, msg=name)


def test_truncation_keeps_the_direct_path_and_drops_the_long_one(given):
    tensors, d_states = given(), torch.zeros(B, T, C, dtype=torch.float64)
    d_states[:, -1] = 1  # a loss of the last state only
    full, cut = by_hand(tensors, d_states)["x"], by_hand(tensors, d_states, chunk=3)["x"]
    assert (full.abs().sum((0, 2)) > 0).all()
    assert_close(cut[:, 6:], full[:, 6:])
    assert (cut[:, :6] == 0).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-2)])
def test_dtypes_and_devices(dtype, tolerance, device, given, normal):
    precise, d_states = given(), normal(B, T, C, scale=0.5)
    found = by_hand([x.to(device, dtype) for x in precise], d_states.to(device, dtype))
    want = by_hand(precise, d_states)
    for name in NAMES:
        assert found[name].dtype == dtype and found[name].device.type == device
        error = (found[name].cpu().double() - want[name]).norm() / want[name].norm()
        assert error < tolerance, f"{name} is off by {error:.1e} of its norm"


def test_bad_input_is_named(given):
    x, h_0, w_xh, w_hh, b = given()
    states = rnn(x, h_0, w_xh, w_hh, b)
    with pytest.raises(ValueError, match="chunk=0"):
        component.rnn_backward(x, h_0, states, states, w_xh, w_hh, chunk=0)
    with pytest.raises(ValueError, match="each state a gradient"):
        component.rnn_backward(x, h_0, states, states[:, -1:], w_xh, w_hh)
    with pytest.raises(ValueError, match="T of at least 1"):
        component.rnn_backward(x[:, :0], h_0, states[:, :0], states[:, :0], w_xh, w_hh)
