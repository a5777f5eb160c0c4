"""Whose a hand-in is. A receipt's name is what its sender typed; a folder's is what a platform or staff know.

So a receipt says it where nothing else does, and where both agree. Where they differ a receipt takes nobody's place:
the hand-in is refused, and a person decides.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mlsys_course.desk.receipt import check_student

from ..untrusted import spelt
from .archive import ParcelError
from .intake import Found
from .names import student_id

DECIDE = "look at it, then collect it with --by-folder or --by-receipt, or move it"


@dataclass(frozen=True)
class Owners:
    """What an inbox as a whole, and what was collected before, say of who is who.

    ``places``: student -> persons, by folder or platform, from whom such hand-ins come; ``receipts``: the other way.
    """

    places: Mapping[str, Collection[str]]
    receipts: Mapping[str, Collection[str]]
    sorted_by_student: bool

    @classmethod
    def of(cls, inbox: Iterable[Found], kept: Mapping[str, Collection[str]]) -> "Owners":
        """Looks at all before anything is decided. ``kept``: the same as ``places`` of what was collected before."""
        places, receipts, folders = defaultdict(set), defaultdict(set), set()
        for student, persons in kept.items():
            places[student] |= set(persons)
        for found in inbox:
            receipt = found.parcel.receipt if found.parcel else None
            places[receipt.student if receipt else found.claim.student].add(found.claim.person)
            if receipt:
                receipts[found.claim.person].add(receipt.student)
            if not found.claim.certain:
                folders.add(found.claim.person.casefold())
        known = {student.casefold() for student in (*kept, *set().union(*receipts.values()))}
        return cls(places, receipts, bool(folders & known - {""}))

    def student(self, found: Found, *, by_folder: bool = False, by_receipt: bool = False) -> str:
        """Whose it is; ParcelError where nobody knows, or where two may be."""
        claim, receipt = found.claim, found.parcel.receipt if found.parcel else None
        if by_folder and claim.person:
            return claim.student or check_student(claim.person)
        if receipt is None:
            return self._by_place(found)
        if by_receipt or not claim.person:
            return receipt.student
        if is_own(receipt.student, claim.person, claim.student):
            return claim.student or receipt.student  # in the folder's capitals
        if not claim.certain:
            several = len(self.receipts[claim.person]) > 1
            if several and not self.sorted_by_student:
                return receipt.student  # a folder of many
            if several or (claim.student == claim.person and " " not in claim.person):
                said = f"and its receipt says {receipt.student}"
                raise ParcelError(f"it lies with {spelt(claim.person)}, {said}; {DECIDE}")
        self._check_alone(receipt.student, claim.person)
        return receipt.student

    def _by_place(self, found: Found) -> str:
        claim, known = found.claim, self.receipts.get(found.claim.person, ())
        if claim.certain and len(known) == 1:
            return next(iter(known))
        if not claim.student:
            if claim.person:
                check_student(claim.person)
            raise ParcelError(
                "it has no receipt, so nobody knows whose it is; put it in a folder with the student's name"
            )
        rivals = [p for p in self.places[claim.student] if p != claim.person and student_id(p) == claim.student]
        if claim.student != claim.person or rivals:
            self._check_alone(claim.student, claim.person)
        return claim.student

    def _check_alone(self, student: str, person: str) -> None:
        """ParcelError where a student's hand-ins come from somebody else too."""
        if others := sorted(spelt(other) or "nobody in particular" for other in {*self.places[student]} - {person}):
            came = f"as what lies with {', '.join(others[:2])} is"
            raise ParcelError(f"it lies with {spelt(person)} and would be {student}'s, {came}; {DECIDE}")

    def alike(self, student: str) -> list[str]:
        """Other students whose ids differ in capitals only."""
        return [other for other in self.places if other != student and other.casefold() == student.casefold()]


def is_own(student: str, *names: str) -> bool:
    """Whether a folder or platform calls a student so; capitals do not matter."""
    return student.casefold() in [name.casefold() for name in names]
