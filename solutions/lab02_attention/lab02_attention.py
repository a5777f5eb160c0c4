# %% [markdown]
# # Lab 2: Attention
#
# You build attention as GPT, LLaMA and BERT run it: scaled dot-product attention, masks, projections, several heads,
# grouped heads, the positions that tell it word order, and the cache that makes it generate. It is the one operation
# of a transformer in which tokens look at each other, and the one whose cost grows with the square of the sequence, so
# most of what later labs shard, fuse, cache and overlap is this. The weights of a real model run through your code.
#
# **Time** six to eight hours; with the extensions two more. **Before this** labs 0 and 1: matrix products, softmax,
# attention over an encoder's states. **Points** 100: eight functions (92), a choice (3), an open question (5). Six
# *extensions* are a bonus; nothing in the lab or in later ones needs them.
#
# **Conventions.** B batch, T time (queries), S source time (keys), C channels, H heads, K key-value heads, D head
# width. Where lecture notes disagree, we hold to this:
#
# - **Rows are tokens**, so $q = xW_q$ and scores are $QK^\top$. (Some notes have columns and write $K^\top Q$.)
# - **A mask is bool, True where a query may attend.** (Notes add a matrix of $0$ and $-\infty$, or subtract one of
#   $+\infty$; `nn.MultiheadAttention` has True where it may *not*.)
# - **Scores are scaled** by $1/\sqrt{D}$, always. (One lecture shows self-attention without it first.)
# - **Multi-query**: all heads share one head of keys and values. **Grouped-query**: each group of heads shares one.
#   (One lecture gives the second name to the first thing.)
#
# **Rules.** Loops, `einsum`, `torch.softmax`: as you like. Not allowed in a solution is PyTorch's own attention:
# `F.scaled_dot_product_attention`, `F.multi_head_attention_forward`, `nn.MultiheadAttention`,
# `nn.TransformerEncoderLayer`, `torch._native_multi_head_attention`. In a scratch cell, do compare with them. No
# function may change its inputs, and each may be called many times, with other sizes and numbers.

# %%
import math
import time

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from mlsys_course.desk.check import check
from mlsys_course.desk.check.meter import peak_bytes
from mlsys_course.substrate import data, plot
from mlsys_course.substrate.device import seed

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
# softmax in float32, and return the inputs' dtype. float64 stays float64 all the way.


# %% exercise="attention"
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Every query's weighted mean of the values: softmax(q kᵀ / sqrt(D)) v.

    q is (..., T, D), k is (..., S, D), v is (..., S, Dv), with the same leading dimensions, any number of them (also
    none); the result is (..., T, Dv). T and S may differ, as may D and Dv. q, k and v share a dtype, which is the
    result's; the softmax runs in float32, or in float64 where they are float64. `mask` is bool, True where the query
    may attend to the key, and broadcasts to (..., T, S). A query that may attend to no key gets zeros, and contributes
    zero to every gradient. Scores q kᵀ, before they are divided, may be as large as the inputs' dtype holds, of either
    sign: no NaN, no infinity, and a key that is hidden counts for nothing however low the others score.
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
# **Look at it: weighted averaging with learned keys.** Averaging is old. Give every point the same weight and you pool.
# Give near points more, by a Gaussian of width h, and it is the kernel regression of Nadaraya and Watson (1964):
#
# $$\hat y(x) = \frac{\sum_i e^{-(x-x_i)^2/2h^2}\, y_i}{\sum_j e^{-(x-x_j)^2/2h^2}}, \qquad
# -\frac{(x-x_i)^2}{2h^2} = \frac{1}{h^2}\Big(x\,x_i - \frac{x_i^2}{2}\Big) - \frac{x^2}{2h^2}$$
#
# The last term is the same for all i, and a softmax does not see it. So this *is* your `attention`, with queries
# $\frac{\sqrt 2}{h^2}(x, 1)$, keys $(x_i, -x_i^2/2)$ and values $y_i$. What a transformer adds: what is alike is
# *learned*. Below, 40 noisy points of a curve that repeats. Queries and keys are sines and cosines of x, each
# times a learned weight (8 numbers, trained so that each point is predicted from the others).
#
# *Left: the points and three averages of them. Pooling, a query of zeros, is a flat line. The kernel follows the curve
# and much of the noise. The learned one is smoother and closer to the true curve. Right, why: the weights of a query at
# x = 3 over the 40 keys. The kernel has one high peak, at 3. The learned one has four low ones: it looks wherever the
# curve is about as high as at 3, near or far, and so averages over more points that are alike.*

