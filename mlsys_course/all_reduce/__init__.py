"""All-reduce: every rank ends with the sum of what all ranks hold. Lab 9."""

from .ring import ring_all_gather, ring_all_reduce, ring_reduce_scatter

__all__ = ["ring_all_gather", "ring_all_reduce", "ring_reduce_scatter"]
