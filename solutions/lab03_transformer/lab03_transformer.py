# %% [markdown]
# # Lab 3: The transformer
#
# You build what stands around attention: norms, feed-forward networks, residuals, blocks, and the three kinds of model
# that are stacked from them. One configuration turns the transformer of 2017 into LLaMA and back, and you train both on
# real text. Everything that later labs count, shard, checkpoint and fuse is in here.
#
# **Time** six to eight hours. **Before this** lab 2: attention, masks, positions. **Points** 100: eight exercises (92),
# a choice (3), an open question (5); two extensions are a bonus.
#
# **Conventions.** B batch, T time, S source time, C channels (the model's width), F the width inside a feed-forward
# network, H heads, D head width, V vocabulary. Rows are tokens: $y = xW + b$. Where lecture notes disagree:
#
# - **Epsilon stands inside the root**, in both norms, as in PyTorch and in LLaMA's code. (One lecture has it outside.)
# - **SwiGLU** is the whole network with its third matrix. (Some notes mean the part before that.)
# - **Post-norm** normalizes the sum after a sublayer, as one lecture's block does; **pre-norm** what goes into it.
#
# **Rules.** Not allowed in a solution are the finished parts: PyTorch's norms (`F.layer_norm`, `F.rms_norm`,
# `nn.LayerNorm`, ...), `F.gelu`, `F.silu`, `F.glu` and their modules, `nn.Transformer` and its layers. In the functions
# of parts 1 and 2 only tensor arithmetic may run: elementwise functions (`torch.relu`, `torch.erf`, `torch.sigmoid`,
# ...), sums, means and other reductions, products of matrices, indexing, new tensors; no softmax, loss or pooling. No
# function may change its inputs, and each may be called many times, with other sizes and numbers.

# %%
import math
import time
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlsys_course.attention import causal_mask, padding_mask, rotary_positions, sinusoidal_positions
from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate import data, plot
from mlsys_course.substrate.device import best, seed

attention, device = take("attention", "attention"), best()
torch.set_num_threads(1)  # the models below are so small that a second thread would mostly wait

# %% [markdown]
# ## 1. Norms
#
# A deep network multiplies many matrices, and what flows through it grows or fades. A norm brings each *token* back to
# one scale, whatever came before, by the statistics of its own C channels:
#
# $$\mathrm{LayerNorm}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot g + b, \qquad
# \mu = \frac{1}{C}\sum_c x_c, \quad \sigma^2 = \frac{1}{C}\sum_c (x_c - \mu)^2$$
#
# ```
#              channels (C)
#   token 0  [ 3  5  4  8 ]  ─ its own mean and deviation ─►  [-1.07  0  -0.53  1.60] ⊙ g + b
#   token 1  [ 0 -1  0  1 ]  ─ its own mean and deviation ─►  [ 0  -1.41  0  1.41 ] ⊙ g + b
# ```
# *In words: each row is normalized by itself; then every channel is stretched by its gain and shifted by its bias,
# which are learned, the same for all tokens.* No token learns anything of another here, nor of the rest of the batch.
#
# **Precision.** In float16 the square of 300 is infinite, and in bfloat16 a mean of 40 has no digits left for
# deviations of 0.1. Take the statistics in float32, or in
# x's dtype where that is finer (float64 stays float64), and return the dtype that came in. Even in float32
# $\frac1C\sum x^2 - \mu^2$ is a difference of large numbers where the mean is large: subtract first, then square.


# %% exercise="layer_norm"
def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Each token of x (..., C) normalized over its C channels, times gain (C,), plus bias (C,).

    There may be any number of leading dimensions, also none. The variance is the mean of squared deviations (divided
    by C), and epsilon is added to it before the root. All of it is computed in float32, or in float64 where x is; the
    result has x's dtype, which gain and bias share; epsilon >= 0. The gradient flows through mean and variance too, in
    every dtype, and is finite where all channels are equal. Subtract before you square: a mean that is some hundred
    times the deviations may cost float32 results two digits, and not all of them.
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return (gain * centred / torch.sqrt(variance + epsilon) + bias).to(x.dtype)
    ### END SOLUTION


# %% check="layer_norm"
check("layer_norm", layer_norm)

# %% [markdown]
# Is the mean needed at all? Zhang and Sennrich left it out, and most models since LLaMA do:
#
# $$\mathrm{RMSNorm}(x) = \frac{x}{\sqrt{\frac{1}{C}\sum_c x_c^2 + \epsilon}} \odot g$$


