"""Two ways of starting ranks as processes: forks of a server that is ready, or fresh interpreters."""

import atexit
import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Protocol

FORKS = sys.platform == "linux"  # elsewhere libraries of the system do not survive a fork
END_SECONDS = 10.0


class Starter(Protocol):
    """Starts the ranks of one run, and sees that none is left."""

    def start(self, address: str | tuple[str, int], key: bytes, number: int, folder: str) -> list[int]:
        """Process ids by rank. ``folder`` is the run's, removed even if the notebook is killed."""
        ...

    def exit_codes(self) -> list[int | None]:
        """By rank; None for one that has not ended, negative for the number of a signal."""
        ...

    def end(self) -> None:
        """Kill what is left of the ranks, and wait until it is gone."""
        ...


class ForkServer:
    """The server's end in the notebook. It is started once and stays; Ctrl-C in a terminal does not reach it."""

    def __init__(self):
        self.owner, self._ranks = os.getpid(), list[int]()
        self.process = subprocess.Popen(
            _python("from mlsys_course.substrate.ranks.processes.forkserver import start; start()"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdin and self.process.stdout
        self._requests = Connection(os.dup(self.process.stdin.fileno()), readable=False)
        self._answers = Connection(os.dup(self.process.stdout.fileno()), writable=False)
        self.process.stdin.close()
        self.process.stdout.close()
        self._asked = 0

    @property
    def alive(self) -> bool:
        """Whether it is this process's server, and runs."""
        return self.owner == os.getpid() and self.process.poll() is None

    def close(self) -> None:
        """End the server; it ends its ranks."""
        if self.owner == os.getpid():
            self._requests.close()
            self.process.wait(END_SECONDS)
            self._answers.close()

    def start(self, address: str | tuple[str, int], key: bytes, number: int, folder: str) -> list[int]:
        self._ranks = self._ask("start", address, key, number, folder)
        return self._ranks

    def exit_codes(self) -> list[int | None]:
        codes = self._ask("look")
        return [codes[child] for child in self._ranks]

    def end(self) -> None:
        self._ask("end")

    def _ask(self, *request):
        """An answer has its request's number: Ctrl-C may have come before the one of an earlier request was read."""
        self._asked += 1
        self._requests.send((self._asked, *request))
        while True:
            number, answer = self._answers.recv()
            if number == self._asked:
                return answer


class FreshInterpreters:
    """A new interpreter for each rank, which imports PyTorch first; works on any system, and with cards."""

    def __init__(self):
        self._ranks: Sequence[subprocess.Popen] = ()

    def start(self, address: str | tuple[str, int], key: bytes, number: int, folder: str) -> list[int]:
        """The ranks themselves remove ``folder``: no process of ours outlives the notebook but they."""
        code = "import sys; from mlsys_course.substrate.ranks.processes.rank_program import main; "
        code += f"main({address!r}, bytes.fromhex(sys.stdin.read()), int(sys.argv[1]))"
        self._ranks = [
            subprocess.Popen([*_python(code), str(rank)], stdin=subprocess.PIPE, start_new_session=os.name == "posix")
            for rank in range(number)
        ]
        for rank in self._ranks:
            assert rank.stdin
            rank.stdin.write(key.hex().encode())
            rank.stdin.close()
        return [rank.pid for rank in self._ranks]

    def exit_codes(self) -> list[int | None]:
        return [rank.poll() for rank in self._ranks]

    def end(self) -> None:
        for rank in self._ranks:
            rank.kill()
        for rank in self._ranks:
            rank.wait(END_SECONDS)


_server: ForkServer | None = None


def starter(backend: str) -> Starter:
    """The quickest way for a backend on this system. A process that forked has its own start of CUDA to make anyway."""
    global _server
    if backend == "nccl" or not FORKS:
        return FreshInterpreters()
    if _server is None or not _server.alive:
        _server = ForkServer()
        atexit.register(_server.close)
    return _server


def warm_up() -> None:
    """Start the fork server now, so that the first ``run`` need not wait for its import of PyTorch."""
    starter("gloo")


def _python(code: str) -> list[str]:
    """An interpreter that finds what this one finds."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]
