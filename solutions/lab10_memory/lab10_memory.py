# %% [markdown]
# # Lab 10: train in less memory
#
# A training step keeps weights, gradients, the optimizer's states and what backward needs of forward: 16 bytes a
# parameter, and for each token far more than that. You will build what makes less do, on one device: smaller batches,
# fewer bits, a loss that never holds its logits, forward run twice, an allocator that wastes little, adapters that
# train a thousandth. At the end, one model climbs down the ladder of all of them, predicted and measured.
#
# **Time:** eight hours; with the extensions two more. **Points:** 100; extensions are a bonus. **Before this:** lab 3
# (the model), lab 5 (gradients), lab 7 (bytes of a training step).
#
# None of your functions may change the tensors, lists and dictionaries that it is given, unless its exercise says so;
# `check` looks for that too.

# %%
import contextlib
import functools
import itertools
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate.data import letter_windows  # noqa: F401
from mlsys_course.substrate.memory_meter import MemoryMeter, peak_bytes
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.plot import COLOURS, figure

# %% [markdown]
# ## 1. A large batch in small pieces
#
# Activations grow with the batch; everything else does not. A gradient is a sum over tokens, so a batch that does not
# fit can be done in **micro-batches**, whose gradients add up in `.grad` before the optimizer sees them. What comes out
# must be what the large batch gives. Its loss is the mean over *all* tokens that count, those that are no padding:
#
# $$ \mathcal{L} = \frac{1}{n} \sum_{m} n_m \mathcal{L}_m, \qquad n = \sum_m n_m $$
#
# where micro-batch $m$ has $n_m$ such tokens, and $\mathcal{L}_m$ is the mean over them. Dividing by the number of
# micro-batches is right only where all $n_m$ are equal; a well-known library divided so until 2024.
#
# With data parallelism (lab 9) every backward pass sends its gradients to the other ranks. Here only the sum is to be
# sent: `DataParallel.no_sync()` is a context in which backward passes keep theirs.
#
# ### Exercise `accumulate` (10 points)
#
# Points by part: the loss 2, gradients 4, what is sent 2, memory 2. For the last one: with 16 micro-batches your
# function may hold at most a third of all their activations at any time.


# %% exercise="accumulate"
def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    """Adds to the parameters' .grad what one backward pass over all micro-batches together would; returns their loss.

    loss(inputs, targets): the mean over the tokens of one micro-batch that count, a tensor without dimensions with a
        graph; NaN where none counts. Which parameters it uses is its own affair.
    micro_batches: a list of (inputs, targets); may be empty. targets: whole numbers, any shape; a token counts where
        its target is not ignore_index.
    no_sync(): a new context, to be entered around every backward pass but the last one.
    What parameters have in .grad before stays and is added to. A micro-batch without a token that counts has no part:
        no backward pass for it. Where there is no such token at all, no .grad is touched.
    Returns the mean loss over all tokens that count, without a graph, in the dtype that loss returns; without any, a
        float32 zero.
    """
    ### BEGIN SOLUTION
    counts = [int((targets != ignore_index).sum()) for _, targets in micro_batches]
    rest = [(batch, n) for batch, n in zip(micro_batches, counts, strict=True) if n > 0]
    total = torch.tensor(0.0)
    for k, ((inputs, targets), n) in enumerate(rest):
        part = loss(inputs, targets) * (n / sum(counts))
        with contextlib.nullcontext() if k == len(rest) - 1 else no_sync():
            part.backward()
        total = total.to(part.dtype) + part.detach()
    return total
    ### END SOLUTION


# %% check="accumulate"
check("accumulate", accumulate)

# %% [markdown]
# ## 2. What float16 cannot hold
#
# | format | bits of exponent, significand | smallest normal | smallest above 0 | largest |
# |---|---|---|---|---|
# | float32 | 8, 24 | $2^{-126}$ | $2^{-149}$ | $3.4 \cdot 10^{38}$ |
# | bfloat16 | 8, 8 | $2^{-126}$ | $2^{-133}$ | $3.4 \cdot 10^{38}$ |
# | float16 | 5, 11 | $2^{-14}$ | $2^{-24} \approx 6 \cdot 10^{-8}$ | 65504 |
#
# Weights and activations are at home between $2^{-14}$ and $2^{15}$. Gradients are not: the loss is a *mean* over
# thousands of tokens, so the gradient at each of them starts with a factor of one over thousands.
#
# ```
#   2^-40       2^-24          2^-14                          2^0                          2^16
#     |  become 0 | fewer bits   |         float16's home       |                             | become inf
#          ~~~~~~~~~~~~ gradients ~~~~~~~~~~~~ - - - - times S - - - - >  ~~~~~~~~~~~~~
# ```
#
# Backward is linear in the gradient that it starts from, so one multiplication moves all of them:
#
# $$ \nabla_w (S \cdot \mathcal{L}) = S \cdot \nabla_w \mathcal{L} $$
#
# Multiply the loss by $S$ before backward; divide the gradients by $S$ after it, in float32, before the optimizer sees
# them. With a power of two for $S$ only exponents change, and no precision is lost on the way.
#
# Which $S$? As large as possible, but when it is too large gradients overflow to infinity, or to NaN where infinities
# meet. Nobody knows the limit beforehand, and it moves as the model learns. So try:
#
# ```
#     S   ----------+                                          +------
#   S/2             +------------------------------------------+
#                   overflow: skip this step,                  growth_interval good steps in a row:
#                   S * backoff_factor                         S * growth_factor
#   good steps  6 7 0 1 2 3 4 5 6 7                            0 1 2   (here growth_interval is 8)
# ```
#
# ### Exercise `DynamicLossScaler` (15 points)
#
# Points by part: scaling and unscaling 4, overflow 4, growth 4, resuming 3. The rule is that of PyTorch's
# `torch.amp.GradScaler`, which is not to be called here; comparing with it in a cell of your own is a good idea.


