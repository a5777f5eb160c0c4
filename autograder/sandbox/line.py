"""The trusted end of a rank's channel, during one sealed call."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from .contract import Call
from .inside.channel import BadFrame
from .inside.rank import MOST_MESSAGE
from .parked import Parked

MOST_FRAMES = 20_000  # of one rank
MOST_HEADER = 1 << 16


class Line:
    """What a rank sends repeats the word of what it was told last, so it can only have been sent thereafter."""

    def __init__(self, member: Parked):
        self.channel, self.word, self.frames = member.channel, "", 0
        self.channel.most_header, self.channel.most_blob = MOST_HEADER, MOST_MESSAGE

    def call(self, call: Call, rank: int, deadline: float) -> None:
        """Hand out a rank's inputs."""
        self.tell({"kind": "call", "rank": rank, "world_size": len(call.ranks)}, call.ranks[rank], deadline)

    def tell(self, head: Mapping[str, Any], blob: bytes, deadline: float) -> None:
        """Send it something."""
        self.word = secrets.token_hex(8)
        self.channel.send({**head, "word": self.word}, blob, max(0.01, deadline - time.monotonic()))

    def hear(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        """What it sends next; raises BadFrame when that is too much, or from before it was answered."""
        self.frames += 1
        if self.frames > MOST_FRAMES:
            raise BadFrame(f"more than {MOST_FRAMES} messages")
        head, blob = self.channel.receive(deadline)
        if head.get("after") != self.word:
            raise BadFrame("a message from before it was answered")
        return head, blob
