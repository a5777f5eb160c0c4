"""Which examples are whose: an epoch in a random order, dealt out to the ranks."""

import torch
from torch import Tensor

from ..substrate.errors import CourseProblem


class DataError(CourseProblem, ValueError):
    """Examples, ranks or places that do not fit together."""


def epoch_shard(n_examples: int, rank: int, world_size: int, epoch: int = 0, seed: int = 0, done: int = 0) -> Tensor:
    """The examples that ``rank`` still has to see in ``epoch``: int64 indices, in the order in which it sees them.

    All ranks' order is ``torch.randperm`` of a generator seeded with seed + epoch. Of it the first ``done`` examples
    were seen by all ranks together, however many there were; the rest is dealt out one by one, so shares differ by one
    at most and no example comes twice. PyTorch's ``DistributedSampler`` takes the same order, and repeats the first
    ones or drops the last ones where shares would differ. Raises DataError. Lab 8, exercise ``epoch_shard``.
    """
    if not 0 <= rank < world_size:
        raise DataError(f"rank={rank} is none of world_size={world_size}; ranks are 0 to {world_size - 1}")
    if not 0 <= done <= n_examples:
        raise DataError(f"done={done} of n_examples={n_examples}; give from 0 to all of them")
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))
    return order[done:][rank::world_size]
