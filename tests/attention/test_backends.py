"""Both roads to the same numbers: the equation as it stands, and PyTorch's kernels behind the same contract."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right
from torch.testing import assert_close

from mlsys_course.attention import attention, causal_mask, grouped_query_attention

TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 4e-2}
SHAPES = {
    "batch and heads": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8)),
    "square": ((2, 3, 6, 8), (2, 3, 6, 8), (2, 3, 6, 8)),
    "no leading dimension": ((5, 8), (7, 8), (7, 6)),
    "one leading dimension": ((4, 5, 8), (4, 7, 8), (4, 7, 8)),
    "broadcast": ((2, 1, 3, 5, 8), (4, 1, 7, 8), (7, 6)),
    "one query": ((2, 2, 1, 8), (2, 2, 9, 8), (2, 2, 9, 8)),
}


def with_gradients(function, tensors, cotangent):
    leaves = [x.clone().requires_grad_() for x in tensors]
    output = function(*leaves)
    return [output, *torch.autograd.grad(output, leaves, cotangent, materialize_grads=True)]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": True}, {"mask": True, "causal": True},
                                     {"bias": True}, {"bias": True, "mask": True, "scale": 1.0}], ids=str)  # fmt: skip
def test_backends_agree_forward_and_backward(name, options, dtype, device, normal):
    tensors = [normal(*shape, dtype=dtype).to(device) for shape in SHAPES[name]]
    T, S = tensors[0].shape[-2], tensors[1].shape[-2]
    options = dict(options)
    if "mask" in options:
        options["mask"] = normal(T, S).to(device) > 0
        options["mask"][0] = False  # a query without keys
    if "bias" in options:
        options["bias"] = normal(T, S, dtype=dtype).to(device)
    call = functools.partial(attention, **options)
    naive = call(*tensors)
    cotangent = normal(*naive.shape, dtype=dtype).to(device)
    ours = with_gradients(call, tensors, cotangent)
    fused = with_gradients(functools.partial(call, backend="sdpa"), tensors, cotangent)
    assert [x.dtype for x in ours] == [x.dtype for x in fused] == [dtype] * 4
    assert_close(fused, ours, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])


GROUPED = {  # q, then k and v
    "two share": ((2, 4, 6, 8), (2, 2, 6, 8)),
    "from a cache": ((2, 6, 1, 8), (2, 2, 7, 8)),
    "several from a cache": ((2, 6, 3, 8), (2, 3, 7, 8)),
    "one batch of keys for all": ((3, 4, 6, 8), (1, 2, 6, 8)),
    "five dimensions": ((2, 3, 4, 6, 8), (2, 3, 2, 6, 8)),
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": True}, {"bias": True, "scale": 0.7}], ids=str)
def test_the_kernels_share_heads_as_if_they_were_repeated(name, options, dtype, device, normal):
    q, k = (normal(*shape, dtype=dtype).to(device) for shape in GROUPED[name])
    v, (H, T, S) = normal(*k.shape, dtype=dtype).to(device), (q.shape[-3], q.shape[-2], k.shape[-2])
    options = dict(options)
    if "mask" in options:
        options["mask"] = normal(H, T, S).to(device) > 0
    if "bias" in options:
        options["bias"] = normal(H, T, S, dtype=dtype).to(device)
    cotangent = normal(*q.shape, dtype=dtype).to(device)

    def repeated(q, k, v):
        return attention(q, *(x.repeat_interleave(H // x.shape[-3], -3) for x in (k, v)), **options)

    want = with_gradients(repeated, [q, k, v], cotangent)
    got = with_gradients(functools.partial(attention, **options, backend="sdpa"), [q, k, v], cotangent)
    assert_close(got, want, atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("T", [6, 1])  # a whole prompt, and the next token to the keys of a cache
def test_shared_heads_are_not_copied(T, normal, monkeypatch):
    given = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: given.append(a) or kernel(*a, **k))
    q, k = normal(2, 4, T, 8), normal(2, 2, 6, 8)
    output = attention(q, k, k, causal=True, backend="sdpa")
    assert given[0][1] is k and given[0][2] is k
    assert output.transpose(1, 2).is_contiguous()  # merging the heads moves nothing


@pytest.mark.parametrize(("q", "k", "backend", "words"), [
    ((2, 4, 5, 8), (2, 3, 5, 8), "sdpa", "3 heads of k and v do not divide the 4 heads of q; give them a divisor of 4"),
    ((2, 4, 5, 8), (3, 2, 5, 8), "sdpa", r"\(3, 2, 5, 8\).*do not broadcast"),
    ((2, 4, 5, 8), (2, 2, 5, 8), "naive", "do not broadcast"),
    ((4, 5, 8), (2, 5, 8), "sdpa", "do not broadcast"),  # without a batch the first axis may be one
])  # fmt: skip
def test_heads_that_cannot_be_shared_are_told(q, k, backend, words, normal):
    with pytest.raises(ValueError, match=words):
        attention(normal(*q), normal(*k), normal(*k), backend=backend)


@pytest.mark.parametrize("shape", [(7,), (2, 1, 1, 7), (2, 1, 5, 7), (3, 5, 1), (1, 3, 5, 7)], ids=str)
def test_masks_broadcast_in_both(shape, device, normal):
    q, k, v = (normal(2, 3, rows, 8, dtype=torch.float32).to(device) for rows in (5, 7, 7))
    mask = normal(*shape).to(device) > 0
    five = [x[:, None].expand(2, 4, *x.shape[1:]) for x in (q, k, v)]  # with one more leading dimension
    naive = attention(q, k, v, mask)
    assert_close(attention(q, k, v, mask, backend="sdpa"), naive)
    more = mask[:, None] if mask.ndim == 4 else mask
    assert_close(attention(*five, more, backend="sdpa"), naive[:, None].expand(2, 4, *naive.shape[1:]))


def test_a_mask_may_be_a_view(device, normal):
    q, k, v = (normal(2, 3, rows, 8, dtype=torch.float32).to(device) for rows in (5, 7, 7))
    mask = normal(2, 1, 7, 5).to(device).transpose(-2, -1) > 0  # its rows do not lie together
    assert_close(attention(q, k, v, mask, backend="sdpa"), attention(q, k, v, mask))


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
@pytest.mark.parametrize(("T", "S"), [(5, 5), (2, 6), (1, 6)])
def test_causal_ends_at_the_last_key(T, S, backend, normal):
    q, k, v = normal(2, 3, T, 8), normal(2, 3, S, 8), normal(2, 3, S, 8)
    want = F.scaled_dot_product_attention(q, k, v, causal_lower_right(T, S))
    assert_close(attention(q, k, v, causal=True, backend=backend), want)


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
def test_bias_and_scale_equal_torch(backend, normal):
    q, k, v, bias = normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 3, 7, 8), normal(3, 5, 7)
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.7)
    assert_close(attention(q, k, v, bias=bias, scale=0.7, backend=backend), want)


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_query_without_keys_gets_zeros_and_no_gradient(backend, dtype, device, normal):
    q, k, v = (normal(2, 2, 4, 8, dtype=dtype).to(device).requires_grad_() for _ in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool, device=device)
    mask[1] = False
    output = attention(q, k, v, mask, backend=backend)
    dq, dk, dv = torch.autograd.grad(output[:, :, 1].sum(), (q, k, v))
    assert not output[:, :, 1].any()
    assert not dq.any() and not dk.any() and not dv.any()
    gradients = torch.autograd.grad(attention(q, k, v, mask, backend=backend).sum(), (q, k, v))
    assert all(bool(x.isfinite().all()) for x in gradients)
    assert not gradients[0][:, :, 1].any()


@pytest.mark.parametrize(("options", "words"), [
    ({"backend": "flash"}, "backend='flash' is unknown; choose one of naive, sdpa"),
    ({"backend": "sdpa", "mask": torch.zeros(4, 4)}, "expected torch.bool"),
    ({"backend": "sdpa", "mask": torch.ones(3, 4, dtype=torch.bool)}, "does not broadcast"),
    ({"backend": "sdpa", "bias": torch.zeros(5, 4)}, "bias .* does not broadcast"),
    ({"bias": torch.zeros(2, 2, 4, 4)}, "bias .* does not broadcast"),
])  # fmt: skip
def test_bad_options_are_told(options, words, normal):
    with pytest.raises(ValueError, match=words):
        attention(normal(2, 4, 8), normal(2, 4, 8), normal(2, 4, 8), **options)


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
def test_compiles_without_graph_breaks_forward_and_backward(backend, normal):
    x = normal(2, 6, 24, dtype=torch.float32).requires_grad_()
    weights = [normal(24, width, dtype=torch.float32, scale=0.2) for width in (24, 12, 12, 24)]
    mask = causal_mask(6)
    part = functools.partial(attention, backend=backend)

    def layer(x):
        return grouped_query_attention(x, *weights, 4, 2, mask, attention=part)

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    assert_close(compiled, layer(x))
    got, want = (torch.autograd.grad(y.square().sum(), x) for y in (compiled, layer(x)))
    assert_close(got, want)


UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}  # the most that rounding once changes, relatively


@pytest.mark.parametrize("dtype", UNIT)
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"bias": True}], ids=str)
def test_16_bits_are_rounded_once(dtype, options, normal):
    """The equation as it stands gives the float64 result of the same inputs, rounded."""
    q, k, v = (normal(2, 3, 40, 64, dtype=dtype, scale=2.0) for _ in range(3))
    options = {name: normal(40, 40, dtype=dtype) if name == "bias" else value for name, value in options.items()}
    wide = {name: value.double() if name == "bias" else value for name, value in options.items()}
    exact = attention(q.double(), k.double(), v.double(), **wide)
    got = attention(q, k, v, **options).double()
    assert_close(got, exact, rtol=1.01 * UNIT[dtype], atol=1e-5)


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
@pytest.mark.parametrize("dtype", UNIT)
def test_products_beyond_float16_are_no_nan(backend, dtype, normal):
    """40 * 40 * 64 is 102,400, and float16 ends at 65,504."""
    q, v = torch.full((1, 2, 6, 64), 40.0, dtype=dtype), normal(1, 2, 6, 64, dtype=dtype)
    leaves = [q.clone().requires_grad_(), q.clone().requires_grad_(), v.clone().requires_grad_()]
    output = attention(*leaves, backend=backend)
    assert_close(output.double(), v.double().mean(-2, keepdim=True).expand_as(v), atol=UNIT[dtype], rtol=UNIT[dtype])
    assert all(bool(x.isfinite().all()) for x in torch.autograd.grad(output.sum(), leaves))


EDGES = {  # T, S and options: where kernels and the equation used to part
    "no query": (0, 5, {}),
    "no query, causal": (0, 5, {"causal": True}),
    "nothing at all, causal": (0, 0, {"causal": True}),
    "no key": (3, 0, {}),
    "one query, causal": (1, 5, {"causal": True}),
    "a bias row of -inf": (4, 5, {"bias": True}),
    "a bias row of -inf, causal": (4, 5, {"bias": True, "causal": True}),
    "a bias row of -inf, mask": (4, 5, {"bias": True, "mask": True}),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", EDGES)
def test_backends_agree_at_the_edges(name, dtype, device, normal):
    T, S, options = EDGES[name]
    tensors = [normal(2, 3, rows, 8, dtype=dtype).to(device) for rows in (T, S, S)]
    options = dict(options)
    if "bias" in options:
        options["bias"] = normal(T, S, dtype=dtype).to(device)
        options["bias"][1], options["bias"][2, 0] = -torch.inf, -torch.inf
    if "mask" in options:
        options["mask"] = torch.ones(T, S, dtype=torch.bool, device=device)
        options["mask"][0] = False
    cotangent = normal(2, 3, T, 8, dtype=dtype).to(device)
    naive, fused = (
        with_gradients(functools.partial(attention, **options, backend=backend), tensors, cotangent)
        for backend in ("naive", "sdpa")
    )
    assert all(bool(x.isfinite().all()) for x in naive + fused)
    close = TOLERANCES.get(dtype, 5e-3)
    assert_close(fused, naive, atol=close, rtol=close)
    if "bias" in options:
        assert not naive[0][:, :, 1].any() and not naive[1][:, :, 1].any()


@pytest.mark.parametrize("backend", ["naive", "sdpa"])
@pytest.mark.parametrize(("T", "S"), [(5, 3), (1, 0)])
def test_more_queries_than_keys_are_not_causal(T, S, backend, normal):
    with pytest.raises(ValueError, match=f"T={T} queries to S={S} keys"):
        attention(normal(T, 8), normal(S, 8), normal(S, 8), causal=True, backend=backend)


def test_a_bias_beyond_a_dtypes_range_stays_a_number(normal):
    """-1e9 hides a key where others are open, and where all have it, all are alike."""
    q, k, v = (normal(2, 3, rows, 8, dtype=torch.float16) for rows in (4, 5, 5))
    bias = torch.zeros(4, 5)
    bias[0], bias[1, 2:] = -1e9, -1e9
    naive, fused = (attention(q, k, v, bias=bias, backend=backend) for backend in ("naive", "sdpa"))
    assert_close(fused[:, :, 1:], naive[:, :, 1:], atol=5e-3, rtol=5e-3)
    assert bool(fused.isfinite().all()) and bool(naive.isfinite().all())


def test_the_equation_has_second_derivatives(normal):
    leaves = [normal(2, rows, 4).requires_grad_() for rows in (3, 5, 5)]
    mask = normal(3, 5) > -0.5
    mask[1] = False
    assert torch.autograd.gradgradcheck(functools.partial(attention, mask=mask), leaves)
