# %% [markdown]
# # Lab 10: train in less memory
#
# A training step keeps weights, gradients, the optimizer's states and what backward needs of forward: 16 bytes a
# parameter, and for each token far more than that. You will build what makes less do, on one device: smaller batches,
# fewer bits, a loss that never holds its logits, forward run twice, an allocator that wastes little, adapters that
# train a thousandth. At the end, one model climbs down the ladder of all of them, predicted and measured.
#
# **Time:** eight hours; with the extensions two more. **Points:** 100; extensions are a bonus. **Before this:** lab 3
# (the model), lab 5 (gradients), lab 7 (bytes of a training step), as knowledge: none of your own code is needed.
#
# None of your functions may change the tensors, lists and dictionaries that it is given, unless its exercise says so;
# `check` looks for that too.

# %%
import contextlib
import copy
import functools
import itertools
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

from mlsys_course.accounting.ladder import Parts, rung_step
from mlsys_course.accounting.rungs import Rung, measured_step, rung_memory
from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate.data import letter_windows
from mlsys_course.substrate.device import best
from mlsys_course.substrate.memory_meter import MemoryMeter, MemoryTrace, peak_bytes
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.plot import COLOURS, figure
from mlsys_course.transformer.insides import blocks_of, change_linears, decoder_of

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
    What parameters have in .grad before stays and is added to. Each micro-batch has a backward pass of its own, but one
        without a token that counts has no part: none for it. Where there is no such token at all, no .grad is touched.
    Returns the mean loss over all tokens that count, without a graph, in the dtype that loss returns; without any, a
        float32 zero on the CPU.
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
# Backward is linear in the gradient that it starts from, so one multiplication moves all of them:
#
# $$ \nabla_w (S \cdot \mathcal{L}) = S \cdot \nabla_w \mathcal{L} $$
#
# Multiply the loss by $S$ before backward; divide the gradients by $S$ after it, in float32, before the optimizer sees
# them. With a power of two for $S$ only exponents change, and no precision is lost on the way.
#
# Which $S$? As large as possible, but when it is too large gradients overflow to infinity, or to NaN where infinities
# meet. Nobody knows the limit beforehand, and it moves as the model learns. So try: multiply $S$ by a `backoff_factor`
# and skip the step when something overflows, and by a `growth_factor` after so many good steps in a row.
#
# ### Exercise `DynamicLossScaler` (15 points)
#
# Points by part: scaling and unscaling 4, overflow 4, growth 4, resuming 3. PyTorch's `torch.amp.GradScaler`
# is not to be called here. It has the rule below, but refuses float16 gradients, and never lets its scale be infinite,
# where no case goes.


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
            the scale that `scale` used. Tensors may be without entries, and the list may be empty: a good step.
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
# Not everything can do with 16 bits: sums over many entries (the loss, softmax, norms' means and variances) lose small
# terms, and exponentials overflow. Those operators widen, compute and narrow again, whatever the weights are.
#
# ### Exercise `MixedPrecisionStep` (10 points)
#
# Points by part: the update 3, masters 3, overflow 2, clipping 2.


