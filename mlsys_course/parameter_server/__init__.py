"""The parameter server: push and pull, scheduling, asynchrony, what goes over the wire, and whom to believe. Lab 8."""

from .admm import admm_step
from .asynchronous import asynchronous_training
from .averaging import federated_average, gossip_step, hierarchical_average
from .compressed import ErrorFeedback, compressed_push_pull
from .compressors import (
    Compressor,
    all_compressors,
    bytes_sent,
    fp16,
    none,
    qsgd,
    quantile,
    random_sparsifier,
    sign,
    ternary,
    top_k,
    uniform_8bit,
)
from .consensus import agree_on_state, fixed_order_mean, state_digest
from .epoch_shard import DataError, epoch_shard
from .liars import a_little, coordinated, expel_liars, sign_flip
from .masks import mask_update, unmasked_sum
from .push_pull import ServerError, check_same_keys, parameter_server_step, shard_keys, train_on_servers
from .quantize import pack_codes, quantile_levels, quantize, uniform_levels, unpack_codes
from .robust import robust_aggregate
from .schedule import Slice, Timetable, priority_schedule
from .sparsify import densify, momentum_sparsify, random_k, sparsify
from .staleness import Happened, backup_workers, bounded_staleness, staleness, staleness_with_absences

__all__ = [
    "Compressor",
    "DataError",
    "ErrorFeedback",
    "Happened",
    "ServerError",
    "Slice",
    "Timetable",
    "a_little",
    "admm_step",
    "agree_on_state",
    "all_compressors",
    "asynchronous_training",
    "backup_workers",
    "bounded_staleness",
    "bytes_sent",
    "check_same_keys",
    "compressed_push_pull",
    "coordinated",
    "densify",
    "epoch_shard",
    "expel_liars",
    "federated_average",
    "fixed_order_mean",
    "fp16",
    "gossip_step",
    "hierarchical_average",
    "mask_update",
    "momentum_sparsify",
    "none",
    "pack_codes",
    "parameter_server_step",
    "priority_schedule",
    "qsgd",
    "quantile",
    "quantile_levels",
    "quantize",
    "random_k",
    "random_sparsifier",
    "robust_aggregate",
    "shard_keys",
    "sign",
    "sign_flip",
    "sparsify",
    "staleness",
    "staleness_with_absences",
    "state_digest",
    "ternary",
    "top_k",
    "train_on_servers",
    "uniform_8bit",
    "uniform_levels",
    "unmasked_sum",
    "unpack_codes",
]
