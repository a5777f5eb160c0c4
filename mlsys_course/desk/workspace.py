"""A student's workspace on disk: labs and ``my_mlsys/`` side by side, and ``.mlsys/`` with what must not get lost."""

import contextlib
import difflib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..substrate.errors import CourseProblem
from .files import write_whole

HIDDEN = ".mlsys"


class DeskError(CourseProblem):
    """A command of the desk that cannot go on; what was there before is still there."""


@dataclass(frozen=True)
class Workspace:
    """The folder that holds a student's labs."""

    root: Path

    @property
    def hidden(self) -> Path:
        return self.root / HIDDEN

    @property
    def parts(self) -> Path:
        """The student's own parts, which ``mlsys carry`` writes."""
        return self.root / "my_mlsys"

    def kept(self, stem: str, term: str, number: int) -> Path:
        """The copy of a release as it came, which updates start from."""
        return self.hidden / "editions" / stem / f"{term}-r{number}.zip"

    def labs(self) -> list[Path]:
        """The folders of labs that were started here, by name."""
        return sorted(path.parent for path in self.root.glob("*/edition.json"))

    def record(self, name: str) -> Any:
        """What ``.mlsys/<name>.json`` holds; an empty mapping where it is absent or unreadable."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.hidden / f"{name}.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def write_record(self, name: str, value: Any) -> None:
        save(self.hidden / f"{name}.json", to_json(value))

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the same disk, so that what is ready can be put in its place by renaming; gone afterwards."""
        with disk_trouble(self.root):
            self.hidden.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="writing-", dir=self.hidden))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def find_workspace(start: Path | None = None) -> Workspace:
    """The workspace that a folder belongs to: the one above where the folder is a lab's own, else the folder itself."""
    here = (start or Path.cwd()).resolve()
    labs_own = (here / "edition.json").is_file() or (here / f"{here.name}.ipynb").is_file()
    return Workspace(here.parent if labs_own and not (here / HIDDEN).is_dir() else here)


def meant(name: str, known: Iterable[str]) -> str:
    """A question about the lab that a name comes closest to, by its number or its letters; empty where none does."""
    stems = set(known)
    shorts = {stem.split("_")[0] for stem in stems}
    number = re.fullmatch(r"[a-z]*[ _-]?0*(\d+)\D*", name.lower())
    if number:
        near = [*({f"lab{int(number[1]):02}"} & shorts)]
    else:
        near = difflib.get_close_matches(name.lower(), sorted(shorts | stems), 1)
    return f"did you mean {near[0]}?" if near else ""


def other_terms(folder: Path, workspace: Workspace) -> Iterator[str]:
    """A word where the workspace holds labs of several terms: old numbers do not count."""
    own = read_edition(folder).get("term")
    for other in workspace.labs():
        term = own
        with contextlib.suppress(DeskError):  # a damaged one is told where it is used
            term = read_edition(other).get("term")
        if other != folder and own and term != own:
            yield f"Mind the terms: {folder.name} is of {own}, and {other.name} beside it of {term}."


def read_edition(folder: Path) -> dict[str, Any]:
    """``edition.json`` of a lab's folder; empty in a checkout of the course, which has none."""
    path = folder / "edition.json"
    try:
        edition = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(edition["term"], str) and isinstance(edition["release"], int):
            return edition
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DeskError(f"{path} is damaged; `mlsys update {folder.name}` puts it back from the release")


def to_json(value: Any) -> bytes:
    """As a person can read it, the same bytes for the same value."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def save(path: Path, data: bytes) -> None:
    """Write a file whole; a disk that does not take it is a DeskError."""
    with disk_trouble(path):
        write_whole(path, data)


@contextlib.contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """A full or read-only disk, said in words."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise DeskError(
            f"cannot write {path}: {why}. What was there is unchanged; "
            "free some space or choose a folder of your own, and call this again"
        ) from error
