"""A state that was saved by one number of ranks, for another."""

from collections.abc import Callable

import torch
from torch import Tensor

from .shards import ShardError, shard_size


def reshard(
    read: Callable[[int], Tensor],
    n: int,
    old_size: int,
    new_size: int,
    rank: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Rank ``rank``'s shard in a world of ``new_size``, from those that ``old_size`` ranks have saved of n entries.

    ``read(k)`` is old rank k's shard; only those that hold an entry of the new one are read, each once, in order.
    Raises ShardError for a rank that there is not, and for a shard of another shape or dtype.
    Lab 11, exercise ``reshard``.
    """
    old, new = shard_size(n, old_size), shard_size(n, new_size)
    if not 0 <= rank < new_size:
        raise ShardError(f"rank={rank} is none; ranks are 0 to {new_size - 1}")
    place, end = rank * new, min((rank + 1) * new, n)
    found = torch.zeros(new, dtype=dtype)  # what is not overwritten is padding
    while place < end:
        source = place // old
        saved, stop = read(source), min(end, (source + 1) * old)
        if saved.shape != (old,) or saved.dtype != dtype:
            raise ShardError(
                f"rank {source} of {old_size} saved {tuple(saved.shape)} of {saved.dtype}; {n} entries are ({old},) of "
                f"{dtype} there: this is another model's checkpoint, or another world's"
            )
        found[place - rank * new : stop - rank * new] = saved[place - source * old : stop - source * old]
        place = stop
    return found
