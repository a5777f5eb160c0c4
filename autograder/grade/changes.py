"""What grading a submission again has changed, and why."""

from ..fingerprint import Fingerprint
from .gradebook import Entry

SUBMISSION = "a newer submission"
LAB = "the lab has changed since"
NOT_NOTED = "in what, was not yet noted when it was graded"
NEITHER = "neither the submission nor the lab has changed: its outcome varies, look at its log"


def why_outdated(before: Fingerprint | None, now: Fingerprint) -> str:
    """What a grade depends on that is not as it was; None: it was graded before that was kept."""
    return NOT_NOTED if before is None else now.changed_since(before)


def change(before: Entry | None, after: Entry, outdated: str = "") -> str:
    """Empty where there was no grade before, or the same one. ``outdated``: what of the lab has changed since."""
    if before is None:
        return ""
    names = list(dict.fromkeys([*before.scores, *after.scores]))
    moved = [said for name in names if (said := _moved(name, before, after))]
    if not moved:
        return ""
    causes = [SUBMISSION] if before.submission != after.submission else []
    causes += [f"{LAB}: {outdated}"] if before.edition != after.edition else []
    return f"{', '.join(moved)} ({'; '.join(causes) or NEITHER})"


def _moved(name: str, before: Entry, after: Entry) -> str:
    old, new = before.scores.get(name), after.scores.get(name)
    if old is None or new is None:
        return f"{name} is {'new' if old is None else 'gone'}"
    if old["score"] == new["score"] and old["status"] == new["status"]:
        return ""
    return f"{name} {old['status']} {old['score']:g} -> {new['status']} {new['score']:g}"
