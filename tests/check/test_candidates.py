"""What a candidate is told: of each way to be wrong, exactly that."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mlsys_course.desk.check import Case, CheckFailed, Outcome, Specification, check, driver
from mlsys_course.desk.check.cell import verdict_on
from mlsys_course.desk.check.compare import compare
from mlsys_course.desk.check.driver import run_case
from mlsys_course.desk.check.edition import EditionError, specification_from_bytes, specification_to_bytes
from mlsys_course.desk.check.verdict import judge

FORBIDDEN = ["torch.nn.functional.scaled_dot_product_attention", "torch.Tensor.backward", "torch.autograd.grad"]
DRIVERS = """
from mlsys_course.desk.check import driver

def positive(inputs, outputs):
    return None if (outputs["y"] >= 0).all() else "a square is never negative"

@driver(properties={"sign": positive})
def square(candidate, case):
    return {"y": candidate(case["x"])}
"""


@driver
def apply(candidate, case):
    return {"y": candidate(case["x"])}


def cube(x):
    return x**3


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A lab with one exercise, ``square``, and two misconceptions."""
    (tmp_path / "cases").mkdir()
    (tmp_path / "drivers.py").write_text(DRIVERS)
    cases = []
    for name, x in (("small", torch.tensor([2.0, 3.0])), ("negative", torch.tensor([-1.5, 4.0]))):
        mistakes = {"doubles": Outcome({"y": 2 * x}), "cubes": Outcome({"y": x**3})}
        cases.append(Case(name, name, {"x": x}, {"y": x**2}, mistakes))
    hints = {"doubles": "Twice is not twofold.", "cubes": "Count the factors."}
    points = {"small": 1, "negative": 2}
    specification = Specification("square", "core", points, cases, hints, FORBIDDEN)
    (tmp_path / "cases" / "square.safetensors").write_bytes(specification_to_bytes(specification))
    choice = Specification("pick", "choice", {"answer": 3}, options=["a", "b"])
    (tmp_path / "cases" / "pick.safetensors").write_bytes(specification_to_bytes(choice))
    return tmp_path


def test_right_in_any_way_passes(lab, capsys):
    for candidate in (lambda x: x**2, lambda x: x * x, lambda x: torch.stack([v * v for v in x]), torch.square):
        check("square", candidate, folder=lab)
    assert "all cases pass, 3 of 3 points" in capsys.readouterr().out


def test_partial_credit_and_hint(lab, capsys):
    verdict = verdict_on("square", lambda x: x * x.abs(), lab)
    assert (verdict.score, verdict.status, verdict.hints) == (1, "wrong", [])
    with pytest.raises(CheckFailed):
        check("square", lambda x: 2 * x, folder=lab)
    assert "Hint: Twice is not twofold." in capsys.readouterr().out


def test_the_fewest_misconceptions_are_named(lab):
    assert verdict_on("square", cube, lab).misconceptions == ["cubes"]


@pytest.mark.parametrize(
    ("small", "negative", "named"),
    [
        (Outcome(problem="raised", detail="RuntimeError: 3 and 4"), Outcome({"y": torch.zeros(2)}), ["half right"]),
        (Outcome(problem="raised", detail="RuntimeError: other"), None, []),  # one that goes wrong in both cases
        (None, Outcome(problem="raised", detail="RuntimeError: other"), ["one shape"]),  # all that it gets wrong
        (None, Outcome(problem="raised", detail="RuntimeError"), ["one shape"]),  # of sealed cases, which say no more
        (Outcome(problem="raised", detail="RuntimeError: other"), Outcome({"y": torch.ones(2)}), []),
        (Outcome(problem="raised", detail="KeyError: 3"), Outcome({"y": torch.zeros(2)}), ["half right"]),
    ],
)
def test_an_exception_names_no_misconception_by_itself(small, negative, named):
    """Half of all mistakes raise RuntimeError somewhere: what else came out must fit."""
    raised = Outcome(problem="raised", detail="RuntimeError: sizes differ")
    mistakes = {
        "small": {"half right": raised},
        "negative": {"half right": Outcome({"y": torch.zeros(2)}), "one shape": raised},
    }
    x = torch.tensor([2.0, 3.0])
    cases = [Case(name, name, {"x": x}, {"y": x}, mistakes[name]) for name in mistakes]
    hints = {"half right": "a", "one shape": "b"}
    specification = Specification("square", "core", {"small": 1, "negative": 2}, cases, hints)
    right = Outcome({"y": x})
    verdict = judge(specification, {"small": small or right, "negative": negative or right})
    assert verdict.misconceptions == named


def hinted(outcomes, **mistakes):
    """What is named of outcomes by case, "a" to "c", where each mistake's are as given, by case."""
    x = torch.tensor([2.0, 3.0])
    of = {c: {name: Outcome({"y": x * by[c]}) for name, by in mistakes.items() if c in by} for c in "abc"}
    cases = [Case(c, "last" if c == "c" else "first", {"x": x}, {"y": x}, of[c]) for c in "abc"]
    specification = Specification("square", "core", {"first": 1, "last": 1}, cases, {name: name for name in mistakes})
    return judge(specification, {c: Outcome({"y": x * outcomes.get(c, 1)}) for c in "abc"}).misconceptions


