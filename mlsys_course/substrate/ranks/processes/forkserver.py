"""A process that has imported PyTorch and done nothing with it, and forks into ranks when asked: that takes
milliseconds.

It runs one thread and never computes, so its forks are sound: a fork of the notebook's process would inherit locks and
thread pools whose threads are not there. When the notebook goes, in whatever way, it ends every rank, removes the run's
folder, and ends itself.
"""

import os
import shutil
import signal
import sys
from multiprocessing.connection import Connection

from .rank_program import main


def serve(requests: Connection, answers: Connection) -> None:
    """Requests have numbers: "start" (address, key, how many, the run's folder), "look", "end".

    Answers: process ids; else exit codes.
    """
    ranks: dict[int, int | None] = {}
    folder = ""
    while True:
        try:
            asked, kind, *content = requests.recv()
        except (EOFError, OSError):
            break
        if kind == "start":
            address, key, number, folder = content
            ranks = {fork(address, key, rank, (requests, answers)): None for rank in range(number)}
            answers.send((asked, list(ranks)))
            continue
        if kind == "end":
            kill(ranks)
        reap(ranks, wait=kind == "end")
        answers.send((asked, ranks))
    kill(ranks)
    reap(ranks, wait=True)  # nobody writes there any more
    if folder:
        shutil.rmtree(folder, ignore_errors=True)  # gone already, but for a notebook that was killed in a run
    os._exit(0)


def fork(address: str | tuple[str, int], key: bytes, rank: int, ours: tuple[Connection, ...]) -> int:
    """A child that is a rank; its process id."""
    child = os.fork()
    if child:
        return child
    for connection in ours:
        connection.close()
    try:
        main(address, key, rank)
    finally:
        os._exit(1)


def kill(ranks: dict[int, int | None]) -> None:
    """End those that have not ended. A child's number is not given away before it is reaped."""
    for child, code in ranks.items():
        if code is None:
            os.kill(child, signal.SIGKILL)


def reap(ranks: dict[int, int | None], wait: bool) -> None:
    """Note the exit codes of those that have ended; negative for the number of a signal."""
    for child in [child for child, code in ranks.items() if code is None]:
        found, status = os.waitpid(child, 0 if wait else os.WNOHANG)
        if found:
            ranks[child] = os.waitstatus_to_exitcode(status)


def start() -> None:
    """The server, on the pipes that are its standard input and output."""
    requests, answers = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what a library prints is no answer
    sys.stdout = sys.stderr
    serve(requests, answers)
