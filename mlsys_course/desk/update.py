"""``mlsys update``: a corrected release comes into a lab that is being worked on. The student's cells stay.

In this order, so that stopped at any moment nothing is lost and a second call finishes: a copy of everything from
before; the merged notebook, which remembers that it is merged; drivers, cases, wheel; ``edition.json`` last.
"""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .fetch import fetch, peek, zips
from .merge import Merged, merge
from .release import Release, ReleaseError, read_release
from .start import keep, prepare
from .workbook import saved_notebook
from .workspace import DeskError, Workspace, disk_trouble, read_edition, save


@dataclass(frozen=True)
class Updated:
    """What an update did, in lines; ``before`` is the copy of the folder as it was."""

    lines: tuple[str, ...]
    before: Path | None = None


def update(folder: Path, workspace: Workspace, source: str | None = None, *, install: bool = True) -> Updated:
    """Bring the newest release at hand, or the one from ``source``, into a lab's folder."""
    base = base_of(folder, workspace)
    release = fetch(workspace, folder.name, source)
    if release is None:
        raise DeskError(f"no zip of {folder.name} in {workspace.root} or in your downloads; give it with --from ZIP")
    if release.term != base.term:
        raise DeskError(
            f"{folder.name} here is of term {base.term}, and {release.name} has other numbers; make an empty folder "
            f"and call `mlsys start {folder.name}` there"
        )
    present = _number(folder)
    if release.number < max(present, base.number):
        raise DeskError(
            f"{folder.name} is at release {base.number}; the one at hand is older, release {release.number}"
        )
    if release.number == present:
        return Updated((f"{folder.name} is at release {release.number} already; nothing was changed.",))
    merged = _merged(folder, base, release)
    before = _copy(folder, workspace, base)
    lines = [f"{folder.name}: release {base.number} became release {release.number}."]
    if merged is not None:
        save(folder / f"{folder.name}.ipynb", nbformat.writes(merged.notebook).encode() + b"\n")
        lines += _said(merged)
    lines += _replace_files(folder, base, release)
    save(folder / "edition.json", release.files["edition.json"])
    keep(release, workspace, folder)
    lines += prepare(release, folder, install=install)
    lines.append(f"Everything as it was before: {before}")
    lines.append("If the notebook is open in JupyterLab, choose File > Reload Notebook from Disk before you type.")
    return Updated(tuple(lines), before)


def _number(folder: Path) -> int:
    """The release that a folder holds; 0 where its ``edition.json`` does not say."""
    try:
        return int(read_edition(folder).get("release", 0))
    except DeskError:
        return 0


def base_of(folder: Path, workspace: Workspace, *, downloads: Path | None = None) -> Release:
    """The release that the folder came from, as it came: the kept copy, or the same zip where it still lies."""
    try:
        edition = read_edition(folder)
    except DeskError:  # damaged: the last one that was kept will do
        kept = (workspace.hidden / "editions" / folder.name).glob("*.zip")
        path = max(kept, key=lambda p: p.stat().st_mtime, default=None)
    else:
        if not edition:
            raise ReleaseError(
                f"{folder} came from no release; in a checkout of the course, git brings the corrections"
            )
        path = workspace.kept(folder.name, edition["term"], edition["release"])
        if not path.is_file():
            places = [workspace.root, downloads or Path.home() / "Downloads"]
            path = next((p for place in places for p in zips(place, folder.name) if _is_of(edition, p)), None)
    if path is None:
        raise ReleaseError(
            f"the release that {folder} came from was not kept, so what you changed cannot be told from what was "
            f"released; call `mlsys start {folder.name} --from` the zip that you began with, then update"
        )
    return read_release(path)


def _is_of(edition: dict[str, Any], path: Path) -> bool:
    return all(peek(path).get(name) == edition[name] for name in ("term", "release"))


def _merged(folder: Path, base: Release, release: Release) -> Merged | None:
    """The merged notebook; None where an update that was stopped has merged it already."""
    local = saved_notebook(folder)
    if local.metadata.get("mlsys", {}).get("release") == release.number:
        return None
    return merge(_notebook(base), local, _notebook(release), release.number)


def _notebook(release: Release) -> NotebookNode:
    return nbformat.reads(release.files[f"{release.stem}.ipynb"].decode(), as_version=4)


def _copy(folder: Path, workspace: Workspace, base: Release) -> Path:
    """A copy of the lab's folder as it is, there whole or not at all; wheels and caches are left out."""
    target = workspace.hidden / "before" / folder.name / f"{datetime.now():%Y%m%d-%H%M%S-%f}-r{base.number}"
    skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.whl")
    with workspace.scratch() as scratch, disk_trouble(target):
        shutil.copytree(folder, scratch / "copy", ignore=skip, symlinks=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        (scratch / "copy").rename(target)
    return target


def _replace_files(folder: Path, base: Release, release: Release) -> list[str]:
    """Put the release's files in place, and take away those that only the old release had and nobody touched."""
    lines, changed = [], []
    for name, data in sorted(release.files.items()):
        path = folder / name
        if name in ("edition.json", f"{folder.name}.ipynb") or (path.is_file() and path.read_bytes() == data):
            continue
        if path.is_file() and path.read_bytes() != base.files.get(name):
            lines.append(f"You had changed {name}; it is the release's now, and yours is in the copy.")
        save(path, data)
        changed.append(name)
    for name in sorted(set(base.files) - set(release.files)):
        path = folder / name
        if path.is_file() and path.read_bytes() == base.files[name]:
            with disk_trouble(path):
                path.unlink()
    return [*lines, *([f"Replaced: {', '.join(changed)}."] if changed else [])]


def _said(merged: Merged) -> list[str]:
    lines = []
    if merged.taken:
        lines.append(f"From the release: {', '.join(merged.taken)}.")
    if merged.restored:
        lines.append(f"Put back: {', '.join(merged.restored)}.")
    if merged.beside:
        lines.append(
            f"You and the release both changed {', '.join(merged.beside)}: yours stays, read the note below it."
        )
    return lines or ["The notebook has no corrections."]
