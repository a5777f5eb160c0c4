"""Collect, sanitize, run, score, record, feed back: nbgrader's system of record, our run and score."""
