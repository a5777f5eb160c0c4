"""Lab 4, sealed: misconceptions about byte-pair encoding."""

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import language_model as component

mistake = wrong(component.train_merges)
BEST = "min(pair for pair, count in pairs.items() if count == most)"
LATER = "min((pair for pair, count in pairs.items() if count == most), key=lambda pair: pair[::-1])"
FRESH = "_count(pairs, texts[n], counts[n], places, n)"


def from_the_right(tokens, pair, made):
    found, at = [], len(tokens)
    while at > 0:
        if tuple(tokens[max(at - 2, 0) : at]) == pair:
            found.append(made)
            at -= 2
        else:
            found.append(tokens[at - 1])
            at -= 1
    return found[::-1]


def first_only(tokens, pair, made):
    for at in range(len(tokens) - 1):
        if tuple(tokens[at : at + 2]) == pair:
            return [*tokens[:at], made, *tokens[at + 2 :]]
    return list(tokens)


def one_text(words, n_merges):
    return component.train_merges({b"".join(word * count for word, count in words.items()): 1}, n_merges)


TRAIN_MERGES = [
    mistake("words count once", "A word has a count. What does it do to the pairs in the word?",
        "list(words.values())", "[1] * len(words)"),
    mistake("the first pair met", "Two pairs stand equally often. Which of them does the docstring want first?",
        BEST, BEST.replace("min", "next")),
    mistake("the largest of equals", "Two pairs stand equally often. Is the smaller one first, or the larger?",
        BEST, BEST.replace("min", "max")),
    mistake("the later token decides", "Of equally frequent pairs, which of their two tokens is looked at first?",
        BEST, LATER),
    mistake("counted once", "After a merge its neighbours have new pairs, and old pairs are gone. Who counts them?",
        FRESH, "pass", "_count(pairs, texts[n], -counts[n])", "pairs[best] = 0"),
    mistake("old pairs stay", "`abc` with ab merged: does the pair (b, c) still stand in it?",
        "_count(pairs, texts[n], -counts[n])", "pairs[best] = 0"),
    mistake("one in each word", "A pair may stand twice in a word. How many of them does a merge replace?",
        merged=first_only),
    mistake("from the right", "In a run such as `aaa`, which two become one: the first two, or the last two?",
        merged=from_the_right),
    mistake("ids one too high", "Which id has the first token that is no byte?",
        "256 + len(merges))", "257 + len(merges))"),
    mistake("stops at pairs that stand once", "When does the docstring end early: where a pair is rare, or where none "
        "is left?", "if most == 0", "if most < 2"),
    Misconception("pairs across words", one_text, "The last letter of a word and the first of the next: is it a pair?"),
]  # fmt: skip

mistake = wrong(component.BytePairTokenizer)
FIRST = "min(known, key=self.ranks.__getitem__)"


class LongestFirst(component.BytePairTokenizer):
    def _merged(self, piece: bytes) -> list[int]:
        ids, known = [], {content: n for n, content in reversed(list(enumerate(self.bytes)))}
        while piece:
            end = next(end for end in range(len(piece), 0, -1) if piece[:end] in known)
            ids.append(known[piece[:end]])
            piece = piece[end:]
        return ids


class OneByOne(component.BytePairTokenizer):
    def decode(self, ids) -> str:
        super().decode(ids)
        return "".join(self.bytes[one].decode(errors="replace") for one in ids)


class LeavesSpecialOut(component.BytePairTokenizer):
    def decode(self, ids) -> str:
        super().decode(ids)
        return super().decode(one for one in ids if one not in self.special.values())


BYTE_PAIR_TOKENIZER = [
    mistake("the first pair from the left", "Several merges fit. Which one is made first: the leftmost, or the one "
        "that was learned first?", FIRST, "known[0]"),
    mistake("the last that was learned", "Several merges fit. Which one is made first: the one that was learned first, "
        "or last?", FIRST, FIRST.replace("min", "max")),
    Misconception("the longest token", LongestFirst, "Cutting off the longest token that fits is another rule. Which "
        "merges were learned first?"),
    mistake("not cut into pieces", "A token never reaches from one piece into the next. What is split for?",
        "for piece in self.split(text):", "for piece in [text]:"),
    mistake("always cut the same way", "Which function cuts the text: yours, or the one that is given?",
        "in self.split(text):", "in split_text(text):"),
    mistake("characters for bytes", "é is one character. How many bytes is it in UTF-8, and which?",
        "tokens = list(piece)", "tokens = [ord(c) for c in piece.decode()]"),
    Misconception("each token by itself", OneByOne, "A character may be cut into several tokens. What does half of one "
        "decode to?"),
    mistake("wrong bytes are left out", "What does the docstring put in the place of bytes that are no UTF-8?",
        'errors="replace"', 'errors="ignore"'),
    mistake("the shortest special token", "Where one special token begins as another does, which one is meant?",
        "key=len, reverse=True", "key=len"),
    mistake("special tokens are always special", "What should become of the text of a special token where "
        "allow_special is False?", "if self._special is None or not allow_special:", "if self._special is None:"),
    mistake("special tokens are text", "Which id has a special token's text, where it is allowed?",
        "if self._special is None or not allow_special:", "if True:"),
    Misconception("special tokens are left out", LeavesSpecialOut, "Which text has a special token's id?"),
    mistake("ids from the end", "Python reads x[-1] as the last entry. Is -1 an id?",
        "if not 0 <= one < len(self.bytes)]", "if one >= len(self.bytes)]"),
]  # fmt: skip
