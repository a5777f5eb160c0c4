"""``mlsys start``: a lab's release becomes a folder to work in. What is there already is never written over."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import environment
from .fetch import fetch, fits, labs_at_hand
from .lateness import ago, cost, state
from .release import Release, ReleaseError, due_of, read_release, said_due
from .workspace import DeskError, Workspace, disk_trouble, meant, other_terms, read_edition, save


@dataclass(frozen=True)
class Started:
    """A lab that can be opened: its folder, and what the student should know, in lines."""

    folder: Path
    fresh: bool
    lines: tuple[str, ...]


def start(
    lab: str, workspace: Workspace, source: str | None = None, *, install: bool = True, downloads: Path | None = None
) -> Started:
    """Put the lab's folder in the workspace, and see that this environment can run it."""
    environment.check_python()
    folder = existing(workspace, lab)
    lines: list[str] = []
    try:
        release = fetch(workspace, lab, source, downloads=downloads)
    except ReleaseError as error:
        if folder is None or source is not None:
            raise
        release, lines = None, [f"A zip of this lab was left aside: {error}"]
    if folder is None and release is None:
        how = f"named like {lab}_topic-<term>-r1.zip; download it and call `mlsys start {lab} --from ZIP`"
        how = meant(lab, labs_at_hand(workspace, downloads)) or how
        raise DeskError(f"no zip of {lab} in {workspace.root} or in your downloads, {how}")
    fresh = folder is None
    if folder is None:
        assert release is not None
        folder = unpack(release, workspace)
        lines.append(f"{release.name} is in {folder}.")
    else:
        lines += already(folder, release, workspace)
    own = keep(release, workspace, folder)
    lines += when(folder)
    if own is not None:
        lines += [*prepare(own, folder, install=install), *parts_report(own, workspace)]
    return Started(folder, fresh, (*lines, *other_terms(folder, workspace)))


def existing(workspace: Workspace, lab: str) -> Path | None:
    """The lab's folder where the workspace has one, whatever is in it."""
    places = sorted(workspace.root.glob("lab*/"))
    return next((path for path in places if fits(path.name, lab)), None)


def unpack(release: Release, workspace: Workspace) -> Path:
    """Write the lab's folder beside and rename it: it is there whole or not at all."""
    target = workspace.root / release.stem
    with workspace.scratch() as scratch, disk_trouble(target):
        for name, data in release.files.items():
            path = scratch / release.stem / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (scratch / release.stem).rename(target)
    return target


def keep(release: Release | None, workspace: Workspace, folder: Path) -> Release | None:
    """The release that the folder came from, kept as it came: updates start from it. None where it is not known."""
    edition = read_edition(folder)
    if not edition:
        return None
    path = workspace.kept(folder.name, edition["term"], edition["release"])
    if release and (edition["term"], edition["release"]) == (release.term, release.number):
        if not path.exists():
            save(path, release.to_zip())
        return release
    return read_release(path) if path.exists() else None


def already(folder: Path, release: Release | None, workspace: Workspace) -> Iterator[str]:
    """What a second start says: nothing is changed, a copy of the notebook is kept, and what is there instead."""
    yield f"{folder} is there already, and nothing in it was changed."
    notebook = folder / f"{folder.name}.ipynb"
    if notebook.is_file():
        data = notebook.read_bytes()
        copy = workspace.hidden / "before" / folder.name / f"{hashlib.sha256(data).hexdigest()[:8]}.ipynb"
        if not copy.exists():
            save(copy, data)
        yield f"A copy of its notebook is kept: {copy}"
    edition = read_edition(folder)
    if not edition:
        yield "It holds no edition.json, so it is from no release; move it away to start afresh."
    elif release and edition["term"] != release.term:
        yield (
            f"It is of term {edition['term']}, and the release at hand of {release.term}, with other numbers: to begin "
            f"again, make an empty folder and call `mlsys start {release.stem}` there."
        )
    elif release and edition["release"] < release.number:
        yield (
            f"It is release {edition['release']}; `mlsys update {folder.name}` brings the corrections of release "
            f"{release.number} into your work."
        )


def when(folder: Path) -> list[str]:
    """The due date; of one that is past, for how long, and what that costs."""
    edition, now = read_edition(folder), datetime.now(UTC)
    due, rule = due_of(edition), edition.get("late", {})
    if due is None or due > now:
        return [f"Due {said_due(due)}."] if edition else []
    said = f"It was due {said_due(due)}, {ago(now - due)}"
    if state(due, now, rule) == "closed":
        return [f"{said}, and is closed: {cost(due, now, rule)}. You can still check it, and carry it to later labs."]
    return [f"{said}: {cost(due, now, rule)}."]


def prepare(release: Release, folder: Path, *, install: bool) -> Iterator[str]:
    """See that Python has what the lab needs; install the lab's ``mlsys_course`` where it does not."""
    wheel = environment.wheel_to_install(release)
    if wheel and install:
        path = folder / wheel
        if not path.is_file():  # deleted, or of a release that this folder does not hold
            with disk_trouble(path):
                path.write_bytes(release.files[wheel])
        environment.install(path)
        yield f"Installed {wheel}; a notebook that is open wants Kernel > Restart."
    elif wheel:
        yield f'This environment lacks what the lab imports: pip install --no-deps "{folder / wheel}"'
    if missing := environment.lacking():
        listed = folder / "requirements.txt"
        how = f'-r "{listed}"' if listed.is_file() else " ".join(missing)
        yield f"Not installed here: {', '.join(missing)}. pip install {how}"


def parts_report(release: Release, workspace: Workspace) -> Iterator[str]:
    """Of each earlier lab: whether its parts will be the student's own, and how to go on where they are not."""
    for row in release.edition.get("syllabus", []):
        lab, component = str(row.get("lab")), str(row.get("component"))
        if lab == release.stem:
            return
        if (workspace.parts / f"{component}.py").is_file():
            yield f"{component}: your own, from my_mlsys/."
        elif f"mlsys_course/{component}/__init__.py" in set(environment.modules(release)):
            short = lab.split("_")[0]
            yield (
                f"{short} was not carried: {release.stem.split('_')[0]} uses the course's {component}; "
                f"you can still do {short} later."
            )


def open_lab(folder: Path) -> int:
    """JupyterLab on the lab's notebook, until it is closed."""
    if "jupyterlab" in environment.lacking():
        raise DeskError(f"JupyterLab is not installed in {sys.executable}; pip install jupyterlab")
    return subprocess.run(jupyter(folder / f"{folder.name}.ipynb"), cwd=folder, check=False).returncode


def jupyter(notebook: Path) -> list[str]:
    """The command that opens a notebook; of root, as in a container, JupyterLab wants to be allowed."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [sys.executable, "-m", "jupyterlab", *(["--allow-root"] if root else []), str(notebook)]
