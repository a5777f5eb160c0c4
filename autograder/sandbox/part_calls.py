"""Calls of a composite's parts during one sealed call: answered by the trusted side, and counted."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from mlsys_course.desk.check.seen import part_call
from mlsys_course.desk.check.tree import TreeError, outline
from mlsys_course.substrate.ranks import Action

from .contract import Trusted
from .inside.channel import BadFrame, Channel

MOST_PART_CALLS = 10_000
NOTHING: Mapping[str, Any] = {}


class PartCalls:
    """``count`` of one sealed call, forward and backward, of all its ranks; ``actions`` are those of a call to one."""

    def __init__(self, trusted: Trusted, exercise: str, deadline: float):
        self.trusted, self.exercise, self.deadline = trusted, exercise, deadline
        self.count, self._lock = 0, threading.Lock()
        self.actions: list[Action] = []

    def answer(
        self,
        channel: Channel,
        head: Mapping[str, Any],
        blob: bytes,
        actions: list[Action] | None = None,
        more: Mapping[str, Any] = NOTHING,
    ) -> None:
        """Write down and answer one request, with ``more`` in its head; raises BadFrame when there are too many."""
        with self._lock:
            self.count += 1
        if self.count > MOST_PART_CALLS:
            raise BadFrame(f"more than {MOST_PART_CALLS} calls of parts")
        (self.actions if actions is None else actions).append(_seen(str(head.get("name")), blob))
        left = max(0.01, self.deadline - time.monotonic())
        try:
            answer = self.trusted.part(self.exercise, str(head.get("name")), blob)
        except ValueError as error:
            channel.send({"kind": "part", "refused": str(error)[:300] or "no reason given", **more}, b"", left)
        else:
            channel.send({"kind": "part", **more}, answer, left)


def _seen(name: str, blob: bytes) -> Action:
    """A request as an action; of backward, and of what is no request, no more than that it came."""
    try:
        request = outline(blob)
        return part_call(name, request) if request["op"] == "forward" else (f"{name} backward",)
    except (TreeError, KeyError, TypeError, AttributeError):
        return (f"{name} malformed",)
