"""Every file of an inbox accounted for: it is a hand-in, or part of one, or there is a reason why it is none."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlsys_course.desk.receipt import NAME, PART
from mlsys_course.substrate.errors import CourseProblem

from .archive import Member, ParcelError, archive_members, folder_members, is_archive
from .names import NOBODY, Claim, claim_of, lab_of, no_lab, platform_name
from .parcel import MOST_BYTES, Parcel, assembled, is_dropping, parcel_of

DEEPEST = 3  # archives in archives
NOTES = (".txt",)  # what staff and platforms lay beside hand-ins
PACKED = (".7z", ".rar", ".gz", ".bz2", ".xz", ".tbz", ".txz", ".zst")


@dataclass(frozen=True)
class Found:
    """A file of the inbox, where it lies, and whose it is by that. Either a parcel, or why it is none."""

    file: str
    claim: Claim = NOBODY
    modified: float = 0.0
    parcel: Parcel | None = None
    why: str = ""

    @property
    def is_stray(self) -> bool:
        """Whether its kind alone says that nobody meant to hand it in; a notebook saved as text is one that was."""
        name = self.file.lower()
        return self.parcel is None and name.endswith(NOTES) and ".ipynb" not in name.rpartition("/")[2]


def found_in(folder: Path, labs: Collection[str]) -> Iterator[Found]:
    """What lies in a folder and in the archives there."""
    yield from _looked_through(folder_members(folder), "", NOBODY, labs, 0)


def _looked_through(
    members: Sequence[Member], place: str, outer: Claim, labs: Collection[str], depth: int
) -> Iterator[Found]:
    """``place``: the archive that they lie in; what it lies in itself says more of whose they are."""
    by_name = {member.name: member for member in members if not is_dropping(member.name)}
    # Beside what a platform has named, an archive that it has not is no download of its own: names in it are anybody's.
    named = not place and any(platform_name(part) for name in by_name for part in name.split("/"))
    used: set[str] = set()
    beside: dict[str, list[str]] = defaultdict(list)
    for name in by_name:
        if name.lower().endswith(".ipynb"):
            beside[name.rpartition("/")[0]].append(name)
    for notebooks in beside.values():
        for name in notebooks:
            used.add(name)
            found, taken = _notebook(name, by_name, labs, alone=len(notebooks) == 1)
            used |= taken
            yield _told(by_name[name], place, outer, labs, found)
    for name, member in by_name.items():
        if is_archive(name):
            used.add(name)
            whose = Claim(name) if named and _claim(name, labs) == NOBODY else outer
            yield from _archive(member, place, whose, labs, depth)
    for name in sorted(by_name.keys() - used):
        yield _told(by_name[name], place, outer, labs, _no_hand_in(name))


def _notebook(
    name: str, by_name: dict[str, Member], labs: Collection[str], *, alone: bool
) -> tuple[Parcel | str, set[str]]:
    """The parcel of a bare notebook, or why it is none; and what beside it is part of it."""
    folder, slash, file = name.rpartition("/")
    said = platform_name(file)
    own = said[1] if said else file
    lab = lab_of(own, labs)
    if not lab:
        return no_lab(own, labs), set()
    within = {other.removeprefix(folder + slash): member for other, member in by_name.items() if _in(other, folder)}
    parts = {n: m for n, m in within.items() if n.startswith("my_mlsys/") and PART.fullmatch(n[len("my_mlsys/") :])}
    entries = {f"{lab}.ipynb": by_name[name], **parts}
    if alone and NAME in within:
        entries[NAME] = within[NAME]
    taken = {folder + slash + other for other in entries if other in within} - {name}
    try:
        return assembled(f"{lab}.ipynb", entries, [], "" if file == f"{lab}.ipynb" else file, labs), taken
    except (CourseProblem, OSError) as error:
        return str(error), taken


def _in(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/") if folder else True


def _archive(member: Member, place: str, outer: Claim, labs: Collection[str], depth: int) -> Iterator[Found]:
    """An archive: one hand-in, or several things, each looked at as if it lay in a folder of the archive's name."""
    try:
        if not member.fit:
            raise ParcelError("it is no plain file, or packed in a way that is not unpacked")
        if depth == DEEPEST:
            raise ParcelError(f"it lies in {DEEPEST} archives, one in the other; unpack it by hand")
        with archive_members(member, MOST_BYTES) as inner:
            if _is_bundle(inner):
                claim = outer if outer != NOBODY else _claim(member.name, labs)
                yield from _looked_through(inner, f"{place}{member.name}/", claim, labs, depth + 1)
                return
            size = member.path.stat().st_size if member.path else 0
            found: Parcel | str = parcel_of(inner, labs, size=size)
    except (CourseProblem, OSError) as error:
        found = str(error)
    yield _told(member, place, outer, labs, found)


def _is_bundle(members: Sequence[Member]) -> bool:
    """Whether an archive holds more than one hand-in: archives, files that a platform named, or folders of students."""
    own = [member.name for member in members if not is_dropping(member.name)]
    notebooks = [name for name in own if name.lower().endswith(".ipynb")]
    if any("/" not in name and not platform_name(name) for name in notebooks):
        return False
    named = any(platform_name(part) for name in own for part in name.split("/"))
    return named or any(map(is_archive, own)) or len({name.rpartition("/")[0] for name in notebooks}) > 1


def _told(member: Member, place: str, outer: Claim, labs: Collection[str], found: Parcel | str) -> Found:
    claim = outer if outer != NOBODY else _claim(member.name, labs)
    if place and not claim.certain and claim != outer:  # a folder in an archive has the name that its packer gave it
        claim = replace(claim, student="")
    parcel, why = (None, found) if isinstance(found, str) else (found, "")
    return Found(place + member.name, claim, member.modified or 0.0, parcel, why)


def _claim(name: str, labs: Collection[str]) -> Claim:
    *folders, file = name.split("/")
    return claim_of(folders, file, labs)


def _no_hand_in(name: str) -> str:
    if name.lower().endswith(PACKED):
        return "such archives are not opened; unpack it by hand, or ask for the zip of `mlsys submit`"
    if name.rpartition("/")[2] == NAME:
        return "it is a receipt without the one notebook that it is of"
    return "it is no notebook, and no archive of one"
