"""``course.toml``, read and checked: every mistake is named with its line, what was found and what to write."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from mlsys_course.desk.points import BONUS

from ..errors import CourseError
from .editions import components
from .late import LatePolicy
from .lines import Lines

STEM = re.compile(r"lab(\d\d)_([a-z][a-z0-9_]*)")
TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")
KEYS = ("name", "term", "starts", "timezone", "bonus", "late", "labs")
LAB_KEYS = ("component", "points", "due", "withholds")
LATE_KEYS = ("grace_minutes", "percent_a_day", "closes_after_days")
EXAMPLES = {
    "name": 'name = "Machine Learning Systems"',
    "term": 'term = "2027-spring"',
    "starts": "starts = 2027-01-18",
    "timezone": 'timezone = "Europe/Berlin"',
}
EXAMPLE_LAB = 'lab02_attention = { component = "attention", points = 100, due = 2027-02-15T23:59:00 }'


@dataclass(frozen=True)
class LabPlan:
    """One lab's line. ``due`` has a zone; ``withholds`` is None where the line leaves it to the rule."""

    stem: str
    component: str
    points: float | None  # without extensions
    bonus: float  # the most that extensions add
    due: datetime | None
    withholds: tuple[str, ...] | None
    where: str  # file and line


@dataclass(frozen=True)
class Plan:
    """A term as ``course.toml`` states it; labs are in the order of their numbers."""

    path: Path
    name: str
    term: str
    starts: date
    zone: ZoneInfo
    late: LatePolicy
    labs: Mapping[str, LabPlan]


def read_plan(path: Path, text: str | None = None) -> Plan:
    """The plan in a file, or in ``text`` that is to become that file. CourseError names the first mistake."""
    if text is None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise CourseError(f"{path} cannot be read ({error}); restore it, in UTF-8") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path}: {error}; correct that line") from None
    return _Reader(Lines(path, text), table).plan()


