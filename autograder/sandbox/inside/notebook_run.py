"""A student's notebook, cell by cell; at graded cells a copy of the process is parked for their sealed calls.

And one at the end, which is asked first: it can answer for every graded cell with the names as they stood there. What
it cannot undo is a change of an object: so where it does not do well, the notebook runs again, with a copy at the cell.
"""

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import audit
from .channel import Answering, Channel
from .replay import wait_and_answer
from .shell import (
    NotebookShell,
    Outputs,
    compile_nothing,
    direct_output,
    keep_one_thread,
    pair_over_loopback,
    refuse_input,
)
from .snapshot import Names, answer_calls

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "GLOO_SOCKET_IFNAME": "lo",
    "PYTHONDONTWRITEBYTECODE": "1",
}
FORK_TRIES = 60
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run_notebook(
    shell: NotebookShell, lab: Path, home: Path, descriptors: list[int], environment: Mapping[str, str]
) -> None:
    """Read the cells from the first channel and run them; the others are for the graded cells, in order, and the end.

    With "replay" the processes that will answer are forked before anything has run.
    """
    gc.enable()
    channel = Channel(socket.socket(fileno=descriptors[0]))
    channel.send({"kind": "started", "pid": os.getpid()})
    request, _ = channel.receive()
    _settle(home, lab, request["files"])
    os.environ.update(environment)
    shell.outputs = Outputs(request["output_characters"])
    direct_output(shell)
    refuse_input()
    keep_one_thread()
    compile_nothing()
    pair_over_loopback()
    waiting, own, cells, replay = list(descriptors[1:]), os.getpid(), request["cells"], request["replay"]
    names: Names = {}
    for index, cell in enumerate(cells if replay else ()):
        if cell["mode"] == "graded":
            _park(shell, lab, channel, waiting, cells[:index])
    if replay and waiting:
        _park(shell, lab, channel, waiting, cells)
    for index, cell in enumerate(cells):
        start = time.perf_counter()
        if cell["mode"] in ("graded", "noted"):
            if not replay:
                if cell["mode"] == "graded":
                    _park(shell, lab, channel, waiting)
                names[index] = dict(shell.user_ns)
            channel.send({"kind": "parked", "cell": index, "seconds": time.perf_counter() - start})
        elif cell["mode"] == "run":
            ok = _run(shell, index, cell["source"])
            if os.getpid() != own:
                os._exit(0)  # a child that the cell forked and let return: only one process is the notebook
            taken = shell.outputs.take()
            seconds = time.perf_counter() - start
            told = {"outputs": taken, "seconds": seconds, "tried": audit.taken()}
            channel.send({"kind": "cell", "cell": index, "ok": ok, **told})
    if waiting:
        _park(shell, lab, channel, waiting, names=names)
    with contextlib.suppress(EOFError):
        channel.receive()  # the trusted side closes when it has read everything
    os._exit(0)


def _run(shell: NotebookShell, index: int, source: str) -> bool:
    """Run a cell, which alone may be interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    audit.watch(True)
    try:
        return shell.run(index, source)
    except KeyboardInterrupt:
        shell.outputs.text("stderr", "KeyboardInterrupt\n")
        return False
    finally:
        audit.watch(False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _settle(home: Path, lab: Path, files: dict[str, str]) -> None:
    """The student's folder: the lab's files, what was handed in beside the notebook, nothing on the path before it."""
    home.mkdir(parents=True, exist_ok=True)
    os.chdir(home)
    for entry in sorted(lab.iterdir()):
        if entry.suffix != ".ipynb" and entry.name not in files:
            (home / entry.name).symlink_to(entry)
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(text))
    os.environ.clear()
    os.environ.update(ENVIRONMENT | THREADS)
    os.environ.update(HOME=str(home), MPLCONFIGDIR=str(home / ".matplotlib"), IPYTHONDIR=str(home / ".ipython"))
    # Last, so that a submitted torch.py cannot stand in for torch.
    sys.path.append(str(home))
    sys.argv[:] = ["student"]


def _park(
    shell: NotebookShell,
    lab: Path,
    channel: Channel,
    waiting: list[int],
    cells: Sequence[Any] | None = None,
    names: Names | None = None,
) -> None:
    """Fork a copy that waits for sealed inputs until after this process has ended; it may have to run cells first."""
    descriptor = waiting.pop(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns when a student's thread is alive: the copy has only one
        copy = _fork()
    if copy == 0:
        _become_snapshot(shell, lab, channel, waiting, descriptor, cells, names or {})
    os.close(descriptor)


def _fork() -> int:
    """fork, with patience where the student's own processes have filled the limit and are about to end."""
    for _ in range(FORK_TRIES):
        with contextlib.suppress(BlockingIOError):
            return os.fork()
        time.sleep(0.05)
    return os.fork()


def _become_snapshot(shell: NotebookShell, lab: Path, channel: Channel, waiting: list[int], descriptor: int,
                     cells: Sequence[Any] | None, names: Names) -> NoReturn:  # fmt: skip
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        channel.close()
        for other in waiting:
            os.close(other)
        nowhere: Any = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open as long as the process lives)
        sys.stdout = sys.stderr = nowhere
        spent = resource.getrusage(resource.RUSAGE_SELF)
        own = Answering(socket.socket(fileno=descriptor))
        own.send({"kind": "parked", "pid": os.getpid(), "spent": spent.ru_utime + spent.ru_stime})
        if cells is None:
            answer_calls(own, shell.user_ns, lab, names)
        else:
            wait_and_answer(own, shell, lab, cells)
    except BaseException:  # whatever it is, this process must not go on as a second notebook
        os._exit(1)
    os._exit(0)
