"""Byte-pair encoding against Hugging Face's ``tokenizers``: merges, ids and text."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsys_course.foundations import BadInput
from mlsys_course.language_model import BytePairTokenizer, split_text, train_merges

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers  # noqa: E402

TEXT = Path(re.__file__).read_text(encoding="utf-8") + " naïve café, Zürich! 北京 🙂🙂🙂 " * 3 + "a" * 60
LETTERS = r" ?[\p{L}\p{Nl}\p{No}]+| ?\p{Nd}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # our pattern in Oniguruma's words
SPECIAL = ["<|end|>", "<|end|>!", "[MASK]"]


def letter(byte: int) -> str:
    """A letter for a byte, in the order of the bytes, so that ids are ordered as ours."""
    return chr(0x100 + byte)


def spelled(piece: bytes) -> str:
    return "".join(map(letter, piece))


def theirs(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    """The merges that ``tokenizers`` learns of these words, as pairs of our ids."""
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = [letter(byte) for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=256 + n_merges, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator((f"{spelled(word)} " * count for word, count in words.items()), trainer)
    found = json.loads(model.to_str())["model"]
    return [(found["vocab"][left], found["vocab"][right]) for left, right in found["merges"]]


def words_of(text: str) -> Counter[bytes]:
    return Counter(piece.encode() for piece in split_text(text))


def test_merges_are_tokenizers():
    words = words_of(TEXT)
    want = theirs(words, 700)
    assert len(want) == 700 and train_merges(words, 700) == want


@given(st.dictionaries(st.binary(min_size=1, max_size=9).map(lambda b: bytes(c % 3 for c in b)),
                       st.integers(1, 4), max_size=6))  # fmt: skip
def test_merges_of_words_full_of_ties_and_runs_are_tokenizers(words):
    assert train_merges(words, 40) == theirs(words, 40)


def test_training_ends_where_no_pair_is_left():
    assert train_merges({b"abab": 2, b"c": 9}, 5) == [(97, 98), (256, 256)]
    assert train_merges({}, 3) == train_merges({b"ab": 1}, 0) == []
    with pytest.raises(BadInput, match="n_merges=-1; choose 0 or more"):
        train_merges({b"ab": 1}, -1)


def hugging_face(merges: list[tuple[int, int]]):
    """The same tokenizer of the library's parts."""
    made = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        made.append(made[left] + made[right])
    printable = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    names = {piece: by_letters(piece) for piece in made}
    vocabulary = {names[piece]: n for n, piece in enumerate(made)}
    pairs = [(names[made[left]], names[made[right]]) for left, right in merges]
    model = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    split = pre_tokenizers.Split(tokenizers.Regex(LETTERS), "isolated")
    model.pre_tokenizer = pre_tokenizers.Sequence([split, printable])
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    return model


def by_letters(piece: bytes) -> str:
    """GPT-2's letters for bytes: printable ones for themselves, the others from U+0100 on."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in plain]
    return "".join(chr(byte if byte in plain else 256 + others.index(byte)) for byte in piece)


MERGES = train_merges(words_of(TEXT), 500)
OURS, THEIRS = BytePairTokenizer(MERGES, SPECIAL), hugging_face(MERGES)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "A new text,  with   spaces \n\n\t and 1234 numbers_and_more: don't!",
        "<|end|>Once<|end|>!upon [MASK]<|end|><|end|>a time",
        "Übermut, 東京タワー, ½ Ⅷ, 🏳️‍🌈 हिन्दी",
        "",
        " ",
        "[MASK]",
    ],
)
def test_ids_and_text_are_tokenizers(text):
    ids = THEIRS.encode(text).ids
    assert OURS.encode(text) == ids
    assert OURS.decode(ids) == THEIRS.decode(ids, skip_special_tokens=False) == text
    assert len(OURS) == THEIRS.get_vocab_size() == 256 + 500 + 3


@given(st.text())
def test_any_text_comes_back(text):
    ids = OURS.encode(text)
    assert OURS.decode(ids) == text == "".join(split_text(text))
    assert all(0 <= one < len(OURS) for one in ids)
    plain = OURS.encode(text, allow_special=False)
    assert OURS.decode(plain) == text and max(plain, default=0) < 756


@given(st.binary())
def test_bytes_that_are_no_text_are_replaced(content):
    assert OURS.decode(list(content)) == content.decode(errors="replace")


def test_special_tokens_are_text_where_they_are_not_allowed():
    assert OURS.encode("<|end|>") == [756]
    ids = OURS.encode("<|end|>", allow_special=False)
    assert len(ids) > 1 and OURS.decode(ids) == "<|end|>"


def test_the_earliest_merge_goes_first():
    tokenizer = BytePairTokenizer([(98, 99), (97, 98), (97, 256)])
    assert tokenizer.encode("abcab") == [258, 257]
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode("\ud800")


def test_pieces_are_encoded_each_for_itself():
    assert BytePairTokenizer([(98, 32)]).encode("ab b") == [97, 98, 32, 98]
    assert BytePairTokenizer([(98, 32)], split=lambda text: [text]).encode("ab b") == [97, 256, 98]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BytePairTokenizer([(97, 256)]), r"merge \(97, 256\) comes when the tokens are 0 to 255"),
        (lambda: BytePairTokenizer([(-1, 97)]), "comes when"),
        (lambda: BytePairTokenizer([], ["<a>", "<a>"]), "once"),
        (lambda: BytePairTokenizer([], [""]), "none without letters"),
        (lambda: OURS.decode([759]), "id 759, but ids are 0 to 758"),
        (lambda: OURS.decode([-1]), "id -1"),
    ],
)
def test_what_has_no_meaning_is_refused(make, words):
    with pytest.raises(BadInput, match=words):
        make()
