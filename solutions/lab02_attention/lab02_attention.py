# %% [markdown]
# # Lab 2: Attention
#
# You build attention as GPT, LLaMA and BERT run it: scaled dot-product attention, masks, several heads, grouped
# heads, and the positions that tell it word order. It is the one operation of a transformer in which tokens look at
# each other, and the one whose cost grows with the square of the sequence, so most of what later labs shard, fuse,
# cache and overlap is this. At the end the weights of a real model run through your code.
#
# **Time** six to eight hours. **Before this** labs 0 and 1: matrix products, softmax, attention over an encoder's
# states. **Points** 100: seven functions (92), a choice (3), an open question (5).
#
# **Conventions.** B batch, T time (queries), S source time (keys), C channels, H heads, K key-value heads, D head
# width. Where lecture notes disagree, we hold to this:
#
# - **Rows are tokens**, so $q = xW_q$ and scores are $QK^\top$. (Some notes have columns and write $K^\top Q$.)
# - **A mask is bool, True where a query may attend.** (Notes add a matrix of $0$ and $-\infty$, or subtract one of
#   $+\infty$; `nn.MultiheadAttention` has True where it may *not*.)
# - **Multi-query**: all heads share one head of keys and values. **Grouped-query**: each group of heads shares one.
#   (One lecture gives the second name to the first thing.)
#
# **Rules.** Loops, `einsum`, `torch.softmax`: as you like. Not allowed in a solution is PyTorch's own attention:
# `F.scaled_dot_product_attention`, `F.multi_head_attention_forward`, `nn.MultiheadAttention`,
# `nn.TransformerEncoderLayer`, `torch._native_multi_head_attention`. In a scratch cell, do compare with them. No
# function may change its inputs.

# %%
import math
import time

import torch
from torch import Tensor

from mlsys_course import data, plot
from mlsys_course.check import check
from mlsys_course.device import seed

# %% [markdown]
# ## 1. Scaled dot-product attention
#
# Each query asks "who here matters to me?" and gets a weighted mean of the values, weighted by how well their keys fit:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{D}}\right) V$$
#
# ```
#   q (T, D) ─┐
#             ├─ scores (T, S) ─ ÷ √D ─ mask ─ softmax ─ weights (T, S) ─┐
#   k (S, D) ─┘                              row by row                  ├─ (T, Dv)
#   v (S, Dv) ───────────────────────────────────────────────────────────┘
# ```
# *In words: queries times keys is a table of scores, a row for each query; each row, scaled and masked, becomes weights
# that sum to 1; weights times values is the output.*
#
# **The limit case.** A mask may leave a query nothing to attend to. The softmax is 0/0 there. We define the output as
# zeros, and its gradient as zero: one NaN, and a single training step spreads it to every weight.
#
# **Precision.** A sum of thousands of exponentials does not fit bfloat16's 8 bits: for half-precision inputs take the
# softmax in float32, and return the inputs' dtype.


