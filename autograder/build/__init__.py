"""``solutions/`` to ``labs/``: a list of small stages, and the proof."""

from .pipeline import Built, build, stale
from .source import BuildError

__all__ = ["BuildError", "Built", "build", "stale"]