# %% exercise="rms_norm"
def rms_norm(x: Tensor, gain: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Each token of x (..., C) divided by the root of its mean square over channels, times gain (C,).

    Epsilon is added to the mean square before the root. Dimensions, precision, dtype and gradient are as in
    layer_norm. A token of zeros gives zeros, and its gradient is finite.
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (gain * wide / torch.sqrt((wide**2).mean(dim=-1, keepdim=True) + epsilon)).to(x.dtype)
    ### END SOLUTION


# %% check="rms_norm"
check("rms_norm", rms_norm)

# %% [markdown]
# ## 2. The feed-forward network
#
# Attention mixes tokens; its output is a weighted *mean* of values. What computes on what was gathered is a network of
# two matrices, the same for every token, that goes up to a wide layer (F = 4C as a rule), bends, and comes down:
#
# $$\mathrm{FFN}(x) = \mathrm{act}(xW_1 + b_1)\,W_2 + b_2$$
#
# | act | formula | who |
# |---|---|---|
# | ReLU | $\max(0, x)$ | the paper of 2017, T5 |
# | GELU | $x\,\Phi(x)$, $\Phi(x) = \frac12(1 + \mathrm{erf}(x/\sqrt2))$ | BERT |
# | GELU by tanh | $\frac{x}{2}(1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715\,x^3)))$ | GPT-2 |
# | SiLU (Swish) | $x\,\sigma(x)$, $\sigma(x) = 1/(1+e^{-x})$ | LLaMA |


# %% exercise="feed_forward"
def feed_forward(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor, activation: str = "relu") -> Tensor:
    """act(x w_1 + b_1) w_2 + b_2 for each token of x (..., C); w_1 is (C, F), b_1 (F,), w_2 (F, C), b_2 (C,).
    `activation` is "relu", "gelu" (x times the normal distribution function, exactly) or "gelu_tanh" (the table's
    approximation). All arguments share a dtype, which is the result's, and nothing is rounded to a coarser one.
    F may be any width, also C. At 0, where ReLU has no slope, none is asked for.
    """
    ### BEGIN SOLUTION
    h = x @ w_1 + b_1
    if activation == "relu":
        h = torch.relu(h)
    elif activation == "gelu":
        h = h * (1 + torch.erf(h / math.sqrt(2))) / 2
    else:
        h = h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))) / 2
    return h @ w_2 + b_2
    ### END SOLUTION


# %% check="feed_forward"
check("feed_forward", feed_forward)

# %% [markdown]
# LLaMA's network has a *gate*: one matrix says what, a second one how much of it, channel by channel.
#
# $$\mathrm{SwiGLU}(x) = \bigl(\mathrm{SiLU}(xW_\mathrm{gate}) \odot xW_\mathrm{up}\bigr)\,W_\mathrm{down}$$
#
# ```
#              ┌─ @ w_gate ─ SiLU ─┐
#   x (T, C) ──┤                   ⊙ (T, F) ── @ w_down ── (T, C)
#              └─ @ w_up ──────────┘
# ```
# *In words: x goes up twice; one way is bent and multiplies the other; the product comes down.* It has three matrices
# for two, so F is usually two thirds of 4C (rounded up to a multiple that the hardware likes): the same cost.


# %% exercise="swiglu"
def swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """(SiLU(x w_gate) * (x w_up)) w_down for each token of x (..., C); w_gate and w_up are (C, F), w_down (F, C).

    There are no biases. All arguments share a dtype, which is the result's, and nothing is rounded to a coarser one.
    Entries of x w_gate may be up to 500 in size, of either sign, in every dtype, and 0: results and gradients stay
    finite.
    """
    ### BEGIN SOLUTION
    gate = x @ w_gate
    return (gate * torch.sigmoid(gate) * (x @ w_up)) @ w_down
    ### END SOLUTION


# %% check="swiglu"
check("swiglu", swiglu)

# %% [markdown]
# **Look at it.** With the right small matrices your functions are the bends themselves. *Left: ReLU has a corner at 0;
# GELU and SiLU follow it smoothly, dip below zero on its left (SiLU deeper, to -0.28) and come back to it. Right: their
# derivatives. ReLU's is a step, so a unit that is never positive never learns again; the others' are smooth, a little
# negative on the left, and above 1 on part of the right.*

# %% experiment="bends"
x = torch.linspace(-4, 4, 161)[:, None]
one, zero = torch.ones(1, 1), torch.zeros(1)
bends = {
    "ReLU": lambda x: feed_forward(x, one, zero, one, zero),
    "GELU": lambda x: feed_forward(x, one, zero, one, zero, "gelu"),
    "SiLU": lambda x: swiglu(torch.cat([x, torch.ones_like(x)], 1), torch.eye(2)[:, :1], torch.eye(2)[:, 1:], one),
}
fig, (left, right) = plot.figure(2)
for name, bend in bends.items():
    leaf = x.clone().requires_grad_()
    y = bend(leaf)
    (slope,) = torch.autograd.grad(y.sum(), leaf)
    left.plot(x[:, 0], y.detach()[:, 0], label=name, markevery=20)
    right.plot(x[:, 0], slope[:, 0], label=name, markevery=20)
left.set(xlabel="x", ylabel="act(x)")
right.set(xlabel="x", ylabel="derivative")
left.legend()
fig

# %% [markdown]
# ## 3. Blocks
#
# A block is a list of sublayers: attention, then the feed-forward network (in a decoder that reads an encoder, a second
# attention between them). Each *adds* to what comes in; that way x runs through the whole model and every layer reads
# and writes it. Two places have been tried for the norm:
#
# ```
#   post-norm (2017, BERT)                    pre-norm (GPT-2, LLaMA)
#
#   x ──┬── sublayer ──┐                      x ──┬── norm ── sublayer ──┐
#       └───────────── + ── norm ──► x            └───────────────────── + ──► x
# ```
# $$x \leftarrow \mathrm{norm}(x + f(x)) \qquad\qquad x \leftarrow x + f(\mathrm{norm}(x))$$
#
# *In words: post-norm normalizes the sum, so x is normalized anew after each sublayer; pre-norm normalizes what the
# sublayer reads, and x itself is never touched but by addition.* So a pre-norm model needs one more norm at its end.


# %% exercise="block"
def block(x: Tensor, sublayers: list, norms: list, norm_position: str) -> Tensor:
    """x (B, T, C) after all sublayers in order, each with a residual and its own norm.

    Sublayer n and norm n are functions of one tensor (B, T, C) that return one of the same shape. `norm_position` is
    "pre" or "post", as in the equation above. There may be any number of sublayers; without any x comes back. The lists
    stay as they are; either may be an nn.ModuleList, which one can go through, count and index like a list.
    """
    ### BEGIN SOLUTION
    for sublayer, norm in zip(sublayers, norms, strict=True):
        x = x + sublayer(norm(x)) if norm_position == "pre" else norm(x + sublayer(x))
    return x
    ### END SOLUTION