# %% exercise="attention"
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Every query's weighted mean of the values: softmax(q kᵀ / sqrt(D)) v.

    q is (..., T, D), k is (..., S, D), v is (..., S, Dv), with the same leading dimensions, any number of them (also
    none); the result is (..., T, Dv). T and S may differ, as may D and Dv. q, k and v share a dtype, which is the
    result's. `mask` is bool, True where the query may attend to the key, and broadcasts to (..., T, S). A query that
    may attend to no key gets zeros, and contributes zero to every gradient. Scores may be as large
    as the inputs' dtype holds: no NaN, no infinity.
    """
    ### BEGIN SOLUTION
    scores = (q @ k.transpose(-2, -1)).to(torch.promote_types(q.dtype, torch.float32)) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask  # rows without keys hold a finite softmax of nothing: clear it
    return weights.to(v.dtype) @ v
    ### END SOLUTION


# %% check="attention"
check("attention", attention)

# %% [markdown]
# **Look at it: why the scale?** With the identity as values, `attention` hands back its weights: a useful trick all
# through this lab. Below, q and k have independent normal entries. *The left figure* has the standard deviation of q·k
# against the head width D, on logarithmic axes, with √D as a line; *the right one* the entropy of a query's weights
# over 64 keys, with and without the scale. log 64 = 4.16 means "looks everywhere", 0 means "looks at one key only".


# %% experiment="why_scale"
def entropy_of_weights(q: Tensor, k: Tensor) -> float:
    weights = attention(q, k, torch.eye(k.shape[-2]))
    return -(weights * weights.clamp_min(1e-12).log()).sum(-1).mean().item()


seed(2)
widths = [4, 16, 64, 256, 1024]
pairs = [(torch.randn(256, D), torch.randn(64, D)) for D in widths]
fig, (left, right) = plot.figure(2)
left.loglog(widths, [(q @ k.T).std().item() for q, k in pairs], label="measured", linestyle="none")
left.loglog(widths, [D**0.5 for D in widths], label="√D", marker="")
left.set(xlabel="head width D", ylabel="standard deviation of q·k")
left.legend()
right.semilogx(widths, [entropy_of_weights(q, k) for q, k in pairs], label="scaled by √D")
right.semilogx(widths, [entropy_of_weights(q * q.shape[-1] ** 0.5, k) for q, k in pairs], label="not scaled")
right.set(xlabel="head width D", ylabel="entropy of the weights (nats)", ylim=(0, None))
right.legend()
fig

# %% [markdown]
# Without the scale a wide head starts out looking at one key only, at random. There the softmax is flat: its Jacobian
# $\mathrm{diag}(\alpha) - \alpha\alpha^\top$ is nearly zero, and the head learns nothing about where else to look.
#
# **A question on it.** The entries of q and k are independent, with mean 0 and *variance* {{ variance }}; the head
# width is {{ d_k }}. What is the standard deviation of q·k, before any scale?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="scale_choice"
# Assign the letter of your answer, such as "a", to scale_choice.
### BEGIN SOLUTION
scale_choice = "{{ scale_answer }}"
### END SOLUTION

# %% check="scale_choice"
check("scale_choice", scale_choice)

# %% [markdown]
# ## 2. Masks
#
# A decoder is trained on all positions at once; what keeps it from copying the answer is that position t may not see
# t+1. And a batch of sentences of different lengths is padded at the end; padding must not be looked at.
#
# ```
#   causal, T=4      causal, T=2 S=5        padding, lengths 2 and 4
#   ■ · · ·          ■ ■ ■ ■ ·              ■ ■ · ·
#   ■ ■ · ·          ■ ■ ■ ■ ■              ■ ■ ■ ■
#   ■ ■ ■ ·          (three keys from
#   ■ ■ ■ ■           a cache)
# ```
# *In words: a black square is True. A square causal mask is a lower triangle with its diagonal. With more keys than
# queries the triangle moves right, until the last query sees the last key. A padding mask cuts a row at its length.*
#
# When a model generates, earlier keys wait in a cache and only new tokens bring queries: the *last* T of S positions.
# So the mask is aligned to the last key. (PyTorch's `is_causal=True` aligns to the first.)


# %% exercise="causal_mask"
def causal_mask(T: int, S: int | None = None, device: torch.device | None = None) -> Tensor:
    """A bool mask of shape (T, S): True where a query may see a key, that is, where the key is not in its future.

    The queries are the last T of S positions: query t stands at position t + S - T, key s at position s, and a token
    sees itself. S=None means S = T. 1 <= T <= S always holds. The mask is made on `device`.
    """
    ### BEGIN SOLUTION
    S = T if S is None else S
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(diagonal=S - T)
    ### END SOLUTION


# %% check="causal_mask"
check("causal_mask", causal_mask)


# %% exercise="padding_mask"
def padding_mask(lengths: Tensor, T: int) -> Tensor:
    """A bool mask of shape (B, 1, 1, T): True at keys that are tokens, False at padding.

    `lengths` is (B,), of an integer dtype, each from 0 to T: sequence b has its tokens at positions 0 to lengths[b] - 1
    and padding after them. The two axes of size 1 let it broadcast over heads and queries. Same device as `lengths`.
    """
    ### BEGIN SOLUTION
    is_token = torch.arange(T, device=lengths.device)[None, :] < lengths[:, None]
    return is_token[:, None, None, :]
    ### END SOLUTION


# %% check="padding_mask"
check("padding_mask", padding_mask)

# %% [markdown]
# **Look at it.** *Three heat maps of weights over 8 positions, query rows by key columns: with the causal mask the
# upper triangle is dark; with padding after 5 tokens the last three columns are; with `&` of both, both are.* Why does
# the first row of the causal map hold a single bright cell?

# %% experiment="masks"
seed(3)
q, k, positions = torch.randn(1, 1, 8, 16), torch.randn(1, 1, 8, 16), torch.eye(8)[None, None]
causal, padded = causal_mask(8), padding_mask(torch.tensor([5]), 8)
maps = [attention(q, k, positions, mask)[0, 0] for mask in (causal, padded, causal & padded)]
plot.heatmap(maps, titles=["causal", "padding", "causal & padding"], row_label="query", column_label="key")

# %% [markdown]
# ## 3. Several heads
#
# One softmax gives one pattern of looking. A token wants several: the word before it, its verb, what "it" stands for.
# So the projections are cut into H blocks of D channels, each attends for itself, and $W_o$ mixes what they found:
#
# $$\mathrm{head}_h = \mathrm{attention}(xW_q^{(h)}, xW_k^{(h)}, xW_v^{(h)}), \qquad
# y = [\mathrm{head}_0 \,|\, \dots \,|\, \mathrm{head}_{H-1}]\, W_o$$
#
# ```
#   x (B, T, C) ─ @ w_q ─ cut ─ swap ─ (B, H, T, D) ─┐
#               ─ @ w_k ─ cut ─ swap ─ (B, H, T, D) ─┼─ attention ─ (B, H, T, D)
#               ─ @ w_v ─ cut ─ swap ─ (B, H, T, D) ─┘                   │
#   (B, T, C) ── @ w_o ── (B, T, H·D) ── join heads ── swap back ────────┘
# ```
# *In words: project once for all heads, cut the last axis into heads, move heads beside the batch, attend, move back,
# join, mix.* Head h owns channels h·D to (h+1)·D. H·D is usually C, but need not be (T5 and Gemma have other widths).
#
# A wrong part should cost you once. So this function takes `attention` as a parameter: **call the parameter.** While
# grading it is a right one, whatever became of yours; in the experiments it is yours.


# %% exercise="multi_head_attention"
def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask=None, *, attention):
    """Self-attention of x (B, T, C) in H = `n_heads` heads: (B, T, C).

    w_q, w_k and w_v are (C, H*D), w_o is (H*D, C); H*D may differ from C, and always divides by H. Head h owns
    columns h*D to (h+1)*D of the projections, and rows h*D to (h+1)*D of w_o. `mask` is as for `attention`, and
    broadcasts to (B, H, T, T). Use the `attention` parameter, called as attention(q, k, v, mask), for the attention
    itself. The result has x's dtype.
    """
    ### BEGIN SOLUTION
    B, T, _ = x.shape

    def heads(w: Tensor) -> Tensor:
        return (x @ w).view(B, T, n_heads, -1).transpose(1, 2)  # (B, H, T, D)

    joined = attention(heads(w_q), heads(w_k), heads(w_v), mask).transpose(1, 2).reshape(B, T, -1)
    return joined @ w_o
    ### END SOLUTION


# %% check="multi_head_attention"
check("multi_head_attention", multi_head_attention)

# %% [markdown]
# **Look at it: a real model in your code.** all-MiniLM-L6-v2 is a BERT encoder with 12 heads of width 32. Its first
# layer's weights run through *your* `multi_head_attention`, and a spy in the place of `attention` keeps the maps. (The
# model has biases. A channel of ones in x, and the bias as one more row of w, is the same.)
#
# *Three heat maps over one sentence, query words as rows, key words as columns, brightest from 0.5. Head 2 is a bright
# line just below the diagonal: it looks at the word before, always. In head 6 the brightest key of "it" is "animal",
# before "street". In head 8 "animal" looks at itself, "the" at both "the", and most others at [CLS].* Nobody programmed
# these.


# %% experiment="real_heads"
def attention_maps(tokens: list[str], model: data.MiniLM, layer: int = 0) -> Tensor:
    """The weights (H, T, T) of one layer's heads for x = the embedded tokens."""
    found = []

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        found.append(attention(q, k, torch.eye(k.shape[-2]).expand(*k.shape[:-1], -1), mask))
        return attention(q, k, v, mask)

    x, p = model.embed(tokens)[None], model.projections(layer)
    x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
    w = [torch.cat([w, b[None]]) for w, b in ((p.w_q, p.b_q), (p.w_k, p.b_k), (p.w_v, p.b_v))]
    multi_head_attention(x, *w, p.w_o, model.n_heads, attention=spy)
    return found[0][0]


