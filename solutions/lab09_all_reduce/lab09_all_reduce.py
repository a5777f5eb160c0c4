# %% [markdown]
# # Lab 9: all-reduce and data parallelism
#
# In data-parallel training every GPU holds the whole model, works out the gradient of its own part of the batch, and
# then needs the *mean* of everybody's gradients. For GPT-3 in 16-bit numbers that is 350 GB in every iteration. You
# will build what makes this possible without any machine in the middle: a tree, a ring, a model of what each costs,
# and a `DataParallel` that sends gradients in buckets while backward still runs.
#
# **Time:** seven hours; with the extensions two more. **Points:** 100; extensions are a bonus. **Before this:** lab 5
# (gradients and optimizers), lab 7 (bytes of a training step).
#
# `torch.distributed` and `torch.nn.parallel` are what you build here, so exercises may not use them.

# %%
import contextlib
import math
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from mlsys_course.desk.check import check
from mlsys_course.substrate.plot import COLOURS, figure
from mlsys_course.substrate.ranks import ETHERNET, Cluster, run, run_in_threads, simulate

# %% [markdown]
# ## 1. Ranks and messages
#
# As in lab 8, $P$ programs run side by side and share nothing but messages. Each has a communicator: `comm.rank`,
# `comm.world_size`; `comm.send(tensor, to)` sends a copy and goes on at once; `comm.recv(buffer, source)` waits for the
# next message from rank `source`, fills the buffer, which has its shape and dtype, and returns it; `isend` and `irecv`
# return a handle to `wait()` for. Messages from one rank to another arrive in the order in which they were sent.
#
# | call | ranks are | for |
# |---|---|---|
# | `run_in_threads(function, P)` | threads of this notebook | trying out; returns results by rank, and the traffic |
# | `run(function, P)` | processes, over gloo or NCCL | real times |
# | `simulate(function, P, cluster)` | programs on a virtual clock | clusters that you do not have |


# %%
def pass_to_the_right(comm):
    mine = torch.full((2,), float(comm.rank))
    comm.send(mine, (comm.rank + 1) % comm.world_size)
    return comm.recv(torch.empty(2), (comm.rank - 1) % comm.world_size)


results, traffic = run_in_threads(pass_to_the_right, 3)
print(results)
print("bytes sent by each rank:", traffic.bytes_sent)

# %% [markdown]
# Exchange the two lines and run the cell again: every rank waits for a message that nobody has sent. On real machines
# such a *deadlock* shows as a job that stands still, and somebody has to find out why. Here you are told.
#
# ## 2. One to all: a tree
#
# **Broadcast:** the root's tensor is to be on every rank. If the root sends to each, it is busy for $P - 1$ messages
# while all others idle. But whoever has the tensor can send it on. In each step everybody who has it sends it to
# somebody who has not, and their number doubles: after $\lceil\log_2 P\rceil$ steps all have it.
#
# ```
# 8 ranks, root 0        step 1      step 2           step 3
#                        0 -> 1      0 -> 2, 1 -> 3   0 -> 4, 1 -> 5, 2 -> 6, 3 -> 7
# ```
#
# A step, here and in the rest of the lab, is the time of one message; a rank sends one at a time and receives one at a
# time, and may do both at once. Sending on costs a step even if `send` returns at once: a second message of the same
# rank leaves in the next step.
#
# ### Exercise `broadcast` (10 points)
#
# Points by part: values from root 0: 4; from any other root: 3; steps: 3. With another root, count places from the root
# on, round the end: the rank at place $k$ is $(\text{root} + k) \bmod P$.


# %% exercise="broadcast"
def broadcast(x, comm, root):
    """Overwrite x on every rank with the root's x, and return it (x itself, not a copy).

    x: a tensor of any shape and strides, also without entries; shape and dtype are the same on all ranks. It requires
        no gradient.
    root: a rank; comm.world_size may be anything from 1 on.
    Costs: P - 1 messages in all, of x's shape and dtype, at most ceil(log2 P) of them from any one rank, and all ranks
        are done after ceil(log2 P) steps.
    """
    ### BEGIN SOLUTION
    size = comm.world_size
    place = (comm.rank - root) % size
    having = 1
    while having < size:  # places below have it before this step
        if place < having and place + having < size:
            comm.send(x, (comm.rank + having) % size)
        elif having <= place < 2 * having:
            comm.recv(x, (comm.rank - having) % size)
        having *= 2
    return x
    ### END SOLUTION


# %% check="broadcast"
check("broadcast", broadcast)

