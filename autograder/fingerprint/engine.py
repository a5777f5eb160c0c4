"""The engine as one number, raised by hand: a typo in it is no reason to prove and grade every lab again.

Raise ENGINE when a change of scoring code may give a submission other points or other words. That none is forgotten:
``tests/course/test_engine_number.py`` fails when scoring code changes and the number does not.
"""

from pathlib import Path

from .meaning import meaning_of

ENGINE = 9

ROOT = Path(__file__).resolve().parents[2]
SCORING = (  # what decides what a submission gets, but for the lab
    "autograder/draw.py",
    "autograder/crossing.py",
    "autograder/exercise.py",
    "autograder/cases.py",
    "autograder/parts.py",
    "autograder/sandbox/**/*.py",
    "autograder/scoring/*.py",
    "autograder/grade/repair.py",
    "autograder/grade/session.py",
    "mlsys_course/desk/check/*.py",
)


def scoring_code(root: Path = ROOT) -> dict[str, bytes]:
    """Each file of scoring code by its path, without comments and docstrings."""
    paths = {path for pattern in SCORING for path in root.glob(pattern)}
    return {path.relative_to(root).as_posix(): meaning_of(path) for path in sorted(paths)}
