"""nbgrader's plugin for late submissions, on what ``course.toml`` says."""

from datetime import datetime

from nbgrader.plugins import LateSubmissionPlugin

from ..term import LatePolicy
from ..term.late import NO_DATE


class CoursePolicy(LateSubmissionPlugin):
    """``[late]`` of ``course.toml``, unless the course folder's configuration sets nbgrader's ``penalty_method``."""

    policy: LatePolicy | None = None  # `mlsys grade` sets it; nbgrader by hand reads the course
    due: datetime = NO_DATE  # in the course's zone; nbgrader by hand tells none, so its days have 24 hours

    def late_submission_penalty(self, student_id: str, score: float, total_seconds_late: float) -> float | None:
        """The points to take off, or None."""
        if self.penalty_method != "none":
            return super().late_submission_penalty(student_id, score, total_seconds_late)
        if self.policy is None:
            from ..course import load_course

            self.policy = load_course().plan.late
        return self.policy.penalty(score, total_seconds_late, self.due) or None
