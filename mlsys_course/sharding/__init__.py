"""ZeRO: optimizer states, gradients and parameters in P parts, one on each rank; their traffic and files. Lab 11."""

from .checkpoint import Checkpoint, CheckpointError, latest_checkpoint, load_shard, save_shard
from .clipping import clip_sharded
from .mixed import mixed_zero1_step
from .prefetch import Timed, prefetch_order, sharded_timeline
from .reshard import reshard
from .shards import ShardError, flat_padded, partition, pieces_of, shard_size, write_back
from .traffic import zero_traffic
from .zero1 import zero1_step
from .zero2 import zero2_step
from .zero3 import gathered, zero3_layer

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ShardError",
    "Timed",
    "clip_sharded",
    "flat_padded",
    "gathered",
    "latest_checkpoint",
    "load_shard",
    "mixed_zero1_step",
    "partition",
    "pieces_of",
    "prefetch_order",
    "reshard",
    "save_shard",
    "shard_size",
    "sharded_timeline",
    "write_back",
    "zero1_step",
    "zero2_step",
    "zero3_layer",
    "zero_traffic",
]
