"""Kernels as text, an instruction a line: written down on one side, carried out and counted on another."""

import re
from collections.abc import Callable, Sequence

from torch import Tensor

from .handles import Array, Region, Tile, entries
from .memory import MOST_OPERATIONS, FastMemory

INSTRUCTIONS = frozenset(
    [
        "new",
        "load",
        "store",
        "full",
        "copy",
        "free",
        "matmul_add",
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "exp",
        "log",
        "rowmax",
        "rowsum",
        "keep_band",
    ]
)
MOST_NEW = 1 << 22  # entries of all arrays that a program makes
HANDLE = re.compile(r"([at])(\d{1,6})\[([\d:,]*)\]('?)")


def written(capacity: int, shapes: Sequence[Sequence[int]], kernel: Callable[..., Array | Sequence[Array]]) -> dict:
    """``kernel(memory, *arrays)`` as text, for arrays of these shapes, and the numbers of the arrays it returns."""
    listing: list[str] = []
    memory = FastMemory(capacity, listing)
    made = kernel(memory, *(memory.known(*shape) for shape in shapes))
    results = [made] if isinstance(made, Array) else list(made)
    if wrong := [one for one in results if not isinstance(one, Array)]:
        raise TypeError(f"returned a {type(wrong[0]).__name__}; return arrays in the slow memory, made by memory.new")
    return {"program": "\n".join(listing), "results": [one.number for one in results]}


def carried_out(program: str, capacity: int, arrays: Sequence[Tensor]) -> FastMemory:
    """The machine after a program on ``arrays``. The text may be anybody's: an Exception where it is no program, where
    a tile does not fit, or where it is too long."""
    memory = FastMemory(capacity)
    for x in arrays:
        memory.array(x.clone())
    lines = program.splitlines()
    if len(lines) > MOST_OPERATIONS:
        raise ValueError(f"{len(lines):,} instructions; at most {MOST_OPERATIONS:,} are carried out")
    for line in lines:
        name, *words = line.split(" ")
        if name not in INSTRUCTIONS:
            raise ValueError(f"{name[:20]!r} is no instruction")
        operands = [_operand(memory, word) for word in words]
        if name == "new":
            _room_for(memory, operands)
        getattr(memory, name)(*operands)
    return memory


def _room_for(memory: FastMemory, shape: Sequence[object]) -> None:
    sizes = [size for size in shape if isinstance(size, int) and 0 <= size <= MOST_NEW]
    before = sum(entries(array.shape) for array in memory.arrays)
    if len(sizes) != len(shape) or len(sizes) > 8 or before + entries(sizes) > MOST_NEW:
        raise ValueError(f"new {shape}: at most {MOST_NEW:,} entries are kept")


def _operand(memory: FastMemory, word: str) -> Tile | Region | int | float | None:
    """A handle by its text, cut to what there is; or a number."""
    if found := HANDLE.fullmatch(word):
        kind, number, places, transposed = found.groups()
        index = tuple(_places(one) for one in places.split(",")) if places else ()
        if kind == "a":
            return memory.arrays[int(number)][index]
        tile = memory.tiles[int(number)][index]  # type: ignore[index]
        return tile.T if transposed else tile
    if word == "None":
        return None
    return int(word) if re.fullmatch(r"-?\d{1,9}", word) else float(word)


def _places(word: str) -> slice | int:
    numbers = [int(part) for part in word.split(":")]
    return numbers[0] if len(numbers) == 1 else slice(*numbers)
