"""The staff's one console: as wide as the terminal, and wide where there is none."""

import sys

from rich.console import Console

WIDE = 150  # columns where the output is no terminal, such as CI's log
console = Console(width=None if sys.stdout.isatty() else WIDE)
