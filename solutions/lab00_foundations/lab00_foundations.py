# %% [markdown]
# # Lab 0: foundations
#
# Everything that this course makes fast, splits over machines or fits into memory is built from a few small parts:
# words that become vectors, scores that become probabilities, matrix products, and a network that learns by the chain
# rule. You will write each of them by hand, train a network on real digits and on people's opinions of words, and put
# it behind a `pipeline()` that answers as the lecture's does.
#
# **Time:** six to seven hours; with the extensions one more. **Points:** 100; extensions are a bonus. **Before this:**
# Python, matrices, derivatives; a first look at PyTorch tensors. **You need no GPU**; where there is one it is used.
#
# ## How a lab works
# - Read from the top and run each cell with Shift+Enter. An **exercise** is a function with a docstring, which says
#   exactly what it does. Write its body in place of the line `raise NotImplementedError("Write this part, ...")`.
# - The cell below it, `check(...)`, runs your function on small cases and shows a table: which case, which shape and
#   dtype, how large the largest error is and where. If it knows your mistake, it shows a **hint**. Check as often as
#   you like. The docstring is the contract, and full public points are no guarantee: grading uses other numbers of
#   the same kinds and some further cases, all of which the docstring covers.
# - Cells marked *Look at it* are **experiments**: they run your functions on real data, which `pip install
#   "mlsys_course[data]"` brings. Nothing is graded in them.
# - `drivers.py` beside this notebook shows how a case calls your function. Add cells of your own wherever you like.
# - `mlsys check lab00` runs the whole notebook, `mlsys carry lab00` keeps your functions for later labs, and
#   `mlsys submit lab00` packs them.
#
# **Rules that hold throughout.** A function does not change what it is given. It computes on the device of its inputs:
# make new tensors with `device=x.device`. In the case `as on a card` tensors say that they are on a GPU and behave so,
# whether you have one or not. A loop is as acceptable as a one-liner.

# %%
import itertools
import math
import time
from collections import OrderedDict

import torch
from safetensors import safe_open

from mlsys_course.desk.check import check
from mlsys_course.substrate import data
from mlsys_course.substrate.device import best, seed
from mlsys_course.substrate.plot import COLOURS, figure

torch.set_num_threads(1)  # tensors of this lab are so small that a second thread would mostly wait
device = best()
print("The experiments run on", device)

# %% [markdown]
# ## 1. Words become vectors
# A program reads a text as whole numbers, an **id** for each word of a vocabulary. As numbers they would be misleading:
# word 7 is not seven times word 1. So each id stands for a vector with a single 1, its **one-hot** row:
#
# ```
#   vocabulary   0 a   1 dog   2 runs        "a dog"  ->  ids [0, 1]  ->   1 0 0
#                                                                          0 1 0
# ```
#
# ### Exercise `one_hot` (6 points): warm-up
# Three lines are enough. Try the check first with a wrong answer, to see what it says.
# Points by part: values 3, edges 2, device 1. Not allowed: `torch.nn.functional.one_hot`.


# %% exercise="one_hot"
def one_hot(ids, classes):
    """A row for each id with 1 at the id and 0 elsewhere.

    ids: an int64 tensor of any shape, () and empty ones too. classes: how long a row is, a whole number.
    Returns a float32 tensor of shape (*ids.shape, classes).
    Raises ValueError if any id is not one of 0, 1, ..., classes - 1.
    """
    ### BEGIN SOLUTION
    flat = ids.flatten().tolist()
    if any(i not in range(classes) for i in flat):
        raise ValueError(f"ids are 0 to {classes - 1}, not {flat}")
    rows = torch.zeros(len(flat), classes, device=ids.device)
    rows[range(len(flat)), flat] = 1.0
    return rows.reshape(*ids.shape, classes)
    ### END SOLUTION


# %% check="one_hot"
check("one_hot", one_hot)

# %% [markdown]
# A one-hot row is as long as the vocabulary, and any two are equally far apart. An **embedding** is a table $E$ with a
# shorter vector for each word, learned so that words that are used alike lie close. The lecture gets a word's vector
# as a product with its one-hot vector, written with columns; here each row is a word, so the one-hot matrix stands on
# the left, $\mathrm{onehot}(ids)\, E$:
#
# ```
#    0 1 0        0.5 2.7                        a sum over all rows of E, all of them times 0 but one
#           times  1.2 0.2   =   1.2 0.2          = row 1 of E
#                  0.9 0.1
# ```
#
# A product with a 1 and zeros is a **look-up**. Sentences of a batch are filled up to one length with a **padding** id,
# which stands for no word.
#
# ### Exercise `look_up` (8 points)
# Points by part: values 3, padding 2, edges 2, device 1. Not allowed: `torch.nn.functional.embedding`,
# `torch.embedding`.


# %% exercise="look_up"
def look_up(table, ids, padding=None):
    """The row of table for each id.

    table: (V, C), floating point of any dtype. ids: int64 of any shape, () and empty ones too.
    padding: None, or an id, which may be 0. Places with it get zeros, even if its row in the table has inf or NaN.
    Returns a tensor of shape (*ids.shape, C) with table's dtype.
    Every id must be in 0, ..., V - 1, and so must padding unless it is None; else ValueError is raised, for -1 too.
    """
    ### BEGIN SOLUTION
    rows = len(table)
    if padding is not None and padding not in range(rows):
        raise ValueError(f"padding={padding} is no row of a table with {rows} rows")
    if ids.numel() and (ids.min() < 0 or ids.max() >= rows):
        raise ValueError(f"ids from {ids.min()} to {ids.max()}, and {rows} rows")
    found = table[ids]
    if padding is not None:
        found = torch.where((ids == padding).unsqueeze(-1), torch.zeros_like(found), found)
    return found
    ### END SOLUTION


# %% check="look_up"
check("look_up", look_up)

# %% [markdown]
# **Look at it.** MiniLM, a small language model that this course brings along, has vectors of length 384 for 30,522
# words and pieces of words. Both ways find the same vectors; what they cost differs.

