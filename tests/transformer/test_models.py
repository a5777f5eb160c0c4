"""The three families: what each token can see, caches, dtypes, compilation, counted parameters, bad input."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mlsys_course import transformer as component
from mlsys_course.attention import KVCache, padding_mask
from mlsys_course.transformer import (
    Block,
    Decoder,
    Encoder,
    EncoderDecoder,
    RotaryScaling,
    bert,
    gpt2,
    llama,
    t5,
    vaswani_2017,
)

V, C, L, H, T = 60, 24, 2, 4, 10
SMALL = {
    "vaswani": vaswani_2017(V, C, L, H),
    "gpt2": gpt2(V, 16, C, L, H),
    "bert": bert(V, C, L, H, context=16),
    "t5": t5(V, C, L, H, head_dim=5),
    "llama": llama(V, C, L, H, 2, 40),
}
FAMILIES = [Encoder, Decoder, EncoderDecoder]


def built(kind, config):
    """One of a family with these sizes: the configuration says who sees whom, and whether there is an encoder."""
    encoders = config.n_layers if kind is EncoderDecoder else 0
    return kind(replace(config, causal=kind is not Encoder, encoder_layers=encoders))


@pytest.fixture(params=list(SMALL))
def config(request):
    return SMALL[request.param]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def seen_by(model, embedded, *rest):
    """(T, S) of bools: whether output t has a gradient at input s."""
    embedded = embedded.detach().requires_grad_()
    output = model(embedded, *rest)[0]
    looks = output @ torch.randn(C)  # not their sum, which a norm makes constant
    seen = [torch.autograd.grad(look, embedded, retain_graph=True)[0][0] for look in looks]
    return torch.stack(seen).abs().sum(-1) > 0


def test_what_each_token_sees(config, tokens):
    """Causality by gradient: a decoder's token sees itself and the earlier ones, an encoder's all."""
    embedded = torch.randn(1, T, C)
    everything, past = torch.ones(T, T).bool(), torch.ones(T, T).bool().tril()
    assert torch.equal(seen_by(built(Encoder, config).stack, embedded), everything)
    assert torch.equal(seen_by(built(Decoder, config).stack, embedded), past)
    both = built(EncoderDecoder, config)
    assert torch.equal(seen_by(both.decoder, embedded, None, torch.randn(1, 7, C)), past)
    crossed = seen_by(lambda memory: both.decoder(embedded, None, memory), torch.randn(1, 7, C))
    assert crossed.all() and crossed.shape == (T, 7)


def test_a_memory_has_no_order_but_its_own(config):
    """Positions of the source are the encoder's business: cross-attention finds its tokens in any order."""
    decoder, memory, embedded = built(EncoderDecoder, config).decoder, torch.randn(1, 7, C), torch.randn(1, T, C)
    assert_close(decoder(embedded, None, memory[:, [3, 0, 6, 1, 5, 2, 4]]), decoder(embedded, None, memory))


def test_padding_is_not_seen(config, tokens):
    model, text = built(Encoder, config), tokens(2, T)
    mask, other = padding_mask(torch.tensor([T, 6]), T), text.clone()
    other[1, 6:] = 3
    assert_close(model(text, mask)[1, :6], model(other, mask)[1, :6])
    assert not torch.allclose(model(text)[1, :6], model(other)[1, :6])
    both, target = built(EncoderDecoder, config), tokens(2, 4)
    assert_close(both(text, target, mask), both(other, target, mask))


def test_without_positions_an_encoder_is_equivariant(config, tokens):
    text, order = tokens(1, T), torch.tensor([3, 0, 9, 1, 4, 2, 8, 5, 7, 6])
    model = built(Encoder, replace(config, positions="none", buckets=0)).double()
    assert_close(model(text[:, order]), model(text)[:, order])
    with_positions = built(Encoder, config).double()
    torch.nn.init.normal_(with_positions.stack.bias.table.weight) if with_positions.stack.bias else None
    assert not torch.allclose(with_positions(text[:, order]), with_positions(text)[:, order], atol=1e-4)