# %% exercise="DynamicLossScaler"
class DynamicLossScaler:
    """A loss scale that backs off on overflow and grows after a run of good steps.

    All arguments may be given by name. Attribute loss_scale: the current scale, a number.
    """

    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        ### BEGIN SOLUTION
        self.loss_scale = initial_scale
        self.factors = (backoff_factor, growth_factor)
        self.interval = growth_interval
        self.run = 0
        ### END SOLUTION

    def scale(self, loss):
        """loss: a tensor without dimensions, float32. Returns loss * loss_scale, through which backward runs."""
        ### BEGIN SOLUTION
        return self.loss_scale * loss
        ### END SOLUTION

    def step(self, gradients):
        """Unscale one step's gradients, then update the scale; called once a step.

        gradients: a list of tensors of any shapes, float16, bfloat16 or float32, as backward left them: multiplied by
            the scale that `scale` used.
        Returns None if any entry of any of them is infinite or NaN: the step must be skipped. The scale is then
            multiplied by backoff_factor, and the run of good steps ends.
        Else returns a list of float32 tensors: the gradients converted to float32, then divided by the scale that they
            were multiplied with. When this was the growth_interval-th good step in a row, the scale is then multiplied
            by growth_factor, and a new run starts.
        """
        ### BEGIN SOLUTION
        backoff, growth = self.factors
        if any(not torch.isfinite(gradient).all() for gradient in gradients):
            self.loss_scale, self.run = self.loss_scale * backoff, 0
            return None
        used, self.run = self.loss_scale, self.run + 1
        if self.run == self.interval:
            self.loss_scale, self.run = self.loss_scale * growth, 0
        return [gradient.to(torch.float32) / used for gradient in gradients]
        ### END SOLUTION

    def state_dict(self):
        """What a checkpoint must hold, as a dict of plain numbers, strings and lists, under keys of your own.

        What was returned does not change when the scaler goes on.
        """
        ### BEGIN SOLUTION
        return {"scale": self.loss_scale, "factors": list(self.factors), "interval": self.interval, "run": self.run}
        ### END SOLUTION

    def load_state_dict(self, state):
        """Go on exactly where state_dict was called, whatever arguments this object was made with."""
        ### BEGIN SOLUTION
        self.loss_scale, self.factors = state["scale"], tuple(state["factors"])
        self.interval, self.run = state["interval"], state["run"]
        ### END SOLUTION


# %% check="DynamicLossScaler"
check("DynamicLossScaler", DynamicLossScaler)

# %% [markdown]
# ### The step: masters in float32
#
# A weight near 1 has a gap of $2^{-10}$ to the next float16 number, and of $2^{-7}$ to the next bfloat16. An update
# that is smaller than half of that is lost, and late in training most are. So the optimizer works on **master weights**
# in float32, and the model gets them rounded. That costs 4 bytes a parameter, and the moments are float32 as well:
# 16-bit weights save activations and time, not states.
#
# ```
#   16 bits    weights ---> forward, backward ---> gradients (of the scaled loss)
#                 ^                                    |  unscaled in float32; clipped
#   float32    masters <--- optimizer <----------------+
# ```
#
# Not everything can do with 16 bits: sums over many entries (the loss, softmax, norms' means and variances) lose small
# terms, and exponentials overflow. Those operators widen, compute and narrow again, whatever the weights are.
#
# ### Exercise `MixedPrecisionStep` (11 points)
#
# Points by part: the update 4, masters 3, overflow 2, clipping 2.


# %% exercise="MixedPrecisionStep"
class MixedPrecisionStep:
    """What stands between a backward pass in 16 bits and an optimizer in float32.

    Attribute masters: a list of float32 tensors, one for each parameter, in their order, of their own memory.
    """

    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        """parameters: a list of tensors that require gradients, float16, bfloat16 or float32, also mixed; any shapes.
        make_optimizer(masters): returns an optimizer of torch.optim's kind for those tensors; call it once.
        scaler: an object with the `step` of your DynamicLossScaler, or None where the loss was not scaled.
        max_norm: a number above 0, or None for no clipping.
        """
        ### BEGIN SOLUTION
        self.model = list(parameters)
        self.masters = [p.detach().to(torch.float32, copy=True).requires_grad_() for p in self.model]
        self.optimizer = make_optimizer(self.masters)
        self.scaler, self.max_norm = scaler, max_norm
        ### END SOLUTION

    def step(self):
        """One update from the parameters' .grad, which are all None afterwards. Called once a step.

        Those .grad that are there go to scaler.step as a list, in the order of the parameters; without a scaler they
        are converted to float32. Where the scaler returns None, parameters, masters and optimizer stay as they are, and
        False is returned. Else:
        Clipping: if the Euclidean norm of all (unscaled) gradients together is more than max_norm, all are multiplied
            by max_norm / norm.
        The optimizer's step() is called once, with the gradients in the masters' .grad; None where a parameter had
            none. Then each parameter becomes its master, rounded to its dtype, in place. True is returned.
        """
        ### BEGIN SOLUTION
        there = [(p, m) for p, m in zip(self.model, self.masters, strict=True) if p.grad is not None]
        gradients = [p.grad for p, _ in there]
        for tensor in [*self.model, *self.masters]:
            tensor.grad = None
        gradients = [g.float() for g in gradients] if self.scaler is None else self.scaler.step(gradients)
        if gradients is None:
            return False
        squares = sum(float(g.square().sum()) for g in gradients)
        if self.max_norm is not None and squares > self.max_norm**2:
            gradients = [g * (self.max_norm / math.sqrt(squares)) for g in gradients]
        for (_, m), g in zip(there, gradients, strict=True):
            m.grad = g
        self.optimizer.step()
        with torch.no_grad():
            for p, m in there:
                p.copy_(m)
        return True
        ### END SOLUTION


