"""What of a freeze is lost: missing now, or told apart less well. What is new is nobody's loss."""

from collections import Counter
from collections.abc import Iterator, Mapping

from .renames import Renames

ADVICE = (
    "Bring it back. If it was renamed or merged on purpose, say so in tests/freeze/renames.toml, with a reason. "
    "To give it up, call `python -m tests.freeze --replace` and say why in the commit."
)


def lost_exercises(frozen: Mapping, now: Mapping, renames: Renames) -> list[str]:
    """One line for each thing lost of the frozen exercises; ``now`` has at least those that they became."""
    lost = []
    for path, was in frozen.items():
        places = renames.places(path, now)
        if absent := [place for place in places if place not in now]:
            lost.append(f"{path}: renames.toml sends it to {absent[0]!r}, which is missing")
        elif not places:
            lost.append(f"{path}: the exercise is missing")
        else:
            became = [now[place] for place in places]
            found = [*lost_facts(path, was, became, renames), *lost_misconceptions(path, was, became, renames)]
            lost += [f"{path}: {said}" for said in found]
    return lost + list(lost_points(frozen, now, renames))


def lost_facts(path: str, was: Mapping, became: list[Mapping], renames: Renames) -> Iterator[str]:
    """Its kind, and its cases with what they decide."""
    for kind in {one["kind"] for one in became} - {was["kind"]}:
        yield f"is {kind}, was {was['kind']}"
    for where in ("public", "sealed"):
        cases = {case: aspect for one in became for case, aspect in one[where].items()}
        for case, aspect in was[where].items():
            for name in renames.names("cases", path, case):
                if name not in cases:
                    yield f"{where} case {_now(case, name)} is missing"
                elif cases[name] not in renames.names("aspects", path, aspect):
                    yield f"{where} case {_now(case, name)} decides {cases[name]!r}, decided {aspect!r}"


def lost_misconceptions(path: str, was: Mapping, became: list[Mapping], renames: Renames) -> Iterator[str]:
    """Misconceptions that are missing, or caught less surely than they were."""
    for mistake, verdicts in was["misconceptions"].items():
        names = renames.names("misconceptions", path, mistake)
        held = [one["misconceptions"][name] for one in became for name in names if name in one["misconceptions"]]
        for name in names:
            if not any(name in one["misconceptions"] for one in became):
                yield f"misconception {_now(mistake, name)} is missing"
        for where, verdict in verdicts.items() if held else ():
            for said in weaker(path, verdict, [one[where] for one in held], renames):
                yield f"on {where} cases misconception {mistake!r} {said}"


def weaker(path: str, was: Mapping, now: list[Mapping], renames: Renames) -> Iterator[str]:
    """In what a verdict is weaker than it was; of what was split, the verdicts on all parts count together."""
    loses, lost = sum(v["of"] - v["score"] for v in now), was["of"] - was["score"]
    if loses < lost:
        yield f"loses {loses:g} points, lost {lost:g}"
    first, named = {v["named"][0] for v in now if v["named"]}, {name for v in now for name in v["named"]}
    for place, mistake in enumerate(was["named"]):
        for name in renames.names("misconceptions", path, mistake):
            if name not in (named if place else first):
                yield f"is not named {_now(mistake, name)}; recognised is {sorted(named) or 'nothing'}"
    fails = {case for v in now for case in v["fails"]}
    for case in was["fails"]:
        if not fails.intersection(renames.names("cases", path, case)):
            yield f"passes {case!r}, which it failed"


def lost_points(frozen: Mapping, now: Mapping, renames: Renames) -> Iterator[str]:
    """Aspects that earn less. Those that were merged add up, and so do those that one was split into."""
    needed: Counter = Counter()
    for path, was in frozen.items():
        places = tuple(place for place in renames.places(path, now) if place in now)
        for aspect, points in was["points"].items() if places else ():
            needed[places, renames.names("aspects", path, aspect)] += points
    for (places, aspects), points in needed.items():
        found = sum(now[place]["points"].get(aspect, 0) for place in places for aspect in aspects)
        if found < points:
            yield f"{', '.join(places)}: {' and '.join(map(repr, aspects))} earns {found:g} points, earned {points:g}"


def lost_assertions(frozen: Mapping, now: Mapping, renames: Renames) -> list[str]:
    """Rooms that assert less than they did, and than others moved there."""
    lost, needed = [], Counter()
    for room, was in frozen.items():
        entry = renames.entry("rooms", room)
        rest = was["assertions"] - sum(entry.moved.values()) - entry.merged
        if rest < 0:
            lost.append(f"tests/{room}: renames.toml takes away {-rest} assertions more than were there")
        needed.update(entry.moved)
        needed[(entry.new or (room,))[0]] += rest
    for room, needs in needed.items():
        if (found := now.get(room, {}).get("assertions", 0)) < needs:
            lost.append(f"tests/{room}: {found} assertions, needs {needs}")
    return lost


def unmatched(renames: Renames, frozen: Mapping, now: Mapping) -> list[str]:
    """Entries of the map that match nothing; both sides as ``{"exercises": ..., "rooms": ...}``."""
    lost = []
    for table, entries in renames.tables.items():
        before, after = names_in(table, frozen), names_in(table, now)
        for old, entry in entries.items():
            if old not in before:
                lost.append(f"renames.toml, [{table}] {old!r}: the freeze has no such name")
            elif table in ("labs", "exercises", "rooms"):  # inside an exercise, its comparison says so
                gone = [name for name in (*entry.new, *entry.moved) if name not in after]
                lost += [f"renames.toml, [{table}] {old!r}: there is no {name!r} now" for name in gone]
    return lost


def names_in(table: str, side: Mapping) -> set[str]:
    """The paths that a table of the map may speak of."""
    exercises = side["exercises"]
    if table == "labs":
        return {path.split("/")[0] for path in exercises}
    if table in ("exercises", "rooms"):
        return set(side[table])
    parts = {"aspects": ("points",), "cases": ("public", "sealed"), "misconceptions": ("misconceptions",)}[table]
    return {f"{path}/{name}" for path, facts in exercises.items() for part in parts for name in facts[part]}


def names_only(exercises: Mapping) -> dict:
    """Frozen exercises without their verdicts, to compare with what is found without running anything."""
    return {
        path: {**facts, "misconceptions": {name: {} for name in facts["misconceptions"]}}
        for path, facts in exercises.items()
    }


def report(lost: list[str]) -> str:
    """What a person reads: each loss, and what to do."""
    return "\n".join([f"{len(lost)} lost since the freeze:", *(f"  {line}" for line in lost), ADVICE])


def _now(old: str, name: str) -> str:
    return repr(old) if old == name else f"{old!r} (now {name!r})"