def test_grouped_heads_with_all_heads_are_multi_head(tokens):
    text = tokens(2, T)
    many, few = Decoder(SMALL["llama"]), Decoder(replace(SMALL["llama"], n_kv_heads=H))
    state = many.state_dict()
    for name in list(state):
        if name.endswith(("key.weight", "value.weight")):
            heads = state[name].reshape(2, C // H, C)
            state[name] = heads.repeat_interleave(H // 2, 0).reshape(C, C)  # each head written out for its group
    few.load_state_dict(state)
    assert_close(few(text), many(text))


def test_cached_decoding_is_the_whole_pass(config, tokens):
    model, text = built(Decoder, config).double(), tokens(2, T)
    with torch.no_grad():
        whole = model(text)
        caches = [KVCache(16) for _ in range(L)]
        steps = [model(text[:, a:b], caches=caches) for a, b in ((0, 4), (4, 5), (5, 8), (8, T))]
    assert_close(torch.cat(steps, 1), whole)
    with pytest.raises(ValueError, match="1 caches for 2 layers"):
        model(text, caches=caches[:1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("fast", [False, True])
def test_dtypes_and_devices(dtype, fast, config, tokens, device):
    model, given = built(EncoderDecoder, replace(config, fast=fast)).double(), (tokens(2, T), tokens(2, 6))
    want = model(*given)
    low = model.to(device, dtype)(*(t.to(device) for t in given))
    assert low.dtype == dtype and low.device.type == device
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.2}[dtype]
    assert_close(low.double().cpu(), want, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("kind", "name", "fast"),
    [
        (Encoder, "bert", False),
        (Decoder, "gpt2", True),
        (Decoder, "llama", True),
        (EncoderDecoder, "vaswani", False),
        (EncoderDecoder, "t5", True),
    ],
)
def test_compiles_without_graph_breaks(kind, name, fast, tokens, device):
    torch._dynamo.reset()
    model = built(kind, replace(SMALL[name], fast=fast, n_layers=1)).to(device)
    given = (tokens(2, T),) if kind is not EncoderDecoder else (tokens(2, T), tokens(2, 6))
    given = tuple(t.to(device) for t in given)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_close(compiled(*given), model(*given))


def test_compiles_backward_too(tokens):
    torch._dynamo.reset()
    model, text = Decoder(replace(SMALL["llama"], n_layers=1, fast=True)), tokens(2, T)
    names, parameters = zip(*model.named_parameters(), strict=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(text).square().sum(), parameters)
    assert_close(found, torch.autograd.grad(model(text).square().sum(), parameters))
    assert all(g.abs().sum() > 0 for g in found), names


@pytest.mark.parametrize("kind", FAMILIES)
def test_fast_is_naive(kind, config, tokens, device):
    """Forward and backward, without a mask that would keep kernels from the shortest way."""
    model, fast = built(kind, config).to(device).double(), built(kind, replace(config, fast=True)).to(device).double()
    fast.load_state_dict(model.state_dict())
    given = (tokens(2, T),) if kind is not EncoderDecoder else (tokens(2, T), tokens(2, 6))
    given = tuple(t.to(device) for t in given)
    want, got = model(*given), fast(*given)
    assert_close(got, want)
    wanted = torch.autograd.grad(want.square().sum(), list(model.parameters()))
    assert_close(torch.autograd.grad(got.square().sum(), list(fast.parameters())), wanted)


@pytest.mark.parametrize("biases", ["", "QKVO", "QV"])
@pytest.mark.parametrize("cross", [False, True])
def test_counted_parameters_are_those_of_a_live_block(config, biases, cross):
    config = replace(config, attention_biases=biases)
    live = {"attention": 0, "feed_forward": 0, "norms": 0}
    for name, parameter in Block(config, cross).named_parameters():
        kind = name.split(".")[0]
        key = "norms" if kind.endswith("norm") else {"cross": "attention"}.get(kind, kind)
        live[key] += parameter.numel()
    assert component.block_parameters(config, cross) == live


@pytest.mark.parametrize(
    ("config", "kind", "count"),
    [
        (gpt2(), "GPT2LMHeadModel", None),
        (component.llama2_7b(), None, 6738415616),  # as published with the checkpoint
        (component.gpt3_175b(), None, 174604259328),
    ],
)
def test_presets_have_the_published_sizes(config, kind, count):
    if kind:
        transformers = pytest.importorskip("transformers")
        with torch.device("meta"):
            theirs = getattr(transformers, kind)(transformers.GPT2Config())
        count = sum(p.numel() for p in theirs.parameters())
    with torch.device("meta"):
        assert sum(p.numel() for p in built(Decoder, config).parameters()) == count


def test_the_notes_two_thirds():
    """Without biases and norms two thirds exactly; LLaMA-2 70B, with wide networks and few key heads, has 82%."""
    assert component.feed_forward_share(gpt2()) == pytest.approx(2 / 3, abs=1e-3)
    assert component.feed_forward_share(component.llama2_70b()) == pytest.approx(0.82, abs=5e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_kv_heads": 3}, "n_kv_heads=3 does not divide n_heads=4"),
        ({"head_dim": 5}, "head_dim=5 is odd"),
        ({"positions": "sinusoidal", "d_model": 25}, "d_model=25 is odd"),
        ({"norm": "batch"}, "norm='batch' is unknown; choose one of 'layer', 'rms'"),
        ({"norm_position": "sandwich"}, "choose one of 'pre', 'post'"),
        ({"activation": "swiglu"}, "activation='swiglu' is unknown"),
        ({"n_layers": 0}, "n_layers=0 is no size"),
        ({"d_ffn": 2.5}, "d_ffn=2.5 is no size"),
        ({"attention_biases": "qkv"}, "use letters of 'QKVO'"),
        ({"positions": "relative", "buckets": 6}, "multiple of 4"),
        ({"positions": "relative", "buckets": 32, "max_distance": 16}, "more than half"),
        ({"buckets": 32}, "buckets=32 with positions='rotary', which has no use for it"),
        ({"tied_head": "no"}, "tied_head='no' is no switch"),
        ({"epsilon": 0.0}, "epsilon=0.0; give a number above 0"),
        ({"rotary_scaling": 8.0}, r"give RotaryScaling\(factor=8.0\)"),
        (
            {"rotary_scaling": RotaryScaling(8.0), "positions": "none"},
            "which has no use for it; set rotary_scaling=None",
        ),
    ],
)
def test_impossible_configurations_are_told(change, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL["llama"], **change)


def test_heads_that_do_not_divide_the_width_are_told():
    with pytest.raises(ValueError, match="n_heads=12 does not divide d_model=770; choose d_model=768"):
        gpt2(d_model=770)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(2, 17, dtype=torch.long), "shorten the sequence"),
        (torch.zeros(5, dtype=torch.long), r"expected whole numbers of shape \(B, T\)"),
        (torch.zeros(2, 5), "expected whole numbers"),
        (torch.zeros(2, 5, dtype=torch.bool), "expected whole numbers"),
    ],
)
def test_tokens_that_do_not_fit_are_told(given, words):
    with pytest.raises(ValueError, match=words):
        Decoder(SMALL["gpt2"])(given)


