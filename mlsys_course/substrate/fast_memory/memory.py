"""A machine with a small fast memory and a large slow one, which counts what moves between them.

A kernel for it says what to load, compute and store; it holds handles, and never a number. So it is the same list of
instructions whatever the numbers are, and may be written down first and carried out elsewhere (``program.py``).
"""

import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import CourseProblem
from .handles import Array, Region, Tile, entries

MOST_OPERATIONS = 20_000  # of a kernel that is written down


class Full(CourseProblem, RuntimeError):
    """A tile that does not fit into what is left of the fast memory."""


class FastMemory:
    """``capacity`` entries of fast memory before a slow one. Tiles are matrices; numbers are computed with in tiles.

    moved: entries that went either way between the two memories; ``loads`` and ``stores`` say it by array's number.
    in_use, peak: entries that tiles take now, and at most so far.
    multiplications: of entries, in ``matmul_add``. operations: instructions so far.

    With a ``listing`` instructions are written down there, and not carried out.
    """

    def __init__(self, capacity: int, listing: list[str] | None = None):
        self.capacity, self.listing = capacity, listing
        self.loads: Counter[int] = Counter()
        self.stores: Counter[int] = Counter()
        self.in_use = self.peak = self.multiplications = self.operations = 0
        self.arrays: list[Array] = []
        self.tiles: dict[int, Tile] = {}  # those that take room, by number
        self._slow: dict[int, Tensor] = {}
        self._fast: dict[int, Tensor] = {}
        self._like = torch.zeros(())  # of the dtype and on the device of the arrays
        self._next = 0

    @property
    def moved(self) -> int:
        return self.loads.total() + self.stores.total()

    # ---- the slow memory ---------------------------------------------------------------------------------------------

    def array(self, x: Tensor) -> Array:
        """``x`` in the slow memory, as it is; what is made later has its dtype."""
        found = self.known(*x.shape)
        self._slow[found.number], self._like = x.detach(), x.detach().new_zeros(())
        return found

    def known(self, *shape: int) -> Array:
        """An array of which this side knows the shape only."""
        self.arrays.append(Array(len(self.arrays), tuple(shape)))
        return self.arrays[-1]

    def new(self, *shape: int) -> Array:
        """An array in the slow memory, to be stored to; NaN where nothing has been."""
        found = self.known(*shape)
        if self.listing is None:
            self._slow[found.number] = self._like.new_full(shape, math.nan)
        self._note("new", *shape)
        return found

    def read(self, array: Array) -> Tensor:
        """An array's numbers, for whoever has the machine at hand; nothing is counted."""
        if array.number not in self._slow:
            raise ValueError(
                "these numbers are elsewhere; on a machine of your own, FastMemory(n), array(x) brings some"
            )
        return self._slow[array.number]

    # ---- between the two ---------------------------------------------------------------------------------------------

    def load(self, region: Region | Array) -> Tile:
        """A new tile with a region's entries, each of which is moved. A region with one range becomes a row."""
        region = region.whole if isinstance(region, Array) else region
        tile = self._new_tile(*_matrix(region))
        if (x := self._part(region)) is not None:
            self._fast[tile.number] = x.reshape(tile.shape).clone()
        self.loads[region.array.number] += entries(tile.shape)
        self._note("load", region)
        return tile

    def store(self, tile: Tile, region: Region | Array) -> None:
        """A region becomes a tile of its shape, each entry of which is moved; the tile stays."""
        region = region.whole if isinstance(region, Array) else region
        x, part = self._numbers(tile), self._part(region)
        if _matrix(region) != tile.shape:
            raise ValueError(f"a tile of {tile.shape} does not fit a region of {_matrix(region)}; cut one of them")
        if x is not None and part is not None:
            part.copy_(x.reshape(part.shape))
        self.stores[region.array.number] += entries(tile.shape)
        self._note("store", tile, region)

    # ---- the fast memory ---------------------------------------------------------------------------------------------

    def full(self, rows: int, columns: int, value: float = 0.0) -> Tile:
        """A new tile with ``value`` everywhere; nothing is moved."""
        tile = self._new_tile(rows, columns)
        if self.listing is None:
            self._fast[tile.number] = self._like.new_full((rows, columns), float(value))
        self._note("full", rows, columns, float(value))
        return tile

    def copy(self, tile: Tile) -> Tile:
        """A new tile with the same entries."""
        return self._made("copy", tile, tile.shape, Tensor.clone)

    def free(self, *tiles: Tile) -> None:
        """Their room may be taken again, and they are no more."""
        for tile in tiles:
            self._numbers(tile)
            self.in_use -= entries(self.tiles.pop(tile.number).shape)
            self._fast.pop(tile.number, None)
            self._note("free", tile)

    # ---- arithmetic on tiles -----------------------------------------------------------------------------------------

    def matmul_add(self, out: Tile, a: Tile, b: Tile) -> None:
        """out += a @ b, in place."""
        (m, k), (inner, n) = a.shape, b.shape
        x, y, z = (self._numbers(tile) for tile in (out, a, b))
        if inner != k or out.shape != (m, n):
            raise ValueError(f"{a.shape} by {b.shape} into {out.shape}; sizes are (m, k), (k, n) and (m, n)")
        if x is not None and y is not None and z is not None:
            x.add_(y @ z)
        self.multiplications += m * k * n
        self._note("matmul_add", out, a, b)

    def add(self, x: Tile, y: Tile | float) -> None:
        """x += y, in place; y a number or a tile that broadcasts to x: as many rows or one, as many columns or one."""
        self._in_place("add", x, y, Tensor.add_)

    def subtract(self, x: Tile, y: Tile | float) -> None:
        """x -= y, in place; y as for ``add``."""
        self._in_place("subtract", x, y, Tensor.sub_)

    def multiply(self, x: Tile, y: Tile | float) -> None:
        """x *= y, in place, entry by entry; y as for ``add``."""
        self._in_place("multiply", x, y, Tensor.mul_)

    def divide(self, x: Tile, y: Tile | float) -> None:
        """x /= y, in place; y as for ``add``."""
        self._in_place("divide", x, y, Tensor.div_)

    def maximum(self, x: Tile, y: Tile | float) -> None:
        """x becomes the larger of x and y, in place; y as for ``add``."""
        self._in_place("maximum", x, y, lambda x, y: torch.maximum(x, y, out=x))

    def exp(self, x: Tile) -> None:
        """e to the power of each entry, in place."""
        if (numbers := self._numbers(x)) is not None:
            numbers.exp_()
        self._note("exp", x)

    def log(self, x: Tile) -> None:
        """The natural logarithm of each entry, in place; of 0 it is -inf."""
        if (numbers := self._numbers(x)) is not None:
            numbers.log_()
        self._note("log", x)

    def rowmax(self, x: Tile) -> Tile:
        """A new tile (rows, 1): the largest entry of each row."""
        return self._made("rowmax", x, (x.shape[0], 1), lambda x: x.amax(1, keepdim=True))

    def rowsum(self, x: Tile) -> Tile:
        """A new tile (rows, 1): each row's sum."""
        return self._made("rowsum", x, (x.shape[0], 1), lambda x: x.sum(1, keepdim=True))

    def keep_band(self, x: Tile, low: int | None, high: int | None, otherwise: float = -math.inf) -> None:
        """Entry (r, c) of x stays where low <= c - r <= high, and becomes ``otherwise`` elsewhere; None: no bound."""
        numbers, (rows, columns) = self._numbers(x), x.shape
        low, high = -rows if low is None else low, columns if high is None else high
        if numbers is not None and not (low <= 1 - rows and columns - 1 <= high):  # else, all of it stays
            places = torch.arange(columns, device=numbers.device) - torch.arange(rows, device=numbers.device)[:, None]
            numbers.masked_fill_((places < low) | (places > high), otherwise)
        self._note("keep_band", x, low, high, float(otherwise))

    # ---- how it is done ----------------------------------------------------------------------------------------------

    def _note(self, name: str, *operands: object) -> None:
        self.operations += 1
        if self.listing is not None:
            if self.operations > MOST_OPERATIONS:
                raise RuntimeError(f"more than {MOST_OPERATIONS:,} instructions; use larger tiles")
            self.listing.append(" ".join([name, *map(str, operands)]))

    def _new_tile(self, rows: int, columns: int) -> Tile:
        wanted, left = rows * columns, self.capacity - self.in_use
        if rows < 0 or columns < 0:
            raise ValueError(f"a tile of {rows} x {columns}; sizes are at least 0")
        if wanted > left:
            raise Full(f"a tile of {rows} x {columns} takes {wanted:,} entries; {left:,} of {self.capacity:,} are left")
        self.in_use += wanted
        self.peak = max(self.peak, self.in_use)
        tile = self.tiles[self._next] = Tile(self._next, range(rows), range(columns))
        self._next += 1
        return tile

    def _made(self, name: str, x: Tile, shape: tuple[int, int], function: Callable[[Tensor], Tensor]) -> Tile:
        """A new tile from another one."""
        numbers = self._numbers(x)
        tile = self._new_tile(*shape)
        if numbers is not None:
            self._fast[tile.number] = function(numbers)
        self._note(name, x)
        return tile

    def _in_place(self, name: str, x: Tile, y: Tile | float, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        numbers = self._numbers(x)
        other = self._numbers(y) if isinstance(y, Tile) else self._like.new_tensor(float(y))
        if isinstance(y, Tile) and any(size not in (1, whole) for size, whole in zip(y.shape, x.shape, strict=True)):
            raise ValueError(f"{y.shape} does not broadcast to {x.shape}; give as many rows and columns, or one")
        if numbers is not None and other is not None:
            function(numbers, other)
        self._note(name, x, y if isinstance(y, Tile) else float(y))

    def _numbers(self, tile: Tile) -> Tensor | None:
        """A view of a tile's numbers, or None where they are elsewhere; ValueError where it was freed."""
        if tile.number not in self.tiles:
            raise ValueError("this tile was freed, or is another memory's; load it again")
        if tile.number not in self._fast:
            return None
        rows, columns = (slice(one.start, one.stop, one.step) for one in (tile.rows, tile.columns))
        view = self._fast[tile.number][rows, columns]
        return view.T if tile.transposed else view

    def _part(self, region: Region) -> Tensor | None:
        """A view of a region's numbers, or None where they are elsewhere."""
        if (whole := self._slow.get(region.array.number)) is None:
            return None
        return whole[tuple(slice(one.start, one.stop) if isinstance(one, range) else one for one in region.index)]


def _matrix(region: Region) -> tuple[int, int]:
    """Rows and columns of a region, which has a place each along its other dimensions."""
    if not 1 <= len(region.shape) <= 2:
        raise ValueError(f"a region of shape {region.shape}; a tile is a matrix, so give a place along the others")
    rows, columns = (1, *region.shape)[-2:]
    return rows, columns
