# %% [markdown]
# # Lab 12: kernels
#
# A processor multiplies faster than its memory delivers, so how fast an operator is depends on what it moves. You will
# write operators for a machine that counts that: products in tiles, convolutions, and attention whose scores are never
# written anywhere; and numbers of sixteen, eight and four bits, by hand. No clock decides: the counts are the same on
# every computer.
#
# **Time:** eight hours; with the extensions one more. **Points:** 100; extensions are a bonus. **Before this:** lab 2
# (attention), lab 7 (the roofline), lab 8 (`quantize`).
#
# None of your functions may change the tensors that it is given; `check` looks for that too.

# %%
import itertools
import math
import time

import torch

from mlsys_course.accounting.processors import CACHE_64_BITS, DRAM_64_BITS, ENERGY, PROCESSORS
from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate.fast_memory import FastMemory, differentiable
from mlsys_course.substrate.formats import bfloat16, e4m3, e5m2, float16
from mlsys_course.substrate.memory_meter import peak_bytes
from mlsys_course.substrate.plot import COLOURS, MARKERS, figure

# %% [markdown]
# ## 1. Two ceilings
#
# An operator does so many operations (ops) on so many bytes; the notes call the ratio its **arithmetic intensity**,
# $AI = \#ops / \#bytes$. A processor has a peak rate $\pi$ and a bandwidth $\beta$, so it does at most
#
# $$ \min(\pi,\ \beta \cdot AI) \quad \text{operations a second:} $$
#
# the **roofline** (lab 7). Left of the ridge $\pi / \beta$ memory is what limits, and nothing helps but moving less.
#
# *The figure. Operations a second over intensity, both logarithmic, of this computer. The roof is measured: a slope,
# from copying 64 MiB, then a flat top, from a large product of matrices. Points are operators of a transformer's layer,
# at 2,048 tokens: products lie far to the right and near the top; a norm, a residual sum, SiLU and softmax lie left,
# near the slope or under it; a product with one token's vector, as in decoding, is as far left as they are. What still
# lies in a cache may be above the slope.*


# %% experiment="roofline"
def seconds(function, least=0.03):
    """The best of several calls."""
    function()
    best, begin = math.inf, time.perf_counter()
    while time.perf_counter() - begin < least:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


roofline = take("accounting", "roofline")
T, C, H = 2048, 1024, 2
x, w, token, gain = torch.randn(T, C), torch.randn(C, 3 * C), torch.randn(1, C), torch.randn(C)
heads, scores, wide = torch.randn(H, T, C // H), torch.randn(H, T, T), torch.randn(T, 4 * C)
big, block = torch.randn(1024, 1024), torch.randn(1 << 24)
out = {shape: torch.empty(shape) for shape in ((T, 3 * C), (1, 3 * C), (H, T, T), (T, C), (T, 4 * C), (1 << 24,))}
peak = 2 * 1024**3 / seconds(lambda: big @ big, 0.3)
bandwidth = 8 * len(block) / seconds(lambda: out[1 << 24,].copy_(block), 0.3)
points = {  # operations, bytes, call
    "Q, K, V": (2 * T * C * 3 * C, 4 * (T * C + 3 * C * C + 3 * T * C), lambda: torch.mm(x, w, out=out[T, 3 * C])),
    "one token": (2 * C * 3 * C, 4 * (C + 3 * C * C + 3 * C), lambda: torch.mm(token, w, out=out[1, 3 * C])),
    "scores": (2 * T * T * C, 4 * (2 * T * C + H * T * T), lambda: torch.bmm(heads, heads.mT, out=out[H, T, T])),
    "softmax": (5 * H * T * T, 8 * H * T * T, lambda: torch.softmax(scores, -1, out=out[H, T, T])),
    "RMSNorm": (4 * T * C, 8 * T * C, lambda: torch.nn.functional.rms_norm(x, (C,), gain)),
    "residual": (T * C, 12 * T * C, lambda: torch.add(x, x, out=out[T, C])),
    "SiLU": (5 * 4 * T * C, 8 * 4 * T * C, lambda: torch.nn.functional.silu(wide)),
}
least = roofline(1, C, 3 * C, 4, peak, bandwidth)["attainable"]
fig, (axes,) = figure(1, width=6.0, height=4.0)
roof = torch.logspace(-1.5, 3, 50)
axes.plot(roof, (roof * bandwidth).clamp(max=peak) / 1e9, color=COLOURS[6], marker="")
for n, (name, (flops, moved, call)) in enumerate(points.items()):
    axes.plot(flops / moved, flops / seconds(call) / 1e9, MARKERS[n], color=COLOURS[n], label=name)
axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="billions of operations a second")
axes.legend(fontsize=8)
print(f"peak {peak / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s; the ridge is at {peak / bandwidth:.0f} FLOPs a byte")
print(f"lab 7's roofline allows a product with one token's vector {least / 1e9:.1f} GFLOP/s")
fig

# %% [markdown]
# **The same for the notes' processors.** Fewer bits are multiplied faster, and move faster: halve both, and an operator
# is twice as fast on either side of the ridge. Where only the rate doubles, the ridge moves right, and fewer operators
# reach the top.
#
# *The figure. For each processor and precision the ridge, in operations a byte, logarithmic: 17 for a V100 in float32,
# 139 in float16, up to 295 for an H100 in bfloat16, 591 in 8 bits, 1,125 for a B200 in 4 bits, 684 for a phone's 35
# trillion operations before 51 GB/s. Dashed lines: a product of 4096 x 4096 matrices in 16 bits (1,365), decoding for
# 32 sequences at once (32), and softmax (1.25). The first is right of all ridges, the last left of all.*


# %% experiment="processors"
fig, (axes,) = figure(1, width=7.0, height=4.0)
shown = ["float32", "float16", "bfloat16", "float8", "int8", "int4", "float4"]
for row, one in enumerate(PROCESSORS):
    for precision in [p for p in shown if p in one.rates]:
        n = shown.index(precision)
        axes.plot(one.ridge(precision), row, MARKERS[n], color=COLOURS[n], markersize=8)
        energy = one.picojoules(precision)
        said = f"{energy:6.2f} pJ" if energy else "  not said"
        rate = f"{one.rates[precision] / 1e12:7.1f} T/s"
        print(f"{one.name:7s} {precision:9s} {rate} {one.ridge(precision):7.0f} a byte {said}")
