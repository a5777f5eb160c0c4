"""Jacobians against autograd's, their growth against eigenvalues, and clipping against PyTorch's."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import sequence as component
from mlsys_course.sequence import clip_by_norm, rnn, rnn_cell, spectral_radius

state_jacobian = jaxtyped(typechecker=beartype)(component.state_jacobian)
jacobian_product = jaxtyped(typechecker=beartype)(component.jacobian_product)

B, T, CX, C = 2, 6, 3, 4


@pytest.fixture
def given(normal):
    return [normal(*shape, scale=0.6) for shape in ((B, T, CX), (B, C), (CX, C), (C, C), (C,))]


def test_one_step_equals_autograd(given):
    x, h, *weights = given
    found = state_jacobian(rnn_cell(x[:, 0], h, *weights), weights[1])
    for row in range(B):
        one = torch.autograd.functional.jacobian(
            lambda before, row=row: rnn_cell(x[row : row + 1, 0], before[None], *weights)[0], h[row]
        )
        assert_close(found[row], one)


def test_products_equal_autograd(given):
    x, h_0, *weights = given
    states = rnn(x, h_0, *weights)
    found = jacobian_product(states, weights[1])
    assert_close(found[0], jacobian_product(states[0], weights[1]))  # batched or one
    for t in range(T):

        def rest(h, t=t):  # the last state from the state after step t
            return h[None] if t == T - 1 else rnn(x[:1, t + 1 :], h[None], *weights)[:, -1]

        want = torch.autograd.functional.jacobian(rest, states[0, t])[0]
        assert_close(found[0, t], want)


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.3])
def test_without_input_norms_follow_the_largest_eigenvalue(radius, normal):
    w = normal(8, 8)
    w = radius * w / spectral_radius(w)
    assert spectral_radius(w) == pytest.approx(radius)
    norms = torch.linalg.matrix_norm(jacobian_product(torch.zeros(201, 8, dtype=w.dtype), w), ord=2)
    assert (norms[0] / norms[100]).item() ** (1 / 100) == pytest.approx(radius, rel=0.02)


def test_saturated_states_let_nothing_through(normal):
    w = 3 * torch.eye(4, dtype=torch.float64)
    assert jacobian_product(torch.ones(5, 4, dtype=w.dtype), w)[0].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_devices(dtype, device, given):
    x, h_0, *weights = given
    states = rnn(x, h_0, *weights)
    found = jacobian_product(states.to(device, dtype), weights[1].to(device, dtype))
    assert found.dtype == dtype and found.device.type == device
    assert_close(found.cpu().double(), jacobian_product(states, weights[1]), atol=5e-2, rtol=0)


@pytest.mark.parametrize("max_norm", [0.1, 3.0, 1e9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_clipping_equals_torch(max_norm, dtype, device, normal):
    gradients = {"w": normal(5, 4, dtype=dtype).to(device), "b": normal(4, dtype=dtype).to(device)}
    before = {name: g.clone() for name, g in gradients.items()}
    parameters = [torch.zeros_like(g).requires_grad_() for g in gradients.values()]
    for p, g in zip(parameters, gradients.values(), strict=True):
        p.grad = g.clone()
    want = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    clipped, norm = clip_by_norm(gradients, max_norm)
    tolerance = {"atol": 1e-2, "rtol": 1e-2} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    assert norm == pytest.approx(want.item(), rel=tolerance["rtol"])
    assert_close(list(clipped.values()), [p.grad for p in parameters], **tolerance)
    assert_close(gradients, before, atol=0, rtol=0)  # what was given stays


def test_clipping_of_nothing_and_of_what_is_not_finite():
    assert clip_by_norm({"w": torch.zeros(3)}, 1.0)[1] == 0
    assert clip_by_norm({}, 1.0) == ({}, 0.0)
    for wrong in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match=r"norm is (nan|inf)"):
            clip_by_norm({"w": torch.tensor([wrong, 1.0])}, 1.0)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="max_norm"):
            clip_by_norm({"w": torch.ones(3)}, wrong)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="3 channels"):
        component.jacobian_product(torch.ones(5, 3), torch.ones(4, 4))
    with pytest.raises(ValueError, match="T of at least 1"):
        component.jacobian_product(torch.ones(0, 3), torch.ones(3, 3))


def test_clipping_leaves_parameters_without_a_gradient_as_they_are(normal):
    found = {"w": normal(3, 4), "unused": None, "b": normal(4)}
    parameters = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in ((3, 4), (2,), (4,))]
    for parameter, grad in zip(parameters, found.values(), strict=True):
        parameter.grad = None if grad is None else grad.clone()
    want = torch.nn.utils.clip_grad_norm_(parameters, 0.5)
    clipped, norm = clip_by_norm(found, 0.5)
    assert clipped["unused"] is None and norm == pytest.approx(float(want))
    for parameter, grad in zip(parameters, clipped.values(), strict=True):
        assert grad is None or torch.allclose(grad, parameter.grad, rtol=1e-5)
    assert clip_by_norm({"unused": None}, 0.5) == ({"unused": None}, 0.0)
