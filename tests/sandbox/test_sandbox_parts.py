"""Parts of a composite: called from the sandbox, evaluated here, differentiable, refused when too large."""

from collections import defaultdict

import pytest
import torch

from autograder.exercise import Part
from autograder.parts import Answers, evaluate
from autograder.sandbox import Call, Cell
from mlsys_course.desk.check import decode, encode

from .conftest import SQUARE, graded

COMPOSITE = "import torch\ndef sum_of_squares(x, square):\n    return square(x).sum()"
X = torch.tensor([1.0, 2.0, 3.0])


def run_with(engine, teacher, source: str, x: torch.Tensor = X):
    teacher.given = {"sum_of_squares": [Call("one", encode({"x": x}), seconds=4.0)]}
    run = engine.run([Cell(source), graded("sum_of_squares")], teacher)
    return run, run.outcomes["sum_of_squares"]["one"]


def test_forward_and_backward(engine, teacher):
    _, outcome = run_with(engine, teacher, COMPOSITE)
    assert torch.equal(outcome.outputs["y"], torch.tensor(14.0))
    assert torch.equal(outcome.outputs["gradient"], 2 * X)
    assert outcome.costs["part_calls"] == 2
    assert teacher.asked == ["sum_of_squares"] * 4  # forward and backward, the call and again


def test_keyword_arguments_and_use_after_use(engine, teacher):
    _, outcome = run_with(engine, teacher, COMPOSITE.replace("square(x)", "square(square(x), power=3)"))
    assert torch.equal(outcome.outputs["y"], (X**6).sum())
    assert torch.equal(outcome.outputs["gradient"], 6 * X**5)


def test_the_part_is_no_code_in_the_sandbox(engine, teacher):
    source = "def sum_of_squares(x, square):\n    raise (ValueError if hasattr(square, '__code__') else KeyError)"
    assert run_with(engine, teacher, source)[1].detail == "KeyError"


def test_a_call_that_is_too_large_is_refused(engine, teacher):
    _, outcome = run_with(engine, teacher, COMPOSITE.replace("square(x)", "square(torch.ones(2000))"))
    assert (outcome.problem, outcome.detail) == ("raised", "ValueError")


@pytest.mark.parametrize(
    "call, detail",
    [("square()", "TypeError"), ("square(object())", "TypeError"), ("square('text')", "AttributeError")],
)
def test_exceptions_of_the_reference(engine, teacher, call, detail):
    _, outcome = run_with(engine, teacher, COMPOSITE.replace("square(x)", call))
    assert (outcome.problem, outcome.detail) == ("raised", detail)
    assert outcome.line == ("<cell 0>", 3)


def test_endless_calls_of_a_part(engine, teacher):
    source = "def sum_of_squares(x, square):\n    while True: square(x)"
    _, outcome = run_with(engine, teacher, source)
    assert outcome.problem in ("timeout", "crashed")


def ask(op: str, *args, **more):
    return decode(evaluate(SQUARE, encode({"op": op, "args": list(args), "kwargs": {}, **more})))


def test_vector_jacobian_products_against_finite_differences():
    generator = torch.Generator().manual_seed(0)
    a, b, cotangent = (torch.randn(3, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    part = Part(lambda a, b, n: torch.sin(a @ b) * n, work=lambda a, b, n: a.numel())
    request = {"op": "backward", "args": [a, b, 2], "kwargs": {}, "gradient": [cotangent]}
    gradients = decode(evaluate(part, encode(request)))["result"]
    for which, got in enumerate(gradients):
        want = torch.zeros_like(a)
        for i in range(9):
            step = torch.zeros(9, dtype=torch.float64)
            step[i] = 1e-6
            values = [[a, b], [a, b]]
            values[0][which] = values[0][which] + step.view(3, 3)
            values[1][which] = values[1][which] - step.view(3, 3)
            up, down = (part.reference(*pair, 2) for pair in values)
            want.view(-1)[i] = ((up - down) * cotangent).sum() / 2e-6
        assert torch.allclose(got, want, rtol=1e-6, atol=1e-8)


def test_gradients_of_whole_numbers_are_none():
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    part = Part(lambda table, index: table[index], work=lambda table, index: 1)
    request = {"op": "backward", "args": [table, torch.tensor([1, 1])], "kwargs": {}, "gradient": [torch.ones(2, 2)]}
    gradients = decode(evaluate(part, encode(request)))["result"]
    assert torch.equal(gradients[0], torch.tensor([[0.0, 0.0], [2.0, 2.0]])) and gradients[1] is None


@pytest.mark.parametrize(
    "request_tree",
    [
        {},
        [],
        {"op": "forward"},
        {"op": "forward", "args": {}, "kwargs": {}},
        {"op": "import", "args": [], "kwargs": {}},
        {"op": "forward", "args": [torch.ones(1001)], "kwargs": {}},
        {"op": "backward", "args": [torch.ones(2)], "kwargs": {}},
        {"op": "backward", "args": [torch.ones(2)], "kwargs": {}, "gradient": [torch.ones(3)]},
        {"op": "backward", "args": [torch.ones(2)], "kwargs": {}, "gradient": [1.0]},
    ],
)
def test_malformed_requests_are_refused(request_tree):
    with pytest.raises(ValueError):
        evaluate(SQUARE, encode(request_tree))


def test_bytes_that_are_no_tree_are_refused():
    with pytest.raises(ValueError):
        evaluate(SQUARE, b"nothing")


def test_the_reference_does_not_change_what_it_was_given():
    counts = defaultdict(int)

    def reference(x):
        counts["calls"] += 1
        return x * 2

    part = Part(reference, work=lambda x: x.numel())
    assert torch.equal(decode(evaluate(part, encode({"op": "forward", "args": [X], "kwargs": {}})))["result"], 2 * X)
    assert counts["calls"] == 1
    assert ask("forward", X)["result"].tolist() == [1.0, 4.0, 9.0]
    assert ask("forward", "a")["raised"] == "AttributeError"


def test_what_was_answered_is_not_worked_out_again_while_there_is_room():
    asked = []

    def noted(x):
        asked.append(x)
        return x * x

    part, answers = Part(noted, lambda x: x.numel(), most=4), Answers(most_bytes=2000)
    first, second = (encode({"op": "forward", "args": [torch.full((2,), float(n))], "kwargs": {}}) for n in (1, 2))
    for request in (first, second, first, second):
        assert answers.of(part, "squares", request) == evaluate(part, request)
    assert len(asked) == 4 + 2
    answers.of(part, "another exercise", first)
    assert len(asked) == 7
    for number in range(20):  # the first are let go of
        answers.of(part, "squares", encode({"op": "forward", "args": [torch.tensor([float(number)])], "kwargs": {}}))
    answers.of(part, "squares", first)
    assert len(asked) == 28 and answers.left >= 0
    large = encode({"op": "forward", "args": [torch.ones(5)], "kwargs": {}})
    for _ in range(2):
        with pytest.raises(ValueError, match="at most 4"):
            answers.of(part, "squares", large)
