# %% [markdown]
# # Lab 8: the parameter server
#
# Workers push gradients, servers add them up and update, workers pull. It is the oldest way to train on many machines,
# and still the one over slow or unreliable networks. You will build it and find its bottleneck, then take that apart:
# share the keys among servers, send first what is needed first, do not wait for the slowest, send less, and do not
# believe everybody.
#
# **Time:** eight hours; with the extensions three more. **Points:** 100; extensions are a bonus. **Before this:** lab 3
# (the model that trains here), lab 5 (gradients and optimizers), lab 7 (bytes of a training step).
#
# `torch.distributed` and its sampler are what you build here, so exercises may not use them.

# %%
import heapq
import math

import torch
import torch.nn.functional as F

from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate.data import verses
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.plot import COLOURS, MARKERS, figure
from mlsys_course.substrate.ranks import ETHERNET, Cluster, run_in_threads, simulate

# %% [markdown]
# ## 1. Push and pull
#
# $P$ programs run side by side; each knows its number, its *rank*, from 0 to $P - 1$. They share no variable. What one
# wants from another comes in a message, through a communicator:
#
# | call | meaning |
# |---|---|
# | `comm.rank`, `comm.world_size` | my number, and $P$ |
# | `comm.send(tensor, to)` | send a copy to rank `to`; goes on at once |
# | `comm.recv(buffer, source)` | wait for the next message from rank `source`, fill `buffer` with it and return it |
# | `comm.isend(...)`, `comm.irecv(...)` | the same, but return at once with a handle; `handle.wait()` waits |
#
# A buffer has the message's shape and dtype, and there is no message to oneself. Messages from one rank to another
# arrive in the order in which they were sent. A `function(comm)` is called on every rank, of three kinds:
#
# | call | ranks are | for |
# |---|---|---|
# | `run_in_threads(function, P)` | threads of this notebook | trying out; returns results by rank, and the traffic |
# | `run(function, P)` | processes, over gloo or NCCL | real times (lab 9) |
# | `simulate(function, P, cluster)` | programs on a virtual clock | clusters that you do not have |


# %%
def to_the_first(comm):
    if comm.rank > 0:
        comm.send(torch.full((2,), float(comm.rank)), 0)
        return comm.recv(torch.empty(2), 0)
    total = sum(comm.recv(torch.empty(2), source) for source in range(1, comm.world_size))
    for other in range(1, comm.world_size):
        comm.send(total, other)
    return total


results, traffic = run_in_threads(to_the_first, 4)
print(results)
print("bytes sent by each rank:", traffic.bytes_sent)

# %% [markdown]
# Let rank 0 send before it receives, and run the cell again: where every rank waits for a message that nobody has sent,
# there is a *deadlock*. On real machines it shows as a job that stands still. Here you are told who waits for whom.
#
# **The parameter server** (Li et al. 2014). Ranks 0 to $S - 1$ are servers, the other $W = P - S$ are workers. Every
# parameter has a *key*, and each key is one server's. In a step, every worker computes gradients on its own examples
# and
#
# 1. **pushes** each gradient to the server of its key;
# 2. the server takes the mean over the workers and lets the optimizer update its parameter, once;
# 3. every worker **pulls** the new parameter.
#
# With equal shares of the batch the mean of the workers' gradients is the gradient of the whole batch, so $W$ workers
# train exactly as one process does. Floating-point addition depends on the order, and messages come in any order; but a
# receive names its sender, so a server that always adds in the order of ranks gets the same bits in every run.
#
# ```
#        worker 2            server 0 (embed, head)         server 1 (block)            worker 3
#        push embed  ------>   recv embed from 2, 3  <---------------------------------  push embed
#        push block  ---------------------------------->   recv block from 2, 3  <-----  push block
#        push head   ------>   update embed, answer
#        pull embed  <------   recv head from 2, 3, ...    update block, answer
# ```
#
# A key is answered as soon as it can be: while `embed` is on its way back, `head` is still being pushed. Who waits for
# everything before answering anything leaves one direction of the cable idle.
#
# ### Exercise `parameter_server_step` (16 points)
#
# Points by part: values with one server 5, several servers 4, the order of messages 4, bytes and messages 3. Order,
# bytes and messages are seen outside your function: while grading, each rank is a process in a sandbox of its own.