# %% experiment="weighted_averages"
seed(1)
x_data, grid, h = (6 * torch.rand(40)).sort().values, torch.linspace(0, 6, 200), 0.25
y_data = torch.sin(2 * x_data) + 0.4 * torch.randn(40)


def of_kernel(x: Tensor) -> Tensor:
    return torch.stack((x, torch.ones_like(x)), dim=-1) * 2**0.5 / h**2


def waves(x: Tensor) -> Tensor:
    angles = x[:, None] * torch.arange(1, 5)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)  # (T, 8)


learned = torch.ones(8).requires_grad_()
optimizer = torch.optim.Adam([learned], lr=0.1)
others = ~torch.eye(40, dtype=torch.bool)  # nobody looks at its own answer
for _ in range(60):
    q = k = waves(x_data) * learned
    loss = (attention(q, k, y_data[:, None], others)[:, 0] - y_data).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
learned = learned.detach()
keys = torch.stack((x_data, -(x_data**2) / 2), dim=-1)
ways = {
    "pooling": (lambda x: 0 * of_kernel(x), keys, ":"),
    "kernel": (of_kernel, keys, "--"),
    "learned": (lambda x: waves(x) * learned, waves(x_data) * learned, "-"),
}
fig, (left, right) = plot.figure(2)
left.plot(x_data, y_data, linestyle="none", markersize=3, color="0.6")
for (name, (queries, k, look)), colour in zip(ways.items(), plot.COLOURS, strict=False):
    y = attention(queries(grid), k, y_data[:, None])[:, 0]
    error = (y - torch.sin(2 * grid)).square().mean()
    left.plot(grid, y, marker="", linestyle=look, color=colour, label=f"{name}, error {error:.3f}")
    weights = attention(queries(torch.tensor([3.0])), k, torch.eye(40))[0]
    right.plot(x_data, weights, marker="", linestyle=look, color=colour, label=name)
left.set(xlabel="x", ylabel="y", ylim=(-2, 3))
left.legend()
right.set(xlabel="key", ylabel="weight of a query at 3")
right.legend()
gauss = torch.exp(-((grid[:, None] - x_data) ** 2) / (2 * h**2))
by_formula = (gauss * y_data).sum(-1) / gauss.sum(-1)
difference = (attention(of_kernel(grid), keys, y_data[:, None])[:, 0] - by_formula).abs().max()
print(f"attention and the formula of Nadaraya and Watson differ by at most {difference:.1g}")
fig

# %% [markdown]
# **Look at it: why the scale?** With the identity as values, `attention` hands back its weights: a useful trick all
# through this lab. Below, q and k have independent normal entries. *The left figure* has the standard deviation of q·k
# against the head width D, both axes logarithmic, with √D as a line; *the right one*, D logarithmic again, the entropy
# of a query's weights over 64 keys, with and without the scale. log 64 = 4.16 means "looks everywhere", 0 means "looks
# at one key only".


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

    `lengths` is (B,), int8 to int64 or uint8, each from 0 to T, which may be more than that dtype holds: sequence b has
    its tokens at positions 0 to lengths[b] - 1 and padding after them. The two axes of size 1 let it broadcast over
    heads and queries. Same device as `lengths`.
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
# **Other patterns.** What a token may see depends on the task, and a mask says it. Three that real models use:
#
# ```
#   window of 2, T=5     prefix of 3, T=5     documents 7 7 4 4 4
#   ■ · · · ·            ■ ■ ■ · ·            ■ · · · ·
#   ■ ■ · · ·            ■ ■ ■ · ·            ■ ■ · · ·
#   · ■ ■ · ·            ■ ■ ■ · ·            · · ■ · ·
#   · · ■ ■ ·            ■ ■ ■ ■ ·            · · ■ ■ ·
#   · · · ■ ■            ■ ■ ■ ■ ■            · · ■ ■ ■
# ```
# *In words: a window is a band of constant width along the diagonal; a prefix is a full square in the corner of a
# causal triangle; documents are one causal triangle each, side by side along the diagonal.* Mistral 7B has a window of
# 4096, so its cost grows with T, not with T². A prefix is for a prompt that may be read in both directions (the T5
# paper compares it with the encoder and decoder that T5 has).
# Documents are for training on short texts packed into one row, without letting one see the other.
#
# The next three exercises are **extensions**.


