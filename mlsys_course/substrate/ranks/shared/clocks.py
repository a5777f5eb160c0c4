"""Logical time of ranks, read from what each of them sent and received: no thread's luck changes any of it."""

from collections import defaultdict, deque
from collections.abc import Sequence

from .traffic import Action


class Clocks:
    """A rank sends one message a step and receives one a step, both at once; it goes on when it has received.

    A message carries word of all ranks that its sender has heard of. ``actions`` are each rank's, in its program's
    order, as a ``Switchboard`` keeps them.
    """

    def __init__(self, actions: Sequence[Sequence[Action]]):
        size = len(actions)
        self.now = [0] * size  # how far a rank's program is
        self.sending, self.receiving = [0] * size, [0] * size  # until when these are busy
        self.heard_of = [{rank} for rank in range(size)]
        self._under_way: dict[tuple[int, int], deque[tuple[int, set[int]]]] = defaultdict(deque)
        waiting = [deque(action for action in own if action[0] in ("send", "recv")) for own in actions]
        while sum(self._run(rank, own) for rank, own in enumerate(waiting)):
            pass

    @property
    def steps(self) -> int:
        """Until all is done."""
        return max(self.now + self.sending)

    def _run(self, rank: int, actions: deque[Action]) -> int:
        """Go on with a rank up to a message that was not sent yet; how many actions that was."""
        before = len(actions)
        while actions:
            kind, other = actions[0][:2]
            if kind == "send":
                self.sending[rank] = max(self.now[rank], self.sending[rank]) + 1
                self._under_way[rank, other].append((self.sending[rank], set(self.heard_of[rank])))
            elif self._under_way[other, rank]:
                sent, heard_of = self._under_way[other, rank].popleft()
                self.receiving[rank] = self.now[rank] = max(sent, self.receiving[rank] + 1)
                self.heard_of[rank] |= heard_of
            else:
                break
            actions.popleft()
        return before - len(actions)
