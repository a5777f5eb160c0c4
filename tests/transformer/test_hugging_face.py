"""GPT-2, LLaMA, BERT and T5 with random weights: the same tensors in our models give the same numbers and gradients."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close

from mlsys_course.attention import padding_mask
from mlsys_course.substrate import data
from mlsys_course.transformer import (
    Block,
    Decoder,
    Encoder,
    EncoderDecoder,
    RotaryScaling,
    bert,
    from_bert,
    from_gpt2,
    from_llama,
    from_t5,
    gpt2,
    llama,
    t5,
)
from tests.packages import MINILM, needs

transformers = pytest.importorskip("transformers")
V, C, H, L, T = 60, 24, 4, 3, 14


def randomized(model):
    """float64, and every parameter drawn, gains and biases too, so that none is silently left out."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.data = (drawn * 0.2 + (1.0 if parameter.ndim == 1 else 0.0)).double()
    return model.eval()


def gpt2_pair():
    config = transformers.GPT2Config(vocab_size=V, n_positions=16, n_embd=C, n_layer=L, n_head=H)
    return transformers.GPT2LMHeadModel(config), Decoder, gpt2(V, 16, C, L, H), from_gpt2


def llama_pair():
    config = transformers.LlamaConfig(
        vocab_size=V, hidden_size=C, intermediate_size=40, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False, pad_token_id=None,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config), Decoder, llama(V, C, L, H, 2, 40), from_llama


def llama31_pair():
    """One of the three frequencies is mixed and two are divided: they turn 2.5, 0.1 and 0.005 times in 16 tokens."""
    theirs, kind, config, mapped = llama_pair()
    scaling = RotaryScaling(8.0, 1.0, 4.0, original_context=16)
    changed = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 16}  # fmt: skip
    theirs = type(theirs)(type(theirs.config)(**{**theirs.config.to_dict(), "rope_parameters": changed}))
    return theirs, kind, replace(config, rotary_scaling=scaling), mapped


def bert_pair():
    config = transformers.BertConfig(
        vocab_size=V, hidden_size=C, num_hidden_layers=L, num_attention_heads=H, intermediate_size=4 * C,
        max_position_embeddings=16,
    )  # fmt: skip
    return transformers.BertForMaskedLM(config), Encoder, bert(V, C, L, H, context=16), from_bert


def t5_pair():
    config = transformers.T5Config(
        vocab_size=V, d_model=C, d_kv=5, d_ff=4 * C, num_layers=L, num_heads=H, relative_attention_max_distance=20,
        relative_attention_num_buckets=8,
    )  # fmt: skip
    ours = replace(t5(V, C, L, H, head_dim=5), buckets=8, max_distance=20)
    return transformers.T5ForConditionalGeneration(config), EncoderDecoder, ours, from_t5


FAMILIES = {"gpt2": gpt2_pair, "llama": llama_pair, "llama31": llama31_pair, "bert": bert_pair, "t5": t5_pair}
# Of these, theirs takes norms and rotary angles in float32 whatever the model's dtype.
CLOSE = {name: {"atol": 1e-4, "rtol": 1e-4} for name in ("llama", "llama31", "t5")}


@pytest.fixture(params=[(name, fast) for name in FAMILIES for fast in (False, True)], ids=str)
def pair(request):
    """Their model, ours on the meta device, their parameters under our names, and how close they come."""
    name, fast = request.param
    theirs, kind, config, mapped = FAMILIES[name]()
    theirs = randomized(theirs)
    with torch.device("meta"):
        ours = kind(replace(config, fast=fast))
    return theirs, ours, mapped(dict(theirs.named_parameters()), config), CLOSE.get(name, {})


def inputs_of(model, tokens, lengths):
    """The same inputs in their words and in ours; and the positions whose outputs count, no padding."""
    given, mask = tokens(2, T), padding_mask(lengths, T)
    named = {"input_ids": given, "attention_mask": mask[:, 0, 0].long()}
    if isinstance(model, EncoderDecoder):
        target = tokens(2, T - 3)
        return {**named, "decoder_input_ids": target}, (given, target, mask), torch.ones(2, T - 3)
    return named, (given, mask), mask[:, 0, 0].double()


def test_the_names_are_all_there(pair):
    _, ours, mapped, _ = pair
    shapes = {name: tensor.shape for name, tensor in mapped.items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("lengths", [(T, T), (T, 9)], ids=["whole", "padded"])
def test_logits_and_gradients(pair, tokens, lengths, normal):
    theirs, ours, mapped, close = pair
    named, given, counts = inputs_of(ours, tokens, torch.tensor(lengths))
    want, got = theirs(**named).logits, functional_call(ours, mapped, given)
    assert_close(got * counts[..., None], want * counts[..., None], **close)
    used = dict(theirs.named_parameters())
    cotangent = normal(*want.shape) * counts[..., None]
    wanted = torch.autograd.grad(want, list(used.values()), cotangent)
    found = torch.autograd.grad(got, list(used.values()), cotangent)  # back through the map of names
    for name, a, b in zip(used, found, wanted, strict=True):
        # No gradient gets through a bias of keys: it shifts all scores of a row alike. The rest is far from zero.
        assert b.abs().max() > 1e-3 or ".key.bias" in name, name
        assert_close(a, b, **close, msg=lambda text, name=name: f"{name}: {text}")


def test_hidden_states_of_every_layer(pair, tokens):
    theirs, ours, mapped, close = pair
    named, given, _ = inputs_of(ours, tokens, torch.tensor([T, T]))
    found = []
    for block in (module for module in ours.modules() if isinstance(module, Block)):
        block.register_forward_hook(lambda _, __, output: found.append(output))
    functional_call(ours, mapped, given)
    output = theirs(**named, output_hidden_states=True)
    if isinstance(ours, EncoderDecoder):
        wanted = [*output.encoder_hidden_states[1:], *output.decoder_hidden_states[1:]]
    else:
        wanted = list(output.hidden_states[1:])
    assert len(found) == len(wanted)
    last = (L - 1, 2 * L - 1) if ours.config.final_norm else ()  # theirs are those after the final norm
    for n, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if n not in last:
            assert_close(a, b, **close)


def test_a_second_segment(tokens):
    theirs, kind, config, mapped = bert_pair()
    ours, theirs = kind(config).double(), randomized(theirs)
    ours.load_state_dict(mapped(theirs.state_dict(), config))
    text, segments = tokens(2, T), torch.arange(T).ge(5).long().expand(2, T)
    assert_close(ours(text, segments=segments), theirs(text, token_type_ids=segments).logits)
    assert not torch.allclose(ours(text, segments=segments), ours(text))


@needs(MINILM)
def test_published_weights():
    """all-MiniLM-L6-v2, a BERT without a head, as its package has it."""
    minilm = data.minilm()
    theirs = transformers.BertModel.from_pretrained(minilm.weights.parent).eval()
    config = replace(bert(len(minilm.vocabulary), 384, 6, 12), head_transform=False, head_bias=False)
    ours = Encoder(config)
    ours.load_state_dict(from_bert(theirs.state_dict(), config))
    ids = torch.tensor([[minilm.vocabulary[piece] for piece in minilm.tokens("A model of six layers, in our blocks.")]])
    with torch.no_grad():
        assert_close(ours.hidden(ids), theirs(ids).last_hidden_state, atol=1e-5, rtol=1e-4)
