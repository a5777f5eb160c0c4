"""Flash attention against PyTorch's, forward and backward, its traffic, and what it must not keep."""

import math

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.kernels import (
    attend,
    backward_traffic,
    flash_attention,
    flash_attention_backward,
    forward_traffic,
)
from mlsys_course.substrate.fast_memory import FastMemory
from mlsys_course.substrate.memory_meter import peak_bytes

CASES = [  # H, T, S, D, Dv, rows, columns, causal, window
    (2, 8, 8, 4, 4, 4, 4, False, None),
    (1, 13, 13, 5, 3, 4, 6, True, None),
    (2, 7, 19, 4, 6, 3, 4, True, None),
    (1, 11, 4, 4, 4, 3, 2, True, None),  # the first queries see nothing
    (1, 16, 16, 2, 2, 4, 4, True, 5),
    (1, 9, 14, 3, 3, 2, 5, True, 1),
    (1, 6, 6, 4, 4, 9, 9, True, 99),
    (1, 5, 1, 1, 1, 2, 2, False, None),
    (1, 3, 0, 2, 2, 2, 2, False, None),
    (1, 0, 3, 2, 2, 2, 2, False, None),
]


def seen(T, S, causal, window):
    places = torch.arange(S) - torch.arange(T)[:, None] - (S - T)
    return (places <= 0) & (places > -(window or math.inf)) if causal else torch.ones(T, S, dtype=torch.bool)


def theirs(q, k, v, causal, window):
    """PyTorch's output, zeros for queries that see nothing."""
    mask = seen(q.shape[1], k.shape[1], causal, window)
    output = F.scaled_dot_product_attention(q, k, v, mask | ~mask.any(1, keepdim=True))
    return output.masked_fill(~mask.any(1, keepdim=True), 0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, normal):
    H, T, S, D, Dv, rows, columns, causal, window = case
    q, k, v = normal(H, T, D) * 3, normal(H, S, D) * 3, normal(H, S, Dv)
    memory = FastMemory((rows + columns) * (D + Dv) + 2 * rows * columns + 8 * rows)
    made = flash_attention(memory, *map(memory.array, (q, k, v)), rows, columns, causal, window)
    output, log_sum_exp = map(memory.read, made)
    torch.testing.assert_close(output, theirs(q, k, v, causal, window) if S else torch.zeros(H, T, Dv).double())
    scores = (q @ k.mT / math.sqrt(D)).masked_fill(~seen(T, S, causal, window), -math.inf)
    torch.testing.assert_close(log_sum_exp[..., 0], scores.logsumexp(-1))
    assert (memory.moved, memory.multiplications) == forward_traffic(*case) and memory.in_use == 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case, normal):
    H, T, S, D, Dv, rows, columns, causal, window = case
    q, k, v = (x.requires_grad_() for x in (normal(H, T, D) * 2, normal(H, S, D) * 2, normal(H, S, Dv)))
    grad = normal(H, T, Dv)
    first = FastMemory(10_000)
    given = [x.detach() for x in (q, k, v)]
    made = flash_attention(first, *map(first.array, given), rows, columns, causal, window)
    memory = FastMemory(2 * (rows + columns) * (D + Dv) + 3 * rows * columns + 8 * rows)
    arrays = [memory.array(x) for x in (*given, *map(first.read, made), grad)]
    found = [memory.read(one) for one in flash_attention_backward(memory, *arrays, rows, columns, causal, window)]
    if S:
        (theirs(q, k, v, causal, window) * grad).sum().backward()
    want = [torch.zeros_like(x) if x.grad is None else x.grad for x in (q, k, v)]
    torch.testing.assert_close(found, want)
    assert (memory.moved, memory.multiplications) == backward_traffic(*case) and memory.in_use == 0


@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (True, 7)])
def test_through_autograd(causal, window, normal):
    ours = [normal(2, 20, 6).requires_grad_() for _ in range(3)]
    others = [x.detach().clone().requires_grad_() for x in ours]
    grad = normal(2, 20, 6)
    for output, inputs in (
        (attend(*ours, 8, causal, window), ours),
        (theirs(*others, causal, window), others),
    ):
        (output * grad).sum().backward()
        assert all(x.grad is not None for x in inputs)
    torch.testing.assert_close([x.grad for x in ours], [x.grad for x in others])


def test_large_scores_do_not_overflow(normal):
    q, k, v = normal(1, 6, 4) * 1e3, normal(1, 6, 4) * 1e3, normal(1, 6, 4)
    torch.testing.assert_close(attend(q, k, v, 2), theirs(q, k, v, False, None))


def test_memory_grows_with_the_length_alone(normal):
    """Four times the length takes four times the memory, forward and backward; the scores would take 16 times."""

    def peak(T):
        q, k, v = (normal(1, T, 16).float().requires_grad_() for _ in range(3))
        return peak_bytes(lambda: attend(q, k, v, 128, True).sum().backward())

    short, long = peak(256), peak(1024)
    assert long <= 4.2 * short and long < 1024 * 1024 * 4 / 4


@pytest.mark.parametrize(
    ("shapes", "settings"),
    [
        ([(1, 4, 3), (1, 4, 2), (1, 4, 3)], {}),
        ([(1, 4, 3), (2, 4, 3), (2, 4, 3)], {}),
        ([(1, 4, 3), (1, 4, 3), (1, 5, 3)], {}),
        ([(1, 4, 3)] * 3, {"window": 2}),
        ([(1, 4, 3)] * 3, {"window": 0, "causal": True}),
    ],
)
def test_what_is_refused(shapes, settings):
    memory = FastMemory(1000)
    with pytest.raises(ValueError, match=r"shapes are|at least 1"):
        flash_attention(memory, *(memory.array(torch.zeros(shape)) for shape in shapes), 2, 2, **settings)
