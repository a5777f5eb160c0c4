"""Lab 8, sealed: misconceptions about push and pull, shares of an epoch, schedules and staleness."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import parameter_server as P

# ---- shares of an epoch ----------------------------------------------------------------------------------------------

DEALT, SEEDED = "order[done:][rank::world_size]", "seed + epoch"


def repeats(n_examples, rank, world_size, epoch=0, seed=0, done=0):
    """The first examples again, until all shares are alike."""
    order = P.epoch_shard(n_examples, 0, 1, epoch, seed, done)
    missing = -len(order) % world_size
    return torch.cat([order, *[order] * missing])[: len(order) + missing][rank::world_size]


mistake = wrong(P.epoch_shard)
SHARD = [
    Misconception("examples come twice", repeats,
        "Count all ranks' examples together: are there more than the epoch has? Shares may differ by one."),
    mistake("the last ones are dropped",
        "Count all ranks' examples together: are some missing? Shares may differ by one.",
        DEALT, "order[done:][: (n_examples - done) // world_size * world_size][rank::world_size]"),
    mistake("every epoch alike", "Does your order change from one epoch to the next?", SEEDED, "seed"),
    mistake("an order for each rank",
        "Two ranks have one example in common. Of whose order does each take its part?",
        SEEDED, "seed + epoch + rank"),
    mistake("in blocks", "Deal the order out like cards: which rank gets the second example of it?",
        DEALT, "order[done:].tensor_split(world_size)[rank]"),
    mistake("each has seen all that is done", "`done` counts the examples of all ranks together.",
        DEALT, "order[rank::world_size][done:]"),
    mistake("each has seen its part of what is done",
        "Who had the first `done` examples may have been other ranks than there are now. What is left, and who is "
        "first in line for it?",
        DEALT, "order[rank::world_size][done // world_size :]"),
    mistake("shuffled again", "After a restart, are those left the ones that were not seen before?",
        "torch.randperm(n_examples, ", "done + torch.randperm(n_examples - done, ", DEALT, "order[rank::world_size]"),
    mistake("not shuffled", "Is your first epoch in the order of the data set?",
        "torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed + epoch))",
        "torch.arange(n_examples)"),
]  # fmt: skip

# ---- a step ----------------------------------------------------------------------------------------------------------

UPDATE = "update(key, parameters[key], total / len(workers))"
ADDS, ANSWER = "total += comm.recv(torch.empty_like(total), worker)", "comm.send(parameters[key], worker)"
PULL, PUSH = "comm.recv(parameters[key], server)", "comm.send(gradients[key], server)"


def push_blocks_the_pull(parameters, gradients, owners, n_servers, comm, update):
    """A server takes all gradients of all keys before it answers any."""
    if comm.rank >= n_servers:
        return P.parameter_server_step(parameters, gradients, owners, n_servers, comm, update)
    own = [key for key, server in owners.items() if server == comm.rank]
    workers, mean = range(n_servers, comm.world_size), {}
    for key in own:
        mean[key] = sum(comm.recv(torch.empty_like(parameters[key]), w) for w in workers) / len(workers)
    for key in own:
        update(key, parameters[key], mean[key])
    for key in own:
        for worker in workers:
            comm.send(parameters[key], worker)
    return None


def key_by_key(parameters, gradients, owners, n_servers, comm, update):
    """A worker waits for a key's answer before it pushes the next."""
    for key, server in owners.items():
        if comm.rank >= n_servers or server == comm.rank:
            P.parameter_server_step(parameters, gradients, {key: server}, n_servers, comm, update)


def asks_for_it(parameters, gradients, owners, n_servers, comm, update):
    """A worker asks for each key, and the server waits to be asked."""
    workers, request = range(n_servers, comm.world_size), torch.zeros(1)
    for key, server in owners.items():
        if comm.rank >= n_servers:
            comm.send(gradients[key], server)
            comm.send(request, server)
        elif server == comm.rank:
            total = sum(comm.recv(torch.empty_like(parameters[key]), worker) for worker in workers)
            update(key, parameters[key], total / len(workers))
            for worker in workers:
                comm.recv(request, worker)
                comm.send(parameters[key], worker)
    for key, server in owners.items():
        if comm.rank >= n_servers:
            comm.recv(parameters[key], server)


mistake = wrong(P.parameter_server_step)
STEP = [
    mistake("a sum for the mean", "With three workers your step is three times as long as with one.",
        " / len(workers)", ""),
    mistake("a mean over all ranks", "Who has a gradient, and who has not? By how many do you divide?",
        "total / len(workers)", "total / comm.world_size"),
    mistake("a gradient applied twice", "How often is each key updated in a step?", UPDATE, f"{UPDATE}; {UPDATE}"),
    mistake("an update for each worker",
        "An optimizer with a memory sees one gradient a step in one process. How many does yours see?",
        ADDS, "update(key, parameters[key], comm.recv(torch.empty_like(total), worker) / len(workers))", UPDATE,
        "pass"),
    mistake("only one worker counts", "Give two workers different gradients, and exchange them: what changes?",
        ADDS, "total = comm.recv(torch.empty_like(total), worker)", " / len(workers)", ""),
    mistake("a server forgets its shard",
        "With two servers, look at the keys of the second: did anything happen to them?",
        UPDATE, f"comm.rank or {UPDATE}"),
    mistake("one server is not pulled from", "With two servers, which keys of a worker are new after the step?",
        PULL, f"{PULL} if server == 0 else comm.recv(torch.empty_like(parameters[key]), server)"),
    mistake("the gradient is pulled", "What comes back from a server: the mean gradient, or what was made with it?",
        ANSWER, "comm.send(total / len(workers), worker)"),
    mistake("weights before the update", "Are the weights that a worker pulls those before the update, or after it?",
        ANSWER, "comm.send(before, worker)", UPDATE, f"before = parameters[key].clone(); {UPDATE}"),
    mistake("a new tensor", "The model of a worker holds the tensors that it gave you. Do these change?",
        PULL, "comm.recv(torch.empty_like(parameters[key]), server)"),
    Misconception("a push that blocks the pull", push_blocks_the_pull,
        "Everything is right, but in which order? When does your server answer the first key?"),
    Misconception("a worker that waits for each key", key_by_key,
        "Everything is right, but in which order? When does your worker push its second key?"),
    Misconception("a worker that asks", asks_for_it,
        "How many messages does a worker send for each key? The server knows by itself when a key is ready."),
]  # fmt: skip

