"""Lab 4, sealed: cases of byte-pair training and of the tokenizer."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from autograder.draw import Draw
from autograder.exercise import Given, calls
from mlsys_course.language_model import byte_pairs, split_text

TEXT = (
    "in the beginning the sea was calm and the ships were many, and they that went down to the sea in ships saw the "
    "light of the morning on the waters; the other men that stayed on the shore then went to their houses and slept"
)
BEYOND_ASCII = ["café", "Zürich", "naïve", "東京", "🙂", "ñandú", "¿qué?", "½"]


def words_case(words: dict[str, int], n_merges: int) -> dict[str, Any]:
    """A driver's words are text, a letter for each byte."""
    return {"words": list(words), "counts": list(words.values()), "n_merges": n_merges}


def drawn(draw: Draw, words: int, letters: str, shortest: int, longest: int, most: int) -> dict[str, int]:
    """Different words of these letters, each with a count from 1 to ``most``."""
    found: dict[str, int] = {}
    while len(found) < words:
        word = "".join(draw.choice(letters) for _ in range(draw.integer(shortest, longest)))
        found[word] = draw.integer(1, most)
    return found


def leaders(words: dict[str, int], n_merges: int) -> list[int]:
    """How many pairs are as frequent as the one that each merge takes."""
    texts = {tuple(word.encode("latin-1")): count for word, count in words.items()}
    found = []
    for n, best in enumerate(byte_pairs.train_merges({bytes(t): c for t, c in texts.items()}, n_merges)):
        counts: dict[tuple[int, int], int] = {}
        for tokens, count in texts.items():
            for pair in pairwise(tokens):
                counts[pair] = counts.get(pair, 0) + count
        found.append(sum(count == counts[best] for count in counts.values()))
        texts = {tuple(byte_pairs.merged(t, best, 256 + n)): c for t, c in texts.items()}
    return found


def without_ties(draw: Draw, n_merges: int, letters: str, most: int = 900) -> dict[str, Any]:
    """Words of which each merge has one pair that leads, and no letter stands beside itself."""
    while True:
        words = drawn(draw, 9, letters, 4, 7, most)
        words = {w: c for w, c in words.items() if all(a != b for a, b in pairwise(w))}
        if len(words) > 5 and leaders(words, n_merges) == [1] * n_merges:
            return words_case(words, n_merges)


def train_merges(draw: Draw) -> Sequence[Given]:
    spread, high = "bdgkmq", "".join(map(chr, (3, 127, 128, 200, 255)))
    letters = draw.sample("abcdefghijk", 6)
    chain = "".join(letters)  # each pair stands once
    run = draw.choice("xyz")
    runs = {run * draw.choice([5, 7, 9]): 3, "u" + run * 4: 2, run * 3 + "v": 1}
    counts = {"ab": 1, "bca": 1, "cac": 1, "ca": draw.integer(5, 9), "abab": 1}
    rare = {"".join(draw.sample("aeiou", 2)) + "s": draw.integer(300, 900), **drawn(draw, 4, "ab", 5, 7, 9)}
    single = {one: draw.integer(1, 5) for one in draw.sample("abcdef", 3)}
    n = draw.integer(4, 6)
    many = [without_ties(draw, k, spread) for k in (3, 5)]
    ended = {"".join(draw.sample("pqrs", 3)): 2, draw.choice("tuv"): 7}
    turned, large = drawn(draw, 6, "abc", 3, 6, 9), {"ba": 2**24 + 1, "ab": 2**24, "dc": 2**53 + 1, "cd": 2**53}
    other = {word: 10 - count for word, count in turned.items()}
    pieces = ("ab", "aab", "aaa", run)
    longs = {"".join(draw.choice(pieces) for _ in range(k)): draw.integer(1, 3) for k in (30, 60, 150)}
    return [
        Given("a few words", "merges", without_ties(draw, n, spread), public=True),
        Given("one word that stands often", "merges", words_case(rare, 1), public=True),
        Given("bytes of every size", "merges", without_ties(draw, n, high), public=True),
        Given("other words", "merges", without_ties(draw, 6, "stuvwx")),
        Given("one call after the other", "merges", calls(*many, many[0])),
        Given("the same words, other counts", "merges",
              calls(words_case(turned, 4), words_case(other, 4), words_case(turned, 6), words_case(large, 3))),
        Given("a thousand tokens", "ties", words_case(thousand(draw), 802)),
        Given("long words", "runs", calls(words_case(longs, 12), words_case({run * 301: 1}, 10))),
        Given("every pair once", "ties", words_case({chain: 1}, 5), public=True),
        Given("words of three letters", "ties", words_case(drawn(draw, 8, "abc", 3, 6, 2), 12), public=True),
        Given("two that lead", "ties", words_case({"ba": 3, "ab": 3, "cb": 2, "bc": 2, "ca": 1}, 5)),
        Given("ties among what was made", "ties", words_case(drawn(draw, 7, "ab", 5, 9, 2), 14)),
        Given("one letter again and again", "runs", words_case(runs, 4), public=True),
        Given("runs in words", "runs", words_case(drawn(draw, 6, "aab", 6, 9, 3), 6)),
        Given("a run alone", "runs", words_case({run * n: 1 for n in (2, 3, 6, 11)}, 5)),
        Given("fewer pairs than merges", "edges", words_case(ended, 9), public=True),
        Given("far fewer pairs", "edges", calls(words_case(ended, 2_000), words_case(ended, 3))),
        Given("letters alone", "edges", words_case(single, 3), public=True),
        Given("no words", "edges", words_case({}, 2)),
        Given("no merges", "edges", words_case(counts, 0)),
        Given("a pair that stands once", "edges", words_case({"pq": 1}, 1)),
        Given("less than no merges", "edges", words_case(counts, -1), public=True),
    ]  # fmt: skip


