"""What one call of a candidate came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...substrate.ranks.shared.traffic import Action
from .families import words
from .tree import Tree

NOT_WRITTEN = "not written yet"
TWO_DEVICES = "made a tensor on another device than that of its inputs"


@dataclass(frozen=True)
class Outcome:
    """What one call of a candidate came to: its outputs, or the problem that kept it from having any.

    ``problem`` is one of "", "raised", "type", "device", "modified", "forbidden", "timeout", "memory",
    "crashed", "missing", "deadlock", "alone"; ``detail`` says more, ``line`` is (file name, line number) in the
    student's code.
    """

    outputs: Tree = None
    problem: str = ""
    detail: str = ""
    line: tuple[str, int] | None = None
    trace: Sequence[tuple[int, int, str, str]] = ()  # of a public case: the student's own lines, outermost first
    beside: str = ""  # of a public case: what helps to understand an error
    seconds: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)  # measured by the trusted side, never told by a candidate
    seen: Sequence[Sequence[Action]] = ()  # by rank, in its order: messages and calls of parts, by the trusted side

    @property
    def words(self) -> str:
        """The problem as a student reads it."""
        said = {
            "raised": f"raised {self.detail}",
            "type": f"returned {self.detail}",
            "device": self.detail,
            "modified": f"modified its input {self.detail}; work on a copy",
            "forbidden": words(self.detail),
            "timeout": "took too long" + (f": {self.detail}" if self.detail else ""),
            "memory": "used too much memory",
            "crashed": "ended the process" + (f": {self.detail}" if self.detail else ""),
            "missing": f"is {self.detail}" if self.detail == NOT_WRITTEN else f"is not there: {self.detail}",
            "deadlock": f"waits forever: {self.detail}",
            "alone": f"came to something else when {self.detail} ran again alone, with the same inputs and messages",
        }
        return said.get(self.problem, self.problem)
