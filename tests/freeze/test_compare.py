"""The comparison on small made-up freezes: what is lost is said, what is new or renamed is not."""

import copy
import json

import pytest

from .compare import ADVICE, lost_exercises, names_only, report
from .made_up import CAUGHT, FACTS, FROZEN, NONE, PATH, entry
from .renames import read_renames


def changed(*path: str, to: object = None) -> dict:
    """The made-up freeze with one thing in its exercise replaced; without ``to``, taken out."""
    now = copy.deepcopy(FROZEN)
    place = now[PATH]
    for key in path[:-1]:
        place = place[key]
    place.pop(path[-1])
    if to is not None:
        place[path[-1]] = to
    return now


def renamed(old: str, new: str) -> dict:
    """The made-up freeze with a name replaced wherever it stands."""
    return json.loads(json.dumps(FROZEN).replace(json.dumps(old), json.dumps(new)))


def verdict(**fields) -> dict:
    """The made-up freeze with another verdict on its misconception."""
    return changed("misconceptions", "no shift", "sealed", to=CAUGHT | fields)


def test_the_same_loses_nothing():
    assert lost_exercises(FROZEN, FROZEN, NONE) == []


def test_what_is_new_loses_nothing():
    now = copy.deepcopy(FROZEN) | {"lab00/other": FACTS}
    now[PATH]["points"]["shape"] = 2.0
    now[PATH]["sealed"]["empty"] = "shape"
    now[PATH]["misconceptions"]["sums"] = {"sealed": CAUGHT}
    now[PATH]["misconceptions"]["no shift"]["sealed"] = CAUGHT | {
        "score": 3.0,
        "of": 6.0,
        "fails": ["empty", "large", "rows"],
    }
    assert lost_exercises(FROZEN, now, NONE) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({}, "the exercise is missing"),
        (changed("kind", to="extension"), "is extension, was core"),
        (changed("points", "stability"), "'stability' earns 0 points, earned 3"),
        (changed("points", "stability", to=2.0), "'stability' earns 2 points, earned 3"),
        (changed("public", "small"), "public case 'small' is missing"),
        (changed("sealed", "large"), "sealed case 'large' is missing"),
        (changed("sealed", "large", to="values"), "sealed case 'large' decides 'values', decided 'stability'"),
        (changed("misconceptions", "no shift"), "misconception 'no shift' is missing"),
        (verdict(score=2.0), "loses 2 points, lost 3"),
        (verdict(named=[]), "is not named 'no shift'; recognised is nothing"),
        (verdict(named=["sums", "no shift"]), "is not named 'no shift'; recognised is ['no shift', 'sums']"),
        (verdict(fails=["large"]), "passes 'rows', which it failed"),
    ],
)
def test_each_loss_is_said_once(now, said):
    (line,) = lost_exercises(FROZEN, now, NONE)
    assert PATH in line and said in line
    assert ADVICE in report([line]) and line in report([line])


@pytest.mark.parametrize("now", [verdict(score=4.0), changed("misconceptions", "no shift", "sealed")])
def test_without_verdicts_only_names_are_compared(now):
    assert lost_exercises(names_only(FROZEN), names_only(now), NONE) == []
    assert len(lost_exercises(names_only(FROZEN), changed("misconceptions", "no shift"), NONE)) == 1


@pytest.mark.parametrize(
    ("table", "old"),
    [("cases", "large"), ("aspects", "stability"), ("misconceptions", "no shift")],
)
def test_a_name_inside_an_exercise_may_change_if_the_map_says_so(table, old):
    now = renamed(old, "another")
    assert lost_exercises(FROZEN, now, NONE) != []
    assert lost_exercises(FROZEN, now, read_renames(entry(table, f"{PATH}/{old}", "another"))) == []
    wrong = read_renames(entry(table, f"{PATH}/{old}", "a third"))
    assert any("a third" in line for line in lost_exercises(FROZEN, now, wrong))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (entry("exercises", PATH, "lab01/softmax_rows"), "lab01/softmax_rows"),
        (entry("labs", "lab00", "start"), "start/softmax"),
        (entry("labs", "lab00", ["start", "more"]), "more/softmax"),
    ],
)
def test_an_exercise_may_move_alone_or_with_its_lab(text, place):
    assert lost_exercises(FROZEN, {place: FACTS}, read_renames(text)) == []
    assert len(lost_exercises(FROZEN, {"lab02/softmax": FACTS}, read_renames(text))) == 1


def test_merged_cases_are_one_that_is_failed():
    now = changed("sealed", "large")
    del now[PATH]["sealed"]["rows"]
    now[PATH]["sealed"]["large rows"] = "stability"
    renames = read_renames(
        entry("cases", f"{PATH}/large", "large rows") + entry("cases", f"{PATH}/rows", "large rows")[len("[cases]") :]
    )
    now[PATH]["misconceptions"]["no shift"]["sealed"] = CAUGHT | {"fails": ["large rows"]}
    assert lost_exercises(FROZEN, now, renames) == []
    now[PATH]["misconceptions"]["no shift"]["sealed"] = CAUGHT | {"fails": []}
    assert len(lost_exercises(FROZEN, now, renames)) == 2


def test_merged_exercises_add_up_their_points():
    frozen = {PATH: FACTS, "lab00/log_softmax": FACTS}
    renames = read_renames(entry("exercises", "lab00/log_softmax", PATH))
    lost = lost_exercises(frozen, FROZEN, renames)
    assert [line.split(": ")[1] for line in lost] == [
        "'values' earns 1 points, earned 2",
        "'stability' earns 3 points, earned 6",
    ]
    now = changed("points", to={"values": 2.0, "stability": 6.0})
    assert lost_exercises(frozen, now, renames) == []


def test_the_parts_of_a_split_misconception_count_together_and_each_is_named():
    renames = read_renames(entry("misconceptions", f"{PATH}/no shift", ["none", "half"]))
    parts = {
        "none": {"sealed": CAUGHT | {"named": ["none"], "fails": ["large"]}},
        "half": {"sealed": CAUGHT | {"named": ["half"], "fails": ["rows"]}},
    }
    assert lost_exercises(FROZEN, changed("misconceptions", to=parts), renames) == []
    parts["half"]["sealed"]["named"] = ["none"]
    (line,) = lost_exercises(FROZEN, changed("misconceptions", to=parts), renames)
    assert "is not named 'no shift' (now 'half')" in line
