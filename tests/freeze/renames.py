"""What was renamed or merged on purpose: ``renames.toml``, whose head says how it is written."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

RENAMES = "renames.toml"
TABLES = ("labs", "exercises", "aspects", "cases", "misconceptions", "rooms")
FIELDS = {"new", "moved", "merged", "reason"}


@dataclass(frozen=True)
class Entry:
    """One line of the map; ``moved`` and ``merged`` are assertions of a room."""

    new: tuple[str, ...] = ()
    moved: Mapping[str, int] = field(default_factory=dict)
    merged: int = 0


@dataclass(frozen=True)
class Renames:
    """Entries by table and frozen path."""

    tables: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)

    def entry(self, table: str, path: str) -> Entry:
        """What is said of a frozen thing; an empty entry where nothing is."""
        return self.tables.get(table, {}).get(path, Entry())

    def names(self, table: str, exercise: str, name: str) -> tuple[str, ...]:
        """What an aspect, case or misconception of a frozen exercise is called now."""
        return self.entry(table, f"{exercise}/{name}").new or (name,)

    def places(self, exercise: str, now: Mapping) -> tuple[str, ...]:
        """The paths of a frozen exercise now: those given for it, or those found where its lab went."""
        lab, name = exercise.split("/")
        moved = [f"{new}/{name}" for new in self.entry("labs", lab).new or (lab,)]
        return self.entry("exercises", exercise).new or tuple(path for path in moved if path in now)


def read_renames(text: str) -> Renames:
    """The map; an unknown table or field, or a missing reason, is a ``ValueError``."""
    tables = tomllib.loads(text)
    if unknown := sorted(set(tables) - set(TABLES)):
        raise ValueError(f"renames.toml has [{unknown[0]}]; there are {', '.join(TABLES)}")
    return Renames({t: {old: _entry(t, old, said) for old, said in lines.items()} for t, lines in tables.items()})


def _entry(table: str, old: str, said: dict) -> Entry:
    place = f"renames.toml, [{table}] {old!r}"
    if not str(said.get("reason", "")).strip():
        raise ValueError(f"{place} has no reason; say why in `reason`")
    if unknown := sorted(set(said) - (FIELDS if table == "rooms" else {"new", "reason"})):
        raise ValueError(f"{place} has {unknown[0]!r}, which nothing reads")
    new = said.get("new", ())
    new = (new,) if isinstance(new, str) else tuple(new)
    if not new and table != "rooms":
        raise ValueError(f"{place} has no `new`; say what it is called now")
    if table == "rooms" and len(new) > 1:
        raise ValueError(f"{place} has several `new` rooms; say how many assertions each got in `moved`")
    return Entry(new, said.get("moved", {}), said.get("merged", 0))


def emptied(text: str) -> str:
    """The head of the map, without its entries."""
    lines = text.splitlines(keepends=True)
    body = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:body])
