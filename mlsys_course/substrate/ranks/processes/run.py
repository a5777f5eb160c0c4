"""``run``: a function of a notebook or script on several ranks at once, each a process of its own."""

import os
import pickle
import queue
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import cloudpickle
import torch
import torch.distributed as dist

from ...errors import CourseProblem
from ..shared.problems import RankDied, RanksLate
from ..shared.result import Run
from .account import account, told
from .rank_program import Job
from .starters import Starter, starter
from .supervisor import Ended, Follower

START_SECONDS = 120.0  # a cold machine may take a minute to import PyTorch
_one_at_a_time = threading.Lock()


def run(
    function: Callable[..., Any],
    world_size: int,
    *,
    backend: str | None = None,
    args: Sequence[Any] = (),
    timeout: float = 60.0,
) -> Run:
    """Call ``function(comm, *args)`` once on each of ``world_size`` ranks, and return when all have returned.

    Ranks are processes of this machine; functions of the notebook, and what these refer to, are copied to them.
    ``backend`` is "gloo" (CPU) or "nccl" (a GPU for each rank, ``comm.device``); None takes NCCL where there are enough
    GPUs. In each rank ``torch.distributed`` is set up as well. What ranks print is shown as they print it, with their
    number. Ranks share the cores: each has ``torch.get_num_threads() // world_size`` threads, at least one.

    Raises RankRaised with the first exception that a rank raised; RankDied when a process ended without a word;
    Deadlock within two seconds of nobody being able to go on, where they wait for messages of ``comm``; Mismatch where
    a message does not fit its receiver's buffer; RanksLate after ``timeout`` seconds, with where each rank is. All say
    what the others did. Whatever happens, Ctrl-C included, no process of the run is left when this returns.
    """
    backend = _checked(world_size, backend, timeout)
    payload = _payload(function, args)
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="ranks-", ignore_cleanup_errors=True) as folder:
        ended = _run(payload, world_size, backend, timeout, folder)
    problem = told(ended)
    if problem:
        raise problem
    traffic, timeline = account(ended)
    return Run([pickle.loads(report.result) for report in ended.in_order], traffic, timeline)


def _run(payload: bytes, world_size: int, backend: str, timeout: float, folder: str) -> Ended:
    key = secrets.token_bytes(32)
    with _listener(key) as listener:
        way = starter(backend)
        connections: list[Connection] = []
        try:
            way.start(listener.address, key, world_size, folder)
            connections = _connected(listener, key, way, world_size)
            for rank, connection in enumerate(connections):
                connection.send(_job(rank, world_size, backend, folder, payload))
            return Follower(connections, way, folder, timeout).follow()
        finally:
            for connection in connections:  # even if the fork server was killed, ranks end now
                connection.close()
            way.end()


def _connected(listener: Listener, key: bytes, way: Starter, world_size: int) -> list[Connection]:
    """The connections by rank. A thread accepts, since that has no time limit of its own."""
    arrived: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    over = threading.Event()

    def accept() -> None:
        while not over.is_set():
            try:
                arrived.put(listener.accept())  # pyright: ignore[reportArgumentType]
            except Exception:  # a stranger, or one that died while it introduced itself
                continue

    thread = threading.Thread(target=accept, name="accept ranks", daemon=True)
    thread.start()
    found: dict[int, Connection] = {}
    end = time.monotonic() + START_SECONDS
    try:
        while len(found) < world_size:
            try:
                connection = arrived.get(timeout=0.2)
            except queue.Empty:
                _all_starting(way, time.monotonic() > end)
                continue
            _, (rank, _) = connection.recv()
            found[rank] = connection
    finally:
        over.set()
        Client(listener.address, authkey=key).close()  # so that the thread looks up
        thread.join()
    return [found[rank] for rank in range(world_size)]


def _all_starting(way: Starter, late: bool) -> None:
    for rank, code in enumerate(way.exit_codes()):
        if code is not None:
            raise RankDied(f"the process of rank {rank} ended with exit code {code} before it began")
    if late:
        raise RanksLate(f"not all ranks have started after {START_SECONDS:g} s; is the machine very busy?")


def _job(rank: int, world_size: int, backend: str, folder: str, payload: bytes) -> Job:
    threads = max(1, torch.get_num_threads() // world_size)
    environ, path = dict(os.environ), [entry or os.getcwd() for entry in sys.path]
    return Job(rank, world_size, backend, folder, threads, path, os.getcwd(), environ, payload)


def _payload(function: Callable[..., Any], args: Sequence[Any]) -> bytes:
    """The function and its arguments as bytes; what they refer to in a notebook or script goes with them."""
    if not callable(function):
        raise CourseProblem(f"run starts a function, and this is a {type(function).__name__}; give the function itself")
    try:
        return cloudpickle.dumps((function, tuple(args)))
    except Exception as error:
        name = getattr(function, "__name__", "the function")
        raise CourseProblem(
            f"{name} refers to something that cannot be copied to another process ({error}); make it inside"
        ) from error


def _checked(world_size: int, backend: str | None, timeout: float) -> str:
    if isinstance(world_size, bool) or not isinstance(world_size, int) or world_size < 1:
        raise CourseProblem(f"world_size={world_size!r}; give a whole number of ranks, at least 1")
    if not timeout > 0:
        raise CourseProblem(f"timeout={timeout!r}; give a number of seconds above 0")
    cards = torch.cuda.device_count() if dist.is_nccl_available() else 0
    if backend is None:
        backend = "nccl" if cards >= world_size else "gloo"
    if backend not in ("gloo", "nccl"):
        raise CourseProblem(f"backend={backend!r}; choose 'gloo' (CPU) or 'nccl' (a GPU for each rank)")
    if backend == "nccl" and cards < world_size:
        raise CourseProblem(
            f"nccl needs a GPU for each of {world_size} ranks, and there are {cards}; take backend='gloo'"
        )
    if not dist.is_available():
        raise CourseProblem("this PyTorch has no torch.distributed; run_in_threads and simulate do without")
    return backend


def _listener(key: bytes) -> Listener:
    """Where ranks report: a socket in the temporary folder, or a free port where its path is too long for one."""
    try:
        return Listener(authkey=key)
    except OSError:
        return Listener(("127.0.0.1", 0), authkey=key)
