"""Where a release comes from: a file, a folder, an address, or the newest zip in the workspace or among downloads."""

import json
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .release import MOST_BYTES, NAME, Release, ReleaseError, due_of, read_release
from .workspace import Workspace, disk_trouble

SECONDS = 30.0  # without an answer
LARGEST_LIST = 16 << 20  # bytes of an edition.json


def fetch(workspace: Workspace, lab: str, source: str | None, *, downloads: Path | None = None) -> Release | None:
    """The release of ``lab02`` or ``lab02_attention`` from ``source``; without one, the newest zip at hand or None."""
    if source is None:
        places = places_of(workspace, downloads)
        return newest([path for place in places for path in zips(place, lab)], workspace)
    if source.startswith(("http://", "https://")):
        release = _download(workspace, source)
    else:
        path = Path(source).expanduser()
        found = zips(path, lab) if path.is_dir() and not (path / "edition.json").is_file() else []
        inner = [p.parent for p in path.glob("*/edition.json") if fits(p.parent.name, lab)] if path.is_dir() else []
        release = newest(found, workspace) if found else read_release(inner[0] if inner else path)
    if release is not None and not fits(release.stem, lab):
        raise ReleaseError(f"{source} is {release.stem}, and {lab} was asked for; call `mlsys start {release.stem}`")
    return release


def fits(stem: str, lab: str) -> bool:
    """Whether ``lab02`` or ``lab02_attention`` names the lab."""
    return stem == lab or stem.split("_")[0] == lab


def places_of(workspace: Workspace, downloads: Path | None = None) -> list[Path]:
    """Where a release is looked for."""
    return [workspace.root, downloads or Path.home() / "Downloads"]


def labs_at_hand(workspace: Workspace, downloads: Path | None = None) -> list[str]:
    """Labs by their stems: those that were started here, and those whose zip is at hand."""
    zipped = (NAME.fullmatch(path.name) for place in places_of(workspace, downloads) for path in zips(place))
    return sorted({path.name for path in workspace.labs()} | {match[1] for match in zipped if match})


def zips(folder: Path, lab: str = "") -> list[Path]:
    """Zips in a folder that are named like releases of the lab, or of any."""
    try:
        found = [(path, NAME.fullmatch(path.name)) for path in folder.iterdir()]
    except OSError:
        return []
    return sorted(path for path, match in found if match and (not lab or fits(match[1], lab)))


def newest(paths: list[Path], workspace: Workspace) -> Release | None:
    """The last release of the latest term; one that is broken is an error only where there is no other."""
    if not paths:
        return None

    def age(path: Path) -> tuple:
        edition = peek(path)
        due = due_of(edition)
        return bool(edition), due.timestamp() if due else 0.0, edition.get("release", 0)

    return read_release(max(paths, key=age))


def peek(path: Path) -> dict:
    """``edition.json`` of a zip, unchecked; empty where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/edition.json"))
            small = archive.getinfo(name).file_size < LARGEST_LIST
            found = json.loads(archive.read(name)) if small else {}
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def _download(workspace: Workspace, address: str) -> Release:
    with workspace.scratch() as scratch:
        path = scratch / (Path(urllib.parse.urlsplit(address).path).name or "release.zip")
        with disk_trouble(path), path.open("wb") as file:
            for piece in _pieces(address):
                file.write(piece)
        return read_release(path)


def _pieces(address: str) -> Iterator[bytes]:
    remedy = "download the zip with a browser and give it with --from"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # http or https: fetch() looked
            length = 0
            while piece := answer.read(1 << 16):
                length += len(piece)
                if length > MOST_BYTES:
                    raise ReleaseError(f"{address} is too large for a lab; {remedy}")
                yield piece
    except urllib.error.HTTPError as error:
        raise ReleaseError(f"{address} answers {error.code} {error.reason}; check the address, or {remedy}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ReleaseError(f"{address} cannot be reached ({reason}); are you online? Or {remedy}") from None
