"""Lab 0, sealed: misconceptions about the product in blocks."""

import torch

from autograder.exercise import Misconception
from mlsys_course import foundations as component


def blocks(a, b, block, multiply, *, ragged=True, overwrite=False, same_dtype=False, extra=0):
    """The product with a place for each mistake."""
    if a.shape[1] != len(b) or min(block) < 1:
        raise ValueError("sizes")
    wide = a.dtype if same_dtype else torch.promote_types(a.dtype, torch.float32)
    product = torch.zeros(len(a), b.shape[1], dtype=wide, device=a.device)
    ends = (len(a), a.shape[1], b.shape[1])
    ends = [end + extra if ragged else end // size * size for end, size in zip(ends, block, strict=True)]
    rows, shared, columns = block
    for i in range(0, ends[0], rows):
        for j in range(0, ends[2], columns):
            for p in range(0, ends[1], shared):
                part = multiply(a[i : i + rows, p : p + shared], b[p : p + shared, j : j + columns])
                at = product[i : i + rows, j : j + columns]
                at.copy_(part if overwrite else at + part)
    return product.to(a.dtype)


def drops_the_rest(a, b, block, multiply):
    return blocks(a, b, block, multiply, ragged=False)


def last_tile_only(a, b, block, multiply):
    return blocks(a, b, block, multiply, overwrite=True)


def sums_in_16_bits(a, b, block, multiply):
    return blocks(a, b, block, multiply, same_dtype=True)


def first_size_for_all(a, b, block, multiply):
    return blocks(a, b, (block[0],) * 3, multiply) if min(block) > 0 else blocks(a, b, block, multiply)


def sizes_exchanged(a, b, block, multiply):
    return blocks(a, b, (block[0], block[2], block[1]), multiply)


def all_at_once(a, b, block, multiply):
    if min(block) < 1:
        raise ValueError("sizes")
    return blocks(a, b, (max(1, len(a)), max(1, len(b)), max(1, b.shape[1])), multiply)


def stripes(a, b, block, multiply):
    if min(block) < 1:
        raise ValueError("sizes")
    return blocks(a, b, (block[0], max(1, len(b)), block[2]), multiply)


def never_multiplies(a, b, block, multiply):
    """Right, by entries."""
    return blocks(a, b, block, lambda x, y: (x[:, :, None].double() * y.double()).sum(1))


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


def float32_result(a, b, block, multiply):
    return component.block_matmul(a, b, block, multiply).to(torch.promote_types(a.dtype, torch.float32))


BLOCK_MATMUL = [
    Misconception(
        "the rest is dropped", drops_the_rest, "How many blocks of 4 do 10 rows have? Which rows are in each?"
    ),
    Misconception(
        "overwritten", last_tile_only, "A tile of the product gets a part from every p. What is left of the first part?"
    ),
    Misconception(
        "sums in 16 bits", sums_in_16_bits, "Add 0.2 a thousand times in bfloat16. Where does the sum stop growing?"
    ),
    Misconception("the first size for all", first_size_for_all, "block has three sizes. Which does which axis take?"),
    Misconception(
        "sizes exchanged", sizes_exchanged, "block is (rows of a, columns of a, columns of b). Which is your second?"
    ),
    Misconception("all at once", all_at_once, "Print the shapes that multiply gets. Do they fit in a block?"),
    Misconception("whole stripes", stripes, "The inner axis is cut too. How long are the rows that multiply gets?"),
    Misconception("multiply is not used", never_multiplies, "Who multiplies two tiles here? Count the calls."),
    Misconception("empty tiles", empty_tiles, "Count the calls of multiply. Is there one with nothing in it?"),
    Misconception("never checks", never_checks, "Sizes that do not fit are refused: which error, and when?"),
    Misconception("the first inner block", first_inner_block, "How many tiles of a meet in one tile of the product?"),
    Misconception("a wider result", float32_result, "Sums are kept wide. Which dtype has the result?"),
]
