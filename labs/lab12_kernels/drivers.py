"""How lab 12's exercises are called. Read it to see what a case asks of your functions."""

import functools

import torch

from mlsys_course.desk.check import driver, raised
from mlsys_course.desk.check.seen import OUTSIDE
from mlsys_course.parameter_server import quantize as lab_8s_quantize
from mlsys_course.substrate.fast_memory import carried_out, written
from mlsys_course.substrate.formats import FloatFormat

# ---- kernels for the machine -----------------------------------------------------------------------------------------
#
# Your kernel is called with arrays of which only the shapes are known, and what it tells the machine is written down.
# The numbers are on the other side: there the instructions are carried out, on a machine of the same capacity, and what
# they move is counted. While grading, the other side is the grader's.


@functools.lru_cache(maxsize=1)  # what the arrays hold and what was moved are both asked of it
def machine_after(program, capacity, *arrays):
    return carried_out(program, capacity, arrays)


def carry_out(case, outputs):
    """The machine after the instructions, on the case's numbers."""
    return machine_after(outputs["program"], case["capacity"], *case[OUTSIDE]["arrays"])


def results(case, outputs, seen):
    """What the arrays hold that the kernel returned."""
    if OUTSIDE not in case or "program" not in outputs:
        return outputs
    memory = carry_out(case, outputs)
    made = [memory.read(memory.arrays[number]) for number in outputs["results"]]
    return dict(zip(case[OUTSIDE]["names"], made, strict=True))


def traffic(case, outputs):
    """Entries that went either way between the two memories, and multiplications."""
    if OUTSIDE not in case or "program" not in outputs:
        return {}
    memory = carry_out(case, outputs)
    return {"entries_moved": float(memory.moved), "multiplications": float(memory.multiplications)}


def program(candidate, case, *more):
    """What the kernel says; or the error that it raises."""

    def kernel(memory, *arrays):
        return candidate(memory, *arrays, *more, **case.get("settings", {}))

    if "bad" in case:
        return {"raised": raised(written, case["capacity"], case["shapes"], kernel)}
    return written(case["capacity"], case["shapes"], kernel)


@driver(judged=results, counted=traffic)
def tiled_matmul(candidate, case):
    return program(candidate, case)


@driver(judged=results, counted=traffic)
def conv2d(candidate, case):
    return program(candidate, case)


@driver(judged=results, counted=traffic)
def flash_attention(candidate, case):
    return program(candidate, case, case["rows"], case["columns"])


@driver(judged=results, counted=traffic)
def flash_attention_backward(candidate, case):
    return program(candidate, case, case["rows"], case["columns"])


# ---- functions of tensors --------------------------------------------------------------------------------------------


@driver
def round_to(candidate, case):
    """Rounded entries, in a unit in which they are near 1: outputs compare by an absolute tolerance too."""
    format = FloatFormat(**case["format"])
    draws = [case["u"]] if "u" in case else []
    if "sweep" in case:  # u = (i + 1/2) / n: the mean over them
        n, x = case["sweep"], case["x"]
        found = [candidate(x, format, torch.full_like(x, (i + 0.5) / n)) for i in range(n)]
        return {"rounded": found, "mean": torch.stack(found).mean(0)}
    rounded = candidate(case["x"], format, *draws)
    return {"rounded": rounded / case.get("unit", 1.0)}


@driver(parts={"quantize": lab_8s_quantize})
def quantize_mxfp4(candidate, case, quantize):
    """The bytes. With ``marked`` the part that is handed in says the top level of all entries, which shows its use."""
    if "marked" in case:
        plain = quantize
        quantize = lambda x, levels, u: plain(x * 0 + levels[-1], levels, u)  # noqa: E731
    given = case["x"], case.get("u", 0.5), quantize
    if "bad" in case:
        return {"raised": raised(candidate, *given)}
    packed, exponents = candidate(*given)
    return {"packed": packed, "exponents": exponents}


@driver
def im2col(candidate, case):
    """The columns; and what flows back from weights on them."""
    x = case["x"].clone().requires_grad_() if "grad" in case else case["x"]
    given = x, tuple(case["kernel"]), *case.get("settings", [])
    if "bad" in case:
        return {"raised": raised(candidate, *given)}
    columns = candidate(*given)
    if "grad" not in case:
        return {"columns": columns}
    (gradient,) = torch.autograd.grad(columns, x, case["grad"])
    return {"gradient": gradient}


@driver
def online_softmax(candidate, case):
    """The state after all pieces; and that of an earlier one, which must not move."""
    state, first = None, None
    for scores, values in zip(case["scores"], case["values"], strict=True):
        state = candidate(scores, values) if state is None else candidate(scores, values, state)
        first = first or state
    top, total, weighted = state
    found = {"top": top, "total": total, "weighted": weighted}
    return found if "first" not in case else {**found, "after the first piece": list(first)}


@driver(judged=results, counted=traffic)
def stationary_matmul(candidate, case):
    return program(candidate, case)


@driver(judged=results, counted=traffic)
def fused_swiglu(candidate, case):
    return program(candidate, case, case["side"])


@driver
def merge_states(candidate, case):
    left, right = (tuple(case[side]) for side in ("left", "right"))
    return dict(zip(["top", "total", "weighted"], candidate(left, right), strict=True))
