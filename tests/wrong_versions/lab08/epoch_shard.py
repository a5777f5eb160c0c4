# %% wrong: "with a new torch.Generator whose manual_seed is seed + epoch": it seeds the default generator, and with it everything else that draws.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    torch.manual_seed(seed + epoch)
    order = torch.randperm(n_examples)
    return order[done:][rank::world_size]

# %% wrong: "int64, one axis": int32.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))
    return order[done:][rank::world_size].int()

# %% wrong: "The examples that this rank still has to see in this epoch: int64, one axis": a list of Python numbers.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))
    return order[done:][rank::world_size].tolist()

# %% wrong: "whose manual_seed is seed + epoch", "epoch, seed: whole numbers": modulo 2**16, and so another order for larger seeds.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed((seed + epoch) % 2**16))
    return order[done:][rank::world_size]

# %% wrong: "n_examples: examples are 0 to n_examples - 1; may be 0.": of none it divides by 0 and raises.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    share = done / n_examples
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))
    return order[round(share * n_examples):][rank::world_size]

# %% wrong: "The epoch's order is torch.randperm(...)" in every call: orders are remembered, and a share is a view of one, so that who shuffles or changes a share changes later answers.
import functools

import torch


@functools.cache
def order_of(n_examples, seed):
    return torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed))


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    order = order_of(n_examples, seed + epoch)
    return order[done:][rank::world_size]

# %% wrong: "done: how many examples ... have been seen by all ranks together; 0 to n_examples": where all have been seen it begins anew.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))
    return order[done % max(n_examples, 1):][rank::world_size]

# %% right: cards are dealt one by one, in Python.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    generator = torch.Generator()
    generator.manual_seed(epoch + seed)
    deck = torch.randperm(n_examples, generator=generator).tolist()
    del deck[:done]
    hands = [[] for _ in range(world_size)]
    for turn, card in enumerate(deck):
        hands[turn % world_size].append(card)
    return torch.tensor(hands[rank], dtype=torch.int64)

# %% right: places are counted, not sliced: arange, and a comparison of remainders.
import torch


def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))
    place = torch.arange(n_examples) - done
    return order[(place >= 0) & (place.remainder(world_size) == rank)]
