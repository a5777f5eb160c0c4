"""How lab 2's functions are called and what of them is compared: the same code for your runs and for grading."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from mlsys_course.desk.check import allowed, driver, raised, with_gradients
from mlsys_course.desk.check.tree import Tree

Function = Callable[..., torch.Tensor]
Case = Mapping[str, Tree]


def public_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The right ``attention`` that composites get in your own runs: PyTorch's. Grading passes one of its own."""
    try:
        torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except RuntimeError:
        raise ValueError(f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} do not fit together") from None
    with allowed():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).contiguous()  # as grading's comes


def marked(x: torch.Tensor, offset: int = 0) -> torch.Tensor:
    """Stands for ``rotary``: anything of (x, offset) that tells positions apart. Row t is scaled by its position."""
    positions = torch.arange(offset, offset + x.shape[-2], device=x.device, dtype=torch.float32)
    return (x * (1 + positions / 4)[:, None]).to(x.dtype)


def handed_in(attention: Function, case: Case) -> Function:
    """The part as it is; with ``marked`` one that returns its double, which shows whether it was called."""
    if not case.get("marked"):
        return attention
    return lambda q, k, v, mask=None: 2 * attention(q, k, v, mask)


def on_device(case: Case) -> dict[str, torch.device]:
    """The argument ``device`` of what is given no tensor; the others see the device of their inputs."""
    return {"device": case["device"]} if "device" in case else {}


@driver
def attention(candidate: Function, case: Case) -> Tree:
    """(q, k, v) or (q, k, v, mask); with ``heads_last`` q, k and v are strided views, as after a transpose."""
    if case.get("heads_last"):
        case = {**case, **{name: case[name].transpose(1, 2).contiguous().transpose(1, 2) for name in "qkv"}}
    mask = [case["mask"]] if "mask" in case else []
    return with_gradients(lambda q, k, v: candidate(q, k, v, *mask), case, ["q", "k", "v"])


@driver
def causal_mask(candidate: Function, case: Case) -> Tree:
    """causal_mask(T) or causal_mask(T, S), with a device where the case has one."""
    sizes = [case[name] for name in ("T", "S") if name in case]
    return {"mask": candidate(*sizes, **on_device(case))}


@driver
def padding_mask(candidate: Function, case: Case) -> Tree:
    return {"mask": candidate(case["lengths"], case["T"])}


@driver
def window_mask(candidate: Function, case: Case) -> Tree:
    """window_mask(T, window) or window_mask(T, window, S), with a device where the case has one."""
    return {"mask": candidate(*(case[name] for name in ("T", "window", "S") if name in case), **on_device(case))}


@driver
def prefix_mask(candidate: Function, case: Case) -> Tree:
    return {"mask": candidate(case["prefix"], case["T"])}


@driver
def document_mask(candidate: Function, case: Case) -> Tree:
    return {"mask": candidate(case["documents"])}


@driver(parts={"attention": public_attention})
def self_attention(candidate: Function, case: Case, attention: Function) -> Tree:
    """Mask and context are left out where the case has none."""
    options = {"mask": case["mask"]} if "mask" in case else {}
    names = ["x", "w_q", "w_k", "w_v", *(["context"] if "context" in case else [])]

    def call(*given: torch.Tensor) -> torch.Tensor:
        context = {"context": given[4]} if "context" in case else {}
        return candidate(*given[:4], **options, **context, attention=handed_in(attention, case))

    return with_gradients(call, case, names)


@driver(parts={"attention": public_attention})
def multi_head_attention(candidate: Function, case: Case, attention: Function) -> Tree:
    """Without a mask in the case, the argument is left out."""
    mask = {"mask": case["mask"]} if "mask" in case else {}

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        return candidate(*tensors, case["n_heads"], **mask, attention=handed_in(attention, case))

    return with_gradients(call, case, ["x", "w_q", "w_k", "w_v", "w_o"])


@driver(parts={"attention": public_attention})
def grouped_query_attention(candidate: Function, case: Case, attention: Function) -> Tree:
    """Without a mask in the case, the argument is left out."""
    mask = {"mask": case["mask"]} if "mask" in case else {}

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        heads = (case["n_heads"], case["n_kv_heads"])
        return candidate(*tensors, *heads, **mask, attention=handed_in(attention, case))

    return with_gradients(call, case, ["x", "w_q", "w_k", "w_v", "w_o"])


@driver
def sinusoidal_positions(candidate: Function, case: Case) -> Tree:
    """Base and device are left out where the case has none."""
    base = {"base": case["base"]} if "base" in case else {}
    return {"positions": candidate(case["T"], case["C"], **base, **on_device(case))}


@driver
def rotary_positions(candidate: Function, case: Case) -> Tree:
    """Offset and base are left out where the case has none."""
    options = {name: case[name] for name in ("offset", "base") if name in case}
    return with_gradients(lambda x: candidate(x, **options), case, ["x"])


@driver
def learned_positions(candidate: Function, case: Case) -> Tree:
    """The offset is left out where the case has none; what lies beyond the table shows as the error's class."""
    options = {"offset": case["offset"]} if "offset" in case else {}
    if case["T"] + case.get("offset", 0) > len(case["table"]):
        return {"raised": raised(candidate, case["table"], case["T"], **options)}
    return with_gradients(lambda table: candidate(table, case["T"], **options), case, ["table"])


@driver(parts={"attention": public_attention})
def cached_attention(candidate: Function, case: Case, attention: Function) -> Tree:
    """The tokens of x piece by piece; each call gets what the one before returned as its past."""
    past = (case["past_k"], case["past_v"]) if "past_k" in case else None
    weights = [case[name] for name in ("w_q", "w_k", "w_v", "w_o", "n_heads", "n_kv_heads")]
    outputs = []
    for piece in case["x"].split(case["pieces"], dim=1):
        y, past = candidate(piece, *weights, past, attention=handed_in(attention, case), rotary=marked)
        outputs.append(y)
    return {"outputs": outputs, "keys": past[0], "values": past[1]}


@driver
def KVCache(candidate: Callable, case: Case) -> Tree:
    """After each append: keys, values and offset, or the error's class. At last the last pair once more: with
    ``beside`` another cache was filled in between, and with ``memory`` each earlier pair was written to, which shows
    where all lies in one memory, and so were the tensors that were handed in, which shows nowhere."""
    cache, other, found, returned, handed, tokens = (*(candidate(case["capacity"]) for _ in range(2)), [], [], [], 0)
    for new in case["new"]:
        k, v = (new[name].clone() if "memory" in case else new[name] for name in "kv")  # these are written to
        T = k.shape[2]
        if tokens + T > case["capacity"]:
            said = {"raised": raised(cache.append, k, v)}
        else:
            returned.append(cache.append(k, v))
            said = {"keys": torch.Tensor.clone(returned[-1][0]), "values": torch.Tensor.clone(returned[-1][1])}
            tokens += T
            handed.append((k, v))
            if "beside" in case:
                other.append(-k, -v)
        found.append({**said, "offset": cache.offset})
    if not returned:
        return {"appends": found}
    with torch._C.DisableTorchFunctionSubclass(), torch.inference_mode():  # a class of one's own could write elsewhere
        if "memory" in case:
            for x in (x for pair in (*returned[:-1], *handed) for x in pair):
                torch.Tensor.add_(x, 1)
        at_last = "written to" if "memory" in case else "at last"
        return {"appends": found, at_last: [torch.Tensor.clone(x) for x in returned[-1]]}