# %% exercise="parameter_server_step"
def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    """One synchronous step on this rank. Returns nothing.

    parameters: a dict from key to tensor. A worker has all keys, a server those that it owns. Shapes (any, also () and
        without entries) and dtypes are the same on all ranks.
    gradients: on a worker a dict from key to tensor, this worker's gradients, like the parameters; on a server empty.
    owners: a dict from key to the rank of its server; the same on all ranks, in the same order. A server may own
        no key.
    n_servers: ranks 0 to n_servers - 1 are servers, the others workers; at least one of each.
    update(key, parameter, gradient): changes parameter in place, as an optimizer with a memory does. Call it on the
        key's server, once a step for each key, with the mean of all workers' gradients.
    Afterwards the servers' parameters are updated, and every worker's are the servers', all in place: the tensors in
        parameters are changed, not replaced. gradients stay as they are.
    Messages: for each key one gradient from each worker to its server, one parameter back. A worker sends its gradients
        in the order of owners, all before it receives anything. A server receives a key from all workers, then sends it
        to all of them, before it receives the next key, in the order of owners.
    """
    ### BEGIN SOLUTION
    workers = range(n_servers, comm.world_size)
    if comm.rank in workers:
        for key, server in owners.items():
            comm.send(gradients[key], server)
        for key, server in owners.items():
            comm.recv(parameters[key], server)
    for key in [key for key, server in owners.items() if server == comm.rank]:
        arrived = [comm.recv(torch.empty_like(parameters[key]), worker) for worker in workers]
        update(key, parameters[key], sum(arrived) / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)
    ### END SOLUTION


# %% check="parameter_server_step"
check("parameter_server_step", parameter_server_step)

# %% [markdown]
# **Look at it: where it gets narrow.** A worker's traffic is $n$ bytes out and $n$ in, however many workers there are.
# A server's is $W$ times that: all meet at its cable. And the pull *follows* the push, so with bandwidth $B$ and keys
# that are shared evenly among $S$ servers, a step's messages take at least
#
# $$ \frac{2\,W\,n}{S\,B} \quad\text{for one key on each server}, $$
#
# first one way, then the other; with many keys the two ways overlap, and it comes down towards half. The cell lets your
# function run on simulated machines with an Ethernet card each. It also shows `shard_keys`, an extension below: the
# fullest server decides.
#
# *The figure. Milliseconds a step over the number of workers, 16 keys of 1 MB each. With one server (blue) the line
# rises straight to about 190 ms at 32 workers; with four servers (orange) it has about a quarter of the slope; with as
# many servers as workers (green) it is flat.*


# %% experiment="bottleneck"
def synchronous_step(comm, n_servers, keys=16):
    owners = {f"layer{n}": n % n_servers for n in range(keys)}
    parameters = {key: torch.zeros(16) for key, owner in owners.items() if comm.rank >= n_servers or owner == comm.rank}
    gradients = {key: torch.ones(16) for key in owners} if comm.rank >= n_servers else {}
    parameter_server_step(parameters, gradients, owners, n_servers, comm, lambda key, x, grad: x.sub_(grad))


worlds, megabyte = [1, 2, 4, 8, 16, 32], 10**6 // 64
fig, (axes,) = figure(1, width=5.2)
for n, (name, servers_of) in enumerate(
    {
        "one server": lambda w: 1,
        "four servers": lambda w: 4,
        "a server for each worker, up to 16": lambda w: min(w, 16),
    }.items()
):
    times = [
        simulate(synchronous_step, w + servers_of(w), Cluster.flat(ETHERNET), args=(servers_of(w),), scale=megabyte)
        for w in worlds
    ]
    axes.plot(worlds, [1e3 * one.timeline.seconds for one in times], color=COLOURS[n], marker=MARKERS[n], label=name)
    print(f"{name:30s}", ", ".join(f"{1e3 * one.timeline.seconds:.1f}" for one in times), "ms")
axes.set(xlabel="workers", ylabel="milliseconds a step", ylim=(0, None))
axes.legend()
fig

# %% [markdown]
# **A question on it** (2 points). {{ workers }} workers, {{ servers }} servers with evenly shared bytes, one key on
# each; {{ megabytes }} MB of gradients and as much of parameters; {{ gigabytes }} GB/s each way. How long do a step's
# push and pull take at least?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="server_choice"
# Assign the letter of your answer, such as "a", to server_choice.
### BEGIN SOLUTION
server_choice = "{{ server_answer }}"
### END SOLUTION

