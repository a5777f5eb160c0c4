"""A small made-up freeze: one exercise, two rooms of tests; and lines of a map."""

import json

from .renames import read_renames

PATH = "lab00/softmax"
CAUGHT = {"score": 1.0, "of": 4.0, "named": ["no shift"], "fails": ["large", "rows"]}
FACTS = {
    "kind": "core",
    "max_score": 4.0,
    "points": {"values": 1.0, "stability": 3.0},
    "public": {"small": "values"},
    "sealed": {"small": "values", "large": "stability", "rows": "stability"},
    "misconceptions": {"no shift": {"sealed": CAUGHT}},
}
FROZEN = {PATH: FACTS}
NONE = read_renames("")
ROOMS = {"grade": {"assertions": 20, "tests": 9}, "release": {"assertions": 5, "tests": 3}}
SIDE = {"exercises": FROZEN, "rooms": ROOMS}


def entry(table: str, old: str, new: object) -> str:
    """A table of a map with one line."""
    return f'[{table}]\n"{old}" = {{ new = {json.dumps(new)}, reason = "clearer" }}\n'
