"""``mlsys release``: a proven lab as one zip that a student can work from, and nothing in it that is sealed."""

from .publish import Released, release

__all__ = ["Released", "release"]
