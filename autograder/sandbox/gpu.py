"""NVIDIA cards from the trusted side: what a sandbox is shown of them, and by NVML, who holds how much of them.

Nothing here starts CUDA: NVML only asks the driver.
"""

import ctypes
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract import SandboxUnavailable

LEAST_SHARE_MIB = 2048  # a CUDA context alone takes about 500
USABLE = 0.9  # of a card's memory, when it is shared out
UNKNOWN = 2**64 - 1
TOO_SMALL = 7  # NVML_ERROR_INSUFFICIENT_SIZE
NO_DRIVER = "no NVIDIA driver answers here; install it (nvidia-smi must list a card), or grade with --device cpu"
NO_CUDA = "this PyTorch is built without CUDA; install a CUDA build of torch, or grade with --device cpu"
NO_FILES = "the driver's devices are not in /dev; run nvidia-smi once as root (nvidia-modprobe makes them)"


class _Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("gi", ctypes.c_uint), ("ci", ctypes.c_uint)]


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Nvml:
    """The driver's library of measurements; raises SandboxUnavailable where there is no driver or no card."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            raise SandboxUnavailable(NO_DRIVER) from None
        self._ask("nvmlInit_v2")
        count = ctypes.c_uint()
        self._ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self.cards = [self._card(number) for number in range(count.value)]
        if not self.cards:
            raise SandboxUnavailable(NO_DRIVER)

    def _ask(self, function: str, *arguments: Any, accepted: int = 0) -> int:
        code = getattr(self._library, function)(*arguments)
        if code not in (0, accepted):
            raise SandboxUnavailable(f"{NO_DRIVER} ({function}: NVML error {code})")
        return code

    def _card(self, number: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(handle))
        return handle

    def smallest_bytes(self) -> int:
        """The memory of the smallest card."""
        found = []
        for card in self.cards:
            memory = _Memory()
            self._ask("nvmlDeviceGetMemoryInfo", card, ctypes.byref(memory))
            found.append(memory.total)
        return min(found)

    def held(self) -> dict[int, int]:
        """Bytes of card memory by process, its CUDA context included, all cards together."""
        return summed(entry for card in self.cards for entry in self._entries(card))

    def _entries(self, card: ctypes.c_void_p) -> list[tuple[int, int]]:
        room = 64
        while True:
            count, rows = ctypes.c_uint(room), (_Process * room)()
            arguments = (card, ctypes.byref(count), rows)
            if self._ask("nvmlDeviceGetComputeRunningProcesses_v3", *arguments, accepted=TOO_SMALL) == 0:
                return [(row.pid, row.used) for row in rows[: count.value]]
            room = 2 * max(room, count.value)


def summed(entries: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Bytes by process from (process, bytes) rows; where the driver does not know, as on some virtual cards, none."""
    held: dict[int, int] = {}
    for pid, used in entries:
        if used != UNKNOWN:
            held[pid] = held.get(pid, 0) + used
    return held


def asked_for(device: str) -> bool:
    """Whether a card is asked for; raises ValueError for what is no device."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r} is unknown; choose cpu or cuda")
    return device == "cuda"


def held_by(pids: Iterable[int], held: Mapping[int, int]) -> int:
    """What some processes hold together."""
    return sum(held.get(pid, 0) for pid in set(pids))


def share_mib(card_bytes: int, sharers: int) -> int:
    """What one of ``sharers`` submissions at once may hold of a card; raises where a card is too small for any."""
    if card_bytes >> 20 < LEAST_SHARE_MIB:
        raise SandboxUnavailable(
            f"the card has {card_bytes >> 20} MiB, a submission needs {LEAST_SHARE_MIB}; grade with --device cpu"
        )
    return max(LEAST_SHARE_MIB, int(card_bytes * USABLE / max(1, sharers)) >> 20)


@dataclass(frozen=True)
class Cards:
    """What there is to compute on: device files to show, folders of driver libraries, and the measurements."""

    files: list[str]
    folders: list[str]
    nvml: Nvml


def find_cards(dev: Path = Path("/dev")) -> Cards:
    """The cards of this machine; raises SandboxUnavailable with what is missing and what to do."""
    import torch

    if torch.version.cuda is None:
        raise SandboxUnavailable(NO_CUDA)
    nvml = Nvml()
    files = device_files(dev)
    if not any(Path(name).name[6:].isdigit() for name in files):
        raise SandboxUnavailable(NO_FILES)
    return Cards(files, driver_folders(), nvml)


def device_files(dev: Path) -> list[str]:
    """The devices that CUDA opens: cards, control, unified memory; not those of profiling and of mode setting."""
    names = ("nvidiactl", "nvidia-uvm", *(p.name for p in dev.glob("nvidia[0-9]*")))
    return sorted(str(dev / name) for name in names if _is_device(dev / name))


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def driver_folders() -> list[str]:
    """Where the driver's libraries lie, which come with the driver and not with PyTorch."""
    try:
        ctypes.CDLL("libcuda.so.1")  # loads; cuInit, which a fork would not survive, is another call
    except OSError:
        raise SandboxUnavailable(NO_DRIVER) from None
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if "/libcuda.so" in line or "/libnvidia-ml.so" in line}
    return sorted({os.path.dirname(path) for path in paths})


def missing() -> str:
    """Why submissions cannot be graded on a card here, and what to do; an empty string where they can."""
    try:
        find_cards()
    except SandboxUnavailable as error:
        return str(error)
    return ""