# %% check="block"
check("block", block)

# %% [markdown]
# **A question on it.** In a *pre-norm* model every entry of the embeddings has variance 1, and every sublayer adds
# something independent of x, with variance 1. There are {{ layers }} blocks of two sublayers. What is the standard
# deviation of the entries of x before the last norm?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="growth_choice"
# Assign the letter of your answer, such as "a", to growth_choice.
### BEGIN SOLUTION
growth_choice = "{{ growth_answer }}"
### END SOLUTION

# %% check="growth_choice"
check("growth_choice", growth_choice)

# %% [markdown]
# ## 4. A model from a configuration
#
# So far a function took its weights as arguments. A model has hundreds of them, and PyTorch keeps them in objects:
#
# - **`nn.Parameter`**: a tensor that is to be learned.
# - **`nn.Module`**: an object that holds parameters and other modules as attributes (set after `super().__init__()`),
#   and finds them all again: `model.parameters()`, `model.to(device)`. Called as `model(x)` it runs your `forward(x)`.
#   Modules in a plain list are not found: `nn.ModuleList` is for that.
# - **`nn.Linear(C, F)`**: $xW^\top + b$, with `weight` (F, C), the other way round than in our functions; `bias` (F,).
# - **`nn.Embedding(V, C)`**: V rows of C numbers, `weight` (V, C); called with token ids (B, T) it looks up (B, T, C).
#
# And the lecture's table of what changed from 2017 to LLaMA becomes an object too, so that it can be *run*: the
# course's `ModelConfig`, which lab 7 counts by. It is frozen; `replace(config, n_layers=6)` makes another.
#
# | | field | `vaswani_2017()` | `llama()` |
# |---|---|---|---|
# | norm position | `norm_position` | "post" | "pre" |
# | norm | `norm` | "layer" | "rms" |
# | non-linearity | `activation`, `gated` | "relu", not gated | "silu", gated |
# | positions | `positions` | "sinusoidal", added once | "rotary", in every layer |
#
# Sizes are `vocabulary` (V), `d_model` (C), `n_layers`, `n_heads` (H), `n_kv_heads`, `d_ffn` (F) and `context`, the
# rows of learned positions. `tied_head`: the head's weight is the embedding's. `embedding_scale`: token embeddings
# times sqrt(d_model), before positions are added.

# %%
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.presets import gpt2, gpt3_175b, llama, llama2_7b, llama2_70b, llama3_8b, vaswani_2017

for config in (vaswani_2017(), llama()):
    print(config)

# %% [markdown]
# Now the model: tokens in, logits out, at each position for the token that comes *next*.
#
# ```
#   tokens (B, T) ─ embedding ─ (× √C) ─ (+ positions) ─ block ─ ... ─ block ─ (norm) ─ head ─ logits (B, T, V)
#                                                          └──── causal mask ────┘
# ```
# *In words: what stands in parentheses depends on the configuration.* The head is a matrix to the vocabulary without a
# bias, $\mathrm{logits} = xW^\top$; a *tied* head is the very tensor that the embedding looks up in, learned once.