# %% exercise="window_mask"
def window_mask(T: int, window: int, S: int | None = None, device: torch.device | None = None) -> Tensor:
    """A bool mask of shape (T, S): True where the key is one of the last `window` up to and with the query's own.

    Positions are as in causal_mask: the queries are the last T of S positions, S=None means S = T. So query t, at
    position p = t + S - T, sees the keys from p - window + 1 to p, as far as there are any. window >= 1.
    """
    ### BEGIN SOLUTION
    S = T if S is None else S
    distance = torch.arange(S - T, S, device=device)[:, None] - torch.arange(S, device=device)
    return (distance >= 0) & (distance < window)
    ### END SOLUTION


# %% check="window_mask"
check("window_mask", window_mask)


# %% exercise="prefix_mask"
def prefix_mask(prefix: Tensor, T: int) -> Tensor:
    """A bool mask of shape (B, 1, T, T): causal, and the first prefix[b] keys of sequence b are seen by all queries.

    `prefix` is (B,), with dtypes and values as `lengths` of padding_mask. Query t of sequence b sees key s where
    s <= t or s < prefix[b]. Same device as `prefix`.
    """
    ### BEGIN SOLUTION
    position = torch.arange(T, device=prefix.device)
    causal = position <= position[:, None]  # (T, T)
    in_prefix = position < prefix[:, None, None, None]  # (B, 1, 1, T)
    return causal | in_prefix
    ### END SOLUTION


# %% check="prefix_mask"
check("prefix_mask", prefix_mask)


# %% exercise="document_mask"
def document_mask(documents: Tensor) -> Tensor:
    """A bool mask of shape (B, 1, T, T): True where the key is not after the query and belongs to the same document.

    `documents` is (B, T), int8 to int64 or uint8: the number of each token's document. The numbers are arbitrary, 0 and
    negative ones too; equal numbers of one sequence are one document, also where others stand between them. Same device
    as `documents`.
    """
    ### BEGIN SOLUTION
    T = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    return (same & torch.ones(T, T, dtype=torch.bool, device=documents.device).tril())[:, None]
    ### END SOLUTION


# %% check="document_mask"
check("document_mask", document_mask)

# %% [markdown]
# ## 3. Queries, keys and values from X
#
# Where do q, k and v come from? Not from outside: each token's hidden state $x_t$ is projected three times, by three
# learned matrices:
#
# $$Q = XW_q, \qquad K = XW_k, \qquad V = XW_v$$
#
# A **query** says what a token looks for, a **key** what it offers to be found by, a **value** what it hands over when
# found. A search engine has the same three: what you type, what a page is indexed under, the page. Three matrices,
# since the three are different things: with $W_q = W_k$ the scores would be symmetric, and "it" would interest "animal"
# exactly as much as "animal" interests "it".
#
# Where keys and values come from the same X as the queries, it is **self-attention**. Where they come from another
# sequence, a *context*, it is **cross-attention**: in lab 1, and in the decoder of Vaswani et al., the target asks and
# the source answers. Nothing else changes, and T and S may differ.
#
# ```
#   x (T, C) ────── @ w_q ── q (T, D) ─┐
#                                      ├─ attention ── (T, Dv)
#   context (S, C') ┬ @ w_k ─ k (S, D) ┤
#   (or x again)    └ @ w_v ─ v (S, Dv)┘
# ```
# *In words: queries are a projection of x; keys and values are projections of the context, or of x without one.*
#
# A wrong part should cost you once. So from here on functions take `attention` as a parameter: **call the parameter.**
# While grading it is a right one, whatever became of yours; in the experiments it is yours.


# %% exercise="self_attention"
def self_attention(x, w_q, w_k, w_v, mask=None, context=None, *, attention):
    """One head of attention of x (..., T, C) over itself, or over `context` (..., S, C') where one is given.

    q = x @ w_q, and with y = x if context is None else context, k = y @ w_k and v = y @ w_v. w_q is (C, D), w_k is
    (C', D) and w_v is (C', Dv), where C' is C without a context. x and context have the same leading dimensions, any
    number of them. `mask` is as for `attention`, and broadcasts to (..., T, S), without a context to (..., T, T). Use
    the `attention` parameter, called as attention(q, k, v, mask), for the attention itself; it divides by sqrt(D). The
    result is (..., T, Dv) in x's dtype.
    """
    ### BEGIN SOLUTION
    source = x if context is None else context
    return attention(x @ w_q, source @ w_k, source @ w_v, mask)
    ### END SOLUTION


