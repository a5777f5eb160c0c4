"""The errors that a person is meant to read."""


class CourseProblem(Exception):
    """Something that a person can mend: the message says what, where and how. The command line shows it as it is."""