mistake = wrong(P.shard_keys)
OWNERS = [
    mistake("in turn", "Are your servers balanced by the number of keys, or by bytes?",
        "held.index(min(held))", "len(owners) % n_servers"),
    mistake("as they come", "Put the largest key last. Which server gets it, and how full is that one already?",
        "sorted(sizes, key=lambda key: -sizes[key])", "list(sizes)"),
    mistake("smallest first", "Which keys are easier to place once the servers are nearly full, large or small ones?",
        "-sizes[key])", "sizes[key])"),
    mistake("in the order of sizes", "The keys are pushed in the order of your dict. In which order were they given?",
        "{key: owners[key] for key in sizes}", "owners"),
    mistake("the last of equals", "Of two keys of one size, which one goes first?",
        "sorted(sizes, key=lambda key: -sizes[key])", "sorted(sizes, key=lambda key: sizes[key])[::-1]"),
]  # fmt: skip

# ---- schedules -------------------------------------------------------------------------------------------------------

NEXT, CUT = 'layer = min(ready) if policy == "priority" else max(ready)', "min(slice_seconds, left[layer])"
END, BEGIN = "end = now + overhead + sent", "start = max(clock, through[layer])"

mistake = wrong(P.priority_schedule)
SCHEDULE = [
    mistake("priority without pre-emption",
        "A more urgent gradient comes while a large one is being sent, in slices. Which slice is next?",
        NEXT, f"{NEXT}\n        if slices and left[slices[-1].layer] > 0:\n            layer = slices[-1].layer"),
    mistake("one slice for all", "How long is your longest slice?", CUT, "left[layer]"),
    mistake("first in, first out whatever is asked", "Which gradient does forward need first?", NEXT,
        "layer = max(ready)"),
    mistake("priority whatever is asked", "With fifo, which of the gradients that are there came first?", NEXT,
        "layer = min(ready)"),
    mistake("all wait for the last gradient", "What does the link do while backward runs?",
        "min(there[layer] for layer in waiting)", "there[0]"),
    mistake("sent before it is there", "When does the gradient of the first layer exist, and when do you send it?",
        "if there[layer] <= now]", "]"),
    mistake("backward in forward order", "Which layer's gradient does backward reach first?",
        "sum(backward[layer:])", "sum(backward[: layer + 1])"),
    mistake("forward waits for everything", "Which layers' transfers must be through for the first layer's forward?",
        BEGIN, "start = max(clock, *through)"),
    mistake("forward waits for nothing", "May a layer's forward run before its new weights have come?", BEGIN,
        "start = clock"),
    mistake("forward beside backward", "When has backward ended, at the earliest, for the next forward to begin?",
        "list(transfer), list(there)", "list(transfer), [0.0 for _ in there]"),
    mistake("overhead once a layer", "What does each slice cost, apart from its bytes?", END,
        "end = now + (overhead if left[layer] == transfer[layer] else 0.0) + sent"),
    mistake("overhead left out", "What does each slice cost, apart from its bytes?", END, "end = now + sent"),
]  # fmt: skip

# ---- staleness -------------------------------------------------------------------------------------------------------

MAY, SLOWEST = "bound is None or finished[worker] - slowest <= bound", "for worker in waiting | ends.keys()"
AT_ONCE = "sorted(worker for worker, end in ends.items() if end == now)"

mistake = wrong(P.bounded_staleness)
STALENESS = [
    mistake("staleness beyond its bound", "With a bound of 0, how far ahead of the slowest does your fastest begin?",
        MAY, "bound is None or finished[worker] - slowest <= bound + 1"),
    mistake("a bound too tight", "With a bound of 1, may a worker be one iteration ahead of the slowest?",
        MAY, "bound is None or finished[worker] - slowest < max(bound, 1)"),
    mistake("a barrier whatever the bound", "With a large bound, does your fastest worker still wait?",
        MAY, "finished[worker] - slowest <= 0"),
    mistake("nobody ever waits", "With a bound of 0, how far ahead of the slowest does your fastest get?",
        MAY, "worker >= 0"),
    mistake("the finished hold up the others", "A worker that has done all it had to do: who waits for it, how long?",
        SLOWEST, "for worker, own in enumerate(seconds) if own"),
    mistake("a pull between the pushes of one moment",
        "Two workers push at the same time, and both pull again. Which version does the first of them pull?",
        AT_ONCE, f"{AT_ONCE}[:1]"),
    mistake("a version for each worker", "Whose pushes does the server's version count?",
        '"push", worker, version)', '"push", worker, finished[worker])'),
    mistake("version before the push", "At a push, does the version count this push already?",
        '"push", worker, version)', '"push", worker, version - 1)'),
    mistake("the highest worker first", "Of workers at the same time, which one goes first?",
        AT_ONCE, f"{AT_ONCE}[::-1]"),
]  # fmt: skip
