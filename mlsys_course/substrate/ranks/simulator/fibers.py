"""Functions that take turns: each a thread, of which one alone runs, until it hands on the baton."""

import threading
from collections.abc import Callable, Sequence

import torch

from ..shared.problems import RanksLate
from ..shared.switchboard import Released


class Fibers:
    """``go_on(n)`` lets function n run until it calls ``pause`` or ends. ``stop`` ends those that paused."""

    def __init__(self, functions: Sequence[Callable[[], None]], seconds: float):
        self._functions, self._seconds = functions, seconds
        self._batons = [threading.Lock() for _ in functions]
        self._back = threading.Lock()
        self._threads: dict[int, threading.Thread] = {}
        self._over = False
        for lock in (*self._batons, self._back):
            lock.acquire()

    def go_on(self, number: int) -> None:
        """Returns when function ``number`` pauses or ends; raises RanksLate where it does neither for too long."""
        if number in self._threads:
            self._batons[number].release()
        else:
            thread = threading.Thread(target=self._run, args=(number,), name=f"rank {number}", daemon=True)
            self._threads[number] = thread
            thread.start()
        if not self._back.acquire(timeout=self._seconds):
            self._over = True
            raise RanksLate(
                f"rank {number} neither returned nor waited for {self._seconds:g} s; a simulated rank goes on alone "
                "until it needs a message, so look for a loop without end"
            )

    def pause(self, number: int) -> None:
        """Called by function ``number``: hand back the baton, and wait for it."""
        self._back.release()
        self._batons[number].acquire()
        if self._over:
            raise Released("the simulation is over")

    def stop(self) -> None:
        """Release every function that paused, with an exception, and wait for its end."""
        self._over = True
        for number, thread in self._threads.items():
            while thread.is_alive() and self._batons[number].locked():
                self._batons[number].release()
                if not self._back.acquire(timeout=1.0):
                    break  # it went on without its turn: it is left behind

    def _run(self, number: int) -> None:
        torch.set_num_threads(1)  # of this thread: else each would bring a pool of its own
        try:
            self._functions[number]()
        finally:
            self._back.release()
