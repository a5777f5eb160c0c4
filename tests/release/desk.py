"""A student's machine: a fresh virtual environment with the release's wheel, and nothing of the staff's."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

MISSING_ELSEWHERE = '''"""Windows has none of these, so the course's code may not reach for them; libraries may."""

import builtins, os, signal, sys

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
NAMES = {os: ["fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "sched_getaffinity", "mkfifo", "O_NOFOLLOW"],
         signal: ["SIGKILL", "SIGALRM", "setitimer"]}
real = builtins.__import__


def ours(depth=2):
    name = sys._getframe(depth).f_globals.get("__name__", "")
    return name.split(".")[0] in ("mlsys_course", "my_mlsys") or name.startswith("mlsys_drivers")


def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    if not level and name.split(".")[0] in MODULES and ours():
        raise ImportError(f"no module {name!r} on every system")
    return real(name, globals, locals, fromlist, level)


def guard(module, name):
    class Guarded(type(module)):
        def __getattribute__(self, asked):
            if asked in NAMES[module] and ours():
                raise AttributeError(f"{module.__name__}.{asked} is not there on every system")
            return super().__getattribute__(asked)
    return Guarded


builtins.__import__ = guarded
for module in NAMES:
    module.__class__ = guard(module, module.__name__)
'''


@dataclass(frozen=True)
class Desk:
    """The environment's folder, and the student's workspace with the lab in it."""

    environment: Path
    workspace: Path

    @property
    def python(self) -> Path:
        return self.environment / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(self, *words: str, cwd: Path | None = None, code: int | None = 0) -> str:
        """What a command of the environment's Python prints; it must end with ``code``."""
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        variables = {**kept, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "PIP_NO_INDEX": "1"}
        done = subprocess.run([str(self.python), *words], cwd=cwd or self.workspace, capture_output=True,
                              encoding="utf-8", env=variables, check=False, timeout=300)  # fmt: skip
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def mlsys(self, *words: str, cwd: Path | None = None, code: int | None = 0) -> str:
        return self.run("-m", "mlsys_course.desk.cli", *words, cwd=cwd, code=code)


def new_desk(folder: Path, zipped: Path) -> Desk:
    """Unpack a release in a new workspace, and install its wheel where the course's own package is not to be seen.

    Other packages are those of this environment, through a .pth file, so no network is needed.
    """
    environment, workspace = folder / "venv", folder / "Übung 2"
    workspace.mkdir(parents=True)
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(workspace)
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    desk = Desk(environment, workspace)
    libraries = Path(desk.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (wheel,) = workspace.glob("*/*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(desk.python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    site = sysconfig.get_path("purelib")
    # As a path only: .pth files in there, such as the checkout's own, are not read.
    (libraries / "others.pth").write_text(f"{site}\n", encoding="utf-8")
    return desk


def block_what_is_missing_elsewhere(desk: Desk) -> None:
    """From now on every Python of the desk, notebooks' kernels too, refuses the course's code what Linux alone has."""
    place = json.loads(desk.run("-c", "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"))
    (Path(place) / "missing_elsewhere.py").write_text(MISSING_ELSEWHERE, encoding="utf-8")
    (Path(place) / "zz.pth").write_text("import missing_elsewhere\n", encoding="utf-8")