# %% check="self_attention"
check("self_attention", self_attention)

# %% [markdown]
# ## 4. Several heads
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
# Again, **call the parameter** `attention`.


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
# *Three heat maps over one sentence, query words as rows, key words as columns, brightest from 0.4. Head 2 is a bright
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
    return torch.cat([maps.reshape(-1, *maps.shape[-2:]) for maps in found])  # a call for all heads, or one for each


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
# ## 5. Grouped heads
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
# ## 6. Positions
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
    Angles in float32 will do: with T of some hundred they are good to 1e-4.
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
# **Learned positions** are simpler still: a table with a row for each position, trained like any other weight, as in
# BERT and GPT-2. The price is its end. Row 600 of a table of 512 does not exist, and row 500 is as good as the training
# texts that were that long. What a model must *not* do beyond its table is go on quietly. An **extension**:


# %% exercise="learned_positions"
def learned_positions(table: Tensor, T: int, offset: int = 0) -> Tensor:
    """The rows of `table` (L, C) for positions offset to offset + T - 1: (T, C), through which gradients reach it.

    Raises ValueError where a position has no row, that is, where offset + T > L. T >= 1 and offset >= 0 always hold.
    """
    ### BEGIN SOLUTION
    if offset + T > len(table):
        raise ValueError(f"{offset + T} positions, but the table ends at {len(table)}; shorten the sequence")
    return table[offset : offset + T]
    ### END SOLUTION


# %% check="learned_positions"
check("learned_positions", learned_positions)

# %% [markdown]
# **Look at it: what a model learns.** *The cosine of the angle between the row of position 64 and every other row, for
# the sinusoidal table of width 384 and for the learned table of MiniLM, a BERT. Both peak at 64. The sinusoidal curve
# falls off smoothly on both sides and stays above 0.4: built in. MiniLM's peak is narrower, and its curve goes in waves
# about six positions long, down to 0.* Nobody told it that 63 and 65 are neighbours, and nobody gave it waves.

# %% experiment="learned_table"
fig, (ax,) = plot.figure(width=6)
tables = {"sinusoidal": sinusoidal_positions(128, 384)}
try:
    with safe_open(data.minilm().weights, framework="pt") as file:
        tables["learned (MiniLM)"] = file.get_tensor("embeddings.position_embeddings.weight")[:128]
except data.DataMissing as missing:
    print(f"Half of this experiment needs a pretrained model. {missing}")
for (name, rows), look in zip(tables.items(), ("--", "-"), strict=False):
    ax.plot(F.cosine_similarity(rows, rows[64:65]), marker="", linestyle=look, label=name)
