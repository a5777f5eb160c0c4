"""The three projections, and a context to look into, against ``nn.MultiheadAttention``."""

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.testing import assert_close

from mlsys_course import attention as component
from mlsys_course.attention import attention, causal_mask, multi_head_attention, padding_mask

self_attention = jaxtyped(typechecker=beartype)(component.self_attention)
grouped_query_attention = jaxtyped(typechecker=beartype)(component.grouped_query_attention)
B, T, S, C, H = 2, 5, 7, 24, 4


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
@pytest.mark.parametrize("cross", [False, True])
def test_one_head_equals_torch(leading, cross, normal):
    x, context = normal(*leading, T, C), normal(*leading, S, 10) if cross else None
    source = x if context is None else context
    w_q, w_k, w_v = normal(C, 8), normal(source.shape[-1], 8), normal(source.shape[-1], 6)
    mask = normal(T, source.shape[-2]) > -1
    mask[:, 0] = True
    want = F.scaled_dot_product_attention(x @ w_q, source @ w_k, source @ w_v, attn_mask=mask)
    assert_close(self_attention(x, w_q, w_k, w_v, mask, context), want)


@pytest.mark.parametrize("padded", [False, True])
def test_cross_attention_equals_torch_module(padded, normal):
    ours = [normal(C, C, scale=0.2).requires_grad_() for _ in range(4)]
    x, context = normal(B, T, C).requires_grad_(), normal(B, S, C).requires_grad_()
    mask = padding_mask(torch.tensor([S, 3]), S) if padded else None
    module = nn.MultiheadAttention(C, H, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([w.T for w in ours[:3]]))
        module.out_proj.weight.copy_(ours[3].T)
    ignore = None if mask is None else ~mask[:, 0, 0]
    want, _ = module(x, context, context, key_padding_mask=ignore, need_weights=False)
    got = multi_head_attention(x, *ours, H, mask, context=context)
    assert_close(got, want)
    cotangent = normal(B, T, C)
    assert_close(torch.autograd.grad(got, (x, context), cotangent), torch.autograd.grad(want, (x, context), cotangent))


def test_grouped_cross_attention_equals_torch_grouped(normal):
    x, context, D = normal(B, T, C), normal(B, S, 10), 6
    w_q, w_k, w_v, w_o = normal(C, H * D), normal(10, 2 * D), normal(10, 2 * D), normal(H * D, C)
    q = (x @ w_q).unflatten(-1, (H, D)).transpose(1, 2)
    k, v = ((context @ w).unflatten(-1, (2, D)).transpose(1, 2) for w in (w_k, w_v))
    want = F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2) @ w_o
    assert_close(grouped_query_attention(x, w_q, w_k, w_v, w_o, H, 2, context=context), want)


def test_grouped_cross_attention_over_itself_is_self_attention(normal):
    x, w = normal(B, T, C), [normal(C, width, scale=0.2) for width in (C, 12, 12, C)]
    mask = causal_mask(T)
    plain = grouped_query_attention(x, *w, H, 2, mask)
    assert_close(grouped_query_attention(x, *w, H, 2, mask, context=x.clone()), plain)


def test_one_head_of_many_is_self_attention(normal):
    x, w = normal(B, T, C), [normal(C, C, scale=0.2) for _ in range(3)]
    want = multi_head_attention(x, *w, torch.eye(C, dtype=torch.float64), 1)
    assert_close(self_attention(x, *w), want)


def test_outputs_of_cross_attention_are_blind_to_the_order_of_the_context(normal):
    x, context, w = normal(B, T, C), normal(B, S, C), [normal(C, C, scale=0.2) for _ in range(4)]
    order = torch.tensor([3, 0, 5, 1, 6, 4, 2])
    mixed = multi_head_attention(x, *w, H, context=context[:, order])
    assert_close(mixed, multi_head_attention(x, *w, H, context=context))


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_causal_by_gradient_through_projections_and_heads(n_kv_heads, normal):
    x = normal(1, T, C).requires_grad_()
    w = [normal(C, width, scale=0.2) for width in (C, n_kv_heads * 6, n_kv_heads * 6, C)]
    for t in range(T):
        y = grouped_query_attention(x, *w, H, n_kv_heads, causal_mask(T))
        (gradient,) = torch.autograd.grad(y[0, t].sum(), x)
        assert not gradient[0, t + 1 :].any(), f"token {t} depends on a later one"
        assert bool(gradient[0, : t + 1].any(-1).all()), f"token {t} does not depend on an earlier one"


def test_calls_the_attention_it_is_given(normal):
    x = normal(B, T, C)
    got = self_attention(x, *(normal(C, 8) for _ in range(3)), attention=lambda q, k, v, mask=None: -attention(q, k, v))
    again = self_attention(x, *(normal(C, 8) for _ in range(3)), attention=lambda q, k, v, mask=None: v)
    assert got.shape == again.shape == (B, T, 8)


@pytest.mark.parametrize(("which", "words"), [(0, "w_q .* maps 9 channels"), (1, "w_k"), (2, "w_v")])
def test_weights_that_do_not_fit_are_told(which, words, normal):
    weights = [normal(C, 8) for _ in range(3)]
    weights[which] = normal(9, 8)
    with pytest.raises(ValueError, match=words):
        component.self_attention(normal(B, T, C), *weights)
