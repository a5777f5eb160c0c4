"""The order in which exercises are asked: drawn, but nobody follows one that could tell it its answer."""

from itertools import permutations

from autograder.sandbox import Call
from autograder.sandbox.drawn_order import drawn_order

PARTS = {"block": ("heads", "norm"), "heads": ("attention",), "loop": ("loop",)}


class Teacher:
    """Parts by exercise; "large" is measured."""

    def calls(self, exercise):
        return [Call("one", b"", measure_memory=exercise == "large")]

    def settled(self, exercise, outcomes):
        return not any(outcome.problem for outcome in outcomes.values())

    def part(self, exercise, name, request):
        raise ValueError("no parts")

    def parts(self, exercise):
        return PARTS.get(exercise, ())


def test_parts_before_composites_and_measured_ones_last():
    for _ in range(50):
        order = drawn_order(["large", "block", "heads", "attention", "norm", "loop"], Teacher())
        assert order[-1] == "large" and sorted(order) == ["attention", "block", "heads", "large", "loop", "norm"]
        assert order.index("attention") < order.index("heads") < order.index("block") > order.index("norm")


def test_a_part_that_is_not_asked_counts_for_nothing():
    assert drawn_order(["heads"], Teacher()) == ["heads"]


def test_else_every_order_is_drawn():
    drawn = {tuple(drawn_order("abc", Teacher())) for _ in range(300)}
    assert drawn == set(permutations("abc"))
