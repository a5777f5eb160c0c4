"""Calls of a composite's parts during one sealed call: answered by the trusted side, and counted."""

import threading
from collections.abc import Mapping
from typing import Any

from mlsys_course.desk.check.seen import part_call
from mlsys_course.desk.check.tree import TreeError, outline
from mlsys_course.substrate.ranks import Action

from .contract import Trusted
from .inside.channel import BadFrame

MOST_PART_CALLS = 10_000


class PartCalls:
    """``count`` of one sealed call, forward and backward, of all its ranks; ``actions`` are those of a call to one."""

    def __init__(self, trusted: Trusted, exercise: str):
        self.trusted, self.exercise = trusted, exercise
        self.count, self._lock = 0, threading.Lock()
        self.actions: list[Action] = []

    def answer(
        self, head: Mapping[str, Any], blob: bytes, actions: list[Action] | None = None
    ) -> tuple[Mapping[str, Any], bytes]:
        """Write down one request, and answer it: head and bytes; raises BadFrame when there are too many."""
        with self._lock:
            self.count += 1
        if self.count > MOST_PART_CALLS:
            raise BadFrame(f"more than {MOST_PART_CALLS} calls of parts")
        (self.actions if actions is None else actions).append(_seen(str(head.get("name")), blob))
        try:
            return {"kind": "part"}, self.trusted.part(self.exercise, str(head.get("name")), blob)
        except ValueError as error:
            return refused(str(error))


def refused(why: str) -> tuple[Mapping[str, Any], bytes]:
    """The answer to a call that is not made."""
    return {"kind": "part", "refused": why[:300] or "no reason given"}, b""


def _seen(name: str, blob: bytes) -> Action:
    """A request as an action; of backward, and of what is no request, no more than that it came."""
    try:
        request = outline(blob)
        return part_call(name, request) if request["op"] == "forward" else (f"{name} backward",)
    except (TreeError, KeyError, TypeError, AttributeError):
        return (f"{name} malformed",)
