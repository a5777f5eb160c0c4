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
# Exercises may not use `torch.distributed` and its sampler. Arguments stay as they are but for what one says changes.

# %%
import hashlib
import heapq
import math

import torch
import torch.nn.functional as F

from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate.data import letter_windows
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.plot import COLOURS, MARKERS, figure, timeline
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
print(results, "bytes sent by each rank:", traffic.bytes_sent)

# %% [markdown]
# Where ranks wait for messages that nobody has sent there is a *deadlock*: on real machines a job that stands still.
# Here you are told who waits for whom.
#
# **The parameter server** (Li et al. 2014). Ranks 0 to $S - 1$ are servers, the other $W = P - S$ are workers. Every
# parameter has a *key*, and each key is one server's. In a step, every worker computes gradients on its own examples
# and
#
# 1. **pushes** each gradient to the server of its key;
# 2. the server takes the mean over the workers and lets the optimizer update its parameter, once;
# 3. every worker **pulls** the new parameter.
#
# With equal shares of the batch the mean of the workers' gradients is that of the whole batch, so $W$ workers train as
# one process does. Messages come in any order; but a receive names its sender, so a server that adds in the order of
# ranks gets the same bits in every run.
#
# ```
#        worker 2            server 0 (embed, head)         server 1 (block)            worker 3
#        push embed  ------>   recv embed from 2, 3  <---------------------------------  push embed
#        push block  ---------------------------------->   recv block from 2, 3  <-----  push block
#        push head   ------>   update embed, answer
#        pull embed  <------   recv head from 2, 3, ...    update block, answer
# ```
#
# A key is answered as soon as it can be: while `embed` is on its way back, `head` is still being pushed.
#
# ### Exercise `parameter_server_step` (16 points)
#
# Points by part: values with one server 5, several servers 4, the order of messages 4, bytes and messages 3. Order,
# bytes and messages are seen outside your function: while grading, each rank is a process in a sandbox of its own.


# %% exercise="parameter_server_step"
def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    """One synchronous step on this rank. Returns nothing.

    parameters: a dict from key to tensor, float64 or float32, in any order of keys; none requires gradients. A worker
        has all keys, a server those that it owns. Shapes (any, also () and without entries) and dtypes are the same on
        all ranks.
    gradients: on a worker a dict in any order, this worker's gradients, like the parameters; on a server empty.
    owners: a dict from key to the rank of its server; the same on all ranks, in the same order. Any may own no key.
    n_servers: ranks 0 to n_servers - 1 are servers, the others workers; at least one of each.
    update(key, parameter, gradient): changes parameter in place, as an optimizer with a memory does. Call it on the
        key's server, once a step for each key, with the mean of all workers' gradients, whatever their entries are.
    Afterwards the servers' parameters are updated, and every worker's are the servers', all in place: the tensors in
        parameters are changed, not replaced. gradients stay as they are.
    Messages: for each key one gradient from each worker to its server, one parameter back. A worker sends its gradients
        in the order of owners, all before any recv or irecv. A server receives a key from all workers, then sends it
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
# function run on simulated machines with an Ethernet card each.
#
# *The figure. Milliseconds a step over the number of workers, 16 keys of 1 MB each, with ports shared by all who cross
# them. One server's line (blue) rises straight, to 174 ms at 32 workers; four servers' (orange) rises from four workers
# on, to 51; sixteen servers' (green) is nearly flat, 10 ms at 16.*


# %% experiment="bottleneck"
def synchronous_step(comm, n_servers, keys=16):
    owners = {f"layer{n}": n % n_servers for n in range(keys)}
    parameters = {key: torch.zeros(16) for key, owner in owners.items() if comm.rank >= n_servers or owner == comm.rank}
    gradients = {key: torch.ones(16) for key in owners} if comm.rank >= n_servers else {}
    parameter_server_step(parameters, gradients, owners, n_servers, comm, lambda key, x, grad: x.sub_(grad))


worlds, megabyte = [1, 2, 4, 8, 16, 32], 10**6 // 64
fig, (axes,) = figure(1, width=5.2)
for n, (name, servers) in enumerate({"one server": 1, "four servers": 4, "sixteen servers": 16}.items()):
    network = Cluster.flat(ETHERNET, fair_share=True)
    found = [simulate(synchronous_step, w + servers, network, args=(servers,), scale=megabyte) for w in worlds]
    times = [1e3 * run.timeline.seconds for run in found]
    axes.plot(worlds, times, color=COLOURS[n], marker=MARKERS[n], label=name)
    print(f"{name:15s}", ", ".join(f"{time:.1f}" for time in times), "ms")
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
# PyTorch's `DistributedSampler` repeats the first examples where shares would differ; yours does not. Jobs stop and go
# on, on other machines, and not on as many. If all that is saved is how many examples have been seen, by all ranks
# together, the rest can be dealt out to whoever is there.
#
# ### Exercise `epoch_shard` (10 points)
#
# Points by part: shares without overlap 4, other epochs 3, going on 3.


# %% exercise="epoch_shard"
def epoch_shard(n_examples, rank, world_size, epoch, seed, done):
    """The examples that this rank still has to see in this epoch: a new int64 tensor, one axis, in the order of seeing.

    n_examples: examples are 0 to n_examples - 1; may be 0. rank, world_size: of those who are there now.
    epoch, seed: from 0 on, to 2**32. The epoch's order is torch.randperm(n_examples, generator=generator), with a new
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
# ## 3. Several flows at once
#
# When all workers push at the same time, their messages cross the server's port together. A port that served them one
# after the other would be done with the first one early; a real network shares it: each of $k$ flows gets $1/k$ of the
# port, so that all are slow and all end last. That is **incast**. Rates are *max-min fair* when no flow can have more
# without taking it from one that has no more; TCP comes near that. `Cluster(fair_share=True)` works so.
#
# *The figure. Left: eight workers push 1 MB nearly at once; bars from when each begins until the server has all of it.
# In turn (blue) they end one after the other; shared (orange, hatched) all are slow and end nearly together. Right: a
# worker with 50 KB among others with 1 MB, over their number: in turn it waits for all before it (blue, up to 5 ms);
# shared, it has its part of the port at once (orange, 0.3 ms).*


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
    spans = simulate(incast, 9, network, args=([1000] * 8,), scale=1000).results[1:]
    bars = [(worker + 0.4 * n, *span, n, name if worker == 7 else "") for worker, span in enumerate(spans)]
    timeline(left, bars, height=0.4)
    counts = [1, 2, 4, 8, 16]
    small = [simulate(incast, w + 2, network, args=([1000] * w + [50],), scale=1000).results[-1] for w in counts]
    right.plot(counts, [ended - begun for begun, ended in small], color=COLOURS[n], marker=MARKERS[n], label=name)
