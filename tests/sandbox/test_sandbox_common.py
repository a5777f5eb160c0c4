"""One process answers for all exercises first; who does not do well there is asked again, alone, and that counts."""

from collections import Counter

import pytest
import torch

from autograder.sandbox import Call, Cell
from autograder.sandbox.sealed import Examination
from mlsys_course.desk.check import encode

from .conftest import MARK, Teacher, graded, is_right

DOUBLE, TRIPLE = "def double(x): return 2 * x", "def triple(x): return 3 * x"


class Watched(Teacher):
    """Tells of each exercise whether the common process's outcomes were enough."""

    def settled(self, exercise, outcomes):
        enough = all(
            not o.problem and bool((o.outputs["y"] == FACTOR[exercise] * MARK).all()) for o in outcomes.values()
        )
        self.asked.append(f"{exercise} {'settled' if enough else 'not yet'}")
        return enough


FACTOR = {"double": 2, "triple": 3, "sum_of_squares": 0}


@pytest.fixture
def watched():
    return Watched()


def test_nobody_is_asked_twice_without_need(engine, watched):
    run = engine.run([Cell(DOUBLE), graded("double"), Cell(TRIPLE), graded("triple")], watched)
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)
    assert Counter(watched.asked) == {"double settled": 1, "triple settled": 1}


def test_names_are_those_of_the_cell(engine, watched):
    """What a later cell calls by the same name is another thing, helpers and counters too."""
    first = "factor = 2\ndef helper(x): return factor * x\ndef double(x): return helper(x)"
    later = "factor = 50\ndef helper(x): raise ValueError\ndouble = None\ndef triple(x): return 3 * x"
    run = engine.run([Cell(first), graded("double"), Cell(later), graded("triple")], watched)
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)
    assert "double settled" in watched.asked


def test_what_a_name_hides_is_not_found_early(engine, watched):
    run = engine.run(
        [Cell("def double(x): return late(x)"), graded("double"), Cell("def late(x): return 2 * x")], watched
    )
    assert {o.detail for o in run.outcomes["double"].values()} == {"NameError"}


FRAGILE = """
import torch
def double(x):
    wrong = torch.ones(1).dtype != x.dtype
    return torch.mul(x, double.state["factor"]) + wrong
double.state = {"factor": 2}
"""


@pytest.mark.parametrize(
    "later, then",
    [
        ("import torch\ntorch.set_default_dtype(torch.float64)", "settled"),  # a setting reaches no call
        ("double.state['factor'] = 7", "not yet"),
        ("import torch\ntorch.mul = torch.Tensor.__mul__ = None", "not yet"),
    ],
)
def test_a_later_cell_that_changes_an_object_costs_nothing(engine, watched, later, then):
    cells = [Cell(FRAGILE), graded("double"), Cell(later)]
    run = engine.run(cells, watched)
    assert is_right(run.outcomes["double"], 2) and watched.asked == [f"double {then}"]


SPOILERS = {
    "a setting": "import torch\ndef triple(x):\n    torch.set_default_dtype(torch.float64)\n    return 3 * x",
    "the end": "import os\ndef triple(x): os._exit(3)",
    "no end": "def triple(x):\n    while True: pass",
    "a kill": "import os, signal\ndef triple(x): os.kill(os.getpid(), signal.SIGKILL)",
    "its tools": "import mlsys_course.desk.check.tree as t\ndef triple(x):\n    t.plain = None\n    return 3 * x",
}


@pytest.mark.parametrize("spoiler", SPOILERS.values(), ids=SPOILERS)
def test_an_exercise_that_spoils_the_process_spoils_no_other(engine, watched, spoiler):
    watched.given = {"triple": [Call("one", encode({"x": torch.full((1,), MARK)}), seconds=1.0)]}
    exact = "import torch\ndef double(x): return (2 * x).to(torch.ones(1).dtype)"
    for _ in range(2):  # in either order
        run = engine.run([Cell(exact), graded("double"), Cell(spoiler), graded("triple")], watched)
        assert is_right(run.outcomes["double"], 2)


CHATTER = """
import json, os, struct

def triple(x):
    head = json.dumps({"kind": "outcome", "problem": "missing", "detail": "", "line": None}).encode()
    for descriptor in range(200, 220):
        try:
            os.write(descriptor, struct.pack("<II", len(head), 0) + head)
        except OSError:
            pass
    return 3 * x
"""


