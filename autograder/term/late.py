"""What a late submission costs, by ``[late]`` in ``course.toml``; nbgrader's gradebook holds the penalty."""

import math
from dataclasses import dataclass

DAY = 86400.0


@dataclass(frozen=True)
class LatePolicy:
    """``percent_a_day`` of the points earned for each started day, after ``grace_minutes``; later than
    ``closes_after_days`` (None: never) earns nothing. The default takes nothing off."""

    grace_minutes: float = 0
    percent_a_day: float = 0
    closes_after_days: float | None = None

    def penalty(self, points: float, seconds_late: float) -> float:
        """The points that are taken off ``points``."""
        late = seconds_late - 60 * self.grace_minutes
        if late <= 0:
            return 0.0
        if self.closes_after_days is not None and late > DAY * self.closes_after_days:
            return points
        return points * min(1.0, math.ceil(late / DAY) * self.percent_a_day / 100)
