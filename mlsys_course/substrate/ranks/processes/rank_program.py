"""The program of one rank: it connects to the notebook, is told its job, does it, and tells what came of it.

All goes over one connection. A second thread listens to it, so that a rank that waits or loops can still be asked where
it is, and ends when the notebook does.
"""

import contextlib
import io
import os
import pickle
import shutil
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Client, Connection
from typing import Any

import cloudpickle
import torch
import torch.distributed as dist
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from ..shared.switchboard import Released
from .distributed import ProcessCommunicator
from .ledger import Ledger, Snapshot

REASON_SECONDS = 2.0  # for the notebook to say why a message cannot come
GROUP_SECONDS = 7 * 24 * 3600  # torch.distributed's own limit: the notebook's is the one that counts
HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # all of ``ranks``


@dataclass
class Job:
    """What a rank is told. ``payload`` is the function with its arguments; ``path`` must be set before it is read."""

    rank: int
    world_size: int
    backend: str
    folder: str
    threads: int
    path: list[str]
    cwd: str
    environ: dict[str, str]
    payload: bytes


@dataclass
class Place:
    """Where in its code a rank is or was: (file, line, function), outermost first. The notebook has the text."""

    frames: list[tuple[str, int, str]]

    @classmethod
    def of(cls, stack: "traceback.StackSummary") -> "Place":
        """Without what called the rank's function, and without what is below a call of this package."""
        frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in stack]
        ours = [n for n, frame in enumerate(frames) if frame[0] == __file__]
        return cls([f for f in frames[ours[-1] + 1 if ours else 0 :] if not f[0].startswith(HERE)])


@dataclass
class Report:
    """The end of a rank. ``said`` is its exception in words, ``error`` the same pickled, or empty where it cannot be.

    ``released``: the exception says no more than that another rank is gone.
    """

    result: bytes = b""
    said: str = ""
    error: bytes = b""
    place: Place | None = None
    released: bool = False
    ledger: Ledger | None = None


class Line:
    """The connection to the notebook; several threads may tell it something."""

    def __init__(self, connection: Connection):
        self._connection, self._lock = connection, threading.Lock()
        self.ledger, self.folder = Ledger(), ""
        self.reason, self.told, self.over = "", threading.Event(), threading.Event()
        self._main = threading.get_ident()

    def tell(self, kind: str, content: Any = None) -> None:
        """Send; silently, where nobody listens any more."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.send((kind, content))

    def listen(self) -> None:
        """Answer until the notebook is gone; then nobody but ranks is left to remove the run's folder."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                kind, content = self._connection.recv()
                if kind == "look":
                    self.tell("look", self.look())
                elif kind == "where":
                    self.tell("where", Place.of(traceback.extract_stack(sys._current_frames()[self._main])))
                elif kind == "stop":
                    self.reason = content
                    self.told.set()
                elif kind == "over":
                    self.over.set()
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(1)

    def look(self) -> Snapshot:
        """What the rank has sent, has asked for and waits for."""
        return self.ledger.snapshot()

    def why(self) -> str:
        """The reason for which messages cannot come, or nothing: then it is the rank's own."""
        self.told.wait(REASON_SECONDS)
        return self.reason


class Labelled(io.TextIOBase):
    """What a rank prints, line by line."""

    def __init__(self, line: Line, stream: str):
        self._line, self._stream, self._rest, self._lock = line, stream, "", threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if lines:
                self._line.tell("print", (self._stream, lines))
        return len(text)

    def finish(self) -> None:
        """The last line, where it has no end."""
        if self._rest:
            self.write("\n")


def main(address: str | tuple[str, int], key: bytes, rank: int) -> None:
    """Be rank number ``rank`` of a run whose notebook listens at ``address``; never returns."""
    connection = Client(address, authkey=key)
    line = Line(connection)
    line.tell("here", (rank, os.getpid()))
    try:
        job: Job = connection.recv()
    except (EOFError, OSError):
        os._exit(1)
    line.folder = job.folder
    threading.Thread(target=line.listen, name="listen", daemon=True).start()
    streams = Labelled(line, "stdout"), Labelled(line, "stderr")
    sys.stdout, sys.stderr = streams  # pyright: ignore[reportAttributeAccessIssue]
    report = work(job, line)
    for stream in streams:
        stream.finish()
    line.tell("report", report)
    line.over.wait()  # others may still read what this one sent
    os._exit(0)


def work(job: Job, line: Line) -> Report:
    """Set up, call the function, and say what came of it."""
    try:
        comm = set_up(job, line)
        function, args = pickle.loads(job.payload)
        dist.barrier()  # a timeline begins for all at once
        line.ledger.began = time.perf_counter()
        result = function(comm, *args)
        finish(comm)
        line.ledger.returned = time.perf_counter()
        return Report(result=copied(result), ledger=line.ledger)
    except BaseException as error:  # whatever it is, the notebook must learn of it
        lost = isinstance(error, Released) or (isinstance(error, RuntimeError) and "gloo" in str(error))
        if lost:
            line.why()
        said = "".join(traceback.format_exception_only(error)).strip()
        place = Place.of(traceback.extract_tb(error.__traceback__))
        pickled = b""
        with contextlib.suppress(Exception):
            pickled = cloudpickle.dumps(error.with_traceback(None))
        return Report(b"", said, pickled, place, lost, line.ledger)


def copied(result: Any) -> bytes:
    """A rank's result, for the notebook."""
    try:
        return cloudpickle.dumps(result)
    except Exception as error:
        raise TypeError(
            f"a {type(result).__name__} was returned that cannot be copied to the notebook: {error}"
        ) from None


def set_up(job: Job, line: Line) -> ProcessCommunicator:
    """This process as the notebook's is, its output to the notebook, and ``torch.distributed``."""
    log = os.open(os.path.join(job.folder, f"rank{job.rank}.log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):  # what libraries write there: the notebook shows it if the process dies
        os.dup2(log, descriptor)
    sys.path[:] = job.path
    os.chdir(job.cwd)
    os.environ.update(job.environ)
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)  # nobody outside this machine can connect
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    torch.set_num_threads(job.threads)
    options: dict[str, Any] = {}
    device = torch.device("cpu")
    if job.backend == "nccl":
        device = torch.device("cuda", job.rank)
        torch.cuda.set_device(device)
        options["device_id"] = device
    store = FileStore(os.path.join(job.folder, "store"), job.world_size)
    dist.init_process_group(
        job.backend, store=store, rank=job.rank, world_size=job.world_size, timeout=timedelta(seconds=GROUP_SECONDS),
        **options,
    )  # fmt: skip
    if job.backend == "nccl":
        from .nccl import NcclCommunicator

        return NcclCommunicator(job.rank, job.world_size, device, line.ledger, line.why)
    return ProcessCommunicator(job.rank, job.world_size, device, line.ledger, line.why)


def finish(comm: ProcessCommunicator) -> None:
    """Until what was asked of a card is done, the function has not returned."""
    comm.finish()
    if comm.device.type == "cuda":
        torch.cuda.synchronize(comm.device)