def thousand(draw: Draw) -> dict[str, int]:
    """800 pairs that stand often, and a tie between two that stand once, one of them with a token above 1,000."""
    low = draw.integer(20, 80)
    often = {chr(a) + chr(b): 3 for a in range(100, 200) for b in range(200, 208)}
    often[chr(199) + chr(207)] = 2  # and once more below, so that it is the last of all
    return {**often, chr(low) + chr(199) + chr(207): 1, chr(low + 1) + chr(draw.integer(1, 9)): 1}


ACROSS = [[ord(letter), ord(" ")] for letter in "esnd,"]  # merges of what no piece holds


def learned(draw: Draw, n_merges: int = 40) -> list[list[int]]:
    """A few merges across pieces, and those of drawn parts of the text above and of some words beyond ASCII."""
    pieces = split_text(TEXT)
    words = [f" {draw.choice(BEYOND_ASCII)}" for _ in range(4)] * 3 + draw.sample(pieces, 35)
    counts: dict[bytes, int] = {}
    for word in words:
        counts[word.encode()] = counts.get(word.encode(), 0) + draw.integer(1, 4)
    merges = byte_pairs.train_merges(counts, n_merges)
    return [*ACROSS, *([one if one < 256 else one + len(ACROSS) for one in pair] for pair in merges)]


def sentence(draw: Draw, words: int = 6) -> str:
    return " ".join(draw.sample(TEXT.split(), words))


def ranks(draw: Draw) -> dict[str, Any]:
    """Merges whose order decides: b joins c before a joins b, and ab would be first from the left."""
    a, b, c, d = draw.sample([97, 98, 99, 100, 101, 102], 4)
    merges = [[b, c], [a, b], [c, d], [256, d], [a, 256], [257, 257]]
    words = [a, b, c, d], [b, c, d], [b, c, a, b, c], [a, b, a, b, a, c, d], [a, b, c, b, c, d]
    texts = ["".join(map(chr, word)) for word in words]
    return {"merges": merges, "texts": texts}