@pytest.mark.parametrize("outcomes, named", [
    ({"a": 2, "b": 3}, ["both"]),
    ({"a": 2}, []),  # who has that mistake fails b too
    ({"a": 2, "b": 4}, []),
    ({"a": 2, "b": 3, "c": 7}, ["both"]),  # and another mistake in another part
    ({"c": 5}, ["end"]),
    ({"a": 2, "b": 3, "c": 5}, ["both", "end"]),
    ({"c": 6}, []),  # one of two, and nobody knows which
    ({"a": 8, "c": 5}, ["end"]),
    ({"b": 3, "a": 2.5}, []),
])  # fmt: skip
def test_a_hint_is_given_where_outcomes_are_one_mistake_s_alone(outcomes, named):
    mistakes = {"both": {"a": 2, "b": 3}, "end": {"c": 5}, "one": {"c": 6}, "other": {"c": 6}}
    assert hinted(outcomes, **mistakes) == named


@pytest.mark.parametrize("said, named", [
    ("RuntimeError: sizes 3 and 4", ["shapes"]), ("RuntimeError: no gradient", []), ("RuntimeError", []),
])  # fmt: skip
def test_an_exception_everywhere_must_say_the_same(said, named):
    x = torch.tensor([2.0, 3.0])
    mistaken = {"shapes": Outcome(problem="raised", detail="RuntimeError: sizes 5 and 6")}
    cases = [Case(c, "all", {"x": x}, {"y": x}, mistaken) for c in "ab"]
    specification = Specification("square", "core", {"all": 1}, cases, {"shapes": "which?"})
    found = dict.fromkeys("ab", Outcome(problem="raised", detail=said))
    assert judge(specification, found).misconceptions == named


def in_place(x):
    return x.mul_(x)


def fails(x):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("candidate", "problem", "words"),
    [
        (fails, "raised", "KeyError: 'no such thing'"),
        (lambda x: x.numpy(), "type", "ndarray"),
        (lambda x: None, "", ""),
        (in_place, "modified", "modified its input `x`"),
        (lambda x: x.to("meta"), "device", "meta instead of cpu"),
        (lambda x: F.scaled_dot_product_attention(x, x, x), "forbidden", "scaled_dot_product_attention"),
        (lambda x: torch.ops.aten.scaled_dot_product_attention(x, x, x), "forbidden", "scaled_dot_product_attention"),
        (lambda x: x.clone().requires_grad_().sum().backward(), "forbidden", "torch.Tensor.backward"),
        (lambda x: exit(3), "raised", "SystemExit"),
    ],
)
def test_problem_is_named(candidate, problem, words):
    outcome = run_case(apply, candidate, {"x": torch.full((2, 2, 2), 2.0)}, forbidden=FORBIDDEN)
    assert outcome.problem == problem and words in outcome.words


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (torch.tensor([1.0, -INF]), torch.finfo(torch.float32).min),
        (torch.tensor([1.0, INF], dtype=torch.float64), torch.finfo(torch.float64).max),
        (torch.tensor([1.0, NAN], dtype=torch.bfloat16), 0.0),
        (torch.tensor([1.0, 2.0], dtype=torch.float16), NAN),
        (torch.tensor([True, False]), True),
        (torch.tensor([1, 2], dtype=torch.uint8), 3),
        (torch.tensor([[1, 2], [3, 4]]).mT[1], 5),
        (torch.tensor([1.0, 2.0j]), -INF),
        (torch.tensor([1.0, 2.0j]).conj(), 1j),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_a_change_of_an_input_is_seen_whatever_it_is(was, now):
    def changes(x):
        x[-1] = now
        return torch.ones(1)

    for candidate, problem in ((changes, "modified"), (lambda x: torch.ones(1), "")):
        assert run_case(apply, candidate, {"x": was.clone()}).problem == problem


def test_a_sealed_exception_text_stays_inside():
    def quotes(x):
        raise type("Leak", (ValueError,), {})(f"the input is {x.tolist()}")

    outcome = run_case(apply, quotes, {"x": torch.ones(2)}, messages=False)
    assert outcome.detail == "ValueError"


def test_an_alias_of_a_forbidden_call_is_found_in_the_text(lab):
    verdict = verdict_on("square", borrowed, lab)
    assert verdict.status == "forbidden" and verdict.score == 0


def borrowed(x):
    shortcut = getattr(F, "scaled_dot_product_attention")  # noqa: B009
    return shortcut(x, x, x)


def test_none_and_blank_are_missing(lab):
    def blank(x):
        raise NotImplementedError

    assert verdict_on("square", None, lab).status == "missing"
    assert verdict_on("square", blank, lab).status == "missing"