# %% experiment="embedding"
minilm = data.minilm()
with safe_open(minilm.weights, "pt") as file:
    table = file.get_tensor("embeddings.word_embeddings.weight").to(device)
text = "I've been waiting for a machine learning system course my whole life."
ids = torch.tensor([minilm.vocabulary[word] for word in data.words(text)], device=device)
print(data.words(text), "->", ids.tolist())


def timed(call):
    """What a call returns, and the fewest milliseconds it took of three."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        result = call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - begun))
    return result, min(times)


by_product, slow = timed(lambda: one_hot(ids, len(table)) @ table)
by_index, fast = timed(lambda: look_up(table, ids))
print(f"largest difference: {(by_product - by_index).abs().max():.1g}")
print(f"product: {2 * len(ids) * table.numel():,} operations, {slow:.2f} ms;  look-up: none, {fast:.2f} ms")

# %% [markdown]
# ## 2. Scores become probabilities
# A network answers with a score, a **logit**, for each class. The softmax makes them positive and adds them up to 1:
#
# $$ p_i = \frac{e^{x_i}}{\sum_j e^{x_j}} = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}} \quad\text{for every } m $$
#
# PyTorch's usual numbers are `torch.float32`: 7 decimal digits, up to $3 \cdot 10^{38}$; `torch.float64` has 16 digits.
# The two of 16 bits are `torch.float16`, 3 digits up to 65,504, and `torch.bfloat16`, 2 digits with the range of
# float32. "Computed in float32" means: convert, compute, and convert back at the end.
#
# The two forms are equal on paper. In float32 $e^{89}$ is infinite, and infinity over infinity is NaN, "not a number".
# Choose $m$ so that nothing can overflow.
#
# A score of $-\infty$ means "not allowed": $e^{-\infty} = 0$. Later labs hide words from each other in this way.
#
# ### Exercise `softmax` (12 points)
# Points by part: values 4, stability 4, edges 2, dtypes 2. Not allowed, here and in `log_softmax`: PyTorch's `softmax`,
# `softmin`, `log_softmax`, `logsumexp`, `logaddexp`, `cross_entropy`, `nll_loss`, by whatever name. `x.amax(dim,
# keepdim=True)` is a maximum along one axis.


# %% exercise="softmax"
def softmax(x, dim=-1):
    """exp(x) divided by its sum along axis dim.

    x: floating point, with one axis or more; entries finite, of any size, or -inf. dim may be negative.
    Returns a tensor of x's shape and dtype. 16-bit inputs are computed in float32, float64 inputs in float64.
    Where an entry is -inf the result is 0. Where all entries along dim are -inf, all results along it are 0.
    An x without entries, such as one of shape (4, 0), gives a result without entries, of the same shape.
    """
    ### BEGIN SOLUTION
    if x.numel() == 0:
        return torch.empty_like(x)
    s = x if x.dtype == torch.float64 else x.float()
    m = s.amax(dim, keepdim=True).clamp(min=torch.finfo(s.dtype).min)  # finite where all are -inf
    e = torch.exp(s - m)
    return (e / e.sum(dim, keepdim=True).clamp(min=1e-30)).to(x.dtype)  # the sum is 0, or at least 1
    ### END SOLUTION


# %% check="softmax"
check("softmax", softmax)

# %% [markdown]
# The loss below needs $\log p$. A probability of $e^{-200}$ is 0 in float32, and the logarithm of 0 is $-\infty$; but
# the logarithm itself is a harmless $-200$. So it is computed without the probability (find the stable form yourself,
# as for softmax):
#
# $$ \log p_i = x_i - \log \sum_j e^{x_j} $$
#
# ### Exercise `log_softmax` (8 points)
# Points by part: values 3, stability 3, edges 2. Allowed error in float32: $3 \cdot 10^{-4}\, (1 + |\text{result}|)$,
# so the order in which you subtract does not matter.


# %% exercise="log_softmax"
def log_softmax(x, dim=-1):
    """The logarithm (base e) of softmax(x, dim), finite also where softmax itself is too small for x's dtype.

    x, dim, shape and dtype as in softmax. 16-bit inputs are computed in float32, float64 inputs in float64.
    Where an entry is -inf the result is -inf; where all entries along dim are -inf, all results along it are -inf.
    An x without entries gives a result without entries, of the same shape.
    """
    ### BEGIN SOLUTION
    if x.numel() == 0:
        return torch.empty_like(x)
    s = x if x.dtype == torch.float64 else x.float()
    m = s.amax(dim, keepdim=True).clamp(min=torch.finfo(s.dtype).min)
    away = s - m
    return (away - away.exp().sum(dim, keepdim=True).clamp(min=1e-30).log()).to(x.dtype)
    ### END SOLUTION


# %% check="log_softmax"
check("log_softmax", log_softmax)

# %% [markdown]
# **Look at it.** Two classes with scores $s$ and 0. The second one's log-probability is close to $-s$. Three ways to
# compute it: the formula as it stands, the logarithm of your `softmax`, and your `log_softmax`.
#
# *The figure. Left, in float32: log p against s. All three lie on the line -s at first; the formula as it stands ends
# near s = 89, the logarithm of the softmax near 103, log_softmax goes on. Right: the largest s for which each way is
# right within 1%, for four dtypes, on a logarithmic axis up to 60,000. The bars of log_softmax reach the right edge.*

# %% experiment="stability"


def as_it_stands(x):
    return (x.exp() / x.exp().sum()).log()


ways = {"as it stands": as_it_stands, "log of softmax": lambda x: softmax(x).log(), "log_softmax": log_softmax}
dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def of_second_class(way, s, dtype):
    return float(way(torch.tensor([s, 0.0], dtype=dtype, device=device))[1])


def largest_right(way, dtype):
    """The largest of some scores up to which the result is right within 1%."""
    right = 0.0
    for s in [2.0**k for k in range(2, 12)] + [10.0 * k for k in range(1, 100)] + [60_000.0]:
        if abs(of_second_class(way, s, dtype) + s) <= 0.01 * s + 0.02:
            right = max(right, s)
    return right


fig, (left, right) = figure(2, width=5)
scores = [2.0 * k for k in range(1, 76)]
for n, (name, way) in enumerate(ways.items()):
    y = [of_second_class(way, s, torch.float32) for s in scores]
    left.plot(scores, y, label=name, marker="", linewidth=(9, 5, 1.5)[n])
    at = [k + 0.25 * (1 - n) for k in range(4)]
    right.barh(at, [largest_right(way, d) for d in dtypes.values()], 0.22, color=COLOURS[n], label=name)
left.set(xlabel="score s of the other class", ylabel="log p in float32")
right.set(xscale="log", xlabel="largest s that comes out right", yticks=range(4), yticklabels=dtypes, xlim=(1, 1e5))
left.legend()
fig

# %% [markdown]
# ## 3. A loss, and its gradient
# The **cross-entropy** of a row of logits $x$ with label $y$ is $-\log p_y$: 0 if the network is sure and right, large
# if it is sure and wrong. Over $N$ rows one takes the mean. Its gradient is the simplest formula of the course:
#
# $$ L = -\frac1N \sum_n \log p_{n, y_n}, \qquad
#    \frac{\partial L}{\partial x_{n,i}} = \frac{1}{N} \big(p_{n,i} - \mathrm{onehot}(y_n)_i\big) $$
#
# To see it, write $-\log p_y = -x_y + \log \sum_j e^{x_j}$ and differentiate by $x_i$.
#
# ### Exercise `cross_entropy` (14 points)
# Points by part: loss 5, gradient 5, edges 3, device 1. The function `log_softmax` is a parameter: checking and grading
# pass one that is right, so a mistake in yours costs nothing here. Not allowed: `torch.nn.functional.cross_entropy`,
# `nll_loss`, autograd.


# %% exercise="cross_entropy"
def cross_entropy(logits, labels, log_softmax):
    """(loss, gradient): the mean of -log p(label) over the rows, and its derivative by each logit.

    logits: (N, V), floating point. labels: int64, (N,). log_softmax(x, dim): as above; use it instead of your own.
    loss: a tensor without axes: float64 for float64 logits, float32 for all others. gradient: (N, V), logits' dtype.
    16-bit logits are converted to float32 before log_softmax.
    A logit of a class that is not the row's label may be -inf, the class is "ruled out": it has p = 0 and adds nothing
    to the loss; beware of 0 times -inf.
    Raises ValueError if N is 0, if there are not N labels, and if any label is not one of 0, ..., V - 1; so a label
    of -100 is refused.
    """
    ### BEGIN SOLUTION
    n, classes = logits.shape
    if n == 0 or len(labels) != n:
        raise ValueError(f"{n} rows and {len(labels)} labels; there must be as many, and at least one")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, and {classes} classes")
    log_p = log_softmax(logits if logits.dtype == torch.float64 else logits.float(), -1)
    rows = torch.arange(n, device=logits.device)
    gradient = log_p.exp()
    gradient[rows, labels] -= 1.0
    return -log_p[rows, labels].mean(), (gradient / n).to(logits.dtype)
    ### END SOLUTION


# %% check="cross_entropy"
check("cross_entropy", cross_entropy)

# %% [markdown]
# ## 4. A product in blocks
# Nearly all the time of a language model goes into matrix products. A product of two $n \times n$ matrices takes $n^3$
# multiplications and additions, on only $2 n^2$ numbers: each number is needed $n$ times. Whether it has to be fetched
# $n$ times from a large slow memory depends on the order of work. So matrices are cut into **blocks** (tiles), small
# enough for the fast memory. Multiply tiles as if they were numbers:
#
# $$ C_{ij} = \sum_p A_{ip} B_{pj} $$
#
# ```
#          block columns of a          columns of b
#          +-----+-----+--+            +----+----+-+           +----+----+-+
#    rows  | A00 | A01 |  |            | B00|    | |           | C00|    | |     C00 = A00 B00 + A01 B10 + A02 B20
#          +-----+-----+--+    times   +----+----+-+     =     +----+----+-+
#          |     |     |  |            | B10|    | |           |    |    | |     the last tiles may be smaller:
#          +-----+-----+--+            +----+----+-+           +----+----+-+     "ragged"
#                                      | B20|    | |
# ```
#
# The same idea spreads matrices over GPUs (lab 11) and makes attention fast (lab 12).
#
# ### Exercise `block_matmul` (14 points)
# Points by part: values 3, ragged 4, tiles 2, precision 2, edges 2, device 1. The product of two tiles is done by
# `multiply`, which the caller gives you, and which counts. Not allowed: `@`, `torch.matmul`, `mm`, `bmm`, `mv`, `dot`,
# `einsum`, `tensordot`, `inner`, `linear` and their relatives. Python's slices help: `x[8:12]` of 10 rows has 2.


# %% exercise="block_matmul"
def block_matmul(a, b, block, multiply):
    """The matrix product of a and b, as sums of products of tiles.

    a: (n, k), b: (k, m), of one floating-point dtype; n, k and m may be 0. block: (rows of a, columns of a, columns of
    b), the sizes of a tile; they need not divide n, k and m: the last tile along an axis is smaller.
    multiply(x, y): the product of two tiles, in float64 for float64 tiles and in float32 for all others. It is called
    once for each (i, p, j), with A_ip and B_pj as they are: never with more rows or columns than block says, not
    filled up with zeros, nor with empty tiles.
    Returns (n, m) in a's dtype. Tiles are added up in the dtype of multiply's results; only the finished sum is
    rounded to a's dtype. With k = 0 the product is zeros.
    Raises ValueError if a has not as many columns as b has rows, or a size in block is below 1.
    """
    ### BEGIN SOLUTION
    if a.shape[1] != b.shape[0] or min(block) < 1:
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)}, block {tuple(block)}")
    sums = torch.zeros(a.shape[0], b.shape[1], device=a.device, dtype=a.dtype)
    sums = sums if a.dtype == torch.float64 else sums.float()
    for x_rows, c_rows in zip(a.split(block[0]), sums.split(block[0]), strict=True):
        for x, y_rows in zip(x_rows.split(block[1], dim=1), b.split(block[1]), strict=True):
            for y, c in zip(y_rows.split(block[2], 1), c_rows.split(block[2], 1), strict=True):
                if x.numel() and y.numel():
                    c += multiply(x, y)  # c is a view of sums
    return sums.to(a.dtype)
    ### END SOLUTION


# %% check="block_matmul"
check("block_matmul", block_matmul)

# %% [markdown]
# **Look at it: what has to be fetched.** First a model that counts. The fast memory below holds 300 numbers;
# when it is full it drops the one that was not used for the longest time, and every number that is not in it is
# fetched. Two matrices of 48 x 48 are multiplied in blocks of size b, each product of tiles entry by entry.
#
# Then a measurement on this machine: the time for one multiplication and addition, with PyTorch's product inside your
# blocks. Small tiles mean many calls from Python, so the time of the same loops with nothing to multiply is drawn
# beside it: that part has nothing to do with memory.
#
# *The figure, all axes logarithmic. Left: numbers fetched against b. From b = 3 to b = 12 they follow 2n³/b (dashed),
# up to half as many above it, since numbers of the result are fetched too. For b = 1 and 2 fewer are fetched, because
# a whole row of a still fits in fast memory. At b = 16 a tile no longer fits beside the rest: four times as many.
# Right: nanoseconds for each multiply-add fall by more than ten thousand times from b = 1 to b = 512, where they come
# near the dotted line of the whole product; on a busy machine, within a few times of it. Up to about b = 16 most of the
# time is Python's calls (dashed).*

# %% experiment="blocks"


def fetched(n, b, capacity):
    """Numbers fetched by a product of two n x n matrices in blocks of b."""
    fast, count = OrderedDict(), 0
    starts = range(0, n, b)
    for i0, j0, p0 in itertools.product(starts, starts, starts):
        tile = [range(start, min(start + b, n)) for start in (i0, j0, p0)]
        for i, j, p in itertools.product(*tile):
            for number in (i * n + p, n * n + p * n + j, 2 * n * n + i * n + j):  # of a, of b, of the product
                if number in fast:
                    fast.move_to_end(number)
                    continue
                count += 1
                fast[number] = True
                if len(fast) > capacity:
                    fast.popitem(last=False)
    return count


def nanoseconds(n, b, multiply):
    """For each multiply-add of a product in blocks of b."""
    x, y = torch.rand(2, n, n, device=device)
    _, milliseconds = timed(lambda: block_matmul(x, y, (b, b, b), multiply))
    return 1e6 * milliseconds / n**3


n, sizes, capacity = 48, [1, 2, 3, 4, 6, 8, 12, 16, 24, 48], 300
fig, (left, right) = figure(2, width=5)
left.loglog(sizes, [fetched(n, b, capacity) for b in sizes], label="counted")
left.loglog(sizes, [2 * n**3 / b for b in sizes], "--", marker="", label="2n³ / b")
left.set(xlabel="block size b", ylabel=f"numbers fetched, n = {n}")
sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
ready = {b: torch.zeros(b, b, device=device) for b in sizes}
wide = [min(16 * b, 512) for b in sizes]
right.loglog(sizes, [nanoseconds(w, b, torch.matmul) for w, b in zip(wide, sizes, strict=True)], label="your blocks")
calls = [nanoseconds(w, b, lambda x, y: ready[len(x)]) for w, b in zip(wide, sizes, strict=True)]
right.loglog(sizes, calls, "--", label="the same loops, nothing multiplied")
x, y = torch.rand(2, 512, 512, device=device)
right.axhline(1e6 * timed(lambda: x @ y)[1] / 512**3, color="black", linestyle=":", label="the whole product at once")
right.set(xlabel="block size b", ylabel="ns for each multiply-add")
for axes in (left, right):
    axes.legend()
fig

# %% [markdown]
# PyTorch's own product is as fast as it is because it works in blocks itself: for the registers, for each cache. On a
# GPU the fast memory is called shared memory, and a programmer chooses the blocks.
#
# **A question on it** (3 points). Two matrices of {{ n }} x {{ n }} are multiplied in blocks of {{ b }} x {{ b }}. For
# each product of two tiles both tiles are fetched, and nothing is kept from one product of tiles to the next but the
# tile of the result. How many numbers of the two matrices are fetched?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="block_choice"
# Assign the letter of your answer, such as "a", to block_choice.
### BEGIN SOLUTION
block_choice = "{{ block_answer }}"
### END SOLUTION

# %% check="block_choice"
check("block_choice", block_choice)

# %% [markdown]
# ## 5. A network, forward
# The lecture's network has three layers. A layer takes the **activations** $a^{l-1}$ of the layer before, computes
# $z^l$, and applies a function that is not linear, here $\mathrm{relu}(z) = \max(z, 0)$; the last layer's $z$ are the
# logits, and stay as they are. The entries of a layer's $z$ are its **units**. $B$ examples are the rows of $x$, of
# every $z$ and of every $a$; $a^0$ is the input $x$, and $w^l_{ij}$ leads from unit $i$ to unit $j$:
#
# $$ z^l = a^{l-1} W^l + b^l, \qquad a^l = \mathrm{relu}(z^l) $$
#
# ```
#   x = a0 --W1,b1--> z1 --relu--> a1 --W2,b2--> z2 --relu--> a2 --W3,b3--> z3 --> loss
# ```
#
# The formulas count layers from 1, lists in code from 0: `weights[0]` is $W^1$, `z[0]` is $z^1$, but `a[0]` is $a^0$,
# which is x. Every z and a is kept: the way back needs them. This is why training takes more memory than answering.
#
# ### Exercise `forward` (8 points)
# Points by part: three layers 4, other depths 2, dtypes 2.


# %% exercise="forward"
def forward(x, weights, biases):
    """(z, a): two lists, with an entry for each layer.

    x: (B, inputs); B may be 0. weights: a list of matrices (inputs of the layer, outputs of the layer), one or more.
    biases: a list of as many vectors (outputs of the layer,).
    z[l] is the layer's input times its weight plus its bias, before relu. a[l] is the layer's input: a[0] is x, and
    a[l] is relu(z[l - 1]). The last z has no relu, and is not in a. All have x's dtype.
    """
    ### BEGIN SOLUTION
    z, a = [], []
    for w, b in zip(weights, biases, strict=True):
        a.append(torch.relu(z[-1]) if z else x)
        z.append(torch.addmm(b, a[-1], w))
    return z, a
    ### END SOLUTION


# %% check="forward"
check("forward", forward)

# %% [markdown]
# ## 6. And backward
# How does the loss change when one weight of the first layer does? The lecture follows every path from that weight to
# the loss (for a network with two units in each hidden layer and one output):
#
# $$ \frac{\partial L}{\partial w^1_{11}} = \frac{\partial L}{\partial z^3_1}
#    \left[ \frac{\partial z^3_1}{\partial a^2_1} \frac{\partial a^2_1}{\partial z^2_1}
#    \frac{\partial z^2_1}{\partial a^1_1} + \frac{\partial z^3_1}{\partial a^2_2} \frac{\partial a^2_2}{\partial z^2_2}
#    \frac{\partial z^2_2}{\partial a^1_1} \right]
#    \frac{\partial a^1_1}{\partial z^1_1} \frac{\partial z^1_1}{\partial w^1_{11}} $$
#
# Each factor is known: $\partial z^3_1 / \partial a^2_k = w^3_{k1}$, $\partial a / \partial z$ is the slope of relu, 1
# where $z > 0$ and 0 elsewhere, and $\partial z^1_1 / \partial w^1_{11} = x_1$. The number of paths grows with every
# layer, but they share the factors near the loss. Backpropagation computes what is shared once, layer by layer.
#
# **The three formulas to write.** Let $g^l = \partial L / \partial z^l$, a row for each example. That of the last layer
# is given as `grad`; the $1/N$ of the mean loss is already inside it, so nothing here divides by $N$. Then
#
# $$ \frac{\partial L}{\partial W^l} = (a^{l-1})^\top g^l, \qquad
#    \frac{\partial L}{\partial b^l} = \sum_{\text{examples}} g^l, \qquad
#    g^{l-1} = \big( g^l\, (W^l)^\top \big) \odot \mathrm{relu}'(z^{l-1}) $$
#
# where $\odot$ multiplies entry by entry. If you doubt where a transpose belongs, write the shapes under the letters.
#
# ### Exercise `backward` (16 points)
# Points by part: one layer 4, weights 6, biases 3, slope 3. Not allowed: autograd (`backward`, `requires_grad_`,
# `torch.autograd`, `torch.func`). Comparing with it in a cell of your own is a good idea.


# %% exercise="backward"
def backward(weights, z, a, grad):
    """(grad_weights, grad_biases): two lists, first layer first, of the shapes of weights and biases.

    weights: as in forward. z, a: what forward returned. grad: dL/dz of the last layer, (B, outputs); B may be 0.
    A layer's gradients are sums over the examples. The slope of relu at exactly 0 is taken as 0.
    Any number of layers, one or more. All results have grad's dtype.
    """
    ### BEGIN SOLUTION
    layers = len(weights)
    g = [grad] * layers
    for layer in range(layers - 1, 0, -1):
        g[layer - 1] = torch.where(z[layer - 1] > 0, g[layer] @ weights[layer].T, 0.0)
    return [x.T @ y for x, y in zip(a, g, strict=True)], [y.sum(dim=0) for y in g]
    ### END SOLUTION


# %% check="backward"
check("backward", backward)

# %% [markdown]
# **Look at it: the paths.** The lecture's network with numbers. Each line is one path from $w^1_{11}$ to the loss, with
# its factors in the order of the formula. Their sum is one entry of what your `backward` computes without any path.

# %% experiment="paths"
w1 = torch.tensor([[0.5, -0.4], [0.3, 0.8]], dtype=torch.float64)
w2 = torch.tensor([[0.7, 0.2], [-0.5, 0.9]], dtype=torch.float64)
w3 = torch.tensor([[1.5], [-0.6]], dtype=torch.float64)
none = [torch.zeros(n, dtype=torch.float64) for n in (2, 2, 1)]
x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
z, a = forward(x, [w1, w2, w3], none)
grad = z[2] - 1.0  # of L = (z - 1)² / 2
total = 0.0
for k in (0, 1):
    slopes = [float(value > 0) for value in (z[1][0, k], z[0][0, 0])]
    factors = [float(grad), float(w3[k, 0]), slopes[0], float(w2[0, k]), slopes[1], float(x[0, 0])]
    total += math.prod(factors)
    print(f"through unit {k + 1}: " + " * ".join(f"{f:.4g}" for f in factors) + f" = {math.prod(factors):.6f}")
print(f"sum {total:.6f}, backward {float(backward([w1, w2, w3], z, a, grad)[0][0][0, 0]):.6f}")

# %% [markdown]
# ### Training
# Now take many examples, and step downhill again and again: each weight moves against its gradient by a **learning
# rate** times the gradient of a small random **batch**. The cell below is given; it is all that training is.


# %%
def new_network(widths):
    """Random weights of a size that keeps relu's outputs about as large as its inputs (He et al. 2015), biases 0."""
    weights = [torch.randn(n, m, device=device) * (2 / n) ** 0.5 for n, m in itertools.pairwise(widths)]
    return weights, [torch.zeros(m, device=device) for m in widths[1:]]


