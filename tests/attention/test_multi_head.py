"""Several heads against ``nn.MultiheadAttention`` and PyTorch's grouped attention, forward and backward."""

import functools

import pytest
import torch
import torch.nn.functional as F
from beartype import beartype
from jaxtyping import jaxtyped
from torch import nn
from torch.testing import assert_close

from mlsys_course import attention as component
from mlsys_course.attention import causal_mask, merge_heads, padding_mask, split_heads

multi_head_attention = jaxtyped(typechecker=beartype)(component.multi_head_attention)
grouped_query_attention = jaxtyped(typechecker=beartype)(component.grouped_query_attention)

B, T, C, H = 2, 6, 24, 4


@pytest.fixture
def weights(normal):
    """``weights(kv_width)``: w_q, w_k, w_v, w_o."""
    return lambda kv=C, C=C: [normal(C, w, scale=C**-0.5) for w in (C, kv, kv, C)]


@pytest.mark.parametrize("n_heads", [1, 4, 24])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_torch_module_forward_and_backward(n_heads, masked, normal, weights):
    ours = [w.requires_grad_() for w in weights()]
    x, cotangent = normal(B, T, C).requires_grad_(), normal(B, T, C)
    module = nn.MultiheadAttention(C, n_heads, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([w.T for w in ours[:3]]))
        module.out_proj.weight.copy_(ours[3].T)
    mask = causal_mask(T) if masked else None
    theirs, _ = module(x, x, x, attn_mask=None if mask is None else ~mask, need_weights=False)  # True: not allowed
    want = torch.autograd.grad(theirs, (x, module.in_proj_weight, module.out_proj.weight), cotangent)
    got_output = multi_head_attention(x, *ours, n_heads, mask)
    dx, *dw = torch.autograd.grad(got_output, (x, *ours), cotangent)
    assert_close(got_output, theirs)
    assert_close([dx, torch.cat([w.T for w in dw[:3]]), dw[3].T], list(want))


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_grouped_equals_torch_grouped(n_kv_heads, normal, weights):
    D = C // H
    w_q, w_k, w_v, w_o = (w.requires_grad_() for w in weights(n_kv_heads * D))
    x, cotangent = normal(B, T, C).requires_grad_(), normal(B, T, C)
    mask = causal_mask(T) & padding_mask(torch.tensor([T, 3]), T)
    ours = grouped_query_attention(x, w_q, w_k, w_v, w_o, H, n_kv_heads, mask)
    q = torch.einsum("btc,chd->bhtd", x, w_q.reshape(C, H, D))
    k, v = (torch.einsum("btc,chd->bhtd", x, w.reshape(C, n_kv_heads, D)) for w in (w_k, w_v))
    heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    theirs = torch.einsum("bhtd,hdc->btc", heads, w_o.reshape(H, D, C))
    assert_close(ours, theirs)
    inputs = (x, w_q, w_k, w_v, w_o)
    assert_close(torch.autograd.grad(ours, inputs, cotangent), torch.autograd.grad(theirs, inputs, cotangent))


def test_as_many_kv_heads_as_heads_is_multi_head(normal, weights):
    x, w = normal(B, T, C), weights()
    assert torch.equal(grouped_query_attention(x, *w, H, H), multi_head_attention(x, *w, H))


def test_head_dim_need_not_be_the_width_over_heads(normal):
    x, D = normal(B, T, C), 5
    w_q, w_k, w_v, w_o = (normal(C, H * D), normal(C, H * D), normal(C, H * D), normal(H * D, C))
    want = torch.zeros(B, T, C, dtype=torch.float64)
    for h in range(H):
        block = slice(h * D, (h + 1) * D)
        head = F.scaled_dot_product_attention(x @ w_q[:, block], x @ w_k[:, block], x @ w_v[:, block])
        want = want + head @ w_o[block]
    assert_close(multi_head_attention(x, w_q, w_k, w_v, w_o, H), want)


def test_equivariant_under_permutations_of_tokens(normal, weights):
    x, w = normal(B, T, C), weights()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_close(multi_head_attention(x[:, order], *w, H), multi_head_attention(x, *w, H)[:, order])


