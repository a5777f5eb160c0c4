"""Sealed calls in a process that ran the notebook again.

CUDA does not survive a fork, and neither does autograd's knowledge of devices: a process whose parent ever ran
``backward`` cannot run it on a card. So no copy of the notebook can answer on one. Instead a *seed* is forked for each
graded cell before the first cell runs, and does nothing. When its exercise's turn comes, after the notebook has ended,
it forks; the fork runs the cells up to the graded one and answers. Where a call broke CUDA for its process, which an
index out of range does, the seed forks again, so that the other cases are judged as if nothing had been. One more seed
is common to all exercises: it runs all cells, once, and ends where CUDA breaks.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import card
from .channel import Channel, Closed
from .kernel import PR_SET_PDEATHSIG, prctl
from .shell import NotebookShell
from .snapshot import BROKEN, Names, answer


def wait_and_answer(channel: Channel, shell: NotebookShell, lab: Path, cells: Sequence[Mapping[str, Any]]) -> None:
    """The seed: wait for the first word about the exercise, then fork as often as it takes."""
    hello, _ = channel.receive()
    if hello["common"]:
        _work(channel, shell, lab, cells, hello)
    while True:
        worker = os.fork()
        if worker == 0:
            _work(channel, shell, lab, cells, hello)
        if os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) != BROKEN:
            return


def _work(channel: Channel, shell: NotebookShell, lab: Path, cells: Sequence[Mapping[str, Any]],
          hello: Mapping[str, Any]) -> NoReturn:  # fmt: skip
    try:
        if sys.platform == "linux" and not hello["common"]:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        own = os.getpid()
        names: Names = {}
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for index, (cell, seconds) in enumerate(zip(cells, hello["replay"], strict=False)):
            if cell["mode"] == "run":
                _again(shell, index, cell["source"], seconds)
            elif cell["mode"] in ("graded", "noted"):
                names[index] = dict(shell.user_ns)
            if os.getpid() != own:
                os._exit(0)  # a child that the cell forked and let return
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        if hello["card_mib"] and (hello["kind"] != "choice" or hello["cell"] in names):
            card.start(hello["card_mib"])
        channel.send({"kind": "ready"})
        with contextlib.suppress(Closed):
            while True:
                hello = answer(channel, hello, shell.user_ns, lab, names)
    except BaseException:  # whatever it is, this process must not go on as a second seed
        os._exit(1)
    os._exit(0)


def _again(shell: NotebookShell, index: int, source: str, seconds: float) -> None:
    """Run a cell as the notebook did, and interrupt it where the notebook was."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        shell.run(index, source)
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        shell.outputs.take()
