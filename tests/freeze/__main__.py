"""Write the freeze anew: ``python -m tests.freeze``.

It adds what is new to ``freeze.json``, applies ``renames.toml`` and empties it. If anything frozen is lost it says
what, and writes nothing; with ``--replace`` it says what is given up, and writes. About a minute.
"""

import argparse
import sys
from pathlib import Path

from autograder.course import load_course
from tests.conftest import ROOT

from .compare import lost_assertions, lost_exercises, report, unmatched
from .counts import rooms_of
from .facts import Present
from .renames import RENAMES, emptied, read_renames
from .store import FREEZE, HERE, dumped, load_freeze


def main(words: list[str]) -> int:
    """The exit status: 1 if something is lost and was not given up."""
    parser = argparse.ArgumentParser(prog="python -m tests.freeze", description=__doc__)
    parser.add_argument("--replace", action="store_true", help="write even if something frozen is lost")
    replace = parser.parse_args(words).replace
    now = {
        "exercises": dict(Present(load_course(ROOT, term="sample"), verdicts=True)),
        "rooms": rooms_of(ROOT / "tests"),
    }
    lost = write(now, HERE, replace=replace)
    if lost:
        print(report(lost))
    if lost and not replace:
        return 1
    print(f"{len(now['exercises'])} exercises and {len(now['rooms'])} rooms of tests are frozen")
    return 0


def write(now: dict, folder: Path, *, replace: bool) -> list[str]:
    """Freeze ``now`` in a folder, unless that loses something and nobody said ``replace``; what is lost."""
    frozen, renames = load_freeze(folder), read_renames((folder / RENAMES).read_text(encoding="utf-8"))
    lost = [
        *unmatched(renames, frozen, now),
        *lost_exercises(frozen["exercises"], now["exercises"], renames),
        *lost_assertions(frozen["rooms"], now["rooms"], renames),
    ]
    if replace or not lost:
        (folder / FREEZE).write_text(dumped(now) + "\n", encoding="utf-8")
        (folder / RENAMES).write_text(emptied((folder / RENAMES).read_text(encoding="utf-8")), encoding="utf-8")
    return lost


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