# %% exercise="MixedPrecisionStep"
class MixedPrecisionStep:
    """What stands between a backward pass in 16 bits and an optimizer in float32.

    Attribute masters: a list of float32 tensors of their own memory, in the order of the parameters; it is up to you
    whether they require gradients.
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
        are converted to float32, whatever they hold. Where the scaler returns None, parameters, masters and optimizer
        stay as they are, and False is returned. Else, and also where no parameter has a .grad and the list is empty:
        Clipping: if the Euclidean norm of all (unscaled) gradients together is more than max_norm, all are multiplied
            by max_norm / norm. No case has both max_norm and a gradient that is not finite.
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
# fewer bits; times the scale (orange, dashed) the same shape stands in the middle of float16's range. Middle: the scale
# over the steps falls in a few skipped steps (crosses), then climbs and falls like a saw around a level. Right: the
# loss in five formats. All lie on each other, even float16 without a scale, since AdamW divides by the size of what is
# left; all but bfloat16 without masters, whose optimizer adds to 16-bit weights: it falls behind.*
#
# Why does it stop so far from the right edge? What overflows first is not in the histogram: the gradients of weights,
# which are sums over all tokens.

# %% experiment="underflow"
from pydoc_data.topics import topics

torch.set_num_threads(1)  # tensors this small are done before a second thread has begun
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


def train_in(dtype, masters=True, scaler=None):
    """The model, its weights in float32, and of each step the loss, the scale, and whether it was taken."""
    torch.manual_seed(0)
    model, steps = network().to(dtype), []
    optimizer = functools.partial(torch.optim.AdamW, lr=4e-3)
    update = (
        MixedPrecisionStep(list(model.parameters()), optimizer, scaler) if masters else optimizer(model.parameters())
    )
    for _ in range(160):
        x, y = batch(192)
        loss = F.cross_entropy(model(x).float(), y)
        model.zero_grad()
        (scaler.scale(loss) if scaler else loss).backward()
        steps.append((loss.item(), scaler.loss_scale if scaler else 1.0, update.step()))
    return model, getattr(update, "masters", None), steps


scaler = DynamicLossScaler(initial_scale=2.0**24, growth_interval=15)
kinds = {"float16, scaled": (torch.float16, True, scaler), "float32": (torch.float32,),
         "bfloat16, masters": (torch.bfloat16,), "bfloat16, no masters": (torch.bfloat16, False),
         "float16, no scale": (torch.float16,)}  # fmt: skip
trained = {name: train_in(*kind) for name, kind in kinds.items()}
half, masters, steps = trained["float16, scaled"]
scales, skipped = [scale for _, scale, _ in steps], [n for n, (*_, taken) in enumerate(steps) if not taken]
master = network()
torch.nn.utils.vector_to_parameters(torch.cat([wide.detach().flatten() for wide in masters]), master.parameters())
x, y = batch(4096)
true, scale = flowing_back(master, x, y), scaler.loss_scale
alive = true != 0
sizes = true[alive].abs().log2()
for name, factor in (("as they are", 1.0), (f"times {scale:,.0f}", scale)):
    zero = (flowing_back(half, x, y, factor)[alive] == 0).float().mean()
    few = (sizes + torch.tensor(factor).log2() < -14).float().mean() - zero
    print(f"{name:15s} {zero:6.1%} become zero, {few:6.1%} have fewer bits")

fig, (left, middle, right) = figure(3, width=4.6, height=3.8)
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
middle.step(range(160), scales, where="post", marker="", color=COLOURS[0], label="loss scale")
middle.plot(skipped, [scales[i] for i in skipped], "x", color=COLOURS[3], markersize=8, label="skipped step")
middle.set_yscale("log", base=2)
middle.set(xlabel="step", ylabel="loss scale")
for name, (*_, steps) in trained.items():
    losses = torch.tensor([loss for loss, *_ in steps]).view(-1, 10).mean(1)
    right.plot(range(10, 161, 10), losses.tolist(), label=f"{name}: {losses[-4:].mean():.3f}", markersize=4)
right.set(xlabel="step", ylabel="loss", ylim=(None, 3.4))
for axes in (middle, right):
    axes.legend(fontsize=8)
fig

# %% [markdown]
# ### Question `why_dynamic` (6 points)
#
# Use the figure and the printed lines. What would this network's training lose without a scale? Why not choose the
# right scale once and keep it? And why do people who train in bfloat16 use no scaler, and what do they pay for that?

# %% [markdown] question="why_dynamic"
# ### BEGIN SOLUTION
# Without a scale 8% of the gradients at 4,096 tokens are below half of 2^-24 and become zero, and another 90% are
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
# with $h_i$ a row and $e_y$ one-hot. So forward and backward of a chunk are done together: its logits are made, give
# their share to the loss, to their own rows of `grad_hidden` and to `grad_weight`, and are let go.
#
# ### Exercise `chunked_cross_entropy` (15 points)
#
# Points by part: the loss 4, gradients 4, padding 2, memory 4, the device 1. You may use all of PyTorch, autograd too.
#
# The part about memory: on a text of 48 chunks, your function may hold at most $\frac{4}{3} N V$ bytes at any time, a
# third of all logits in float32. Its arguments do not count; its results do, and are small there. In the notebook
# `check` counts the bytes of the tensors that you make; in grading the operating system is asked.


# %% exercise="chunked_cross_entropy"
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    """The mean cross-entropy of softmax(hidden @ weight.T) at the targets, and its gradients.

    hidden: (N, C), weight: (V, C), both float32, both float64 or both bfloat16. targets: (N,), int64, in [0, V), or
        ignore_index, whatever whole number that is: such a token counts in no sum and no mean. N may be 0.
    chunk: of how many tokens logits may exist at one time, at most. It need not divide N, and may be larger.
    Returns (loss, grad_hidden, grad_weight). Until you have the gradients, return None in their places.
        loss: a tensor without dimensions, float32, or float64 where hidden is float64. The product
            hidden @ weight.T may be worked out in that dtype or in its arguments'; what comes after it, and sums over
            chunks, are in that dtype.
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
# ## 4. Forward twice
#
# Backward needs what forward made: a block keeps a dozen tensors like its input. **Activation checkpointing** keeps the
# input alone, lets the rest go, and when backward comes to the block runs its forward *again*. A chain of $n$ blocks in
# $k$ segments holds $k$ inputs and the insides of one segment, $n/k$ blocks: least for $k \approx \sqrt{n}$. The price
# is one more forward pass, a third of a step's FLOPs at most.
#
# Again must mean *the same*: the same random numbers, else dropout's mask differs between forward and backward and
# gradients are silently wrong; the same autocast; and afterwards the program's chance goes on as if nothing had been.
#
# ### Exercise `checkpoint` (12 points)
#
# Points by part: values 2, chance 3, arguments 3, autocast 1, memory 3. Without `torch.utils.checkpoint`. An
# `autograd.Function` is one way; its `forward` runs without a graph, and its `backward` may call
# `torch.autograd.backward`. Cases call `.backward()`. The part about memory: a chain of 10 segments of 16 operators, of
# which each keeps a tensor, may hold at most 0.45 of all 160; and calls of `function` are counted.


