"""A lab as students get it: releases of a small lab, made by the staff's own code, and a workspace of a test's own."""

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import pytest

from autograder.build.pipeline import Built, build
from autograder.course import load_course
from autograder.release.contents import contents
from mlsys_course.desk import environment
from mlsys_course.desk.release import Release, pack
from mlsys_course.desk.start import start
from mlsys_course.desk.workspace import Workspace
from tests.conftest import write_small_course

STEM = "lab00_foundations"
DUE = "2126-09-28T23:59:00-04:00"


class Releases:
    """Releases of the small lab: as built, or changed as a test wants."""

    def __init__(self, files: Mapping[str, bytes]):
        self.files = dict(files)

    @property
    def notebook(self) -> nbformat.NotebookNode:
        """A copy of the released notebook."""
        return nbformat.reads(self.files[f"{STEM}.ipynb"].decode(), as_version=4)

    def make(
        self, number: int = 1, *, notebook=None, files: Mapping[str, bytes | None] | None = None, **edition
    ) -> Release:
        """Release ``number`` with another notebook, with files changed or (None) left out, and with other facts."""
        made: dict[str, bytes | None] = {**self.files, **(files or {})}
        if notebook is not None:
            made[f"{STEM}.ipynb"] = nbformat.writes(notebook).encode() + b"\n"
        kept = {name: data for name, data in made.items() if data is not None and name != "edition.json"}
        facts = json.loads(self.files["edition.json"]) | {"release": number, "due": DUE} | edition
        facts["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in kept.items()}
        return Release(facts, {**kept, "edition.json": json.dumps(facts).encode()})

    def zip(self, folder: Path, number: int = 1, **changes) -> Path:
        """The zip of a release, in a folder."""
        release = self.make(number, **changes)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{STEM}-{release.term}-r{number}.zip"
        path.write_bytes(release.to_zip())
        return path


@pytest.fixture(scope="session")
def small_lab(tmp_path_factory) -> Built:
    """The small lab of tests/conftest.py, built."""
    root = write_small_course(tmp_path_factory.mktemp("course"))
    return build(load_course(root).lab(STEM), root / "labs" / STEM)


@pytest.fixture(scope="session")
def releases(small_lab) -> Releases:
    """Releases of the small lab."""
    course = load_course(small_lab.lab.folder.parents[1])
    return Releases(contents(course, STEM, 1))


@pytest.fixture(autouse=True)
def no_pip(monkeypatch):
    """Whatever goes wrong, these tests install nothing here; the whole weeks have environments of their own."""

    def refuse(wheel: Path) -> None:
        raise AssertionError(f"a test would have installed {wheel} into {sys.prefix}")

    monkeypatch.setattr(environment, "install", refuse)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Workspace:
    """An empty workspace, with a space and an umlaut in its path, and no downloads but the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    root = tmp_path / "Übungen und mehr"
    root.mkdir()
    return Workspace(root)


@pytest.fixture
def started(desk, releases, tmp_path) -> Path:
    """The folder of a lab that was started from release 1."""
    return start(STEM, desk, str(releases.zip(tmp_path / "from"))).folder


@pytest.fixture
def edit() -> Callable:
    """A function that changes the notebook in a lab's folder: ``edit(folder, change)``."""

    def edit(folder: Path, change: Callable) -> None:
        path = folder / f"{folder.name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        change(notebook)
        path.write_text(nbformat.writes(notebook), encoding="utf-8")

    return edit


def cell(notebook, name: str):
    """The cell with an id."""
    return next(cell for cell in notebook.cells if cell.id == name)


def solve(small_lab: Built) -> Callable:
    """A change that pastes the right answer."""
    answer = next(c for c in small_lab.solution.cells if c.id == "solution-times").source
    source = "\n".join(line for line in answer.split("\n") if "### " not in line)

    def change(notebook) -> None:
        cell(notebook, "solution-times").source = source

    return change


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of files."""
    return pack(files)


def duplicate(notebook):
    """A copy of a notebook."""
    return nbformat.from_dict(copy.deepcopy(dict(notebook)))
