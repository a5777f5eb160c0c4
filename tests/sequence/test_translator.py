"""The translator as a whole: what it may see, that one step at a time says the same, and that attention learns."""

import pytest
import torch
from torch.testing import assert_close

from mlsys_course.sequence import Translator, TranslatorConfig, train
from mlsys_course.sequence.translator import LOOKS
from mlsys_course.substrate import data
from mlsys_course.substrate.data import END, PADDING, START
from tests.packages import VERSES, skip_without

V = 20
SOURCE = torch.tensor([[5, 6, 7, 8, END], [9, 10, END, PADDING, PADDING]])
INPUTS = torch.tensor([[START, 11, 12, 13], [START, 14, PADDING, PADDING]])


@pytest.fixture
def translator():
    def make(look="attention", dtype=torch.float64):
        torch.manual_seed(5)
        return Translator(TranslatorConfig(V, width=8, look=look)).to(dtype)

    return make


@pytest.mark.parametrize("look", LOOKS)
def test_padding_of_the_source_changes_nothing(look, translator):
    logits, weights = translator(look)(SOURCE, INPUTS)
    alone, alone_weights = translator(look)(SOURCE[1:, :3], INPUTS[1:])
    assert_close(logits[1:], alone)
    assert_close(weights[1:, :, :3], alone_weights)
    assert (weights[1, :, 3:] == 0).all()


@pytest.mark.parametrize("look", LOOKS)
def test_a_word_depends_on_those_before_it_and_on_the_source(look, translator):
    model = translator(look)
    logits, _ = model(SOURCE, INPUTS)
    inputs = INPUTS.clone()
    inputs[0, 2] = 19
    difference = (model(SOURCE, inputs)[0] - logits)[0].abs().amax(-1)
    assert (difference[:2] == 0).all() and (difference[2:] > 0).all()
    source = SOURCE.clone()
    source[0, 1] = 19
    assert ((model(source, INPUTS)[0] - logits)[0].abs().amax(-1) > 0).all()


def test_the_three_looks_differ_in_what_they_see(translator):
    sizes = {look: sum(p.numel() for p in translator(look).parameters()) for look in LOOKS}
    assert len(set(sizes.values())) == 1, f"comparable models have as many parameters: {sizes}"
    s, mask = torch.randn(2, 4, 8).double(), SOURCE != PADDING
    h = torch.randn(2, 5, 8).double()
    nowhere, mean, attention = (translator(look).predict for look in ("nowhere", "mean", "attention"))
    assert_close(nowhere(s, h, mask)[0], nowhere(s, 2 * h, mask)[0])
    assert_close(mean(s, h, mask)[1], (mask / mask.sum(1, keepdim=True)).double()[:, None].expand(2, 4, 5))
    weights = attention(s, h, mask)[1]
    assert (weights[0, 0] - weights[0, 1]).abs().max() > 0.01


def test_one_step_at_a_time_says_what_all_at_once_would(translator):
    model = translator()
    said, weights = model.translate(SOURCE, max_length=6)
    assert said.shape[1] <= 6 and weights.shape == (2, said.shape[1], 5)
    inputs = torch.cat((torch.full((2, 1), START), said[:, :-1]), 1)
    logits, all_weights = model(SOURCE, inputs)
    real = said != PADDING
    assert real.any()
    assert_close(logits.argmax(-1)[real], said[real])
    assert_close(weights[real], all_weights[real])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_devices(dtype, device, translator):
    logits, weights = translator(dtype=dtype).to(device)(SOURCE.to(device), INPUTS.to(device))
    assert logits.dtype == weights.dtype == dtype and logits.device.type == device
    want, _ = translator()(SOURCE, INPUTS)
    error = (logits.double().cpu() - want).norm() / want.norm()
    assert error < (5e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.fixture(scope="module")
def numbered():
    """Short verses as numbers: to learn from, and others."""
    skip_without(*VERSES)
    parts = data.verse_pairs(max_words=12, held_out=200)
    vocabulary = data.Vocabulary.of((sentence for pair in parts[0] for sentence in pair), 500)
    return [[([*vocabulary.numbers(a), END], vocabulary.numbers(b)) for a, b in part] for part in parts]


def test_attention_learns_to_translate_verses_and_one_vector_does_not(numbered):
    learn, held_out = numbered
    late, scores = {}, {}
    for look in ("attention", "nowhere"):
        torch.manual_seed(0)
        model = Translator(TranslatorConfig(500, width=48, look=look))
        losses = train(model, learn, steps=150, batch=16)
        late[look] = sum(losses[-20:]) / 20
        assert late[look] < 0.6 * losses[0]  # both learn: at least which words are frequent
        said, _ = model.translate(data.padded([source for source, _ in held_out]), 16)
        hypotheses = [[str(word) for word in row if word != PADDING] for row in said.tolist()]
        scores[look] = data.bleu(hypotheses, [[str(word) for word in target] for _, target in held_out])
    assert late["attention"] < 0.75 * late["nowhere"], late
    assert scores["attention"] > 2.5 * scores["nowhere"], scores


def test_training_follows_its_seed_and_its_device(numbered, device):
    learn, found = numbered[0][:200], []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        model = Translator(TranslatorConfig(500, width=16)).to(device)
        found.append(train(model, learn, steps=3, batch=4, seed=seed))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] != pytest.approx(found[2], rel=1e-4)


def test_bad_input_is_named(translator):
    wrong = [
        (lambda: TranslatorConfig(V, look="left"), "choose one of attention, mean, nowhere"),
        (lambda: TranslatorConfig(2), "more than the 3 signs"),
        (lambda: translator()(SOURCE[:, :0], INPUTS), "S of at least 1"),
        (lambda: translator()(SOURCE + V, INPUTS), "numbers of words, 0 to 19"),
        (lambda: translator()(torch.full_like(SOURCE, PADDING), INPUTS), "no True in rows"),
        (lambda: train(translator(), [], 3), "0 pairs"),
        (lambda: train(translator(), [([5], [6])], 0), "steps=0"),
        (lambda: train(translator(), [([5], [])], 1), "no words"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