# %% check="MixedPrecisionStep"
check("MixedPrecisionStep", MixedPrecisionStep)

# %% [markdown]
# **Look at it: a network in real float16.**
#
# The network below predicts the next character of a text that every Python brings along, the manual's topics as
# `help()` shows them. Weights and gradients are float16, master weights float32; your step and your scaler stand
# between them. The scale starts far too high, at $2^{24}$.
#
# *The figure. Left: a histogram of the gradients that flow backward, over their size as a power of two. As they are
# (blue), a part lies in the shaded region on the left, where float16 has only zero, and most of the rest where it has
# fewer bits; times the scale (orange, dashed) the same shape stands in the middle of float16's range. Right: the
# scale over the steps falls in a few skipped steps (crosses), then climbs and falls like a saw around a level.*
#
# Why does it stop so far from the right edge? What overflows first is not in the histogram: the gradients of weights,
# which are sums over all tokens.

# %% experiment="underflow"
from pydoc_data.topics import topics

torch.manual_seed(0)
text = "\n".join(topics[name] for name in sorted(topics))
alphabet = {character: code for code, character in enumerate(sorted(set(text)))}
codes = torch.tensor([alphabet[character] for character in text])
window = 8


def network():
    layers = [nn.Embedding(len(alphabet), 16), nn.Flatten(), nn.Linear(16 * window, 64), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(64, 64), nn.GELU(), nn.Linear(64, len(alphabet)))


def batch(size):
    at = torch.randint(len(codes) - window, (size,))
    return codes[at[:, None] + torch.arange(window)], codes[at + window]


def flowing_back(model, x, y, scale=1.0):
    """Gradients at the outputs of every layer, in float32."""
    outputs = [model[0](x)]
    for layer in model[1:]:
        outputs.append(layer(outputs[-1]))
    loss = scale * F.cross_entropy(outputs[-1].float(), y)
    return torch.cat([gradient.float().flatten() for gradient in torch.autograd.grad(loss, outputs)])


half = network().half()
scaler = DynamicLossScaler(initial_scale=2.0**24, growth_interval=15)
mixed = MixedPrecisionStep(half.parameters(), lambda masters: torch.optim.AdamW(masters, lr=4e-3), scaler)
scales, skipped = [], []
for number in range(160):
    x, y = batch(192)
    scaler.scale(F.cross_entropy(half(x).float(), y)).backward()
    scales.append(scaler.loss_scale)
    if not mixed.step():
        skipped.append(number)

master = network()
with torch.no_grad():
    for parameter, wide in zip(master.parameters(), mixed.masters, strict=True):
        parameter.copy_(wide)
x, y = batch(4096)
true, scale = flowing_back(master, x, y), scaler.loss_scale
alive = true != 0
sizes = true[alive].abs().log2()
for name, factor in (("as they are", 1.0), (f"times {scale:,.0f}", scale)):
    zero = (flowing_back(half, x, y, factor)[alive] == 0).float().mean()
    few = (sizes + torch.tensor(factor).log2() < -14).float().mean() - zero
    print(f"{name:15s} {zero:6.1%} become zero, {few:6.1%} have fewer bits")

fig, (left, right) = figure(2, width=5.5, height=3.8)
bins = torch.arange(-44.0, 20.0, 1.0).tolist()
left.axvspan(-44, -25, color=COLOURS[6], alpha=0.25, linewidth=0)
left.axvspan(-25, -14, color=COLOURS[6], alpha=0.10, linewidth=0)
left.axvspan(16, 20, color=COLOURS[6], alpha=0.25, linewidth=0)
left.hist(sizes.numpy(), bins, histtype="step", linewidth=1.8, color=COLOURS[0], label="as they are")
scaled = (sizes + torch.tensor(scale).log2()).numpy()
left.hist(scaled, bins, histtype="step", linewidth=1.8, color=COLOURS[1], linestyle="--", label="times the scale")
left.ticklabel_format(axis="y", scilimits=(0, 0))
top = 1.22 * left.get_ylim()[1]
for place, word in ((-34.5, "become 0"), (-19.5, "fewer bits"), (1, "full precision"), (18, "inf")):
    left.text(place, 0.97 * top, word, ha="center", va="top", fontsize="small")
left.set(xlim=(-44, 20), ylim=(0, top), xlabel="size of a gradient, as a power of two", ylabel="gradients")
left.legend(loc="upper left", bbox_to_anchor=(0, 0.92))
right.step(range(len(scales)), scales, where="post", marker="", color=COLOURS[0], label="loss scale")
right.plot(skipped, [scales[i] for i in skipped], "x", color=COLOURS[3], markersize=8, label="skipped step")
right.set_yscale("log", base=2)
right.set(xlabel="step", ylabel="loss scale")
right.legend()
fig

