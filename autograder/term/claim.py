"""Whose term a course folder's gradebook is: students and labs have the same names next term."""

from pathlib import Path

from ..errors import CourseError

MARK = Path(".mlsys") / "term"


def claim(folder: Path, term: str) -> None:
    """Mark a course folder as a term's; CourseError where it is another's, whose grades would be overwritten."""
    found = whose(folder)
    if not found:
        mark = folder / MARK
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(f"{term}\n", encoding="utf-8")
    elif found != term:
        raise CourseError(
            f"the gradebook in {folder.resolve()} is of term {found!r}, and this is {term!r}; name a folder for this "
            f"term with --into, or say --term {found}"
        )


def whose(folder: Path) -> str:
    """The term that a course folder was marked as; empty where it was not."""
    try:
        return (folder / MARK).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
