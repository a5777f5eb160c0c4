"""What points add up to. Extensions are a bonus: they add points, up to a bound, and none to what there is to earn."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .workspace import DeskError

NAME = "points.json"
BONUS = 20.0  # the most that a lab's extensions add, where course.toml does not say


@dataclass(frozen=True)
class LabPoints:
    """A lab's exercises, choices and questions in the notebook's order: each one's kind and the points it is worth.

    ``bonus`` is the most that extensions add to the rest.
    """

    kinds: Mapping[str, str]
    worth: Mapping[str, float]
    bonus: float = BONUS

    @property
    def most(self) -> float:
        """What there is to earn, without the bonus."""
        return sum(worth for name, worth in self.worth.items() if self.kinds[name] != "extension")

    def counted(self, scores: Mapping[str, float]) -> dict[str, tuple[float, float]]:
        """By exercise what its score adds, and to how many points: an extension to none, as long as there is bonus."""
        left, found = self.bonus, {}
        for name, kind in self.kinds.items():
            score = scores.get(name, 0.0)
            if kind == "extension":
                found[name] = (min(score, left), 0.0)
                left -= found[name][0]
            else:
                found[name] = (score, self.worth[name])
        return found

    def to_bytes(self) -> bytes:
        """The file of a built lab."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def read_points(folder: Path) -> LabPoints:
    """A built lab's points; DeskError where its file is not as it was handed out."""
    path = folder / NAME
    try:
        return LabPoints(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise DeskError(f"{path} is missing or damaged; copy it from the lab as you received it") from None


def counted_at(folder: Path, points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """``counted`` for a lab's folder; nothing where nothing is known, and all alike in a release without the file."""
    if not points or not (folder / NAME).exists():
        return dict(points)
    return read_points(folder).counted({name: score for name, (score, _) in points.items()})


def total(counted: Mapping[str, tuple[float, float]]) -> str:
    """The sum in words: ``112 of 100 points, 20 of them bonus``."""
    score, most = (sum(column) for column in zip(*counted.values(), strict=True)) if counted else (0.0, 0.0)
    bonus = sum(score for score, worth in counted.values() if not worth)
    return f"{score:g} of {most:g} points" + (f", {bonus:g} of them bonus" if bonus else "")
