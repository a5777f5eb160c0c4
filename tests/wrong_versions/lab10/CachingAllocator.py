# %% wrong: "of equal ones that with the lowest address": among equal holes the newest segment goes first.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: (one[0], -one[2][0][0], one[1]))
        else:
            address, row = self._ask(max(size, self.segment_size))
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            self.rows = [row for row in self.rows if any(block[2] for block in row)]
            self.reserved = sum(block[1] for row in self.rows for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] == address and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    if at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": max((block[1] for block in row if not block[2]), default=0),
            }
            for row in self.rows
        ]

# %% wrong: "those in which no block is in use are first given back, all of them": only as many as are needed.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: one[:2])
        else:
            address, row = self._ask(max(size, self.segment_size))
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            for row in list(self.rows):
                if self.reserved + size > self.capacity and not any(block[2] for block in row):
                    self.rows.remove(row)
                    self.reserved -= sum(block[1] for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] == address and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    if at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": max((block[1] for block in row if not block[2]), default=0),
            }
            for row in self.rows
        ]

# %% wrong: "If none is large enough the device is asked for a segment, of segment_size bytes": where that is too much it asks for the rounded size only, and there is no MemoryError.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: one[:2])
        else:
            try:
                address, row = self._ask(max(size, self.segment_size))
            except MemoryError:
                address, row = self._ask(size)
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            self.rows = [row for row in self.rows if any(block[2] for block in row)]
            self.reserved = sum(block[1] for row in self.rows for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] == address and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    if at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": max((block[1] for block in row if not block[2]), default=0),
            }
            for row in self.rows
        ]

# %% wrong: "Raises ValueError where no block in use begins there.": an address within a block frees that block.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: one[:2])
        else:
            address, row = self._ask(max(size, self.segment_size))
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            self.rows = [row for row in self.rows if any(block[2] for block in row)]
            self.reserved = sum(block[1] for row in self.rows for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] <= address < block[0] + block[1] and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    if at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": max((block[1] for block in row if not block[2]), default=0),
            }
            for row in self.rows
        ]

# %% wrong: "free neighbours in the same segment become one block with it": one neighbour at most.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: one[:2])
        else:
            address, row = self._ask(max(size, self.segment_size))
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            self.rows = [row for row in self.rows if any(block[2] for block in row)]
            self.reserved = sum(block[1] for row in self.rows for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] == address and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    elif at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": max((block[1] for block in row if not block[2]), default=0),
            }
            for row in self.rows
        ]

# %% wrong: "its largest_hole: the size of its largest free block": of its last one.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: one[:2])
        else:
            address, row = self._ask(max(size, self.segment_size))
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            self.rows = [row for row in self.rows if any(block[2] for block in row)]
            self.reserved = sum(block[1] for row in self.rows for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] == address and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    if at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": next((block[1] for block in reversed(row) if not block[2]), 0),
            }
            for row in self.rows
        ]