fig, heads = None, [2, 6, 8]
try:
    minilm = data.minilm()
    words = minilm.tokens("The animal didn't cross the street because it was too tired.")
    maps = attention_maps(words, minilm)[heads]
    fig = plot.heatmap(list(maps), words, words, titles=[f"head {h}" for h in heads], limits=(0, 0.4))
except data.DataMissing as missing:
    print(f"This experiment needs a pretrained model. {missing}")
fig

# %% [markdown]
# ## 4. Grouped heads
#
# A model that generates keeps the keys and values of all earlier tokens in memory. With LLaMA-2-7B's shape (32 layers,
# 32 heads of 128, 16 bit) a context of 4096 tokens takes
# $2 \cdot 32 \cdot 32 \cdot 128 \cdot 4096 \cdot 2$ bytes = 2 GiB *for each sequence*, and every new token reads all of
# it. Queries are not kept. So let groups of query heads share one head of keys and values:
#
# | key-value heads K | name | cache at 4096 tokens |
# |---|---|---|
# | 32 | multi-head | 2 GiB |
# | 8 | grouped-query (LLaMA-2-70B, LLaMA-3, Mistral have 8) | 512 MiB |
# | 1 | multi-query | 64 MiB |
#
# ```
#   query heads        0 1 2 3   4 5 6 7        H = 8
#                      └──┬──┘   └──┬──┘
#   key-value heads       0         1           K = 2: query head h reads h // (H/K)
# ```
# *In words: neighbouring query heads share a key-value head.*