ax.set(xlabel="position", ylabel="cosine with position 64")
ax.legend()
fig

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
    """x of shape (..., T, D) with each row turned by its position; same shape, dtype and device as x.

    Row t stands at position offset + t. For i from 0 to D/2 - 1, channels i and i + D/2 are turned by the angle
    (offset + t) / base^(2i/D), as in the equation. D is even; there may be any number of leading dimensions. Angles,
    sines and cosines are computed in float32 or better, whatever x's dtype, and x may then be turned in its own. Any
    offset >= 0 may come, such as a million.
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
ax.set(yscale="log", ylim=(1e-10, 10), ylabel="largest difference")
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
# ## 7. The cache
#
# A model that writes adds one token at a time. The earlier tokens' keys and values do not change, since a causal mask
# keeps them from seeing what is new. So they are kept, and a step computes the new token's projections only:
#
# ```
#   past keys (B, K, S, D)  ■ ■ ■ ■ ■ □  new key, turned by position S
#                           └────┬────┘
#   new query, turned by S ─ attention over S + 1 keys, last row of the causal mask ─ one output
# ```
# *In words: the new token stands at position S, the number of tokens in the cache; its key and value join the past,
# and its query looks at all of them.* Here meet `causal_mask(T, S + T)`, the offset of `rotary_positions` and grouped
# heads: the past has K heads, not H. The new tokens may be several, such as a whole prompt; then the mask has work to
# do among them.
#
# Two **extensions**. The first returns a new past, in the way of mathematics. The second is how it is done in earnest:
# concatenating copies all earlier keys at every token, so memory is taken once and written to.


# %% exercise="cached_attention"
def cached_attention(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, past=None, *, attention, rotary):
    """Causal grouped-query attention of the *next* T tokens x (B, T, C): (y, (keys, values)).

    Weights, heads and groups are as in grouped_query_attention. `past` is None at the start, else the pair of keys and
    values that the call before returned, each (B, K, S, D) with K = `n_kv_heads`; S = 0 without a past. New token t
    stands at position S + t. Its query and its key, not its value, are turned by rotary(heads, offset): a parameter
    that takes (B, any number of heads, T, D) whose row t stands at position offset + t, as your rotary_positions does.
    It sees all S past tokens, the new ones before it, and itself. Use the parameter `attention`, called as
    attention(q, k, v, mask) with q, k and v of the same leading dimensions. Returns y (B, T, C), and the pair of
    (turned) keys and values of all S + T tokens, each (B, K, S + T, D), the past first. `past` itself does not change.
    Everything is made on the device of x.
    """
    ### BEGIN SOLUTION
    B, T, _ = x.shape
    S = 0 if past is None else past[0].shape[2]
    q = (x @ w_q).view(B, T, n_heads, -1).transpose(1, 2)
    k, v = ((x @ w).view(B, T, n_kv_heads, -1).transpose(1, 2) for w in (w_k, w_v))
    q, k = rotary(q, S), rotary(k, S)
    if past is not None:
        k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
    mask = torch.ones(T, S + T, dtype=torch.bool, device=x.device).tril(diagonal=S)
    wide_k, wide_v = (each.repeat_interleave(n_heads // n_kv_heads, dim=1) for each in (k, v))
    return attention(q, wide_k, wide_v, mask).transpose(1, 2).reshape(B, T, -1) @ w_o, (k, v)
    ### END SOLUTION


# %% check="cached_attention"
check("cached_attention", cached_attention)


# %% exercise="KVCache"
class KVCache:
    """One layer's keys and values, for up to `capacity` tokens, in memory that is taken once.

    Attribute offset: the number of tokens so far, a whole number, which is the next token's position. 0 at the start.
    """

    def __init__(self, capacity):
        """capacity >= 1. Shapes, dtype and device become known at the first `append`."""
        ### BEGIN SOLUTION
        self.capacity, self.offset, self.memory = capacity, 0, None
        ### END SOLUTION

    def append(self, k, v):
        """Keep T more tokens, and return the pair of all keys (B, K, S, D) and all values (B, K, S, Dv) so far.

        k is (B, K, T, D), v is (B, K, T, Dv), T >= 1; B, K, D, Dv, dtype and device are the same in every call, and no
        gradients are asked for. S counts the tokens of all calls, the new ones last. What is returned are views of one
        memory for the keys and one for the values: no call copies the tokens of earlier calls. Raises ValueError where
        more than `capacity` tokens would come together; the cache then stays as it was, and so it does when the caller
        later writes to k and v, or fills another cache.
        """
        ### BEGIN SOLUTION
        start, end = self.offset, self.offset + k.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens do not fit a cache for {self.capacity}")
        if self.memory is None:
            self.memory = [x.new_empty(*x.shape[:2], self.capacity, x.shape[3]) for x in (k, v)]
        for memory, x in zip(self.memory, (k, v), strict=True):
            memory[:, :, start:end] = x
        self.offset = end
        return self.memory[0][:, :, :end], self.memory[1][:, :, :end]
        ### END SOLUTION


# %% check="KVCache"
check("KVCache", KVCache)

# %% [markdown]
# **Look at it: what a cache saves.** One layer, 8 heads of 64 on 2 key-value heads. *The figure has the time of the
# next token against the number of tokens before it, both axes logarithmic. Without a cache everything is computed
# again, and the time grows faster than the number of tokens. With the past given it is much less, and hardly grows.*
# (It needs the extension `cached_attention`.)


# %% experiment="what_a_cache_saves"
def best_ms(call) -> float:
    """The shortest of some runs, in milliseconds: what the others have more is the machine's other work."""
    taken = []
    while len(taken) < 5 or (sum(taken) < 0.2 and len(taken) < 200):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken) * 1e3


def step(x: Tensor, past=None):
    return cached_attention(x, *weights, 8, 2, past, attention=attention, rotary=rotary_positions)


seed(6)
fig, before, again, cached = None, [64, 128, 256, 512, 1024], [], []
weights = [torch.randn(512, width) / 512**0.5 for width in (512, 128, 128, 512)]
try:
    for S in before:
        x = torch.randn(1, S + 1, 512)
        _, past = step(x[:, :S])
        again.append(best_ms(lambda x=x: step(x)))
        cached.append(best_ms(lambda x=x, past=past, S=S: step(x[:, S:], past)))
    fig, (ax,) = plot.figure()
    ax.loglog(before, again, label="all again")
    ax.loglog(before, cached, label="from the cache")
    ax.set(xlabel="tokens before", ylabel="time of the next token (ms)")
    ax.legend()