# %% [markdown]
# ## 3. The sum of everybody's tensors, everywhere
#
# **All-reduce:** rank $r$ brings a tensor $x_r$ of $n$ entries; afterwards every rank has $\sum_r x_r$.
#
# The first idea is *gather, then broadcast*: everybody sends $x_r$ to rank 0, which adds and sends the sum to
# everybody. Rank 0 then receives $(P-1)\,n$ entries and sends as many. While its one cable works, those of all the
# others idle, and it gets worse with every rank that is added.
#
# A ring spreads the work. Cut the tensor into $P$ chunks. In the first half, the **reduce-scatter**, each chunk travels
# once round the ring, and every rank that it passes adds its own entries: after $P - 1$ steps each rank holds one chunk
# that is whole. In the second half, the **all-gather**, the whole chunks travel round once more and replace what is
# there. In every step each rank sends one chunk to its right neighbour and receives another from its left one, so that
# all cables work all the time.
#
# ```
#              rank 0             rank 1             rank 2          (chunks A B C; "012" means: summed over all)
# start        A0  B0  C0         A1  B1  C1         A2  B2  C2
# step 1       A0  B0  C02        A01 B1  C1         A2  B12 C2      rank 0 sent A, rank 1 sent B, rank 2 sent C
# step 2       A0  B012 C02       A01 B1  C012       A012 B12 C2     reduce-scatter done
# step 3, 4    the whole chunks go on: rank 0 sends B first, rank 1 sends C, rank 2 sends A
# ```
#
# A rank sends $P - 1$ chunks in each half, so
#
# $$ \text{bytes sent by a rank} \le 2\,(P-1)\left\lceil\frac{n}{P}\right\rceil\cdot\text{bytes of an entry}
#    \;\approx\; 2\,n\cdot\text{bytes of an entry}, $$
#
# about twice the tensor, *however many ranks there are*; equal where $P$ divides $n$, since all chunks are alike then.
# No algorithm lets its busiest rank send less. What grows with
# $P$ is the number of steps, $2(P-1)$, each of which costs the time that a message needs to get going.
#
# ### Exercise `ring_all_reduce` (16 points)
#
# Points by part: the sum where $P$ divides $n$ 6, uneven lengths 4, traffic 6. The traffic is counted outside your
# function. While grading, each rank is a process in a sandbox of its own that runs this whole notebook, and messages
# are its only way to another. Nothing of `torch.distributed` may be used here.