# %% exercise="grouped_query_attention"
def grouped_query_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, mask=None, *, attention):
    """Self-attention of x (B, T, C) in H = `n_heads` query heads that share K = `n_kv_heads` heads of keys and values.

    w_q is (C, H*D), w_k and w_v are (C, K*D), w_o is (H*D, C); K always divides H. Blocks of D columns are heads, as in
    multi_head_attention, and query head h reads key-value head h // (H // K). `mask` broadcasts to (B, H, T, T). Use
    the `attention` parameter, called as attention(q, k, v, mask) with q, k and v of the same leading dimensions. The
    result is (B, T, C) in x's dtype.
    """
    ### BEGIN SOLUTION
    B, T, _ = x.shape
    q = (x @ w_q).view(B, T, n_heads, -1).transpose(1, 2)  # (B, H, T, D)
    k, v = ((x @ w).view(B, T, n_kv_heads, -1).transpose(1, 2) for w in (w_k, w_v))  # (B, K, T, D)
    k, v = (each.repeat_interleave(n_heads // n_kv_heads, dim=1) for each in (k, v))
    return attention(q, k, v, mask).transpose(1, 2).reshape(B, T, -1) @ w_o
    ### END SOLUTION


# %% check="grouped_query_attention"
check("grouped_query_attention", grouped_query_attention)

# %% [markdown]
# ## 5. Positions
#
# Shuffle the words, and attention shuffles its outputs and changes nothing else: to it a sentence is a bag. The
# transformer's first answer was to add to each embedding a pattern that says where it stands. Each pair of channels is
# a clock hand, slower from pair to pair:
#
# $$P_{t,2i} = \sin(t \cdot b^{-2i/C}), \qquad P_{t,2i+1} = \cos(t \cdot b^{-2i/C}), \qquad b = 10000$$
#
# Sines and cosines *alternate*, as in the paper. (Much code concatenates them.)


# %% exercise="sinusoidal_positions"
def sinusoidal_positions(T: int, C: int, base: float = 10000.0, device: torch.device | None = None) -> Tensor:
    """The table P of shape (T, C) in float32 for positions 0 to T - 1, on `device`.

    Entry [t, 2i] is sin(t / base^(2i/C)) and entry [t, 2i+1] is cos of the same, for i from 0 to C/2 - 1. C is even.
    """
    ### BEGIN SOLUTION
    t = torch.arange(T, dtype=torch.float32, device=device)[:, None]
    angle = t / base ** (torch.arange(0, C, 2, device=device) / C)
    table = torch.empty(T, C, device=device)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
    return table
    ### END SOLUTION


# %% check="sinusoidal_positions"
check("sinusoidal_positions", sinusoidal_positions)

# %% [markdown]
# **Rotary positions** put the same clock hands elsewhere: not added to the input, but turning queries and keys just
# before they meet. Take a pair of channels as a point in a plane and turn it by its position times its frequency:
#
# $$\begin{pmatrix} x'_i \\ x'_{i+D/2} \end{pmatrix} =
# \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}
# \begin{pmatrix} x_i \\ x_{i+D/2} \end{pmatrix}, \qquad \theta = (\mathrm{offset} + t) \cdot b^{-2i/D}$$
#
# Both turned, q at position m and k at position n meet at the angle of m - n: **scores depend on distance only**. The
# offset says where the first row stands, so that a new token's key can join a cache of earlier ones.
#
# **The pairing** here is "halves", i with i + D/2, as in GPT-NeoX and in Hugging Face's LLaMA. The paper and Meta's own
# LLaMA pair 2i with 2i+1. Mixing the two is a famous bug: shapes fit, and the model talks nonsense.
#
# **Precision.** bfloat16 has 8 bits, so 300 and 301 are the same number to it. Compute angles in float32 at least.


# %% exercise="rotary_positions"
def rotary_positions(x: Tensor, offset: int = 0, base: float = 10000.0) -> Tensor:
    """x of shape (..., T, D) with each row turned by its position; same shape and dtype as x.

    Row t stands at position offset + t. For i from 0 to D/2 - 1, channels i and i + D/2 are turned by the angle
    (offset + t) / base^(2i/D), as in the equation. D is even; there may be any number of leading dimensions. Angles,
    sines and cosines are computed in float32 or better, whatever x's dtype.
    """
    ### BEGIN SOLUTION
    T, D = x.shape[-2:]
    t = offset + torch.arange(T, dtype=torch.float32, device=x.device)[:, None]
    angle = t / base ** (torch.arange(0, D, 2, device=x.device) / D)  # (T, D/2)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., : D // 2], x[..., D // 2 :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
    ### END SOLUTION


# %% check="rotary_positions"
check("rotary_positions", rotary_positions)

# %% [markdown]
# **Look at it.** *Left: the sinusoidal table as a heat map, position by channel: fast stripes in the first channels,
# almost constant last ones. Right: the score of one query with one key against their distance, both turned by rotary
# positions, for a key at position 0 (line) and at 500 (squares): the squares lie on the line.*

# %% experiment="position_patterns"
seed(4)
fig, (left, right) = plot.figure(2)
left.imshow(sinusoidal_positions(64, 48), cmap="cividis", aspect="auto")
left.set(xlabel="channel", ylabel="position", title="sinusoidal")
q, k = torch.randn(1, 64), torch.randn(1, 64)
for start, look in ((0, {"marker": ""}), (500, {"linestyle": "none", "markersize": 3})):
    scores = [(rotary_positions(q, start + d) @ rotary_positions(k, start).T).item() for d in range(64)]
    right.plot(scores, label=f"key at {start}", **look)
right.set(xlabel="distance of query and key", ylabel="score", title="rotary")
right.legend()
fig

# %% [markdown]
# **Look at it: order comes in.** Shuffle the tokens, attend, and compare with attending first and shuffling after.
# *A bar chart of the largest difference, on a logarithmic axis: without positions only rounding, below 1e-6; with
# sinusoidal or rotary positions about 1.* The rotary variant is again just another `attention` passed in.


# %% experiment="equivariance"
def rotary_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return attention(rotary_positions(q), rotary_positions(k), v, mask)


seed(5)
x, order, table = torch.randn(1, 12, 32), torch.randperm(12), sinusoidal_positions(12, 32)
weights = [torch.randn(32, 32) / 32**0.5 for _ in range(4)]
layers = {
    "no positions": lambda x: multi_head_attention(x, *weights, 4, attention=attention),
    "sinusoidal": lambda x: multi_head_attention(x + table, *weights, 4, attention=attention),
    "rotary": lambda x: multi_head_attention(x, *weights, 4, attention=rotary_attention),
}
differences = [(layer(x[:, order]) - layer(x)[:, order]).abs().max().item() for layer in layers.values()]
fig, (ax,) = plot.figure()
ax.bar(list(layers), [max(d, 1e-9) for d in differences], color=plot.COLOURS[:3])
ax.set(yscale="log", ylim=(1e-9, 10), ylabel="largest difference")
fig

# %% [markdown]
# **In your own words** (5 points, read by a person; about 120 words). Without positions, why can a stack of attention
# layers without a causal mask not tell "dog bites man" from "man bites dog"? Say what the first bar of the plot
# shows, what follows from it for the outputs of a whole sentence, and how each of the two kinds of positions breaks it.

# %% [markdown] question="word_order"
# ### BEGIN SOLUTION
# Scores compare contents only, and a row's softmax is a sum over keys in any order. So permuting the rows of x permutes
# the rows of the output in the same way and changes no number: attention is permutation equivariant (the first bar is
# rounding error), and a stack of equivariant layers is equivariant. Both sentences have the same three rows, so their
# outputs are the same three vectors, in another order: "dog" gets the same vector whether it bites or is bitten, and
# anything pooled from them is equal. Sinusoidal positions are added to the input, so the same word at another place is
# another vector from the start. Rotary positions leave the input alone and turn queries and keys, so that each score
# depends on the distance and its sign, and a shuffle changes the weights.
# ### END SOLUTION

# %% [markdown]
# ## 6. What it costs
#
# Scores are a T by T table for each head: $2HT^2D$ FLOPs each for $QK^\top$ and for the weights times V (a
# multiply-add is 2), and, written out as you did, $4HT^2$ bytes for one float32 copy: 128 MiB at T = 2048 below. *The
# figure has the measured time against T, both logarithmic, with a line of slope 2. The last points lie on the line;
# shorter sequences fall below it where the table fits the processor's caches, or above it where starting the threads
# takes longer than the work.* Where does your machine leave the line?

# %% experiment="cost"
seed(6)
H, D, lengths, times = 8, 64, [64, 128, 256, 512, 1024, 2048], []
for T in lengths:
    q, k, v = (torch.randn(1, H, T, D) for _ in range(3))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        attention(q, k, v)
        best = min(best, time.perf_counter() - start)
    times.append(best * 1e3)
fig, (ax,) = plot.figure()
ax.loglog(lengths, times, label="measured", linestyle="none")
ax.loglog(lengths, [times[-1] * (T / lengths[-1]) ** 2 for T in lengths], label="T²", marker="")
ax.set(xlabel="T", ylabel="time (ms)", title=f"{H} heads of {D}")
ax.legend()
fig

# %% [markdown]
# ## What you built
#
# Seven functions: lab 3 puts them into blocks, lab 4 adds the cache that `S`, `offset` and grouped heads were made for,
# lab 11 shards their weights. They live in `mlsys_course/attention/` (`scaled_dot_product.py`, `masks.py`,
# `multi_head.py`, `positions.py`); compare after handing in. `mlsys carry lab02` takes your own into later labs.
#
# **Real systems** never write the T by T table: FlashAttention computes it tile by tile in fast memory with an online
# softmax (lab 12). They merge $W_q$, $W_k$, $W_v$ into one matrix product (lab 6), skip the masked half of a causal
# table instead of clearing it, index shared key-value heads instead of copying them, and keep tables of cosines.
#
# **Papers.** Vaswani et al. 2017, *Attention is all you need*. Shazeer 2019, *Fast transformer decoding: one write-head
# is all you need* (multi-query). Ainslie et al. 2023, *GQA*. Su et al. 2021, *RoFormer* (rotary). Dao et al. 2022,
# *FlashAttention*.
