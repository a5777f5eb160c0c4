"""The next token's distribution against Hugging Face's processors of logits, and what a uniform number draws."""

import math

import pytest
import torch
from torch.testing import assert_close

from mlsys_course.language_model import next_distribution, repetition_penalty, sample

OPTIONS = [
    {},
    {"temperature": 0.7},
    {"temperature": 3.0},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 0.01},
    {"top_p": 0.8},
    {"temperature": 0.5, "top_k": 9, "top_p": 0.7},
    {"temperature": 2.5, "top_k": 30, "top_p": 0.9},
    {"top_k": 4, "top_p": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(50,), (3, 50), (2, 3, 8)])
def test_it_is_hugging_faces(normal, shape, options):
    processing = pytest.importorskip("transformers").generation.logits_process
    logits = normal(*shape, scale=2.0)
    flat = logits.reshape(-1, shape[-1])
    if "temperature" in options:
        flat = processing.TemperatureLogitsWarper(options["temperature"])(None, flat)
    if "top_k" in options:
        flat = processing.TopKLogitsWarper(options["top_k"])(None, flat)
    if "top_p" in options:
        flat = processing.TopPLogitsWarper(options["top_p"])(None, flat)
    before = logits.clone()
    assert_close(next_distribution(logits, **options), flat.softmax(-1).reshape(shape))
    assert torch.equal(logits, before)


def test_equal_tokens_stand_by_id():
    logits = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0])
    assert next_distribution(logits, top_k=3).gt(0).tolist() == [True, True, False, True, False]
    assert next_distribution(logits, temperature=0).tolist() == [0, 1, 0, 0, 0]
    assert next_distribution(torch.zeros(4), top_p=0.6).tolist() == pytest.approx([1 / 3] * 3 + [0])
    assert next_distribution(torch.zeros(4), top_p=0.5).tolist() == [0.5, 0.5, 0, 0]  # two come to a half


def test_temperature_zero_is_the_limit(normal):
    logits = normal(6, 30)
    assert_close(next_distribution(logits, 0), next_distribution(logits, 1e-9))
    assert_close(next_distribution(logits, 0, top_k=3, top_p=0.2), next_distribution(logits, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extremes_and_dtypes(dtype):
    largest = torch.finfo(dtype).max
    logits = torch.tensor([[largest, -largest, 0.0], [-math.inf, 1.0, 1.0]], dtype=dtype)
    found = next_distribution(logits, temperature=1e-3)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(found, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], dtype=found.dtype))


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1.0}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0}, {"top_k": -3}]
    + [{"top_p": p} for p in (0.0, -0.1, 1.1, math.nan)],
)
def test_bad_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        next_distribution(torch.zeros(3), **options)


def test_uniform_numbers_draw_each_token_as_often_as_it_is_likely(normal):
    probabilities = next_distribution(normal(8, dtype=torch.float32), top_k=5)
    n = 100_000
    u = (torch.arange(n) + 0.5) / n
    drawn = sample(probabilities.expand(n, 8), u)
    assert_close(drawn.bincount(minlength=8) / n, probabilities, atol=2e-5, rtol=0)


def test_the_ends_of_a_draw():
    probabilities = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0])
    largest = 1 - 2**-24
    assert [sample(probabilities, torch.tensor(u)).item() for u in (0.0, 0.2, 0.31, largest)] == [1, 1, 3, 3]
    thirds = torch.full((3,), 0.33)  # rounded so that they do not come to 1
    assert sample(thirds, torch.tensor(largest)).item() == 2


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3])
def test_the_penalty_is_hugging_faces(normal, tokens, penalty):
    processing = pytest.importorskip("transformers").generation.logits_process
    logits, text = normal(3, 40), tokens(3, 12)
    theirs = processing.RepetitionPenaltyLogitsProcessor(penalty)(text, logits.clone())
    assert_close(repetition_penalty(logits, text, penalty), theirs)


def test_a_penalty_of_nothing_is_refused():
    with pytest.raises(ValueError, match="penalty"):
        repetition_penalty(torch.zeros(3), torch.tensor([1]), 0.0)
