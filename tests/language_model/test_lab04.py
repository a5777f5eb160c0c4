"""Lab 4's exercises: any right way passes, and what a stranger may write wrong loses points."""

import pytest

from autograder.course import load_course
from tests.conftest import ROOT
from tests.labs import SampleLab
from tests.language_model.lab04_ways import RIGHT

LAB = SampleLab(load_course(ROOT, term="sample").lab("lab04"))


@pytest.mark.parametrize(("name", "candidate"), RIGHT, ids=lambda x: getattr(x, "__name__", x))
def test_right_in_another_way(name, candidate):
    for verdict in LAB.verdicts(name, candidate):
        assert verdict.score == verdict.max_score, [r.wrong for r in verdict.results if r.wrong]


# What stands in the solution, and what is put there.
MUTATIONS = [
    ("train_merges", "min(pair for", "max(pair for"),
    ("train_merges", "count(n, -1)", "count(n, 0)"),
    ("train_merges", "sign * counts[n]", "sign"),
    ("train_merges", "(found[-1], token) == pair", "(token, found[-1]) == pair"),
    ("BytePairTokenizer", "key=len, reverse=True", "key=len"),
    ("BytePairTokenizer", 'errors="replace"', 'errors="ignore"'),
    ("BytePairTokenizer", "0 <= one <", "-1 <= one <"),
    ("BytePairTokenizer", "min(known, key", "max(known, key"),
    ("BytePairTokenizer", "self.split(part)", "split_text(part)"),
    ("causal_loss", "logits[:, :-1]", "logits[:, 1:]"),
    ("causal_loss", "clamp(min=1)", "clamp(min=0)"),
    ("causal_loss", ".to(wide)", ""),
    ("mask_tokens", "u[1] < 0.9", "u[1] < 1.0"),
    ("mask_tokens", "u[2] * vocabulary", "u[2] * (vocabulary - 1)"),
    ("mask_tokens", "becomes.where(chosen, ids)", "becomes"),
    ("perplexity", "start + len(window)", "start + context"),
    ("perplexity", "/ (len(ids) - 1)", "/ len(ids)"),
]


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_a_mutation_loses_points(name, old, new):
    scope: dict = {}
    text = LAB.solution[""].replace("from mlsys_course.desk.check import check\n", "")
    exec(text, scope)
    from mlsys_course.language_model import split_text

    scope["split_text"] = split_text
    exec(LAB.solution["train_merges"], scope)  # whose `merged` the tokenizer uses
    exec(LAB.mutated(name, old, new), scope)
    scores = [v.score < v.max_score for v in LAB.verdicts(name, scope[name])]
    assert scores[1], "nothing sealed goes red"
    assert scores[0], "a student is not told"
