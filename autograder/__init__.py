"""Authoring, grading and reporting: staff only, never part of a student edition."""

import mlsys_course.desk as _desk  # noqa: F401 (first: it spares every process two seconds)