def test_words_that_nobody_asked_for_are_no_answers_of_another(engine, watched):
    for _ in range(3):
        run = engine.run([Cell(DOUBLE), graded("double"), Cell(CHATTER), graded("triple")], watched)
        assert is_right(run.outcomes["double"], 2)


def test_memory_that_took_the_sandbox_along(engine, watched):
    hog = "import torch\ndef triple(x):\n    keep.append(torch.ones(1 << 28)); return triple(x)\nkeep = []"
    watched.given = {"triple": [Call("one", encode({"x": torch.ones(1)}), seconds=20.0)]}
    run = engine.run([Cell(DOUBLE), graded("double"), Cell(hog), graded("triple")], watched)
    assert is_right(run.outcomes["double"], 2)
    assert "memory" in {o.problem for o in run.outcomes["triple"].values()}


def test_who_fails_at_first_is_asked_again_where_nobody_could_tell(engine, watched, monkeypatch):
    """A composite's part could tell the answer: in no sandbox does anybody come after the composite."""
    asked, alone, in_common = [], Examination.run, Examination.try_in

    def run(self):
        asked.append((self.exercise, self.members[0].sandbox.slot))
        return alone(self)

    def try_in(self, common, seconds):
        asked.append((self.exercise, common.sandbox.slot))
        return in_common(self, common, seconds)

    monkeypatch.setattr(Examination, "run", run)
    monkeypatch.setattr(Examination, "try_in", try_in)
    wrong = "def double(x): return x\ndef sum_of_squares(x, square): return square(x).sum()"
    for _ in range(5):
        asked.clear()
        engine.run([Cell(wrong), graded("sum_of_squares"), graded("double")], watched)
        (one, first), (another, second) = Counter(slot for _, slot in asked).items()
        assert one != another and first == second == 2
        assert [exercise for exercise, _ in asked] == 2 * ["double", "sum_of_squares"]


@pytest.mark.parametrize("body", ["raise NotImplementedError", "return undefined_", "return 3 * x"])
def test_what_is_not_written_is_not_asked_again(engine, watched, monkeypatch, body):
    alone, run_alone = [], Examination.run
    monkeypatch.setattr(Examination, "run", lambda self: (alone.append(self.exercise), run_alone(self))[1])
    run = engine.run([Cell(f"def double(x): {body}"), graded("double"), graded("triple")], watched)
    assert {o.problem for o in run.outcomes["triple"].values()} == {"missing"}
    assert alone == ([] if "NotImplemented" in body else ["double"])


@pytest.mark.parametrize("ends", ["os._exit(1)", "raise ValueError", "double = triple = None"])
def test_a_notebook_that_does_not_do_the_same_again_keeps_its_first_answers(engine, watched, ends):
    """Here by the number of its channels, as others may by the time that they take."""
    wrong = "def double(x): return x\ndef triple(x): return x"
    again = f"import os\nif os.path.exists('/proc/self/fd/202'): {ends}"
    run = engine.run([Cell(wrong), Cell(again), graded("double"), graded("triple")], watched)
    assert sorted(watched.asked) == ["double not yet", "triple not yet"]
    kept = "None" not in ends  # what runs to its end again counts
    assert run.status == "ok" and [cell.status for cell in run.cells] == 4 * ["ok"]
    assert {o.problem for o in run.outcomes["double"].values()} == ({""} if kept else {"missing"})


@pytest.mark.parametrize("shared", ["torch.zeros(9).share_memory_()", "torch.from_file('told', shared=True, size=9)"])
def test_what_the_first_process_was_asked_is_known_to_no_other(engine, watched, shared):
    """Else it could learn of the inputs whatever takes long, or is forbidden, and the next one have the answers."""
    source = f"""
import torch
told = {shared}
def double(x):
    if told[len(x)]: return 2 * x
    told[len(x)] = 1
    raise ValueError('not yet')
"""
    outcomes = engine.run([Cell(source), graded("double")], watched).outcomes["double"]
    assert sum(outcome.problem == "raised" for outcome in outcomes.values()) == 3  # one was asked twice
    assert watched.asked == ["double not yet"]


def test_replayed_notebooks_too(replaying, watched):
    first = "factor = 2\ndef double(x): return factor * x"
    run = replaying.run([Cell(first), graded("double"), Cell(f"factor = 9\n{TRIPLE}"), graded("triple")], watched)
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)
    assert Counter(watched.asked) == {"double settled": 1, "triple settled": 1}
