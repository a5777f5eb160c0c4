"""Beam search against Hugging Face's on the same weights, and against all continuations that there are."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from mlsys_course.language_model import beam_search, generate
from tests.language_model.pairs import llama_pair, t5_pair


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("ends", [False, True])
def test_it_is_hugging_faces(tokens, width, length_penalty, ends):
    pytest.importorskip("transformers")
    theirs, ours = llama_pair()
    for prompt in (tokens(5), tokens(2), tokens(9)):
        end = int(generate(ours, prompt[None], 3)[0, -1]) if ends else None
        want = theirs.generate(
            prompt[None], max_new_tokens=8, do_sample=False, num_beams=width, num_return_sequences=width,
            length_penalty=length_penalty, early_stopping="never", eos_token_id=end, pad_token_id=0,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        found = beam_search(lambda tokens: ours(tokens)[:, -1], prompt, width, 8, end, length_penalty)
        scores = torch.tensor([hypothesis.score for hypothesis in found])
        assert_close(scores, want.sequences_scores.float(), atol=1e-4, rtol=1e-4)
        for hypothesis, row in zip(found, want.sequences, strict=True):
            new = row[len(prompt) :][: len(hypothesis.tokens)].tolist()
            assert hypothesis.tokens == new


def test_an_encoder_decoder_too(tokens):
    pytest.importorskip("transformers")
    theirs, ours = t5_pair()
    source = tokens(1, 7)
    memory = ours.encode(source)

    def next_logits(target):
        return ours.head(ours.decode(target, memory.expand(len(target), -1, -1)))[:, -1]

    want = theirs.generate(source, max_new_tokens=6, num_beams=3, do_sample=False, early_stopping="never")
    found = beam_search(next_logits, torch.tensor([0]), 3, 6)
    assert found[0].tokens == want[0, 1:].tolist()


def test_a_beam_as_wide_as_everything_finds_the_best(normal):
    """Of five tokens and three steps: all continuations scored one by one."""
    tables = normal(4, 5, 5)

    def next_logits(tokens):
        return tables[tokens.shape[1] - 1, tokens[:, -1]]

    def score(new):
        steps = zip(itertools.count(), (2, *new), new, strict=False)
        total = sum(tables[at, before].log_softmax(-1)[after] for at, before, after in steps)
        return float(total) / len(new) ** 0.8

    every = [
        new
        for n in (1, 2, 3)
        for new in itertools.product(range(5), repeat=n)
        if 4 not in new[:-1] and (new[-1] == 4 or n == 3)
    ]
    want = sorted(every, key=score, reverse=True)
    found = beam_search(next_logits, torch.tensor([2]), 125, 3, 4, 0.8)
    assert [tuple(hypothesis.tokens) for hypothesis in found] == want
    assert [hypothesis.score for hypothesis in found] == pytest.approx([score(new) for new in want])


def test_a_width_of_one_is_greedy(tokens):
    pytest.importorskip("transformers")
    _, ours = llama_pair()
    prompt = tokens(4)
    (found,) = beam_search(lambda tokens: ours(tokens)[:, -1], prompt, 1, 9)
    assert [*prompt.tolist(), *found.tokens] == generate(ours, prompt[None], 9)[0].tolist()


@pytest.mark.parametrize("bad", [{"width": 0}, {"n_new": 0}, {"prompt": torch.zeros(0, dtype=torch.long)}])
def test_bad_input(bad):
    given = {"prompt": torch.tensor([1]), "width": 2, "n_new": 3, **bad}
    with pytest.raises(ValueError, match="1 or more"):
        beam_search(lambda tokens: torch.zeros(len(tokens), 5), **given)
