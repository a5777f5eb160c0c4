"""Feedback that a student reads: one self-contained page for each student and lab, from what grading recorded."""

from .course_folder import pages_of, read_recorded
from .grades import grades_of
from .handing_out import hand_out, write_pages
from .pages import Pages

__all__ = ["Pages", "grades_of", "hand_out", "pages_of", "read_recorded", "write_pages"]
