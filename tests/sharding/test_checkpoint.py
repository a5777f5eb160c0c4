"""Shards in files: loaded by another world, and what is torn, missing or of another version is not taken."""

import pytest
import torch

from mlsys_course.sharding import (
    CheckpointError,
    checkpoint,
    flat_padded,
    latest_checkpoint,
    load_shard,
    reshard,
    save_shard,
)


def saved(folder, step: int, world_size: int, whole: torch.Tensor) -> None:
    for rank, shard in enumerate(flat_padded([whole], world_size).chunk(world_size)):
        save_shard(folder, step, rank, world_size, len(whole), {"masters": shard})


def test_a_state_goes_on_in_another_world(tmp_path):
    whole = torch.randn(11)
    saved(tmp_path, 5, 3, whole)
    found = latest_checkpoint(tmp_path)
    assert (found.step, found.world_size, found.n) == (5, 3, 11)
    parts = [reshard(found.read("masters"), found.n, found.world_size, 4, rank) for rank in range(4)]
    assert torch.equal(torch.cat(parts)[:11], whole)


@pytest.mark.parametrize("wrong", ["torn", "missing", "unfinished", "another world's", "empty"])
def test_the_last_good_one_is_found(tmp_path, wrong):
    saved(tmp_path, 9, 2, torch.ones(6))
    saved(tmp_path, 10, 2, 2 * torch.ones(6))
    path = tmp_path / "step-10" / "rank-1.safetensors"
    if wrong == "torn":
        path.write_bytes(path.read_bytes()[:-3])
    elif wrong == "another world's":
        save_shard(tmp_path, 10, 1, 3, 6, {"masters": torch.ones(2)})
    elif wrong == "empty":
        path.write_bytes(b"")
    elif wrong == "unfinished":
        path.rename(path.with_suffix(".123.part"))
    else:
        path.unlink()
    assert latest_checkpoint(tmp_path).step == 9
    assert torch.equal(latest_checkpoint(tmp_path).read("masters")(1), torch.ones(3))


def test_nothing_and_another_version_are_told(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="no whole checkpoint among 0"):
        latest_checkpoint(tmp_path)
    path = save_shard(tmp_path, 1, 0, 1, 3, {"x": torch.ones(3)})
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    with pytest.raises(CheckpointError, match="is of version 1; this course reads 2"):
        load_shard(path)


def test_a_write_that_is_killed_leaves_the_file_before(tmp_path, monkeypatch):
    path = save_shard(tmp_path, 1, 0, 1, 3, {"x": torch.ones(3)})
    monkeypatch.setattr(checkpoint.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_shard(tmp_path, 1, 0, 1, 3, {"x": torch.zeros(3)})
    assert torch.equal(load_shard(path)[1]["x"], torch.ones(3))
