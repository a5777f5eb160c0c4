"""The file system that the warm process and its sandboxes see: Python, the student edition, and nothing else."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .kernel import BIND, NO_DEV, NO_EXEC, NO_SUID, PRIVATE, RECURSIVE, bind, mount, mounts_under, pivot, seal

ETC = {
    "hosts": "127.0.0.1 localhost sandbox\n",
    "passwd": "student:x:1000:1000::/home/student:/bin/sh\n",
    "group": "student:x:1000:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# No /dev/zero: mapped shared it is memory that no process's resident set need show.
DEVICES = ("null", "random", "urandom")
EMPTY = ("dev/pts", "dev/shm", "proc", "tmp", "home", "edition", "sandbox", "var/cache/matplotlib")
EDITION, SANDBOX, FONTS = "/edition", "/sandbox", "/var/cache/matplotlib"
TREE_MIB = 256  # of the edition's copy and the font cache


def enter_root(root: Path, edition: Path, inside: Path, shown: Sequence[str], hidden: Sequence[str],
               devices: Sequence[str] = ()) -> None:  # fmt: skip
    """Build the tree at the empty folder ``root`` and pivot into it; afterwards nothing else can be reached.

    Folders of ``shown`` appear under their own names, read-only; those of ``hidden`` are empty. The edition is
    copied, so that neither its permissions nor later changes on disk matter. ``close_root`` ends the writing.
    """
    mount(None, "/", None, RECURSIVE | PRIVATE)
    mount("root", str(root), "tmpfs", NO_SUID | NO_DEV, f"size={TREE_MIB}m,mode=755")
    for name in EMPTY:
        (root / name).mkdir(parents=True)
    _show(root, shown, hidden)
    _system_folders(root)
    _copy(edition, root / EDITION[1:])
    _copy(inside, root / SANDBOX[1:] / inside.name)
    for device in (*(f"/dev/{name}" for name in DEVICES), *devices):
        (root / device[1:]).touch()
        mount(device, str(root / device[1:]), None, BIND)
        seal(str(root / device[1:]))  # it can be written to all the same, but its times cannot
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    mount("proc", str(root / "proc"), "proc", NO_SUID | NO_DEV | NO_EXEC)
    pivot(str(root))


def close_root() -> None:
    """Make the tree read-only, once what imports write on first use has been written."""
    seal("/")


def _show(root: Path, shown: Sequence[str], hidden: Sequence[str]) -> None:
    """Bind and cover folders, outer ones first, so that a folder may show again inside one that is covered."""
    for path, cover in sorted([(p, False) for p in shown] + [(p, True) for p in hidden]):
        target = root / path.lstrip("/")
        if cover and target.is_dir():
            mount("hidden", str(target), "tmpfs", NO_SUID | NO_DEV, "size=1m,mode=755")
        elif not cover and not target.exists():
            target.mkdir(parents=True)
            bind(path, str(target))
    for point in mounts_under(str(root)):
        if point != str(root):
            seal(point)


def _system_folders(root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        source, target = Path("/", name), root / name
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.is_dir():
            target.mkdir()
            bind(str(source), str(target))
    etc = root / "etc"
    etc.mkdir()
    for name, text in ETC.items():
        (etc / name).write_text(text)
    for name in ("ld.so.cache", "localtime"):
        if Path("/etc", name).is_file():
            shutil.copyfile(f"/etc/{name}", etc / name)
    if Path("/etc/alternatives").is_dir():
        (etc / "alternatives").mkdir()
        bind("/etc/alternatives", str(etc / "alternatives"))


def _copy(source: Path, target: Path) -> None:
    """Regular files and folders only, readable to everybody; links lead nowhere in here, so they stay behind."""
    target.mkdir(exist_ok=True)
    for entry in os.scandir(source):
        if entry.name == "__pycache__" or entry.is_symlink():
            continue
        if entry.is_dir():
            _copy(Path(entry.path), target / entry.name)
        elif entry.is_file():
            shutil.copyfile(entry.path, target / entry.name)
            (target / entry.name).chmod(0o644)
    target.chmod(0o755)
