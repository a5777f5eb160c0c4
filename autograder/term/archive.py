"""A term that is over: its plan and its built labs in ``archive/<term>/``, its gradebook where it is, untouched."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from mlsys_course.desk.files import write_whole

from ..errors import CourseError
from .claim import claim, whose
from .secret import SAMPLE
from .syllabus import Plan

SKIP = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
GRADEBOOK = "gradebook.db"


def archive(root: Path, plan: Plan, gradebooks: tuple[Path, ...] = ()) -> Path:
    """Write ``archive/<term>/``, whole or not at all; what is there from a run that was stopped is taken as it is.

    Of a gradebook the place and a checksum are kept, and its folder is marked as this term's, so that the next one is
    not graded into it. Looked for in the course's folder; ``gradebooks`` names others.
    """
    target = root / "archive" / plan.term
    text = plan.path.read_bytes()
    if target.exists():
        if (target / "course.toml").is_file() and (target / "course.toml").read_bytes() == text:
            return target
        raise CourseError(f"{target} exists and is of another course.toml; move it away, and call this again")
    books = [_gradebook(path) for path in gradebooks]
    if (root / GRADEBOOK).is_file() and whose(root) in ("", plan.term):  # not an earlier term's
        books.append(root.resolve() / GRADEBOOK)
    try:
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as scratch:
            folder = Path(scratch) / plan.term
            folder.mkdir()
            (folder / "course.toml").write_bytes(text)
            for stem in plan.labs:
                built = (root / "labs" if plan.term == SAMPLE else root / "dist" / plan.term) / stem
                if built.is_dir():
                    shutil.copytree(built, folder / "labs" / stem, ignore=SKIP)
            told = {"term": plan.term, "gradebooks": [_told(path) for path in dict.fromkeys(books)]}
            (folder / "archive.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            for path in books:
                claim(path.parent, plan.term)
            folder.rename(target)
    except OSError as error:
        raise CourseError(f"{target} cannot be written ({error.strerror}); free space. Nothing has changed") from None
    return target


def write_text(path: Path, text: str) -> None:
    """Replace a file, whole or not at all; line ends stay what they are."""
    try:
        write_whole(path, text)
    except OSError as error:
        raise CourseError(f"{path} cannot be written ({error.strerror}); it is as it was. Free space, retry") from None


def _gradebook(path: Path) -> Path:
    book = (path / GRADEBOOK if path.is_dir() else path).resolve()
    if not book.is_file():
        raise CourseError(f"no {GRADEBOOK} at {path}; --gradebook takes the file, or the folder that holds it")
    return book


def _told(path: Path) -> dict:
    data = path.read_bytes()
    return {"path": str(path.resolve()), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
