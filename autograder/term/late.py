"""What a late submission costs, by ``[late]`` in ``course.toml``; nbgrader's gradebook holds the penalty."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from mlsys_course.desk.lateness import closing, days_late

NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)  # whose days all have 24 hours


@dataclass(frozen=True)
class LatePolicy:
    """``percent_a_day`` of the points earned for each started day, after ``grace_minutes``; later than
    ``closes_after_days`` (None: never) earns nothing. The default takes nothing off."""

    grace_minutes: float = 0
    percent_a_day: float = 0
    closes_after_days: float | None = None

    def penalty(self, points: float, seconds_late: float, due: datetime = NO_DATE) -> float:
        """The points that are taken off ``points``. Days are those of the due date's own zone."""
        when, end = due.astimezone(UTC) + timedelta(seconds=seconds_late), closing(due, asdict(self))
        if end is not None and when > end:
            return points
        return points * min(1.0, days_late(due, when, self.grace_minutes) * self.percent_a_day / 100)
