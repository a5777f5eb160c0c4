"""``mlsys release``: proven or refused, numbered by content, the same bytes each time, whole or not at all."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from email import message_from_bytes

import pytest

import autograder.release.publish as publish
from autograder.course import CourseError, load_course
from autograder.release import release
from autograder.release.contents import contents
from tests.release.conftest import STEM, TERM


def unzip(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_one_folder_with_all_that_a_student_needs(here, tmp_path):
    made = release(load_course(here), STEM, tmp_path / "out")
    assert (made.path.name, made.number, made.changed) == (f"{STEM}-{TERM}-r1.zip", 1, True)
    files = {name.removeprefix(f"{STEM}/"): data for name, data in unzip(made.path.read_bytes()).items()}
    wheel = "mlsys_course-0.1.0+lab00.r1-py3-none-any.whl"
    assert set(files) == {f"{STEM}.ipynb", "drivers.py", "cases/times.safetensors", wheel, "requirements.txt",
                          "environment.yml", "README.md", "edition.json", "points.json"}  # fmt: skip
    edition = json.loads(files["edition.json"])
    assert edition.pop("files") == {n: hashlib.sha256(d).hexdigest() for n, d in files.items() if n != "edition.json"}
    assert set(edition.pop("withheld")) >= {"foundations", "attention"}
    assert edition == {
        "format": 1, "course": "A course", "term": TERM, "lab": STEM, "component": "foundations", "release": 1,
        "points": 5, "due": "2027-02-01T23:59:00+01:00", "timezone": "Europe/Berlin",
        "late": {"grace_minutes": 0, "percent_a_day": 0, "closes_after_days": None},
        "exercises": [{"id": "times", "kind": "core", "points": 4}, {"id": "why", "kind": "open", "points": 1}],
        "syllabus": [
            {"lab": STEM, "component": "foundations", "due": "2027-02-01T23:59:00+01:00", "points": 5},
            {"lab": "lab02_attention", "component": "attention", "due": "2027-02-15T23:59:00+01:00", "points": 100},
        ],
    }  # fmt: skip
    said = files["README.md"].decode()
    assert (
        "A small lab" in said
        and ". 5 points, due Monday" in said
        and "Monday, 01 February 2027, 23:59 (CET)" in said
        and "{" not in said
    )
    assert files["requirements.txt"].decode().startswith(f"./{wheel}\n")


def test_the_wheel_is_the_students_edition(here):
    files = contents(load_course(here), STEM, 3)
    (name,) = [name for name in files if name.endswith(".whl")]
    wheel = unzip(files[name])
    info = "mlsys_course-0.1.0+lab00.r3.dist-info"
    assert {"mlsys_course/desk/cli.py", "mlsys_course/desk/check/cell.py", "mlsys_course/memory/__init__.py"} <= set(
        wheel
    )
    assert not [path for path in wheel if path.startswith(("mlsys_course/attention", "autograder"))]
    told = message_from_bytes(wheel[f"{info}/METADATA"])
    assert (told["Version"], told["Requires-Python"]) == ("0.1.0+lab00.r3", "<3.14,>=3.11")
    assert "torch>=2.11" in told.get_all("Requires-Dist", []) and "jupytext" not in str(told)
    assert wheel[f"{info}/entry_points.txt"] == b"[console_scripts]\nmlsys = mlsys_course.desk.cli:main\n"
    rows = [row.split(",") for row in wheel[f"{info}/RECORD"].decode().splitlines()]
    assert {row[0] for row in rows} == set(wheel) and all(int(row[2]) == len(wheel[row[0]]) for row in rows[:-1])


def test_the_number_follows_the_content(here, tmp_path):
    out, course = tmp_path / "out", load_course(here)
    first = release(course, STEM, out).path.read_bytes()
    again = release(load_course(here), STEM, out)
    assert (again.number, again.changed, again.path.read_bytes()) == (1, False, first)
    (here / "course.toml").write_text((here / "course.toml").read_text().replace("02-01T23", "02-02T23"))
    second = release(load_course(here), STEM, out)
    assert (second.number, second.changed) == (2, True) and second.path.read_bytes() != first
    assert (out / f"{STEM}-{TERM}-r1.zip").read_bytes() == first
    second.path.write_bytes(b"damaged")
    assert release(load_course(here), STEM, out).number == 3


def test_unpacked_for_an_exchange(here, tmp_path):
    out, course = tmp_path / "release", load_course(here)
    made = release(course, STEM, out, unpacked=True)
    assert made.path == out / STEM and (made.path / "cases" / "times.safetensors").is_file()
    assert not release(course, STEM, out, unpacked=True).changed
    assert release(course, STEM, out).number == 1  # the zip of the same content
    (made.path / "drivers.py").write_text("# mine")
    with pytest.raises(CourseError, match=r"drivers.py was changed\); move it away"):
        release(course, STEM, out, unpacked=True)
    assert (made.path / "drivers.py").read_text() == "# mine"
    (made.path / "edition.json").unlink()
    with pytest.raises(CourseError, match=r"it holds no edition\.json"):
        release(course, STEM, out, unpacked=True)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            f"solutions/{STEM}/exercises.py",
            rf"exercises.py changed .*call `mlsys build {STEM} --term {TERM}`",
        ),
        (f"dist/{TERM}/{STEM}/drivers.py", rf"dist/{TERM}/{STEM} changed since {STEM} was proven"),
    ],
)
def test_what_is_stale_is_refused(here, tmp_path, file, words):
    (here / file).write_text((here / file).read_text() + "\nchanged = True\n")
    with pytest.raises(CourseError, match=words):
        release(load_course(here), STEM, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_never_proven_is_refused(here, tmp_path):
    (here / "dist" / TERM / ".proven" / f"{STEM}.json").unlink()
    with pytest.raises(CourseError, match=r"was never proven here.*only what is proven is released"):
        release(load_course(here), STEM, tmp_path / "out")


def test_a_comment_leaves_a_lab_proven(here, tmp_path):
    path = here / f"solutions/{STEM}/exercises.py"
    path.write_text(path.read_text() + "\n# no more than that\n")
    assert release(load_course(here), STEM, tmp_path / "out").number == 1


def test_an_earlier_kind_of_proof_is_said_to_be_one(here, tmp_path):
    (here / "dist" / TERM / ".proven" / f"{STEM}.json").write_text('{"mlsys_course": "0123"}')
    with pytest.raises(CourseError, match=r"was proven here before it was noted of what, and only .*call `mlsys build"):
        release(load_course(here), STEM, tmp_path / "out")


def test_what_would_give_an_answer_is_refused(here, tmp_path, monkeypatch):
    course = load_course(here)
    leaky = contents(course, STEM, 1) | {"notes.txt": course.term.secret}
    monkeypatch.setattr(publish, "contents", lambda *_: leaky)
    with pytest.raises(CourseError, match=r"would give away: the secret, in notes.txt"):
        release(course, STEM, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
@pytest.mark.parametrize("unpacked", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_full_disk(here, tmp_path, monkeypatch, unpacked):
    """No file may grow beyond 5000 bytes from the moment of writing on."""
    import resource

    out = tmp_path / "out"
    kept = release(load_course(here), STEM, out, unpacked=unpacked).path
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (here / "course.toml").write_text((here / "course.toml").read_text().replace("02-01T23", "02-02T23"))
    limits, write = resource.getrlimit(resource.RLIMIT_FSIZE), "_write_folder" if unpacked else "_write_zip"

    really = getattr(publish, write)

    def into_a_full_disk(*given):
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        try:
            return really(*given)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(publish, write, into_a_full_disk)
    with pytest.raises(CourseError, match=r"cannot be written \(File too large\): nothing was released"):
        release(load_course(here), STEM, out, unpacked=unpacked)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before and kept.exists()


def test_a_folder_that_is_none(here, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match=r"cannot be written .*name another folder with --into"):
        release(load_course(here), STEM, tmp_path / "file")


@pytest.mark.long
def test_on_the_command_line(here, tmp_path):
    command = [sys.executable, "-m", "mlsys_course.desk.cli", "release", "lab00", "--into", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{STEM}, release 1:" in done.stdout, done.stderr