# %% [markdown]
# ### Question `why_dynamic` (4 points)
#
# Use the figure and the printed lines. What would this network's training lose without a scale? Why not choose the
# right scale once and keep it? And why do people who train in bfloat16 use no scaler, and what do they pay for that?

# %% [markdown] question="why_dynamic"
# ### BEGIN SOLUTION
# Without a scale 7% of the gradients at 4,096 tokens are below half of 2^-24 and become zero, and another 91% are
# stored with fewer bits than float16 has; times the scale none is lost and 1% have fewer bits. A fixed scale that is
# too small leaves this loss, and one that is too large makes every step overflow, and every step is skipped; the right
# one depends on model, loss and batch, and the saw on the right shows that its limit moves while the model learns.
# bfloat16 has float32's eight bits of exponent, so gradients of this size are normal numbers; it pays with 8 bits of
# significand where float16 has 11: between two and three decimal digits instead of more than three.
# ### END SOLUTION

# %% [markdown]
# ## 3. Logits that nobody needs at once
#
# A language model's head gives every token a number for every word: with $N$ tokens, width $C$ and $V$ words,
#
# $$ z = h W^\top, \qquad \mathcal{L} = -\frac{1}{n} \sum_{i\ \text{counts}} \log \mathrm{softmax}(z_i)_{y_i} $$
#
# where $n$ tokens count, those that are no padding. GPT-2 has $V = 50257$; 32 texts of 1024 tokens make $z$ a tensor of
# 6.1 GiB in float32, thirteen times the model's weights, and PyTorch holds three or four like it when it computes the
# loss and goes back. What comes out is one number, and two gradients of the shapes of $h$ and $W$.
#
# The loss is a sum over tokens, so a chunk of tokens can be done at a time. That alone saves nothing: backward needs
# each chunk's softmax again, so autograd keeps all of them until it is asked. But nothing has to wait for that.
# The gradient of one token's term for its logits is known as soon as they are,
#
# $$ \frac{\partial \mathcal{L}}{\partial z_i} = \frac{1}{n} \left( \mathrm{softmax}(z_i) - e_{y_i} \right),
# \qquad \frac{\partial \mathcal{L}}{\partial h_i} = \frac{\partial \mathcal{L}}{\partial z_i} W,
# \qquad \frac{\partial \mathcal{L}}{\partial W} =
# \sum_i \left( \frac{\partial \mathcal{L}}{\partial z_i} \right)^{\!\top} h_i $$
#
# with $h_i$ a row and $e_y$ one-hot. So forward and backward of a chunk are done together, and its logits are let go:
#
# ```
#     h (N, C)      logits (chunk, V)       gradients of them        results
#     +------+      +-----------------+     +-----------------+      loss        += one number
#     | 1st  | ---> |  made, used,    | --> |  used at once    | --->  grad_hidden  its own rows
#     +------+      |  let go         |     +-----------------+      grad_weight += (V, C)
#     | 2nd  |      +-----------------+
#     | ...  |        the same memory again for the 2nd chunk, the 3rd, ...
# ```
#
# ### Exercise `chunked_cross_entropy` (15 points)
#
# Points by part: the loss 4, gradients 5, padding 2, memory 4. All of PyTorch may be used, autograd too.
#
# The part about memory: on a text of 48 chunks, your function may hold at most $\frac{4}{3} N V$ bytes at any time, a
# third of all logits in float32. Its arguments do not count; its results do, and are small there. In the notebook
# `check` counts the bytes of the tensors that you make; in grading the operating system is asked.


# %% exercise="chunked_cross_entropy"
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    """The mean cross-entropy of softmax(hidden @ weight.T) at the targets, and its gradients.

    hidden: (N, C), weight: (V, C), both float32, float64 or bfloat16. targets: (N,), whole numbers
        in [0, V), or ignore_index, whatever whole number that is: such a token counts in no sum and no mean.
    chunk: of how many tokens logits may exist at one time. It need not divide N, and may be larger.
    Returns (loss, grad_hidden, grad_weight). Until you have the gradients, return None in their places.
        loss: a tensor without dimensions, float32, or float64 where hidden is float64. The logits of a chunk are
            converted to that dtype before anything else, and sums over chunks are kept in it.
        grad_hidden: of hidden's shape and dtype. grad_weight: of weight's shape and dtype; its sum over chunks is
            kept in the loss's dtype, and rounded once.
        Where no token counts, all three are 0. All three are on the device of the arguments, which is one.
    """
    ### BEGIN SOLUTION
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    counts = targets != ignore_index
    tokens = max(1, int(counts.sum()))
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden = torch.zeros_like(hidden)
    grad_weight = torch.zeros_like(weight, dtype=wide)
    for places in torch.arange(len(targets), device=hidden.device).split(chunk):
        places = places[counts[places]]
        h, y = hidden[places], targets[places]
        log_p = (h @ weight.T).to(wide).log_softmax(dim=-1)
        at_target = (torch.arange(len(y), device=hidden.device), y)
        loss -= log_p[at_target].sum() / tokens
        gradient = log_p.exp()
        gradient[at_target] -= 1
        gradient = (gradient / tokens).to(hidden.dtype)
        grad_hidden[places] = gradient @ weight
        grad_weight += gradient.T @ h
    return loss, grad_hidden, grad_weight.to(weight.dtype)
    ### END SOLUTION


# %% check="chunked_cross_entropy"
check("chunked_cross_entropy", chunked_cross_entropy)