def descend(weights, biases, inputs, labels, rate, batch=32):
    """One pass over the examples in random order; the new weights and biases, and the loss of each step."""
    losses = []
    for chosen in torch.randperm(len(inputs)).to(device).split(batch):
        z, a = forward(inputs[chosen], weights, biases)
        loss, grad = cross_entropy(z[-1], labels[chosen], log_softmax)
        grad_weights, grad_biases = backward(weights, z, a, grad)
        weights = [w - rate * g for w, g in zip(weights, grad_weights, strict=True)]
        biases = [b - rate * g for b, g in zip(biases, grad_biases, strict=True)]
        losses.append(float(loss))
    return weights, biases, losses


def accuracy(weights, biases, inputs, labels):
    """The share of examples whose largest logit is that of the label."""
    z, _ = forward(inputs, weights, biases)
    return float((z[-1].argmax(dim=-1) == labels).float().mean())


# %% [markdown]
# **Look at it: handwritten digits.** 1,797 images of 8 x 8 pixels, of which 360 are kept apart for testing. The network
# has 64 inputs, layers of 32 and 16, and 10 outputs: 2,778 numbers, all of them found by your functions.
#
# *The figure. Left: the loss of each step, logarithmic, falls from above 2 (guessing gives log 10 = 2.3) to around
# 0.1, single batches from 0.01 to 0.3. Right: accuracy after each pass over the images; on those that it learns from it
# comes to about 98%, on those kept apart it ends near 96%.*

