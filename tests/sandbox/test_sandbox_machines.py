"""Where the engine runs: as root, as an ordinary user, without a sandbox, and where pieces are missing."""

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.sandbox import Cell, Engine, SandboxUnavailable, probe
from autograder.sandbox import layout as layout_module
from autograder.sandbox import process as process_module
from autograder.sandbox.process import explained

from .conftest import RIGHT, Teacher, graded, is_right, sealed


@pytest.mark.long
def test_as_an_ordinary_user(edition, run_as_ordinary_user):
    done = run_as_ordinary_user([sys.executable, str(Path(__file__).with_name("as_user.py")), str(edition)])
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    stopped = [line for line in told["log"] if "tried" not in line]
    assert (told["uid"], told["status"], stopped) == (65534, "ok", [])
    assert all(told["protections"].values())
    shown = "".join(told["text"]).split("\n")
    assert "True" not in shown[1:4] and shown[4] == "1000 2" and "no more" in shown
    assert set(told["problems"]) == {""} and told["values"] == [[2.0, 2.0], [2.0, 2.0]]


def test_several_at_once(engine):
    def one(number: int) -> bool:
        cells = [Cell(RIGHT["double"]), graded("double"), Cell(f"print({number})")]
        run = engine.run(cells, Teacher())
        return is_right(run.outcomes["double"], 2) and run.cells[2].outputs[0]["text"] == f"{number}\n"

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(8)))
    assert not engine.warm.running


def test_without_a_sandbox(edition, teacher):
    with Engine(edition, unsafe=True) as engine:
        assert [name for name, active in engine.protections.items() if active] == ["rlimits", "watchdog"]
        loop = Cell("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")
        engine.limits = type(engine.limits)(cell_seconds=1.0)
        run = engine.run([Cell(RIGHT["double"]), loop, graded("double")], teacher)
        assert is_right(run.outcomes["double"], 2)
        assert [cell.status for cell in run.cells] == ["ok", "timeout", "ok"]
        run = engine.run([Cell("import mlsys_course\nprint(mlsys_course.__file__)")], teacher)
        assert run.cells[0].outputs[0]["text"].startswith(str(edition))


@pytest.mark.parametrize(
    "line, remedy",
    [
        ("PermissionError: [Errno 1] unshare: Operation not permitted", "user namespaces"),
        ("OSError: libseccomp.so.2: cannot open shared object file", "apt install libseccomp2"),
        ("PermissionError: [Errno 1] mount tmpfs on /tmp/a: Operation not permitted", "outside a container"),
        ("PermissionError: [Errno 13] Permission denied: '/proc/self/uid_map'", "apparmor_restrict"),
    ],
)
def test_what_is_missing_is_said(line, remedy):
    said = explained(f"Traceback (most recent call last):\n  File ...\n{line}\n")
    assert remedy in said and "--unsafe" in said and line in said


def test_refusal_where_a_piece_is_missing(edition, run_as_ordinary_user):
    """A machine without user namespaces: none may be made there, by the kernel's own switch for a namespace."""
    script = (
        "from autograder.sandbox import Engine, SandboxUnavailable, probe; from pathlib import Path; import sys\n"
        "from autograder.sandbox.inside import kernel, seccomp\n"
        "seccomp.REFUSED, seccomp.ABSENT, seccomp.IGNORED, seccomp._rules = 'unshare', '', '', lambda piece: []\n"
        "kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1); kernel.load_seccomp(kernel.seccomp_program())\n"
        "try: Engine(Path(sys.argv[1]))\n"
        "except SandboxUnavailable as error: print('refused:', error)\n"
        "print(probe()['user namespaces'])\n"
        "with Engine(Path(sys.argv[1]), unsafe=True) as engine: print(engine.protections['seccomp'])\n"
    )
    done = run_as_ordinary_user([sys.executable, "-c", script, str(edition)])
    assert done.returncode == 0, done.stderr[-2000:]
    refused, probed, unsafe = done.stdout.strip().splitlines()
    assert refused.startswith("refused: namespaces are refused") and "--unsafe" in refused
    assert "allow user namespaces" in probed and unsafe == "False"


