"""What the tests assert: how it is counted, and that it may move but not fall."""

import ast

import pytest

from .compare import lost_assertions
from .counts import assertions, rooms_of
from .made_up import NONE, ROOMS
from .renames import read_renames

SOURCE = """
import pytest
def test_all(x):
    assert x, "assert in words"
    assert_close(x, 1)
    torch.testing.assert_close(x, 1)
    torch.testing.make_tensor(x)
    numpy.testing.assert_allclose(x, 1)
    with pytest.raises(ValueError), raises(TypeError):
        x.raises()
    with pytest.warns(UserWarning) as found:
        raises(x)
"""


def test_assertions_are_counted_by_room(tmp_path):
    assert assertions(ast.parse(SOURCE)) == 7
    for name in ("conftest.py", "term/test_a.py", "term/deep/test_b.py", "term/helper.py", "freeze/test_c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SOURCE)
    assert rooms_of(tmp_path) == {
        "term": {"assertions": 21, "tests": 2},
        "tests": {"assertions": 7, "tests": 0},
    }


def asserting(**rooms: int) -> dict:
    return {room: {"assertions": count, "tests": 1} for room, count in rooms.items()}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (asserting(grade=19, release=9), ["tests/grade: 19 assertions, needs 20"]),
        (asserting(grade=30), ["tests/release: 0 assertions, needs 5"]),
        (asserting(grade=20, release=5, other=1), []),
    ],
)
def test_no_room_may_assert_less(now, said):
    assert lost_assertions(ROOMS, now, NONE) == said


def test_assertions_move_and_merge_where_the_map_says_so():
    renames = read_renames(
        '[rooms]\n"grade" = { new = "marks", moved = { release = 12 }, merged = 3, reason = "by subject" }'
    )
    assert lost_assertions(ROOMS, asserting(marks=5, release=17), renames) == []
    assert lost_assertions(ROOMS, asserting(marks=5, release=16), renames) == ["tests/release: 16 assertions, needs 17"]
    assert lost_assertions(ROOMS, asserting(grade=5, release=17), renames) == ["tests/marks: 0 assertions, needs 5"]
    (line, *_) = lost_assertions(asserting(grade=10), asserting(marks=5, release=17), renames)
    assert "takes away 5 assertions more than were there" in line