def test_order_of_heads_does_not_matter(normal, weights):
    x, (w_q, w_k, w_v, w_o) = normal(B, T, C), weights()
    order = torch.tensor([2, 0, 3, 1])

    def shuffled(w):
        return w.reshape(C, H, C // H)[:, order].reshape(C, C)

    mixed = multi_head_attention(x, shuffled(w_q), shuffled(w_k), shuffled(w_v), shuffled(w_o.T).T, H)
    assert_close(mixed, multi_head_attention(x, w_q, w_k, w_v, w_o, H))


@pytest.mark.parametrize("function", [multi_head_attention, lambda *a, **k: grouped_query_attention(*a, H, **k)])
def test_uses_the_attention_it_is_given(function, normal, weights):
    seen = []

    def mean_of_values(q, k, v, mask=None):
        seen.append((q.shape, k.shape, v.shape, mask))
        return v.mean(-2, keepdim=True).expand_as(q)

    x, w = normal(B, T, C), weights()
    got = function(x, *w, H, attention=mean_of_values)
    assert_close(got, (x @ w[2] @ w[3]).mean(1, keepdim=True).expand(B, T, C))
    assert seen == [((B, H, T, C // H),) * 3 + (None,)]


def test_half_precision(normal, weights, device):
    x, w = normal(B, T, C), weights()
    low = multi_head_attention(x.to(device, torch.bfloat16), *(m.to(device, torch.bfloat16) for m in w), H)
    assert low.dtype == torch.bfloat16
    assert_close(low.double().cpu(), multi_head_attention(x, *w, H), atol=3e-2, rtol=3e-2)


def test_merge_inverts_split(normal):
    x = normal(B, T, C)
    assert torch.equal(merge_heads(split_heads(x, H)), x)


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "words"),
    [(5, None, "n_heads=5 does not divide"), (0, None, "n_heads=0"), (4, 3, "n_kv_heads=3 does not divide n_heads=4")],
)
def test_heads_that_do_not_divide_are_told(n_heads, n_kv_heads, words, normal, weights):
    x, w = normal(B, T, C), weights()
    with pytest.raises(ValueError, match=words):
        if n_kv_heads is None:
            multi_head_attention(x, *w, n_heads)
        else:
            grouped_query_attention(x, *w, n_heads, n_kv_heads)


def test_unequal_head_dims_are_told(normal, weights):
    with pytest.raises(ValueError, match="one head_dim"):
        grouped_query_attention(normal(B, T, C), *weights(), H, 2)


@pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 2)], ids=str)
@pytest.mark.parametrize("backend", ["naive", "sdpa"])
def test_any_number_of_leading_dimensions(leading, backend, normal):
    """Each sequence by itself gives what all together give, and what PyTorch's layer gives."""
    x, (w_q, w_o), (w_k, w_v) = (
        normal(*leading, 5, 12),
        (normal(12, 12), normal(12, 12)),
        (normal(12, 6), normal(12, 6)),
    )
    part, mask = functools.partial(component.attention, backend=backend), component.causal_mask(5)
    alone = functools.partial(component.grouped_query_attention, n_heads=4, n_kv_heads=2, mask=mask, attention=part)
    together = alone(x, w_q, w_k, w_v, w_o)
    rows = [alone(one[None], w_q, w_k, w_v, w_o)[0] for one in x.reshape(-1, 5, 12)]
    assert_close(together, torch.stack(rows).reshape(*leading, 5, 12))
    assert_close(component.merge_heads(component.split_heads(x, 3)), x, rtol=0, atol=0)
    layer = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([w_q.T, w_o.T, w_q]))
        layer.out_proj.weight.copy_(w_o)
        want = torch.stack(
            [layer(one, one, one, attn_mask=~mask, need_weights=False)[0] for one in x.reshape(-1, 1, 5, 12)]
        )
    got = component.multi_head_attention(x, w_q, w_o, w_q.T, w_o.T, 3, mask, part)
    assert_close(got, want.reshape(*leading, 5, 12))