for intensity, name in ((4096 / 3, "matmul"), (32, "decoding, 32"), (1.25, "softmax")):
    axes.axvline(intensity, color=COLOURS[6], linestyle="--", linewidth=1)
    axes.text(intensity, len(PROCESSORS) - 0.4, name, ha="center", fontsize=8)
axes.set_yticks(range(len(PROCESSORS)), [one.name for one in PROCESSORS])
for n, precision in enumerate(shown):
    axes.plot([], [], MARKERS[n], color=COLOURS[n], label=precision)
axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(0.08, 0.6))
axes.set(xscale="log", xlabel="operations a byte at the ridge", ylim=(-0.6, len(PROCESSORS) - 0.1))
for precision, (add, multiply) in ENERGY.items():
    print(f"{precision:8s} add {add:4.2f} pJ, multiply {multiply:4.2f} pJ in 45 nm (Horowitz 2014)")
print(f"64 bits from a cache {CACHE_64_BITS:.0f} pJ, from DRAM {DRAM_64_BITS:.0f} pJ: what moves costs energy, too")
fig

# %% [markdown]
# ## 2. A machine that counts
#
# `FastMemory(M)` has M **entries** of fast memory before a slow one, as a GPU has a few hundred KB of shared memory in
# each multiprocessor. Arithmetic is done on **tiles**, matrices in the fast memory. A kernel holds handles, never
# numbers:
#
# | call | what it does | moves |
# |---|---|---|
# | `memory.new(2, 3)` | an array in the slow memory; `a.shape` says its shape | |
# | `memory.load(a[i:i+4, j:j+4])` | a new tile; `a[b, i:i+4]` takes one place of an axis | its entries |
# | `memory.store(tile, a[i:i+4, j:j+4])` | the region becomes the tile, of its shape | its entries |
# | `memory.full(rows, columns, value=0.0)`, `memory.copy(t)` | a new tile | |
# | `memory.free(t, ...)` | their room may be taken again | |
# | `memory.matmul_add(c, a, b)` | `c += a @ b` | |
# | `memory.add(x, y)`, `subtract`, `multiply`, `divide`, `maximum` | x in place; y: a number, a tile | |
# | `memory.exp(x)`, `memory.log(x)` | x in place | |
# | `memory.rowmax(x)`, `memory.rowsum(x)` | a new tile, (rows, 1) | |
# | `memory.keep_band(x, low, high)` | entry (r, c) becomes -inf unless low <= c - r <= high | |
#
# Regions end where the array does, as slices do, so the last tile may be smaller: `tile.shape` says how large it is.
# `tile[0:4, ::2]` and `tile.T` are views, which take no room, and can be read and written. A tile y has as many rows
# and columns as x, or one. In `keep_band` None is no bound. A tile that does not fit raises an error. On your computer
# `memory.array(tensor)` brings numbers and `memory.read(array)` shows them; `memory.moved`, `memory.peak` and
# `memory.multiplications` are the counts. In a check numbers stay on the other side (`drivers.py` shows how), so `read`
# has none; cases need at most 2,000 instructions.

# %%
memory = FastMemory(capacity=20)
a, out = memory.array(torch.arange(12.0).view(3, 4)), memory.new(2, 2)
left, right = memory.load(a[0:2]), memory.load(a[1:3])  # two tiles of 2 x 4
total = memory.full(2, 2)
memory.matmul_add(total, left, right.T)
memory.store(total, out)
print(memory.read(out).tolist(), f"{memory.moved} entries moved, {memory.peak} in use at the peak")

# %% [markdown]
# **Tiles.** With one entry of each matrix at a time, a product of (m, k) by (k, n) loads $2mnk$ entries. A tile of
# $s \times s$ is used for $s$ rows or columns of the other matrix, so only $2mnk/s$ are loaded. Three such tiles must
# fit: $3 s^2 \le M$. Whatever the order, about
#
# $$ Q = \max\left(\frac{2mnk}{\sqrt{M}},\ mk + kn + mn\right) $$
#
# entries must move (Hong and Kung 1981; the constant is of 2019), and $s = \sqrt{M/3}$ comes to $\sqrt 3 \approx 1.73$
# times that, and the result.
#
# ### Exercise `tiled_matmul` (16 points)
#
# Points by part: values 5, edges 3, batches 2, traffic 6. For the last one a product may move at most $1.9\,Q$ entries
# (a batch as many times that); its sums are so long that square tiles with the largest $s$ suffice.