left.set(title="8 workers push 1 MB", xlabel="milliseconds", ylabel="worker")
right.set(title="50 KB behind so many MB", xlabel="other workers", ylabel="milliseconds")
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

    backward, forward: seconds of each layer, lists, all above 0; layer 0 is the first, and there is one at least.
        Backward runs from the last layer to the first without a pause; a layer's gradient is there when its own ends.
    transfer: seconds of the link for each layer, push and pull together; 0 for a layer with nothing to send, no slice.
    slice_seconds: a layer's transfer is cut into slices of so many seconds, the last of which has the rest; may be
        infinite. There may be thousands. overhead: seconds that each slice takes more. Sums and differences are exact.
    policy: the link sends one slice after the other. Whenever it is free, it sends the next slice of a layer whose
        gradient is there (at that very moment, or before): with "priority" of the lowest such layer, with "fifo" of the
        one whose gradient was there first. Where none is there, it waits for the next one.
    A layer's forward begins when backward has ended, the forward of the layer before it has, and its own last slice
        has been sent.
    slices: a list of (layer, start, end) in the order sent. spans: a list of (start, end) of each layer's forward.
    end: when the last layer's forward ends.
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
# without slices: layer 3's transfer is under way when layer 1's gradient comes, so forward begins at 6 s; 9 s. With
# slices it begins at 4 s and ends at 8. Right: throughput over first in, first out without slices, by the length of a
# slice, of 15 equal layers and one with thirty times as much to send: about 40% more for slices of 20 to 100 ms, less
# without slices (right end), and a loss where slices cost more than they carry (left end).*

# %% experiment="priority"
fig, (left, right) = figure(2, width=6, height=4)
ones, late = [1.0, 1.0, 1.0], [1.0, 1.0, 4.0]
kinds = {"first in,\nfirst out": (math.inf, "fifo"), "priority": (math.inf, "priority"), "in slices": (1.0, "priority")}
for n, (cut, policy) in enumerate(kinds.values()):
    slices, spans, end = priority_schedule(ones, ones, late, cut, 0.0, policy)
    bars = [(-3 * n, k, k + 1, 0, f"bp{3 - k}") for k in range(3)]
    bars += [(-3 * n, *span, 0, f"fp{k + 1}") for k, span in enumerate(spans)]
    bars += [(-3 * n - 1, start, stop, 1, str(layer + 1)) for layer, start, stop in slices]
    timeline(left, bars)
left.set_yticks([-3 * n - 0.5 for n in range(3)], list(kinds))
left.set(xlabel="seconds", xlim=(0, 10.2))
cuts, layers, sent = [2.0**k for k in range(-11, 0)], [1e-2] * 16, [8e-3] * 15 + [0.24]
for n, overhead in enumerate((1e-4, 5e-4, 2e-3)):
    base = priority_schedule(layers, layers, sent, math.inf, overhead, "fifo")[2]
    gain = [100 * (base / priority_schedule(layers, layers, sent, cut, overhead, "priority")[2] - 1) for cut in cuts]
    right.plot([1e3 * cut for cut in cuts], gain, color=COLOURS[n], marker=MARKERS[n], label=f"{1e3 * overhead:g} ms")
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
# ### Exercise `bounded_staleness` (12 points)
#
# Points by part: synchronous 2, a bound 5, no bound 2, workers that end early 3. `heapq` or a plain `min` both do.


