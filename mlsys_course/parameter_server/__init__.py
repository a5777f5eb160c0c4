"""The parameter server: push and pull, scheduling, asynchrony, what goes over the wire, and whom to believe. Lab 8."""

from .asynchronous import asynchronous_training
from .epoch_shard import DataError, epoch_shard
from .push_pull import ServerError, check_same_keys, parameter_server_step, shard_keys, train_on_servers
from .schedule import Slice, Timetable, priority_schedule
from .staleness import Happened, backup_workers, bounded_staleness, staleness, staleness_with_absences

__all__ = [
    "DataError",
    "Happened",
    "ServerError",
    "Slice",
    "Timetable",
    "asynchronous_training",
    "backup_workers",
    "bounded_staleness",
    "check_same_keys",
    "epoch_shard",
    "parameter_server_step",
    "priority_schedule",
    "shard_keys",
    "staleness",
    "staleness_with_absences",
    "train_on_servers",
]
