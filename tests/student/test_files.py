"""Files are there whole or as they were."""

import os
import stat

import pytest

from mlsys_course.desk.files import write_whole


@pytest.mark.parametrize(("content", "data"), [("a\r\nb\nü", "a\r\nb\nü".encode()), (b"\r\n\0\xff", b"\r\n\0\xff")])
def test_bytes_stay_what_they_are(tmp_path, content, data):
    path = tmp_path / "not there" / "yet" / "file.txt"
    write_whole(path, content)
    write_whole(path, content)
    assert path.read_bytes() == data and [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_who_may_read_a_file_may_read_the_next_one(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)


def test_a_fresh_file_is_like_any_other(tmp_path):
    (tmp_path / "other").write_text("")
    write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, fsync, seen = tmp_path / "file", os.fsync, []
    path.write_text("old")

    def watched(descriptor):
        fsync(descriptor)
        seen.append((os.fstat(descriptor).st_size, path.read_text()))

    monkeypatch.setattr(os, "fsync", watched)
    write_whole(path, "new text")
    assert seen == [(8, "old")] and path.read_text() == "new text"


@pytest.mark.parametrize("where", ["a folder", "no folder above"])
def test_where_nothing_can_be_written_nothing_changes(tmp_path, where):
    (tmp_path / "file").write_text("old")
    path = {"a folder": tmp_path, "no folder above": tmp_path / "file" / "below"}[where]
    with pytest.raises(OSError):
        write_whole(path, "new")
    assert (tmp_path / "file").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob(".*.writing"))
