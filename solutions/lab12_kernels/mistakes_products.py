"""Lab 12, sealed: misconceptions about products and convolutions in a small fast memory."""

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course.kernels import conv2d, im2col, tiled_matmul

# ---- tiled_matmul ----------------------------------------------------------------------------------------------------


def reloads_the_result(memory, a, b):
    """The result goes to the slow memory and back for each step of the sum."""
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError
    (m, k), n = a.shape[-2:], b.shape[-1]
    side = max(1, int((memory.capacity // 3) ** 0.5))
    c = memory.new(*a.shape[:-1], n)
    for one in [(x,) for x in range(a.shape[0])] if len(a.shape) == 3 else [()]:
        for i in range(0, m, side):
            for j in range(0, n, side):
                corner = c[*one, i : i + side, j : j + side]
                zeros = memory.full(*corner.shape)
                memory.store(zeros, corner)
                memory.free(zeros)
                for p in range(0, k, side):
                    total = memory.load(corner)
                    left = memory.load(a[*one, i : i + side, p : p + side])
                    right = memory.load(b[*one, p : p + side, j : j + side])
                    memory.matmul_add(total, left, right)
                    memory.store(total, corner)
                    memory.free(total, left, right)
    return c


SIDE = "math.isqrt(memory.capacity // 3)"
SUM = "for p in range(0, k, side):"
mistake = wrong(tiled_matmul)
MATMUL = [
    mistake("tiles of one", "How often is an entry used while it is in the fast memory? What sets that number?",
        SIDE, "1"),
    mistake("two thirds as wide", "The machine says how much room was never in use. What would larger tiles save?",
        f"max(1, {SIDE})", f"max(1, {SIDE} * 2 // 3)"),
    Misconception("reloads the result", reloads_the_result,
        "Which of the three tiles is in use all along a sum, and where is it between two steps of yours?"),
    mistake("too large", "Three tiles lie in the fast memory at a time. What is the side of the largest that fit?",
        SIDE, "math.isqrt(memory.capacity)"),
    mistake("tiles stay", "What happens to the room of a tile that you no longer need?",
        "memory.free(left, right)", "pass"),
    mistake("only whole tiles", "Sizes need not divide by the side. Who works on what is left over?",
        SUM, "for p in range(0, k - k % side, side):"),
    mistake("only the first step", "Over what does an entry of a product sum, and how far do you go?",
        SUM, "for p in range(0, min(k, side), side):"),
    mistake("the first of a batch", "Where does the place in the batch come in when you load?",
        "memory.load(b[*one,", "memory.load(b[*[0 * x for x in one],"),
    mistake("any shapes", "The shapes do not fit together. What does the exercise want to be raised?",
        "if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:", "if False:"),
]  # fmt: skip

# ---- im2col ----------------------------------------------------------------------------------------------------------

mistake = wrong(im2col)
IM2COL = [
    mistake("places of the patch first", "Which changes faster along a column, the channel or the place in the patch?",
        "torch.stack(shifted, 2).reshape(x.shape[0], -1, rows * columns)",
        "torch.stack(shifted, 1).reshape(x.shape[0], -1, rows * columns)"),
    mistake("columns of the patch first", "Of a patch's two axes, which is the inner one?",
        "for dy, dx in itertools.product(*map(range, kernel))",
        "for dx, dy in itertools.product(range(kernel[1]), range(kernel[0]))"),
    mistake("no padding", "What lies around the image?",
        "padded = pad(x, (padding,) * 4)", "padded = pad(x, (0,) * 4)",
        "rows, columns = output_size(x.shape[2:], kernel, stride, padding)",
        "rows, columns = output_size(x.shape[2:], kernel, stride, 0)"),
    mistake("padding on two sides", "How many sides has an image?",
        "(padding,) * 4", "(2 * padding, 0, 2 * padding, 0)"),
    mistake("one patch short", "How many places are there where the patch fits? Count a patch as large as the image.",
        "return rows, columns", "return max(rows - 1, 1), max(columns - 1, 1)"),
    mistake("no gradient", "What flows back to the image from your columns?",
        "padded = pad(x, (padding,) * 4)", "padded = pad(x.detach(), (padding,) * 4) + 0 * x.sum()"),
    mistake("fits or not", "The patch is larger than the image. What is to be raised?",
        "if rows < 1 or columns < 1:", "if False:"),
]  # fmt: skip

# ---- conv2d ----------------------------------------------------------------------------------------------------------

ROWS = "for done in [row for row in held if row < top]:"
KEPT = "held[top + dy] = memory.load(x[b, :, top + dy])"
mistake = wrong(conv2d)
CONV2D = [
    mistake("rows again and again",
        "How many rows of the result need one row of the image, and how often do you load it?",
        ROWS, "for done in list(held):"),
    mistake("weights for every row",
        "Weights are the same at every place. How often do they come from the slow memory?",
        "total = memory.full(F, columns)",
        "memory.free(*weights.values())\n"
        "            weights = {(dy, dx): memory.load(w[:, :, dy, dx]) for dy in range(R) for dx in range(S)}\n"
        "            total = memory.full(F, columns)"),
    mistake("rows stay", "Which rows of the image does no later row of the result need?",
        ROWS, "for done in ():"),
    mistake("flipped", "A convolution of deep learning: which entry of the kernel meets the patch's first one?",
        "[weights[dy, dx] for dx in range(S)]", "[weights[R - 1 - dy, S - 1 - dx] for dx in range(S)]"),
    mistake("padding above only", "Padding stands on all four sides. Where does the first column begin?",
        "_add_row(memory, total, held[top + dy], [weights[dy, dx] for dx in range(S)], stride, padding)",
        "_add_row(memory, total, held[top + dy], [weights[dy, dx] for dx in range(S)], stride, 0)"),
    mistake("a stride of rows only", "A stride of two leaves out every other row. And of columns?",
        "entries = row[:, start : (last - 1) * stride + dx - padding + 1 : stride]",
        "entries = row[:, start : start + last - first]"),
    mistake("the first of a batch", "Which image of the batch do you load from?",
        KEPT, "held[top + dy] = memory.load(x[0, :, top + dy])"),
    mistake("any channels", "Weights are for another number of channels than the image has. What is to be raised?",
        "if channels != C:", "if False:",
        "memory.matmul_add(total[:, first:last], weight, entries)",
        "memory.matmul_add(total[:, first:last], weight[:, : row.shape[0]], entries)"),
]  # fmt: skip