# %% exercise="checkpoint"
def checkpoint(function, *args, **kwargs):
    """function(*args, **kwargs), of which autograd keeps the arguments only, until backward and the end of its results.

    Returns what function returns: a tensor, or a tuple of tensors, some of which may be of whole numbers.
    function may use other tensors that require gradients, such as a module's parameters, and may draw random numbers
        from torch's default generators (the CPU's, and that of the arguments' device). It may call checkpoint itself.
    args, kwargs: anything. Tensors among them may require gradients or not, wherever they stand (but not inside lists);
        where none does, or there is none, floating results require a gradient all the same: function may use others.
    Under torch.no_grad() it is a plain call, and its result requires no gradient.
    Forward calls function once, backward once more, with the same arguments, random numbers and autocast (on or off,
        and its dtype). Gradients are added to .grad of everything that a plain call would give one. After backward the
        random state is what it was before backward.
    """

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

    given = [*args, *kwargs.values()]
    places = [n for n, x in enumerate(given) if isinstance(x, torch.Tensor)]

    def call(*tensors):
        filled = list(given)
        for n, x in zip(places, tensors, strict=True):
            filled[n] = x
        return function(*filled[: len(args)], **dict(zip(kwargs, filled[len(args) :], strict=True)))

    tensors = [given[n] for n in places]
    cards = sorted({x.get_device() for x in tensors if x.is_cuda})
    states, kind = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, cards)], "cuda" if cards else "cpu"
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
# Points by part: the least time 4, within the limit 4, edges 2. Up to 12 layers; trying all 3^12 choices is too slow.