def test_probe_finds_the_pieces(engine):
    assert engine.protections and set(probe().values()) == {""}


def test_an_edition_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="mlsys build"):
        Engine(tmp_path)


def test_an_edition_that_does_not_import(tmp_path):
    (tmp_path / "python" / "mlsys_course").mkdir(parents=True)
    (tmp_path / "python" / "mlsys_course" / "__init__.py").touch()
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "drivers.py").touch()
    with pytest.raises(SandboxUnavailable, match=r"No module named 'mlsys_course.desk'"):
        Engine(tmp_path)


def test_covered_folders_are_empty(edition, teacher, monkeypatch):
    """As an ordinary install's packages are, and a checkout with the virtual environment in it."""
    real = layout_module.layout()
    folder = str(Path("/usr/share/doc").resolve())
    inner = next(str(p) for p in sorted(Path(folder).iterdir()) if p.is_dir() and not p.is_symlink())
    changed = replace(real, shown=[*real.shown, inner], hidden=[*real.hidden, folder])
    monkeypatch.setattr(process_module, "layout", lambda *_: changed)
    with sealed(edition) as engine:
        source = f"import os\nprint(os.listdir({folder!r}) == [os.path.basename({inner!r})], os.listdir({inner!r}))"
        tries = [f"open({place + '/x'!r}, 'w')" for place in (folder, inner)]
        run = engine.run([Cell(source), *map(Cell, tries)], teacher)
    assert run.cells[0].outputs[0]["text"] == f"True {os.listdir(inner)}\n"
    assert [cell.status for cell in run.cells[1:]] == ["error", "error"]


def test_layout_covers_our_packages_and_the_checkout(tmp_path, monkeypatch):
    """An ordinary install lies in a folder that is shown; a virtual environment may lie inside the checkout."""
    checkout, environment = tmp_path / "usr" / "src" / "course", tmp_path / "usr" / "src" / "course" / ".venv"
    packages = environment / "lib" / "site-packages"
    for name in ("mlsys_course", "autograder"):
        (packages / name).mkdir(parents=True)
        (checkout / name).mkdir(parents=True)
    monkeypatch.setattr(layout_module.site, "getsitepackages", lambda *_: [str(packages)])
    monkeypatch.setattr(layout_module, "_folder_of", lambda name: packages)
    monkeypatch.setattr(layout_module, "_checkouts", lambda *_: {checkout})
    monkeypatch.setattr(layout_module, "SYSTEM", tmp_path / "usr")
    for name in ("prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, str(environment))
    found = layout_module.layout()
    assert str(tmp_path / "usr") in found.shown and str(environment) in found.shown
    assert set(found.hidden) == {str(checkout), str(packages / "mlsys_course"), str(packages / "autograder")}


@pytest.mark.parametrize("place", ["/tmp", pytest.param("/home", marks=pytest.mark.long)])
def test_a_python_under_tmp_or_home_stays_in_sight(edition, teacher, monkeypatch, place):
    """Virtual environments lie there, and the sandbox has a fresh /tmp and /home of its own."""
    if place == "/home" and os.getuid():
        pytest.skip("writes to /home: needs root")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        Path(folder).chmod(0o755)
        library = Path(folder, "venv", "lib")
        library.mkdir(parents=True)
        (library / "late.py").write_text("found = 'in sight'")
        (Path(folder) / "secret").write_text("not shown")
        usual = layout_module.layout()
        more = replace(usual, shown=[*usual.shown, str(library)], paths=[*usual.paths, str(library)])
        monkeypatch.setattr(process_module, "layout", lambda *_: more)
        seen, written = f"os.path.exists({folder + '/secret'!r})", f"os.access({str(library)!r}, os.W_OK)"
        look = f"import late, os\nprint(late.found, {seen}, {written})"
        with sealed(edition) as engine:
            cells = [Cell(RIGHT["double"]), graded("double"), Cell(look), Cell("open('/tmp/a', 'w').write('b')")]
            run = engine.run(cells, teacher)
        assert run.cells[2].outputs[0]["text"] == "in sight False False\n", run.cells[2].outputs
        assert run.cells[3].status == "ok" and is_right(run.outcomes["double"], 2)