# %% exercise="ring_all_reduce"
def ring_all_reduce(x, comm):
    """The sum over all ranks of x, on every rank.

    x: a tensor of n entries, one dimension, float64, float32 or bfloat16; n and dtype are the same on all ranks, the
        entries are not. n may be anything: not divisible by comm.world_size, smaller than it, or 0.
    comm: the communicator; comm.world_size may be 1.
    Returns a new tensor of n entries and x's dtype, also where there is one rank; x stays as it is, and so do results
        of earlier calls. Messages have x's dtype, and addition is in it.
    Costs: a rank sends at most 2 (P - 1) messages, and at most 2 (P - 1) ceil(n / P) entries in all, to its right
        neighbour, (comm.rank + 1) % P. All ranks are done after 2 (P - 1) steps; twice as many will do.
    """
    ### BEGIN SOLUTION
    ranks, right, left = comm.world_size, (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size
    bounds = [len(x) * chunk // ranks for chunk in range(ranks + 1)]
    result = x.clone()

    def chunk(number):
        return result[bounds[number % ranks] : bounds[number % ranks + 1]]

    for step in range(2 * (ranks - 1)):
        comm.send(chunk(comm.rank - step), right)
        target = chunk(comm.rank - step - 1)
        arrived = comm.recv(torch.zeros_like(target), left)
        target.copy_(target + arrived if step < ranks - 1 else arrived)
    return result
    ### END SOLUTION


# %% check="ring_all_reduce"
check("ring_all_reduce", ring_all_reduce)

# %% [markdown]
# **Look at it: who sends how much.** This is gather-then-broadcast; the cell after the next one counts its messages and
# those of your function.


# %%
entries = 250_000  # 1 MB of float32


def gather_then_broadcast(x, comm):
    total = x.clone()
    if comm.rank > 0:
        comm.send(x, 0)
        return comm.recv(total, 0)
    for other in range(1, comm.world_size):
        total = total + comm.recv(torch.empty_like(x), other)
    for other in range(1, comm.world_size):
        comm.send(total, other)
    return total


# %% [markdown]
# *The figure. Left, for 8 ranks and 1 MB: bars of the bytes that each rank sends. On the ring (blue) all are equal, a
# little under 2 MB; with gather-then-broadcast (orange, hatched) rank 0 sends 7 MB and the others 1 MB each. Right:
# what the busiest rank sends, over the number of ranks. The ring's line rises from 1 MB towards a dashed line at 2 MB;
# the other is straight and has no end.*

# %% experiment="traffic"
worlds = range(2, 13)
names = {"ring": ring_all_reduce, "gather, then broadcast": gather_then_broadcast}
sent = {
    name: {p: run_in_threads(lambda comm, f=function: f(torch.ones(entries), comm), p)[1].bytes_sent for p in worlds}
    for name, function in names.items()
}

fig, (left, right) = figure(2, width=5.2)
for n, name in enumerate(names):
    places = [rank + 0.4 * n - 0.2 for rank in range(8)]
    heights = [b / 1e6 for b in sent[name][8]]
    left.bar(places, heights, 0.4, color=COLOURS[n], hatch="//" * n, edgecolor="white", label=name)
    right.plot(list(worlds), [max(sent[name][p]) / 1e6 for p in worlds], color=COLOURS[n], label=name)
right.axhline(2, color=COLOURS[6], linestyle="--", linewidth=1, marker="")
left.set(title="8 ranks", xlabel="rank", ylabel="MB sent")
right.set(title="the busiest rank", xlabel="ranks", ylabel="MB sent", ylim=(0, None))
left.legend()
for name, bytes_by_world in sent.items():
    print(
        f"{name:23s} 8 ranks: busiest {max(bytes_by_world[8]) / 1e6:.2f} MB, all {sum(bytes_by_world[8]) / 1e6:.2f} MB"
    )
fig

# %% [markdown]
# ### Question `why_a_ring` (6 points)
#
# Use the figure and the printed lines: both algorithms send about the same number of bytes in all, so what does the
# ring gain? What does it pay for that, and for which tensors is it the wrong choice? Then work out for GPT-3's 350 GB
# of gradients on 1,024 ranks what the busiest rank sends in an iteration, with each algorithm.

# %% [markdown] question="why_a_ring"
# ### BEGIN SOLUTION
# Both send 14 MB in all, and 2 (P - 1) n is the least that P tensors can be summed with. But time goes by the busiest
# rank, and there the ring sends 1.75 MB for 7 MB: below twice the tensor for any number of ranks, where the root's
# share grows with every rank. It pays with 2 (P - 1) steps that come one after the other, each with the latency of a
# message; for a small tensor, a few KB, the steps cost more than the bytes, and a tree with about 2 log2(P) steps is
# better. GPT-3: on the ring each of 1,024 ranks sends 2 * 1023 / 1024 * 350 GB, about 0.7 TB; the root of
# gather-then-broadcast sends 1023 * 350 GB, about 358 TB.
# ### END SOLUTION

# %% [markdown]
# ## 4. What it costs before it runs
#
# A message of $m$ bytes takes $\alpha + \beta m$ seconds: the **latency** $\alpha$ until anything arrives, and $\beta$,
# one over the bandwidth, for each byte. A rank sends one message at a time and receives one at a time. Then an
# algorithm is two numbers: how many steps follow one another, and how many bytes these move, summed over the steps.
# Adding up is taken as free. For $n$ bytes:
#
# | algorithm | how it goes |
# |---|---|
# | `naive` | rank 0 receives the tensors of all one after the other, then sends all the sum, one after the other |
# | `ring` | part 3; take chunks of exactly $n / P$ bytes |
# | `tree` | whole tensors up a tree, where they are added, as broadcast goes down; then broadcast |
# | `halving_doubling` | see below |
#
# **Halving and doubling**, for $P$ a power of two, is the ring's two halves between other partners: exchange half of
# the tensor with the rank $P/2$ away and add, then a quarter with the one $P/4$ away, until each has one chunk of
# $n / P$ whole; then the same messages backwards.
#
# ### Exercise `all_reduce_seconds` (8 points)
#
# Two points for each algorithm.


# %% exercise="all_reduce_seconds"
def all_reduce_seconds(algorithm, n_bytes, world_size, alpha, beta):
    """Seconds that an all-reduce of n_bytes takes on world_size ranks, a float.

    algorithm: "naive", "ring", "tree" or "halving_doubling"; the last with powers of two only.
    world_size: from 1 on; with one rank there is nothing to do. alpha: seconds a message; beta: seconds a byte.
    A rank sends and receives at the same time where the algorithm lets it.
    """
    ### BEGIN SOLUTION
    others, levels = world_size - 1, (world_size - 1).bit_length()
    if algorithm == "naive":
        return 2 * others * (alpha + beta * n_bytes)
    if algorithm == "ring":
        return 2 * others * (alpha + beta * n_bytes / world_size)
    if algorithm == "tree":
        return 2 * levels * (alpha + beta * n_bytes)
    return sum(2 * (alpha + beta * n_bytes / 2**k) for k in range(1, levels + 1))
    ### END SOLUTION


# %% check="all_reduce_seconds"
check("all_reduce_seconds", all_reduce_seconds)

# %% [markdown]
# **Look at it: predicted and measured.** The cell fits $\alpha$ and $\beta$ of this machine to messages that go back
# and forth between two processes, predicts from them what all-reduce takes with two ranks, and measures it with your
# ring.
#
# *The figure. Left, measured on this machine over gloo: seconds of your ring with two ranks over the tensor's size,
# both axes logarithmic, and a dashed prediction; flat for small tensors, where latency decides, then rising with the
# bytes. The points lie above the line, often by a factor of 2 or more where cores are few or busy: a message there also
# waits for a core. Right, predicted for 64 ranks on Ethernet: the tree (green) is fastest for small tensors, the ring
# (blue) for large ones; they cross at about 1 MB. Halving and doubling (vermilion) is at or below both. The naive way
# (orange) starts like the ring and ends far above all others.*

# %% experiment="model"
sizes = [4**k for k in range(5, 13)]


def seconds_of(call, comm, repeats=15):
    times = []
    for _ in range(repeats):
        other = 1 - comm.rank  # two ranks: each tells the other that it is there
        comm.send(torch.zeros(1), other)
        comm.recv(torch.zeros(1), other)
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def back_and_forth(x, comm):
    for turn in (0, 1):
        comm.send(x, 1 - turn) if comm.rank == turn else comm.recv(x, turn)


def measure(comm, all_reduce, sizes):
    tensors = [torch.ones(n // 4) for n in sizes]
    messages = [seconds_of(lambda x=x: back_and_forth(x, comm), comm) / 2 for x in tensors]
    return messages, [seconds_of(lambda x=x: all_reduce(x, comm), comm) for x in tensors]


messages, measured = run(measure, 2, backend="gloo", args=(ring_all_reduce, sizes)).results[0]
rows = torch.tensor([[1 / s, n / s] for n, s in zip(sizes, messages, strict=True)], dtype=torch.float64)
alpha, beta = torch.linalg.lstsq(rows, torch.ones(len(rows), 1, dtype=torch.float64)).solution.flatten().tolist()

fig, (left, right) = figure(2, width=5)
left.plot(sizes, measured, linestyle="", label="your ring, measured")
predicted = [all_reduce_seconds("ring", n, 2, alpha, beta) for n in sizes]
left.plot(sizes, predicted, color=COLOURS[6], linestyle="--", marker="", label="predicted from messages")
left.set(title="2 ranks here", xlabel="bytes", ylabel="seconds", xscale="log", yscale="log")
for name, colour in (("ring", 0), ("naive", 1), ("tree", 2), ("halving_doubling", 3)):
    times = [all_reduce_seconds(name, n, 64, ETHERNET.latency, 1 / ETHERNET.bandwidth) for n in sizes]
    right.plot(sizes, times, color=COLOURS[colour], label=name.replace("_", " and "))
right.set(title="64 ranks on Ethernet", xlabel="bytes", xscale="log", yscale="log")
left.legend(title=f"{1e6 * alpha:.0f} microseconds, {1e-9 / beta:.2f} GB/s")
right.legend()
fig

# %% [markdown]
# **A question on it** (2 points). {{ world_size }} ranks, {{ alpha }} microseconds a message, {{ gigabytes }} GB/s.
# From about which size on is the ring faster than the tree?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="size_choice"
# Assign the letter of your answer, such as "a", to size_choice.
### BEGIN SOLUTION
size_choice = "{{ size_answer }}"
### END SOLUTION

# %% check="size_choice"
check("size_choice", size_choice)

# %% [markdown]
# **Look at it: a server in the middle.** Lab 8's parameter server is gather-then-broadcast
# with the server as rank 0 and $P - 1$ workers: a push of $(P - 1)\,n$ bytes, then a pull of as many.
# The simulator runs both functions on up to 32 machines with an Ethernet card each.
#
# *The figure. Milliseconds over the number of ranks, for 1 MB. The central server's line (orange squares) rises
# straight to about 20 ms; the ring's (blue circles) rises slowly and stays below 3.*

# %% experiment="server"
worlds = [2, 4, 8, 16, 24, 32]
fig, (axes,) = figure(1, width=5.2)
for name, function in {"ring": ring_all_reduce, "a central server": gather_then_broadcast}.items():
    runs = [simulate(lambda comm, f=function: f(torch.ones(entries), comm), p, Cluster.flat(ETHERNET)) for p in worlds]
    axes.plot(worlds, [1e3 * run.timeline.seconds for run in runs], label=name)
axes.set(xlabel="ranks", ylabel="milliseconds for 1 MB", ylim=(0, None))
axes.legend()
fig

# %% [markdown]
# ## 5. Training on every rank's examples
#
# A step of **synchronous data-parallel training**: each rank computes gradients on its own examples, all-reduce makes
# of them the gradient on *all* examples, and every rank steps by it. Replicas that start equal and step by the same
# gradient stay equal, so nobody ever sends weights. The result is to be that of one process with all the examples, not
# only nearly.
#
# A mean loss needs care. With $n_r$ examples on rank $r$, $n = \sum_r n_r$ and the mean loss $L_r$ of each rank's own,
#
# $$ L = \frac1n \sum_r n_r L_r, \qquad \nabla L = \sum_r \frac{n_r}{n} \nabla L_r . $$
#
# With equal parts the weights are $1/P$: the plain mean over ranks. The last batch of an epoch seldom has equal parts.
#
# ### Exercise `data_parallel_step` (12 points)
#
# Points by part: the gradient 5, optimizers with a memory 3, parts of different sizes 4.


# %% exercise="data_parallel_step"
def data_parallel_step(model, optimizer, loss, examples, comm, all_reduce):
    """One training step; afterwards every rank's model is what one process would have after a step on all examples.

    model: a torch.nn.Module in float64, equal on all ranks before the step. Parameters that do not require a gradient
        stay as they are; those that do all take part in the loss.
    optimizer: has zero_grad() and step(), which uses the parameters' grad, as in torch.optim. Call step once. It may
        decay weights, but not those whose grad is None.
    loss(model, examples): the mean loss over examples, a tensor to call backward() on. It cannot be asked for no
        examples.
    examples: this rank's own, a tensor (n, ...), which stays as it is. n may differ between ranks; some, not all, may
        have none.
    all_reduce(tensor, comm): the sum over all ranks, a new tensor. All ranks must call it equally often, and with the
        same shapes and dtypes.
    Gradients that are there before play no part, in the first step neither; parameters that are frozen now may have
        some. Which ones are frozen may change between calls. All is added and divided in float64. Returns nothing.
    """
    ### BEGIN SOLUTION
    count = all_reduce(torch.tensor([len(examples)]), comm).item()
    optimizer.zero_grad()
    if len(examples):
        loss(model, examples).backward()
    for parameter in model.parameters():
        if parameter.requires_grad:
            mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad * len(examples)
            parameter.grad = all_reduce(mine, comm) / count
    optimizer.step()
    ### END SOLUTION


# %% check="data_parallel_step"
check("data_parallel_step", data_parallel_step)

# %% [markdown]
# ## 6. Buckets
#
# A transformer of twelve layers has 148 parameters, most of them tiny: biases and norms. One all-reduce for each pays
# $2(P-1)\alpha$ every time. One for all pays it once, but can only leave when the last gradient is there. So
# gradients travel in **buckets** of some MB. Backward goes from the last layer to the first: the first bucket to be
# full is that of the *last* parameters.
#
# ### Exercise `make_buckets` (8 points)
#
# Points by part: buckets 5, edges 3.


# %% exercise="make_buckets"
def make_buckets(sizes, bucket_bytes):
    """Which parameters travel together: a list of buckets, each a list of indices into sizes.

    sizes: bytes of each parameter, in the order in which the model uses them; a list, possibly empty. Bytes may be 0.
    Go from the last parameter to the first. The next one goes into the current bucket unless that would then hold more
    than bucket_bytes; then it starts a new one. (So a parameter that is larger than bucket_bytes has a bucket that it
    starts. So has one of 0 bytes that comes after it.) Buckets are in the order in which they were started, indices in
    the order in which they were put in. No bucket is empty.
    """
    ### BEGIN SOLUTION
    buckets = []
    for index in range(len(sizes) - 1, -1, -1):
        if not buckets or sum(sizes[k] for k in buckets[-1]) + sizes[index] > bucket_bytes:
            buckets.append([])
        buckets[-1].append(index)
    return buckets
    ### END SOLUTION


# %% check="make_buckets"
check("make_buckets", make_buckets)

# %% [markdown]
# ### Exercise `average_bucket` (8 points)
#
# Points by part: the mean 3, missing gradients 3, one message 2.


# %% exercise="average_bucket"
def average_bucket(parameters, comm, all_reduce):
    """Set the grad of each of parameters to its mean over all ranks, with one all-reduce for all of them together.

    parameters: a list of torch.nn.Parameter of one dtype and any shapes, also (); at least one. Their grad may be
        None on some ranks or all, and of any strides. None counts as zeros, and is a gradient afterwards.
    all_reduce(tensor, comm): the sum over all ranks, a new tensor; called once, with as many entries as parameters
        have. The mean divides by comm.world_size.
    Afterwards each grad has its parameter's shape and dtype, without entries or not; writing into one changes no other,
        of this call or an earlier one. Returns nothing.
    """
    ### BEGIN SOLUTION
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
    mean, at = all_reduce(flat.detach(), comm) / comm.world_size, 0
    for p in parameters:
        p.grad = mean[at : at + p.numel()].reshape(p.shape)
        at += p.numel()
    ### END SOLUTION


# %% check="average_bucket"
check("average_bucket", average_bucket)

# %% [markdown]
# ## 7. While backward still runs
#
# The gradient of the last layer is there long before backward ends, so its bucket can leave at once: sending hides
# behind computing. PyTorch tells you when: `parameter.register_post_accumulate_grad_hook(f)` calls `f(parameter)` as
# soon as `parameter.grad` is whole, in the middle of `backward()`; for a parameter that is used twice, after both
# parts have been added. What a hook must not do is wait.
#
# Three more things make it work for every model. Ranks start from different random weights: rank 0's are broadcast, and
# with them *buffers* (a norm's running mean, a table of positions) and frozen parameters, which a forward pass reads
# too. Buckets leave in the same order on every rank, whichever is full first, or one rank's bucket would be added to
# another's. And where a parameter is not reached, its bucket never becomes full: `finish` sends the rest.
#
# ```
#   replica = DataParallel(model, comm, buckets, broadcast, start_all_reduce)
#   with replica.no_sync():                  # gradients of these passes stay on their rank and add up
#       loss(model, first).backward()
#   loss(model, second).backward()           # buckets of the sums leave while this runs
#   replica.finish()                         # now all have the mean
#   optimizer.step()
# ```
#
# ### Exercise `DataParallel` (22 points)
#
# Points by part: the same start 4, gradients 5, overlap 5, unused parameters 4, `no_sync` 4. Overlap is judged by the
# order of events: `grad 3, send 8` says that the gradient of weights 3 was whole, and then 8 entries were sent.


# %% exercise="DataParallel"
class DataParallel:
    """Keeps replicas of a model in step. You may give it other methods besides."""

    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        """Afterwards all parameters, frozen ones too, and all buffers of model are rank 0's.

        model: a torch.nn.Module; of the same shapes on all ranks.
        buckets: a list of lists of parameters of model, in the order in which they are to leave, which need not be that
            in which gradients become whole. Each parameter that requires a gradient is in one of them, once, and no
            other parameter is. No bucket is empty. Parameters of a bucket have one dtype; another bucket may have
            another.
        broadcast(tensor, comm): overwrites tensor with rank 0's; of any dtype, and also a parameter.
        start_all_reduce(flat, comm): begins to sum a tensor of one dimension over all ranks and returns a handle at
            once; handle.wait() returns the sum, a new tensor. flat must not be changed before.
        """
        ### BEGIN SOLUTION
        self.comm, self.start_all_reduce, self.buckets, self.enabled = comm, start_all_reduce, buckets, True
        self.home = {parameter: n for n, bucket in enumerate(buckets) for parameter in bucket}
        self.prepare()
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                broadcast(tensor, comm)
        for parameter in self.home:
            parameter.register_post_accumulate_grad_hook(self.on_gradient)
        ### END SOLUTION

    def no_sync(self):
        """A context manager: backward passes inside send nothing, and their gradients add up in grad, as usual.

        After it, also where an error ended it, backward passes send again. There is at most one backward pass outside
        no_sync before each finish, and it is the last one. What a call returns is entered at once, once, and not inside
        another.
        """

        ### BEGIN SOLUTION
        @contextlib.contextmanager
        def quiet():
            self.enabled = False
            try:
                yield
            finally:
                self.enabled = True

        return quiet()
        ### END SOLUTION

    def finish(self):
        """Afterwards grad of each parameter in buckets is the mean over all ranks of what they had added up.

        A rank whose grad is None counts as zeros, and has the mean too afterwards, a tensor of the parameter's shape.
        In a step each bucket is sent once: one call of start_all_reduce with all its parameters' entries. A bucket
        leaves during the backward pass outside no_sync, as soon as the gradients of all its parameters are whole in
        that pass and all buckets before it have left, before any other gradient becomes whole. What has not left by
        then leaves in finish, in order. Nothing waits during backward, however many are under way. After finish
        the next step begins.
        """
        ### BEGIN SOLUTION
        for missing in self.missing:
            missing.clear()
        self.send_full_ones()
        for bucket, handle in zip(self.buckets, self.handles, strict=True):
            mean = handle.wait() / self.comm.world_size
            for parameter in bucket:
                parameter.grad = mean[: parameter.numel()].view(parameter.shape)
                mean = mean[parameter.numel() :]
        self.prepare()

    def prepare(self):
        """For the next step."""
        self.missing, self.handles = [set(bucket) for bucket in self.buckets], []

    def on_gradient(self, parameter):
        if self.enabled:
            self.missing[self.home[parameter]].discard(parameter)
            self.send_full_ones()

    def send_full_ones(self):
        while len(self.handles) < len(self.buckets) and not self.missing[len(self.handles)]:
            bucket = self.buckets[len(self.handles)]
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
            self.handles.append(self.start_all_reduce(flat, self.comm))
        ### END SOLUTION


# %% check="DataParallel"
check("DataParallel", DataParallel)

# %% [markdown]
# **Look at it: two processes train.** Your classes and your ring, over gloo; a thread beside backward runs the ring.
# The task is to learn a fixed random network's answers. One process on all examples does the same for comparison.
#
# *The figure. The loss over 40 steps, of one process (black line) and of two ranks (blue circles on the line): they
# cannot be told apart. The printed difference is rounding.*

# %% experiment="training"


class InBackground:
    def __init__(self, running):
        self.wait = running.result


def teach(comm, all_reduce=None, parts=None, replicas=None):
    """Losses of 40 steps on this rank's half of the examples, or without ``replicas`` on all of them."""
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(256, 16, dtype=torch.float64, generator=generator)
    y = torch.tanh(x @ torch.randn(16, 16, dtype=torch.float64, generator=generator))
    torch.manual_seed(comm.rank if comm else 0)  # other weights on each rank, until they are broadcast
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 16)).double()
    if replicas:
        broadcast, make_buckets = parts
        trained = list(model.parameters())
        buckets = [[trained[k] for k in bucket] for bucket in make_buckets([8 * p.numel() for p in trained], 8192)]
        thread = ThreadPoolExecutor(1)
        start = lambda flat, comm: InBackground(thread.submit(all_reduce, flat, comm))  # noqa: E731
        from_zero = torch.no_grad()(lambda x, comm: broadcast(x, comm, 0))
        replica = replicas(model, comm, buckets, from_zero, start)
        x, y = x.chunk(comm.world_size)[comm.rank], y.chunk(comm.world_size)[comm.rank]
    losses = []
    for _ in range(40):
        model.zero_grad()
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        if replicas:
            replica.finish()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(p.grad)
        losses.append(loss.item())
    return losses


alone = teach(None)
both = run(teach, 2, backend="gloo", args=(ring_all_reduce, (broadcast, make_buckets), DataParallel)).results
mean = [sum(pair) / 2 for pair in zip(*both, strict=True)]
print(f"largest difference of the losses: {max(abs(a - b) for a, b in zip(alone, mean, strict=True)):.1e}")
fig, (axes,) = figure()
axes.plot(alone, color=COLOURS[6], marker="", label="one process")
axes.plot(range(0, 40, 2), mean[::2], color=COLOURS[0], linestyle="", label="two ranks")
axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
axes.legend()
fig

# %% [markdown]
# ## 8. A picture of a step
#
# The lecture's network has three layers. Its backward computes layer 3, 2, 1, and gradients become available in that
# order. While a rank waits for the network it does not compute: **utilisation** is the share of the time, from the
# beginning of backward to the moment when the optimizer can step, in which it does.
#
# ### Exercise `overlap_schedule` (8 points)
#
# Points by part: a bucket for each layer 5, buckets of several 3.


# %% exercise="overlap_schedule"
def overlap_schedule(backward, reduce, buckets):
    """(spans, end, utilisation) of one backward pass with overlap.

    backward: seconds that each layer's backward takes, a list; the last layer's runs first, from time 0 on, the others
        follow without a pause. One or the other may be 0.
    reduce: seconds that each bucket's all-reduce takes, a list, possibly empty. They may be 0, too.
    buckets: for each bucket a list of layers, indices into backward, at least one; in the order in which they leave,
        which may be any. A layer may be in no bucket, and in more than one.
    A bucket's all-reduce starts when all its layers are done and that of the bucket before it has ended.
    spans: a list of (start, end) of each bucket's all-reduce. end: when backward and all of them have ended.
    utilisation: the share of the time from 0 to end in which backward runs. Backward takes some time. Numbers are
        floats; rounding is forgiven.
    """
    ### BEGIN SOLUTION
    done, now = {}, 0.0
    for layer in range(len(backward) - 1, -1, -1):
        now += backward[layer]
        done[layer] = now
    spans, free = [], 0.0
    for bucket, takes in zip(buckets, reduce, strict=True):
        begin = max([done[layer] for layer in bucket] + [free])
        free = begin + takes
        spans.append((begin, free))
    end = max(now, free)
    return spans, end, now / end
    ### END SOLUTION


# %% check="overlap_schedule"
check("overlap_schedule", overlap_schedule)

# %% [markdown]
# **Look at it: the three layers**, with all communication at the end and with overlap.
#
# *The figure. Two charts over time, each with a row for computing and one for the network. Above, without overlap:
# three blocks of backward (blue), then three of all-reduce (orange, hatched), 13 ms in all, and computing 46% of them.
# Below, with overlap: the first all-reduce begins when layer 3 is done; 9 ms in all, 67%.* The lines printed are of a
# node of four ranks in the simulator; in the second, rank 3 computes half as fast, and the others lose time waiting.

# %% experiment="gantt"
layers, reduce = [1.0, 3.0, 2.0], [4.0, 1.0, 2.0]  # milliseconds; layer 1 first
spans, end, utilisation = overlap_schedule(layers, reduce, [[2], [1], [0]])
late = [(6 + sum(reduce[:k]), 6 + sum(reduce[: k + 1])) for k in range(3)]
fig, (axes,) = figure(1, width=8, height=3.6)
for y, bars, ends, share in ((0, late, 13, 6 / 13), (-3, spans, end, utilisation)):
    for place, (words, begin, stop) in enumerate(
        [("bp 3", 0, 2), ("bp 2", 2, 5), ("bp 1", 5, 6), *((f"sum {3 - k}", *bar) for k, bar in enumerate(bars))]
    ):
        sums = place >= 3
        axes.barh(y - sums, stop - begin, left=begin, color=COLOURS[sums], hatch="//" * sums, edgecolor="white")
        axes.text((begin + stop) / 2, y - sums, words, ha="center", va="center", fontsize=8,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    axes.text(ends + 0.2, y - 0.5, f"{ends:.0f} ms, {share:.0%} computing", va="center", fontsize=9)
axes.set_yticks([0, -1, -3, -4], ["without overlap: backward", "network", "with overlap: backward", "network"])
axes.set(xlabel="milliseconds", xlim=(0, 17))


def step(comm):
    comm.compute(6e-3)
    ring_all_reduce(torch.ones(entries), comm)


for slow in ({}, {3: 2.0}):
    timeline = simulate(step, 4, Cluster(slow=slow)).timeline
    print(
        f"slow {slow}: utilisation {timeline.utilisation:.0%}, waiting",
        [f"{1e3 * t:.1f} ms" for t in timeline.waiting()],
    )
fig

# %% [markdown]
# **Look at it: how large a bucket?** Your three functions together: GPT-2's twelve layers, backward of 3 ms each, on 16
# machines with Ethernet cards that are ten times faster. From one bucket for each parameter to one for all.
#
# *The figure. Milliseconds until the optimizer can step, over the size of a bucket, in a U: on the left many small
# messages pay latency, on the right the only bucket leaves when backward has ended. The dashed line is backward alone.*

# %% experiment="bucket_size"
width, ranks = 768, 16
shapes = [3 * width**2, 3 * width, width**2, width, 4 * width**2, 4 * width, 4 * width**2, width, *[width] * 4]
names_of_layers = [layer for layer in range(12) for _ in shapes]
bytes_of_gradients = [4 * n for _ in range(12) for n in shapes]
by_size = []
bucket_sizes = [2**k * 1000 for k in range(2, 20)]
for bucket_bytes in bucket_sizes:
    buckets = make_buckets(bytes_of_gradients, bucket_bytes)
    held = [sum(bytes_of_gradients[k] for k in bucket) for bucket in buckets]
    reduce = [all_reduce_seconds("ring", n, ranks, ETHERNET.latency, 0.1 / ETHERNET.bandwidth) for n in held]
    in_layers = [sorted({names_of_layers[k] for k in bucket}) for bucket in buckets]
    by_size.append(1e3 * overlap_schedule([3e-3] * 12, reduce, in_layers)[1])
print(f"best: {min(by_size):.1f} ms with buckets of {bucket_sizes[by_size.index(min(by_size))] / 1e6:.1f} MB")
fig, (axes,) = figure(1, width=5.2)
axes.plot([n / 1e6 for n in bucket_sizes], by_size)
axes.axhline(36, color=COLOURS[6], linestyle="--", linewidth=1, marker="", label="backward alone")
axes.set(xlabel="MB a bucket", ylabel="milliseconds a step", xscale="log", ylim=(0, None))
axes.legend()
fig

# %% [markdown]
# ## Extensions
#
# ### Extension `halving_doubling_all_reduce` (10 bonus points)
#
# As few steps as a tree's with as few bytes as a ring's. **Halving:** with $P$ a power of two, rank $r$ first exchanges
# with the rank that differs in the highest bit, $r \oplus P/2$: it sends the half of the tensor that the partner is to
# keep, and adds what it gets to its own half; then with the rank $P/4$ away a half of *that* half, until it has one
# chunk whole. **Doubling** goes the same way back. In other worlds, let $P'$ be the largest power of two that is at
# most $P$: each of $P - P'$ ranks first gives its tensor to a partner of its own, who adds it, and gets the result at
# the end. (The nearest partner first costs the same, and is right here too.)
# Points by part: powers of two 4, other worlds 3, traffic 3.


# %% exercise="halving_doubling_all_reduce"
def halving_doubling_all_reduce(x, comm):
    """The sum over all ranks of x, on every rank.

    x: a tensor of n entries, one dimension; n and dtype are the same on all ranks. n may be anything, also 0.
    Returns a new tensor of n entries and x's dtype, also where there is one rank; x stays as it is, and so do results
        of earlier calls. comm.world_size may be anything.
    Costs, with P' the largest power of two that is at most P: a rank sends at most 2 log2 P' messages, and where P' < P
        one more; where P' divides n, at most 2 n (1 - 1/P') entries, and where P' < P n more.
    """
    ### BEGIN SOLUTION
    power = 2 ** int(math.log2(comm.world_size))
    total, guest = x.clone(), comm.rank + power
    if comm.rank >= power:
        comm.send(total, comm.rank - power)
        return comm.recv(total, comm.rank - power)
    if guest < comm.world_size:
        total += comm.recv(torch.empty_like(total), guest)

    def halve_and_double(part, far):
        if far:
            lower, upper = part[: len(part) // 2], part[len(part) // 2 :]
            mine, theirs = (upper, lower) if comm.rank & far else (lower, upper)
            comm.send(theirs, comm.rank ^ far)
            mine += comm.recv(torch.empty_like(mine), comm.rank ^ far)
            halve_and_double(mine, far // 2)
            comm.send(mine, comm.rank ^ far)
            comm.recv(theirs, comm.rank ^ far)

    halve_and_double(total, power // 2)
    if guest < comm.world_size:
        comm.send(total, guest)
    return total
    ### END SOLUTION


# %% check="halving_doubling_all_reduce"
check("halving_doubling_all_reduce", halving_doubling_all_reduce)

# %% [markdown]
# ### Extension `hierarchical_all_reduce` (8 bonus points)
#
# Eight GPUs of a node talk over NVLink, nodes over something ten times slower. Reduce-scatter inside each node, so that
# every rank has one chunk of the node's sum; all-reduce each chunk between those who hold it, one in each node;
# all-gather inside the node. Points by part: sums 4, traffic between nodes 4.


# %% exercise="hierarchical_all_reduce"
def hierarchical_all_reduce(x, comm, node_size):
    """The sum over all ranks of x, on every rank.

    x: a tensor of n entries, one dimension, n and dtype the same on all ranks; n may be smaller than comm.world_size.
    node_size: divides comm.world_size; ranks 0 to node_size - 1 are the first node, and so on. May be 1, or all.
    Returns a new tensor, also where there is one rank; x stays as it is, and so do results of earlier calls.
    Costs: where comm.world_size divides n, a rank sends exactly 2 (K - 1) / K * n / node_size entries to other nodes,
        where K is the number of nodes.
    """
    ### BEGIN SOLUTION
    total, node = x.clone(), comm.rank // node_size

    def half(members, tensor, second):
        """The first or second half of a ring of members, in place; returns the chunk that the first makes whole."""
        size, place = len(members), members.index(comm.rank)
        chunks = tensor.tensor_split(size)
        for step in range(size - 1):
            comm.send(chunks[(place + second - step) % size], members[(place + 1) % size])
            mine = chunks[(place + second - step - 1) % size]
            arrived = comm.recv(torch.empty_like(mine), members[(place - 1) % size])
            mine.copy_(arrived if second else mine + arrived)
        return chunks[(place + 1) % size]

    inside = list(range(node * node_size, (node + 1) * node_size))
    across = list(range(comm.rank % node_size, comm.world_size, node_size))
    chunk = half(inside, total, 0)
    half(across, chunk, 0)
    half(across, chunk, 1)
    half(inside, total, 1)
    return total
    ### END SOLUTION


# %% check="hierarchical_all_reduce"
check("hierarchical_all_reduce", hierarchical_all_reduce)

# %% [markdown]
# ### Extension `all_to_all` (6 bonus points)
#
# Experts of a mixture live on different ranks, and each rank has tokens for all. Points by part: values 4, traffic 2.


# %% exercise="all_to_all"
def all_to_all(chunks, comm):
    """What every rank has for this one: a list whose entry s is what rank s had for this rank.

    chunks: a list of comm.world_size tensors; chunks[d] is for rank d. All have one shape and dtype, on all ranks.
    Entry comm.rank is this rank's own chunk for itself, which may be the very tensor in chunks. chunks stay as they
        are, and so do results of earlier calls.
    Costs: a rank sends P - 1 messages at most, of the chunks' dtype, and only what their receivers need.
    """
    ### BEGIN SOLUTION
    for rank in range(comm.world_size):
        if rank != comm.rank:
            comm.send(chunks[rank], rank)
    return [
        chunks[rank] if rank == comm.rank else comm.recv(torch.empty_like(chunks[rank]), rank)
        for rank in range(comm.world_size)
    ]
    ### END SOLUTION


# %% check="all_to_all"
check("all_to_all", all_to_all)

# %% [markdown]
# ### Extension `barrier` (6 bonus points)
#
# Nobody may leave before the last has come, and no rank is to be the centre. In step $k$ tell somebody, and hear from
# somebody, such that after it you know of $2^k$ ranks, yourself included, that they have come. Points by part: nobody
# leaves too soon 4, steps 2.


# %% exercise="barrier"
def barrier(comm):
    """Returns when all ranks have called it, after ceil(log2 P) steps. Messages are tensors of one entry, not of none.

    comm.world_size may be anything from 1 on.
    """
    ### BEGIN SOLUTION
    far = 1
    while far < comm.world_size:
        comm.send(torch.ones(1), (comm.rank + far) % comm.world_size)
        comm.recv(torch.ones(1), (comm.rank - far) % comm.world_size)
        far *= 2
    ### END SOLUTION


# %% check="barrier"
check("barrier", barrier)

# %% [markdown]
# ## What you built
#
# The collectives under data-parallel training, and the training on top. `mlsys_course.all_reduce`, which comes with lab
# 10's edition, is the reference: all collectives, all-reduce in four ways with one interface, the model of what each
# costs, your ring beside one that sends in segments, and beside your `DataParallel` a `DistributedDataParallel` with
# which GPT-2 trains. Its tests compare both rings with gloo's `all_reduce`, and training on ranks with one process,
# step by step, over random models. Lab 11 takes the ring apart: ZeRO stops after the reduce-scatter.
#
# **What real systems do differently.** `send` may block until somebody receives, so a ring whose ranks all send first
# may stand still; they call `isend`, then `recv`, then `wait`. NCCL cuts chunks further, so that a piece is on its way
# while the one before is being added, and runs several rings at once, laid out along the cables of the machine.
# PyTorch's `DistributedDataParallel` makes gradients views of the buckets on request, and hooks into the end of
# backward, so
# that nobody calls `finish`. A chunk is summed once, so all ranks end with the same bits, and replicas stay equal.
#
# **Papers.** Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations"; Thakur,
# Rabenseifner and Gropp 2005, "Optimization of collective communication operations in MPICH"; Sergeev and Del Balso
# 2018 (Horovod); Li et al. 2020, "PyTorch Distributed"; Hensgen, Finkel and Manber 1988 (the barrier).
