"""How lab 2's functions are called and what of them is compared: the same code for your runs and for grading."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F

from mlsys_course.check import allowed, driver
from mlsys_course.check.tree import Tree

Function = Callable[..., torch.Tensor]
Case = Mapping[str, Tree]


def public_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The right ``attention`` that composites get in your own runs: PyTorch's. Grading passes one of its own."""
    with allowed():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def with_gradients(function: Function, case: Case, names: Sequence[str]) -> Tree:
    """The output; where the case brings a cotangent, the gradients of (output * cotangent).sum() too."""
    if "cotangent" not in case:
        return {"output": function(*(case[name] for name in names))}
    leaves = [case[name].clone().requires_grad_() for name in names]
    output = function(*leaves)
    gradients = torch.autograd.grad(
        output, leaves, case["cotangent"], materialize_grads=True
    )  # zeros for an unused input
    return {"output": output, **{f"gradient_{name}": g for name, g in zip(names, gradients, strict=True)}}


@driver
def attention(candidate: Function, case: Case) -> Tree:
    """(q, k, v) or (q, k, v, mask); with ``heads_last`` q, k and v are strided views, as after a transpose."""
    if case.get("heads_last"):
        case = {**case, **{name: case[name].transpose(1, 2).contiguous().transpose(1, 2) for name in "qkv"}}
    mask = [case["mask"]] if "mask" in case else []
    return with_gradients(lambda q, k, v: candidate(q, k, v, *mask), case, ["q", "k", "v"])


@driver
def causal_mask(candidate: Function, case: Case) -> Tree:
    """causal_mask(T) or causal_mask(T, S)."""
    sizes = [case[name] for name in ("T", "S") if name in case]
    return {"mask": candidate(*sizes)}


@driver
def padding_mask(candidate: Function, case: Case) -> Tree:
    return {"mask": candidate(case["lengths"], case["T"])}


@driver(parts={"attention": public_attention})
def multi_head_attention(candidate: Function, case: Case, attention: Function) -> Tree:
    """Without a mask in the case, the argument is left out."""
    mask = {"mask": case["mask"]} if "mask" in case else {}

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        return candidate(*tensors, case["n_heads"], **mask, attention=attention)

    return with_gradients(call, case, ["x", "w_q", "w_k", "w_v", "w_o"])


@driver(parts={"attention": public_attention})
def grouped_query_attention(candidate: Function, case: Case, attention: Function) -> Tree:
    """Without a mask in the case, the argument is left out."""
    mask = {"mask": case["mask"]} if "mask" in case else {}

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        return candidate(*tensors, case["n_heads"], case["n_kv_heads"], **mask, attention=attention)

    return with_gradients(call, case, ["x", "w_q", "w_k", "w_v", "w_o"])


@driver
def sinusoidal_positions(candidate: Function, case: Case) -> Tree:
    """The base is left out where the case has none."""
    base = {"base": case["base"]} if "base" in case else {}
    return {"positions": candidate(case["T"], case["C"], **base)}


@driver
def rotary_positions(candidate: Function, case: Case) -> Tree:
    """Offset and base are left out where the case has none."""
    options = {name: case[name] for name in ("offset", "base") if name in case}
    return with_gradients(lambda x: candidate(x, **options), case, ["x"])
