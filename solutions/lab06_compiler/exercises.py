"""Lab 6, sealed: exercises and points. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Question, exercises_of
from mlsys_course import compiler

from . import cases_memory, cases_rewrites, cases_trace, mistakes

FORBIDDEN = ("torch.compile", "torch.jit.trace", "torch.jit.script", "torch.fx.symbolic_trace", "torch.export.export")


def variants(draw: Draw) -> dict[str, Any]:
    """Rows and width of a projection, for the choice about arithmetic intensity."""
    width, rows = 64 * draw.integer(8, 32), draw.integer(2, 8)
    apart = 2 * rows * width * width / (4 * (rows * width + width * width + rows * width))
    merged = 6 * rows * width * width / (4 * (rows * width + 3 * width * width + 3 * rows * width))
    answers = [
        f"from {apart:.3f} to {merged:.3f}",
        f"from {apart:.3f} to {3 * apart:.3f}",
        f"from {4 * apart:.2f} to {4 * merged:.2f}",
        f"from {apart / 2:.3f} to {merged / 2:.3f}",
    ]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": answers[i] for letter, i in zip("abcd", order, strict=True)}
    return {"width": width, "rows": rows, **options, "intensity_answer": "abcd"[order.index(0)]}


def exercises(v: dict) -> list[Item]:
    """Lab 6's items."""
    exercise = exercises_of(compiler, forbidden=FORBIDDEN)
    t, r, m = cases_trace, cases_rewrites, cases_memory
    fixed = {"fixed point": 6, "sharing": 4, "endless": 4}
    rubric = [
        (2, "says that the small operators are bound by the cost of a call and by memory, and quotes the measurement"),
        (2, "explains what fusion saves: values between two operators are neither written to memory nor read from it"),
        (2, "says what cannot be fused so, such as a value with several users or a reduction, and why"),
    ]
    return [
        exercise("trace", {"graph": 4, "values": 3, "refusals": 5}, t.trace_cases, mistakes.TRACE),
        exercise("jit", {"guards": 7, "programs": 3, "errors": 2}, t.jit_cases, mistakes.JIT),
        exercise("eliminate", {"common": 6, "dead": 2, "order": 2}, r.eliminate_cases, mistakes.ELIMINATE),
        exercise("rewrite", fixed, r.rewrite_cases, mistakes.REWRITE),
        exercise("merge_qkv", {"merged": 7, "left alone": 3, "edges": 2}, r.merge_cases, mistakes.MERGE),
        Choice("intensity_choice", 2, options=list("abcd"), answer=v["intensity_answer"]),
        exercise("fuse_elementwise", {"chains": 3, "fan-out": 4, "shapes": 3}, r.fuse_cases, mistakes.FUSE),
        Question("why_fused", rubric),
        exercise("plan_buffers", {"lives": 5, "arena": 4, "edges": 3}, m.buffer_cases, mistakes.BUFFERS),
        exercise("order_for_memory", {"least": 5, "valid": 3, "large": 2}, m.order_cases, mistakes.ORDER),
    ]
