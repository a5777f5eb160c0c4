# %% [markdown]
# # Lab 8: the parameter server, what goes over the wire, and whom to believe
#
# Workers push gradients, a server adds them up, workers pull. The wire is the bottleneck, and anybody may be at its
# other end. You will send a hundredth of the bytes and lose little, and build a server that one liar, or a few who
# agreed on it, cannot lead astray.
#
# **Time:** three hours; with the extensions two more. **Points:** 44; extensions are a bonus. **Before this:** lab 5
# (gradients and optimizers), lab 7 (bytes of a training step).

# %%
import hashlib
import math

import torch

from mlsys_course.desk.check import check

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
        bfloat16. They may lie in memory in any order (a transposed matrix), and stay as they are.
    k: a whole number from 0 on. Where it is larger than the number of entries, all are sent.
    values: the k entries of gradient + residual that are largest in magnitude, with their signs, in the order of their
        indices; one axis, the gradient's dtype. Of equal magnitudes the one with the smaller index goes first.
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
    levels: a tensor with one axis, strictly increasing, at least one entry; float32 also where x is of another dtype.
    u: numbers in [0, 1), a float32 tensor of x's shape, or one Python number for all entries.
    An entry between two levels, at the share p of the way up, gets the upper one exactly where u < p, else the lower;
        an entry on a level gets that level. p is worked out in float32 or finer.
    An entry below the first or above the last level, also an infinite one, gets that level.
    Raises ValueError where an entry is NaN. x, levels and u stay as they are.
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
        equal sums the first.
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
    """A list with an entry for each round: the ranks that the server expels after it, in any order.

    rounds: a list of dicts, rank -> gradient (n,), float64, of those who sent one; in any order of ranks. A rank may be
        away for some rounds, and a round may be empty. Gradients stay as they are.
    f: how many ranks are liars at most. margin: how far off is too far, a number from 1 on.
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
# ## Extensions: more for the wire
#
# ### Extension `random_k` (4 bonus points)
#
# The $k$ entries need not be the largest. Drawn at random and scaled by $n / k$ they are unbiased, at the price of a
# variance of $n / k - 1$ times the square of each entry. Points by part: entries 2, unbiased 2.


# %% exercise="random_k"
def random_k(gradient, k, u):
    """(values, indices) of the k entries with the smallest u; of equal ones the one with the smaller index goes first.

    gradient, u: tensors of one shape, any. k: from 0 on; all entries where it is larger than their number n.
    values: those entries times n / k, but times 1 where k >= n; in the order of indices. indices: in the flattened
        tensor, ascending, int64.
    """
    ### BEGIN SOLUTION
    flat = gradient.flatten()
    indices = u.flatten().argsort(stable=True)[:k].sort().values
    return flat[indices] * (len(flat) / max(len(indices), 1)), indices
    ### END SOLUTION


# %% check="random_k"
check("random_k", random_k)

# %% [markdown]
# ### Extension `momentum_sparsify` (5 bonus points)
#
# Momentum at the server would treat what arrives late as if it were new. *Deep Gradient Compression* has each worker
# keep the momentum: $m_t = \beta m_{t-1} + g_t$, then $a_t = r_{t-1} + m_t$, of which top-k is sent; and where an entry
# was sent, the momentum is set to zero too, so that old gradients do not push once more. Points by part: what is sent
# 3, masking 2.


# %% exercise="momentum_sparsify"
def momentum_sparsify(gradient, momentum, residual, k, beta):
    """(values, indices, momentum, residual) of one step; all (n,), and as in `sparsify`. Arguments stay as they are."""
    ### BEGIN SOLUTION
    velocity = beta * momentum + gradient
    waiting = residual + velocity
    indices = waiting.abs().argsort(descending=True, stable=True)[:k].sort().values
    values = waiting[indices]
    for kept in (velocity, waiting):
        kept[indices] = 0
    return values, indices, velocity, waiting
    ### END SOLUTION


# %% check="momentum_sparsify"
check("momentum_sparsify", momentum_sparsify)

# %% [markdown]
# ### Extension `pack_codes` (5 bonus points)
#
# A code of 3 bits in an int64 sends 61 bits for nothing. Points by part: bits that fill bytes 2, others 3.


# %% exercise="pack_codes"
def pack_codes(codes, bits):
    """uint8, ceil(n bits / 8) entries: the codes without a gap between them.

    codes: (n,), int64, from 0 to 2**bits - 1. bits: from 1 to 8.
    Bit j of code i, which counts 2**j, is bit number i * bits + j of a stream, and bit number t of the stream is bit
    t % 8 of byte t // 8. What is left of the last byte is zero.
    """
    ### BEGIN SOLUTION
    stream = [int(code) >> j & 1 for code in codes for j in range(bits)]
    found = [sum(bit << t for t, bit in enumerate(stream[at : at + 8])) for at in range(0, len(stream), 8)]
    return torch.tensor(found, dtype=torch.uint8)
    ### END SOLUTION


# %% check="pack_codes"
check("pack_codes", pack_codes)

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
    The lower rank of a pair adds the mask, the higher one subtracts it. Arguments stay as they are.
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
# $$ x_p = \arg\min_x \tfrac12 |A_p x - b_p|^2 + \tfrac\rho2 |x - z + u_p|^2, \qquad
#    z = \tfrac1P \textstyle\sum_p (x_p + u_p), \qquad u_p \leftarrow u_p + x_p - z . $$
#
# Set the gradient to zero to find $x_p$. Points by part: one step 3, several 2.


# %% exercise="admm_step"
def admm_step(problems, z, duals, rho):
    """(x, z, duals) after one step, x and duals (P, d), z (d,). The last formula uses the new z.

    problems: a list of P pairs (A, b), A (m, d) and b (m,), where m may differ, be less than d, or 0. duals: (P, d), a
    row u_p for each rank. rho: a number above 0. Arguments stay as they are.
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
# `mlsys_course.parameter_server`, which comes with lab 9's edition, is the reference: one interface for ten
# compressors, with packed bits and error feedback on both sides of the wire; rules for what to believe, and attacks on
# them; averages without a server.
#
# **What real systems do differently.** Top-k of a large gradient is dear on a GPU: thresholds are sampled. Bits are
# packed by kernels. Over NVLink compression hardly pays; between rooms it decides. Honest workers whose data differ
# are off in every round, as liars are: a server that expels by distance needs to know how much they may differ.
#
# **Papers.** Seide et al. 2014 (1-bit SGD); Alistarh et al. 2017 (QSGD); Wen et al. 2017 (TernGrad); Stich, Cordonnier
# and Jaggi 2018 (sparsified SGD with memory); Lin et al. 2018 (deep gradient compression); Karimireddy et al. 2019
# (error feedback); Blanchard et al. 2017 (Krum); Yin et al. 2018 (median, trimmed mean); Baruch, Baruch and Goldberg
# 2019 (a little is enough); McMahan et al. 2017 (federated averaging); Lian et al. 2017 (gossip); Bonawitz et al. 2017
# (secure aggregation); Boyd et al. 2011 (ADMM). Quantum, analog, graph networks and multi-objective training, which
# note 002 lists too, are out of this course's scope.