# %% check="server_choice"
check("server_choice", server_choice)

# %% [markdown]
# ## 2. Whose examples?
#
# The first step of data parallelism is to distribute the data. In every **epoch** each example is to be seen once, by
# one rank, in an order that differs from epoch to epoch and that nobody has to send: all ranks draw it from one seed.
# PyTorch's `DistributedSampler` repeats the first examples where the ranks do not divide their number, so that some
# count twice; yours does not.
#
# Jobs stop and go on, often on other machines, and not on as many. If all that is saved is how many examples have been
# seen, by all ranks together, the rest can be dealt out to whoever is there.
#
# ### Exercise `epoch_shard` (10 points)
#
# Points by part: shares without overlap 4, other epochs 3, going on 3.


# %% exercise="epoch_shard"
def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    """The examples that this rank still has to see in this epoch: int64, one axis, in the order in which it sees them.

    n_examples: examples are 0 to n_examples - 1; may be 0. rank, world_size: of those who are there now.
    epoch, seed: whole numbers. The epoch's order is torch.randperm(n_examples, generator=generator), with a new
        torch.Generator whose manual_seed is seed + epoch: the same on all ranks.
    done: how many examples, from the beginning of that order, have been seen by all ranks together, however many ranks
        there were then; 0 to n_examples.
    The rest is dealt out like cards: its first example to rank 0, the next to rank 1, and so on round. Shares differ by
        one at most; a rank may have none.
    """
    ### BEGIN SOLUTION
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    rest = torch.randperm(n_examples, generator=generator)[done:]
    return rest[torch.arange(len(rest)) % world_size == rank]
    ### END SOLUTION


# %% check="epoch_shard"
check("epoch_shard", epoch_shard)

# %% [markdown]
# **Look at it: three lives of an epoch.** 24 examples on three ranks; after 9 of them one machine is lost, after 6 more
# two others join.
#
# *The figure. Three rows of coloured cells, an epoch's order from left to right, a colour and a number for the rank
# that sees each. The first nine alternate between three ranks, the next six between two, the last nine among four.*

# %% experiment="shares"
fig, (axes,) = figure(1, width=9, height=1.6)
order = epoch_shard(24, 0, 1, 0, 7, 0).tolist()
for done, until, ranks in ((0, 9, 3), (9, 15, 2), (15, 24, 4)):
    for rank in range(ranks):
        for example in epoch_shard(24, rank, ranks, 0, 7, done).tolist():
            if (place := order.index(example)) < until:
                axes.barh(0, 0.94, left=place, color=COLOURS[rank], height=0.8)
                axes.text(place + 0.47, 0, f"example {example}\nrank {rank}", ha="center", va="center", fontsize=5.5,
                          color="white", rotation=90)  # fmt: skip
    axes.text((done + until) / 2, 0.5, f"{ranks} ranks", ha="center", fontsize=9)
axes.set(yticks=[], xlabel="place in the epoch's order", xlim=(0, 24), ylim=(-0.45, 0.7))
fig

# %% [markdown]
# ## 3. Several flows at once
#
# When all workers push at the same time, their messages cross the server's port together. A port that served them one
# after the other would be done with the first one early; a real network shares it: each of $k$ flows gets $1/k$ of the
# port, so that all are slow and all end last. That is **incast**. Rates are *max-min fair* when no flow can have more
# without taking it from one that has no more; TCP comes near that. `Cluster(fair_share=True)` works so.
#
# Nothing is lost, the port works all the time. But who has a small message behind large ones gets through early in one
# case and not in the other, and a worker whose push ends last begins its next step last.
#
# *The figure. Left: eight workers push 1 MB at once, with seconds of computing that differ; bars from when each begins
# to push to when the server has all of it. In turn (blue) bars are short and end one after the other; shared (orange,
# hatched) all are long and end nearly together. Right: a worker with 50 KB among them, over the number of the others:
# in turn it waits longer the more there are before it; shared, its message takes a time that grows with the flows.*