# %% exercise="bounded_staleness"
def bounded_staleness(seconds, bound):
    """All pulls and pushes in order: a list of (time, what, worker, version).

    seconds: for each worker a list of the seconds of its iterations, each above 0; lists may differ in length, be
        empty, all of them too, or have thousands. Times are sums that come out exactly, so == finds which are equal.
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
# the letters of the King James Bible on four workers. An iteration takes a second, and now and then, of whichever
# worker, six. Your events say who pulls and pushes when; the gradients are real, each at the parameters that its worker
# pulled, of the examples that your `epoch_shard` gives it. (Ranks as programs cannot say "from whoever comes first"; so
# the cell plays all of them itself.)
#
# *The figure. The loss, a mean over twelve pushes. Left, over time: synchronous training (blue) is slowest, with 120
# pushes in 100 s; a bound of 3 (orange, 200 pushes) is nearly as fast as no bound (green, 238). Right, over pushes, the
# three lines all but coincide.*

# %% experiment="asynchronous"
torch.set_num_threads(1)  # tensors this small are done before a second thread has begun
Decoder = take("transformer", "Decoder")
windows, alphabet = letter_windows(33)  # 32 letters, and for each the one that follows


def language_model():
    torch.manual_seed(8)
    return Decoder(ModelConfig(len(alphabet), 32, 48, 2, 4, 4, 12, 96))


def gradient_on(model, examples):
    """The loss, and its gradient, flat."""
    x = windows[examples]
    loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
    return loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def descend(model, gradient, rate):
    pieces = gradient.split([p.numel() for p in model.parameters()])
    with torch.no_grad():
        for p, piece in zip(model.parameters(), pieces, strict=True):
            p.sub_(rate * piece.view_as(p))


def train_by_events(events, workers):
    """(time, loss, staleness) of each push; the parameters of a worker are those that it pulled."""
    server, found = language_model(), []
    copies = [(language_model(), iter(epoch_shard(len(windows), n, workers, 0, 5, 0).split(8))) for n in range(workers)]
    since = [0] * workers
    for time, what, worker, version in events:
        model, share = copies[worker]
        if what == "pull":
            model.load_state_dict(server.state_dict())
            since[worker] = version
        else:
            loss, gradient = gradient_on(model, next(share))
            descend(server, gradient, 0.1)
            found.append((time, loss, version - since[worker] - 1))
    return found


slow = torch.rand(4, 150, generator=torch.Generator().manual_seed(2)) < 1 / 8
ticks = torch.where(slow, 6.0, 1.0).tolist()
fig, (left, right) = figure(2, width=5)
for n, (name, bound) in enumerate({"synchronous": 0, "bound of 3": 3, "asynchronous": None}.items()):
    found = train_by_events([event for event in bounded_staleness(ticks, bound) if event[0] <= 100], 4)
    smooth = [sum(row[1] for row in found[k - 12 : k]) / 12 for k in range(12, len(found), 6)]
    style = {"color": COLOURS[n], "marker": MARKERS[n], "markevery": 4, "label": name}
    left.plot([found[k][0] for k in range(12, len(found), 6)], smooth, **style)
    right.plot(range(12, len(found), 6), smooth, **style)
    stale = [row[2] for row in found]
    print(f"{name:13s} {len(found)} pushes in 100 s, staleness at most {max(stale)}, on average "
          f"{sum(stale) / len(stale):.1f}; loss at the end {smooth[-1]:.2f}")  # fmt: skip
left.set(xlabel="seconds of the workers", ylabel="loss")
right.set(xlabel="pushes", ylabel="loss")
left.legend()
fig

# %% [markdown]
# ### Question `why_wait` (4 points)
#
# Use both panels and the printed lines. Who waits loses time; what does who does not wait pay? Why is so little of that
# seen in the right panel, and when would more be? When would you train with a bound of 0, and when without any?

# %% [markdown] question="why_wait"
# ### BEGIN SOLUTION
# A synchronous step takes as long as the slowest of four, and one of four is slow in four steps of ten: 120 pushes in
# 100 s for 238. Who does not wait pays with stale gradients, of parameters that others have changed since: two pushes
# on average, up to 16. Right there is little of it to see: the rate is small and workers are few, so two pushes later
# the gradient is nearly the same (and synchronous pushes, counted one by one, are late by 1.5 themselves). With a
# larger rate or hundreds of workers stale steps overshoot. A bound of 0 where workers are alike or runs must be
# repeatable, a small bound where workers are slow in turn, none where one is always slow and the rate is small.
# ### END SOLUTION

# %% [markdown]
# ## 6. Compression: what goes over the wire
#
# A gradient is noisy: it is the mean over a few examples. So it need not arrive exactly. Two ideas, from lecture note
# 001: **sparsification**, fewer entries; and **quantization**, fewer bits for each.
#
# **Top-k** sends the $k$ entries that are largest in magnitude, each with its index. With $k$ a hundredth of $n$ that
# is 2% of the bytes, since an index costs as much as a value. The rest must not be lost: an entry that is small in
# every step may be what the model needs. **Error feedback** keeps what was not sent, the *residual*, and adds it to the
# next gradient:
#
# $$ a_t = g_t + r_{t-1}, \qquad s_t = \mathrm{top}_k(a_t), \qquad r_t = a_t - s_t . $$
#
# Summed over steps, $\sum s_t + r_T = \sum g_t$: everything is sent, some of it late.
#
# ### Exercise `sparsify` (12 points)
#
# Points by part: what is chosen 4, the residual over steps 4, equal magnitudes 2, edges 2.


# %% exercise="sparsify"
def sparsify(gradient, residual, k):
    """(values, indices, residual): the k largest entries of gradient + residual, and what is left.

    gradient, residual: tensors of one shape, any, also without entries or axes, and one dtype: float64, float32 or
        bfloat16, in which they are added. They may lie in memory in any order (a transposed matrix).
    k: a whole number from 0 on. Where it is larger than the number of entries, all are sent.
    values: the k entries of gradient + residual that are largest in magnitude, with their signs, in the order of their
        indices; a new tensor, one axis, the gradient's dtype. Of equal magnitudes the smaller index goes first.
    indices: where they stand in the flattened tensor (row after row), ascending; int64.
    residual: a new tensor of the gradient's shape: gradient + residual, with zeros where an entry was sent.
    """
    ### BEGIN SOLUTION
    left = (gradient + residual).flatten()
    order = left.abs().argsort(descending=True, stable=True)
    indices = order[:k].sort().values
    values = left[indices]
    left[indices] = 0
    return values, indices, left.view(gradient.shape)
    ### END SOLUTION


# %% check="sparsify"
check("sparsify", sparsify)

# %% [markdown]
# **Quantization.** With $L$ *levels* $\ell_0 < \dots < \ell_{L-1}$ that both sides know, an entry becomes a **code**,
# the index of a level, in $\lceil\log_2 L\rceil$ bits. Rounding to the nearest level makes the same error in every
# step, and errors of the same sign add up. **Random rounding** does not: an entry at the share
#
# $$ p = \frac{x - \ell_i}{\ell_{i+1} - \ell_i} $$
#
# of the way from $\ell_i$ to $\ell_{i+1}$ goes up with probability $p$. Then what arrives is *on average* what was
# sent, $(1-p)\,\ell_i + p\,\ell_{i+1} = x$: it is **unbiased**, and the mean over many workers and steps comes out
# right.
#
# Where are the levels? Evenly spaced up to a scale that is sent along: the largest magnitude (*ternary*: -1, 0, 1) or
# the Euclidean norm (*QSGD*). Or at the quantiles of the values, "with consideration of the value distribution": most
# entries of a gradient are tiny, and even levels spend nearly all codes on the few that are not.
#
# Chance comes in from outside, as uniforms `u`, so that a run can be repeated. Labs 10, 12 and 14 use your function for
# weights, activations and caches.
#
# ### Exercise `quantize` (14 points)
#
# Points by part: codes of even levels 4, unbiased 4, levels of other kinds 3, edges 3.


# %% exercise="quantize"
def quantize(x, levels, u):
    """The code of each entry of x, int64, of x's shape: an index into levels.

    x: a tensor of any shape and order in memory; float64, float32, float16 or bfloat16.
    levels: a tensor with one axis, strictly increasing, at least one entry; float32 whatever dtype x has.
    u: numbers in [0, 1), a float32 tensor of x's shape, or one Python number for all entries.
    An entry between two levels, at the share p of the way up, gets the upper one exactly where u < p, else the lower;
        an entry on a level gets that level. p is worked out in float32 or finer; u is p, or 1e-5 or more from it.
    An entry below the first or above the last level, also an infinite one, gets that level.
    Raises ValueError where an entry is NaN.
    """
    ### BEGIN SOLUTION
    if x.isnan().any():
        raise ValueError("no level stands for NaN")
    x = x.double().clamp(levels[0], levels[-1])
    upper = torch.searchsorted(levels, x.contiguous())  # the first level that is not below x
    lower = (upper - 1).clamp(min=0)
    share = (x - levels[lower]) / (levels[upper] - levels[lower])
    return torch.where(u < share, upper, lower)
    ### END SOLUTION


# %% check="quantize"
check("quantize", quantize)

# %% [markdown]
# **Look at it: what compression costs, and what it gains.** Four workers and a server train lab 3's decoder on real
# text, letter by letter. Gradients and the server's mean go through your functions, both ways; with error feedback
# where a method is biased. The cell counts bytes, and works out seconds for a server behind a link of 100 Mb/s with
# steps of 50 ms. It needs the cell `asynchronous`, and a minute.
#
# *The figure: the mean loss of ten steps, left over the megabytes that each worker has sent and received, right over
# seconds, both logarithmic. All but one method end near what is sent as it is, 2.20 to 2.26, with 8 to 50 times fewer
# bytes, and in a fifth of the time. Top-k without feedback stays at 2.5: it forgets what it did not send. Levels at the
# quantiles do no better than QSGD's: gaps at the ends are wide, and random rounding there is loud.*


# %% experiment="compression"
def train(aggregate, steps, workers, rate=0.2):
    """Losses by step; aggregate makes one gradient of the workers' gradients."""
    model, losses = language_model(), []
    shares = [epoch_shard(len(windows), worker, workers, 0, 5, 0).split(4) for worker in range(workers)]
    for step in range(steps):
        found = [gradient_on(model, share[step]) for share in shares]
        descend(model, aggregate([gradient for _, gradient in found]), rate)
        losses.append(sum(loss for loss, _ in found) / workers)
    return losses


