"""Generated tokens against Hugging Face's ``generate`` on the same weights, cached and not."""

import pytest
import torch
from torch.testing import assert_close

from mlsys_course.attention import KVCache
from mlsys_course.language_model import generate, generate_batch, generate_target, next_distribution, sample
from mlsys_course.transformer import Decoder, gpt2
from tests.language_model.pairs import L, llama_pair, t5_pair

pytest.importorskip("transformers")


def caches(capacity: int) -> list[KVCache]:
    return [KVCache(capacity) for _ in range(L)]


@pytest.fixture(scope="module")
def pair():
    return llama_pair()


@pytest.mark.parametrize("cached", [False, True])
def test_greedy_is_hugging_faces(pair, tokens, cached):
    theirs, ours = pair
    text = tokens(3, 7)
    want = theirs.generate(text, max_new_tokens=20, do_sample=False)
    assert torch.equal(generate(ours, text, 20, caches(26) if cached else None), want)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7, "top_k": 12}, {"temperature": 2.0, "top_p": 0.8}], ids=str
)
def test_drawn_tokens_are_the_same_with_caches(pair, tokens, options):
    text, u = tokens(2, 5), torch.rand(2, 15, generator=torch.Generator().manual_seed(1))
    found = generate(pair[1], text, 15, None, u, **options)
    assert torch.equal(found, generate(pair[1], text, 15, caches(19), u, **options))
    assert not torch.equal(found, generate(pair[1], text, 15))
    for at in range(15):  # each token is what its own number draws, after all before it
        logits = pair[1](found[:, : 5 + at])[:, -1]
        assert torch.equal(sample(next_distribution(logits, **options), u[:, at]), found[:, 5 + at])


def test_end_stops_each_row_and_then_all(pair, tokens):
    theirs, ours = pair
    text = tokens(4, 6)
    free = generate(ours, text, 20)
    end = int(free[0, 8])
    want = theirs.generate(text, max_new_tokens=20, do_sample=False, eos_token_id=end, pad_token_id=end)
    for kept in (None, caches(25)):
        assert torch.equal(generate(ours, text, 20, kept, end=end), want)
    alone = generate(ours, text[:1], 20, end=end)
    assert alone[0].tolist() == free[0, : alone.shape[1]].tolist() and alone.shape[1] <= 9


def test_a_conversation_goes_on_from_its_caches(pair, tokens):
    kept, text = caches(40), tokens(2, 4)
    first = generate(pair[1], text, 5, kept)
    more = torch.cat((first[:, -1:], tokens(2, 3)), dim=1)
    assert kept[0].offset == 8
    second = generate(pair[1], more, 6, kept)
    whole = torch.cat((first, more[:, 1:]), dim=1)
    assert torch.equal(second[:, 1:], generate(pair[1], whole, 6)[:, first.shape[1] :])


def test_each_token_is_read_once(pair, tokens):
    read = []

    def model(tokens, caches=None):
        read.append(tokens.shape[1])
        return pair[1](tokens, caches=caches)

    generate(model, tokens(1, 5), 4, caches(8))
    assert read == [5, 1, 1, 1]


def test_bad_input(pair, tokens):
    with pytest.raises(ValueError, match="prompt"):
        generate(pair[1], torch.zeros(2, 0, dtype=torch.long), 3)
    with pytest.raises(ValueError, match="cache"):
        generate(pair[1], tokens(1, 5), 10, caches(13))
    with pytest.raises(IndexError):
        generate(pair[1], torch.tensor([[40]]), 3)
    with pytest.raises(ValueError, match="table"):  # learned positions end
        generate(Decoder(gpt2(40, 8, 16, 2, 4)), tokens(1, 5), 5)
    assert generate(pair[1], tokens(1, 5), 0).shape == (1, 5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_batch_is_each_prompt_alone(pair, tokens, cached):
    theirs, ours = pair
    prompts = [tokens(T) for T in (6, 1, 9, 4)]
    found = generate_batch(ours, prompts, 12, caches(20) if cached else None)
    padded = torch.stack([torch.nn.functional.pad(p, (9 - len(p), 0)) for p in prompts])
    mask = torch.stack([torch.arange(9) >= 9 - len(p) for p in prompts]).long()
    want = theirs.generate(padded, attention_mask=mask, max_new_tokens=12, do_sample=False, pad_token_id=0)
    for one, prompt, row in zip(found, prompts, want, strict=True):
        assert torch.equal(one, generate(ours, prompt[None], 12)[0])
        assert torch.equal(one, row[9 - len(prompt) :])
    end = int(found[2][11])
    for one, prompt in zip(generate_batch(ours, prompts, 12, end=end), prompts, strict=True):
        assert torch.equal(one, generate(ours, prompt[None], 12, end=end)[0])


def test_a_batch_needs_prompts(pair):
    for prompts in ([], [torch.tensor([1]), torch.tensor([], dtype=torch.long)]):
        with pytest.raises(ValueError, match="prompts"):
            generate_batch(pair[1], prompts, 2)


def test_an_encoder_decoder_is_hugging_faces(tokens):
    theirs, ours = t5_pair()
    source, lengths = tokens(3, 8), torch.tensor([8, 5, 2])
    mask = (torch.arange(8) < lengths[:, None]).long()
    want = theirs.generate(source, attention_mask=mask, max_new_tokens=9, do_sample=False)
    assert torch.equal(generate_target(ours, source, 0, 9, lengths), want)
    whole = theirs.generate(source, max_new_tokens=9, do_sample=False)
    assert torch.equal(generate_target(ours, source, 0, 9), whole)
    end = int(want[1, 4])
    stopped = theirs.generate(source, attention_mask=mask, max_new_tokens=9, do_sample=False, eos_token_id=end,
                              pad_token_id=end)  # fmt: skip
    assert torch.equal(generate_target(ours, source, 0, 9, lengths, end), stopped)
    assert_close(want[:, 0], torch.zeros(3, dtype=torch.long))
