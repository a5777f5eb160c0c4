"""The map of what was renamed: every entry has a reason and matches something."""

import pytest

from .compare import unmatched
from .made_up import PATH, SIDE, entry
from .renames import RENAMES, emptied, read_renames
from .store import HERE


@pytest.mark.parametrize(
    ("table", "old"),
    [
        ("labs", "lab00"),
        ("exercises", PATH),
        ("aspects", f"{PATH}/values"),
        ("cases", f"{PATH}/small"),
        ("misconceptions", f"{PATH}/no shift"),
        ("rooms", "grade"),
    ],
)
def test_an_entry_that_matches_nothing_is_refused(table, old):
    new = {"labs": "lab00", "exercises": PATH, "rooms": "release"}.get(table, "any")
    assert unmatched(read_renames(entry(table, old, new)), SIDE, SIDE) == []
    (line,) = unmatched(read_renames(entry(table, old + "s", new)), SIDE, SIDE)
    assert "the freeze has no such name" in line
    if table in ("labs", "exercises", "rooms"):
        (line,) = unmatched(read_renames(entry(table, old, "nowhere")), SIDE, SIDE)
        assert "there is no 'nowhere' now" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry("chapters", "a", "b"), "there are labs, exercises"),
        ('[labs]\n"a" = { new = "b" }', "has no reason"),
        ('[labs]\n"a" = { new = "b", reason = " " }', "has no reason"),
        ('[labs]\n"a" = { reason = "gone" }', "has no `new`"),
        ('[labs]\n"a" = { new = "b", moved = { c = 1 }, reason = "no room" }', "'moved', which nothing reads"),
        (entry("rooms", "a", ["b", "c"]), "in `moved`"),
    ],
)
def test_a_map_that_says_too_little_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        read_renames(text)


def test_an_applied_map_keeps_its_head():
    head = emptied((HERE / RENAMES).read_text(encoding="utf-8"))
    assert head.startswith("# What has been renamed") and head.endswith("\n")
    assert emptied(head + "\n" + entry("labs", "a", "b")) == head
