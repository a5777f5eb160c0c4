# %% wrong: "Special tokens in it are found first, from the left": the longest one is looked for in the whole text first, then shorter ones in what is left.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known = {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        for one in sorted(self.special, key=len, reverse=True) if allow_special else ():
            if one in text:
                parts = [self.encode(part) for part in text.split(one)]
                return sum(([self.of_special[one], *part] for part in parts[1:]), parts[0])
        return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")

# %% wrong: "Raises ValueError for a merge of a token that is none yet: merge n may use 0 to 255 + n.": a negative token passes, and counts from the end.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if max(first, second) >= 256 + n:
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known = {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")

# %% wrong: "With allow_special=False they are text like any other": what a text became is remembered, whatever allow_special is the next time.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known, self.known_texts = {}, {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        if text not in self.known_texts:
            self.known_texts[text] = self._encode(text, allow_special)
        return list(self.known_texts[text])

    def _encode(self, text, allow_special):
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")

# %% wrong: "then, as long as one fits, the earliest of the merges that fit": what pieces became is remembered by the class, and another tokenizer gets the ids of the first.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    known = {}

    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None


    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if (self.split, piece) not in self.known:
                self.known[self.split, piece] = self._piece(list(piece.encode()))
            ids += self.known[self.split, piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")

# %% wrong: "a special token's is its text": its text in ASCII, with ? for everything else.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known = {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode("ascii", "replace")
        return found.decode(errors="replace")

# %% wrong: "at all its places from the left": from the right, so that "aaa" becomes an "a" and the new token.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known = {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], len(ids)
            while at > 0:
                hit = at > 1 and self.rank.get(tuple(ids[at - 2 : at])) == best
                new.insert(0, 256 + best if hit else ids[at - 1])
                at -= 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")

# %% wrong: "The ids of a text, which may be any Unicode": it is normalized first, so that an "e" with an accent behind it becomes one letter, and decodes as another text.
import re
import unicodedata

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known = {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        text = unicodedata.normalize("NFC", text)
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids, at = [], 0
        for found in self.pattern.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self.of_special[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        while True:
            best = min((self.rank[pair] for pair in zip(ids, ids[1:]) if pair in self.rank), default=None)
            if best is None:
                return ids
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")

# %% right: one place at a time, the earliest merge at its leftmost place; special tokens by startswith at each place; decode stops at special tokens.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.merges = [tuple(pair) for pair in merges]
        if any(not 0 <= token <= 255 + n for n, pair in enumerate(self.merges) for token in pair):
            raise ValueError("a merge of a token that is none yet")
        self.made = {pair: 256 + n for n, pair in enumerate(self.merges)}
        self.special, self.split = tuple(special), split

    def __len__(self) -> int:
        return 256 + len(self.merges) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        ids, start, at = [], 0, 0
        while allow_special and at < len(text):
            here = [n for n, one in enumerate(self.special) if one and text.startswith(one, at)]
            if here:
                n = max(here, key=lambda n: len(self.special[n]))
                ids.extend(self.of_text(text[start:at]))
                ids.append(256 + len(self.merges) + n)
                at += len(self.special[n])
                start = at
            else:
                at += 1
        return [*ids, *self.of_text(text[start:])]

    def of_text(self, text):
        for piece in self.split(text):
            row = [*piece.encode("utf-8")]
            while True:
                fits = [(self.made[row[i], row[i + 1]], i) for i in range(len(row) - 1) if (row[i], row[i + 1]) in self.made]
                if not fits:
                    break
                token, i = min(fits)
                row[i : i + 2] = [token]
            yield from row

    def decode(self, ids) -> str:
        ids = list(ids)
        if any(one < 0 or one >= len(self) for one in ids):
            raise ValueError("not one of the ids")
        parts, pending = [], bytearray()
        for one in ids:
            if one >= 256 + len(self.merges):
                parts += [pending.decode("utf-8", "replace"), self.special[one - 256 - len(self.merges)]]
                pending = bytearray()
                continue
            stack = [one]
            while stack:
                top = stack.pop()
                if top < 256:
                    pending.append(top)
                else:
                    stack += reversed(self.merges[top - 256])
        return "".join(parts) + pending.decode("utf-8", "replace")

# %% right: all merges are tried in their order on each piece, and re.split with a group cuts out special tokens.
import re

PIECE = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")


def split_text(text: str) -> list[str]:
    return PIECE.findall(text)



class BytePairTokenizer:
    def __init__(self, merges, special=(), split=split_text):
        self.rank, self.special, self.split = {}, list(special), split
        self.bytes = [bytes([n]) for n in range(256)]
        for n, (first, second) in enumerate(merges):
            if not (0 <= first < 256 + n and 0 <= second < 256 + n):
                raise ValueError(f"merge {n} is of a token that is none yet")
            self.rank[first, second] = n
            self.bytes.append(self.bytes[first] + self.bytes[second])
        self.of_special = {text: len(self.bytes) + n for n, text in enumerate(self.special)}
        longest = sorted(self.special, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest))) if longest else None
        self.known = {}

    def __len__(self) -> int:
        return len(self.bytes) + len(self.special)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        if self.pattern is None or not allow_special:
            return self._plain(text)
        ids = []
        for n, part in enumerate(re.split(f"({self.pattern.pattern})", text)):
            ids += [self.of_special[part]] if n % 2 else self._plain(part)
        return ids

    def _plain(self, text):
        ids = []
        for piece in self.split(text):
            if piece not in self.known:
                self.known[piece] = self._piece(list(piece.encode()))
            ids += self.known[piece]
        return ids

    def _piece(self, ids):
        for best in sorted(self.rank.values()) if len(ids) > 1 else ():
            new, at = [], 0
            while at < len(ids):
                hit = self.rank.get(tuple(ids[at : at + 2])) == best
                new.append(256 + best if hit else ids[at])
                at += 1 + hit
            ids = new
        return ids

    def decode(self, ids) -> str:
        found = b""
        for one in ids:
            if not 0 <= one < len(self):
                raise ValueError(f"no id: {one}")
            found += self.bytes[one] if one < len(self.bytes) else self.special[one - len(self.bytes)].encode()
        return found.decode(errors="replace")