class _Reader:
    """The checks, in the order in which a person reads the file."""

    def __init__(self, lines: Lines, table: dict[str, Any]):
        self.lines, self.table = lines, table

    def plan(self) -> Plan:
        self._only_known(self.table, KEYS)
        name, term = self._of("name", str), self._of("term", str)
        if not TERM.fullmatch(term):
            raise self.lines.error(f"term = {term!r} cannot name a term; write {EXAMPLES['term']}", "term")
        self.zone = self._zone()
        self.starts = self._of("starts", date)
        if isinstance(self.starts, datetime):
            raise self.lines.error(f"starts has a time of day; a date is enough: {EXAMPLES['starts']}", "starts")
        self.bonus = self.table.get("bonus", BONUS)
        if not _is_number(self.bonus) or self.bonus < 0:
            said = f"bonus = {self.bonus!r}; write the most points that a lab's extensions add, such as bonus = 20"
            raise self.lines.error(said, "bonus")
        return Plan(self.lines.path, name, term, self.starts, self.zone, self._late(), self._labs())

    def _only_known(self, table: Mapping[str, Any], keys: tuple[str, ...], *path: str) -> None:
        for key in table:
            if key not in keys:
                raise self.lines.error(f"{key!r} is not known here; known are {', '.join(keys)}", *path, key)

    def _of(self, key: str, kind: type) -> Any:
        value = self.table.get(key)
        if not isinstance(value, kind) or value == "":
            found = "is missing" if value is None else f"= {value!r} does not fit"
            raise self.lines.error(f"{key} {found}; write {EXAMPLES[key]}", key)
        return value

    def _zone(self) -> ZoneInfo:
        name = self._of("timezone", str)
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            said = f"timezone = {name!r} is not in the IANA database; write {EXAMPLES['timezone']}"
            raise self.lines.error(said, "timezone") from None

    def _late(self) -> LatePolicy:
        table = self.table.get("late", {})
        if not isinstance(table, dict):
            raise self.lines.error("late is a table: write [late] and percent_a_day = 10 below it", "late")
        self._only_known(table, LATE_KEYS, "late")
        for key, value in table.items():
            most = 100 if key == "percent_a_day" else 10**6
            if not _is_number(value) or not 0 <= value <= most:
                raise self.lines.error(f"{key} = {value!r}; write a number from 0 to {most}", "late", key)
        return LatePolicy(**table)

    def _labs(self) -> dict[str, LabPlan]:
        labs = self.table.get("labs")
        if not isinstance(labs, dict) or not labs:
            raise self.lines.error(f"[labs] must hold lines such as {EXAMPLE_LAB}", "labs")
        self.components = components()
        plans: dict[str, LabPlan] = {}
        for stem, lab in labs.items():
            self._order(stem, list(plans))
            plans[stem] = self._lab(stem, lab)
        taught = [plan.component for plan in plans.values()]
        for stem, plan in plans.items():
            if taught.index(plan.component) != list(plans).index(stem):
                raise self.lines.error(f"component {plan.component!r} is an earlier lab's", "labs", stem, "component")
            self._withholds(plan, {*taught, *self.components})
        return plans

    def _order(self, stem: str, before: list[str]) -> None:
        if not (match := STEM.fullmatch(stem)):
            raise self.lines.error(f"{stem!r} is no lab's name; write such as {EXAMPLE_LAB}", "labs", stem)
        last = before[-1] if before else ""
        if last.split("_")[0] == stem.split("_")[0]:
            raise self.lines.error(f"lab {match[1]} stands here twice, as {last} too; keep one", "labs", stem)
        if last > stem:
            said = f"{stem} stands after {last}; labs build on each other in the order of their numbers: move it up"
            raise self.lines.error(said, "labs", stem)

    def _lab(self, stem: str, lab: Any) -> LabPlan:
        topic = stem.split("_", 1)[1]
        if not isinstance(lab, dict) or "component" not in lab:
            raise self.lines.error(f"{stem} needs a component; write such as {EXAMPLE_LAB}", "labs", stem)
        self._only_known(lab, LAB_KEYS, "labs", stem)
        component = lab["component"]
        if component != topic and component not in self.components:
            known = ", ".join(sorted(self.components))
            said = f'component = {component!r} is not in mlsys_course, which has {known}; write component = "{topic}"'
            raise self.lines.error(said, "labs", stem, "component")
        points = lab.get("points")
        if points is not None and (not _is_number(points) or points <= 0):
            said = f"points = {points!r}; write what all but extensions add up to, such as points = 100"
            raise self.lines.error(said, "labs", stem, "points")
        withholds = lab.get("withholds")
        where = f"{self.lines.path}:{self.lines.of('labs', stem, 'points')}"
        due = self._due(stem, lab["due"]) if "due" in lab else None
        listed = None if withholds is None else self._list(stem, withholds)
        return LabPlan(stem, component, points, self.bonus, due, listed, where)

    def _list(self, stem: str, names: Any) -> tuple[str, ...]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            said = f'withholds = {names!r}; write a list of components, such as ["attention", "transformer"]'
            raise self.lines.error(said, "labs", stem, "withholds")
        return tuple(names)

    def _withholds(self, plan: LabPlan, known: set[str]) -> None:
        for name in plan.withholds or ():
            if name not in known:
                said = f"withholds {name!r}, which is no component; known are {', '.join(sorted(known))}"
                raise self.lines.error(said, "labs", plan.stem, "withholds")
        if plan.withholds is not None and plan.component not in plan.withholds:
            said = f"{plan.stem} asks for {plan.component!r} and does not withhold it: students would get the answer"
            raise self.lines.error(f'{said}; write "{plan.component}" into withholds', "labs", plan.stem, "withholds")

    def _due(self, stem: str, value: Any) -> datetime:
        path = ("labs", stem, "due")
        if not isinstance(value, datetime):
            said = f"due = {value!s} is no day and time; write such as due = 2027-02-15T23:59:00, without quotes"
            raise self.lines.error(said, *path)
        due = value if value.tzinfo else value.replace(tzinfo=self.zone)
        if value.tzinfo is None and not exists(value, self.zone):
            said = f"due = {value.isoformat()} is skipped in {self.zone.key}, where clocks go forward; choose another"
            raise self.lines.error(f"{said} time", *path)
        if due < datetime.combine(self.starts, datetime.min.time(), self.zone):
            said = f"{stem} is due on {due:%Y-%m-%d}, before the term starts on {self.starts}; correct one of them"
            raise self.lines.error(said, *path)
        return due


def exists(local: datetime, zone: ZoneInfo) -> bool:
    """Whether a clock in ``zone`` ever shows this time."""
    there = local.replace(tzinfo=zone)
    return there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
