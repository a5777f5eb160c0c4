"""Sparsification against NumPy's sorting, closed forms over draws, and what error feedback has to conserve."""

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from mlsys_course import parameter_server as P

sparsify = jaxtyped(typechecker=beartype)(P.sparsify)
random_k = jaxtyped(typechecker=beartype)(P.random_k)
momentum_sparsify = jaxtyped(typechecker=beartype)(P.momentum_sparsify)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def by_numpy(left: np.ndarray, k: int) -> list[int]:
    """Places of the k largest magnitudes; ``lexsort`` breaks ties by the earlier place."""
    return sorted(np.lexsort((np.arange(left.size), -np.abs(left.ravel())))[:k].tolist())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [0, 1, 5, 24, 30])
def test_the_largest_magnitudes_leave_and_the_rest_stays(normal, dtype, k):
    gradient, residual = normal(4, 6).to(dtype), normal(4, 6).to(dtype)
    before = gradient.clone(), residual.clone()
    values, indices, left = sparsify(gradient, residual, k)
    total = gradient + residual
    assert indices.tolist() == by_numpy(total.double().numpy(), k)
    assert torch.equal(values, total.reshape(-1)[indices])
    assert torch.equal(P.densify(values, indices, (4, 6)) + left, total)  # nothing is lost, bit by bit
    assert torch.equal(gradient, before[0]) and torch.equal(residual, before[1])


def test_of_equal_magnitudes_the_earlier_leaves():
    gradient = torch.tensor([1.0, -2.0, 2.0, 1.0, -2.0, 2.0, 0.0])
    for k, places in {1: [1], 2: [1, 2], 3: [1, 2, 4], 5: [0, 1, 2, 4, 5]}.items():
        assert sparsify(gradient, torch.zeros(7), k)[1].tolist() == places


def test_tensors_of_any_strides_and_sizes(normal):
    gradient, residual = normal(5, 4).T, normal(8, 5)[::2]
    values, indices, left = sparsify(gradient, residual, 3)
    total = gradient + residual
    assert torch.equal(P.densify(values, indices, (4, 5)) + left, total)
    empty = sparsify(torch.zeros(0), torch.zeros(0), 3)
    assert [len(part) for part in empty] == [0, 0, 0]
    assert sparsify(torch.tensor(2.0), torch.tensor(1.0), 1)[0].tolist() == [3.0]


def test_what_is_sent_over_many_steps_adds_up_to_all_gradients(normal):
    residual, sent, total = torch.zeros(50).double(), torch.zeros(50).double(), torch.zeros(50).double()
    for _ in range(40):
        gradient = normal(50)
        values, indices, residual = sparsify(gradient, residual, 5)
        sent += P.densify(values, indices, (50,))
        total += gradient
    torch.testing.assert_close(sent + residual, total)
    assert float(residual.abs().max()) < float(total.abs().max()) + 20


def test_random_k_is_right_on_average_and_has_the_variance_of_a_draw_without_replacement(normal):
    x, k, draws = normal(6), 2, 20_000
    u = torch.from_numpy(np.random.Generator(np.random.PCG64(1)).random((draws, 6)))
    found = torch.stack([P.densify(*random_k(x, k, row), (6,)) for row in u])
    variance = x.square() * (6 / k - 1)  # x / q with probability q = k / n
    error = (found.mean(0) - x).abs() / (variance / draws).sqrt()
    assert float(error.max()) < 4.5
    torch.testing.assert_close(found.var(0), variance, rtol=0.1, atol=0)


def test_random_k_takes_the_smallest_uniforms_and_scales():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    values, indices = random_k(x, 2, torch.tensor([[0.5, 0.1], [0.5, 0.9]]))
    assert indices.tolist() == [0, 1] and values.tolist() == [2.0, 4.0]
    assert random_k(x, 9, torch.rand(2, 2))[0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert random_k(x, 0, torch.rand(2, 2))[0].tolist() == []


def test_momentum_correction_with_everything_sent_is_sgd_with_momentum_masked(normal):
    """All entries leave: the momentum never gets old, so what is sent are the gradients."""
    momentum = residual = torch.zeros(7).double()
    for _ in range(3):
        gradient = normal(7)
        values, _, momentum, residual = momentum_sparsify(gradient, momentum, residual, 7, 0.9)
        torch.testing.assert_close(values, gradient)
        assert not momentum.any() and not residual.any()


def test_momentum_correction_with_nothing_sent_adds_up_what_sgd_would_have_stepped_by(normal):
    """PyTorch's SGD with momentum moves by the sum of momenta; so much waits here."""
    weight = torch.nn.Parameter(torch.zeros(7).double())
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    momentum = residual = torch.zeros(7).double()
    for _ in range(5):
        weight.grad = gradient = normal(7)
        _, _, momentum, residual = momentum_sparsify(gradient, momentum, residual, 0, 0.9)
        optimizer.step()
    torch.testing.assert_close(residual, -weight.detach())
