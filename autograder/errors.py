"""What a person who runs the course must mend."""

from mlsys_course.substrate.errors import CourseProblem


class CourseError(CourseProblem):
    """Something about the course that a person must mend; the message says what and how."""