# %% exercise="Decoder"
class Decoder(nn.Module):
    """A decoder-only model of any blocks. Parameters have exactly these names:

    embedding: nn.Embedding of V rows.  positions: nn.Embedding of `context` rows, only where config.positions is
    "learned".  blocks: nn.ModuleList of n_layers blocks, each made by make_block(config) and called as block(x, mask).
    norm: made by make_norm(config), called as norm(x), only in a pre-norm model.  head: nn.Linear without bias, from C
    to V; where config.tied_head, its weight *is* the embedding's.
    """

    def __init__(self, config, make_block, make_norm):
        super().__init__()
        ### BEGIN SOLUTION
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.d_model)
        if config.positions == "learned":
            self.positions = nn.Embedding(config.context, config.d_model)
        self.blocks = nn.ModuleList([make_block(config) for _ in range(config.n_layers)])
        self.norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        self.head = nn.Linear(config.d_model, config.vocabulary, bias=False)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        ### END SOLUTION

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of tokens (B, T), in the weights' dtype.

        Token embeddings, times sqrt(d_model) where config.embedding_scale; plus row t of `positions` at position t
        ("learned"), or of lab 2's sinusoidal table of the width C ("sinusoidal"), or nothing ("rotary"); through the
        blocks in order, each with a causal mask, bool (T, T); through the norm, if there is one; through the head.
        Everything is made on the device of the tokens. Calls may differ in B and T, models of one process in all else;
        with learned positions T is at most `context`.
        """
        ### BEGIN SOLUTION
        T, C = tokens.shape[1], self.config.d_model
        x = self.embedding(tokens)
        if self.config.embedding_scale:
            x = x * math.sqrt(C)
        if self.config.positions == "learned":
            x = x + self.positions.weight[:T]
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(T, C, device=tokens.device).to(x.dtype)
        mask = causal_mask(T, device=tokens.device)
        for each in self.blocks:
            x = each(x, mask)
        return self.head(self.norm(x))
        ### END SOLUTION


# %% check="Decoder"
check("Decoder", Decoder)

# %% [markdown]
# **Your functions as modules.** What `make_block` and `make_norm` make: modules keep weights, your functions compute.


# %%
class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(config.d_model))
        self.bias = nn.Parameter(torch.zeros(config.d_model)) if config.norm == "layer" else None
        self.epsilon = config.epsilon

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return rms_norm(x, self.gain, self.epsilon)
        return layer_norm(x, self.gain, self.bias, self.epsilon)


class SelfAttention(nn.Module):
    """Grouped-query attention of lab 2, with rotary positions where the configuration says so."""

    def __init__(self, config):
        super().__init__()
        self.config, C = config, config.d_model
        self.D = C // config.n_heads
        self.query, self.output = nn.Linear(C, C, bias=False), nn.Linear(C, C, bias=False)
        self.key, self.value = (nn.Linear(C, config.n_kv_heads * self.D, bias=False) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        heads = [layer(x).unflatten(-1, (-1, self.D)).transpose(1, 2) for layer in (self.query, self.key, self.value)]
        if self.config.positions == "rotary":
            heads[:2] = [rotary_positions(h, base=self.config.rotary_base) for h in heads[:2]]
        group = self.config.n_heads // self.config.n_kv_heads
        q, k, v = heads[0], *(h.repeat_interleave(group, 1) for h in heads[1:])
        return self.output(attention(q, k, v, mask).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.activation, biases = config.activation, not config.gated
        self.gate = nn.Linear(config.d_model, config.d_ffn, bias=False) if config.gated else None
        self.up = nn.Linear(config.d_model, config.d_ffn, bias=biases)
        self.down = nn.Linear(config.d_ffn, config.d_model, bias=biases)

    def forward(self, x: Tensor) -> Tensor:
        up, down = self.up, self.down
        if self.gate is not None:
            return swiglu(x, self.gate.weight.T, up.weight.T, down.weight.T)
        return feed_forward(x, up.weight.T, up.bias, down.weight.T, down.bias, self.activation)


class Block(nn.Module):
    def __init__(self, config, network: bool = True):
        super().__init__()
        self.attention, self.position = SelfAttention(config), config.norm_position
        self.feed_forward = FeedForward(config) if network else None
        self.norms = nn.ModuleList(Norm(config) for _ in range(1 if self.feed_forward is None else 2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        sublayers = [lambda y: self.attention(y, mask)]
        if self.feed_forward is not None:
            sublayers.append(self.feed_forward)
        return block(x, sublayers, self.norms, self.position)


def build(config: ModelConfig, make_block=Block) -> Decoder:
    """A model on the best device, whose matrices keep the size of what goes through: variance 1 / inputs."""
    model = Decoder(config, make_block, Norm)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)
    return model.to(device)


# %% [markdown]
# **Look at it: where the norm stands.** A model of 24 blocks, untrained, on real text (the manual that every Python
# brings along). *Left: the standard deviation of x after each block, on a logarithmic axis: 1 with post-norm; from 0.8
# to 6 with pre-norm; without norms nearly doubled by each block, from 0.2 to above 100,000. Right: the size of the
# loss's gradient at each block's first network matrix, logarithmic too: with post-norm it grows to four times that of
# the first block, with pre-norm it falls to a fifth; without norms it has no trend.*

# %% experiment="depth"
from pydoc_data.topics import topics

text = "\n".join(topics[name] for name in sorted(topics))
alphabet = {character: code for code, character in enumerate(sorted(set(text)))}
codes = torch.tensor([alphabet[character] for character in text], device=device)
V = len(alphabet)


def batch(size: int, T: int) -> tuple[Tensor, Tensor]:
    """Tokens and the tokens that come next, (B, T) each, from drawn places of the text."""
    start = torch.randint(len(codes) - T - 1, (size, 1)).to(device)
    windows = codes[start + torch.arange(T + 1, device=device)]
    return windows[:, :-1], windows[:, 1:]


def loss_of(model: nn.Module, tokens: Tensor, following: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens).flatten(0, 1), following.flatten())


seed(30)
fig, (left, right) = plot.figure(2)
tokens, following = batch(8, 64)
for name, position in (("post-norm", "post"), ("pre-norm", "pre"), ("no norms", "pre")):
    config = replace(llama(V, 64, 24, 4, d_ffn=256), norm="layer", activation="relu", gated=False)
    config = replace(config, norm_position=position)
    model, sizes = build(config), []
    for each in model.blocks:
        each.norms = each.norms if name != "no norms" else nn.ModuleList([nn.Identity(), nn.Identity()])
        each.register_forward_hook(lambda module, given, x, sizes=sizes: sizes.append(x.std().item()))
    loss = loss_of(model, tokens, following)
    gradients = torch.autograd.grad(loss, [each.feed_forward.up.weight for each in model.blocks])
    left.plot(range(1, 25), sizes, label=name, markersize=4)
    right.plot(range(1, 25), [g.norm().item() for g in gradients], label=name, markersize=4)
left.set(xlabel="block", ylabel="standard deviation of x", yscale="log")
right.set(xlabel="block", ylabel="norm of the gradient", yscale="log")
left.legend()
fig

# %% [markdown]
# Post-norm holds x at 1, at a price: backward passes through a norm after every sublayer, each divides the gradient by
# the size of its sum, and the first blocks get a fraction of what the last ones get. So the model of 2017 needs a
# learning rate that warms up. Pre-norm leaves x a path without norms: it grows as in the question above, each block
# changes it less than the one before, and the first blocks get the largest gradients.
#
# **Look at it: 2017 and LLaMA, trained.** The same class, two configurations with about as many parameters, each
# trained on the manual for 300 steps of 16 pieces of 32 characters. *Two falling lines, the loss of the next character
# against steps: they end close together, near 2.2 nats, far below the 4.6 of guessing.* So small and so shallow,
# neither has an advantage to speak of. What LLaMA's switches buy shows in depth (the figure above), in long texts, and
# in time: which of the four would you expect to matter for which?


# %% experiment="two_models"
def train(config: ModelConfig, make_block=Block, steps: int = 300, rate: float = 5e-3) -> list[float]:
    """The loss at each step of a model from this configuration."""
    seed(31)
    model, losses = build(config, make_block), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 20) * (1 - step / steps)
        loss = loss_of(model, *batch(16, 32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def smooth(losses: list[float], width: int = 10) -> Tensor:
    return torch.tensor(losses).unfold(0, width, 1).mean(-1)


models = {"Vaswani et al.": vaswani_2017(V, 48, 2, 4), "LLaMA": llama(V, 48, 2, 4, 2, d_ffn=128)}
fig, (ax,) = plot.figure(width=6)
for name, config in models.items():
    ax.plot(smooth(train(config)), label=f"{name}, {count(build(config)):,} parameters", markevery=40)
ax.set(xlabel="step", ylabel="loss of the next character (nats)")
ax.legend()
fig

# %% [markdown]
# **Look at it: "it is all just weighted averages".** So a lecture says of attention without the feed-forward network.
# *Left: how far apart tokens are (their deviations from their mean, as a part of their own size) after each of 12
# untrained blocks without a mask, on a logarithmic axis. Attention alone makes all tokens of a real text the same
# vector within four blocks, down to rounding errors; a network does not help; residuals do. Right: the loss of three
# trained models: the whole one is lowest, without its networks it is highest; with three times the blocks instead, so
# with as many parameters again, it lies between (the bars start at 1.9).* The last also took the longest.

# %% experiment="averages"
seed(33)
fig, (left, right) = plot.figure(2)
model = build(replace(vaswani_2017(V, 48, 12, 4), activation="gelu"))
everything, start = torch.ones(64, 64, dtype=torch.bool, device=device), model.embedding(batch(4, 64)[0]) * 48**0.5
kinds = {"attention alone": (0, False), "+ network": (0, True), "+ residual": (1, False), "+ both": (1, True)}
for name, (residual, network) in kinds.items():
    x, apart = start.detach() + sinusoidal_positions(64, 48, device=device), []
    for each in model.blocks:
        x = each.norms[0](residual * x + each.attention(x, everything))
        x = each.norms[1](residual * x + each.feed_forward(x)) if network else x
        apart.append(((x - x.mean(1, keepdim=True)).norm() / x.norm()).item())
    left.plot(range(1, 13), apart, label=name, markersize=4)
left.set(xlabel="block", ylabel="how far apart tokens are", yscale="log")
left.legend()

whole = replace(llama(V, 48, 2, 4, d_ffn=192), activation="gelu", gated=False, norm="layer")
bare = partial(Block, network=False)
deep, ends = replace(whole, n_layers=6), {}
kinds = {"whole": (whole, Block), "no networks": (whole, bare), "no networks,\n3 x blocks": (deep, bare)}
for name, kind in kinds.items():
    begun = time.perf_counter()
    ends[name] = smooth(train(*kind), 30)[-1].item()
    took, size = time.perf_counter() - begun, count(build(*kind).blocks)
    print(f"{size:7,} parameters in blocks, loss {ends[name]:.2f}, {took:3.0f} s: {name.replace(chr(10), ' ')}")
right.bar(list(ends), list(ends.values()), color=plot.COLOURS[:3])
right.set(ylabel="loss of the next character (nats)", ylim=(1.9, None))
fig

# %% [markdown]
# **In your own words** (5 points, read by a person; about 120 words). Why is a stack of attention layers "all just
# weighted averages"? Say what would become of several such layers if the weights stood still, and what is not linear in
# them all the same. Then read your figure: what do averages of averages come to, what prevents it, and what does
# leaving the networks out cost a trained model?

# %% [markdown] question="averages"
# ### BEGIN SOLUTION
# Each output of a head is a mean of values, weighted by positive numbers that sum to 1, and values are linear in
# x. With the weights held still a layer is a linear map, and several of them fold into one: depth would bring nothing.
# What is not linear is how the weights depend on x (scores are products of x with x, and the softmax bends), and the
# norms. Averages of averages come to the average: on the left the tokens are one vector after four blocks. Residuals
# prevent it, since each token carries itself along; the network does not, since it treats equal tokens equally. On the
# right leaving the networks out costs 0.19 nats (2.14 to 2.33), and three times the blocks bring back two thirds of it
# (2.21): for computing on what was gathered, a bend for each token is worth more than more averaging.
# ### END SOLUTION

# %% [markdown]
# ## 5. Encoder and decoder
#
# Without the causal mask the same stack is an *encoder*: every token sees every other (BERT). The transformer of 2017
# has both: an encoder reads the source, and each block of its decoder has a third sublayer that looks there.
#
# ```
#   source ─ encoder ───────────── memory (B, S, C)
#                                    │ keys, values
#   target ─ self-attention, causal ─ cross-attention ─ feed-forward ─►
#                                    queries
# ```
# *In words: the target's tokens ask, the source's tokens answer.* Cross-attention is attention with queries from x and
# keys and values from the memory, so its scores are (T, S), and its mask hides the source's padding. The memory comes
# from the *last* encoder layer, and every decoder layer reads the same one.


# %% exercise="decoder_block"
def decoder_block(x, memory, weights, n_heads, mask=None, memory_mask=None, *, attend, feed_forward, layer_norm):
    """The decoder block of 2017, post-norm: self-attention of x (B, T, C), attention to memory (B, S, C), network.

    `weights` is a dict: "self" and "cross" are lists [w_q, w_k, w_v, w_o], "ffn" is [w_1, b_1, w_2, b_2], "norms" is a
    list of three [gain, bias], in the sublayers' order. `mask` is for the self-attention, `memory_mask` for the other;
    None hides nothing, and the block adds no mask of its own; masks broadcast to (B, H, queries, keys). The dict stays
    as it is. Call the parameters for the parts (while grading they answer a little otherwise than here):
    attend(x, source, w_q, w_k, w_v, w_o, n_heads, mask) has queries from x and keys and values from source,
    feed_forward(x, w_1, b_1, w_2, b_2) bends with ReLU, layer_norm(x, gain, bias).
    """
    ### BEGIN SOLUTION
    norms = weights["norms"]
    x = layer_norm(x + attend(x, x, *weights["self"], n_heads, mask), *norms[0])
    x = layer_norm(x + attend(x, memory, *weights["cross"], n_heads, memory_mask), *norms[1])
    return layer_norm(x + feed_forward(x, *weights["ffn"]), *norms[2])
    ### END SOLUTION


# %% check="decoder_block"
check("decoder_block", decoder_block)


# %% exercise="encoder_decoder"
def encoder_decoder(x: Tensor, y: Tensor, encoder: list, decoder: list, lengths: Tensor | None = None) -> Tensor:
    """The decoder's output (B, T, C) for embedded source x (B, S, C) and target y (B, T, C).

    `encoder` is a list of functions (x, mask) -> x, `decoder` one of functions (y, memory, mask, memory_mask) -> y.
    `lengths` (B,), of an integer dtype, counts the source's tokens, 1 to S, which stand before its padding. No token of
    source or target may see padding, none of the target a later one. Masks are bool, True where a token may be seen, of
    shapes that broadcast to (B, H, queries, keys). Where lengths is None there is no padding, and its masks are None;
    other masks that hide nothing may be either. The lists may differ in length; without an encoder the memory is x,
    without a decoder y comes back. They stay as they are. Masks are made on the device of x and y.
    """
    ### BEGIN SOLUTION
    padding = None if lengths is None else padding_mask(lengths, x.shape[1])
    causal = causal_mask(y.shape[1], device=y.device)
    for layer in encoder:
        x = layer(x, padding)
    for layer in decoder:
        y = layer(y, x, causal, padding)
    return y
    ### END SOLUTION


# %% check="encoder_decoder"
check("encoder_decoder", encoder_decoder)

# %% [markdown]
# **Look at it: who sees whom.** A gradient tells: is output t sensitive to input s? Below stand all three kinds of
# model, built of your functions with random weights. *Three heat maps of sensitivity, outputs as rows, inputs as
# columns: for the encoder the whole square is lit, for the decoder the lower triangle; for encoder and decoder the
# last eight columns, the target, are a triangle, and of the first eight, the source, all but two, which are padding.*


# %% experiment="who_sees_whom"
def attend(x, source, w_q, w_k, w_v, w_o, n_heads, mask=None):
    projected = (x @ w_q, source @ w_k, source @ w_v)
    heads = (y.unflatten(-1, (n_heads, -1)).transpose(1, 2) for y in projected)
    return attention(*heads, mask).transpose(1, 2).flatten(2) @ w_o


def sensitivity(output: Tensor, *inputs: Tensor) -> Tensor:
    """(T, S): the size of the gradient of output t at input s, each row's largest made 1."""
    looks = output[0] @ torch.randn(output.shape[-1])
    gradients = (torch.autograd.grad(look, inputs, retain_graph=True) for look in looks)
    seen = torch.stack([torch.cat(each, 1)[0].norm(dim=-1) for each in gradients])
    return seen / seen.max(-1, keepdim=True).values


