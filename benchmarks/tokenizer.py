"""Byte-pair encoding in Python against Hugging Face's ``tokenizers`` in Rust: the same merges, the same ids.

    python -m benchmarks.tokenizer

One million letters of the Bible of 1611, and 1,000 merges; each time is the best of three. Ours cuts text into pieces
in that time, and remembers what each piece became; the library is given the pieces, and tells where each token stands.
Training in Rust runs on as many threads as it likes, which two cores keep small.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from mlsys_course.language_model import BytePairTokenizer, split_text, train_merges
from mlsys_course.substrate import data

LETTERS, MERGES = 1_000_000, 1000


def spelled(text: str) -> str:
    """A letter for each byte, in the order of bytes; pieces stay apart by a space, which is none of those letters."""
    return " ".join("".join(chr(0x100 + byte) for byte in piece.encode()) for piece in split_text(text))


def best_of(times: int, call: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest of some runs in seconds, and what came out."""
    found, result = [], None
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        found.append(time.perf_counter() - start)
    return min(found), result


def in_rust(letters: str) -> tokenizers.Tokenizer:
    """A tokenizer trained by the library."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = [chr(0x100 + byte) for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(letters.split("\n"), trainer)
    return made


def main() -> None:
    text = " ".join(verse.archaic for verse in data.verses())[:LETTERS]
    letters = spelled(text)
    rust, made = best_of(3, lambda: in_rust(letters))
    python, merges = best_of(3, lambda: train_merges(Counter(p.encode() for p in split_text(text)), MERGES))
    model = json.loads(made.to_str())["model"]
    same = merges == [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]
    rust_ids, found = best_of(3, lambda: made.encode(letters).ids)
    python_ids, ids = best_of(3, lambda: BytePairTokenizer(merges).encode(text))
    print("| what | tokenizers, Rust | ours, Python | ratio | the same |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| training, {MERGES:,} merges | {rust:.2f} s | {python:.2f} s | {python / rust:.0f}x | {same} |")
    ratio = python_ids / rust_ids
    print(f"| encoding, {len(ids):,} ids | {rust_ids:.2f} s | {python_ids:.2f} s | {ratio:.1f}x | {ids == found} |")


if __name__ == "__main__":
    main()