# %% experiment="incast"
def incast(comm, sizes):
    if comm.rank == 0:
        for worker, size in enumerate(sizes, 1):
            comm.recv(torch.empty(size, dtype=torch.uint8), worker)
        return None
    comm.compute(2e-5 * comm.rank)
    begun = comm.now()
    comm.isend(torch.zeros(sizes[comm.rank - 1], dtype=torch.uint8), 0).wait()
    return 1e3 * begun, 1e3 * comm.now()


fig, (left, right) = figure(2, width=5)
for n, (name, fair) in enumerate({"in turn": False, "shared": True}.items()):
    network = Cluster.flat(ETHERNET, fair_share=fair)
    for worker, (begun, ended) in enumerate(simulate(incast, 9, network, args=([1000] * 8,), scale=1000).results[1:]):
        left.barh(worker + 0.4 * n, ended - begun, 0.4, left=begun, color=COLOURS[n], hatch="//" * n,
                  edgecolor="white", label=name if worker == 0 else "")  # fmt: skip
    counts = [1, 2, 4, 8, 16]
    small = [simulate(incast, w + 2, network, args=([1000] * w + [50],), scale=1000).results[-1] for w in counts]
    right.plot(counts, [ended - begun for begun, ended in small], color=COLOURS[n], marker=MARKERS[n], label=name)
left.set(title="8 workers push 1 MB", xlabel="milliseconds", ylabel="worker")
right.set(title="50 KB behind so many MB", xlabel="other workers", ylabel="milliseconds")
left.legend()
right.legend()
fig

# %% [markdown]
# ## 4. What goes first
#
# The lecture's order of a step is
#
# $$ bp_N \to bp_{N-1} \to \dots \to bp_1 \to fp_1 \to fp_2 \to \dots \to fp_N : $$
#
# backward makes the gradient of the *last* layer first, and the next forward needs the parameters of the *first* layer
# first, whose gradient comes last of all. First in, first out sends layer $N$ while nobody needs it, and makes layer 1
# wait behind it. **Priority by layer** sends, whenever the link is free, what forward needs first of all that is there.
#
# A large tensor that is under way cannot be called back. So tensors are cut into **slices**: then a more urgent layer
# waits for the end of a slice only, and *pre-empts* the rest. Slices are not free: each costs an overhead.
#
# ### Exercise `priority_schedule` (12 points)
#
# Points by part: first in, first out 3; priority 4; slices 5.


# %% exercise="priority_schedule"
def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    """(slices, spans, end) of one step on paper, from the beginning of backward, time 0, to the end of the forward
    after it.

    backward, forward: seconds of each layer, lists; layer 0 is the first. Backward runs from the last layer to the
        first without a pause, and a layer's gradient is there when its backward ends.
    transfer: seconds of the link for each layer, push and pull together; 0 for a layer with nothing to send.
    slice_seconds: a layer's transfer is cut into slices of so many seconds, the last of which has the rest; may be
        infinite. overhead: seconds that each slice takes more.
    policy: the link sends one slice after the other. Whenever it is free, it sends the next slice of a layer whose
        gradient is there (at that very moment, or before): with "priority" of the lowest such layer, with "fifo" of the
        one whose gradient was there first. Where none is there, it waits for the next one.
    A layer's forward begins when backward has ended, the forward of the layer before it has, and its own last slice
        has been sent.
    slices: a list of (layer, start, end) in the order sent. spans: a list of (start, end) of each layer's forward.
    end: of the last one.
    """
    ### BEGIN SOLUTION
    n = len(backward)
    gradient_at = [math.fsum(backward[layer:]) for layer in range(n)]
    rest, done, slices, now = list(transfer), list(gradient_at), [], 0.0
    while any(seconds > 0 for seconds in rest):
        there = [layer for layer in range(n) if rest[layer] > 0 and gradient_at[layer] <= now]
        if not there:
            now = min(gradient_at[layer] for layer in range(n) if rest[layer] > 0)
            continue
        layer = there[0] if policy == "priority" else there[-1]
        piece = min(rest[layer], slice_seconds)
        slices.append((layer, now, now + piece + overhead))
        rest[layer] -= piece
        now = done[layer] = slices[-1][2]
    spans, now = [], gradient_at[0]
    for layer in range(n):
        begin = max(now, done[layer])
        now = begin + forward[layer]
        spans.append((begin, now))
    return slices, spans, now
    ### END SOLUTION


# %% check="priority_schedule"
check("priority_schedule", priority_schedule)

