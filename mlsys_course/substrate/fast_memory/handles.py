"""What a kernel holds in place of numbers: arrays in the slow memory, regions of them, tiles in the fast one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Index = int | range


@dataclass(frozen=True)
class Array:
    """Numbers in the slow memory, of any shape: only the shape is known here. ``a[2, 0:8]`` is a region of it."""

    number: int
    shape: tuple[int, ...]

    def __getitem__(self, index: int | slice | tuple[int | slice, ...]) -> Region:
        given = index if isinstance(index, tuple) else (index,)
        if len(given) > len(self.shape):
            raise IndexError(f"{len(given)} indices for an array of shape {self.shape}; give at most {len(self.shape)}")
        given += (slice(None),) * (len(self.shape) - len(given))
        return Region(self, tuple(_one(size, one) for size, one in zip(self.shape, given, strict=True)))

    @property
    def whole(self) -> Region:
        """All of it."""
        return self[()]


@dataclass(frozen=True)
class Region:
    """A part of an array: along each of its dimensions one place, or a range of places without a gap."""

    array: Array
    index: tuple[Index, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(one) for one in self.index if isinstance(one, range))

    def __str__(self) -> str:
        places = ",".join(f"{one.start}:{one.stop}" if isinstance(one, range) else str(one) for one in self.index)
        return f"a{self.array.number}[{places}]"


@dataclass(frozen=True)
class Tile:
    """A matrix in the fast memory, or a view of one, which takes no room: ``t[0:4, ::2]`` or ``t.T``."""

    number: int
    rows: range
    columns: range
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = len(self.rows), len(self.columns)
        return (columns, rows) if self.transposed else (rows, columns)

    @property
    def T(self) -> Tile:
        """The same numbers, rows as columns."""
        return Tile(self.number, self.rows, self.columns, not self.transposed)

    def __getitem__(self, index: slice | tuple[slice, slice]) -> Tile:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        if not (isinstance(rows, slice) and isinstance(columns, slice)):
            raise IndexError(f"{index!r}: a view of a tile is a tile, so give slices, as in tile[0:1]")
        if any(one.step is not None and one.step < 1 for one in (rows, columns)):
            raise IndexError(f"{index!r}: a step is at least 1")
        if self.transposed:
            rows, columns = columns, rows
        return Tile(self.number, self.rows[rows], self.columns[columns], self.transposed)

    def __str__(self) -> str:
        rows, columns = (f"{one.start}:{one.stop}:{one.step}" for one in (self.rows, self.columns))
        return f"t{self.number}[{rows},{columns}]" + "'" * self.transposed


def entries(shape: Sequence[int]) -> int:
    """How many numbers."""
    return math.prod(shape)


def _one(size: int, index: int | slice) -> Index:
    """A place, or the places of a slice, as Python counts them; IndexError where there is no such place."""
    if isinstance(index, slice):
        places = range(size)[index]
        if places.step != 1:
            raise IndexError(f"a step of {places.step}: memory moves entries in a row; take every other one of a tile")
        return places
    return range(size)[index]