def tokenizer(draw: Draw) -> Sequence[Given]:
    merges = learned(draw)
    foreign = draw.sample(BEYOND_ASCII, 4)
    end, mask, longer = *draw.sample(["<|end|>", "[MASK]", "<s>", "<|user|>"], 2), "<|user|>!"
    special = [end, f"{end}{mask[0]}", mask, longer]
    marked = [f"{sentence(draw, 2)}{end}{sentence(draw, 2)}", f"{mask}{end}{mask}", f"{end} {end}{mask[0]}{mask}"]
    size = 256 + len(merges) + len(special)
    ids = [
        draw.integers(9, high=256 + len(merges)) for _ in range(2)
    ]  # tensors: what groups draw differs in these only
    cut = [list(foreign[0].encode()[:-1]), [*b"ab", 255, 99], list("🙂".encode())[:3], [195, 40, 169]]
    halves = [[*"é".encode()], [*"東".encode(), *"🙂".encode()]]
    other = {"merges": learned(draw, 12), "texts": [sentence(draw)]}
    with_special = {"merges": merges, "special": special}
    overlapping = {
        "merges": [[98, 99]],
        "special": ["ab", "bcdef", "cde", "ef"],
        "texts": ["abcdef", "xbcdefab", "ccdef"],
    }
    accents = ["e\u0301te\u0301 \u00e9", "\ufb01x \u2460 \u212b", "A\u00a0b\u200b\ufeff", "a\r\nb\r", "Straße İi"]
    strange = {"merges": merges, "special": ["<é🙂>", "東", "\n\n"], "texts": ["é<é🙂>東京\n\n\n"]}
    runs = {"merges": [[97, 97], [256, 97], [97, 98]], "texts": ["aaa", "aaaaa aaab", "aaaaaaa"]}
    return [
        Given("a sentence", "encode", {"merges": merges, "texts": [sentence(draw)]}, public=True),
        Given("which merge is first", "encode", ranks(draw), public=True),
        Given("which merge is first, other letters", "encode", ranks(draw)),
        Given("beyond ASCII", "encode", {"merges": merges, "texts": foreign}, public=True),
        Given("space and digits", "encode", {"merges": merges, "texts": ["  the\n\n the 1234, the_the", " \t "]}),
        Given("cut another way", "encode", {"merges": merges, "threes": True, "texts": [sentence(draw)]}, public=True),
        Given("two tokenizers", "encode", calls({"merges": merges, "texts": other["texts"]}, other)),
        Given("runs", "encode", calls(runs, {**runs, "merges": [[97, 97], [256, 256]]})),
        Given("any Unicode", "encode", {"merges": merges, "texts": accents}),
        Given("any Unicode and back", "decode", {"merges": [], "ids": [list(text.encode()) for text in accents]}),
        Given("ids of a model", "decode", {"merges": merges, "ids": ids[:1]}, public=True),
        Given("characters of several bytes", "decode", {"merges": merges, "ids": halves}, public=True),
        Given("no UTF-8", "decode", {"merges": merges, "ids": cut[:2]}, public=True),
        Given("cut within a character", "decode", {"merges": merges, "ids": [*cut[2:], ids[1]]}),
        Given("special tokens", "special", {**with_special, "texts": marked}, public=True),
        Given("special tokens as text", "special", {**with_special, "texts": marked[:2], "allow_special": False},
              public=True),
        Given("special tokens back", "special", {**with_special, "ids": [[size - 1, 104, size - 4], [size - 2]]},
              public=True),
        Given("one begins as another", "special", {"merges": merges[:3], "special": ["ab", "abc", "b"],
              "texts": ["abcab b", "aab"]}),
        Given("found from the left", "special", calls(overlapping, {**overlapping, "threes": True})),
        Given("now special, now text", "special", {**with_special, "texts": marked, "in turn": [True, False, True]}),
        Given("special tokens beyond ASCII", "special",
              {**strange, "ids": [[256 + len(merges), 257 + len(merges), 65, 258 + len(merges)]]}),
        Given("signs of patterns", "special", {"merges": [], "special": ["(.*)", "a|b", "\\d"],
              "texts": ["a|b(.*)5\\d"]}),
        Given("nothing", "edges", {"merges": merges, "texts": [""], "ids": [[]]}, public=True),
        Given("no merges", "edges", {"merges": [], "texts": [sentence(draw, 2)], "ids": [[104, 105]]}),
        Given("ids that are none", "edges", {**with_special, "bad": [[104, size], [-1]]}, public=True),
        Given("ids that are none, no special tokens", "edges", {"merges": merges, "bad": [[256 + len(merges)], [-2]]}),
        Given("a merge too early", "edges", {"merges": [], "bad merges": [[97, 98], [97, 257]]}, public=True),
        Given("merges of what is no token", "edges",
              calls(*({"merges": [], "bad merges": [pair]} for pair in ([-1, 98], [98, -1], [256, 97], [97, 256])))),
        Given("byte 0", "edges", {"merges": [[0, 0], [97, 0], [0, 97]], "texts": ["\0\0a\0a"], "ids": [[0, 256, 257]]}),
    ]  # fmt: skip