def test_property_is_judged_from_outputs(lab):
    path = lab / "cases" / "square.safetensors"
    specification = specification_from_bytes(path.read_bytes())
    loose = Specification(**{**vars(specification), "tolerance": {"float32": 100.0}})
    path.write_bytes(specification_to_bytes(loose))
    verdict = verdict_on("square", lambda x: -(x**2), lab)
    assert not verdict.ok and "a square is never negative" in verdict.results[0].wrong[0]


def test_a_choice_is_recorded_and_not_revealed(lab, capsys):
    check("pick", "a", folder=lab)
    check("pick", "b", folder=lab)
    check("pick", " (B)", folder=lab)
    assert capsys.readouterr().out.count("is recorded") == 3
    sealed = Specification(
        "pick", "choice", {"answer": 3}, [Case("answer", "answer", {}, {"answer": "b"})], options=["a", "b"]
    )
    scores = [judge(sealed, {"answer": Outcome({"answer": said})}).score for said in ("b", " (B)", "a", "B a", 2, True)]
    assert scores == [3, 3, 0, 0, 0, 0]
    with pytest.raises(CheckFailed, match="none of the options"):
        check("pick", "z", folder=lab)


def test_a_cost_over_its_limit_is_wrong(lab):
    from mlsys_course.desk.check import judge

    case = Case("one", "all", {"x": torch.ones(1)}, {"y": torch.ones(1)}, limits={"part_calls": 2})
    specification = Specification("square", "core", {"all": 1}, [case])
    cheap = judge(specification, {"one": Outcome({"y": torch.ones(1)}, costs={"part_calls": 2})})
    dear = judge(specification, {"one": Outcome({"y": torch.ones(1)}, costs={"part_calls": 3})})
    assert cheap.ok and not dear.ok and "(part calls): 3, at most 2" in dear.results[0].wrong[0]


def test_wrong_folder_and_damaged_cases_say_what_to_do(lab, tmp_path_factory):
    with pytest.raises(EditionError, match="open the notebook in its own folder"):
        check("square", cube, folder=tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(EditionError, match="it has pick, square"):
        check("cubed", cube, folder=lab)
    (lab / "cases" / "square.safetensors").write_bytes(b"damaged")
    with pytest.raises(EditionError, match="copy it from the lab"):
        check("square", cube, folder=lab)


def test_nan_is_named(lab):
    verdict = verdict_on("square", lambda x: x * math.nan, lab)
    assert "y has NaN" in verdict.results[0].wrong[0]


@pytest.mark.parametrize(
    "body",
    [
        "import drivers\nf = drivers.stand_in",
        "from drivers import stand_in as f",
        "from mlsys_course.desk.check import allowed\ndef f(x):\n    with allowed():\n        return x",
        "import torch\ndef f(x):\n    with torch._C.DisableTorchFunction():\n        return x",
    ],
)
def test_what_lifts_the_guard_is_no_candidates_business(body):
    from mlsys_course.desk.check.guard import forbidden_in
    from mlsys_course.desk.check.reach import reach

    assert forbidden_in(reach([body], ["f"]), FORBIDDEN)
    assert not forbidden_in(reach([body], ["f"]), [])


def test_allowed_lifts_nothing_while_grading():
    from mlsys_course.desk.check import allowed

    def lifts(x):
        with allowed():
            return F.scaled_dot_product_attention(x, x, x)

    inputs = {"x": torch.full((2, 2, 2), 2.0)}
    assert run_case(apply, lifts, inputs, forbidden=FORBIDDEN).problem == ""
    assert run_case(apply, lifts, inputs, forbidden=FORBIDDEN, parts={}).problem == "forbidden"


@pytest.mark.parametrize("got, want, said", [
    ({"z": []}, {"z": [torch.ones(2)] * 2}, ["z has 0 entries, expected 2"]),
    ({"z": [torch.ones(2)] * 3}, {"z": [torch.ones(2)] * 2}, ["z has 3 entries, expected 2"]),
    ({"spans": [[1, 2]]}, {"spans": [[1, 2], [3, 4], [5, 6]]}, ["spans has 1 entry, expected 3"]),
    ([1.0], [1.0, 2.0], ["result has 1 entry, expected 2"]),
    ({"rank 1": {"sums": [1]}}, {"rank 1": {"sums": [1, 2]}}, ["sums on rank 1 has 1 entry, expected 2"]),
    ({"rank 0": {"y": torch.ones(2)}}, {"rank 0": {"y": torch.zeros(2)}}, ["y on rank 0 is off by up to 1 at [0]"]),
    ({"loss": torch.tensor(1.0)}, {"loss": torch.tensor(2.0)}, ["loss is off by up to 1"]),
    ({"z": [torch.ones(2), torch.zeros(2)]}, {"z": [torch.ones(2)] * 2}, ["z[1] is off by up to 1 at [0]"]),
    ({"a": 1, "b": 2}, {"a": 1}, ["b was not expected"]),
])  # fmt: skip
def test_what_is_wrong_is_said_in_words(got, want, said):
    assert [leaf.reason for leaf in compare(got, want, 1e-6) if not leaf.ok] == said
