"""``attention`` against PyTorch's own, forward and backward, and its properties."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import attention as component
from mlsys_course.attention import attention, causal_mask
from mlsys_course.substrate.dtypes import NotFloating

attention = jaxtyped(typechecker=beartype)(attention)

SHAPES = {
    "no leading dimension": ((5, 8), (7, 8), (7, 6)),
    "batch and heads": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8)),
    "one query": ((4, 1, 2), (4, 9, 2), (4, 9, 2)),
    "one key": ((3, 4, 16), (3, 1, 16), (3, 1, 5)),
    "one channel": ((2, 6, 1), (2, 6, 1), (2, 6, 1)),
}


def with_gradients(function, tensors, cotangent):
    """Output and gradients of ``function`` of copies of ``tensors``."""
    leaves = [x.clone().requires_grad_() for x in tensors]
    output = function(*leaves)
    return [output, *torch.autograd.grad(output, leaves, cotangent)]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_equals_torch_forward_and_backward(name, masked, normal):
    shapes = SHAPES[name]
    tensors = [normal(*shape) for shape in shapes]
    T, S = shapes[0][-2], shapes[1][-2]
    mask = (normal(T, S) > 0) | (torch.arange(S) == 0) if masked else None
    cotangent = normal(*shapes[0][:-1], shapes[2][-1])
    ours = with_gradients(lambda *x: attention(*x, mask), tensors, cotangent)
    theirs = with_gradients(lambda *x: F.scaled_dot_product_attention(*x, attn_mask=mask), tensors, cotangent)
    assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3), (torch.float64, 1e-12)],
)
def test_dtypes_and_devices(dtype, tolerance, device, normal):
    q, k, v = (normal(2, 3, 16, 8, dtype=dtype).to(device) for _ in range(3))
    mask = causal_mask(16, device=device)
    output = attention(q, k, v, mask)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask)
    assert output.dtype == dtype
    assert output.device.type == device
    assert_close(output.double(), exact, atol=tolerance, rtol=tolerance)


def test_leading_dimensions_broadcast(normal):
    q, k, v = normal(2, 3, 4, 5, 8), normal(3, 1, 6, 8), normal(6, 7)
    want = F.scaled_dot_product_attention(q, k.expand(2, 3, 4, 6, 8), v.expand(2, 3, 4, 6, 7))
    assert_close(attention(q, k, v), want)


@pytest.mark.parametrize("shape", [(5, 7), (2, 1, 1, 7), (1, 3, 5, 1), (7,), (2, 3, 5, 7)])
def test_mask_broadcasts(shape, normal):
    q, k, v = normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 3, 7, 8)
    mask = normal(*shape) > -1
    full = mask.expand(2, 3, 5, 7)
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=full)
    got = attention.__wrapped__(q, k, v, mask)  # a mask of one dimension is outside the stated shapes, and works
    assert_close(got[full.any(-1)], want[full.any(-1)])


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_query_without_keys_gets_zeros_and_no_gradient(normal):
    q, k, v = (normal(2, 4, 8).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, True, False, False], [False] * 4, [True] * 4, [False] * 4])
    with torch.autograd.detect_anomaly(check_nan=True):
        output = attention(q, k, v, mask)
        (output * normal(2, 4, 8)).sum().backward()
    assert torch.equal(output[:, [1, 3]], torch.zeros(2, 2, 8))
    for x in (q, k, v):
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
    assert torch.equal(q.grad[:, [1, 3]], torch.zeros(2, 2, 8))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[:, [0, 2]]
    assert_close(output[:, [0, 2]], attended)


def test_causal_by_gradient(normal):
    q, k, v = (normal(6, 4).requires_grad_() for _ in range(3))
    for t in range(6):
        output = attention(q, k, v, causal_mask(6))
        to_keys, to_values = torch.autograd.grad(output[t].sum(), (k, v))
        assert not to_keys[t + 1 :].any(), f"query {t} depends on a later key"
        assert not to_values[t + 1 :].any(), f"query {t} depends on a later value"
        assert bool(to_values[: t + 1].all()), f"query {t} does not depend on an earlier value"


def test_equivariant_under_a_permutation_of_queries_and_invariant_under_one_of_keys(normal):
    q, k, v = normal(6, 4), normal(6, 4), normal(6, 4)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_close(attention(q[order], k, v), attention(q, k, v)[order])
    assert_close(attention(q, k[order], v[order]), attention(q, k, v))


def test_large_scores_stay_finite(normal):
    q, k, v = (normal(5, 8, dtype=torch.float32, scale=1e3) for _ in range(3))
    assert_close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_identity_as_values_gives_the_weights(normal):
    weights = attention(normal(4, 8), normal(6, 8), torch.eye(6, dtype=torch.float64))
    assert_close(weights.sum(-1), torch.ones(4, dtype=torch.float64))
    assert bool((weights > 0).all())


@pytest.mark.parametrize(
    ("shapes", "mask", "words"),
    [
        (((4,), (4, 4), (4, 4)), None, "at least two dimensions"),
        (((4, 8), (4, 6), (4, 8)), None, "one head_dim"),
        (((4, 0), (4, 0), (4, 8)), None, "at least 1"),
        (((4, 8), (5, 8), (4, 8)), None, "each key needs a value"),
        (((2, 4, 8), (3, 4, 8), (3, 4, 8)), None, "leading dimensions do not broadcast"),
        (((4, 8), (4, 8), (4, 8)), torch.zeros(4, 4), "expected torch.bool"),
        (((4, 8), (4, 8), (4, 8)), torch.ones(4, 3, dtype=torch.bool), "does not broadcast"),
        (((4, 8), (4, 8), (4, 8)), torch.ones(2, 4, 4, dtype=torch.bool), "does not broadcast"),
    ],
)
def test_bad_input_is_told(shapes, mask, words, normal):
    with pytest.raises(ValueError, match=words):
        attention.__wrapped__(*(normal(*shape) for shape in shapes), mask)


def test_mixed_dtypes_are_told(normal):
    with pytest.raises(ValueError, match="convert them to one dtype"):
        attention(normal(4, 8), normal(4, 8, dtype=torch.float32), normal(4, 8))


TRUNCATING = {  # ours, and what PyTorch refuses alike
    "naive": (lambda x: component.attention(x, x, x), lambda x: F.scaled_dot_product_attention(x, x, x)),
    "sdpa": (lambda x: component.attention(x, x, x, backend="sdpa"), lambda x: F.softmax(x, -1)),
    "self_attention": (lambda x: component.self_attention(x, x.mT, x.mT, x.mT), lambda x: F.softmax(x, -1)),
    "multi_head_attention": (
        lambda x: component.multi_head_attention(x[None], x.mT, x.mT, x.mT, x, 1),
        lambda x: F.softmax(x, -1),
    ),
    "rotary_positions": (lambda x: component.rotary_positions(x[:, :2]), None),  # PyTorch has none
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.complex64], ids=str)
@pytest.mark.parametrize("name", TRUNCATING)
def test_numbers_without_fractions_are_refused(name, dtype):
    ours, theirs = TRUNCATING[name]
    x = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype)
    with pytest.raises(NotFloating, match=rf"is {dtype}; floating-point numbers are expected"):
        ours(x)
    if theirs and not dtype.is_complex:
        with pytest.raises((RuntimeError, NotImplementedError)):
            theirs(x)