# %% [markdown]
# **Look at it: the lecture's three layers**, the last of which is large, as an output layer is; and how long a slice
# should be. P3 (Jayarajan et al. 2019) reports up to 25 to 66% more throughput, by model; ByteScheduler (Peng et al.
# 2019), which also overlaps push and pull and searches the size of slices, up to 196% more.
#
# *The figure. Left, three charts over time, each with a row for computing (blue: backward, then forward) and one for
# the link (orange, hatched). First in, first out: forward waits for the link until 7 s, and ends at 10. Priority
# without slices: layer 3's transfer is under way when layer 1's gradient comes, so layer 1 waits until 5 s; 9 s.
# With slices forward begins at 4 s and ends at 8. Right: throughput over first in, first out without slices, by the
# length of a slice, of 16 equal layers on a link as slow as computing: best in the middle.*

# %% experiment="priority"
fig, (left, right) = figure(2, width=6, height=4)
ones, late = [1.0, 1.0, 1.0], [1.0, 1.0, 4.0]
kinds = {"first in,\nfirst out": (math.inf, "fifo"), "priority": (math.inf, "priority"), "in slices": (1.0, "priority")}
for n, (cut, policy) in enumerate(kinds.values()):
    slices, spans, end = priority_schedule(ones, ones, late, cut, 0.0, policy)
    bars = [(f"bp{3 - k}", k, k + 1, 0) for k in range(3)]
    bars += [(f"fp{k + 1}", *span, 0) for k, span in enumerate(spans)]
    bars += [(str(layer + 1), start, stop, 1) for layer, start, stop in slices]
    for words, start, stop, link in bars:
        left.barh(-3 * n - link, stop - start, 0.9, left=start, color=COLOURS[link], hatch="//" * link,
                  edgecolor="white")  # fmt: skip
        left.text((start + stop) / 2, -3 * n - link, words, ha="center", va="center", fontsize=8,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    print(f"{list(kinds)[n]!r}: {end:.0f} s")
left.set_yticks([-3 * n - 0.5 for n in range(3)], list(kinds))
left.set(xlabel="seconds", xlim=(0, 10.2))
cuts, layers = [2.0**k for k in range(-7, 2)], [1e-2] * 16
for n, overhead in enumerate((1e-4, 5e-4, 2e-3)):
    sent = [2e-2] * 8 + [6e-2] * 8
    base = priority_schedule(layers, layers, sent, math.inf, overhead, "fifo")[2]
    gain = [
        100 * (base / priority_schedule(layers, layers, sent, 2e-2 * cut, overhead, "priority")[2] - 1) for cut in cuts
    ]
    right.plot([20 * cut for cut in cuts], gain, color=COLOURS[n], marker=MARKERS[n], label=f"{1e3 * overhead:g} ms")
right.axhline(0, color=COLOURS[6], linewidth=1, linestyle="--", marker="")
right.set(xscale="log", xlabel="milliseconds a slice", ylabel="% more throughput than first in, first out")
right.legend(title="overhead of a slice")
fig

# %% [markdown]
# ## 5. Not waiting
#
# A synchronous step takes as long as its slowest worker. In **asynchronous** training a worker that has pushed pulls
# what the server has and goes on. Nobody waits; but a gradient may be of parameters that others have changed since. The
# **staleness** of a push is the number of other pushes that came between it and its pull.
#
# **Stale synchronous parallel** (Ho et al. 2013) bounds it: a worker may be ahead of the slowest one by so many
# iterations and no more. A bound of 0 is synchronous training, no bound asynchronous.
#
# Nothing here is measured by a clock: given how long each iteration of each worker takes, who pulls and pushes when
# follows, and so it is graded.
#
# ### Exercise `bounded_staleness` (12 points)
#
# Points by part: synchronous 2, a bound 5, no bound 2, workers that end early 3. `heapq` or a plain `min` both do.


# %% exercise="bounded_staleness"
def bounded_staleness(seconds, bound):
    """All pulls and pushes in order: a list of (time, what, worker, version).

    seconds: for each worker a list of the seconds of its iterations, each above 0; lists may differ in length and may
        be empty. Times are sums that come out exactly, so == finds which are equal.
    bound: a whole number from 0 on, or None for no bound.
    A worker pulls, computes so many seconds, pushes, and at once wants to pull for its next iteration, if it has one.
        The first pulls are wanted at time 0. Let c be the number of iterations that a worker has finished. It may pull
        if c - c' <= bound for every worker that has iterations left, c' being the number that that one has finished;
        else it waits, and pulls as soon as it may. Who has none left is waited for by nobody.
    At the same time all pushes come before all pulls; of several the lower worker comes first.
    what: "pull" or "push". version: how many pushes there have been so far, in all, at a push this one included.
    """
    ### BEGIN SOLUTION
    events, running, finished, version, now = [], [], [0] * len(seconds), 0, 0.0
    wants = {worker for worker, own in enumerate(seconds) if own}
    while wants or running:
        slowest = min(finished[worker] for worker in [*wants, *(worker for _, worker in running)])
        for worker in sorted(wants):
            if bound is None or finished[worker] <= slowest + bound:
                events.append((now, "pull", worker, version))
                heapq.heappush(running, (now + seconds[worker][finished[worker]], worker))
                wants.discard(worker)
        now = running[0][0]
        while running and running[0][0] == now:
            worker = heapq.heappop(running)[1]
            version += 1
            finished[worker] += 1
            events.append((now, "push", worker, version))
            if finished[worker] < len(seconds[worker]):
                wants.add(worker)
    return events
    ### END SOLUTION


# %% check="bounded_staleness"
check("bounded_staleness", bounded_staleness)

# %% [markdown]
# **Look at it: a language model that learns without waiting.** Lab 3's `Decoder`, your own if you carried it, learns
# the letters of the King James Bible. Of four workers one is four times slower. Your events say who pulls and pushes
# when; the gradients are real, each at the parameters that its worker pulled, of the examples that your `epoch_shard`
# gives it. Takes about half a minute.
#
# *The figure. The loss, a mean over twelve pushes. Left over the workers' time: asynchronous (green) and a bound of 3
# (orange) are far along when synchronous training (blue) has made a few steps. Right over the number of pushes: the
# synchronous line is lowest, since every push is of the newest parameters or nearly so.*

# %% experiment="asynchronous"
torch.set_num_threads(1)
Decoder = take("transformer", "Decoder")
text = " ".join(verse.archaic for verse in verses()[:4000]).lower()
letters = sorted(set(text))
codes = torch.tensor([letters.index(letter) for letter in text])
windows = codes[: len(codes) // 33 * 33].view(-1, 33)  # 32 letters, and for each the one that follows
sizes = {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "head_dim": 8, "d_ffn": 64}


def language_model():
    torch.manual_seed(8)
    return Decoder(ModelConfig(vocabulary=len(letters), context=32, **sizes))


def language_loss(model, examples):
    x = windows[examples]
    return F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())


def train_by_events(events, workers, rate=0.25):
    """(time, loss) of each push; the parameters of a worker are those that it pulled."""
    server, worker_model = language_model(), language_model()
    shares = [epoch_shard(len(windows), worker, workers, 0, 5, 0) for worker in range(workers)]
    pulled, count, found = {}, [0] * workers, []
    for time, what, worker, _ in events:
        if what == "pull":
            pulled[worker] = [p.detach().clone() for p in server.parameters()]
            continue
        with torch.no_grad():
            for p, value in zip(worker_model.parameters(), pulled[worker], strict=True):
                p.copy_(value)
        own = shares[worker][8 * count[worker] :][:8]
        count[worker] += 1
        loss = language_loss(worker_model, own)
        gradients = torch.autograd.grad(loss, list(worker_model.parameters()))
        with torch.no_grad():
            for p, gradient in zip(server.parameters(), gradients, strict=True):
                p.sub_(rate * gradient)
        found.append((time, loss.item()))
    return found


ticks = [[1.0] * 200, [1.0] * 200, [1.25] * 200, [4.0] * 200]
fig, (left, right) = figure(2, width=5)
for n, (name, bound) in enumerate({"synchronous": 0, "bound of 3": 3, "asynchronous": None}.items()):
    events = [event for event in bounded_staleness(ticks, bound) if event[0] <= 100]
    pulls, stale = {}, []
    for _, what, worker, version in events:
        if what == "pull":
            pulls[worker] = version
        else:
            stale.append(version - 1 - pulls[worker])
    found = train_by_events(events, 4)
    smooth = [sum(loss for _, loss in found[k - 12 : k]) / 12 for k in range(12, len(found), 6)]
    style = {"color": COLOURS[n], "marker": MARKERS[n], "markevery": 4, "label": name}
    left.plot([found[k][0] for k in range(12, len(found), 6)], smooth, **style)
    right.plot(range(12, len(found), 6), smooth, **style)
    print(f"{name:13s} {len(found)} pushes in 100 s, staleness at most {max(stale)}, on average "
          f"{sum(stale) / len(stale):.1f}; loss at the end {smooth[-1]:.2f}")  # fmt: skip
left.set(xlabel="seconds of the workers", ylabel="loss")
right.set(xlabel="pushes", ylabel="loss")
left.legend()
fig

# %% [markdown]
# ### Question `why_wait` (4 points)
#
# Use both panels and the printed lines. Why do the two panels order the three kinds otherwise? What does the bound
# trade against what, and when would you train with a bound of 0, and when without any?

# %% [markdown] question="why_wait"
# ### BEGIN SOLUTION
# Over time, who does not wait makes about three times as many pushes: fast workers do not lose three of four seconds
# to the slow one. Over pushes the synchronous line is lowest, since a stale gradient is of parameters that others have
# changed since, a dozen times for the slow worker's, so it points a little elsewhere. The bound trades waiting against
# staleness: with 3 the fast ones run ahead by three iterations and then go at the slow one's pace. A bound of 0 where
# workers are alike, rates are high, or runs must be repeatable; none where workers are slow at random, in turn, and the
# rate is small enough that stale gradients still help.
# ### END SOLUTION

# %% [markdown]
# ## Extensions
#
# ### Extension `shard_keys` (6 bonus points)
#
# The fullest server decides how long a step takes, and keys differ: an embedding has a hundred times the bytes of a
# norm. To find the best split is hard; a greedy rule is never worse than 4/3 of it (Graham 1969): the largest key
# first, to the server that has the fewest bytes so far. Points by part: balance 3, equal sizes and edges 3.


# %% exercise="shard_keys"
def shard_keys(sizes, n_servers):
    """A dict from key to the server that owns it, 0 to n_servers - 1; keys in the order of sizes.

    sizes: a dict from key to bytes, whole numbers, also 0; may be empty. Of equal sizes the key that comes earlier in
    sizes goes first; of servers with equally few bytes the lowest takes it.
    """
    ### BEGIN SOLUTION
    servers, owners = [(0, server) for server in range(n_servers)], {}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        held, server = heapq.heappop(servers)
        owners[key] = server
        heapq.heappush(servers, (held + sizes[key], server))
    return {key: owners[key] for key in sizes}
    ### END SOLUTION


# %% check="shard_keys"
check("shard_keys", shard_keys)

# %% [markdown]
# ### Extension `backup_workers` (4 bonus points)
#
# Synchronous, and still nobody waits for the slowest (Chen et al. 2016): start more workers than gradients are needed,
# end the step with the first so many, and drop the rest. Points by part: steps 3, equal times 1.


# %% exercise="backup_workers"
def backup_workers(seconds, accepted):
    """For each step a pair: when it ends, and a list of the workers whose gradients it took, ascending.

    seconds: for each worker a list of the seconds that its gradient takes in each step; at least one worker, and all
    lists are equally long. All begin a step together; it ends when `accepted` gradients, 1 to all, have come, and those
    who are late give up and begin the next one with the others. Of equal times the lower worker comes first.
    """
    ### BEGIN SOLUTION
    now, steps = 0.0, []
    for step in range(len(seconds[0])):
        came = sorted((own[step], worker) for worker, own in enumerate(seconds))[:accepted]
        now += came[-1][0]
        steps.append((now, sorted(worker for _, worker in came)))
    return steps
    ### END SOLUTION


# %% check="backup_workers"
check("backup_workers", backup_workers)

# %% [markdown]
# ## What you built
#
# `mlsys_course.parameter_server`, which comes with lab 9's edition, is the reference: your functions under your names,
# and beside them `train_on_servers`, which compares keys, shapes and owners on all ranks before it begins, and
# `staleness_with_absences`, in which workers die and rejoin.
#
# **Papers.** Li et al. 2014 (the parameter server); Ho et al. 2013 (stale synchronous parallel); Chen et al. 2016
# (backup workers); Jayarajan et al. 2019 (P3); Peng et al. 2019 (ByteScheduler).
