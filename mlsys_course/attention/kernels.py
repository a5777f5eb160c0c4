"""Behind ``attention``: PyTorch's kernels under the same contract, and what is checked before either way."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..substrate.dtypes import check_floating
from .masks import causal_mask

BACKENDS = ("naive", "sdpa")


def check(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, bias: Tensor | None, backend: str
) -> None:
    """Raises ValueError, as ``attention`` says."""
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    scores_shape = _shape_of_scores(q, k, v, _group(q, k, v) if backend == "sdpa" else 1)
    if mask is not None:
        _check_mask(mask, scores_shape)
    if bias is not None:
        _check_broadcasts("bias", bias, scores_shape)
    T, S = scores_shape[-2:]
    if causal and S < T:
        raise ValueError(f"causal attention of T={T} queries to S={S} keys; S counts the queries' own keys too")


def one_mask(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, bias: Tensor | None) -> Tensor | None:
    """All that says which keys a query may attend to, as one mask; a bias of -inf says it too. None where all may."""
    masks = [] if mask is None else [mask]
    if causal and q.shape[-2] > 1:  # else, nothing is hidden
        masks.append(causal_mask(q.shape[-2], k.shape[-2], device=q.device))
    if bias is not None:
        masks.append(bias != -math.inf)
    return functools.reduce(torch.Tensor.logical_and, masks) if masks else None


def fused(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, bias: Tensor | None, scale: float | None
) -> Tensor:
    """``attention`` by PyTorch's kernels, on what ``check`` let through."""
    T, S = q.shape[-2], k.shape[-2]
    causal = causal and T > 1  # the last query sees all there is
    only_causal = mask is None and bias is None and (not causal or T == S)  # they align is_causal to the first key
    if (group := _group(q, k, v)) > 1:
        same_batch = q.ndim == 4 and q.shape[0] == k.shape[0] == v.shape[0]
        if same_batch and only_causal:
            return _grouped(q, k, v, causal, scale)
        k, v = (x.repeat_interleave(group, -3) for x in (k, v))  # with a mask, kernels on a card share no heads
    is_causal = causal and only_causal
    mask = None if only_causal else one_mask(q, k, mask, causal, bias)
    leading = _leading(q, k, v)
    extra, row_has_key = None, None
    if mask is not None:
        mask = mask if mask.ndim > 1 else mask[None]
        row_has_key = mask.any(-1, keepdim=True)  # kernels differ in what they make of an empty row: none gets one
        extra = mask | ~row_has_key
    if bias is not None:
        lowest = torch.finfo(q.dtype).min
        bias = bias.clamp(lowest, -lowest).to(q.dtype)
        extra = bias if extra is None else bias.masked_fill(~extra, -math.inf)
    if extra is not None:
        extra = extra.expand(*extra.shape[:-1], S)
        extra = extra if extra.stride(-1) == 1 else extra.contiguous()  # fused kernels on a card ask for it
    if extra is not None and len(leading) > 2:
        extra = _four_dimensional(extra.expand(*extra.shape[:-2], T, S), leading)
    q, k, v = (_four_dimensional(x, leading) for x in (q, k, v))  # fused kernels take (B, H, T, D) only
    output = F.scaled_dot_product_attention(q, k, v, extra, is_causal=is_causal, scale=scale)
    output = output if len(leading) == 2 else output.reshape(*leading, T, v.shape[-1])
    return output if row_has_key is None else output.masked_fill(~row_has_key, 0)


def _grouped(q: Tensor, k: Tensor, v: Tensor, is_causal: bool, scale: float | None) -> Tensor:
    """The kernel shares the heads, and nothing copies them. The output lies token by token, to be merged as it is."""
    q = q.transpose(1, 2).contiguous().transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=True)


def _four_dimensional(x: Tensor, leading: tuple[int, ...]) -> Tensor:
    """(B, H, rows, columns): expanded to the leading dimensions, all but the last of which become one."""
    if len(leading) == 2 and x.shape[:-2] == leading:
        return x
    x = x.expand(*leading, *x.shape[-2:])
    return x.reshape(math.prod(leading[:-1]), *leading[-1:] or (1,), *x.shape[-2:])


def _group(q: Tensor, k: Tensor, v: Tensor) -> int:
    """How many heads of q share one head of k and v: 1 where these have as many, or just one, which broadcasts."""
    if min(q.ndim, k.ndim, v.ndim) < 4 or k.shape[-3] != v.shape[-3] or not 1 < k.shape[-3] < q.shape[-3]:
        return 1
    H, K = q.shape[-3], k.shape[-3]
    if H % K:
        raise ValueError(f"{K} heads of k and v do not divide the {H} heads of q; give them a divisor of {H}")
    return H // K


def _shape_of_scores(q: Tensor, k: Tensor, v: Tensor, group: int) -> tuple[int, ...]:
    """(..., T, S), or ValueError where q, k and v do not fit together; ``group`` heads of q share one of k and v."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ValueError(f"{shapes}: each needs at least two dimensions, (..., time, channels)")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q is {q.dtype}, k {k.dtype}, v {v.dtype}; convert them to one dtype")
    check_floating(q=q)
    if q.shape[-1] != k.shape[-1] or not q.shape[-1]:
        raise ValueError(f"{shapes}: q and k need one head_dim of at least 1; project them to the same width")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"{shapes}: each key needs a value; make k.shape[-2] equal v.shape[-2]")
    try:
        leading = _leading(q, k, v) if group == 1 else _leading(q[..., ::group, :, :], k, v)
    except RuntimeError:
        raise ValueError(f"{shapes}: the leading dimensions do not broadcast; make them equal") from None
    leading = leading if group == 1 else (*leading[:-1], q.shape[-3])
    return (*leading, q.shape[-2], k.shape[-2])


def _leading(q: Tensor, k: Tensor, v: Tensor) -> tuple[int, ...]:
    if q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return q.shape[:-2]  # broadcast_shapes costs more than a small attention
    return torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])


def _check_mask(mask: Tensor, scores_shape: tuple[int, ...]) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}, expected torch.bool with True at what may be attended to")
    _check_broadcasts("mask", mask, scores_shape)


def _check_broadcasts(name: str, given: Tensor, scores_shape: tuple[int, ...]) -> None:
    pairs = zip(reversed(given.shape), reversed(scores_shape), strict=False)
    if given.ndim > len(scores_shape) or any(size not in (1, expected) for size, expected in pairs):
        raise ValueError(
            f"{name} {tuple(given.shape)} does not broadcast to the scores {scores_shape}; "
            "give it shape (..., T, S), with 1 where all share"
        )