# %% exercise="optimal_checkpoints"
def optimal_checkpoints(inputs, saved, seconds, limit):
    """The segments to checkpoint: a list of (start, stop), ascending and without overlap; two may touch.

    inputs, saved: lists of whole numbers, bytes of each layer as above, 0 < inputs[k] <= saved[k]; may be empty.
    seconds: a list of numbers above 0. A segment (start, stop) are layers start to stop - 1, at least one; all of them
        run again. Layers in no segment keep what they have.
    limit: the most bytes that the peak may have, a whole number, 0 or more.
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
# *The figure. Over the peak in MiB, the share of forward that runs again. Your schedules (blue) fall from 88% at the
# left to 0 at the right. Equal segments, 1 to 8 of them (orange, squares), all lie at 100%: they run all of it
# again, whether that is needed or not, and the last one for nothing. Crosses are measured peaks, on or near their
# circles.*

# %% experiment="frontier"
Decoder, T = take("transformer", "Decoder"), 128
blocks = blocks_of(decoder_of(Decoder, ModelConfig(64, T, 64, 8, 4, 4, 16, 192, fast=True)))
x, mask = torch.randn(8, T, 64).requires_grad_(), torch.ones(T, T, dtype=torch.bool).tril()


def peak_of(segments):
    """MiB at the peak of forward and backward through all blocks, those of a segment checkpointed together."""

    def step():
        y, starts, n = x, dict(segments), 0
        while n < len(blocks):
            chosen = blocks[n : starts.get(n, n + 1)]
            chain = functools.partial(functools.reduce, lambda y, block: block(y, mask), chosen)
            y = checkpoint(chain, y) if n in starts else chain(y)
            n = starts.get(n, n + 1)
        y.sum().backward()

    return peak_bytes(step) / 2**20


with MemoryMeter() as meter:
    y = blocks[0](x, mask)
    own = meter.now
begin = time.perf_counter()
blocks[1](y, mask)
seconds, schedules = time.perf_counter() - begin, {}
for limit in range(own, 8 * own + 1, own // 16):
    with contextlib.suppress(ValueError):
        segments = optimal_checkpoints([x.nbytes] * 8, [own] * 8, [seconds] * 8, limit)
        schedules.setdefault(tuple(segments), limit / 2**20)
peak_of([])  # gradients of weights are there from now on, and do not count
flowing = peak_of([]) - 8 * own / 2**20  # gradients on their way, which no schedule saves
again = [100 / 8 * sum(stop - start for start, stop in segments) for segments in schedules]
fig, (axes,) = figure(1, width=5.5)
axes.plot([flowing + limit for limit in schedules.values()], again, label="your schedule, predicted")
axes.plot([peak_of(segments) for segments in schedules], again, "x", color=COLOURS[3], markersize=9, label="measured")
even = [list(itertools.pairwise([n * 8 // k for n in range(k + 1)])) for k in (1, 2, 3, 4, 8)]
axes.plot(
    [peak_of(segments) for segments in even], [100] * 5, "s", color=COLOURS[1], label="1, 2, 3, 4, 8 equal segments"
)
axes.set(xlabel="peak, MiB", ylabel="% of forward run again", ylim=(-5, 110))
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
        self.reserved = self.in_use = 0
        ### END SOLUTION

    def allocate(self, size):
        """The address of a new block of size bytes, rounded up to a multiple of block_size.

        Of the free blocks of all segments that are large enough, the smallest is taken, of equal ones that with the
        lowest address. The new block is its beginning; the rest, if there is any, is a free block behind it.
        If none is large enough the device is asked for a segment, of segment_size bytes, or of the rounded size where
        that is more, and the block is taken from that. The first segment begins at address 0, each later one where the
        last one that the device gave ended, whatever has become of that.
        If the segments would have more than capacity bytes together, those in which no block is in use are first given
        back, all of them, and only then.
        Raises ValueError for a size below 1. Raises MemoryError where the device has too little even so: blocks in use
        stay as they are, the segments that were given back are gone, and no address is used up.
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
                self.reserved = sum(size for blocks in self.lists for _, size, _ in blocks)
            if self.reserved + wanted > self.capacity:
                raise MemoryError(f"{wanted} bytes of {self.capacity - self.reserved}")
            self.lists.append([[self.end, wanted, False]])
            self.end, self.reserved = self.end + wanted, self.reserved + wanted
            holes = [(wanted, self.lists[-1][0], self.lists[-1])]
        whole, block, blocks = min(holes)
        self.in_use, block[1:] = self.in_use + size, [size, True]
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
                    self.in_use, block[2] = self.in_use - block[1], False
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
        found = []
        for blocks in self.lists:
            used, free = ([size for _, size, used in blocks if used == which] for which in (True, False))
            found.append({"size": sum(used + free), "in_use": sum(used), "largest_hole": max(free, default=0)})
        return found
        ### END SOLUTION


