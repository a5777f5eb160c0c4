"""How good a translation is: BLEU of all its words, and of the words that had to change."""

from collections import Counter
from collections.abc import Sequence

from .installed import DataMissing

Sentence = Sequence[str]


def bleu(hypotheses: Sequence[Sentence], references: Sequence[Sentence], order: int = 4) -> float:
    """Corpus BLEU from 0 to 100 of words compared as they are, by sacrebleu, with n-grams of up to ``order`` words.

    Raises ValueError where the two numbers of sentences differ or there are none, and DataMissing without sacrebleu.
    Source: Papineni et al. 2002; Post 2018, "A call for clarity in reporting BLEU scores".
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise DataMissing('sacrebleu is not installed; run: pip install "mlsys_course[data]"') from None
    if not len(hypotheses) == len(references) > 0:
        raise ValueError(f"{len(hypotheses)} hypotheses, {len(references)} references; give one for each, 1 or more")
    said, expected = ([" ".join(sentence) for sentence in side] for side in (hypotheses, references))
    # Our sentences are words already: "none" leaves them so, and `force` keeps it from warning about that.
    return BLEU(tokenize="none", force=True, max_ngram_order=order).corpus_score(said, [expected]).score


def changed_bleu(sources: Sequence[Sentence], hypotheses: Sequence[Sentence], references: Sequence[Sentence]) -> float:
    """BLEU of single words, of those only that the source has not; so copying the source scores 0.

    It asks how many of the words that the hypothesis brings in are in the reference, and its brevity penalty what a
    hypothesis loses that brings in too few. Word order is left to ``bleu``.
    """
    said, expected = (
        [_brought_in(source, sentence) for source, sentence in zip(sources, side, strict=True)]
        for side in (hypotheses, references)
    )
    return bleu(said, expected, order=1)


def _brought_in(source: Sentence, sentence: Sentence) -> list[str]:
    """The words of ``sentence`` beyond those of ``source``, repetitions counted."""
    return list((Counter(sentence) - Counter(source)).elements())
