"""Shards in files, one a rank. A file is whole or not there, and a checkpoint counts when all its files are."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..substrate.errors import CourseProblem

VERSION = 1
NAME = re.compile(r"step-(\d+)")


class CheckpointError(CourseProblem):
    """A checkpoint that is not there, torn, or another version's."""


@dataclass(frozen=True)
class Checkpoint:
    """One step of a run, saved by ``world_size`` ranks; ``n`` are the entries of all shards together, unpadded."""

    folder: Path
    step: int
    world_size: int
    n: int

    def read(self, name: str) -> Callable[[int], Tensor]:
        """What ``reshard`` asks: a rank's shard of that name."""
        return lambda rank: load_shard(self.folder / f"rank-{rank}.safetensors")[1][name]


def save_shard(folder: Path, step: int, rank: int, world_size: int, n: int, tensors: Mapping[str, Tensor]) -> Path:
    """Write a rank's tensors. The file gets its name when all its bytes are on the disk, so it is never torn.

    Each rank calls it; when all have returned, ``latest_checkpoint`` finds the step.
    """
    target = folder / f"step-{step}"
    target.mkdir(parents=True, exist_ok=True)
    about = {"version": VERSION, "step": step, "rank": rank, "world_size": world_size, "n": n}
    path = target / f"rank-{rank}.safetensors"
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with open(unfinished, "wb") as file:
        file.write(save({k: x.detach().contiguous() for k, x in tensors.items()}, {"about": json.dumps(about)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def load_shard(path: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """What a file says about itself, and its tensors; raises CheckpointError where it is torn or of another version."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); use the checkpoint before it") from None
    if about.get("version") != VERSION:
        raise CheckpointError(
            f"{path} is of version {about.get('version')}; this course reads {VERSION}: load it with the version that "
            "wrote it, and save it again"
        )
    return about, tensors


def latest_checkpoint(folder: Path) -> Checkpoint:
    """The last step all of whose files are there and whole; raises CheckpointError where there is none."""
    steps = sorted((int(m[1]) for p in folder.glob("step-*") if (m := NAME.fullmatch(p.name))), reverse=True)
    for step in steps:
        if found := _whole(folder / f"step-{step}"):
            return Checkpoint(folder / f"step-{step}", step, found["world_size"], found["n"])
    raise CheckpointError(f"{folder} has no whole checkpoint among {len(steps)}; start from the beginning")


def _whole(folder: Path) -> dict[str, int] | None:
    """What its files say, where every rank's is there, whole, and of one world."""
    try:
        first, _ = load_shard(folder / "rank-0.safetensors")
        others = [load_shard(folder / f"rank-{rank}.safetensors")[0] for rank in range(1, first["world_size"])]
    except CheckpointError:
        return None
    return first if all({**about, "rank": 0} == first for about in others) else None
