"""Reference components of a course on machine-learning systems. Imports no layer: an edition may lack some."""

from .desk.former_names import honour

__version__ = "0.1.0"

honour()


def progress():
    """How far you are, lab by lab: shown as a table where it is a notebook cell's last line."""
    from .desk.progress import progress
    from .desk.workspace import find_workspace

    return progress(find_workspace())
