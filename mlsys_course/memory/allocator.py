"""A caching allocator: what a framework does with a card's memory between the driver and the tensors."""

from dataclasses import dataclass, field


@dataclass
class Block:
    """A piece of a segment: ``size`` bytes from ``address`` on, in use or free."""

    address: int
    size: int
    in_use: bool = False


@dataclass
class Segment:
    """Bytes that the driver gave in one piece; its blocks lie side by side, in the order of their addresses."""

    blocks: list[Block] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(block.size for block in self.blocks)

    @property
    def in_use(self) -> int:
        return sum(block.size for block in self.blocks if block.in_use)

    def split(self, block: Block, size: int) -> None:
        """The block keeps its first ``size`` bytes; the rest becomes a free one."""
        at = self.blocks.index(block)
        self.blocks.insert(at + 1, Block(block.address + size, block.size - size))
        block.size = size

    def coalesce(self) -> None:
        """Free neighbours become one block."""
        merged: list[Block] = []
        for block in self.blocks:
            if merged and not merged[-1].in_use and not block.in_use:
                merged[-1].size += block.size
            else:
                merged.append(block)
        self.blocks = merged


class CachingAllocator:
    """Gives out addresses in segments that it asks of a device of ``capacity`` bytes, and keeps what is freed.

    Sizes are rounded up to multiples of ``block_size``, of which ``segment_size`` is one. A request takes the smallest
    free block that is large enough, of equal ones that with the lowest address; what is left of it stays as a free
    block behind. Where no block is large enough the device is asked for a segment: of ``segment_size`` bytes, or of the
    rounded size where that is more. The first begins at address 0, each later one where the last one that was asked for
    ended; addresses never come back. Where the device has not that much left, all segments without a block in use are
    given back to it first. A freed block is joined with free neighbours of its segment, never beyond it.
    Source: PyTorch's ``CUDACachingAllocator``, in small. Lab 10, exercise ``CachingAllocator``.
    """

    def __init__(self, capacity: int, segment_size: int, block_size: int = 512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self._segments: list[Segment] = []
        self._end = 0  # of all addresses so far

    @property
    def reserved(self) -> int:
        """Bytes that the device has given."""
        return sum(segment.size for segment in self._segments)

    @property
    def in_use(self) -> int:
        """Bytes of blocks in use, rounded sizes."""
        return sum(segment.in_use for segment in self._segments)

    def segments(self) -> list[dict[str, int]]:
        """Each segment's ``size``, bytes ``in_use`` and ``largest_hole``, in the order of addresses."""
        return [
            {
                "size": segment.size,
                "in_use": segment.in_use,
                "largest_hole": max((block.size for block in segment.blocks if not block.in_use), default=0),
            }
            for segment in self._segments
        ]

    def allocate(self, size: int) -> int:
        """The address of a block of at least ``size`` bytes.

        Raises:
            ValueError: ``size`` is less than 1.
            MemoryError: the device has not enough, also after all that can be given back was; nothing in use changed.
        """
        if size < 1:
            raise ValueError(f"size={size} bytes; ask for at least 1")
        rounded = -(-size // self.block_size) * self.block_size
        segment, block = self._best_fit(rounded) or self._grow(rounded)
        if block.size > rounded:
            segment.split(block, rounded)
        block.in_use = True
        return block.address

    def free(self, address: int) -> None:
        """Takes a block back. Raises ValueError for what is not the address of a block in use."""
        for segment in self._segments:
            for block in segment.blocks:
                if block.address == address and block.in_use:
                    block.in_use = False
                    segment.coalesce()
                    return
        raise ValueError(f"no block in use begins at address {address}; was it freed before?")

    def _best_fit(self, size: int) -> tuple[Segment, Block] | None:
        """The smallest free block of that size or more, and its segment."""
        free = [(s, block) for s in self._segments for block in s.blocks if not block.in_use and block.size >= size]
        return min(free, key=lambda found: (found[1].size, found[1].address), default=None)

    def _grow(self, size: int) -> tuple[Segment, Block]:
        """A new segment, all of it one free block."""
        wanted = self._segment_for(size)
        if self.reserved + wanted > self.capacity:
            self._segments = [segment for segment in self._segments if segment.in_use]
        if self.reserved + wanted > self.capacity:
            left = self.capacity - self.reserved
            raise MemoryError(
                f"a segment of {wanted:,} bytes is wanted and the device has {left:,} left; {self.reserved:,} are "
                f"reserved, {self.in_use:,} of them in use: free something, or ask for what fits into a hole"
            )
        block = Block(self._end, wanted)
        self._end += wanted
        self._segments.append(Segment([block]))
        return self._segments[-1], block

    def _segment_for(self, size: int) -> int:
        """Bytes to ask of the device for a block of ``size``."""
        return max(size, self.segment_size)
