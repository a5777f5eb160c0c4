"""Whether this Python can run a lab: its version, the packages, and an ``mlsys_course`` that has what the lab needs."""

import importlib.metadata
import importlib.util
import io
import re
import site
import subprocess
import sys
import zipfile
from pathlib import Path

from .release import Release
from .workspace import DeskError

OLDEST, NEWEST = (3, 11), (3, 13)
PACKAGES = (
    "torch", "numpy", "matplotlib", "safetensors", "jaxtyping", "cloudpickle", "jupyterlab", "nbgrader", "nbdime",
)  # fmt: skip
SELF = "mlsys_course"


class EnvironmentProblem(DeskError):
    """This Python cannot run the lab; the message says what to install."""


def check_python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """An error where Python is none that the course runs on."""
    if not OLDEST <= version[:2] <= NEWEST:
        here = ".".join(map(str, version[:2]))
        raise EnvironmentProblem(
            f"this is Python {here}, and the course needs 3.11, 3.12 or 3.13; make an environment with one of them "
            "(conda create -n mlsys python=3.12) and start the lab from there"
        )


def lacking() -> list[str]:
    """Packages that labs need and this environment does not have."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def wheel_to_install(release: Release) -> str:
    """The release's wheel where the installed ``mlsys_course`` is older or lacks a part; else an empty string.

    A later lab's wheel has all that an earlier lab's has, so going back to an earlier lab installs nothing. A checkout
    of the course, installed to be edited, is never replaced.
    """
    if not release.wheel or is_checkout():
        return ""
    lacks = [name for name in modules(release) if not _there(name)]
    installed, offered = installed_version(), release.wheel.split("-")[1]
    return release.wheel if lacks or _age(installed) < _age(offered) else ""


def modules(release: Release) -> list[str]:
    """The files of ``mlsys_course`` in a release's wheel."""
    if not release.wheel:
        return []
    with zipfile.ZipFile(io.BytesIO(release.files[release.wheel])) as archive:
        return [name for name in archive.namelist() if name.startswith(f"{SELF}/") and name.endswith(".py")]


def installed_version() -> str:
    """The version of ``mlsys_course`` on disk now, whatever this process imported."""
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version(SELF)
    except importlib.metadata.PackageNotFoundError:
        return ""


def is_checkout() -> bool:
    """Whether ``mlsys_course`` is imported from somewhere that pip does not install to: somebody works on the course
    itself there, and a wheel would be put over their environment."""
    spec = importlib.util.find_spec(SELF)
    if spec is None or spec.origin is None:
        return False
    imported = Path(spec.origin).resolve().parents[1]
    return imported not in [Path(place).resolve() for place in (*site.getsitepackages(), site.getusersitepackages())]


def install(wheel: Path) -> None:
    """Install an edition's wheel over the one that is there; needs no network."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall"]
    command += ["--disable-pip-version-check", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "pip said nothing").splitlines()[-1]
        raise EnvironmentProblem(
            f'{wheel.name} could not be installed: {last}. By hand: pip install --no-deps "{wheel}"'
        )


def _there(name: str) -> bool:
    """Whether the installed package has this file."""
    spec = importlib.util.find_spec(SELF)
    roots = list(spec.submodule_search_locations or []) if spec else []
    return any((Path(root).parent / name).is_file() for root in roots)


def _age(version: str) -> tuple:
    """``0.1.0+lab02.r10`` as (0, 1, 0), 2, 10: text would put r10 before r9."""
    base, _, local = version.partition("+")
    lab, number = re.search(r"lab(\d+)", local), re.search(r"r(\d+)", local)
    return (
        tuple(int(n) for n in re.findall(r"\d+", base)),
        int(lab[1]) if lab else -1,
        int(number[1]) if number else -1,
    )
