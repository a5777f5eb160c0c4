"""Lab 8, sealed: exercises of push and pull, data, scheduling and staleness, with their points."""

from autograder.exercise import Exercise, exercises_of
from mlsys_course import parameter_server

from . import cases_flows as c
from . import mistakes_flows as m

FORBIDDEN = ("torch.distributed", "torch.utils.data.DistributedSampler", "torch.utils.data.distributed")
exercise = exercises_of(parameter_server, forbidden=FORBIDDEN)


def flow_exercises() -> list[Exercise]:
    """The core ones."""
    shard = {"partition": 4, "epochs": 3, "resume": 3}
    step = {"values": 5, "shards": 4, "order": 4, "bytes": 3}
    schedule = {"fifo": 3, "priority": 4, "slices": 5}
    staleness = {"synchronous": 2, "bound": 5, "asynchronous": 2, "uneven": 3}
    return [
        exercise("parameter_server_step", step, c.server_cases, m.STEP),
        exercise("epoch_shard", shard, c.shard_cases, m.SHARD),
        exercise("priority_schedule", schedule, c.schedule_cases, m.SCHEDULE),
        exercise("bounded_staleness", staleness, c.staleness_cases, m.STALENESS),
    ]


def flow_extensions() -> list[Exercise]:
    """For who wants more."""
    more = {"kind": "extension"}
    return [
        exercise("shard_keys", {"balance": 3, "ties": 3}, c.owner_cases, m.OWNERS, **more),
    ]
