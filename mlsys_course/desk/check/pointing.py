"""Where an error came from, in a student's words: cell, line and text; or what the driver was given."""

import traceback
from collections.abc import Mapping, Sequence

import torch

from ..syntax import bound
from .tree import Tree, leaves

Frame = tuple[int, int, str, str]  # of the notebook: In[number], line, function, text
MOST_FRAMES, MOST_ARGUMENTS = 4, 8


def is_notebooks(filename: str) -> bool:
    """Whether a file name is that of a cell."""
    return "ipykernel" in filename or filename.startswith("<ipython-input") or "<cell" in filename


def frames_of(error: BaseException) -> list[Frame]:
    """The frames that are a notebook's, outermost first; of a deep recursion the last ones."""
    found = [
        (
            _count(f.filename),
            f.lineno or 0,
            f.name,
            (f.line or "").strip(),
        )
        for f in traceback.extract_tb(error.__traceback__)
        if is_notebooks(f.filename)
    ]
    return found[-MOST_FRAMES:]


def _count(filename: str) -> int:
    """The number in the brackets beside a cell; 0 where nobody knows it."""
    try:
        from IPython.core.getipython import get_ipython

        known = getattr(getattr(get_ipython(), "compile", None), "_filename_map", {})
        return int(known.get(filename, 0))
    except (ImportError, TypeError, ValueError):
        return 0


def frame_line(frame: Frame) -> str:
    """One frame as a line."""
    count, line, function, text = frame
    cell = f"cell [{count}]" if count else "your cell"
    return f"{cell}, line {line}" + (f", in {function}" if function != "<module>" else "") + f": {text}"


def interrupted(exercise: str, error: KeyboardInterrupt) -> str:
    """Where a check was when somebody stopped it, in one line."""
    frames = frames_of(error)
    if not frames:
        return f"interrupted while `{exercise}` was checked"
    count, line, function, text = frames[-1]
    return f"interrupted in `{function}`, {frame_line((count, line, '<module>', text))}"


def given_words(inputs: Mapping[str, Tree]) -> str:
    """The arguments of a case with their shapes, for an error that no line of the student's is in."""
    told = []
    for path, leaf in leaves(inputs):
        if isinstance(leaf, torch.Tensor):
            told.append(f"{path} {tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')}")
        elif isinstance(leaf, int | float | str | bool):
            told.append(f"{path} = {leaf!r}"[:40])
    more = f" and {len(told) - MOST_ARGUMENTS} more" if len(told) > MOST_ARGUMENTS else ""
    return ", ".join(told[:MOST_ARGUMENTS]) + more


def driver_line(error: BaseException) -> str:
    """The last line of drivers.py that an error went through."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith("drivers.py")]
    return f"drivers.py, line {lines[-1].lineno}: {lines[-1].line}" if lines else ""


def origin(name: str, sources: Sequence[str]) -> str:
    """From which cell of the notebook, by its text, a name that is not defined would have come."""
    cells = [n for n, source in enumerate(sources, 1) if name in bound(source)]
    if not cells:
        return f"no cell of this notebook defines {name}"
    first = next(line.strip() for line in sources[cells[-1] - 1].splitlines() if line.strip())
    return f"{name} comes from cell {cells[-1]} of the notebook ({first[:40]}): run it first"