# %% experiment="digits"
seed(0)
images, digit = (tensor.to(device) for tensor in data.digits())
order = torch.randperm(len(images)).to(device)
test, train = order[:360], order[360:]
weights, biases = new_network([64, 32, 16, 10])
losses, on_train, on_test = [], [], []
for _ in range(20):
    weights, biases, more = descend(weights, biases, images[train], digit[train], rate=0.1)
    losses += more
    on_train.append(accuracy(weights, biases, images[train], digit[train]))
    on_test.append(accuracy(weights, biases, images[test], digit[test]))
print(f"loss {losses[0]:.2f} -> {losses[-1]:.3f}; accuracy on the images kept apart {on_test[-1]:.1%}")
fig, (left, right) = figure(2)
left.semilogy(losses, marker="", linewidth=0.8)
left.set(xlabel="step", ylabel="loss of the batch")
passes = range(1, 21)
right.plot(passes, on_train, label="trained on", markersize=4)
right.plot(passes, on_test, label="kept apart", markersize=4)
right.set(xlabel="pass over the images", ylabel="accuracy", ylim=(None, 1.01), xticks=range(0, 21, 5))
right.legend()
fig

# %% [markdown]
# *The figure. Left: what each of the 32 units of the first layer looks for, its 64 weights as an image; bright pixels
# speak for it, dark ones against it. Some have bright and dark patches side by side, the edge of a stroke; others still
# look like the random numbers that they began with. None looks like a digit. Right: images kept apart that the network
# gets wrong, its answer and the label above each; some are hard for people too.*