# Each takes a gradient, a residual and uniforms, and returns what arrives, the residual, and the bytes sent.


def top_k(x, residual, u):
    values, indices, left = sparsify(x, residual, len(x) // 100)
    return torch.zeros_like(x).index_put((indices,), values), left, 8 * len(values)


def in_buckets(count, bits, norm):
    levels = torch.linspace(-1, 1, count)

    def compress(x, residual, u):  # 256 entries share a scale
        rows, drawn = (F.pad(each, (0, -len(x) % 256)).view(-1, 256) for each in (x, u))
        scale = rows.norm(norm, dim=1, keepdim=True).clamp(min=1e-30)
        arrived = levels[quantize(rows / scale, levels, drawn)] * scale
        return arrived.flatten()[: len(x)], residual, len(x) * bits // 8 + 4 * len(rows)

    return compress


def at_quantiles(x, residual, u):
    levels = x.quantile(torch.linspace(0, 1, 16)).unique()
    return levels[quantize(x, levels, u)], residual, len(x) // 2 + 64


def sign(x, residual, u):
    arrived = (x + residual).sign() * (x + residual).abs().mean()
    return arrived, x + residual - arrived, len(x) // 8 + 4


def forgetful(x, residual, u):
    arrived, _, size = top_k(x, torch.zeros_like(x), u)
    return arrived, residual, size


def push_and_pull(compress, sent):
    kept, generator = {}, torch.Generator().manual_seed(1)

    def through(x, who):
        u = torch.rand(len(x), generator=generator)
        arrived, kept[who], size = compress(x, kept.get(who, torch.zeros_like(x)), u)
        sent.append(size)
        return arrived

    return lambda rows: through(sum(through(x, n) for n, x in enumerate(rows)) / len(rows), "server")


methods = {
    "none": lambda x, residual, u: (x, residual, 4 * len(x)),
    "quantiles, 4 bits": at_quantiles,
    "QSGD, 4 bits": in_buckets(15, 4, 2),
    "ternary, 2 bits": in_buckets(3, 2, math.inf),
    "sign, feedback": sign,
    "top-k 1%, feedback": top_k,
    "top-k 1%, none": forgetful,
}
fig, (left, right) = figure(2, width=5.4, height=4)
for name, compress in methods.items():
    sent = []
    losses = torch.tensor(train(push_and_pull(compress, sent), 100, workers=4)).view(-1, 10).mean(1)
    steps = torch.arange(10, 101, 10)
    megabytes = 2 * sent[0] / 1e6
    left.plot((steps * megabytes).tolist(), losses.tolist(), label=name, markersize=4)
    right.plot((steps * (0.05 + 4 * megabytes / 12.5)).tolist(), losses.tolist(), label=name, markersize=4)
    print(f"{name:20s} {1e3 * megabytes:6.1f} KB a worker and step, loss {losses[-1]:.2f}")
left.set(xlabel="megabytes of each worker", ylabel="loss", xscale="log")
right.set(xlabel="seconds", xscale="log")
left.legend(fontsize=8)
fig

# %% [markdown]
# ## 7. Faults and liars
#
# A worker may send nonsense: a bit has flipped, a card has broken, or its owner wants your model to fail. The mean is
# no protection: *one* gradient out of a thousand, long enough, takes it anywhere. Rules that up to $f$ of $P$ workers
# cannot lead astray:
#
# - the **median**, entry by entry;
# - the **trimmed mean**, entry by entry: without the $f$ largest and the $f$ smallest, the mean of the rest;
# - **Krum**: the one row that has its neighbours nearest. For each row add up the squared distances to the
#   $m - f - 2$ other rows that are nearest to it; the row with the least sum is the result. With $f$ lies among
#   $m \ge 2f + 3$ rows, a majority of any row's neighbours that count is honest.
#
# ### Exercise `robust_aggregate` (10 points)
#
# Points by part: median 2, trimmed mean 3, Krum 3, rows that are not finite 2.


# %% exercise="robust_aggregate"
def robust_aggregate(rows, rule, f):
    """One gradient of P: a new tensor of n entries and of rows' dtype.

    rows: (P, n), float64 or float32, one gradient a row; n may be 0. Liars' entries may be as large as the dtype holds.
    rule: "median", "trimmed_mean" or "krum". f: how many rows may be lies, from 0 on.
    A row with an entry that is NaN or infinite is a lie at sight: it is left out, and f falls by one for each. Then, of
        the m rows that are left, with the f that is left:
    median: of each entry, the middle value; of an even number of rows the mean of the middle two.
    trimmed_mean: of each entry, the mean without the f largest and the f smallest values.
    krum: the row whose squared Euclidean distances to the m - f - 2 other rows nearest to it add up to the least; of
        equal sums the first. Squares are of differences, in rows' dtype or finer; what overflows is infinite.
    Raises ValueError where more than f rows were left out; where m < 2 f + 1; for krum where m < 2 f + 3.
    """
    ### BEGIN SOLUTION
    kept = rows[rows.isfinite().all(dim=1)]
    m = len(kept)
    f = f - (len(rows) - m)
    if f < 0 or m < 2 * f + (3 if rule == "krum" else 1):
        raise ValueError(f"{m} finite rows of {len(rows)} are too few for {rule} with {f} more lies")
    if rule == "krum":
        apart = (kept.unsqueeze(1) - kept).square().sum(dim=-1)
        apart.fill_diagonal_(math.inf)
        nearest = apart.sort().values[:, : m - f - 2]
        return kept[nearest.sum(dim=1).argmin()]
    cut = f if rule == "trimmed_mean" else (m - 1) // 2
    return kept.sort(dim=0).values[cut : m - cut].mean(dim=0)
    ### END SOLUTION


# %% check="robust_aggregate"
check("robust_aggregate", robust_aggregate)

# %% [markdown]
# **Finding the liar.** A rule that holds out pays for it in every step: it throws honest work away. Better to expel
# whoever lies. A large lie is seen at once. One *a little* off, within what honest gradients scatter, is not; but
# chance averages out over rounds and intent does not: after $T$ rounds the sum of an honest rank's deviations is about
# $\sqrt T$ of one, that of a liar who pushes in one direction is $T$ of them.
#
# ### Exercise `expel_liars` (8 points)
#
# Points by part: not finite 2, far off 2, a little over many rounds 2, honest ranks that stay 2.


# %% exercise="expel_liars"
def expel_liars(rounds, f, margin):
    """A list with a list for each round: the ranks that the server expels after it, in any order.

    rounds: a list of dicts, rank -> gradient (n,), float64, of those who sent one; in any order of ranks. A rank may be
        away for some rounds, and a round may be empty.
    f: how many ranks are liars at most. margin: how far off is too far, a number from 1 on; rounding decides nothing.
    In each round, only ranks that have not been expelled before take part, and of those:
    1. Who sent an entry that is NaN or infinite is expelled, whatever f is, and takes no part in what follows.
    2. A rank's deviation is its gradient less the median, entry by entry, of the gradients of all who take part. Add it
       to that rank's sum over all rounds so far. (Being away adds nothing.)
    3. A rank is as far off as its sum is from the median, entry by entry, of the sums of all who take part (liars move
       the median of each round a little, and every sum alike): the Euclidean distance.
    4. Who is farther off than margin times the median of these distances is a suspect. Suspects are expelled, the
       farthest first and of equal ones the lower rank first, as long as fewer than f ranks have been expelled in all,
       those of step 1 included.
    A median of an even number of values is the mean of the middle two (`torch.quantile(x, 0.5, dim=0)`).
    """
    ### BEGIN SOLUTION
    expelled, deviations, by_round = set(), {}, []
    for sent in rounds:
        here = [rank for rank in sorted(sent) if rank not in expelled]
        broken = [rank for rank in here if not sent[rank].isfinite().all()]
        here = [rank for rank in here if rank not in broken]
        expelled.update(broken)
        suspects = []
        if here:
            rows = torch.stack([sent[rank] for rank in here])
            for rank, deviation in zip(here, rows - rows.quantile(0.5, dim=0), strict=True):
                deviations.setdefault(rank, []).append(deviation)
            totals = torch.stack([torch.stack(deviations[rank]).sum(dim=0) for rank in here])
            off = (totals - totals.quantile(0.5, dim=0)).norm(dim=1)
            farthest = off.argsort(descending=True, stable=True).tolist()
            suspects = [here[i] for i in farthest if off[i] > margin * off.quantile(0.5)]
            suspects = suspects[: max(f - len(expelled), 0)]
            expelled.update(suspects)
        by_round.append(broken + suspects)
    return by_round
    ### END SOLUTION


# %% check="expel_liars"
check("expel_liars", expel_liars)

# %% [markdown]
# **Look at it: nine workers, two of whom lie.** They flip the sign, five times as long; or they send the honest mean
# less 1.5 standard deviations, entry by entry, "a little". The server takes the mean, the median, the trimmed mean, or
# Krum's choice; or the mean of those whom `expel_liars` has left. This needs the cell `compression`, and a minute.
#
# *The figure: the loss over steps, left with flipped signs, right with a little; a dashed line where nobody lies. With
# flipped signs the mean never comes down; median, trimmed mean and Krum do, above the dashed line by 0.1, since
# they throw honest work away. Where liars are expelled, in the first round, they cost nothing. A little leads no rule
# far astray and slows all of them, Krum most; after the few rounds that finding out takes, expelling ends it.*


# %% experiment="liars"
def flipped(honest):
    return -5 * honest.mean(0)


def a_little(honest):
    return honest.mean(0) - 1.5 * honest.std(0)


def server(attack, rule):
    recorded = []

    def aggregate(gradients):
        honest = torch.stack(gradients)
        rows = torch.cat([honest, attack(honest).expand(2, -1)])
        if rule == "mean":
            return rows.mean(0)
        if rule != "expel":
            return robust_aggregate(rows, rule, 2)
        recorded.append(dict(enumerate(rows[:, ::50].double())))  # some entries are enough
        gone = {rank for ranks in expel_liars(recorded, 2, 1.5) for rank in ranks}
        return rows[[rank for rank in range(9) if rank not in gone]].mean(0)

    return aggregate


fig, axes = figure(2, width=5.2, height=4)
steps = range(5, 41, 5)
for ax, attack in zip(axes, (flipped, a_little), strict=True):
    honest = train(lambda rows: torch.stack(rows).mean(0), 40, workers=7)
    ax.plot(
        steps, torch.tensor(honest).view(-1, 5).mean(1), color="black", linestyle="--", marker="", label="nobody lies"
    )
    for n, rule in enumerate(("mean", "median", "trimmed_mean", "krum", "expel")):
        losses = torch.tensor(train(server(attack, rule), 40, workers=7)).clamp(max=6).nan_to_num(6)
        style = {"color": COLOURS[n], "marker": MARKERS[n], "markersize": 4}
        ax.plot(steps, losses.view(-1, 5).mean(1), label=rule, **style)
        print(f"{attack.__name__:9s} {rule:13s} loss {losses[-5:].mean():.2f}")
    ax.set(title=attack.__name__.replace("_", " "), xlabel="step", ylim=(2, 6.2))
axes[0].set_ylabel("loss (6 stands for more)")
axes[1].legend(fontsize=8)
fig

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
    sizes goes first; of servers with equally few bytes the lowest takes it. The dict stays as it is.
    """
    ### BEGIN SOLUTION
    held, owners = {server: [] for server in range(n_servers)}, {}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        owners[key] = min(held, key=lambda server: sum(held[server]))
        held[owners[key]].append(sizes[key])
    return {key: owners[key] for key in sizes}
    ### END SOLUTION


# %% check="shard_keys"
check("shard_keys", shard_keys)

# %% [markdown]
# ### Extension `agree_on_state` (6 bonus points)
#
# Ranks that added in another order, or had a bit flip, hold other weights and do not know it. A hash tells for 32
# bytes. Points by part: which ranks differ 4, traffic 2.


# %% exercise="agree_on_state"
def agree_on_state(parameters, comm):
    """A list, ascending and the same on every rank, of the ranks whose parameters differ from what most ranks have.

    parameters: a dict, name -> tensor of any shape and dtype; the order of names means nothing. Any difference counts:
        one bit of a value (also 0.0 and -0.0), a name, a dtype, a shape.
    Where no state is held by more ranks than any other, that one of the most frequent counts whose first holder is the
        lowest rank.
    comm: the communicator; comm.world_size may be 1. A rank sends at most 64 P^2 bytes, however many parameters.
    """
    ### BEGIN SOLUTION
    digest = hashlib.sha256()
    for name, tensor in sorted(parameters.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    mine = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
    for rank in range(comm.world_size):
        if rank != comm.rank:
            comm.send(mine, rank)
    held = []
    for rank in range(comm.world_size):
        other = mine if rank == comm.rank else comm.recv(torch.empty_like(mine), rank)
        held.append(tuple(other.tolist()))
    most = max(held, key=held.count)
    return [rank for rank in range(comm.world_size) if held[rank] != most]
    ### END SOLUTION


# %% check="agree_on_state"
check("agree_on_state", agree_on_state)

# %% [markdown]
# ## 8. Beyond one room
#
# Between rooms, or between the telephones of strangers, a step cannot wait for a push and a pull. **Local SGD** takes
# $H$ steps alone and then averages *weights*: $H$ times fewer bytes. **Federated averaging** does so with clients that
# have unequal data and never send it. **Gossip** has no server: a rank averages with its neighbours only. **Secure
# aggregation** lets a server learn the sum and no part of it. **ADMM** pulls solutions together by prices.
#
# ### Extension `federated_average` (5 bonus points)
#
# Points by part: averages 3, edges 2.


# %% exercise="federated_average"
def federated_average(states, n_examples):
    """A dict, name -> tensor: the clients' parameters, weighted by the share of all examples that each client has.

    states: a list of dicts, name -> floating tensor, of the same names, shapes and dtypes. n_examples: a list of whole
        numbers from 0 on. A client without examples plays no part, even if its parameters are NaN.
    Weighted sums are in float32 or finer; a tensor of the result has the dtype that the clients' have.
    Raises ValueError where the lists differ in length, or nobody has an example.
    """
    ### BEGIN SOLUTION
    if len(states) != len(n_examples) or sum(n_examples) == 0:
        raise ValueError(f"{len(states)} clients and examples {n_examples}")
    average = {}
    for name, tensor in states[0].items():
        total = torch.zeros(tensor.shape, dtype=torch.float64)
        for state, n in zip(states, n_examples, strict=True):
            if n:
                total += n * state[name].double()
        average[name] = (total / sum(n_examples)).to(tensor.dtype)
    return average
    ### END SOLUTION


# %% check="federated_average"
check("federated_average", federated_average)

# %% [markdown]
# ### Extension `gossip_step` (5 bonus points)
#
# Points by part: means 3, traffic 2.


# %% exercise="gossip_step"
def gossip_step(x, comm):
    """A new tensor: the mean of this rank's x and those of its neighbours in the ring of ranks, rank - 1 and rank + 1.

    x: a floating tensor; shape and dtype are the same on all ranks. Of two ranks the other one is the only neighbour,
    and counts once; alone the mean is x. A rank sends x to each neighbour once, and nothing else.
    """
    ### BEGIN SOLUTION
    size, mean = comm.world_size, x.clone()
    neighbours = sorted({(comm.rank - 1) % size, (comm.rank + 1) % size} - {comm.rank})
    for rank in neighbours:
        comm.send(x, rank)
    for rank in neighbours:
        mean += comm.recv(torch.empty_like(x), rank)
    return mean / (len(neighbours) + 1)
    ### END SOLUTION


# %% check="gossip_step"
check("gossip_step", gossip_step)

# %% [markdown]
# ### Extension `mask_update` (4 bonus points)
#
# Each two ranks share a secret mask; one adds it, the other subtracts it. Points by part: what is sent 2, the sum 2.


# %% exercise="mask_update"
def mask_update(update, rank, masks):
    """What the rank sends, int64, each entry in [0, 2**32): its update under all its masks, modulo 2**32.

    update: (n,), int64, also negative. masks: a dict, other rank -> the mask (n,) that both share, int64 in [0, 2**32).
    The lower rank of a pair adds the mask, the higher one subtracts it.
    """
    ### BEGIN SOLUTION
    hidden = update
    for other, mask in masks.items():
        hidden = hidden + mask if other > rank else hidden - mask
    return hidden % 2**32
    ### END SOLUTION


# %% check="mask_update"
check("mask_update", mask_update)

# %% [markdown]
# ### Extension `admm_step` (5 bonus points)
#
# All ranks together want the $x$ that makes $\sum_p \tfrac12 |A_p x - b_p|^2$ least, and none shows its data. Each has
# an $x_p$ of its own and a price $u_p$ for being off the common $z$:
#
# $$ x_p = \operatorname{argmin}_x \frac{1}{2} |A_p x - b_p|^2 + \frac{\rho}{2} |x - z + u_p|^2, \qquad
#    z = \frac{1}{P} \sum_p (x_p + u_p), \qquad u_p \leftarrow u_p + x_p - z . $$
#
# Set the gradient to zero to find $x_p$. Points by part: one step 3, several 2.


# %% exercise="admm_step"
def admm_step(problems, z, duals, rho):
    """(x, z, duals) after one step, x and duals (P, d), z (d,). The last formula uses the new z.

    problems: a list of P pairs (A, b), A (m, d) and b (m,), where m may differ, be less than d, or 0. duals: (P, d), a
    row u_p for each rank. rho: a number above 0.
    """
    ### BEGIN SOLUTION
    solutions = []
    for (A, b), dual in zip(problems, duals, strict=True):
        solutions.append(torch.linalg.solve(A.T @ A + rho * torch.eye(len(z)).to(z), A.T @ b + rho * (z - dual)))
    x = torch.stack(solutions)
    z = (x + duals).mean(dim=0)
    return x, z, duals + x - z
    ### END SOLUTION


# %% check="admm_step"
check("admm_step", admm_step)

# %% [markdown]
# ## What you built
#
# `mlsys_course.parameter_server`, which comes with lab 9's edition, is the reference: your functions under your names,
# and beside them `train_on_servers`, which compares keys, shapes and owners on all ranks before it begins,
# `staleness_with_absences`, in which workers die and rejoin, one interface for ten compressors with packed bits and
# error feedback on both sides of the wire, attacks on the rules for what to believe, and averages without a server.
#
# **What real systems do differently.** Top-k of a large gradient is dear on a GPU: thresholds are sampled. Over NVLink
# compression hardly pays; between rooms it decides. Honest workers whose data differ are off in every round, as liars
# are: a server that expels by distance needs to know how much they may differ. Quantum, analog, graph networks and
# multi-objective training, which note 002 lists too, are out of this course's scope. Lab 9 does without the server.
#
# **Papers.** Li et al. 2014 (the parameter server); Ho et al. 2013 (stale synchronous parallel); Chen et al. 2016
# (backup workers); Jayarajan et al. 2019 (P3); Peng et al. 2019 (ByteScheduler); Seide et al. 2014 (1-bit SGD);
# Alistarh et al. 2017 (QSGD); Wen et al. 2017 (TernGrad); Stich, Cordonnier and Jaggi 2018 (sparsified SGD with
# memory); Lin et al. 2018 (deep gradient compression); Karimireddy et al. 2019 (error feedback); Blanchard et al. 2017
# (Krum); Yin et al. 2018 (median, trimmed mean); Baruch, Baruch and Goldberg 2019 (a little is enough); McMahan et al.
# 2017 (federated averaging); Lian et al. 2017 (gossip); Bonawitz et al. 2017 (secure aggregation); Boyd et al. 2011
# (ADMM).