seed(32)
C, T = 16, 8
random = {name: [torch.randn(C, C) * C**-0.5 for _ in range(4)] for name in ("self", "cross")}
random["ffn"] = [torch.randn(C, C) * C**-0.5, torch.zeros(C), torch.randn(C, C) * C**-0.5, torch.zeros(C)]
random["norms"] = [[torch.ones(C), torch.zeros(C)]] * 3
norms = [lambda y: layer_norm(y, torch.ones(C), torch.zeros(C))] * 2
x, y = (torch.randn(1, T, C).requires_grad_() for _ in range(2))


def encoder_block(x: Tensor, mask: Tensor | None) -> Tensor:
    sublayers = [lambda y: attend(y, y, *random["self"], 4, mask), lambda y: feed_forward(y, *random["ffn"])]
    return block(x, sublayers, norms, "post")


def cross_block(y: Tensor, memory: Tensor, mask: Tensor | None, memory_mask: Tensor | None) -> Tensor:
    parts = {"attend": attend, "feed_forward": feed_forward, "layer_norm": layer_norm}
    return decoder_block(y, memory, random, 4, mask, memory_mask, **parts)


maps = [
    sensitivity(encoder_block(encoder_block(x, None), None), x),
    sensitivity(encoder_block(encoder_block(x, causal_mask(T)), causal_mask(T)), x),
    sensitivity(encoder_decoder(x, y, [encoder_block] * 2, [cross_block] * 2, torch.tensor([6])), x, y),
]
titles = ["encoder", "decoder", "encoder and decoder"]
plot.heatmap(maps, titles=titles, row_label="output", column_label="input", limits=(0, 1))

