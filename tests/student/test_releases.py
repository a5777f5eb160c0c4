"""Zips that are no whole release of a lab, and releases from an address: what is wrong is said, nothing is written."""

import contextlib
import hashlib
import http.server
import io
import json
import socket
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from mlsys_course.desk.release import ReleaseError
from mlsys_course.desk.start import start
from mlsys_course.desk.workspace import Workspace

from .conftest import STEM, tree

LINKED = stat.S_IFLNK << 16
EXTRA = {  # names in the zip, and what is said of them
    "absolute": ("/tmp/evil.py", "leads outside"),
    "above": (f"{STEM}/../../evil.py", "leads outside"),
    "windows": (f"{STEM}/..\\evil.py", "leads outside"),
    "drive": (f"{STEM}/C:evil.py", "leads outside"),
    "case": (f"{STEM}/DRIVERS.py", "differ only in case"),
    "link": (f"{STEM}/link.py", "holds a link"),
    "two folders": ("other/drivers.py", "should hold one folder"),
}
SAID = {name: said for name, (_, said) in EXTRA.items()}
SAID |= {"changed": "is damaged", "left out": "is incomplete", "unlisted": "is damaged", "cut off": "no complete zip"}


def hostile(release, kind: str) -> bytes:
    """The zip of a release with one thing wrong; whatever is added is listed with its right checksum."""
    files = {f"{STEM}/{name}": data for name, data in release.files.items()}
    evil = b"/etc/passwd"
    if kind in EXTRA:
        name = EXTRA[kind][0]
        edition = json.loads(files[f"{STEM}/edition.json"])
        edition["files"][name.partition("/")[2]] = hashlib.sha256(evil).hexdigest()
        files[f"{STEM}/edition.json"] = json.dumps(edition).encode()
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        for name, data in files.items():
            spoilt = data + b" " if kind == "changed" and name.endswith("drivers.py") else data
            if not (kind == "left out" and name.endswith("drivers.py")):
                archive.writestr(name, spoilt)
        if kind in EXTRA or kind == "unlisted":
            entry = zipfile.ZipInfo(EXTRA[kind][0] if kind in EXTRA else f"{STEM}/torch.py")
            entry.external_attr = LINKED if kind == "link" else 0
            archive.writestr(entry, evil)
    data = blob.getvalue()
    return data[: len(data) // 2] if kind == "cut off" else data


@pytest.mark.parametrize("kind", SAID)
def test_a_zip_that_is_no_whole_release_writes_nothing(desk, releases, tmp_path, kind):
    path = tmp_path / "release.zip"
    path.write_bytes(hostile(releases.make(), kind))
    with pytest.raises(ReleaseError, match=SAID[kind]):
        start("lab00", desk, str(path))
    assert tree(desk.root) == {} and not (desk.root / STEM).exists()


def test_the_harness_above_makes_good_zips_too(desk, releases, tmp_path):
    (tmp_path / "release.zip").write_bytes(hostile(releases.make(), "nothing"))
    assert start("lab00", desk, str(tmp_path / "release.zip")).fresh


@pytest.mark.parametrize(
    "facts", [{"format": 2}, {"lab": "../../etc"}, {"term": "a/b"}, {"release": "one"}, {"due": None}]
)
def test_an_edition_of_another_make_is_refused(desk, releases, tmp_path, facts):
    path = tmp_path / "release.zip"
    path.write_bytes(hostile(releases.make(**facts), "nothing"))
    with pytest.raises(ReleaseError):
        start("lab00", desk, str(path))
    assert tree(desk.root) == {}


@contextlib.contextmanager
def served(folder: Path):
    """A web server on a free port that serves a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def __init__(self, *a, **k):
            super().__init__(*a, directory=str(folder), **k)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_release_is_fetched_from_an_address(desk, releases, tmp_path):
    path = releases.zip(tmp_path / "from")
    with served(path.parent) as address:
        assert start("lab00", desk, f"{address}/{path.name}").fresh
        with pytest.raises(ReleaseError, match="answers 404"):
            start("lab00", Workspace(tmp_path), f"{address}/nothing.zip")


def test_no_network_says_so(desk):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/lab00.zip"
        with pytest.raises(ReleaseError, match=r"are you online\? Or download the zip with a browser"):
            start("lab00", desk, address)
    assert tree(desk.root) == {}