# %% [markdown]
# **Look at it: what a chunk costs.** Your function on 2,048 tokens of a width of 32 and 8,192 words, in 1 to 128
# chunks. `peak_bytes` follows every tensor that a call makes until nothing holds it any more.
#
# *The figure. Left: peak memory over the number of chunks, both axes in powers of two. The line (blue, circles) falls
# like one over the number of chunks, from several times the dashed line, which is the size of all logits in float32,
# and bends where it comes near the dotted line, the size of the results: no chunk can save those. Right: seconds of a
# call. On a quiet machine they hardly change at first, and rise where chunks are so small that products of matrices no
# longer keep it busy.*
#
# Which number of chunks would you take here? What would you look at first on another machine?

# %% experiment="chunks"
torch.manual_seed(0)
tokens, words, width = 2048, 8192, 32
h, w = torch.randn(tokens, width), torch.randn(words, width) / width**0.5
y = torch.randint(words, (tokens,))
numbers = [2**power for power in range(8)]
peaks, seconds = [], []
for number in numbers:
    peaks.append(peak_bytes(chunked_cross_entropy, h, w, y, chunk=tokens // number) / 2**20)
    start = time.perf_counter()
    chunked_cross_entropy(h, w, y, chunk=tokens // number)
    seconds.append(time.perf_counter() - start)
    print(f"{number:4d} chunks  {peaks[-1]:6.1f} MiB  {seconds[-1]:.2f} s")

fig, (left, right) = figure(2, width=5.0, height=3.6)
left.plot(numbers, peaks, label="your function")
left.axhline(4 * tokens * words / 2**20, color=COLOURS[1], linestyle="--", label="all logits in float32")
left.axhline(4 * width * (tokens + words) / 2**20, color=COLOURS[2], linestyle=":", label="the results")
left.set_yscale("log", base=2)
left.set(ylabel="peak memory, MiB")
left.legend()
right.plot(numbers, seconds, color=COLOURS[0])
right.set(ylabel="seconds of a call", ylim=(0, None))
for axes in (left, right):
    axes.set_xscale("log", base=2)
    axes.set_xlabel("number of chunks")
fig

# %% [markdown]
# ## 4. Forward twice
#
# Backward needs what forward made: a block keeps a dozen tensors like its input. **Activation checkpointing** keeps the
# input alone, lets the rest go, and when backward comes to the block runs its forward *again*. A chain of $n$ blocks in
# $k$ segments holds $k$ inputs and the insides of one segment, $n/k$ blocks: least for $k \approx \sqrt{n}$. The price
# is one more forward pass, a third of a step's FLOPs at most.
#
# ```
#   forward      x0 --[ segment 1 ]--> x1 --[ segment 2 ]--> x2 --[ segment 3 ]--> loss         keeps x0, x1, x2
#   backward                                                      [ again, then back ]          and the insides
#                                      [ again, then back ]  <--                                of one at a time
#                  [ again, ... ] <--
# ```
#
# Again must mean *the same*: the same random numbers, else dropout's mask differs between forward and backward and
# gradients are silently wrong; the same autocast; and afterwards the program's chance goes on as if nothing had been.
#
# ### Exercise `checkpoint` (13 points)
#
# Points by part: values 3, chance 3, arguments 3, autocast 1, memory 3. Without `torch.utils.checkpoint`. An
# `autograd.Function` is one way; its `forward` runs without a graph, and its `backward` may call
# `torch.autograd.backward`. Cases call `.backward()`. The part about memory: a chain of 10 segments of 16 operators, of
# which each keeps a tensor, may hold at most 0.45 of all 160; and calls of `function` are counted.


# %% exercise="checkpoint"
### BEGIN SOLUTION
class RunAgain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, call, surroundings, needed, *tensors):
        ctx.call, ctx.surroundings = call, surroundings
        ctx.save_for_backward(*tensors)
        return call(*tensors)

    @staticmethod
    def backward(ctx, *grads):
        own = [x.detach().requires_grad_(x.requires_grad) for x in ctx.saved_tensors]
        cards, (state, *on_cards), autocast = ctx.surroundings
        with torch.random.fork_rng(cards), torch.enable_grad(), torch.autocast(*autocast):
            torch.set_rng_state(state)
            list(map(torch.cuda.set_rng_state, on_cards, cards))
            results = ctx.call(*own)
        results = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(results, grads, strict=True) if y.requires_grad and g is not None]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return None, None, None, *[x.grad for x in own]


### END SOLUTION
def checkpoint(function, *args, **kwargs):
    """function(*args, **kwargs), of which autograd keeps the arguments only until backward.

    Returns what function returns: a tensor, or a tuple of tensors, some of which may be of whole numbers.
    function may use other tensors that require gradients, such as a module's parameters, and may draw random numbers
        from torch's default generators (the CPU's, and that of the arguments' device). It may call checkpoint itself.
    args, kwargs: anything. Tensors among them may require gradients or not, wherever they stand (but not inside lists);
        where none does, results require a gradient all the same, for the sake of what else function uses.
    Under torch.no_grad() it is a plain call, and its result requires no gradient.
    Forward calls function once, backward once more, with the same arguments, random numbers and autocast (on or off,
        and its dtype). Gradients are added to .grad of everything that a plain call would give one. After backward the
        random state is what it was before backward.
    """
    ### BEGIN SOLUTION
    given = [*args, *kwargs.values()]
    places = [n for n, x in enumerate(given) if isinstance(x, torch.Tensor)]

    def call(*tensors):
        filled = list(given)
        for n, x in zip(places, tensors, strict=True):
            filled[n] = x
        return function(*filled[: len(args)], **dict(zip(kwargs, filled[len(args) :], strict=True)))

    tensors = [given[n] for n in places]
    cards = sorted({x.get_device() for x in tensors if x.is_cuda})
    states = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, cards)]
    kind = next((x.device.type for x in tensors), "cpu")
    autocast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    return RunAgain.apply(call, (cards, states, autocast), torch.ones((), requires_grad=True), *tensors)
    ### END SOLUTION