# %% experiment="seen"
z, _ = forward(images[test], weights, biases)
answers = z[-1].argmax(dim=-1)
wrong = (answers != digit[test]).nonzero().flatten()[:10].tolist()
units = torch.nn.functional.pad(weights[0].T.reshape(32, 8, 8), (1, 1, 1, 1), value=float("nan")).cpu()
fig, (left, right) = figure(2, width=5.2)
left.imshow(units.reshape(4, 8, 10, 10).transpose(1, 2).reshape(40, 80), cmap="cividis")
left.set_title("weights of the first layer")
for place, n in enumerate(wrong):
    x, y = 10 * (place % 5), -12 * (place // 5)
    right.imshow(images[test][n].reshape(8, 8).cpu(), cmap="gray_r", extent=(x, x + 8, y - 8, y))
    right.text(x, y + 0.6, f"{answers[n]}, is {digit[test][n]}", fontsize=9)
right.set(title="wrong answers", xlim=(-1, 50), ylim=(-22, 4))
for axes in (left, right):
    axes.axis("off")
fig

# %% [markdown]
# ## 7. A pipeline around it
# A person has a text and wants an answer; a network takes numbers and gives numbers. The lecture's first example is
# Hugging Face's `pipeline()`, which connects a model with what comes before and after it:
#
# ```
#   classifier = pipeline("sentiment-analysis")
#   classifier("I've been waiting for a machine learning system course my whole life.")
#   [{'label': 'POSITIVE', 'score': 0.9598047137260437}]
#
#   "I've been ..." --preprocess--> ids [1045, 1005, ...] --forward--> logits [-2.1, 2.6] --postprocess--> {label, ...}
# ```
#
# ### Exercise `pipeline` (6 points)
# In Python a function can define another inside and return it; the inner one still knows the outer one's arguments.
# Calling `pipeline(...)` only builds such a function; no stage runs yet. Points by part: stages 3, several 3.


# %% exercise="pipeline"
def pipeline(preprocess, forward, postprocess):
    """A function that answers: it takes inputs through the three stages.

    preprocess, forward, postprocess: functions of one argument; each gets what the one before returned. None of them
    is called before the returned function is.
    The returned function takes one argument. If that is a list, it is several inputs: each goes through the stages on
    its own. Anything else (a text, a tensor) is one input. It returns a list with one answer for each input, in their
    order: for one input a list of one, for an empty list an empty list. It may be called any number of times,
    and so may pipeline, with other stages.
    """

    ### BEGIN SOLUTION
    def answer(inputs):
        if not isinstance(inputs, list):
            inputs = [inputs]
        numbers = map(preprocess, inputs)
        return list(map(postprocess, map(forward, numbers)))

    return answer
    ### END SOLUTION


# %% check="pipeline"
check("pipeline", pipeline)

# %% [markdown]
# **Look at it: sentiment analysis.** The supplied model is MiniLM's table of word vectors. VADER's authors asked ten
# people to rate each of some 7,500 words and signs from -4 to 4; MiniLM knows 2,237 of them as whole words. Your
# network learns from a word's vector whether people rated it above 0. A *sentence* is the mean of its words' vectors.
# So the network never sees a sentence while it learns, nor the lecture's.
#
# *The figure. Left: each point is one of 400 words kept apart; its score against the mean of people's ratings. Words
# that people rate below -1 lie near 0, words above 1 near 1, with a few on the wrong side. Right: the score of each
# word of the lecture's sentence on its own; nearly all lie above one half, among them words without any opinion.*

# %% experiment="sentiment"
seed(0)
rated = {r.word: r.mean for r in data.ratings() if r.word.isalpha() and r.word in minilm.vocabulary}
vectors = 8 * table / table.norm(dim=1, keepdim=True)  # all of one length: a size at which the network learns at once
rated_ids = torch.tensor([minilm.vocabulary[word] for word in rated], device=device)
opinions = torch.tensor(list(rated.values()), device=device)
inputs, positive = look_up(vectors, rated_ids), (opinions > 0).long()
order = torch.randperm(len(rated)).to(device)
apart, learned = order[:400], order[400:]
mood, mood_biases = new_network([384, 32, 16, 2])
for _ in range(12):
    mood, mood_biases, _ = descend(mood, mood_biases, inputs[learned], positive[learned], rate=0.1)


def to_ids(text):
    """The ids of a text's words; words that the vocabulary lacks are left out."""
    known = [minilm.vocabulary[word] for word in data.words(text) if word in minilm.vocabulary]
    return torch.tensor(known, device=device)


def to_logits(ids):
    return forward(look_up(vectors, ids).mean(dim=0, keepdim=True), mood, mood_biases)[0][-1][0]


def to_answer(logits, labels=("NEGATIVE", "POSITIVE")):
    p = softmax(logits)
    return {"label": labels[int(p.argmax())], "score": float(p.max())}


classifier = pipeline(to_ids, to_logits, to_answer)
print(classifier(text))
others = ["What a wonderful day!", "I hate waiting.", "The lecture was good.", "The lecture was not good."]
for sentence, answer in zip(others, classifier(others), strict=True):
    print(f"{answer['label']} {answer['score']:.3f} {sentence}")
score = softmax(forward(inputs[apart], mood, mood_biases)[0][-1])[:, 1]
right_share = ((score > 0.5) == (opinions[apart] > 0)).float().mean()
fig, (left, right) = figure(2, width=5)
left.scatter(opinions[apart].cpu(), score.cpu(), s=8)
left.set(xlabel="people's mean rating of a word", ylabel="score for POSITIVE", title=f"{right_share:.0%} right")
pieces = data.words(text)
right.barh(range(len(pieces)), [float(softmax(to_logits(to_ids(word)))[1]) for word in pieces])
right.axvline(0.5, color="black", linestyle=":")
right.set(yticks=range(len(pieces)), yticklabels=pieces, xlabel="score for POSITIVE", xlim=(0, 1))
right.invert_yaxis()
fig

# %% [markdown]
# The lecture's sentence comes out POSITIVE, as it does there, with a score above 0.95. Be careful with the reason: no
# word of it is an opinion. The network learned from words with an opinion only, and puts everyday words on the positive
# side, since the network can only answer positive or negative. And "not good" is a mean of "not" and "good": word order
# and grammar are lost in it. What can read them is built from lab 1 on.
#
# **Look at it: two more tasks of the lecture's list.** The same three stages with other parts: *image classification*
# with the network of digits, and *feature extraction*, which answers with a vector; words whose vectors point in the
# same direction are used alike.

# %% experiment="tasks"
read_digit = pipeline(
    lambda image: image.reshape(1, 64),
    lambda row: forward(row, weights, biases)[0][-1][0],
    lambda logits: to_answer(logits, labels=[str(d) for d in range(10)]),
)
for image, label in zip(images[test][:4], digit[test][:4], strict=True):
    print(f"image classification of a {label}:", read_digit(image))

features = pipeline(to_ids, lambda ids: look_up(vectors, ids).mean(dim=0), lambda vector: vector.tolist())
names = [word for word in minilm.vocabulary if word.isalpha() and len(word) > 3]
directions = vectors[[minilm.vocabulary[word] for word in names]]
for word in ("computer", "excellent", "monday"):
    likeness = directions @ torch.tensor(features(word)[0], device=device)
    print("feature extraction:", word, "->", [names[i] for i in likeness.topk(5).indices.tolist()[1:]])

# %% [markdown]
# ## 8. Why one machine is not enough
# The rest of the course is about models that do not fit: the lecture's tables say why. Every row of
# `data.MODELS` and `data.CARDS` has its source. Two slips are easy in comparing such figures. One is to take a
# box for a card. The 72 PFLOPS of a "B300" are a box of eight cards, in 8-bit numbers, with *zeros skipped*: two of
# every four weights must be 0 (structured sparsity), which few models have. That leaves 4.5 for one card, and 2.25 in
# 16 bits. The other is to take an achieved rate for a peak, which hardware reaches only on paper: the lecture's 160
# TFLOPS of an A100 were achieved, its peak is 312. Here are peaks of single cards up to the B200, in 16-bit numbers, no
# zeros skipped; NVLink counts both directions, as makers do.
#
# *The figure, logarithmic. Left: gigabytes that the weights of each model take in 16 bits, by year, from below 1 up to
# 2018 to over 1,000 for the largest, of 2021, 2022 and 2024; and the memory of one GPU, from 16 in 2016 to 180 in 2025.
# In 2020 GPT-3 passes it.
# Right: growth since the P100 of 2016: FP16 by 106 times, NVLink and memory by 11 each.*

# %% experiment="growth"
main = [card for card in data.CARDS if card.name not in ("A800", "H800")]  # those for export have NVLink of 400
fig, (left, right) = figure(2, width=5.2)
sizes = [2 * m.parameters / 1e9 for m in data.MODELS]
left.semilogy([m.year for m in data.MODELS], sizes, linestyle="none", label="weights, 2 bytes each")
left.semilogy([c.year for c in main], [c.memory for c in main], label="memory of one GPU")
for m in data.MODELS[1::3]:
    left.annotate(m.name, (m.year, 2 * m.parameters / 1e9), xytext=(4, 4), textcoords="offset points", fontsize=8)
left.set(ylabel="GB", xlabel="year", xlim=(2015.5, 2026))
first = main[0]
for n, (name, of) in enumerate({"FP16": "tflops", "NVLink": "nvlink", "memory": "memory"}.items()):
    growth = [getattr(c, of) / getattr(first, of) for c in main]
    right.semilogy([c.year for c in main], growth, label=f"{name}, now {growth[-1]:.0f} times", color=COLOURS[n])
right.set(ylabel=f"times the {first.name} of {first.year}", xlabel="year")
left.legend(fontsize=8)
right.legend(fontsize=8)
gradients = 2 * 175  # GB of GPT-3's gradients in 16 bits
for c in main:
    sent = f"{gradients} GB sent in {gradients / (c.nvlink / 2):.2f} s"
    print(f"{c.name} ({c.year}): {c.tflops:,.0f} TFLOPS, {c.memory} GB; {sent}")
fig

# %% [markdown]
# **A question on it** (5 points, graded by a person). The lecture calls this "imbalanced technology upgrading". Quote
# how compute, memory and NVLink of one card grew between two years of your choice. What follows for training on many
# cards, where each step computes gradients and then sends them? Name a mistake that is easy in comparing such figures.

# %% [markdown] question="why_distributed"
# ### BEGIN SOLUTION
# From the A100 (2020) to the B200 (2025) 16-bit compute grew by 2250/312 = 7.2 times, NVLink by 3 times, memory by
# 180/80 = 2.25 times. A step on the same number of cards computes in a seventh of the time but sends its gradients in a
# third, so the share of time that goes into sending more than doubles: communication becomes the bottleneck. Memory
# grows least, so models need more cards for their size alone, which means more to send. Easy mistakes: comparing a box
# of eight with a card, 8-bit with 16-bit rates, rates with zeros skipped with dense ones, an achieved rate with a peak,
# or bandwidth of both directions with that of one.
# ### END SOLUTION

# %% [markdown]
# ## Extensions
# ### Extension `softmax_gradient` (6 bonus points)
# Raise one score, and *every* probability of the row moves: the matrix of all $\partial y_i / \partial x_j$ (the
# Jacobian) is $\mathrm{diag}(y) - y y^\top$. A product with it needs no matrix. With $\bar y = \partial L/\partial y$,
#
# $$ \frac{\partial L}{\partial x_i} = y_i \Big( \bar y_i - \sum_j y_j\, \bar y_j \Big) $$
#
# Points by part: values 4, axes 2. Not allowed: autograd.


# %% exercise="softmax_gradient"
def softmax_gradient(y, grad, dim=-1):
    """dL/dx, where y = softmax(x, dim) and grad = dL/dy.

    y, grad: of one shape and one dtype, which are the result's.
    16-bit inputs are computed in float32, float64 inputs in float64.
    """
    ### BEGIN SOLUTION
    s = y if y.dtype == torch.float64 else y.float()
    weighted = s * grad  # in the wider dtype of the two, which is that of s
    return (weighted - s * weighted.sum(dim=dim, keepdim=True)).to(y.dtype)
    ### END SOLUTION


# %% check="softmax_gradient"
check("softmax_gradient", softmax_gradient)

# %% [markdown]
# ### Extension `smooth_cross_entropy` (6 bonus points)
# A label is not always certain, and a network that is driven to be sure grows its logits without end. **Label
# smoothing** (Szegedy et al. 2016) takes a little from the label and spreads it over all $V$ classes, the label too:
#
# $$ t = (1 - s)\, \mathrm{onehot}(y) + \frac{s}{V}, \qquad L = -\frac1N \sum_n \sum_i t_{n,i} \log p_{n,i} $$
#
# What is the gradient now? Points by part: loss 3, gradient 2, device 1. Not allowed: as in `cross_entropy`.


# %% exercise="smooth_cross_entropy"
def smooth_cross_entropy(logits, labels, smoothing, log_softmax):
    """(loss, gradient) as cross_entropy returns them, with smoothing s, a number from 0 to 1.

    Shapes and dtypes as in cross_entropy. All logits are finite and all labels are classes: no checks needed.
    """
    ### BEGIN SOLUTION
    n, classes = logits.shape
    log_p = log_softmax(logits if logits.dtype == torch.float64 else logits.float(), -1)
    at_label = log_p.gather(1, labels[:, None]).sum()
    loss = -((1 - smoothing) * at_label + smoothing / classes * log_p.sum()) / n
    gradient = log_p.exp() - smoothing / classes
    gradient[torch.arange(n), labels] += smoothing - 1
    return loss, gradient.div(n).to(logits.dtype)
    ### END SOLUTION


# %% check="smooth_cross_entropy"
check("smooth_cross_entropy", smooth_cross_entropy)

# %% [markdown]
# ### Extension `momentum_step` (6 bonus points)
# Steps of single batches zigzag. A **velocity** for each parameter averages the zigzag out: $v \leftarrow \mu v +
# \nabla L$, then $w \leftarrow w - \eta v$, with momentum $\mu$ and learning rate $\eta$ (PyTorch's form; Polyak 1964).
# Points by part: step 4, limits 2. Try it in `descend` afterwards.


# %% exercise="momentum_step"
def momentum_step(parameters, gradients, velocities, lr, momentum):
    """(parameters, velocities) after one step: two lists of new tensors.

    Three lists of tensors, of the same shapes and dtype, () too; lr and momentum are numbers, and may be 0.
    """
    ### BEGIN SOLUTION
    faster = [g + v * momentum for g, v in zip(gradients, velocities, strict=True)]
    return [w - v * lr for w, v in zip(parameters, faster, strict=True)], faster
    ### END SOLUTION


# %% check="momentum_step"
check("momentum_step", momentum_step)

# %% [markdown]
# ## What you built
# Look-ups, a stable softmax and its logarithm, a loss with its gradient, products in blocks, a network that learns
# without autograd, and a pipeline around it. `mlsys_course.foundations` is the reference: compare it with yours now;
# `sentiment_classifier()` there is section 7 in one call. Its tests compare every function with PyTorch's.
#
# **What real systems do differently.** PyTorch computes log-softmax and loss in one go, and later labs go further:
# the logits of a whole vocabulary need never exist at once (lab 10), nor the scores of attention (lab 12). Products run
# in several levels of blocks. Nobody writes `backward` for a whole network by hand: lab 5 builds the engine that does
# it from any formula. Real tokenizers cut rare words into pieces (lab 4), and real sentiment models read a whole
# sentence with attention (labs 2 and 3).
#
# **Papers.** Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors"; Hong and Kung
# 1981, "I/O complexity: the red-blue pebble game"; He et al. 2015, "Delving deep into rectifiers"; Hutto and Gilbert
# 2014, "VADER"; Wolf et al. 2020, "Transformers: state-of-the-art natural language processing".
