"""``nbgrader autograde`` by hand copies what lies in a submission's folder, through links too: move that away first."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlsys_course.desk.screen import printable

from ..files import read_regular
from ..nbgrader_config import SECRET
from .handed_in import read_parts

QUARANTINE = Path(".mlsys") / "quarantine"
log = logging.getLogger("mlsys.quarantine")


def before_autograde(*, assignment: str, student: str, notebooks: Sequence[str]) -> None:
    """nbgrader's hook, called in the course folder before a submission is copied. Nothing is deleted.

    nbgrader goes on after an exception here; SystemExit, where something cannot be moved, is what stops it.
    """
    for lab in {Path(name).parent for name in notebooks}:
        linked = next((part for part in (lab.parent, lab) if part.is_symlink()), None)
        for path in [linked] if linked else list(_not_to_be_handed_in(lab, assignment)):
            place = QUARANTINE / f"{time.strftime('%Y%m%d-%H%M%S')}" / os.path.relpath(path)  # nbgrader's is absolute
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)
            except OSError as error:
                said = f"{path} is nothing to hand in, and cannot be moved away: {error}"
                raise SystemExit(printable(said)) from None
            log.warning("%s is nothing to hand in; moved to %s", printable(str(path)), printable(str(place)))


def _not_to_be_handed_in(lab: Path, stem: str) -> Iterator[Path]:
    """What the allow-list of ``mlsys grade`` leaves behind: links, files with several names, anything unasked."""
    kept = {lab / name for name in read_parts(lab)[0]}
    for name, most in ((f"{stem}.ipynb", 1), ("timestamp.txt", 1), (SECRET, 1)):
        if read_regular(lab / name, most) is not None:
            kept.add(lab / name)
    for path in sorted(lab.iterdir()):
        if path.name == "my_mlsys" and path.is_dir() and not path.is_symlink():
            yield from (inner for inner in sorted(path.iterdir()) if inner not in kept)
        elif path not in kept:
            yield path
