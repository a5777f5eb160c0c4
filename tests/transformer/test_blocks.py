"""Blocks against PyTorch's encoder and decoder layers, and what each kind of layer can see."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mlsys_course.attention import causal_mask, padding_mask
from mlsys_course.transformer import Attention, Block, EncoderDecoder, block, relative_buckets, vaswani_2017

B, T, S, C, H, F = 2, 6, 5, 12, 3, 20


def config_of(norm_position, activation="relu"):
    config = vaswani_2017(60, C, 2, H, F)
    return replace(config, norm_position=norm_position, activation=activation, attention_biases="QKVO")


def copy_attention(theirs, ours):
    for name, third in zip(("query", "key", "value"), range(3), strict=True):
        rows = slice(third * C, (third + 1) * C)
        getattr(ours, name).weight.data = theirs.in_proj_weight.data[rows].clone()
        getattr(ours, name).bias.data = theirs.in_proj_bias.data[rows].clone()
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def copy_norm(theirs, ours):
    ours.gain.data, ours.bias.data = theirs.weight.data.clone(), theirs.bias.data.clone()


def randomized(layer):
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4
    return layer.double()


def copy_layer(theirs, ours):
    """An encoder's or a decoder's layer of PyTorch's into a Block."""
    copy_attention(theirs.self_attn, ours.attention)
    norms = [ours.attention_norm, ours.feed_forward_norm]
    if ours.cross is not None:
        copy_attention(theirs.multihead_attn, ours.cross)
        norms.insert(1, ours.cross_norm)
    for n, norm in enumerate(norms, 1):
        copy_norm(getattr(theirs, f"norm{n}"), norm)
    ours.feed_forward.up.load_state_dict(theirs.linear1.state_dict())
    ours.feed_forward.down.load_state_dict(theirs.linear2.state_dict())


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_equals_torchs_layers(cross, norm_position, activation, normal):
    kind = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    theirs = randomized(kind(C, H, F, 0.0, activation, batch_first=True, norm_first=norm_position == "pre"))
    ours = Block(config_of(norm_position, activation), cross).double()
    copy_layer(theirs, ours)
    x, memory, cotangent = normal(B, T, C).requires_grad_(), normal(B, S, C).requires_grad_(), normal(B, T, C)
    lengths = torch.tensor([S, 2])
    if cross:
        padded = padding_mask(lengths, S)
        want = theirs(x, memory, tgt_mask=~causal_mask(T), memory_key_padding_mask=~padded[:, 0, 0])
        got, leaves = ours(x, causal=True, memory=memory, memory_mask=padded), (x, memory)
    else:
        want, got, leaves = theirs(x, src_mask=~causal_mask(T)), ours(x, causal_mask(T)), (x,)
    assert_close(got, want)
    assert_close(torch.autograd.grad(got, leaves, cotangent), torch.autograd.grad(want, leaves, cotangent))


def test_the_model_of_2017_is_torchs_stacks(normal, tokens):
    """Scaled embeddings, sinusoidal positions from powers of complex numbers, both stacks, a tied head."""
    layers = [kind(C, H, F, 0.0, batch_first=True) for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)]
    encoder = randomized(nn.TransformerEncoder(layers[0], 2, enable_nested_tensor=False))
    decoder = randomized(nn.TransformerDecoder(layers[1], 2))
    ours = EncoderDecoder(replace(vaswani_2017(60, C, 2, H, F), attention_biases="QKVO")).double()
    for theirs, stack in ((encoder, ours.encoder), (decoder, ours.decoder)):
        for layer, own in zip(theirs.layers, stack.blocks, strict=True):
            copy_layer(layer, own)
    table = ours.embedding.tokens.weight
    turned = torch.polar(torch.ones(C // 2).double(), 10000.0 ** (-torch.arange(0, C, 2).double() / C))
    positions = torch.stack([turned**t for t in range(T)])
    positions = torch.view_as_real(positions).flip(-1).flatten(1)  # (T, C/2, 2): sine before cosine

    def embedded(text):
        return table[text] * C**0.5 + positions[: text.shape[1]]

    source, target, lengths = tokens(B, S), tokens(B, T), torch.tensor([S, 3])
    padded = padding_mask(lengths, S)
    memory = encoder(embedded(source), src_key_padding_mask=~padded[:, 0, 0])
    want = decoder(embedded(target), memory, ~causal_mask(T), memory_key_padding_mask=~padded[:, 0, 0]) @ table.T
    assert_close(ours(source, target, padded), want, atol=1e-5, rtol=1e-5)  # our table is made in float32


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_block_in_numbers(norm_position):
    """x = 3, a sublayer that adds one, a norm that doubles: 3 + (6 + 1) or 2 * (3 + 4); then once more."""
    layers, norms = [lambda x: x + 1, lambda x: x * x], [lambda x: 2 * x, lambda x: x / 2]
    want = {"pre": 10.0 + 25.0, "post": (14.0 + 196.0) / 2}
    assert block(torch.tensor([3.0]), layers, norms, norm_position).item() == want[norm_position]


def test_bad_blocks_are_told(normal):
    with pytest.raises(ValueError, match="choose 'pre' or 'post'"):
        block(normal(3), [torch.relu], [torch.relu], "sandwich")
    with pytest.raises(ValueError, match="2 sublayers and 1 norms"):
        block(normal(3), [torch.relu] * 2, [torch.relu], "pre")
    with pytest.raises(ValueError, match="pass the encoder's output"):
        Block(config_of("pre"), cross=True)(normal(B, T, C, dtype=torch.float32))


def test_a_mask_of_the_wrong_shape_or_dtype_is_told(normal):
    layer, x = Attention(config_of("pre")), normal(B, T, C, dtype=torch.float32)
    with pytest.raises(ValueError, match="does not broadcast"):
        layer(x, causal_mask(T - 1))
    with pytest.raises(ValueError, match=r"expected torch\.bool"):
        layer(x, causal_mask(T).float())


@pytest.mark.parametrize("fast", [False, True])
def test_a_token_that_may_see_nothing(fast, normal):
    """The documented limit: its attention is zero, so a residual passes it by, and no gradient is NaN."""
    layer, x = Attention(replace(config_of("pre"), fast=fast)), normal(B, T, C, dtype=torch.float32).requires_grad_()
    mask = causal_mask(T)
    mask[2] = False
    y = layer(x, mask)
    assert_close(y[:, 2], layer.output.bias.expand(B, C))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (8, 20), (16, 50)])
def test_relative_buckets_are_t5s(causal, buckets, far):
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distance = torch.arange(40)[None, :] - torch.arange(40)[:, None]
    want = t5.T5Attention._relative_position_bucket(distance * 5, not causal, buckets, far)
    assert_close(relative_buckets(196, 196, buckets, far, causal)[::5, ::5], want)
    late = relative_buckets(3, 196, buckets, far, causal)
    assert torch.equal(late, relative_buckets(196, 196, buckets, far, causal)[-3:])  # the last queries, as with a cache
