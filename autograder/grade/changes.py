"""What grading a submission again has changed, and why."""

from .gradebook import Entry

SUBMISSION = "a newer submission"
LAB = "the lab has changed since"
NEITHER = "neither the submission nor the lab has changed: its outcome varies, look at its log"


def change(before: Entry | None, after: Entry) -> str:
    """Empty where there was no grade before, or the same one."""
    if before is None:
        return ""
    names = list(dict.fromkeys([*before.scores, *after.scores]))
    moved = [said for name in names if (said := _moved(name, before, after))]
    if not moved:
        return ""
    causes = [SUBMISSION] if before.submission != after.submission else []
    causes += [LAB] if before.edition != after.edition else []
    return f"{', '.join(moved)} ({'; '.join(causes) or NEITHER})"


def _moved(name: str, before: Entry, after: Entry) -> str:
    old, new = before.scores.get(name), after.scores.get(name)
    if old is None or new is None:
        return f"{name} is {'new' if old is None else 'gone'}"
    if old["score"] == new["score"] and old["status"] == new["status"]:
        return ""
    return f"{name} {old['status']} {old['score']:g} -> {new['status']} {new['score']:g}"
