"""mlsys start: a release becomes a folder, whole or not at all, and never over what is there."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mlsys_course.desk import environment
from mlsys_course.desk.release import ReleaseError, read_release
from mlsys_course.desk.start import jupyter, start
from mlsys_course.desk.workspace import DeskError, Workspace, find_workspace, read_edition

from .conftest import STEM, tree


def test_a_release_becomes_a_folder_and_is_kept_as_it_came(desk, releases, tmp_path):
    path = releases.zip(tmp_path / "from")
    started = start("lab00", desk, str(path))
    assert started.fresh and started.folder == desk.root / STEM
    assert tree(started.folder) == read_release(path).files
    assert read_release(desk.kept(STEM, "sample", 1)).files == read_release(path).files
    assert "Due " in started.lines[1] and "2126" in started.lines[1]
    assert not list(desk.hidden.glob("writing-*"))


def test_without_a_name_the_newest_at_hand_is_taken(desk, releases, tmp_path):
    releases.zip(desk.root, 1)
    releases.zip(tmp_path / "home" / "Downloads", 10)
    releases.zip(tmp_path / "home" / "Downloads", 9)
    (desk.root / f"{STEM}-sample-r11.zip").write_bytes(b"PK, but cut off")
    assert read_edition(start("lab00", desk).folder)["release"] == 10


def test_a_second_start_changes_nothing_and_keeps_a_copy(desk, releases, started):
    work = started / f"{STEM}.ipynb"
    work.write_bytes(work.read_bytes() + b" ")
    before = tree(started)
    again = start("lab00", desk, str(releases.zip(desk.root, 2)))
    assert not again.fresh and tree(started) == before
    said = " ".join(again.lines)
    assert "nothing in it was changed" in said and f"mlsys update {STEM}" in said
    copies = list((desk.hidden / "before" / STEM).glob("*.ipynb"))
    assert [copy.read_bytes() for copy in copies] == [work.read_bytes()]


def test_an_old_edition_after_a_new_term_is_told(desk, releases, started):
    before = tree(started)
    said = " ".join(start("lab00", desk, str(releases.zip(desk.root, 1, term="2027-spring"))).lines)
    assert "of term sample" in said and "2027-spring, with other numbers" in said
    assert tree(started) == before
    (desk.root / "lab01_sequence").mkdir()
    (desk.root / "lab01_sequence" / "edition.json").write_text('{"term": "2027-spring", "release": 1}')
    assert any("Mind the terms" in line for line in start("lab00", desk).lines)


def test_work_that_is_from_no_release_stays(desk, releases):
    (desk.root / STEM).mkdir()
    (desk.root / STEM / "notes.txt").write_text("precious")
    said = start("lab00", desk, str(releases.zip(desk.root)))
    assert tree(desk.root / STEM) == {"notes.txt": b"precious"} and "from no release" in " ".join(said.lines)


def test_a_broken_download_does_not_keep_from_working(desk, started):
    (desk.root / f"{STEM}-sample-r3.zip").write_bytes(b"half a z")
    assert "left aside" in " ".join(start("lab00", desk).lines)


def test_nothing_to_start_from_says_what_to_do(desk, tmp_path):
    with pytest.raises(DeskError, match="--from ZIP"):
        start("lab00", desk)
    with pytest.raises(ReleaseError, match="is not there"):
        start("lab00", desk, str(tmp_path / "none.zip"))


def test_a_lab_that_is_nearly_named_is_asked_for(desk, releases):
    releases.zip(desk.root)
    with pytest.raises(DeskError, match=r"did you mean lab00\?"):
        start("lab0", desk)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no root")
def test_root_may_open_a_lab(started, monkeypatch):
    """As in a container, where JupyterLab refuses to start without being allowed to."""
    for user, allowed in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert ("--allow-root" in jupyter(started / f"{STEM}.ipynb")) == allowed


def test_the_unpacked_folder_will_do(desk, releases, tmp_path):
    with zipfile.ZipFile(releases.zip(tmp_path / "from")) as archive:
        archive.extractall(tmp_path / "unpacked")
    for place in (tmp_path / "unpacked", tmp_path / "unpacked" / STEM):
        target = Workspace(tmp_path / f"to-{place.name}")
        target.root.mkdir()
        assert tree(start("lab00", target, str(place)).folder) == tree(tmp_path / "unpacked" / STEM)


def test_another_lab_than_asked_for_is_refused(desk, releases, tmp_path):
    with pytest.raises(ReleaseError, match="lab00_foundations, and lab02 was asked for"):
        start("lab02", desk, str(releases.zip(tmp_path)))


def test_parts_are_said_to_be_own_or_the_courses(desk, releases, tmp_path):
    syllabus = [{"lab": "lab00_sequence", "component": "sequence"}, {"lab": "lab00_errors", "component": "attention"}]
    own = [{"lab": STEM, "component": "foundations"}]
    wheel = {"mlsys_course-9+lab00.r1-py3-none-any.whl": _wheel("mlsys_course/attention/__init__.py")}
    old = next(name for name in releases.files if name.endswith(".whl"))
    path = releases.zip(tmp_path, files={old: None, **wheel}, syllabus=[*syllabus, *own])
    desk.parts.mkdir()
    (desk.parts / "sequence.py").write_text("")
    said = start("lab00", desk, str(path)).lines
    assert "sequence: your own, from my_mlsys/." in said
    assert any("was not carried: lab00 uses the course's attention" in line for line in said)


def _wheel(*names: str) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return blob.getvalue()


def test_wheels_are_compared_by_number_not_by_letter():
    order = ["", "0.1.0", "0.1.0+lab02.r2", "0.1.0+lab02.r10", "0.1.0+lab03.r1", "0.2.0+lab00.r1", "0.10.0+lab00.r1"]
    backwards = order[::-1]
    assert sorted(backwards, key=environment._age) == order


def test_python_too_old_or_too_new():
    for version in ((3, 10), (3, 14)):
        with pytest.raises(environment.EnvironmentProblem, match=r"needs 3\.11, 3\.12 or 3\.13"):
            environment.check_python(version)
    environment.check_python((3, 12))


def test_a_workspace_is_known_from_inside_a_lab(desk, started):
    assert find_workspace(started).root == find_workspace(desk.root).root == desk.root
    (desk.root / "notes").mkdir()
    assert find_workspace(desk.root / "notes").root == desk.root / "notes"


def test_a_checkout_of_the_course_is_never_installed_over(releases):
    assert environment.is_checkout()
    assert environment.wheel_to_install(releases.make()) == ""


def command(folder: Path, *arguments: str, ordinary: bool = False, **how) -> subprocess.CompletedProcess:
    """``mlsys start`` as a student calls it; ``ordinary``: permissions bind it, though root runs the tests."""
    bound = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    prefix = bound if ordinary and os.getuid() == 0 else []
    here = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [*prefix, sys.executable, "-m", "mlsys_course.desk.cli", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "100", "HOME": str(folder), "PYTHONPATH": here},
        check=False,
        **how,
    )


def small_files() -> None:
    """In the child: a file of more than 4 KiB fails, as on a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_full_disk_leaves_nothing_half_done(desk, releases, tmp_path):
    path = releases.zip(tmp_path)
    done = command(
        desk.root, "start", "lab00", "--from", str(path), "--no-open", "--no-install", preexec_fn=small_files
    )
    assert done.returncode == 2 and "cannot write" in done.stderr and "File too large" in done.stderr
    assert tree(desk.root) == {}
    assert command(desk.root, "start", "lab00", "--from", str(path), "--no-open", "--no-install").returncode == 0


def test_a_folder_that_cannot_be_written(desk, releases):
    path = releases.zip(desk.root)
    desk.root.chmod(0o555)
    done = command(desk.root, "start", "lab00", "--from", str(path), "--no-open", "--no-install", ordinary=True)
    desk.root.chmod(0o755)
    assert done.returncode == 2 and "choose a folder of your own" in done.stderr, done.stderr
    assert [p.name for p in desk.root.iterdir()] == [path.name]


def test_a_package_that_is_missing_is_named_in_one_line(desk, releases):
    (desk.root / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    start("lab00", desk, str(releases.zip(desk.root)))
    done = command(desk.root, "carry", "lab00")
    assert done.returncode == 2 and "torch is not installed here; pip install -r" in done.stderr, done.stderr


def test_a_damaged_edition_is_named(desk, started):
    (started / "edition.json").write_text("{")
    with pytest.raises(DeskError, match="mlsys update"):
        start("lab00", desk)
    assert json.loads(read_release(desk.kept(STEM, "sample", 1)).files["edition.json"])["release"] == 1
