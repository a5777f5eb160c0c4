"""Collectives from messages, all-reduce in four ways and by nodes, what it costs, and data-parallel training. Lab 9."""

from .algorithms import (
    ALGORITHMS,
    Group,
    all_reduce,
    all_reduce_,
    halving_doubling_all_reduce,
    halving_doubling_all_reduce_,
    hierarchical_all_reduce,
    hierarchical_all_reduce_,
    naive_all_reduce_,
    tree_all_reduce_,
)
from .buckets import average_bucket, make_buckets
from .collectives import (
    CollectiveError,
    all_gather,
    all_to_all,
    barrier,
    broadcast,
    gather,
    reduce,
    reduce_scatter,
    scatter,
)
from .cost import Cost, all_reduce_seconds, cost, crossover_bytes, fitted
from .data_parallel import DataParallel, data_parallel_step, start_all_reduce
from .distributed_data_parallel import DistributedDataParallel, broadcast_state, check_same_model, loss_weight
from .ring import ring_all_gather, ring_all_reduce, ring_reduce_scatter
from .schedule import Schedule, backward_spans, overlap_schedule
from .segmented_ring import ring_all_reduce_, segmented_all_gather, segmented_reduce_scatter

__all__ = [
    "ALGORITHMS",
    "CollectiveError",
    "Cost",
    "DataParallel",
    "DistributedDataParallel",
    "Group",
    "Schedule",
    "all_gather",
    "all_reduce",
    "all_reduce_",
    "all_reduce_seconds",
    "all_to_all",
    "average_bucket",
    "backward_spans",
    "barrier",
    "broadcast",
    "broadcast_state",
    "check_same_model",
    "cost",
    "crossover_bytes",
    "data_parallel_step",
    "fitted",
    "gather",
    "halving_doubling_all_reduce",
    "halving_doubling_all_reduce_",
    "hierarchical_all_reduce",
    "hierarchical_all_reduce_",
    "loss_weight",
    "make_buckets",
    "naive_all_reduce_",
    "overlap_schedule",
    "reduce",
    "reduce_scatter",
    "ring_all_gather",
    "ring_all_reduce",
    "ring_all_reduce_",
    "ring_reduce_scatter",
    "scatter",
    "segmented_all_gather",
    "segmented_reduce_scatter",
    "start_all_reduce",
    "tree_all_reduce_",
]
