"""Forks grading runs from a process that has imported all they need; some end themselves at a point of their work.

Reads one JSON object a line: ``here``, ``words``, ``point``, ... starts a run and answers with its process id;
``wait`` answers with the exit code of one. Where a run is killed is what matters, so few need a sandbox.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from autograder.build import pipeline  # noqa: F401 (imported here once, for all runs)
from autograder.grade import gradebook, record, run, session  # noqa: F401
from mlsys_course.desk.cli import main

from .in_process import grade_in_process

RIGHT = "submitted/ann/lab00_foundations/lab00_foundations.ipynb"


def at_call(owner: type, name: str, number: int, do: Callable[[], object], *, after: bool = False) -> None:
    """Have ``do`` done at one call of a function."""
    there, calls = getattr(owner, name), []

    def watched(*args, **kwargs):
        calls.append(1)
        if len(calls) == number and not after:
            do()
        result = there(*args, **kwargs)
        if len(calls) == number and after:
            do()
        return result

    setattr(owner, name, watched)


def die() -> None:
    """As the power cut does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def bob_hands_in_again() -> None:
    """With what is ann's."""
    Path(RIGHT.replace("ann", "bob")).write_bytes(Path(RIGHT).read_bytes())


POINTS: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "before the run": lambda: at_call(session.Session, "grade", 2, die),
    "after the score": lambda: at_call(session.Session, "grade", 2, die, after=True),
    "while staging": lambda: at_call(record.HandedIn, "copy_to", 2, die, after=True),
    "before the commit": lambda: at_call(record.Recorder, "commit", 2, die),
    "in the commit": lambda: at_call(gradebook.Book, "_save", 2, die, after=True),
    "before the rename": lambda: at_call(record.Recorder, "publish", 2, die),
    # For each submission one rename stages a folder, three bring its parts to their places, one discards it.
    "between the renames 3": lambda: at_call(Path, "rename", 3, die),
    "between the renames 7": lambda: at_call(Path, "rename", 7, die),
    "between the renames 8": lambda: at_call(Path, "rename", 8, die),
    "a newer submission of bob": lambda: at_call(session.Session, "grade", 3, bob_hands_in_again),
}


def start(here: str, words: list[str], point: str, sealed: bool, environment: dict[str, str], said: str) -> int:
    """Fork a run of the command line; its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.chdir(here)
        os.environ.update(environment)
        said_to = os.open(f"{said}/{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(said_to, 1)
        os.dup2(said_to, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        POINTS[point]()
        if not sealed:
            grade_in_process()
        sys.argv = ["mlsys", *words]
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(int(ended.code or 0))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        else:
            print(start(**asked), flush=True)