# %% check="CachingAllocator"
check("CachingAllocator", CachingAllocator)

# %% [markdown]
# **Look at it: fragmentation.** `MemoryTrace` writes down every tensor that steps of lab 3's decoder make and free;
# your allocator replays it, for batches of one length and for lengths that grow from step to step.
#
# *The figure. Over the events of six steps, what is in use (blue) and what the device has given (orange, dashed), in
# MiB. Left, of one length, the orange line is flat after the second step, a quarter above the highest use. Right, of
# growing lengths, it climbs in every step, to nearly twice of that: tensors are a little too large for the holes that
# the last step left.*


# %% experiment="fragmentation"
def traced(lengths):
    model = decoder_of(Decoder, ModelConfig(256, 256, 64, 3, 4, 4, 16, 192, fast=True))
    optimizer = torch.optim.AdamW(model.parameters())
    with MemoryTrace() as trace:
        for length in lengths:
            tokens = torch.randint(256, (4, length + 1))
            F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
            optimizer.step()
            model.zero_grad()
    return list(trace.events)


fig, panels = figure(2, width=4.5)
for axes, (title, lengths) in zip(
    panels, {"one length": [160] * 6, "growing": range(60, 161, 20)}.items(), strict=True
):
    allocator, places, used, given = CachingAllocator(2**40, 2**18), {}, [], []
    for key, size in traced(lengths):
        if size:
            places[key] = allocator.allocate(size)
        else:
            allocator.free(places.pop(key))
        used.append(allocator.in_use / 2**20)
        given.append(allocator.reserved / 2**20)
    axes.plot(used, marker="", label="in use")
    axes.plot(given, marker="", linestyle="--", label="reserved")
    axes.set(title=title, xlabel="event", ylabel="MiB", ylim=(0, 30))
    axes.legend()
    print(f"{title:10s} at most {max(used):.1f} MiB in use, {max(given):.1f} reserved")
fig

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
            gradient afterwards. Raises TypeError for any other module; those of a class made from nn.Linear are none.
        a: (r, in_features), the first value of parameter a, which is a copy; of base's dtype, or float32 for 16 bits.
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
# **Look at it: from 1611 to today.** Lab 3's decoder learns the letters of the King James Bible; then it is to learn
# those of a modern translation: all of its numbers, or adapters of yours around every linear layer of its blocks.
#
# *The figure. The loss on modern text that was not trained on, over the numbers that are trained, logarithmic; the
# dashed line is the model before, 1.60. Training all of it (square) comes to 1.36. Adapters (circles) of rank 1, with
# 2% of the numbers, come half of that way, of rank 4, with 9%, three quarters, of rank 16 most of it.*


# %% experiment="adapters"
def loss_on(model, rows):
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def fit(model, rows, steps, rate):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    for places in torch.randint(len(rows), (steps, 32), generator=torch.Generator().manual_seed(3)):
        optimizer.zero_grad()
        loss_on(model, rows[places]).backward()
        optimizer.step()
    return sum(p.numel() for p in trained)


