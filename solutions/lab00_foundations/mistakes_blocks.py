"""Lab 0, sealed: misconceptions about the product in blocks."""

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import foundations as component


def by_entries(x, y):
    """Right, without a product of tiles."""
    return (x[:, :, None].double() * y.double()).sum(1)


def empty_tiles(a, b, block, multiply):
    found = component.block_matmul(a, b, block, multiply)
    multiply(a[:0], b)
    return found


def never_checks(a, b, block, multiply):
    inner = min(a.shape[1], len(b))
    rows, shared, columns = (max(1, abs(size)) for size in block)
    return component.block_matmul(a[:, :inner], b[:inner], (rows, shared, columns), multiply)


def first_inner_block(a, b, block, multiply):
    component.block_matmul(a[:1], b[:, :1], block, multiply) if a.shape[1] != len(b) or min(block) < 1 else None
    return component.block_matmul(a[:, : block[1]], b[: block[1]], block, multiply)


SIZES, mistake = "rows, shared, columns = block", wrong(component.block_matmul)
BLOCK_MATMUL = [
    mistake("the rest is dropped", "How many blocks of 4 do 10 rows have? Which rows are in each?",
        "(0, n, rows)", "(0, n // rows * rows, rows)", "(0, inner, shared)", "(0, inner // shared * shared, shared)",
        "(0, m, columns)", "(0, m // columns * columns, columns)"),
    mistake("overwritten", "A tile of the product gets a part from every p. What is left of the first part?",
        "tile += ", "tile[:] = "),
    mistake("sums in 16 bits", "Add 0.2 a thousand times in bfloat16. Where does the sum stop growing?",
        "dtype=torch.promote_types(a.dtype, torch.float32)", "dtype=a.dtype"),
    mistake("the first size for all", "block has three sizes. Which does which axis take?",
        SIZES, "rows = shared = columns = block[0]"),
    mistake("sizes exchanged", "block is (rows of a, columns of a, columns of b). Which is your second?",
        SIZES, "rows, columns, shared = block"),
    mistake("all at once", "Print the shapes that multiply gets. Do they fit in a block?",
        SIZES, "rows, shared, columns = (max(1, size) for size in (n, inner, m))"),
    mistake("whole stripes", "The inner axis is cut too. How long are the rows that multiply gets?",
        SIZES, "rows, shared, columns = block[0], max(1, inner), block[2]"),
    Misconception("multiply is not used", lambda a, b, block, multiply: component.block_matmul(a, b, block, by_entries),
        "Who multiplies two tiles here? Count the calls."),
    Misconception("empty tiles", empty_tiles, "Count the calls of multiply. Is there one with nothing in it?"),
    Misconception("never checks", never_checks, "Sizes that do not fit are refused: which error, and when?"),
    Misconception("the first inner block", first_inner_block, "How many tiles of a meet in one tile of the product?"),
    mistake("a wider result", "Sums are kept wide. Which dtype has the result?", "product.to(a.dtype)", "product"),
]  # fmt: skip