except NotImplementedError:
    print("This figure needs the extension cached_attention; go on without it.")
fig

# %% [markdown]
# ## 8. What it costs
#
# Scores are a T by T table for each head: $2HT^2D$ FLOPs each for $QK^\top$ and for the weights times V (a
# multiply-add is 2), and, written out as you did, $4HT^2$ bytes for one float32 copy: 128 MiB at T = 2048 below, and a
# few copies are alive at the same time. That is the $O(N^2)$ memory of the notes, and what their "in practice we often
# set a bound like n = 512" was about. We measure both, yours and PyTorch's kernel, which computes the same numbers.
#
# *Two figures against T, all axes logarithmic, with a line of slope 2 through your last point. Left: time. Your points
# lie on the line for long T; shorter ones fall below it where the table fits the processor's caches, or above it where
# starting the threads takes longer than the work. PyTorch's kernel has the same slope, at less time. Right: the most
# bytes of tensors alive at one time during a call. Yours follow T², twice the one copy or more. PyTorch's has
# slope 1: it never writes the table.* So the square in the time is of the problem; the square in the memory is ours.

# %% experiment="cost"
seed(7)
H, D, lengths = 8, 64, [64, 128, 256, 512, 1024, 2048]
ways = {"yours": attention, "PyTorch's kernel": F.scaled_dot_product_attention}
times, peaks = {name: [] for name in ways}, {name: [] for name in ways}
for T in lengths:
    q, k, v = (torch.randn(1, H, T, D) for _ in range(3))
    for name, way in ways.items():
        peaks[name].append(peak_bytes(way, q, k, v) / 2**20)
        times[name].append(best_ms(lambda way=way, q=q, k=k, v=v: way(q, k, v)))
fig, axes = plot.figure(2)
for ax, found, unit in zip(axes, (times, peaks), ("time (ms)", "peak of tensors (MiB)"), strict=True):
    for name, values in found.items():
        ax.loglog(lengths, values, label=name, linestyle="none")
    ax.loglog(lengths, [found["yours"][-1] * (T / lengths[-1]) ** 2 for T in lengths], label="T²", marker="", color="k")
    ax.set(xlabel="T", ylabel=unit, title=f"{H} heads of {D}")
axes[1].loglog(lengths, [4 * H * T**2 / 2**20 for T in lengths], label="4HT²", marker="", linestyle=":", color="k")
for ax in axes:
    ax.legend()
table = 4 * H * lengths[-1] ** 2 / 2**20
print(f"at T = {lengths[-1]} yours holds {peaks['yours'][-1] / table:.1f} copies of the table at its peak")
fig

# %% [markdown]
# ## What you built
#
# Eight functions and, if you like, six more: lab 3 puts them into blocks, lab 4 generates with the cache that `S`,
# `offset` and grouped heads are made for, lab 11 shards their weights. They live in `mlsys_course/attention/`
# (`scaled_dot_product.py`, `masks.py`, `projections.py`, `multi_head.py`, `positions.py`, `cache.py`); compare after
# handing in. There `attention(..., backend="sdpa")` is the same contract on PyTorch's kernels. `mlsys carry lab02`
# takes your own into later labs. What is missing from a transformer? "It is all just weighted averages": lab 3 adds the
# part that is not.
#
# **Real systems** never write the T by T table: FlashAttention computes it tile by tile in fast memory with an online
# softmax (lab 12). They merge $W_q$, $W_k$, $W_v$ into one matrix product (lab 6), skip the masked half of a causal
# table instead of clearing it, index shared key-value heads instead of copying them, and keep tables of cosines. Their
# caches are cut into pages, so that sequences of unknown length share one memory without gaps.
#
# **Papers.** Nadaraya 1964; Watson 1964 (kernel regression). Vaswani et al. 2017, *Attention is all you need*. Shazeer
# 2019, *Fast transformer decoding: one write-head is all you need* (multi-query). Ainslie et al. 2023, *GQA*. Raffel et
# al. 2020, *T5* (prefix). Beltagy et al. 2020, *Longformer* (windows). Su et al. 2021, *RoFormer* (rotary). Dao et al.
# 2022, *FlashAttention*. Kwon et al. 2023, *PagedAttention* (caches in pages).
