"""Scores, distributions and contexts against loops over pairs and PyTorch's attention."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.testing import assert_close

from mlsys_course import sequence as component
from mlsys_course.sequence import length_mask, score_parameters
from mlsys_course.substrate.dtypes import NotFloating

B, T, S, DS, DH = 2, 3, 5, 4, 6
TYPED = {
    name: jaxtyped(typechecker=beartype)(getattr(component, name))
    for name in ("dot_product_score", "multiplicative_score", "reduced_rank_score", "additive_score", "mean_pool",
                 "attention_distribution", "attend", "attention_context", "attentional_state", "input_feeding")
}  # fmt: skip
SCORES = {  # widths of s and h, the weights' shapes, and what one pair scores
    "dot_product": (DH, DH, [], lambda s, h: s @ h),
    "multiplicative": (DS, DH, [(DS, DH)], lambda s, h, w: F.bilinear(s[None], h[None], w[None]).squeeze()),
    "reduced_rank": (DS, DH, [(DS, 2), (DH, 2)], lambda s, h, u, v: s @ (u @ v.T) @ h),
    "additive": (DS, DH, [(DH, 7), (DS, 7), (7,)], lambda s, h, w_1, w_2, v: v @ torch.tanh(w_1.T @ h + w_2.T @ s)),
}


@pytest.fixture
def states(normal):
    return lambda d_s=DH, d_h=DH, dtype=torch.float64: (normal(B, T, d_s, dtype=dtype), normal(B, S, d_h, dtype=dtype))


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_every_pair(name, states, normal):
    d_s, d_h, shapes, of_pair = SCORES[name]
    (s, h), weights = states(d_s, d_h), [normal(*shape) for shape in shapes]
    found = TYPED[f"{name}_score"](s, h, *weights)
    assert found.shape == (B, T, S)
    for b, t, i in torch.cartesian_prod(torch.arange(B), torch.arange(T), torch.arange(S)):
        assert_close(found[b, t, i], of_pair(s[b, t], h[b, i], *weights))
    assert_close(TYPED[f"{name}_score"](s[0], h[0], *weights), found[0])  # any leading dimensions
    assert_close(component.scores(name.split("_")[0], s, h, *weights), found)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_keep_dtype_and_device(name, dtype, device, states, normal):
    d_s, d_h, shapes, _ = SCORES[name]
    precise = [*states(d_s, d_h), *(normal(*shape, scale=0.5) for shape in shapes)]
    found = TYPED[f"{name}_score"](*(x.to(device, dtype) for x in precise))
    want = TYPED[f"{name}_score"](*precise)
    assert found.dtype == dtype and found.device.type == device
    assert (found.cpu().double() - want).norm() / want.norm() < (2e-2 if dtype == torch.bfloat16 else 1e-5)


def test_parameters_are_those_of_the_weights():
    counts = score_parameters(DS, DH, rank=2, width=7)
    for name, (_, _, shapes, _) in SCORES.items():
        if name != "dot_product":
            assert counts[name] == sum(torch.zeros(shape).numel() for shape in shapes)
    assert counts["dot_product"] is None and score_parameters(DH, DH, 2, 7)["dot_product"] == 0
    with pytest.raises(ValueError, match="rank=0"):
        score_parameters(4, 4, 0, 1)


@pytest.mark.parametrize("masked", [False, True])
def test_attend_equals_torch_forward_and_backward(masked, states, normal):
    s, h = (x.requires_grad_() for x in states())
    mask = torch.tensor([[True, False, True, True, False], [False, False, False, True, False]]) if masked else None
    context, weights = TYPED["attention_context"](s, h, mask)
    theirs = F.scaled_dot_product_attention(s, h, h, None if mask is None else mask[:, None], scale=1.0)
    assert_close(context, theirs)
    cotangent = normal(B, T, DH)
    want = torch.autograd.grad(theirs, (s, h), cotangent)
    assert_close(torch.autograd.grad(context, (s, h), cotangent), want)
    assert_close(weights.sum(-1), torch.ones(B, T, dtype=s.dtype))
    if mask is not None:
        assert (weights[~mask[:, None].expand_as(weights)] == 0).all()


def test_padding_changes_nothing_and_order_does_not_matter(states):
    s, h = states()
    context, weights = TYPED["attention_context"](s, h)
    longer = F.pad(h, (0, 0, 0, 3), value=7.0)
    assert_close(TYPED["attention_context"](s, longer, length_mask(torch.tensor([S, S]), S + 3))[0], context)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_close(TYPED["attention_context"](s, h[:, order]), (context, weights[..., order]))


def test_large_scores_and_low_precision(states, device):
    scores = torch.tensor([[[1e4, 1e4 - 1, -1e4]]], device=device)
    weights = TYPED["attention_distribution"](scores)
    assert_close(weights.cpu(), torch.tensor([[[0.7310586, 0.2689414, 0.0]]]))
    s, h = (x.to(device, torch.bfloat16) for x in states())
    context, weights = TYPED["attention_context"](s, h)
    assert context.dtype == weights.dtype == torch.bfloat16 and weights.device.type == device
    assert_close(
        context.double().cpu(), TYPED["attention_context"](*(x.double().cpu() for x in (s, h)))[0], atol=5e-2, rtol=5e-2
    )


def test_mean_pooling_is_attention_that_asks_nothing(states):
    _, h = states()
    mask = length_mask(torch.tensor([2, S]), S)
    nan = h.masked_fill(~mask[..., None], torch.nan)
    assert_close(TYPED["mean_pool"](nan, mask), torch.stack((h[0, :2].mean(0), h[1].mean(0))))
    asked = TYPED["attention_context"](torch.zeros(B, 1, DH, dtype=h.dtype), h, mask)[0]
    assert_close(TYPED["mean_pool"](h, mask), asked[:, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_mean_holds_where_its_sum_does_not(dtype):
    h = torch.tensor([[[30_000.0, -3], [25_000, 5], [60_000, 7], [50_000, 7]]], dtype=dtype)
    mask = torch.tensor([[True, True, True, False]])
    for given, rows in ((None, h), (mask, h[:, :3])):
        found = TYPED["mean_pool"](h, given)
        assert found.dtype == dtype
        assert_close(found, rows.double().mean(1).to(dtype), rtol=0, atol=0)


def test_attentional_state_puts_the_context_first(normal):
    a, s, layer = normal(B, DH), normal(B, DS), nn.Linear(DH + DS, 3, bias=False, dtype=torch.float64)
    assert_close(TYPED["attentional_state"](a, s, layer.weight.T), torch.tanh(layer(torch.cat((a, s), -1))))
    with pytest.raises(ValueError, match="has not 10 rows"):
        component.attentional_state(a, s, normal(9, 3))


def test_attend_is_the_distribution_and_the_context_before_the_state(states):
    s, h = states()
    mask, scores = length_mask(torch.tensor([2, S]), S), s @ h.mT
    weights, joined = TYPED["attend"](scores, h, s, mask)
    context = F.scaled_dot_product_attention(s, h, h, mask[:, None], scale=1.0)
    assert_close(joined, torch.cat((context, s), -1))
    assert_close(weights @ h, context)


def test_input_feeding_feeds_the_step_before(normal):
    """With a layer between [a; s] and what is fed, as in the paper."""
    y, s_0, h, layer = normal(B, T, 2), normal(B, DS), normal(B, S, 3), nn.Linear(3 + DS, 3, dtype=torch.float64)
    module, scored = nn.RNNCell(2 + 3, DS, dtype=torch.float64), lambda s, h: s[..., :3] @ h.mT

    def memory(s):
        context = F.scaled_dot_product_attention(s[:, None, :3], h, h, scale=1.0)[:, 0]
        return layer(torch.cat((context, s), -1))

    def through_layer(*given):
        weights, joined = component.attend(*given)
        return weights, layer(joined)

    parts = {"cell": lambda x, s, *weights: module(x, s), "score": scored, "attend": through_layer}
    weights = [normal(5, DS), normal(DS, DS), normal(DS)]
    found = TYPED["input_feeding"](y, s_0, h, None, *weights, **parts)
    first = module(torch.cat((y[:, 0], 0 * h[:, 0]), 1), s_0)
    second = module(torch.cat((y[:, 1], memory(first)), 1), first)
    third = module(torch.cat((y[:, 2], memory(second)), 1), second)
    assert_close(found, torch.stack([memory(s) for s in (first, second, third)], 1))
    with pytest.raises(ValueError, match="T of at least 1"):
        component.input_feeding(y[:, :0], s_0, h, None, *weights)


def test_bad_input_is_named(states):
    s, h = states(DS, DH)
    empty = torch.tensor([[True] * S, [False] * S])
    wrong = [
        (lambda: component.dot_product_score(s, h), "multiplicative_score takes any"),
        (lambda: component.multiplicative_score(s, h, torch.ones(DH, DS)), r"expected \(4, 6\)"),
        (lambda: component.reduced_rank_score(s, h, torch.ones(DS, 2), torch.ones(DH, 3)), "different ranks"),
        (lambda: component.additive_score(s, h, torch.ones(DH, 3), torch.ones(DS, 3), torch.ones(2)), "one width"),
        (lambda: component.scores("cosine", s, h), "choose one of dot, multiplicative, reduced, additive"),
        (lambda: component.mean_pool(h, empty), r"no True in rows \[1\]"),
        (lambda: component.attention_context(h, h, empty), r"no True in rows \[1\]"),
        (lambda: component.attention_context(h, h, empty.float()), "expected torch.bool"),
        (lambda: component.attention_context(h, h, empty[:, 1:]), r"of shape \(2, 5\)"),
        (lambda: component.attention_context(h, h[:, :0]), "no token"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


TRUNCATING = {  # ours, and what PyTorch refuses alike
    "mean_pool": (lambda x: component.mean_pool(x[None]), lambda x: x.mean(0)),
    "attention_distribution": (lambda x: component.attention_distribution(x[None]), lambda x: F.softmax(x, -1)),
    "attend": (lambda x: component.attend(x[None], x[None], x[None]), lambda x: F.softmax(x, -1)),
    "sequence_loss": (
        lambda x: component.sequence_loss(x[None], torch.tensor([[0, 1]]), 2),
        lambda x: F.cross_entropy(x, torch.tensor([0, 1])),
    ),
    "rnn_backward": (lambda x: component.rnn_backward(x[None], x[:1], x[None], x[None], x.mT @ x, x.mT @ x), None),
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
