"""Authoring, grading and reporting: staff only, never part of a student edition."""
