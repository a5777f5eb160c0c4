"""The sealed half of the exercise contract: what a lab's ``exercises.py`` is written in.

A lab's ``exercises.py`` has two functions:

    def variants(draw: Draw) -> dict            # what the term draws; the lab's text may state it as {{ name }}
    def exercises(v: dict) -> list[Exercise | Choice | Question]

and its ``drivers.py`` one driver for each Exercise. Everything else is derived.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, TypeAlias

from mlsys_course.desk.check import Tree
from mlsys_course.desk.check.devices import DEVICE, PRETENDED
from mlsys_course.desk.check.driver import EACH

from .draw import Draw
from .errors import CourseError

Candidate: TypeAlias = Any
ON_A_CARD = {DEVICE: PRETENDED}  # what a case's inputs have that is called as on a card


@dataclass(frozen=True)
class Given:
    """One kind of case: inputs by name, and the aspect whose points it decides.

    With ``public`` it also ships to students, with numbers of its own. ``limits`` bound measured costs:
    "part_calls" (calls of parts), "peak_memory" (bytes over what the process held before the call; of ranks, what the
    one holds that holds the most), of ranks
    "rank_bytes" and "rank_messages" (the most that any one rank sends), "total_bytes" (what all send),
    "off_ring_bytes" (what does not go to the next rank). For a driver with ranks ``inputs`` has "ranks", a list with
    each rank's own inputs by name.
    """

    name: str
    aspect: str
    inputs: Mapping[str, Tree]
    public: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Misconception:
    """A named wrong candidate, and the hint for whoever's outputs match it: a question or a pointer, no answer."""

    name: str
    candidate: Candidate
    hint: str


@dataclass(frozen=True)
class Part:
    """The trusted stand-in for a parameter of a composite. ``work`` estimates the elements that a call makes,
    so that a hostile call is refused before it costs the grader anything.

    A ``secret`` part answers otherwise than the driver's own stand-in, which public cases are made with: ``reference``
    is what nobody has without asking."""

    reference: Callable[..., Any]
    work: Callable[..., int]
    most: int = 1 << 22
    secret: bool = False


@dataclass(frozen=True)
class Exercise:
    """One function or class to implement. ``points`` by aspect: each is earned by passing all its cases.

    A ``forbidden`` function stands for all that compute the same. ``allowed`` names the families of operators that may
    run (``mlsys_course.desk.check.families``), driver's included; where it is empty, all but what is forbidden in kind.
    """

    id: str
    component: str  # where the reference lives, such as "mlsys_course.attention.scaled_dot_product"
    reference: Candidate
    points: Mapping[str, float]
    cases: Callable[[Draw], Sequence[Given]]
    misconceptions: Sequence[Misconception]
    kind: str = "core"  # or "extension"
    forbidden: Sequence[str] = ()
    allowed: Sequence[str] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    unchanged: bool = True
    differs: str = ""  # why what a student writes is not the component's function, where it is not
    seconds: float = 6.0  # wall-clock limit of one sealed call; generous, since other submissions share the cores


def exercises_of(package: ModuleType, **common: Any) -> Callable[..., Exercise]:
    """How a lab writes its exercises: ``exercise = exercises_of(attention, forbidden=FORBIDDEN)``, then one line each,
    ``exercise("causal_mask", {"square": 4}, cases.causal_mask, mistakes.CAUSAL_MASK)``.

    The reference is the component's of that name, unless ``reference`` is given; ``common`` is what all have. Points
    for "device" bring their case along.
    """

    def exercise(id: str, points: Mapping[str, float], cases: Any, misconceptions: Any, **rest: Any) -> Exercise:
        reference = rest.pop("reference", None) or getattr(package, id, None)
        if reference is None:
            raise CourseError(f"{package.__name__} has no {id!r}, which is an exercise; export it in its __init__.py")
        module = getattr(reference, "__module__", "")
        component = module if module.startswith(f"{package.__name__}.") else package.__name__
        cases = with_device(cases) if DEVICE in points else cases
        return Exercise(id, component, reference, points, cases, misconceptions, **{**common, **rest})

    return exercise


def calls(*inputs: Mapping[str, Tree]) -> dict[str, Tree]:
    """Several calls as the inputs of one case, so in one process: what one leaves behind, the next ones meet."""
    return {EACH: list(inputs)}


def on_a_card(given: Given, name: str = "as on a card", aspect: str = DEVICE) -> Given:
    """A case as another one, whose inputs are on a card, which is pretended where there is none."""
    return replace(given, name=name, aspect=aspect, inputs={**given.inputs, **ON_A_CARD})


def with_device(cases: Callable[[Draw], Sequence[Given]]) -> Callable[[Draw], Sequence[Given]]:
    """The same kinds of cases, and the first public one once more as on a card, unless one that is decides "device"."""

    def both(draw: Draw) -> Sequence[Given]:
        given = cases(draw)
        if any(case.aspect == DEVICE for case in given):
            return given
        first = next(case for case in given if case.public)
        return [*given, on_a_card(first)]

    return both


@dataclass(frozen=True)
class Choice:
    """A concept question: one of ``options`` is right. Draw numbers or order, so that answers do not travel."""

    id: str
    points: float
    options: Sequence[str]
    answer: str
    kind: str = "choice"


@dataclass(frozen=True)
class Question:
    """An open question that a person grades by ``rubric``: (points, what earns them)."""

    id: str
    rubric: Sequence[tuple[float, str]]
    kind: str = "open"

    @property
    def points(self) -> float:
        return float(sum(points for points, _ in self.rubric))


Item: TypeAlias = Exercise | Choice | Question


def max_score(item: Item) -> float:
    """The points of an exercise, a choice or a question."""
    return float(sum(item.points.values())) if isinstance(item, Exercise) else float(item.points)


def adds(item: Item) -> float:
    """What an item adds to the points that there are to earn: an extension, which is a bonus, none."""
    return 0.0 if item.kind == "extension" else max_score(item)


def by_id(items: Sequence[Item]) -> dict[str, Item]:
    """Items by id, in order."""
    return {item.id: item for item in items}
