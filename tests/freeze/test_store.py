"""The freeze is written so that it only grows, in lines that a person can compare."""

import json

from .__main__ import write
from .made_up import FROZEN, PATH, ROOMS, SIDE, entry
from .renames import RENAMES
from .store import FREEZE, dumped, load_freeze


def test_the_freeze_is_written_with_a_line_for_each_small_item():
    text = dumped({"rooms": ROOMS, "exercises": FROZEN})
    assert json.loads(text) == {"rooms": ROOMS, "exercises": FROZEN}
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    assert '"points": {"stability": 3.0, "values": 1.0}' in lines
    assert text == dumped({"exercises": FROZEN, "rooms": dict(reversed(ROOMS.items()))})


def test_writing_only_adds_unless_told_to_replace(tmp_path):
    head = "# What was renamed.\n"
    (tmp_path / RENAMES).write_text(head)
    assert write(SIDE, tmp_path, replace=False) == []
    assert load_freeze(tmp_path) == SIDE
    more = {"exercises": FROZEN | {"lab00/other": FROZEN[PATH]}, "rooms": ROOMS}
    assert write(more, tmp_path, replace=False) == []
    assert load_freeze(tmp_path) == more

    before = (tmp_path / FREEZE).read_text()
    less = {"exercises": {"lab01/softmax": FROZEN[PATH], "lab00/other": FROZEN[PATH]}, "rooms": ROOMS}
    assert write(less, tmp_path, replace=False) == [f"{PATH}: the exercise is missing"]
    assert (tmp_path / FREEZE).read_text() == before
    (tmp_path / RENAMES).write_text(head + entry("exercises", PATH, "lab01/softmax"))
    assert write(less, tmp_path, replace=False) == []
    assert load_freeze(tmp_path) == less and (tmp_path / RENAMES).read_text() == head
    assert len(write(SIDE, tmp_path, replace=True)) == 2
    assert load_freeze(tmp_path) == SIDE