# %% wrong: "If the segments would have more than capacity bytes together, those in which no block is in use are first given back": it reckons first whether that would help, and where it would not it gives nothing back before the MemoryError.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.reserved = self.in_use = self.next = 0
        self.rows = []  # of each segment a list of blocks [address, size, used]

    def allocate(self, size):
        if size < 1:
            raise ValueError("a size below 1")
        size = -(-size // self.block_size) * self.block_size
        found = [(block[1], block[0], row) for row in self.rows for block in row if not block[2] and block[1] >= size]
        if found:
            _, address, row = min(found, key=lambda one: one[:2])
        else:
            address, row = self._ask(max(size, self.segment_size))
        at = [block[0] for block in row].index(address)
        rest = row[at][1] - size
        row[at : at + 1] = [[address, size, True]] + ([[address + size, rest, False]] if rest else [])
        self.in_use += size
        return address

    def _ask(self, size):
        if self.reserved + size > self.capacity:
            kept = sum(block[1] for row in self.rows if any(block[2] for block in row) for block in row)
            if kept + size > self.capacity:
                raise MemoryError("the device is full")
            self.rows = [row for row in self.rows if any(block[2] for block in row)]
            self.reserved = sum(block[1] for row in self.rows for block in row)
        if self.reserved + size > self.capacity:
            raise MemoryError("the device is full")
        self.rows.append([[self.next, size, False]])
        self.reserved += size
        self.next += size
        return self.rows[-1][0][0], self.rows[-1]

    def free(self, address):
        for row in self.rows:
            for at, block in enumerate(row):
                if block[0] == address and block[2]:
                    self.in_use -= block[1]
                    block[2] = False
                    if at + 1 < len(row) and not row[at + 1][2]:
                        block[1] += row.pop(at + 1)[1]
                    if at and not row[at - 1][2]:
                        row[at - 1][1] += row.pop(at)[1]
                    return
        raise ValueError("no block in use begins there")

    def segments(self):
        return [
            {
                "size": sum(block[1] for block in row),
                "in_use": sum(block[1] for block in row if block[2]),
                "largest_hole": max((block[1] for block in row if not block[2]), default=0),
            }
            for row in self.rows
        ]

# %% right: three dictionaries keyed by address and by end of a hole; segments are found by bisection.
import bisect


class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self._most, self._piece, self._unit = capacity, segment_size, block_size
        self._starts, self._sizes, self._fresh = [], {}, 0
        self._used, self._holes, self._ends = {}, {}, {}

    @property
    def reserved(self):
        return sum(self._sizes.values())

    @property
    def in_use(self):
        return sum(self._used.values())

    def _segment_of(self, address):
        return self._starts[bisect.bisect_right(self._starts, address) - 1]

    def _hole(self, address, size):
        if size:
            self._holes[address], self._ends[address + size] = size, address

    def _fill(self, address):
        size = self._holes.pop(address)
        del self._ends[address + size]
        return size

    def allocate(self, size):
        if not size >= 1:
            raise ValueError(f"a block of {size} bytes")
        size += -size % self._unit
        address = min((a for a, s in self._holes.items() if s >= size), key=lambda a: (self._holes[a], a), default=None)
        if address is None:
            wanted = max(self._piece, size)
            if self.reserved + wanted > self._most:
                for start in [s for s in self._starts if self._holes.get(s) == self._sizes[s]]:
                    self._fill(start)
                    self._starts.remove(start)
                    del self._sizes[start]
                if self.reserved + wanted > self._most:
                    raise MemoryError(f"no {wanted} bytes left")
            address, self._fresh = self._fresh, self._fresh + wanted
            self._starts.append(address)
            self._sizes[address] = wanted
            self._hole(address, wanted)
        self._hole(address + size, self._fill(address) - size)
        self._used[address] = size
        return address

    def free(self, address):
        if address not in self._used:
            raise ValueError(f"nothing in use begins at {address}")
        segment, size = self._segment_of(address), self._used.pop(address)
        if address + size in self._holes and self._segment_of(address + size) == segment:
            size += self._fill(address + size)
        if address in self._ends and address != segment:
            before = self._ends[address]
            size += self._fill(before)
            address = before
        self._hole(address, size)

    def segments(self):
        found = []
        for start in self._starts:
            stop = start + self._sizes[start]
            holes = [size for a, size in self._holes.items() if start <= a < stop]
            row = {"size": stop - start, "in_use": stop - start - sum(holes), "largest_hole": max([0, *holes])}
            found.append(row)
        return found

# %% right: keeps blocks in use only; holes are what lies between them, reckoned anew at each call.
class CachingAllocator:
    def __init__(self, capacity, segment_size, block_size=512):
        self.capacity, self.segment_size, self.block_size = capacity, segment_size, block_size
        self.asked, self.all = 0, []  # of each segment: begin, end, {address: size}

    reserved = property(lambda self: sum(end - begin for begin, end, _ in self.all))
    in_use = property(lambda self: sum(sum(blocks.values()) for _, _, blocks in self.all))

    @staticmethod
    def holes(begin, end, blocks):
        at = begin
        for address in [*sorted(blocks), end]:
            if address > at:
                yield address - at, at
            at = address + blocks.get(address, 0)

    def allocate(self, size):
        if size < 1:
            raise ValueError
        size = (size + self.block_size - 1) // self.block_size * self.block_size
        fits = [(*hole, blocks) for begin, end, blocks in self.all for hole in self.holes(begin, end, blocks) if hole[0] >= size]
        if fits:
            _, address, blocks = min(fits, key=lambda fit: (fit[0], fit[1]))
        else:
            more = size if size > self.segment_size else self.segment_size
            if more > self.capacity - self.reserved:
                self.all = [segment for segment in self.all if segment[2]]
            if more > self.capacity - self.reserved:
                raise MemoryError
            address, blocks = self.asked, {}
            self.asked += more
            self.all.append((address, self.asked, blocks))
        blocks[address] = size
        return address

    def free(self, address):
        for _, _, blocks in self.all:
            if blocks.pop(address, None) is not None:
                return
        raise ValueError

    def segments(self):
        return [
            dict(size=end - begin, in_use=sum(blocks.values()),
                 largest_hole=max(self.holes(begin, end, blocks), default=(0, 0))[0])
            for begin, end, blocks in self.all
        ]
