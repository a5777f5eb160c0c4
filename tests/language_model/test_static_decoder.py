"""The decoder that only decodes gives lab 3's logits and Hugging Face's tokens."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mlsys_course.attention import KVCache
from mlsys_course.language_model import StaticDecoder, generate
from mlsys_course.transformer import Decoder, RotaryScaling, gpt2, llama
from tests.language_model.pairs import V, llama_pair

CONFIG = llama(V, 24, 2, 4, 2, 40)


def model_of(config, dtype=torch.float64, device="cpu") -> Decoder:
    torch.manual_seed(5)
    return Decoder(config).to(device, dtype)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, tied_head=True, rotary_scaling=RotaryScaling(8.0)),
                                    replace(CONFIG, n_kv_heads=1), replace(CONFIG, n_kv_heads=4)])  # fmt: skip
def test_logits_in_pieces_are_lab_3s(tokens, config):
    model, text = model_of(config), tokens(3, 12)
    static, want = StaticDecoder(model, 12, 3), model(text)
    at = 0
    for piece in text.split([4, 1, 1, 5, 1], dim=1):
        at += piece.shape[1]
        assert_close(static(piece, static.caches)[:, 0], want[:, at - 1])
    static.reset()
    assert_close(static(text, static.caches)[:, 0], want[:, -1])


def test_it_generates_as_hugging_face_does(tokens):
    pytest.importorskip("transformers")
    theirs, ours = llama_pair()
    text = tokens(2, 6)
    static = StaticDecoder(ours, 30, 2)
    assert torch.equal(generate(static, text, 20, static.caches), theirs.generate(text, max_new_tokens=20))


def test_what_does_not_fit_is_refused(tokens):
    static = StaticDecoder(model_of(CONFIG), 5)
    with pytest.raises(ValueError, match="caches"):
        static(tokens(1, 2), None)
    with pytest.raises(ValueError, match="fit"):
        static(tokens(2, 2), static.caches)
    static(tokens(1, 4), static.caches)
    with pytest.raises(ValueError, match="fit"):
        static(tokens(1, 2), static.caches)
    assert static.offset == 4
    with pytest.raises(ValueError, match="static decoder"):
        StaticDecoder(model_of(gpt2(V, 16, 24, 2, 4)), 5)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, n_kv_heads=1), replace(CONFIG, n_kv_heads=4)])
def test_the_step_that_a_card_records_gives_the_same_logits(tokens, config):
    """It is no other on a card: what is recorded there is called here."""
    text, ours, recorded = tokens(3, 9), *(StaticDecoder(model_of(config), 12, 3) for _ in range(2))
    for static in (ours, recorded):
        static(text[:, :4], static.caches)
    for place in range(4, 9):
        token = text[:, place : place + 1]
        assert_close(recorded._next(token, torch.tensor([place])), ours(token, ours.caches))


@pytest.mark.gpu
def test_a_card_gives_the_same_tokens(tokens):
    model, text = model_of(CONFIG, device="cuda"), tokens(2, 6).cuda()
    static = StaticDecoder(model, 40, 2)
    want = generate(model, text, 30, [KVCache(36) for _ in range(2)])
    assert torch.equal(generate(static, text, 30, static.caches), want)