# %% [markdown]
# ## 6. A real model in your blocks
#
# all-MiniLM-L6-v2 is a BERT encoder: six blocks, post-norm, LayerNorm, GELU, learned positions, biases everywhere. It
# was trained to give sentences of one meaning like vectors. Below its weights run through *your* `block`, `layer_norm`
# and `feed_forward`, and lab 2's attention. A sentence's vector is the mean of its tokens' last hidden states.
#
# *A heat map of cosines between six sentences: bright cells off the diagonal where two say the same in other words
# (the first two, the next two), a dimmer one where they only share a word (the last two, with two kinds of bank).*

# %% experiment="real_model"
sentences = ["The cat sleeps on the sofa.", "A kitten is on the couch.", "He bought a new car."]
sentences += ["He purchased an automobile.", "We sat on the river's bank.", "I opened a bank account."]


def bert_block(x: Tensor, n_heads: int, w: dict[str, Tensor]) -> Tensor:
    """One block by your functions; `w` has its weights by the checkpoint's names."""

    def linear(y: Tensor, name: str) -> Tensor:
        return F.linear(y, w[f"{name}.weight"], w[f"{name}.bias"])

    def self_attention(y: Tensor) -> Tensor:
        projected = (linear(y, f"attention.self.{name}") for name in ("query", "key", "value"))
        heads = (z.unflatten(-1, (n_heads, -1)).transpose(1, 2) for z in projected)
        return linear(attention(*heads).transpose(1, 2).flatten(2), "attention.output.dense")

    def network(y: Tensor) -> Tensor:
        up, down = ([w[f"{name}.dense.weight"].T, w[f"{name}.dense.bias"]] for name in ("intermediate", "output"))
        return feed_forward(y, *up, *down, "gelu")

    def norm(name: str):
        return lambda y: layer_norm(y, w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"], 1e-12)

    return block(x, [self_attention, network], [norm("attention.output"), norm("output")], "post")


from safetensors.torch import load_file

fig, vectors = None, []
try:
    minilm = data.minilm()
    tensors = load_file(minilm.weights)
    for text_of_one in sentences:
        x = minilm.embed(minilm.tokens(text_of_one))[None]
        for n in range(minilm.n_layers):
            own = {name.removeprefix(f"encoder.layer.{n}."): tensor for name, tensor in tensors.items()}
            x = bert_block(x, minilm.n_heads, own)
        vectors.append(F.normalize(x[0].mean(0), dim=0))
    cosines = torch.stack(vectors) @ torch.stack(vectors).T
    fig = plot.heatmap(cosines, sentences, list("012345"), titles="cosine")
except data.DataMissing as missing:
    print(f"This experiment needs a pretrained model. {missing}")
fig

# %% [markdown]
# ## 7. What is slow and what is fast
#
# A lecture sorts the parts of a language model into slow ones (attention, the network's matrices) and fast ones (norms,
# residuals, bends, embeddings, positions). Measured on your functions, forward and backward, for one layer of width 256
# and 4 sequences of 256 tokens; the loss includes the head's matrix to 2,048 words.
#
# *Bars of milliseconds, by part: the network's matrices, attention and the loss with its head are long; the others
# are short, but not nothing.* Matrix products do hundreds of operations on each number that they load; a norm or a
# bend does a few, and waits for memory. On a GPU, where arithmetic is cheaper still, the fast parts take a larger
# share: that is why compilers fuse them (lab 6).


# %% experiment="slow_and_fast"
def milliseconds(function, *inputs: Tensor) -> float:
    """The best of five runs, forward and backward."""
    leaves, times = [t.to(device).requires_grad_() for t in inputs], []
    for _ in range(5):
        start = time.perf_counter()
        function(*leaves).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


seed(33)
B, T, C, words = 4, 256, 256, 2048
x, wide = torch.randn(B, T, C), torch.randn(B, T, 4 * C)
square, up, down = torch.randn(C, C) * C**-0.5, torch.randn(C, 4 * C) * C**-0.5, torch.randn(4 * C, C) * C**-0.5
vocabulary, mask = torch.randn(words, C) * C**-0.5, causal_mask(T, device=device)
one, zero = torch.ones(C), torch.zeros(C)
ids, heads = torch.randint(words, (B, T), device=device), torch.randn(B, 8, T, C // 8)
costs = {
    "attention": milliseconds(lambda x, *w: attend(x, x, *w, 8, mask), x, *[square] * 4),
    "network's matrices": milliseconds(lambda x, up, down: x @ up @ down, x, up, down),
    "loss, with the head": milliseconds(lambda x, w: F.cross_entropy((x @ w.T).mT, ids), x, vocabulary),
    "non-linearity (GELU)": milliseconds(lambda h: F.gelu(h), wide),
    "two LayerNorms": milliseconds(lambda x, g, b: layer_norm(layer_norm(x, g, b), g, b), x, one, zero),
    "two RMSNorms": milliseconds(lambda x, g: rms_norm(rms_norm(x, g), g), x, one),
    "two residuals": milliseconds(lambda x, y: x + y + y, x, x.clone()),
    "rotary positions": milliseconds(lambda x: rotary_positions(x), heads),
    "word embeddings": milliseconds(lambda w: F.embedding(ids, w), vocabulary),
}
fig, (ax,) = plot.figure(width=6.5)
names = list(costs)[::-1]
slow = ("attention", "network's matrices", "loss, with the head")
ax.barh(names, [costs[n] for n in names], color=[plot.COLOURS[3 if n in slow else 0] for n in names])
ax.set(xlabel="milliseconds, forward and backward")
fig

# %% [markdown]
# ## 8. Where the parameters are
#
# Count them in live models, made on PyTorch's "meta" device: tensors with shapes and no numbers, so that GPT-3 fits
# (without its attention's biases, not a tenth of a percent).
#
# *Bars by model, the network's share of a block's parameters (blue) and of all of the model's (orange), with a line at
# two thirds. All but LLaMA-2 70B and LLaMA-3 are at two thirds of the block; these two save on keys and values and
# spend it on the network: 81 to 82%. Of the whole model it is less where the vocabulary is large beside the blocks. The
# model of 2017 stands here with its decoder alone, without the second attention: the paper's blocks are at 57%.*

# %% experiment="shares"
published = {
    "2017, decoder": vaswani_2017(),
    "GPT-2": gpt2(),
    "GPT-3": gpt3_175b(),
    "LLaMA-2 7B": llama2_7b(),
    "LLaMA-2 70B": llama2_70b(),
    "LLaMA-3 8B": llama3_8b(),
}


shares = {}
for name, config in published.items():
    with torch.device("meta"):
        model = Decoder(config, Block, Norm)
    network = sum(count(each.feed_forward) for each in model.blocks)
    shares[name] = (network / count(model.blocks), network / count(model))
    print(f"{name:13s} {count(model):>15,} parameters, {network:>15,} in networks")
fig, (ax,) = plot.figure(width=7)
at = torch.arange(len(shares))
for which, label in enumerate(("of a block", "of the model")):
    heights = [share[which] for share in shares.values()]
    ax.bar((at + 0.4 * which - 0.2).tolist(), heights, width=0.4, label=label, color=plot.COLOURS[which])
ax.axhline(2 / 3, color="black", linewidth=1, linestyle="--", label="two thirds")
ax.set_xticks(at.tolist(), list(shares))
ax.set(ylabel="share in feed-forward networks", ylim=(0, 1))
ax.legend(ncols=3, loc="upper left")
fig

# %% [markdown]
# ## 9. Extensions
#
# **How many?** The same by arithmetic.


# %% exercise="block_parameters"
def block_parameters(config) -> dict[str, int]:
    """How many numbers one block learns, as {"attention": ..., "feed_forward": ..., "norms": ...}: a dict of its own.

    The configuration has d_model, n_heads, n_kv_heads, head_dim (n_heads * head_dim need not be d_model), d_ffn; gated
    (three matrices in the network for two); attention_biases, any of the letters "QKVO": the projections that have a
    bias; mlp_biases (all matrices of the network have one, or none has); norm, "layer" or "rms". A block has two
    sublayers, each with a norm.
    """
    ### BEGIN SOLUTION
    C, F, D = config.d_model, config.d_ffn, config.head_dim
    outputs = {"Q": config.n_heads * D, "K": config.n_kv_heads * D, "V": config.n_kv_heads * D, "O": C}
    attention = C * (outputs["Q"] + outputs["K"] + outputs["V"]) + outputs["Q"] * C
    attention += sum(outputs[letter] for letter in config.attention_biases)
    ups = 2 if config.gated else 1
    network = (ups + 1) * C * F + (ups * F + C if config.mlp_biases else 0)
    return {"attention": attention, "feed_forward": network, "norms": 2 * C * (2 if config.norm == "layer" else 1)}
    ### END SOLUTION


# %% check="block_parameters"
check("block_parameters", block_parameters)

# %% [markdown]
# **LayerNorm backward, by hand.** With $\hat x = (x - \mu)/\sqrt{\sigma^2 + \epsilon}$ and the gradient
# $\hat g = g \odot \partial L/\partial y$ that arrives at it, x acts in three ways: by itself, by the mean, and by the
# variance. Work out all three; the result has a short form with two means over channels in it.


# %% exercise="layer_norm_backward"
def layer_norm_backward(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple:
    """The gradients (dx, dgain, dbias) of y = layer_norm(x, gain, bias, epsilon), given `gradient` = dL/dy.

    x and gradient are (..., C), any number of leading dimensions, also none; dx is like x, dgain and dbias are (C,).
    All are in x's dtype, which gain and gradient share, and computed as layer_norm is: in float32, or in float64 where
    x is, and subtracted before squared. Not allowed: autograd.
    """
    ### BEGIN SOLUTION
    wide = torch.promote_types(x.dtype, torch.float32)
    centred = x.to(wide) - x.to(wide).mean(-1, keepdim=True)
    scale = torch.rsqrt((centred**2).mean(-1, keepdim=True) + epsilon)
    hat, g = centred * scale, gradient.to(wide) * gain
    dx = scale * (g - g.mean(-1, keepdim=True) - hat * (g * hat).mean(-1, keepdim=True))
    C = x.shape[-1]
    dgain, dbias = (gradient * hat).reshape(-1, C).sum(0), gradient.to(wide).reshape(-1, C).sum(0)
    return dx.to(x.dtype), dgain.to(x.dtype), dbias.to(x.dtype)
    ### END SOLUTION


# %% check="layer_norm_backward"
check("layer_norm_backward", layer_norm_backward)

# %% [markdown]
# ## What you built
#
# Norms, networks, blocks, and three kinds of model: lab 4 trains them to speak and loads published weights, lab 7
# counts their parameters and operations, labs 9 to 11 spread them over machines. They live in
# `mlsys_course/transformer/`; `weights.py` there reads checkpoints of GPT-2, LLaMA, BERT and T5, and
# `mlsys_course/substrate/presets.py` has the published configurations. `mlsys carry lab03` takes your own parts into
# later labs.
#
# **Real systems** merge the projections to queries, keys and values, and gate and up, into one matrix product each;
# fuse residual and norm, gate and product into one kernel; drop biases; normalize queries and keys too; replace the one
# network by many, of which each token uses a few (mixture of experts); and use dropout where data is scarce.
#
# **Papers.** Vaswani et al. 2017, *Attention is all you need*. Ba et al. 2016, *Layer normalization*. Zhang and
# Sennrich 2019, *Root mean square layer normalization*. Xiong et al. 2020, *On layer normalization in the transformer
# architecture*. Dong et al. 2021, *Attention is not all you need*. Hendrycks and Gimpel 2016, *GELU*. Shazeer 2020,
# *GLU variants improve transformer*. Devlin et al. 2019, *BERT*. Touvron et al. 2023, *LLaMA*.
