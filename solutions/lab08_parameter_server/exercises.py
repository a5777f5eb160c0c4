"""Lab 8, sealed: all exercises and points. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Question

from .exercises_flows import flow_exercises, flow_extensions
from .exercises_wire import wire_exercises


def variants(draw: Draw) -> dict[str, Any]:
    """Servers and workers, and what a step's messages take, in milliseconds."""
    servers, each, gigabytes = draw.integer(2, 5), draw.integer(3, 9), draw.choice([2, 4, 5])
    workers, megabytes = servers * each, draw.integer(2, 8) * 10 * gigabytes
    once = megabytes / gigabytes  # of one worker, one way, in ms
    answers = [2 * each * once, each * once, 2 * workers * once, 2 * once]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:,.0f} ms" for letter, i in zip("abcd", order, strict=True)}
    numbers = {"servers": servers, "workers": workers, "gigabytes": gigabytes, "megabytes": megabytes}
    return {**numbers, **options, "server_answer": "abcd"[order.index(0)]}


def exercises(v: dict) -> list[Item]:
    """Lab 8's items."""
    rubric = [
        (2, "reads from the figure what waiting costs (half of the pushes in the same time) and that over pushes the "
            "lines nearly coincide, and says why: few workers, a small rate, staleness of about two"),
        (1, "says what a stale gradient is, and when it would hurt: more workers, a larger rate"),
        (1, "names a case for a bound of 0 and one for none"),
    ]  # fmt: skip
    return [
        *flow_exercises(),
        Choice("server_choice", 2, options=list("abcd"), answer=v["server_answer"]),
        Question("why_wait", rubric),
        *flow_extensions(),
        *wire_exercises(),
    ]