# %% exercise="tiled_matmul"
def tiled_matmul(memory, a, b):
    """a @ b, as a new array in the slow memory.

    a: (m, k) and b: (k, n), or both with a batch in front, (B, m, k) and (B, k, n). Any size may be 0, and none need
        divide by a tile's. The memory has room for at least 3 entries, and nothing lies in it.
    Raises ValueError where the shapes do not fit together, or are neither of the two.
    """
    ### BEGIN SOLUTION
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{a.shape} by {b.shape}")
    (m, k), n = a.shape[-2:], b.shape[-1]
    s = math.isqrt(memory.capacity // 3)
    c = memory.new(*a.shape[:-1], n)
    for place in itertools.product(*map(range, a.shape[:-2])):
        for i, j in itertools.product(range(0, m, s), range(0, n, s)):
            corner = c[*place, i : i + s, j : j + s]
            total = memory.full(*corner.shape)
            for p in range(0, k, s):
                left, right = memory.load(a[*place, i : i + s, p : p + s]), memory.load(b[*place, p : p + s, j : j + s])
                memory.matmul_add(total, left, right)
                memory.free(left, right)
            memory.store(total, corner)
            memory.free(total)
    return c
    ### END SOLUTION


# %% check="tiled_matmul"
check("tiled_matmul", tiled_matmul)

# %% [markdown]
# **A question on it** (2 points). A fast memory of {{ room }} entries holds three square tiles of side {{ side }}. How
# many entries does a product of two matrices of {{ n }} x {{ n }} move, if a tile of the result stays until it is done?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="traffic_choice"
# Assign the letter of your answer, such as "a", to traffic_choice.
### BEGIN SOLUTION
traffic_choice = "{{ traffic_answer }}"
### END SOLUTION

# %% check="traffic_choice"
check("traffic_choice", traffic_choice)

# %% [markdown]
# **Look at it: four times the memory, half of the traffic.**
#
# *The figure. Entries moved by your product of two 64 x 64 matrices, over the fast memory's size, both logarithmic: the
# counts (circles) fall with the square root of the size, 1.7 to 2.3 times above the bound (dashed), until all three
# matrices fit, from 12,288 entries on, and each moves once.*


# %% experiment="tiles"
n, sizes = 64, [12, 27, 48, 108, 192, 432, 768, 1728, 3072, 12288, 49152]
x, y, counts = torch.randn(n, n), torch.randn(n, n), []
for size in sizes:
    memory = FastMemory(size)
    found = memory.read(tiled_matmul(memory, memory.array(x), memory.array(y)))
    counts.append(memory.moved)
    print(
        f"{size:6,} entries: {memory.moved:8,} moved, {memory.operations:7,} instructions, "
        f"off {(found - x @ y).abs().max():.0e}"
    )
bounds = [max(2 * n**3 / math.sqrt(size), 3 * n * n) for size in sizes]
fig, (axes,) = figure(1, width=5.5)
axes.plot(sizes, counts, label="tiles of yours")
axes.plot(sizes, bounds, "--", color=COLOURS[6], marker="", label="bound")
axes.set(xscale="log", yscale="log", xlabel="entries of fast memory", ylabel="entries moved")
axes.legend()
fig

# %% [markdown]
# ## 3. Convolutions
#
# A convolution slides a small kernel over an image: $y_{f,i,j} = \sum_{c,r,s} w_{f,c,r,s}\, x_{c,\,i \cdot t + r - p,\,
# j \cdot t + s - p}$, with stride $t$ and $p$ zeros of padding around the image. One way to have it fast is to make it
# a product of matrices, which is fast already: write each patch as a column.
#
# ### Exercise `im2col` (8 points)
#
# Points by part: values 3, stride and padding 2, gradient 2, errors 1. `unfold`, of `torch.nn.functional` or of
# tensors, is not to be called.


# %% exercise="im2col"
def im2col(x, kernel, stride=1, padding=0):
    """The patches of a batch of images, as columns: (B, K, L), in the dtype of x; gradients flow back to x.

    x: (B, C, H, W), floating point, not empty. kernel: (rows, columns). padding: zeros on each of the four sides.
    K = C * rows * columns: entry (c * rows + dy) * columns + dx of a column is channel c at (dy, dx) of its patch.
    L counts places, row by row: patches begin at multiples of stride in the padded image, as many as fit whole.
    Raises ValueError where not even one patch fits, or the stride is below 1.
    """
    ### BEGIN SOLUTION
    R, S = kernel
    B, C, H, W = x.shape
    if stride < 1 or H + 2 * padding < R or W + 2 * padding < S:
        raise ValueError(f"no patch of {R} x {S} fits")
    rows, columns = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    framed = torch.nn.functional.pad(x, (padding,) * 4)
    y = torch.arange(R)[:, None, None, None] + stride * torch.arange(rows)[:, None]
    z = torch.arange(S)[:, None, None] + stride * torch.arange(columns)
    return framed[:, :, y, z].reshape(B, C * R * S, rows * columns)  # indices (R, S, rows, columns)
    ### END SOLUTION


# %% check="im2col"
check("im2col", im2col)

# %% [markdown]
# ### Directly
#
# Columns repeat each entry of the image up to $R \cdot S$ times. A **direct** convolution keeps in the fast memory what
# neighbours share. One row of the result needs $R$ rows of the image; the next one needs the same but for `stride`
# rows. For one entry (r, s) of the kernel, a row of the image (C, W) gives a row of the result (F, columns) a product
# with the matrix $w_{:,:,r,s}$ (F, C), of those columns of the row that are `stride` apart: views cost nothing.
#
# ### Exercise `conv2d` (12 points)
#
# Points by part: values 4, stride and padding 3, traffic 4, errors 1. For the third one each entry of the image, of the
# weights and of the result may move once, and the fast memory has room for just these: all weights, R rows of one image
# (C W R entries) and one row of the result.


# %% exercise="conv2d"
def conv2d(memory, x, w, stride=1, padding=0):
    """The convolution of images with weights, without a flip, as a new array (B, F, rows, columns).

    x: an array (B, C, H, W). w: an array (F, C, R, S), F filters. None is empty. padding: zeros on each of the four
        sides, which are nowhere in the slow memory; rows = (H + 2 padding - R) // stride + 1, and so columns.
    Raises ValueError where the channels differ, the kernel does not fit in the padded image, or the stride is below 1.
    """
    ### BEGIN SOLUTION
    (B, C, H, W), (F, channels, R, S) = x.shape, w.shape
    if channels != C or stride < 1 or H + 2 * padding < R or W + 2 * padding < S:
        raise ValueError(f"{w.shape} on {x.shape}, stride {stride}")
    rows, columns = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    out = memory.new(B, F, rows, columns)
    weights = {(r, s): memory.load(w[:, :, r, s]) for r in range(R) for s in range(S)}
    for b in range(B):
        kept = {}
        for i in range(rows):
            needed = [i * stride + r - padding for r in range(R)]
            for row in [row for row in kept if row < needed[0]]:
                memory.free(kept.pop(row))
            total = memory.full(F, columns)
            for r, row in enumerate(needed):
                if not 0 <= row < H:
                    continue
                if row not in kept:
                    kept[row] = memory.load(x[b, :, row])
                for s in range(S):
                    places = [j for j in range(columns) if 0 <= j * stride + s - padding < W]
                    if places:
                        first, last = places[0], places[-1]
                        begin, end = (j * stride + s - padding for j in (first, last))
                        entries = kept[row][:, begin : end + 1 : stride]
                        memory.matmul_add(total[:, first : last + 1], weights[r, s], entries)
            memory.store(total, out[b, :, i])
            memory.free(total)
        memory.free(*kept.values())
    return out
    ### END SOLUTION


# %% check="conv2d"
check("conv2d", conv2d)

# %% [markdown]
# **Look at it: what the columns cost.** Both ways have the same fast memory. Columns are written to the slow memory and
# read again by your product in tiles; the image is read once to make them.
#
# *The figure. Entries moved for 8 channels to 16 of a 32 x 32 image, 3 x 3 (left pair) and 5 x 5: directly (blue) 0.026
# and 0.028 million; by columns (orange, hatched) 8 times as many for 3 x 3 and 19 times for 5 x 5.*


# %% experiment="convolutions"
fig, (axes,) = figure(1, width=4.5)
x = torch.randn(1, 8, 32, 32)
for n, k in enumerate((3, 5)):
    w = torch.randn(16, 8, k, k) / k
    memory = FastMemory(w.numel() + k * 8 * 32 + 16 * 32)
    direct = memory.read(conv2d(memory, memory.array(x), memory.array(w), padding=k // 2))
    columns = im2col(x, (k, k), padding=k // 2)[0]
    other = FastMemory(memory.capacity)
    product = other.read(tiled_matmul(other, other.array(w.flatten(1)), other.array(columns)))
    moved = x.numel() + columns.numel() + other.moved
    for place, count, colour in ((n - 0.2, memory.moved, 0), (n + 0.2, moved, 1)):
        axes.bar(place, count / 1e6, 0.38, color=COLOURS[colour], hatch="//" * colour, edgecolor="white",
                 label=("direct", "by columns")[colour] if n == 0 else None)  # fmt: skip
    off = (product.view(16, 32, 32) - direct[0]).abs().max()
    print(
        f"{k} x {k}: {memory.moved:,} directly, {moved:,} by columns, {moved / memory.moved:.1f} times; off {off:.0e}"
    )
axes.set_xticks([0, 1], ["3 x 3", "5 x 5"])
axes.set(ylabel="millions of entries moved")
axes.legend()
fig

# %% [markdown]
# ## 4. Fewer bits
#
# A floating-point number is $\pm 1.m \cdot 2^e$ with a few bits for $e$ and a few for $m$. Between $2^e$ and $2^{e+1}$
# neighbours are $2^{e - \text{mantissa bits}}$ apart: the **gap**. Below the smallest normal number, where $e$ cannot
# get any smaller, the gap stays as it is there (*subnormal* numbers), down to zero.
#
# | `FloatFormat` | exponent, mantissa bits | `least_exponent` | `largest` | `beyond` |
# |---|---|---|---|---|
# | `float16()` | 5, 10 | -14 | 65504 | infinity |
# | `bfloat16()` | 8, 7 | -126 | $3.39 \cdot 10^{38}$ | infinity |
# | `e4m3()` | 4, 3 | -6 | 448 | 448 |
# | `e5m2()` | 5, 2 | -14 | 57344 | infinity |
# | `e2m1()` | 2, 1 | 0 | 6 | 6 |
#
# **Nearest, ties to even** is what hardware does. **Stochastic** rounding takes the upper neighbour with a probability
# that is the share of the way to it, so that the mean is the number itself: what a sum of many needs.
#
# ### Exercise `round_to` (14 points)
#
# Points by part: nearest 4, subnormal numbers 3, what is beyond 3, by chance 4. Formats are the table's and others.


# %% exercise="round_to"
def round_to(x, format, u=None):
    """Each entry as a number of the format; in the dtype of x.

    x: float32 or float64, any shape, may be empty. format: has exponent_bits, mantissa_bits, least_exponent, largest
        and beyond, as above.
    u: None for the nearest neighbour, of two as near the one whose last bit of the mantissa is 0. Else of x's shape,
        uniform in [0, 1): an entry at the share p of the way from its lower neighbour (towards minus infinity) to its
        upper one becomes the upper one exactly where u < p; a number of the format stays.
    An entry that, rounded as if exponents had no end, is above largest in magnitude becomes `beyond` with the entry's
        sign; so do infinities. NaN stays NaN. Small numbers must be as exact as others: bfloat16's smallest is 2**-133.
    """
    ### BEGIN SOLUTION
    _, exponent = torch.frexp(x)  # of 0.1m, so one more than that of 1.m
    gap = torch.ldexp(torch.ones_like(x), (exponent - 1).clamp(min=format.least_exponent) - format.mantissa_bits)
    whole = x / gap
    if u is None:
        found = whole.round() * gap
    else:
        lower = whole.floor()
        found = torch.where(u < whole - lower, lower + 1, lower) * gap
    end = torch.copysign(torch.full_like(x, format.beyond), x)
    return torch.where(found.abs() > format.largest, end, found)
    ### END SOLUTION


# %% check="round_to"
check("round_to", round_to)

# %% [markdown]
# ### Four bits, in blocks
#
# `e2m1` has eight magnitudes: 0, 0.5, 1, 1.5, 2, 3, 4, 6. No tensor's entries lie in so short a range, so each
# **block** of 32 has a scale of its own, a power of two, stored as the exponent's byte: 4.25 bits a number. That is the
# MXFP4 format of 2023, which current cards multiply. The scale brings the block's largest magnitude near 6.
#
# ### Exercise `quantize_mxfp4` (10 points)
#
# Points by part: codes 4, scales 3, packing 2, errors 1. `quantize` is your lab 8's; the check hands one in.


# %% exercise="quantize_mxfp4"
def quantize_mxfp4(x, u, quantize):
    """(packed, exponents) of the entries of x in the order of the flattened tensor.

    x: any shape, any floating dtype; may be empty. Arithmetic is float32. Blocks are 32 entries in a row, the last one
        has the rest.
    exponents: uint8, for each block e + 127, where 2**(e + 2) is the largest power of two that is not above the largest
        magnitude of the block; e is at least -127, and -127 for a block of zeros.
    quantize(magnitudes, levels, u): for magnitudes over 2**e, all or some, float32, levels the eight magnitudes of e2m1
        in order as a float32 tensor, returns the places of levels, int64, in the shape of magnitudes. What is above 6
        gets the last one.
    u: 0.5, or a tensor of x's shape, of which each entry of x needs its own; handed on to quantize.
    A code is that place, and 8 more where the entry of x is below 0.
    packed: uint8; byte i is the code of entry 2i plus 16 times that of entry 2i + 1, or of nothing, 0, at the end.
    Raises ValueError where an entry is infinite or NaN.
    """
    ### BEGIN SOLUTION
    flat = x.flatten().to(torch.float32)
    if not torch.isfinite(flat).all():
        raise ValueError("infinite or NaN")
    n = len(flat)
    padded = torch.cat([flat, flat.new_zeros(-n % 32)]).view(-1, 32)
    largest, _ = padded.abs().max(1)
    e = (torch.frexp(largest)[1] - 3).clamp(min=-127)  # frexp's is of 0.1m
    e[largest == 0] = -127
    magnitudes = torch.ldexp(padded.abs(), -e[:, None]).flatten()[:n]
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    codes = quantize(magnitudes, levels, u if isinstance(u, float) else u.flatten()) + 8 * (flat < 0)
    codes = torch.cat([codes, codes.new_zeros(n % 2)])
    return (codes[::2] + 16 * codes[1::2]).to(torch.uint8), (e + 127).to(torch.uint8)
    ### END SOLUTION


# %% check="quantize_mxfp4"
check("quantize_mxfp4", quantize_mxfp4)

# %% [markdown]
# **Look at it: how far off each format is.** Numbers of one size after the other are rounded; `int8` has 255 evenly
# spaced levels up to 8, by lab 8's `quantize`, and MXFP4's blocks have numbers of one size each.
#
# *The figure. The relative error (root of the mean square) over the size of numbers as powers of two, both logarithmic.
# Floating-point formats are flat, at 0.0002 for float16, 0.0016 for bfloat16, 0.026 for e4m3, 0.05 for e5m2, and rise
# to 1 where their subnormal numbers end, bfloat16's not in sight. int8 is good just below 8 only, and ten times worse
# for each ten times smaller. Blocks in four bits are at 0.1, whatever the size.*


# %% experiment="formats"
quantize = take("parameter_server", "quantize")
exponents = torch.arange(-20, 21)
draws = torch.randn(2048, generator=torch.Generator().manual_seed(0))
levels, four = torch.linspace(-8, 8, 255), torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def from_mxfp4(packed, exponents, n):
    codes = torch.stack([packed % 16, packed // 16], 1).flatten().long()[:n]
    return four[codes % 8] * (1 - 2.0 * (codes >= 8)) * 2.0 ** (exponents.float().repeat_interleave(32)[:n] - 127)


ways = {f.name: lambda x, f=f: round_to(x, f) for f in (float16(), bfloat16(), e4m3(), e5m2())}
ways["int8, up to 8"] = lambda x: levels[quantize(x, levels, 0.5)]
ways["mxfp4"] = lambda x: from_mxfp4(*quantize_mxfp4(x, 0.5, quantize), len(x))
fig, (axes,) = figure(1, width=6.0, height=4.0)
for name, way in ways.items():
    errors = []
    for exponent in exponents.tolist():
        x = draws * 2.0**exponent
        found = way(x)
        errors.append(float(((found - x) / x.square().mean().sqrt()).square().mean().sqrt()))
    kept = [(e, error) for e, error in zip(exponents.tolist(), errors, strict=True) if math.isfinite(error)]
    axes.plot(*zip(*kept, strict=True), label=name, markersize=3)
    print(f"{name:14s} error near 1: {errors[20]:.5f}")
axes.set(yscale="log", ylim=(1e-4, 2), xlabel="size of the numbers, as a power of two", ylabel="relative error")
axes.legend(fontsize=8)
fig

# %% [markdown]
# **Look at it: a sum.** Ten thousand numbers between 0 and 0.02 are added one after the other, and each sum is rounded.
#
# *The figure. The sum over the count. In float32 (black) it rises to 100 on a straight line. In bfloat16, to the
# nearest (blue), it falls behind from 4 on, and stops at 8: every addend is below half a gap. By chance (orange, ten
# runs) it goes on along the line, and ends within a few percent of 100.*


# %% experiment="sums"
generator = torch.Generator().manual_seed(1)
addends = torch.rand(10_000, generator=generator) * 0.02
nearest, chance = torch.zeros(1), torch.zeros(10)
rows = []
for n, addend in enumerate(addends):
    nearest = round_to(nearest + addend, bfloat16())
    chance = round_to(chance + addend, bfloat16(), torch.rand(10, generator=generator))
    if n % 100 == 99:
        rows.append((n + 1, float(addends[: n + 1].sum()), float(nearest), *chance.tolist()))
count, *lines = zip(*rows, strict=True)
fig, (axes,) = figure(1, width=5.5)
for n, line in enumerate(lines[2:]):
    axes.plot(count, line, color=COLOURS[1], linewidth=1, marker="", label="bfloat16, by chance" if n == 0 else None)
axes.plot(count, lines[0], color=COLOURS[6], linestyle="--", marker="", label="float32")
axes.plot(count, lines[1], color=COLOURS[0], marker="", label="bfloat16, nearest")
axes.set(xlabel="numbers added", ylabel="sum")
axes.legend()
print(
    f"float32 {lines[0][-1]:.1f}; bfloat16 {lines[1][-1]:.2f}; "
    f"by chance {min(rows[-1][3:]):.0f} to {max(rows[-1][3:]):.0f}"
)
fig

# %% [markdown] question="why_float32"
# **Why do sums stay in float32?** (6 points) Tensor cores multiply 16-, 8- and 4-bit numbers, and add the products in
# float32. From the figure: what happens to a sum in bfloat16, and at what value; why just there (an argument with the
# gap); and what does rounding by chance repair, what does it not?
#
# ### BEGIN SOLUTION
# In bfloat16 the sum stops at 8 (it should be 100): between 4 and 8 neighbours are 2^-5 = 0.031 apart, so addends below
# 0.0156 round away, and only a fifth is larger; from 8 on, where half a gap is 0.031, none counts. Float32's gap there
# is 9.5e-7. By chance each addend counts with the right probability, so the mean is right, but runs differ by several
# percent, and more so for longer sums; hardware therefore keeps the sum itself wide and rounds once at its end.
# ### END SOLUTION

# %% [markdown]
# ## 5. Attention that writes no scores
#
# Attention (lab 2) is two products with a softmax between: $O = \text{softmax}(QK^\top / \sqrt D)\, V$. Its scores are
# $T \times S$ numbers, written and read several times, while Q, K, V and O are only $T \times D$. Tiles of the scores
# would do, but softmax needs a whole row: its maximum and its sum. Both can be had as keys come. Keep
#
# $$ m = \max_j s_j, \qquad \ell = \sum_j e^{s_j - m}, \qquad o = \sum_j e^{s_j - m} v_j $$
#
# over the keys so far. When further scores raise the maximum to $m'$, the old sums are worth $e^{m - m'}$ of what they
# were. At the end $o / \ell$ is the output, and $m + \log \ell$ the *log-sum-exp*.
#
# ### Exercise `online_softmax` (8 points)
#
# Points by part: values 4, no keys 2, precision 2. Here with tensors, to see the idea alone.


# %% exercise="online_softmax"
def online_softmax(scores, values, state=None):
    """The state (top, total, weighted) after further keys: m, l and o of above.

    scores: (..., T, S), values: (..., S, D), floating point of one dtype, with the same leading axes; S may be 0. A
        score of -inf is a key that is not seen.
    state: tensors of shapes (..., T), (..., T), (..., T, D), which stay as they are; None before the first keys: then
        top is -inf and the sums are 0.
    All are over all keys so far; weighted is not divided. While a row has seen no key its top is -inf, and the sums are
        0, never NaN. They are float32, where scores are float64 float64, and so are all sums.
    """
    ### BEGIN SOLUTION
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    scores, values = scores.to(dtype), values.to(dtype)
    if state is None:
        rows = scores.shape[:-1]
        state = scores.new_full(rows, -math.inf), scores.new_zeros(rows), scores.new_zeros(*rows, values.shape[-1])
    top, total, weighted = state
    highest, _ = torch.cat([top[..., None], scores], -1).max(-1)
    base = highest.clamp(min=torch.finfo(dtype).min)  # -inf less -inf would be NaN
    old, p = torch.exp(top - base), torch.exp(scores - base[..., None])
    return highest, total * old + p.sum(-1), weighted * old[..., None] + p @ values
    ### END SOLUTION


# %% check="online_softmax"
check("online_softmax", online_softmax)

# %% [markdown]
# ### On the machine
#
# **Flash attention**: a tile of queries is loaded once, with a running maximum, sum and output beside it; tiles of keys
# and values pass by. Scores live in the fast memory, one tile at a time.
#
# **What is hidden is skipped.** With `causal`, query i sees keys up to $i + S - T$, so the last query sees the last
# key; with a `window` of w, the last w of those. In a tile at query i and key j the entry (r, c) is seen where $S - T -
# w < (j + c) - (i + r) \le S - T$: a band, which `keep_band` cuts. A pair of tiles in which no entry is seen is not
# worked on at all, and its keys are not loaded.
#
# A hidden score is $-\infty$, and so is the maximum of a row that is all hidden: $-\infty - (-\infty)$ is NaN. Start
# the running maximum at $-10^{30}$ instead: less than any score, and no infinity.
#
# ### Exercise `flash_attention` (14 points)
#
# Points by part: values 4, masks 4, traffic 4, skipping 2. With $P$ pairs of tiles in which something is seen, of
# `rows` queries and `columns` keys, a head may move 1.1 times $T (D + D_v + 1) + P \cdot \text{columns} (D + D_v)$
# entries, and for the last part multiply $P \cdot \text{rows} \cdot \text{columns} (D + D_v)$ numbers at most.


# %% exercise="flash_attention"
def flash_attention(memory, q, k, v, rows, columns, causal=False, window=None):
    """(output, log_sum_exp), new arrays of shapes (H, T, Dv) and (H, T, 1).

    q: (H, T, D), k: (H, S, D), v: (H, S, Dv), D at least 1; scores are q k^T / sqrt(D). Tiles begin at multiples of
        rows in T and of columns in S; the last ones may be smaller. Room: (rows + columns)(D + Dv) + 2 rows columns +
        8 rows entries.
    causal, window: as above; window is None, or at least 1 and with causal only.
    A query that sees no key has an output of zeros and a log_sum_exp of -inf; T or S may be 0.
    Raises ValueError where shapes do not fit together, and for a window that is below 1 or without causal.
    """
    ### BEGIN SOLUTION
    (H, T, D), (S, Dv) = q.shape, v.shape[1:]
    if k.shape != (H, S, D) or v.shape[0] != H:
        raise ValueError(f"q {q.shape}, k {k.shape}, v {v.shape}")
    if window is not None and (window < 1 or not causal):
        raise ValueError(f"window {window}, causal {causal}")
    high = S - T if causal else T + S
    low = -(T + S) if window is None else high - window + 1
    output, log_sum_exp = memory.new(H, T, Dv), memory.new(H, T, 1)
    for h, i in itertools.product(range(H), range(0, T, rows)):
        query = memory.load(q[h, i : i + rows])
        memory.multiply(query, D**-0.5)
        n = query.shape[0]
        top, total, weighted = memory.full(n, 1, -1e30), memory.full(n, 1), memory.full(n, Dv)
        for j in range(0, S, columns):
            end = min(j + columns, S)
            if j - (i + n - 1) > high or end - 1 - i < low:
                continue
            key = memory.load(k[h, j:end])
            scores = memory.full(n, end - j)
            memory.matmul_add(scores, query, key.T)
            memory.free(key)
            memory.keep_band(scores, low - (j - i), high - (j - i))
            new = memory.rowmax(scores)
            memory.maximum(new, top)
            memory.subtract(top, new)
            memory.exp(top)  # what the old sums are worth
            memory.subtract(scores, new)
            memory.exp(scores)
            added, value = memory.rowsum(scores), memory.load(v[h, j:end])
            memory.multiply(total, top)
            memory.add(total, added)
            memory.multiply(weighted, top)
            memory.matmul_add(weighted, scores, value)
            memory.free(scores, top, added, value)
            top = new
        divisor = memory.copy(total)
        memory.maximum(divisor, 1.0)  # where anything is seen, the largest weight is 1
        memory.divide(weighted, divisor)
        memory.log(total)
        memory.add(total, top)
        memory.store(weighted, output[h, i : i + rows])
        memory.store(total, log_sum_exp[h, i : i + rows])
        memory.free(query, top, total, weighted, divisor)
    return output, log_sum_exp
    ### END SOLUTION


# %% check="flash_attention"
check("flash_attention", flash_attention)

# %% [markdown]
# ### Backward, by working it out again
#
# Backward needs the probabilities $P = \text{softmax}(S)$. Keeping them is $T \times S$ numbers again; but with the
# log-sum-exp $L$ any tile of them is one product away, $P = e^{S - L}$. With $G$ the gradient of the output:
#
# $$ dV = P^\top G, \qquad dP = G V^\top, \qquad dS = P \odot (dP - \delta), \qquad \delta_i = \sum_c G_{ic} O_{ic} $$
#
# $$ dQ = dS\, K / \sqrt D, \qquad dK = dS^\top Q / \sqrt D $$
#
# $\delta$ is what the softmax's sum over the row comes to, $\sum_j P_{ij}\, dP_{ij}$, without the row.
#
# ### Exercise `flash_attention_backward` (10 points)
#
# Points by part: values 4, masks 3, traffic 3. A head may move 1.2 times
# $T (D + 2 D_v + 1) + 2 S (D + D_v) + P \cdot \text{rows} (3 D + D_v + 2)$ entries, with $P$ as in forward: $\delta$
# and zeros for dq are stored first; then tiles of keys stay with their gradients, and tiles of queries pass by, whose
# gradients are loaded, added to and stored. (Two passes, one for keys and one for queries, are within it as well.)


# %% exercise="flash_attention_backward"
def flash_attention_backward(memory, q, k, v, output, log_sum_exp, grad, rows, columns, causal=False, window=None):
    """(dq, dk, dv): new arrays in the shapes of q, k and v.

    q, k, v, rows, columns, causal, window: as for flash_attention; output and log_sum_exp: what it returned. grad:
        (H, T, Dv), the gradient of the output. Room: 2 (rows + columns)(D + Dv) + 3 rows columns + 8 rows entries.
    A query that sees no key has a gradient of zeros, and so have a key and a value that no query sees. A row's
        log_sum_exp is -inf exactly where its query sees no key.
    """
    ### BEGIN SOLUTION
    (H, T, D), (S, Dv) = q.shape, v.shape[1:]
    high = S - T if causal else T + S
    low = -(T + S) if window is None else high - window + 1
    dq, dk, dv, delta = memory.new(H, T, D), memory.new(H, S, D), memory.new(H, S, Dv), memory.new(H, T, 1)
    for h, i in itertools.product(range(H), range(0, T, rows)):
        at = h, slice(i, i + rows)
        g, o = memory.load(grad[at]), memory.load(output[at])
        memory.multiply(o, g)
        sums, zeros = memory.rowsum(o), memory.full(o.shape[0], D)
        memory.store(sums, delta[at])
        memory.store(zeros, dq[at])
        memory.free(g, o, sums, zeros)
    for h, j in itertools.product(range(H), range(0, S, columns)):
        key, value = memory.load(k[h, j : j + columns]), memory.load(v[h, j : j + columns])
        width = key.shape[0]
        dkey, dvalue = memory.full(width, D), memory.full(width, Dv)
        for i in range(0, T, rows):
            n = min(rows, T - i)
            if j - (i + n - 1) > high or j + width - 1 - i < low:
                continue
            at = h, slice(i, i + rows)
            query, g = memory.load(q[at]), memory.load(grad[at])
            p, base = memory.full(n, width), memory.load(log_sum_exp[at])
            memory.matmul_add(p, query, key.T)
            memory.multiply(p, D**-0.5)
            memory.keep_band(p, low - (j - i), high - (j - i))
            memory.maximum(base, -1e30)
            memory.subtract(p, base)
            memory.exp(p)
            memory.matmul_add(dvalue, p.T, g)
            dp, sums = memory.full(n, width), memory.load(delta[at])
            memory.matmul_add(dp, g, value.T)
            memory.subtract(dp, sums)
            memory.multiply(p, dp)
            memory.multiply(p, D**-0.5)
            memory.matmul_add(dkey, p.T, query)
            dquery = memory.load(dq[at])
            memory.matmul_add(dquery, p, key)
            memory.store(dquery, dq[at])
            memory.free(query, g, p, base, dp, sums, dquery)
        memory.store(dkey, dk[h, j : j + columns])
        memory.store(dvalue, dv[h, j : j + columns])
        memory.free(key, value, dkey, dvalue)
    return dq, dk, dv
    ### END SOLUTION


# %% check="flash_attention_backward"
check("flash_attention_backward", flash_attention_backward)

# %% [markdown]
# **Look at it: fifty thousand tokens.** Your two kernels become a function with a gradient, and run on real tensors of
# growing length, causal, one head of 64; lab 2's attention beside them.
#
# *The figure. Left, MiB at the peak of forward and backward over the length, both logarithmic: lab 2's attention
# (orange) grows with the square, from 19 MiB for 1,024 tokens to 304 for 4,096; yours (blue) by 1 MiB for each 1,024,
# to 12 for 8,192. Right, entries that forward moves: all scores, written and read twice (orange, dashed), against yours
# in a fast memory for tiles of 128 (blue) and of 512 (green), 8 and 27 times fewer for 8,192 tokens.*


# %% experiment="long"
def attend(q, k, v, block):
    """Your two kernels as a function of tensors, causal; `differentiable` keeps what forward returns for backward."""
    room = 4 * block * 128 + 3 * block * block + 8 * block
    return differentiable(flash_attention, flash_attention_backward, room)((q, k, v), block, block, True)


def inputs(T):
    generator = torch.Generator().manual_seed(T)
    return [torch.randn(1, T, 64, generator=generator).requires_grad_() for _ in range(3)]


torch.set_num_threads(1)  # tiles are small: to divide them takes longer than to compute them
attention = take("attention", "attention")
lengths, peaks, moved = [1024, 2048, 4096, 8192], {"lab 2": [], "flash": []}, {128: [], 512: []}
for T in lengths:
    for name, function in (
        ("lab 2", lambda *x: attention(*x, causal=True)),
        ("flash", lambda *x: attend(*x, 512)),
    ):
        if name == "lab 2" and T > 4096:
            continue  # over a gigabyte
        x = inputs(T)
        begin = time.perf_counter()
        peaks[name].append(peak_bytes(lambda f=function, x=x: f(*x).sum().backward()) / 2**20)
        print(f"{T:6,} tokens, {name:5s}: {peaks[name][-1]:7.1f} MiB, {time.perf_counter() - begin:.2f} s, both ways")
    for block, counts in moved.items():
        with torch.no_grad():
            memory = FastMemory(2 * block * 128 + 2 * block**2 + 8 * block)
            flash_attention(memory, *(memory.array(x) for x in inputs(T)), block, block, True)
        counts.append(memory.moved)
fig, (left, right) = figure(2, width=4.5)
left.plot(lengths[: len(peaks["lab 2"])], peaks["lab 2"], color=COLOURS[1], marker="s", label="lab 2's attention")
left.plot(lengths, peaks["flash"], color=COLOURS[0], label="flash attention")
left.set(xscale="log", yscale="log", xlabel="tokens", ylabel="MiB at the peak")
right.plot(lengths, [4 * T * T + 4 * T * 64 for T in lengths], "--", color=COLOURS[1], marker="s", label="all scores")
for n, (block, counts) in enumerate(moved.items()):
    right.plot(lengths, counts, color=COLOURS[2 * n], marker=MARKERS[2 * n], label=f"tiles of {block}")
right.set(xscale="log", yscale="log", xlabel="tokens", ylabel="entries moved")
for axes in (left, right):
    axes.set_xticks(lengths, [f"{T:,}" for T in lengths], minor=False)
    axes.minorticks_off()
    axes.legend()
fig

# %% [markdown]
# And fifty thousand, for which the scores alone would be 10 GB. The last row is compared with a softmax of its own.

# %% experiment="fifty_thousand"
q, k, v = (x.detach() for x in inputs(50_000))
begin = time.perf_counter()
with torch.no_grad():
    output = attend(q, k, v, 512)
last = torch.softmax(q[0, -1] @ k[0].T / 8, -1) @ v[0]
print(f"{time.perf_counter() - begin:.1f} s; the last row is off by {(output[0, -1] - last).abs().max():.1e}")

# %% [markdown]
# ## 6. Further kernels (extensions)
#
# **Nearly all of the room for the result.** Three square tiles leave a factor of $\sqrt 3$. But a tile of a and one of
# b need not be square: with one column of a and one row of b at a time, the result's tile may have $s^2 + 2s \le M$.
#
# ### Extension `stationary_matmul` (6 bonus points): values 2, traffic 4
#
# A product may move at most $1.25\,Q$ entries; sums are long.


# %% exercise="stationary_matmul"
def stationary_matmul(memory, a, b):
    """a @ b for arrays (m, k) and (k, n), as a new array; as tiled_matmul, without batches.

    The memory has room for at least 3 entries. Any size may be 0, and none need divide.
    Raises ValueError where the shapes do not fit together.
    """
    ### BEGIN SOLUTION
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"{a.shape} by {b.shape}")
    (m, k), n = a.shape, b.shape[1]
    s = math.isqrt(memory.capacity + 1) - 1  # (s + 1)^2 is s^2 + 2s, and one
    c = memory.new(m, n)
    for i, j in itertools.product(range(0, m, s), range(0, n, s)):
        corner = c[i : i + s, j : j + s]
        total = memory.full(*corner.shape)
        for p in range(k):
            column, row = memory.load(a[i : i + s, p : p + 1]), memory.load(b[p : p + 1, j : j + s])
            memory.matmul_add(total, column, row)
            memory.free(column, row)
        memory.store(total, corner)
        memory.free(total)
    return c
    ### END SOLUTION


# %% check="stationary_matmul"
check("stationary_matmul", stationary_matmul)

# %% [markdown]
# **Two streams of keys.** In decoding there is one query, and its keys may be many: processors share them, each with a
# state of its own as `online_softmax` returns it, and the states are put together.
#
# ### Extension `merge_states` (4 bonus points): values 3, no keys 1


# %% exercise="merge_states"
def merge_states(left, right):
    """The state (top, total, weighted) after the keys of both, which may come in any order.

    left, right: states as online_softmax returns them, of the same shapes and dtype, which stay as they are. A row of
        either may have seen no key: its top is -inf, its sums are 0. A row that has seen none in both stays so, without
        a NaN.
    """
    ### BEGIN SOLUTION
    top = torch.maximum(left[0], right[0])
    base = top.clamp(min=torch.finfo(top.dtype).min)
    mine, theirs = torch.exp(left[0] - base), torch.exp(right[0] - base)
    return top, left[1] * mine + right[1] * theirs, left[2] * mine[..., None] + right[2] * theirs[..., None]
    ### END SOLUTION


# %% check="merge_states"
check("merge_states", merge_states)

# %% [markdown]
# **Two products and a gate.** SwiGLU is $\text{silu}(x W_g) \odot (x W_u)$ with $\text{silu}(z) = z / (1 + e^{-z})$. As
# three operators it writes and reads two matrices of (T, F) on the way, and reads x twice.
#
# ### Extension `fused_swiglu` (5 bonus points): values 3, traffic 2
#
# For the second part at most $T C \lceil F / side \rceil + 2 C F \lceil T / side \rceil + T F$ entries may move.


# %% exercise="fused_swiglu"
def fused_swiglu(memory, x, gate, up, side):
    """silu(x @ gate) * (x @ up), as a new array (T, F).

    x: (T, C), gate and up: (C, F), arrays. side: tiles begin at its multiples, and are no larger. Room: five tiles.
    Any size may be 0, and none need divide. Raises ValueError where the shapes do not fit together.
    """
    ### BEGIN SOLUTION
    if gate.shape != up.shape or len(x.shape) != 2 or x.shape[1:] != gate.shape[:1]:
        raise ValueError(f"x {x.shape}, gate {gate.shape}, up {up.shape}")
    (T, C), F = x.shape, gate.shape[1]
    out = memory.new(T, F)
    for i, j in itertools.product(range(0, T, side), range(0, F, side)):
        corner = out[i : i + side, j : j + side]
        z, u = memory.full(*corner.shape), memory.full(*corner.shape)
        for p in range(0, C, side):
            rows = memory.load(x[i : i + side, p : p + side])
            for total, weight in ((z, gate), (u, up)):
                tile = memory.load(weight[p : p + side, j : j + side])
                memory.matmul_add(total, rows, tile)
                memory.free(tile)
            memory.free(rows)
        divisor = memory.copy(z)
        memory.multiply(divisor, -1.0)
        memory.exp(divisor)
        memory.add(divisor, 1.0)
        memory.divide(z, divisor)
        memory.multiply(z, u)
        memory.store(z, corner)
        for tile in (z, u, divisor):
            memory.free(tile)
    return out
    ### END SOLUTION


# %% check="fused_swiglu"
check("fused_swiglu", fused_swiglu)

# %% [markdown]
# ## What you built
#
# Operators as a GPU's programmer sees them: what lies where, and what moves. `mlsys_course.kernels` has the references,
# tested against PyTorch's casts, `unfold`, `conv2d` and `scaled_dot_product_attention`; `attend` there is the
# function of the last part, and `kernels.triton` has the same for cards, in Triton.
#
# **What real systems do differently.** A GPU has three levels at least: registers, shared memory, cache and main
# memory; CUTLASS and Triton tile for each. While one tile is worked on the next is loaded. Products keep the result's
# tile in registers, nearly all of the room, with thin slices of the others: that comes near the bound itself. Libraries
# try dozens of tile sizes (autotuning). FlashAttention 3 overlaps the products of one tile with the softmax of another,
# and works in float8; splits along the keys keep all processors busy when there is one query. Convolutions with small
# kernels may use fewer multiplications (Winograd). Blocks of 16 with a float8 scale (NVFP4) are finer than MXFP4's.
#
# **Papers.** Williams et al. 2009 (roofline); Hong and Kung 1981, Smith et al. 2019 (what must move); Chellapilla et
# al. 2006 (im2col); Gupta et al. 2015 (stochastic rounding); Micikevicius et al. 2022 (float8); Rouhani et al. 2023
# (microscaling); Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022, Dao 2023, Shah et al. 2024 (flash
# attention 1, 2, 3); Horowitz 2014 (energy).