# %% check="checkpoint"
check("checkpoint", checkpoint)

# %% [markdown]
# ### Which layers?
#
# Layers are not alike: attention keeps much that is cheap to make again, a matrix product little that is dear. And
# there is a limit, the card's memory, not a wish for the least. So: *the least time of running again, within a limit*.
# With layers $0 \dots n-1$ in a chain, layer $k$ keeps $s_k$ bytes for backward, its input of $i_k$ bytes among them,
# and its forward takes $t_k$ seconds. A segment $[a, b)$ that is checkpointed keeps $i_a$. Backward goes from the end
# and frees what it passes, so when it comes to a part, all *before* it are held, and all of its own:
#
# $$ \text{peak} = \max_{[a,b)} \Big( \text{held before } a + \sum_{k=a}^{b-1} s_k \Big), \qquad
# \text{held}(\text{segment}) = i_a, \quad \text{held}(\text{layer in none}) = s_k $$
#
# What is best from layer $a$ on depends on what comes before by *one number* only: how much that holds. That is what
# dynamic programming wants: `functools.cache` on a function of (layer, bytes held) is enough.
#
# ### Exercise `optimal_checkpoints` (10 points)
#
# Points by part: the least time 4, within the limit 4, edges 2. Up to 12 layers, in a second.


# %% exercise="optimal_checkpoints"
def optimal_checkpoints(inputs, saved, seconds, limit):
    """The segments to checkpoint: a list of (start, stop), ascending and without overlap; two may touch.

    inputs, saved: lists of whole numbers, bytes of each layer as above, 0 < inputs[k] <= saved[k]; may be empty.
    seconds: a list of numbers above 0. A segment (start, stop) are layers start to stop - 1, at least one; all of them
        run again. Layers in no segment keep what they have.
    limit: the most bytes that the peak may have.
    Of all choices within the limit, one with the least sum of seconds of the layers that run again; any of several.
    Raises ValueError where no choice is within the limit.
    """
    ### BEGIN SOLUTION
    n = len(saved)

    @functools.cache
    def rest(layer, held):
        if layer == n:
            return 0.0, []
        found = []
        if held + saved[layer] <= limit:
            found.append(rest(layer + 1, held + saved[layer]))
        for stop in range(layer + 1, n):  # the last one's bytes are all there at once, checkpointed or not
            if held + sum(saved[layer:stop]) <= limit:
                lost, segments = rest(stop, held + inputs[layer])
                found.append((lost + sum(seconds[layer:stop]), [(layer, stop), *segments]))
        return min(found, default=(math.inf, []))

    lost, segments = rest(0, 0)
    if lost == math.inf:
        raise ValueError(f"no choice of segments has a peak of at most {limit} bytes")
    return segments
    ### END SOLUTION


# %% check="optimal_checkpoints"
check("optimal_checkpoints", optimal_checkpoints)

# %% [markdown]
# **Look at it: memory for time.** Lab 3's `Decoder`, your own if you carried it, with eight blocks; each block is a
# layer. The cell measures what a block keeps and how long it takes, asks your function for every limit, and runs your
# `checkpoint` over the segments.
#
# *The figure. Over the peak of the blocks' activations in MiB, the share of forward that runs again. Your schedule
# (blue, circles) falls in steps from 100% at the left to 0 at the right. Equal segments, 1 to 8 of them (orange,
# squares), all lie at 100%: they run all of it again, whether that is needed or not. Crosses are measured peaks, each
# near the circle it belongs to.*

# %% experiment="frontier"
Decoder = take("transformer", "Decoder")
torch.manual_seed(0)
shape = ModelConfig(64, 128, 64, 8, 4, 4, 16, 192, fast=True)
model, tokens = Decoder(shape), torch.randint(64, (8, 128))
blocks = list(model.stack.blocks)


def run_blocks(x, segments):
    """Forward and backward through all blocks, those of a segment checkpointed together."""
    starts, n = dict(segments), 0
    while n < len(blocks):
        stop = starts.get(n, n + 1)
        layers = [functools.partial(block, causal=True) for block in blocks[n:stop]]
        chain = functools.partial(functools.reduce, lambda y, layer: layer(y), layers)
        x = checkpoint(chain, x) if n in starts else chain(x)
        n = stop
    x.sum().backward()


def peak_of_activations(segments):
    model.zero_grad()
    x = model.embedding(tokens).detach().requires_grad_()
    run_blocks(x, [])  # so that gradients of weights are there and do not count
    return peak_bytes(run_blocks, x, segments)


x = model.embedding(tokens).detach()
with MemoryMeter() as meter:
    kept = blocks[0](x.requires_grad_(), causal=True)
    own = meter.now
