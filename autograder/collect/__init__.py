"""``mlsys collect``: what students hand in becomes the folders that grading reads."""

from .sorting import Collected, collect, find_receipt

__all__ = ["Collected", "collect", "find_receipt"]
