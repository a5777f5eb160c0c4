"""Calls of a composite's parts during one sealed call: answered by the trusted side, and counted."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from .contract import Trusted
from .inside.channel import BadFrame, Channel

MOST_PART_CALLS = 10_000


class PartCalls:
    """``count`` of one sealed call, forward and backward, of all its ranks."""

    def __init__(self, trusted: Trusted, exercise: str, deadline: float):
        self.trusted, self.exercise, self.deadline = trusted, exercise, deadline
        self.count, self._lock = 0, threading.Lock()

    def answer(self, channel: Channel, head: Mapping[str, Any], blob: bytes) -> None:
        """Answer one request; raises BadFrame when there are too many."""
        with self._lock:
            self.count += 1
        if self.count > MOST_PART_CALLS:
            raise BadFrame(f"more than {MOST_PART_CALLS} calls of parts")
        left = max(0.01, self.deadline - time.monotonic())
        try:
            answer = self.trusted.part(self.exercise, str(head.get("name")), blob)
        except ValueError as error:
            channel.send({"kind": "part", "refused": str(error)[:300] or "no reason given"}, b"", left)
        else:
            channel.send({"kind": "part"}, answer, left)