(old, alphabet), (modern, _) = letter_windows(33), letter_windows(33, modern=True)
new, held_out = modern[:-400], modern[-400:]
language = decoder_of(Decoder, ModelConfig(len(alphabet), 32, 64, 2, 4, 4, 16, 192, fast=True))
whole = fit(language, old, 400, 4e-3)
fig, (axes,) = figure(1, width=5.0)
axes.axhline(loss_on(language, held_out).item(), color=COLOURS[6], linestyle="--", marker="", label="before")
for n, (name, rank) in enumerate({"rank 1": 1, "rank 4": 4, "rank 16": 16, "all": 0}.items()):
    model = copy.deepcopy(language)
    if rank:
        model.requires_grad_(False)
        change_linears(model, lambda layer, r=rank: LoRALinear(layer, torch.randn(r, layer.in_features) / 8, 2.0 * r))
    trained = fit(model, new, 120, 3e-3 if rank else 1e-3)
    after = loss_on(model, held_out).item()
    axes.plot(trained, after, "o" if rank else "s", color=COLOURS[n], markersize=8, label=name)
    print(
        f"{name:8s} {trained:7,} of {whole:,} numbers, {8 * trained / 1e3:5.0f} kB of AdamW's states; loss {after:.3f}"
    )
axes.set(xscale="log", xlabel="numbers that are trained", ylabel="loss on held-out modern text")
axes.legend()
fig

# %% [markdown]
# ## 7. Down the ladder
#
# One model, one batch, and each technique joins those before it; `rung_step` puts your parts together. `rung_memory`
# predicts the peak as lab 7 does: the first rung and all activations by its counts, the rest by what your parts need.
#
# *The figure. MiB at the peak of a step, measured (blue) beside predicted (orange, hatched), a few percent apart: 145
# in float32; 104 with the loss in chunks; half of that with checkpoints. Masters take back what 16-bit weights give:
# now the update is the peak, so smaller batches change nothing either, until adapters leave nearly no states: 13.*


# %% experiment="ladder"
device, shape = best(), ModelConfig(4096, 128, 128, 6, 4, 4, 32, 384, fast=True)
inputs, targets = torch.randint(4096, (2, 8, 128), device=device).unbind()
parts = Parts(Decoder, accumulate, MixedPrecisionStep, chunked_cross_entropy, checkpoint, LoRALinear)
rungs = {"float32": Rung(), "loss in chunks": Rung(64), "checkpoints": Rung(64, True), "16 bits": Rung(64, True, True),
         "micro-batches": Rung(64, True, True, 4), "adapters": Rung(64, True, True, 4, rank=8)}  # fmt: skip
fig, (axes,) = figure(1, width=6.0)
for n, (name, rung) in enumerate(rungs.items()):
    step, lasting = rung_step(shape, rung, inputs, targets, parts)
    begin = time.perf_counter()
    step()
    seconds = time.perf_counter() - begin
    measured = measured_step(step, lasting, device.type) / 2**20
    predicted = rung_memory(shape, 8, 128, rung, device.type).total / 2**20
    axes.barh(n - 0.2, measured, 0.38, color=COLOURS[0], label="measured" if n == 0 else None)
    axes.barh(n + 0.2, predicted, 0.38, color=COLOURS[1], hatch="//", edgecolor="white", label="predicted" * (n == 0))
    print(f"{name:15s} predicted {predicted:6.1f}, measured {measured:6.1f} MiB; {seconds:.2f} s a step")
axes.set_yticks(range(len(rungs)), list(rungs))
axes.set(xlabel="MiB at the peak of a step", ylim=(5.5, -0.5))
axes.legend()
fig

# %% [markdown]
# ## 8. Fewer bits at rest (extensions)
#
# What is not computed with may lie in 4 or 8 bits: a frozen base (QLoRA), Adam's moments. One scale for a whole tensor
# would be spoiled by its largest entry, so each **block** of a few dozen entries has one of its own, and a table of
# levels between -1 and 1 says what the codes stand for: quantiles of a normal distribution for weights (NF4), levels
# that get finer towards 0 for moments, which span many powers of ten. `substrate.levels` has both tables.
#
# ### Extension `quantize_blocks` (6 bonus points): codes 3, scales 2, edges 1


