# %% [markdown]
# # Lab 9: all-reduce on a ring
#
# In data-parallel training every GPU holds the whole model, works out the gradient of its own part of the batch, and
# then needs the *sum* of everybody's gradients. For GPT-3 in 16-bit numbers that is 350 GB in every iteration. You
# will write the algorithm that makes this possible without any machine in the middle: all-reduce on a ring, from
# nothing but messages between two ranks.
#
# **Time:** about an hour and a half. **Points:** 22.
# **Prerequisites:** lab 7 (bytes of a training step).

# %%
import torch

from mlsys_course.check import check
from mlsys_course.plot import COLOURS, figure
from mlsys_course.ranks import run_in_threads

# %% [markdown]
# ## 1. Ranks and messages
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
# arrive in the order in which they were sent. In this lab ranks are threads, started by
# `run_in_threads(function, world_size)`, which calls `function(comm)` on each and returns the results by rank, and the
# traffic: every message that was sent, with its size.


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
# ## 2. The sum of everybody's tensors, everywhere
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
# $$ \text{bytes sent by a rank} = 2\,(P-1)\left\lceil\frac{n}{P}\right\rceil\cdot\text{bytes of an entry}
#    \;\approx\; 2\,n\cdot\text{bytes of an entry}, $$
#
# about twice the tensor, *however many ranks there are*. No algorithm lets its busiest rank send less. What grows with
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
    Returns a new tensor of n entries and x's dtype; x stays as it is. Messages have x's dtype, and addition is in it.
    A rank sends at most 2 (P - 1) messages, and at most 2 (P - 1) ceil(n / P) entries in all, to its right
        neighbour, (comm.rank + 1) % P.
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
# ## 3. Look at it: who sends how much
#
# The cell below counts the messages of your function, and those of gather-then-broadcast.
#
# *The figure. Left, for 8 ranks and 1 MB: bars of the bytes that each rank sends. On the ring (blue) all are equal, a
# little under 2 MB; with gather-then-broadcast (orange, hatched) rank 0 sends 7 MB and the others 1 MB each. Right:
# what the busiest rank sends, over the number of ranks. The ring's line rises from 1 MB towards a dashed line at 2 MB;
# the other is straight and has no end.*

# %% experiment="traffic"


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


entries = 250_000  # 1 MB of float32
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
# ## What you built
#
# The collective under data-parallel training. `mlsys_course.all_reduce` is the reference, in two functions that lab 11
# needs one by one: ZeRO stops after the reduce-scatter. Its tests compare it with `all_reduce` of gloo.
#
# **What real systems do differently.** `torch.distributed.all_reduce` works in place. There `send` may block until
# somebody receives, so a ring whose ranks all send first may stand still; they call `isend`, then `recv`, then
# `wait`. NCCL cuts chunks further, so that a piece is on its way while the one before is being added, and
# runs several rings at once, laid out along the cables of the machine. For small tensors it takes trees. Since each
# chunk is summed once, by a ring in one order, all ranks end with the same bits: replicas that start equal stay equal.
#
# **Papers.** Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations"; Sergeev
# and Del Balso 2018 (Horovod); Li et al. 2020, "PyTorch Distributed" (buckets and overlap, which stand on top of this).
