"""The table of the notes' figures in docs/accounting.md: every call gives what its row says."""

import re
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "accounting.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (?P<note>[^|]*) \| `(?P<call>[^`]+)` \| (?P<gives>-?[\d,.]+) \| (?P<remark>[^|]*)\|$", re.MULTILINE
)
ROWS = [match.groupdict() for match in ROW.finditer(TEXT)]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's own block imports and defines."""
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    return found


def digits(shown: str) -> int:
    """How many stand behind the point."""
    return len(shown.partition(".")[2])


@pytest.mark.parametrize("row", ROWS, ids=[f"{n} {row['note'].strip()}" for n, row in enumerate(ROWS)])
def test_the_call_gives_what_the_row_says(row: dict[str, str], names: dict[str, Any]) -> None:
    found = eval(row["call"], names)
    assert f"{found:,.{digits(row['gives'])}f}" == row["gives"]


def test_every_row_of_the_notes_is_checked() -> None:
    """A row that the pattern misses would be checked by nobody."""
    section = TEXT.partition("## The notes' tables and figures")[2]
    calls = [line for line in section.splitlines() if line.startswith("|") and "`" in line]
    assert len(calls) == len(ROWS) >= 80


@pytest.mark.parametrize("note", ["000 and 001", "002", "003", "004"])
def test_every_note_has_its_section(note: str) -> None:
    assert re.search(rf"^### Notes? {note}:", TEXT, re.MULTILINE)
