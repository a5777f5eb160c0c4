"""Ranks as threads of this process: on any system, at once, with every message counted."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .communicator import Communicator
from .problems import Deadlock, RankRaised, RanksLate
from .switchboard import Switchboard
from .traffic import Traffic, bytes_of


class ThreadCommunicator(Communicator):
    """Messages through a switchboard in memory."""

    concurrent = True

    def __init__(self, board: Switchboard, rank: int):
        super().__init__(rank, board.world_size)
        self._board = board
        self.actions = board.actions[rank]

    def channel(self) -> Communicator:
        return self._another()

    def working(self, change: int) -> None:
        self._board.working(self.rank, change)

    def _post(self, tensor: Tensor, to: int) -> None:
        self._board.post(self.rank, to, tensor.clone(), bytes_of(tensor), self.number)

    def _take(self, source: int, buffer: Tensor) -> Tensor:
        return self._board.take(self.rank, source, channel=self.number)


@dataclass
class Together:
    """What a run came to. ``late`` and ``stuck`` say why not all ranks returned of themselves."""

    results: list[Any]
    board: Switchboard
    errors: dict[int, BaseException] = field(default_factory=dict)
    late: str = ""

    @property
    def stuck(self) -> str:
        return self.board.stuck

    @property
    def traffic(self) -> Traffic:
        return self.board.traffic


def run_together(function: Callable[[ThreadCommunicator], Any], world_size: int, seconds: float = 60.0) -> Together:
    """Call ``function`` once for each rank, all at once, and say what it came to; raises nothing of theirs."""
    if world_size < 1:
        raise ValueError(f"world_size={world_size}; there is at least one rank")
    board = Switchboard(world_size)
    together = Together([None] * world_size, board)

    def run(rank: int) -> None:
        try:
            together.results[rank] = function(ThreadCommunicator(board, rank))
        except BaseException as error:  # whatever it is, the other ranks must learn of it
            together.errors[rank] = error
        finally:
            board.leave(rank)

    threads = [threading.Thread(target=run, args=(r,), name=f"rank {r}", daemon=True) for r in range(world_size)]
    end = time.monotonic() + seconds
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            together.late = board.unfinished() or "the last rank was too slow"
    finally:
        board.stop()
    return together


def run_in_threads(
    function: Callable[[Communicator], Any], world_size: int, seconds: float = 60.0
) -> tuple[list[Any], Traffic]:
    """Call ``function(comm)`` once for each of ``world_size`` ranks, all at once; their results, and the traffic.

    Raises RankRaised with the exception of the first rank that raised, Deadlock as soon as nobody can go on, and
    RanksLate after ``seconds``.
    """
    together = run_together(function, world_size, seconds)
    if together.late:
        raise RanksLate(f"{together.late} (after {seconds:g} s)")
    for rank, error in sorted(together.errors.items()):
        if rank not in together.board.released:
            raise RankRaised(f"rank {rank} raised {type(error).__name__}: {error}") from error
    if together.stuck:
        raise Deadlock(together.stuck)
    return together.results, together.traffic