NOT_BUILT = {
    "sinks": True,
    "qk_norm": True,
    "value_multiple": 2,
    "norms_per_layer": 4,
    "registers": 3,
    "extra_positions": 2,
    "encoder_layers": 1,
    "causal": False,
}


@pytest.mark.parametrize(("field", "value"), NOT_BUILT.items())
def test_what_a_decoder_does_not_build_it_refuses(field, value):
    """A field that nobody reads would be a model other than the one that accounting counts."""
    config = replace(SMALL["gpt2"], **{field: value})
    usual = getattr(SMALL["gpt2"], field)
    with pytest.raises(ValueError, match=rf"^{field}={value}: .*; set {field}={usual}$"):
        Decoder(config)


def test_families_ask_for_their_own():
    with pytest.raises(ValueError, match=r"causal=True: .*; set causal=False"):
        Encoder(SMALL["gpt2"])
    with pytest.raises(ValueError, match="encoder_layers=0: there is no encoder; set it, to n_layers=2"):
        EncoderDecoder(SMALL["gpt2"])
    with pytest.raises(ValueError, match="sinks=True"):
        component.block_parameters(replace(SMALL["llama"], sinks=True))
    with pytest.raises(ValueError, match="segments=0"):
        built(Encoder, SMALL["gpt2"])(torch.zeros(1, 3).long(), segments=torch.zeros(1, 3).long())


def test_an_encoder_of_another_depth():
    model = EncoderDecoder(replace(SMALL["t5"], encoder_layers=3))
    assert (len(model.encoder.blocks), len(model.decoder.blocks)) == (3, L)


def test_a_padded_vocabulary_has_its_rows(tokens):
    assert Decoder(replace(SMALL["gpt2"], vocabulary_multiple=64))(tokens(1, 3)).shape == (1, 3, 64)


def test_stacks_of_functions_are_the_model(tokens):
    """``encoder_decoder`` over the model's own blocks, with padding."""
    model, source, target = EncoderDecoder(SMALL["vaswani"]), tokens(2, T), tokens(2, 6)
    lengths = torch.tensor([T, 6])
    encoder = [lambda x, mask, b=b: b(x, mask) for b in model.encoder.blocks]
    decoder = [lambda y, memory, mask, hidden, b=b: b(y, mask, memory=memory, memory_mask=hidden)
               for b in model.decoder.blocks]  # fmt: skip
    got = component.encoder_decoder(model.embedding(source), model.embedding(target), encoder, decoder, lengths)
    mask = padding_mask(lengths, T)
    assert_close(got, model.decode(target, model.encode(source, mask), mask))
    assert not torch.allclose(got, model.decode(target, model.encode(source)))
