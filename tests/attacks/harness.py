"""A submission with a wrong answer and an attack, and whether it came to more than the wrong answer alone."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell

from autograder.build.pipeline import build
from autograder.course import Course, load_course
from autograder.demo.student import Student
from autograder.grade.repair import repair
from autograder.grade.session import Session
from autograder.sandbox import Limits

from .lab import STEM, write_course

WRONG = "def times(x):\n    return x.abs() * {factor}"  # earns the points for positive numbers, not the others
RIGHT = "def times(x):\n    return x * {factor}"


@dataclass(frozen=True)
class Attack:
    """Cells typed in at the beginning (``first``) and behind the answer (``behind``); answers; files beside it.

    ``hurts`` are exercises that it may cost points: the attacker's own. ``plain`` is what the others' answers would
    be without the attack, where they are not right.
    """

    name: str
    first: str = ""
    answer: str = WRONG
    behind: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    hurts: tuple[str, ...] = ()
    plain: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


TIGHT = Limits(cell_seconds=4.0, notebook_seconds=14.0, cpu_seconds=20.0)
HONEST = Attack("an honest wrong answer")
ALL = ("times", "chain", "lean", "answer")


class Field:
    """The attacked lab: grades attacks, each beside an honest neighbour, and compares."""

    def __init__(self, course: Course, session: Session, released: Any, solution: Any):
        self.course, self.session = course, session
        self.released, self.solution = released, solution
        self.factor = session.lab.variants["factor"]
        self.known: dict[str, dict[str, float]] = {}
        self.honest = self.scores(HONEST)
        self.neighbour = self.scores(Attack("right", answer=RIGHT))

    def notebook(self, attack: Attack) -> bytes:
        """The file that is handed in."""
        student = Student(self.released, self.solution).solve()
        for exercise, source in {"times": attack.answer, **attack.others}.items():
            student.write(exercise, source.replace("{factor}", str(self.factor)))
        if attack.behind:
            student.insert_after("solution-times", attack.behind)
        notebook = student.notebook
        if attack.first:
            notebook.cells.insert(1, new_code_cell(attack.first, id="own-first"))
        return student.hand_in()

    def scores(self, attack: Attack) -> dict[str, float]:
        """What it comes to, by exercise."""
        notebook = repair(self.notebook(attack), self.session.released).to_notebook()
        graded = self.session.grade(notebook, attack.files)
        return {name: verdict.score for name, verdict in graded.verdicts.items()}

    def without(self, attack: Attack) -> dict[str, float]:
        """What the same answers come to when nobody attacks."""
        if not attack.plain:
            return self.honest
        key = repr(sorted(attack.plain.items()))
        if key not in self.known:
            self.known[key] = self.scores(Attack("without", others=attack.plain))
        return self.known[key]

    def won(self, attack: Attack, *, beside: bool = True) -> list[str]:
        """Where the attack came to anything but the honest wrong answer's grade, or changed a neighbour's.

        With ``beside`` the neighbour is graded at the same time, else afterwards, once for all: ``neighbours_suffer``.
        """
        if beside:
            with ThreadPoolExecutor(1) as pool:
                neighbour = pool.submit(self.neighbours_suffer)
                return self._gained(attack) + neighbour.result()
        return self._gained(attack)

    def neighbours_suffer(self) -> list[str]:
        """What an honest right answer lost."""
        found = self.scores(Attack("right", answer=RIGHT))
        return [] if found == self.neighbour else [f"the neighbour has {found}"]

    def _gained(self, attack: Attack) -> list[str]:
        found, said = self.scores(attack), []
        for name, honest in self.without(attack).items():
            same = found[name] <= honest if name in attack.hurts else found[name] == honest
            said += [] if same else [f"{name}: {found[name]:g} instead of {honest:g}"]
        return said


@contextmanager
def attacked(root: Path) -> Iterator[Field]:
    """The lab, built below ``root`` and ready to grade."""
    course = load_course(write_course(root))
    built = build(course.lab(STEM), root / "labs" / STEM)
    with Session(course, STEM, limits=TIGHT) as session:
        yield Field(course, session, built.student, built.solution)
