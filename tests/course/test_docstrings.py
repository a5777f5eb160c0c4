"""Docstrings that name a lab's exercise name one that there is."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LABS = tomllib.loads((ROOT / "course.toml").read_text())["labs"]
NAMED = re.compile(r"Lab\s+(\d+)((?:,|\s+and)\s+(?:exercise|extension)s?\s+(?:``\w+``(?:\s*(?:,|and)\s+)?)+)+")


def exercises(lab: int) -> set[str]:
    """What a lab's source asks for, by name."""
    sources = (ROOT / "solutions").glob(f"lab{lab:02}_*/lab*.py")
    return {name for source in sources for name in re.findall(r'^# %% exercise="(\w+)"', source.read_text(), re.M)}


ROOMS = [lab["component"] for lab in LABS.values() if (ROOT / "mlsys_course" / lab["component"]).exists()]


@pytest.mark.parametrize("room", ROOMS)
def test_every_exercise_that_a_docstring_names_is_in_its_lab(room):
    missing, seen = [], 0
    for path in sorted((ROOT / "mlsys_course" / room).rglob("*.py")):
        for found in NAMED.finditer(path.read_text()):
            there = exercises(int(found[1]))
            for name in re.findall(r"``(\w+)``", found[0]) if there else []:
                seen += 1
                missing += [] if name in there else [f"{path.name}: lab {found[1]} has no exercise {name}"]
    assert not missing and seen
