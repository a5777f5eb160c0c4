"""What the name of a file says: which lab it is, and what a learning platform put before it."""

import difflib
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from mlsys_course.desk.receipt import check_student
from mlsys_course.desk.workspace import DeskError

LONGEST = 255  # characters of a file's name, as file systems have it
NOTEBOOK = re.compile(r"lab\d\d_\w{1,60}\.ipynb", re.ASCII)
COPIES = re.compile(r"^copy of |[ _-]*copy ?\d*$| ?\(\d+\)$|[ -]\d{1,2}$", re.IGNORECASE)
PLATFORMS = [  # first what names most: Moodle, Blackboard, Canvas and its like, Sakai, Brightspace
    re.compile(r"(?P<person>(?P<name>.+?)_\d+)_assignsubmission_[a-z]+_?(?P<file>.*)"),
    re.compile(r".+?_(?P<person>(?P<name>[^_]+))_attempt_\d{4}(?:-\d\d){2,5}(?:_(?P<file>.*)|\.[a-z.]+)?"),
    re.compile(r"(?P<person>(?P<name>[^\W\d_][^\d_]*)(?:_(?i:late))?_(?:\d{3,}|\d+(?=_\d)))(?:_\d+)*_(?P<file>.+)"),
    re.compile(r"(?P<person>(?P<name>[^\W\d_][^_]*,[^_]*))_(?P<file>.+)"),
    re.compile(r"(?P<person>[^()]+\((?P<name>[\w.@-]+)\))(?P<file>)"),
    re.compile(r"(?P<person>\d+-\d+ - (?P<name>.+?)) - [^-]+?(?: - (?P<file>.+))?"),
]
PERSON = re.compile(r"[^\W\d_](?:[\w'\u2019\u02bc ,.\-]*\S)?")
SORTING = re.compile(  # folders that sort hand-ins by something else than whose they are
    r"(?:(?:lab|week|wk|homework|hw|assignment|exercise|sheet|task|unit|module|session|day|part|round|batch|section|"
    r"group|team|tutorial|class|late|on.?time|early|all|inbox|submissions?|submitted|uploads?|downloads?|hand.?ins?|"
    r"zips?|files?|notebooks?|canvas|moodle|blackboard)[ _-]?[a-z]?\d{0,4}|lab\d\d_.+|\d{4}-\d\d?-\d\d?.*)",
    re.IGNORECASE,
)


def lab_of(name: str, labs: Collection[str]) -> str:
    """The lab whose notebook this is, however it was copied or renamed on its way; empty where none is.

    Without a syllabus (``labs`` is empty) only an exact name counts.
    """
    if not name.lower().endswith(".ipynb") or len(name) > LONGEST:
        return ""
    if not labs:
        return name[: -len(".ipynb")] if NOTEBOOK.fullmatch(name) else ""
    return {_plain(stem): stem for stem in labs}.get(_plain(_unnumbered(name)), "")


def no_lab(name: str, labs: Collection[str]) -> str:
    """Why a notebook's name is no lab's, and which may be meant."""
    if len(name) > LONGEST:
        return f"its name has {len(name):,} characters; give it the lab's name"
    plain = {_plain(stem): stem for stem in labs}
    wanted = _plain(_unnumbered(name))
    number = re.search(r"lab_?0*(\d+)|^0*(\d+)(?=_|$)", wanted)
    close = [stem for text, stem in plain.items() if number and text.startswith(f"lab{int(number[1] or number[2]):02}")]
    close = close or [plain[text] for text in difflib.get_close_matches(wanted, plain, n=1)]
    there = f"there are {', '.join(labs)}" if labs else "one is lab02_attention"
    meant = f"did you mean {close[0]}?" if close else there
    return f"its name is no lab's of the syllabus ({meant}); give it the lab's name"


def _unnumbered(name: str) -> str:
    """Without what browsers, JupyterLab, Colab and platforms add to a name that is there already."""
    stem, before = name[: -len(".ipynb")].strip(), ""
    while stem != before:
        before, stem = stem, COPIES.sub("", stem).strip()
    return stem


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.casefold())


@dataclass(frozen=True)
class Claim:
    """Whose a file is by where it lies: ``person`` as platform or folder says it, and the student id made of that."""

    person: str = ""
    student: str = ""
    certain: bool = False  # a platform says so; a folder may have any name


NOBODY = Claim()


def claim_of(folders: Collection[str], file: str, labs: Collection[str]) -> Claim:
    """The first folder that is not there to sort by something else, or what a platform put before the file's name."""
    for folder in folders:
        if said := platform_name(folder):
            return said[0]
        if not (SORTING.fullmatch(folder) or lab_of(f"{folder}.ipynb", labs)):
            return Claim(folder, student_id(folder))
    said = platform_name(file)
    return said[0] if said else NOBODY


def platform_name(name: str) -> tuple[Claim, str] | None:
    """Whose a file or folder is by a platform's name for it, and what the student called it; None for other names.

    A student may call a file as another platform would, with another's name in it: where two platforms' names say two
    persons, nobody is certain, and it is by the whole name that a person has to look for its owner.
    """
    found = [match for pattern in PLATFORMS if len(name) <= LONGEST and (match := pattern.fullmatch(name))]
    if not found:
        return None
    first = found[0]
    if len({match["name"].casefold() for match in found}) > 1:
        return Claim(name), first["file"] or name
    person = re.sub(r"_late(?=_\d+$)", "", first["person"], flags=re.IGNORECASE)
    return Claim(person, student_id(first["name"]), certain=True), first["file"] or name


def student_id(name: str) -> str:
    """A person's name as a student id: ``Doe, Jane`` and ``O'Neil`` have signs that ids lack; empty where none is."""
    for text in (name, _ascii(name) if len(name) <= LONGEST and PERSON.fullmatch(name) else ""):
        try:
            return check_student(text)
        except DeskError:
            continue
    return ""


def _ascii(name: str) -> str:
    """Accents taken off (a letter stays the letter it is: none that only looks like another)."""
    letters = (c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    return " ".join("".join(" " if c == "," else c for c in letters if c not in "'\u2019\u02bc").split()).rstrip(".")