begin = time.perf_counter()
blocks[0](x, causal=True)
inputs, saved, seconds = [x.nbytes] * 8, [own] * 8, [time.perf_counter() - begin] * 8
base = peak_of_activations([]) - sum(saved)  # gradients on their way
fig, (axes,) = figure(1, width=5.5)
points = {}
for limit in range(min(saved), sum(saved) + 1, own // 8):
    with contextlib.suppress(ValueError):
        points[tuple(optimal_checkpoints(inputs, saved, seconds, limit))] = limit
best = [(limit / 2**20, 100 * sum(b - a for a, b in segments) / 8) for segments, limit in points.items()]
axes.plot(*zip(*best, strict=True), color=COLOURS[0], marker="o", linestyle="-", label="optimal, predicted")
for segments in list(points)[:: max(1, len(points) // 5)]:
    measured = (peak_of_activations(list(segments)) - base) / 2**20
    axes.plot(measured, 100 * sum(b - a for a, b in segments) / 8, "x", color=COLOURS[3], markersize=9)
    print(f"{segments!s:60.60s} limit {points[segments] / 2**20:5.1f} MiB, measured {measured:5.1f}")
for k in (1, 2, 3, 4, 8):
    edges = [n * 8 // k for n in range(k + 1)]
    even = list(itertools.pairwise(edges))
    axes.plot((peak_of_activations(even) - base) / 2**20, 100, "s", color=COLOURS[1], label="equal" if k == 1 else None)
axes.set(xlabel="peak of activations, MiB", ylabel="% of forward run again", ylim=(-5, 110))
axes.legend()
fig

# %% [markdown]
# ## 5. Where the bytes lie
#
# Asking a card's driver for memory takes as long as a kernel, and giving it back waits for all of them. So frameworks
# have an allocator between: it asks the driver for large **segments**, cuts **blocks** from them, and keeps what is
# freed for the next tensor. What it has cut so that nothing fits any more is **fragmentation**: a tensor may find no
# place though more than its bytes are free.
#
# ```
#   segment  | a: in use |   free   | b: in use | free |              a request of  ====  goes to the smallest
#                                                 ====                hole that is large enough: best fit
#   b is freed           |   free   +   free    + ...  |              neighbours that are free become one: coalescing
# ```
#
# ### Exercise `CachingAllocator` (11 points)
#
# Points by part: sizes and segments 2, best fit and splitting 3, coalescing 3, a full device and bad input 3. No
# memory is moved: addresses are whole numbers.


# %% exercise="CachingAllocator"
class CachingAllocator:
    """Addresses of blocks in segments of a device's memory.

    Attributes reserved: bytes that the device has given in segments. in_use: bytes of blocks in use, rounded sizes.
    """

    def __init__(self, capacity, segment_size, block_size=512):
        """capacity: bytes of the device. segment_size: a multiple of block_size. At first it has given nothing."""
        ### BEGIN SOLUTION
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.lists, self.end = [], 0  # of each segment its blocks, [address, size, in use]
        ### END SOLUTION

    ### BEGIN SOLUTION
    reserved = property(lambda self: sum(size for blocks in self.lists for _, size, _ in blocks))
    in_use = property(lambda self: sum(size for blocks in self.lists for _, size, used in blocks if used))
    ### END SOLUTION

    def allocate(self, size):
        """The address of a new block of size bytes, rounded up to a multiple of block_size.

        Of the free blocks of all segments that are large enough, the smallest is taken, of equal ones that with the
        lowest address. The new block is its beginning; the rest, if there is any, is a free block behind it.
        If none is large enough the device is asked for a segment, of segment_size bytes, or of the rounded size where
        that is more, and the block is taken from that. The first segment begins at address 0, each later one where the
        one asked for before it ended, whatever has become of that.
        If the segments would have more than capacity bytes together, those in which no block is in use are first given
        back, all of them, and only then.
        Raises ValueError for a size below 1. Raises MemoryError where the device has too little even so; blocks in use
        stay as they are.
        """
        ### BEGIN SOLUTION
        if size < 1:
            raise ValueError(f"{size} bytes are no block")
        size = math.ceil(size / self.block_size) * self.block_size
        holes = [(b[1], b, blocks) for blocks in self.lists for b in blocks if not b[2] and b[1] >= size]
        if not holes:
            wanted = max(size, self.segment_size)
            if self.reserved + wanted > self.capacity:
                self.lists = [blocks for blocks in self.lists if any(used for *_, used in blocks)]
            if self.reserved + wanted > self.capacity:
                raise MemoryError(f"{wanted} bytes of {self.capacity - self.reserved}")
            self.lists.append([[self.end, wanted, False]])
            self.end += wanted
            holes = [(wanted, self.lists[-1][0], self.lists[-1])]
        whole, block, blocks = min(holes)
        block[1:] = [size, True]
        if whole > size:
            blocks.insert(blocks.index(block) + 1, [block[0] + size, whole - size, False])
        return block[0]
        ### END SOLUTION

    def free(self, address):
        """Takes the block at that address back; free neighbours in the same segment become one block with it.

        Raises ValueError where no block in use begins there.
        """
        ### BEGIN SOLUTION
        for blocks in self.lists:
            for n, block in enumerate(blocks):
                if block[0] == address and block[2]:
                    block[2] = False
                    for left in (n, n - 1):
                        if 0 <= left < len(blocks) - 1 and not blocks[left][2] and not blocks[left + 1][2]:
                            blocks[left][1] += blocks.pop(left + 1)[1]
                    return
        raise ValueError(f"no block in use at {address}")
        ### END SOLUTION

    def segments(self):
        """Of each segment, in the order of addresses, a dict: its size, the bytes in_use, and its largest_hole: the
        size of its largest free block, 0 if there is none.
        """
        ### BEGIN SOLUTION
        return [
            {
                "size": sum(size for _, size, _ in blocks),
                "in_use": sum(size for _, size, used in blocks if used),
                "largest_hole": max([size for _, size, used in blocks if not used], default=0),
            }
            for blocks in self.lists
        ]
        ### END SOLUTION


# %% check="CachingAllocator"
check("CachingAllocator", CachingAllocator)

# %% [markdown]
# ## 6. Train a thousandth
#
# Fine-tuning changes a weight $W$ ($d_{out} \times d_{in}$) by little, and what it changes has low rank. **LoRA**
# leaves $W$ alone and trains the difference as a product of two thin matrices:
#
# $$ y = x W^\top + \frac{\alpha}{r}\, x A^\top B^\top, \qquad A: r \times d_{in}, \quad B: d_{out} \times r $$
#
# $A$ begins at random and $B$ at 0, so that the model begins as it was. The optimizer has states for $A$ and $B$ only,
# $W$ needs no gradient, no master and no moments, and may lie in 16 bits or in 4. To serve, the term is **merged** into
# $W$, and costs nothing; one base serves many adapters in turn if it can be *unmerged* again. Adding and subtracting
# does not do that: in 16 bits $(W + D) - D$ is not $W$.
#
# ### Exercise `LoRALinear` (9 points)
#
# Points by part: forward 2, training 2, merging 2, misuse 2, the device 1.


# %% exercise="LoRALinear"
class LoRALinear(nn.Module):
    """A frozen linear layer with a trained low-rank term.

    Attributes base: the layer that was given, itself. a, b: parameters; b is (out_features, r), zeros, of a's dtype and
        on its device.
    """

    def __init__(self, base, a, alpha):
        """base: an nn.Linear of any floating dtype; its weight and its bias, if it has one, are frozen: they require no
            gradient afterwards. Raises TypeError for any other module.
        a: (r, in_features), the first value of the parameter a, which is a copy; of base's dtype, or float32.
        alpha: a number.
        """
        super().__init__()
        ### BEGIN SOLUTION
        if not isinstance(base, nn.Linear):
            raise TypeError(f"{type(base).__name__} is no nn.Linear")
        self.base, self.scale = base, alpha / a.shape[0]
        for parameter in base.parameters():
            parameter.requires_grad = False
        self.a = nn.Parameter(a.clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, a.shape[0], dtype=a.dtype, device=a.device))
        self.before = None
        ### END SOLUTION

    def forward(self, x):
        """base(x) + (alpha / r) x a^T b^T, in the dtype of base(x); x of shape (..., in_features). The term is worked
        out in a's dtype, and only the sum is rounded. While merged it is base(x) alone.
        """
        ### BEGIN SOLUTION
        y = self.base(x)
        if self.before is not None:
            return y
        return (y + x.to(self.a.dtype) @ self.a.T @ self.b.T * self.scale).to(y.dtype)
        ### END SOLUTION

    def merge(self):
        """base.weight becomes itself plus (alpha / r) b a, added in a's dtype and rounded once, in place.

        Raises RuntimeError where it is merged already.
        """
        ### BEGIN SOLUTION
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.detach().clone()
        with torch.no_grad():
            self.base.weight.copy_(self.before + self.scale * self.b @ self.a)
        ### END SOLUTION

    def unmerge(self):
        """base.weight is what it was before merge, bit for bit, in place. Raises RuntimeError if it is not merged."""
        ### BEGIN SOLUTION
        if self.before is None:
            raise RuntimeError("not merged")
        with torch.no_grad():
            self.base.weight.copy_(self.before)
        self.before = None
        ### END SOLUTION


# %% check="LoRALinear"
check("LoRALinear", LoRALinear)

# %% [markdown]
# **A question on it** (2 points). A model of {{ billions }} billion parameters lies frozen in 16 bits. Adapters of rank
# {{ rank }} have {{ millions }} million parameters, trained in mixed precision with AdamW, 16 bytes each as in the
# notes: 16-bit weights and gradients, float32 masters and two moments. How much do all weights, gradients and states
# take, activations apart?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="memory_choice"
# Assign the letter of your answer, such as "a", to memory_choice.
### BEGIN SOLUTION
memory_choice = "{{ memory_answer }}"
### END SOLUTION

# %% check="memory_choice"
check("memory_choice", memory_choice)

# %% [markdown]
# ## What you built
#
# The state machine between a 16-bit backward pass and a 32-bit optimizer, and a loss whose memory does not grow with
# tokens times words. `mlsys_course.memory.DynamicLossScaler` is the reference of the first, and its tests drive it side
# by side with `torch.amp.GradScaler`; `mlsys_course.memory.chunked_cross_entropy` of the second, with a
# `torch.autograd.Function` around it, so that `loss.backward()` goes on from `grad_hidden` into the model.
#
# **What real systems do differently.** `GradScaler` never waits for the answer: the flag for overflow stays on the GPU
# and the fused optimizer reads it there. It starts at $2^{16}$ and tries to grow every 2,000 steps, and it stops
# growing at the end of float32's range. With sharded training (lab 11) ranks must agree on the flag, or their weights
# drift apart: one all-reduce of one number. Clipping by norm comes after unscaling. Most large models now train in
# bfloat16 without any of this; float8 brought scales back, one for each tensor. The fastest losses go one step further
# than yours: their kernels never write a chunk's logits to the GPU's main memory at all.
#
# **Papers.** Micikevicius et al. 2018, "Mixed precision training" (figure 3 is the left half of our first figure);
# Kalamkar et al. 2019 (bfloat16); Micikevicius et al. 2022 (float8 formats); Hsu et al. 2024, "Liger Kernel" (a fused
# loss in chunks, like yours); Wijmans et al. 2024, "Cut your losses in large-vocabulary language models".