# %% exercise="quantize_blocks"
def quantize_blocks(x, levels, block):
    """(codes, scales) of a tensor's entries, in the order of the flattened tensor.

    x: any shape and floating dtype; may be empty. levels: float32, ascending, at most 256. block: a whole number.
    scales: float32, for every block of entries in a row (the last has the rest) the largest magnitude among them.
    codes: uint8, one axis: for each entry over its block's scale, worked out in float32, the index of the nearest
        level, of two as near the lower one. In a block of zeros the entries count as 0.
    Raises ValueError where an entry is infinite or NaN.
    """
    ### BEGIN SOLUTION
    flat = x.float().flatten()
    if not flat.isfinite().all():
        raise ValueError("no level stands for infinity or NaN")
    parts = flat.split(block) if len(flat) else []
    scales = torch.tensor([part.abs().max() for part in parts])
    shares = [part / scale if scale else part for part, scale in zip(parts, scales, strict=True)]
    middles = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(torch.cat([flat[:0], *shares]), middles).to(torch.uint8), scales
    ### END SOLUTION


# %% check="quantize_blocks"
check("quantize_blocks", quantize_blocks)

# %% [markdown]
# ### Extension `blockwise_adamw` (5 bonus points): the first step 2, later steps 3


# %% exercise="blockwise_adamw"
def blockwise_adamw(parameter, gradient, state, step, lr, weight_decay, quantize, dequantize):
    """(parameter, state) after one step of AdamW, betas 0.9 and 0.999, epsilon 1e-8; new tensors.

    parameter, gradient: of one shape, float32 or bfloat16; the result has the parameter's dtype, inside is float32.
    state: (first, second), each as quantize returned it; None before the first step. step: 1 for the first one.
    quantize(x, signed) packs a float32 moment: signed=True for the first, False for the second, which is never
        negative. dequantize(packed) gives it back, nearly. This step uses the moments before they are packed.
    parameter becomes parameter (1 - lr weight_decay) - lr m / (sqrt(v) + epsilon), with m and v the moments over
        1 - 0.9^step and 1 - 0.999^step.
    """
    ### BEGIN SOLUTION
    g, p = gradient.float(), parameter.float()
    m, v = (torch.zeros_like(g), torch.zeros_like(g)) if state is None else map(dequantize, state)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    direction = m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    return (p - lr * weight_decay * p - lr * direction).to(parameter.dtype), (quantize(m, True), quantize(v, False))
    ### END SOLUTION


# %% check="blockwise_adamw"
check("blockwise_adamw", blockwise_adamw)

# %% [markdown]
# ## What you built
#
# Everything between a model and the memory it trains in: `mlsys_course.memory` has the references, whose tests drive
# them beside `torch.amp.GradScaler`, `torch.utils.checkpoint`, `peft` and `bitsandbytes`. `ChunkedCrossEntropy` there
# is a `torch.autograd.Function` around the loss, so that `loss.backward()` goes on from `grad_hidden` into the model.
#
# **What real systems do differently.** `GradScaler` never waits for the answer: the flag for overflow stays on the GPU.
# With sharded training (lab 11) ranks must agree on the flag, or their weights drift apart. Most large models train in
# bfloat16 without a scale; float8 brought scales back, one for each tensor. The fastest losses never write a chunk's
# logits to the GPU's main memory. PyTorch's allocator has a pool each for small and large blocks, and segments that can
# grow. Checkpointing is often selective: attention's insides run again, products of matrices do not.
#
# **Papers.** Micikevicius et al. 2018, "Mixed precision training" (figure 3 is the left half of our first figure);
# Kalamkar et al. 2019 (bfloat16); Micikevicius et al. 2022 (float8 formats); Hsu et al. 2024, "Liger Kernel" (a fused
# loss in chunks); Chen et al. 2016 (checkpointing); Herrmann et al. 2019 (its best schedule); Hu et al. 2021 (LoRA);
# Dettmers et al. 2022 (8-bit optimizers) and 2023 (QLoRA).
