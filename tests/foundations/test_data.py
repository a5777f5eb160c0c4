"""Ratings, digits and the lecture's tables: what they hold, and that they agree with what stands elsewhere."""

import sys

import pytest
import torch

from mlsys_course.accounting import gpus, links
from mlsys_course.substrate import data
from tests.packages import RATINGS, needs


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, digits = data.digits()
    expected = load_digits()
    assert torch.equal(images * 16, torch.tensor(expected.data, dtype=torch.float32))
    assert torch.equal(digits, torch.tensor(expected.target))


@needs(RATINGS)
def test_ratings_are_vaders():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    found = data.ratings()
    assert {r.word: r.mean for r in found} == SentimentIntensityAnalyzer().lexicon
    assert all(len(r.people) == 10 and max(map(abs, r.people)) <= 4 for r in found)
    off = [r.word for r in found if abs(sum(r.people) / 10 - r.mean) > 0.06]
    assert off == ["lmfao"]  # the file's own slip


@pytest.mark.parametrize(
    ("loader", "digest"), [pytest.param("ratings", "LEXICON", marks=needs(RATINGS)), ("digits", "DIGITS")]
)
def test_another_file_is_refused(loader, digest, monkeypatch):
    module = sys.modules[f"mlsys_course.substrate.data.{loader}"]
    monkeypatch.setattr(module, digest, "0" * 16)
    with pytest.raises(data.DataMissing, match="is not the file that the labs were written for"):
        getattr(data, loader)()


@pytest.mark.parametrize("loader", ["ratings", "digits"])
def test_a_missing_package_is_named(loader, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(data.DataMissing, match="is not installed; run: pip install"):
        getattr(data, loader)()


@pytest.mark.parametrize("card", data.CARDS, ids=lambda card: card.name)
def test_a_card_stands_the_same_in_accounting(card):
    gpu = gpus.gpu_named(card.name.lower())
    assert (gpu.year, gpu.memory / gpus.GB, gpu.memory_type) == (card.year, card.memory, card.memory_type)
    assert gpu.peak["float16"] / gpus.TFLOPS == pytest.approx(card.tflops)
    assert 2 * links.link_named(gpu.nvlink).each_way / links.GB == card.nvlink and gpu.source == card.source


def test_models_are_in_order_and_sourced():
    years = [model.year for model in data.MODELS]
    assert years == sorted(years) and all(model.source and model.parameters > 1e8 for model in data.MODELS)
    assert {m.name: m.parameters for m in data.MODELS}["GPT-3"] == 175e9
