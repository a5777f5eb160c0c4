"""Decoding from a cache equals the full pass, and a cache tells what does not fit it."""

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch.testing import assert_close

from mlsys_course import attention as component
from mlsys_course.attention import (
    KVCache,
    attention,
    causal_mask,
    grouped_query_attention,
    rotary_positions,
)

cached_attention = jaxtyped(typechecker=beartype)(component.cached_attention)
B, T, C, H, K = 2, 9, 24, 4, 2
PIECES = [(9,), (1,) * 9, (4, 1, 1, 3), (8, 1)]


@pytest.fixture
def weights(normal):
    return [normal(C, width, scale=0.3) for width in (C, C * K // H, C * K // H, C)]


def in_one_go(x, weights):
    """All tokens at once: rotary positions and a square causal mask."""

    def rotary_attention(q, k, v, mask):
        return attention(rotary_positions(q), rotary_positions(k), v, mask)

    return grouped_query_attention(x, *weights, H, K, causal_mask(x.shape[1]), attention=rotary_attention)


@pytest.mark.parametrize("pieces", PIECES, ids=str)
def test_piece_by_piece_equals_the_full_pass_forward_and_backward(pieces, normal, weights):
    x, cotangent = normal(B, T, C).requires_grad_(), normal(B, T, C)
    outputs, past = [], None
    for piece in x.split(list(pieces), dim=1):
        y, past = cached_attention(piece, *weights, H, K, past)
        outputs.append(y)
    got, want = torch.cat(outputs, dim=1), in_one_go(x, weights)
    assert_close(got, want)
    assert_close(torch.autograd.grad(got, x, cotangent), torch.autograd.grad(want, x, cotangent))
    assert past[0].shape == (B, K, T, C // H)


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@torch.no_grad()
def test_cache_holds_what_concatenation_would(pieces, dtype, device, normal):
    k, v = (normal(B, K, T, 8, dtype=dtype).to(device) for _ in range(2))
    cache, seen = KVCache(capacity=12), 0
    for new_k, new_v in zip(k.split(list(pieces), 2), v.split(list(pieces), 2), strict=True):
        assert cache.offset == seen
        all_k, all_v = cache.append(new_k, new_v)
        seen += new_k.shape[2]
        assert torch.equal(all_k, k[:, :, :seen])
        assert torch.equal(all_v, v[:, :, :seen])


@torch.no_grad()
def test_decoding_with_a_cache_equals_the_full_pass(normal):
    q, k, v = normal(B, K, T, 8), normal(B, K, T, 8), normal(B, K, T, 8)
    full = attention(rotary_positions(q), rotary_positions(k), v, causal=True)
    cache = KVCache(T)
    for t in range(T):
        position = cache.offset
        keys, values = cache.append(rotary_positions(k[:, :, t : t + 1], position), v[:, :, t : t + 1])
        for backend in ("naive", "sdpa"):
            query = rotary_positions(q[:, :, t : t + 1], position)
            assert_close(attention(query, keys, values, causal=True, backend=backend), full[:, :, t : t + 1])


@torch.no_grad()
def test_memory_is_taken_once_and_inputs_stay(normal):
    k = normal(B, K, 1, 8)
    before = k.clone()
    cache = KVCache(4)
    first, second = cache.append(k, k), cache.append(k, k)
    assert first[0].data_ptr() == second[0].data_ptr()
    second[0].fill_(3.0)
    assert torch.equal(k, before)


@torch.no_grad()
def test_bad_input_is_told_and_nothing_is_lost(normal):
    cache, k = KVCache(3), normal(B, K, 2, 8)
    cache.append(k, k)
    for bad, words in [
        ((k, k), "4 tokens do not fit a cache of capacity=3"),
        ((k[:1, :, :1], k[:1, :, :1]), "only T may differ"),
        ((k[..., :1, :4], k[..., :1, :]), "only T may differ"),
        ((k[..., :1, :].float(), k[..., :1, :].float()), "only T may differ"),
        ((k[..., :1, :], k[..., :0, :]), "each key needs a value"),
    ]:
        with pytest.raises(ValueError, match=words):
            cache.append(*bad)
        assert cache.offset == 2
    keys, _ = cache.append(k[..., :1, :], k[..., :1, :])
    assert torch.equal(keys, torch.cat((k, k[..., :1, :]), -2))
    with pytest.raises(ValueError, match="capacity=0"):
        KVCache(0)


def test_gradients_are_not_cut_off_silently(normal):
    k = normal(B, K, 1, 8).requires_grad_()
    with pytest.raises(ValueError, match=r"decode under torch.no_grad\(\)"):
        KVCache(3).append(k, k)


@torch.no_grad()
def test_steps_compile_without_graph_breaks(normal, weights):
    weights = [w.float() for w in weights]
    x = normal(B, T, C, dtype=torch.float32)
    cache = KVCache(T)

    def step(k):
        keys, values = cache.append(k, k)
        return attention(keys[..., -1:, :], keys, values, causal=True, backend="sdpa")

    compiled = torch.compile(step, fullgraph=True, backend="eager")
    k = normal(B, K, 4, 8, dtype=torch.float32)
    got = [compiled(k[:, :, t : t + 1]) for t in range(4)]
    assert_close(torch.cat(got, 2), attention(k, k, k, causal=True))
    whole = torch.compile(lambda x, past: component.cached_attention(x, *weights, H, K, past), fullgraph=True,
                          backend="eager")  # fmt: skip
    first, past = whole(x[:, :5], None)
    second, _ = whole(x[:, 5:], past)
    assert_close(torch.cat((first, second), 1), in_one_go(x, weights), atol=1e-5, rtol=1e-5)
