"""What being late costs, by the rule that a release carries: a late day is a day on the clock of the course."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

DAY = timedelta(days=1)


def days_late(due: datetime, when: datetime, grace_minutes: float = 0) -> int:
    """Started days after a due date with its zone: a day in which clocks change is one day, of 23 hours or 25."""
    grace = timedelta(minutes=grace_minutes)
    if when.timestamp() - due.timestamp() <= grace.total_seconds():
        return 0
    on_the_clock = when.astimezone(due.tzinfo).replace(tzinfo=None) - due.replace(tzinfo=None)
    return max(1, math.ceil((on_the_clock - grace) / DAY))


def closing(due: datetime, rule: Mapping[str, Any]) -> datetime | None:
    """After when a lab earns nothing; None where that never happens."""
    days = rule.get("closes_after_days")
    return None if days is None else due + timedelta(days=days, minutes=rule.get("grace_minutes", 0))


def state(due: datetime | None, now: datetime, rule: Mapping[str, Any]) -> str:
    """In a word: "overdue", "closed", or nothing."""
    if due is None or not days_late(due, now, rule.get("grace_minutes", 0)):
        return ""
    end = closing(due, rule)
    return "closed" if end is not None and now > end else "overdue"


def cost(due: datetime, now: datetime, rule: Mapping[str, Any]) -> str:
    """What handing in now costs."""
    if not rule:
        return "the term's rule for late work applies"
    days, end = days_late(due, now, rule.get("grace_minutes", 0)), closing(due, rule)
    if not days:
        return f"within the {rule['grace_minutes']:g} minutes of grace, so nothing is taken off"
    if end is not None and now > end:
        return f"it earns nothing since {end.day} {end:%B}"
    return f"{min(100, days * rule.get('percent_a_day', 0)):g}% of its points are taken off now"


def ago(late: timedelta) -> str:
    """How long since, in one unit: days from two days on, else hours from two hours on, else minutes."""
    minutes = int(late.total_seconds()) // 60
    for unit, size in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit} ago"
    return f"{minutes} minute{'' if minutes == 1 else 's'} ago"


def in_words(rule: Mapping[str, Any]) -> str:
    """The rule, for a release's page."""
    grace, percent, closes = (rule.get(k) for k in ("grace_minutes", "percent_a_day", "closes_after_days"))
    if not percent and closes is None:
        return "Nothing is taken off for late work."
    said = f"Each started day after that, on the clock of the course, takes off {percent or 0:g}% of the points earned"
    said += f"; {grace:g} minutes are free" if grace else ""
    return said + (f"; after {closes:g} days a lab earns nothing." if closes is not None else ".")
