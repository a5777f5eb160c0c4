"""The staff's one console, as wide as the terminal, and wide where there is none; and its progress bar."""

import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlsys_course.desk.screen import PlainConsole

WIDE = 150  # columns where the output is no terminal, such as CI's log
console = PlainConsole(width=None if sys.stdout.isatty() else WIDE)


def progress_bar() -> Progress:
    """The one progress bar of the staff's commands."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
