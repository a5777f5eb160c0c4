# %% [markdown]
# # Lab 10: train in less memory
#
# Training GPT-3 in mixed precision keeps 16 bytes for every parameter: 2 for the weights and 2 for the gradients that
# the tensor cores work on, 12 for the master weights and Adam's two moments in float32 (350 + 350 + 700 + 700 + 700
# GB, before any activation). You will write two pieces that make less do. The 16-bit formats halve what moves through
# forward and backward, and float16 pays for that with its range: a loss scale that finds itself while training makes
# float16 trainable all the same. And the largest single tensor of a small model's step is one that nobody looks at, the
# logits: you will compute the loss and its gradients without ever holding them all.
#
# **Time:** about three hours. **Points:** 36.
# **Prerequisites:** lab 0 (gradients by hand), lab 5 (gradients), lab 7 (bytes of a training step).
#
# None of your functions may change the tensors, lists and dictionaries that it is given; `check` looks for that too.

# %%
import torch
import torch.nn.functional as F
from torch import nn

from mlsys_course.desk.check import check
from mlsys_course.desk.check.meter import peak_bytes
from mlsys_course.substrate.plot import COLOURS, figure

# %% [markdown]
# ## 1. What float16 cannot hold
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
# ## 2. The scaler
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
# ## 3. Look at it: a network in real float16
#
# The network below predicts the next character of a text that every Python brings along, the manual's topics as
# `help()` shows them. Weights and gradients are float16, master weights float32, and your scaler stands between them.
# It starts far too high, at $2^{24}$.
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


master, half = network(), network().half()
optimizer = torch.optim.AdamW(master.parameters(), lr=4e-3)
scaler = DynamicLossScaler(initial_scale=2.0**24, growth_interval=15)
scales, skipped = [], []
for number in range(160):
    half.load_state_dict(master.state_dict())
    half.zero_grad()
    x, y = batch(192)
    scaler.scale(F.cross_entropy(half(x).float(), y)).backward()
    scales.append(scaler.loss_scale)
    gradients = scaler.step([parameter.grad for parameter in half.parameters()])
    if gradients is None:
        skipped.append(number)
        continue
    for parameter, gradient in zip(master.parameters(), gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()

half.load_state_dict(master.state_dict())
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
# ### Question `why_dynamic` (6 points)
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
# ## 4. Logits that nobody needs at once
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
# ## 5. Look at it: what a chunk costs
#
# Your function on 2,048 tokens of a width of 32 and 8,192 words, in 1 to 128 chunks. `peak_bytes` follows every tensor
# that a call makes until nothing holds it any more.
#
# *The figure. Left: peak memory over the number of chunks, both axes in powers of two. The line (blue, circles) falls
# like one over the number of chunks, from several times the dashed line, which is the size of all logits in float32,
# and bends where it comes near the dotted line, the size of the results: no chunk can save those. Right: seconds of a
# call. On a quiet machine they hardly change at first, and rise where chunks are so small that products of matrices no
# longer keep it busy.*
#
# Which number of chunks would you take here? What would you look at first on another machine?

# %% experiment="chunks"
import time

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
