"""Lab 3's exercises: any right way passes, small mutations of the solution lose points, references are PyTorch's."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from autograder.course import load_course
from mlsys_course.attention import causal_mask, padding_mask
from mlsys_course.transformer import Block, Decoder, gpt2, layer_norm, llama, norm_of, vaswani_2017
from tests.conftest import ROOT
from tests.labs import SampleLab
from tests.transformer.lab03_ways import RIGHT

LAB = SampleLab(load_course(ROOT, term="sample").lab("lab03"))
EXERCISES, verdicts = LAB.exercises, LAB.verdicts


@pytest.mark.parametrize(("name", "candidate"), RIGHT, ids=lambda x: getattr(x, "__name__", x))
def test_right_in_another_way(name, candidate):
    for verdict in verdicts(name, candidate):
        assert verdict.score == verdict.max_score, [r.wrong for r in verdict.results if r.wrong]


# Mutations: (exercise, what stands in the solution, what is put there).
MUTATIONS = [
    ("layer_norm", "torch.sqrt(variance + epsilon)", "torch.sqrt(variance)"),
    ("layer_norm", "+ epsilon) + bias", "+ 1e-5) + bias"),
    ("layer_norm", "gain * centred", "gain.detach() * centred"),
    ("layer_norm", "variance = (centred**2)", "variance = centred.abs()"),
    ("layer_norm", "torch.promote_types(x.dtype, torch.float32)", "torch.float32"),
    ("layer_norm", "+ bias)", "+ bias.abs())"),
    ("rms_norm", "+ epsilon)", "+ 1e-6)"),
    ("rms_norm", "torch.sqrt((wide**2)", "torch.sqrt((wide.detach()**2)"),
    ("rms_norm", "(wide**2).mean(dim=-1, keepdim=True)", "wide.var(dim=-1, keepdim=True, correction=0)"),
    ("rms_norm", "torch.promote_types(x.dtype, torch.float32)", "torch.float32"),
    ("feed_forward", "0.044715", "0.0447"),
    ("feed_forward", "math.sqrt(2)", "1.41"),
    ("feed_forward", "torch.relu(h)", "torch.nn.functional.leaky_relu(h, 0.001)"),
    ("feed_forward", "h = x @ w_1 + b_1", "h = (x @ w_1 + b_1).clamp(-2, 2)"),
    ("feed_forward", "+ b_2", "+ b_2.detach()"),
    ("swiglu", "torch.sigmoid(gate)", "torch.sigmoid(1.01 * gate)"),
    ("swiglu", "* (x @ w_up)", "* (x @ w_up.detach())"),
    ("swiglu", "gate = x @ w_gate", "gate = (x @ w_gate).clamp(-60, 60)"),
    ("block", "x + sublayer(norm(x))", "norm(x) + sublayer(x)"),
    ("block", "norm(x + sublayer(x))", "norm(x) + sublayer(x)"),
    ("block", "x + sublayer(norm(x))", "x + sublayer(norm(x.detach()))"),
    ("block", "zip(sublayers, norms, strict=True)", "zip(sublayers[:2], norms, strict=False)"),
    ("decoder_block", "*norms[2])", "*norms[1])"),
    ("decoder_block", "attend(x, memory, *weights", "attend(memory[:, :1].expand_as(x), memory, *weights"),
    ("decoder_block", "n_heads, mask)", "1, mask)"),
    ("decoder_block", "n_heads, memory_mask)", "n_heads, None if memory_mask is None else ~memory_mask)"),
    ("decoder_block", 'feed_forward(x, *weights["ffn"])', 'feed_forward(memory[:, :1], *weights["ffn"])'),
    ("decoder_block", "attend(x, memory, ", "attend(x, memory.detach(), "),
    ("encoder_decoder", "y = layer(y, x, causal, padding)", "y = layer(y, x.mean(1, keepdim=True), causal, padding)"),
    ("encoder_decoder", "padding_mask(lengths, x.shape[1])", "padding_mask(lengths - 1, x.shape[1])"),
    ("encoder_decoder", "x = layer(x, padding)", "x = layer(x, padding).detach()"),
    ("encoder_decoder", "causal_mask(y.shape[1], device=y.device)", "causal_mask(y.shape[1]).T"),
    ("Decoder", "math.sqrt(C)", "C"),
    ("Decoder", "self.positions.weight[:T]", "self.positions.weight[-T:]"),
    ("Decoder", "sinusoidal_positions(T, C,", "sinusoidal_positions(T + 1, C,)[1:].to("),
    ("Decoder", "self.head(self.norm(x))", "self.head(self.norm(x)).log_softmax(-1)"),
    ("Decoder", "self.head(self.norm(x))", "self.head(self.norm(self.norm(x)))"),
    ("Decoder", "bias=False", "bias=True"),
    ("Decoder", "self.head.weight = self.embedding.weight", "self.head.weight.data = self.embedding.weight.data"),
    ("Decoder", "each(x, mask)", "each(x, mask | ~mask)"),
    ("Decoder", "for each in self.blocks:", "for each in self.blocks[:2]:"),
    ("Decoder", ".to(x.dtype)", ".double()"),
    ("block_parameters", "if config.mlp_biases", "if config.mlp_biases and config.gated"),
    ("block_parameters", "for letter in config.attention_biases", 'for letter in "QKVO" if config.attention_biases'),
    ("block_parameters", '"O": C}', '"O": config.n_heads * D}'),
    ("layer_norm_backward", "+ epsilon)", "+ 1e-5)"),
    ("layer_norm_backward", "gradient.to(wide) * gain", "gradient.to(wide)"),
    ("layer_norm_backward", "(gradient * hat).reshape", "(g * hat).reshape"),
]


def defined(name: str, source: str):
    """The exercise's function or class from its cell's text."""
    scope: dict = {}
    imports = LAB.solution[""].replace("from mlsys_course.desk.check import check\n", "").split("attention = take")[0]
    exec(imports, scope)
    exec(source, scope)
    return scope[name]


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_a_mutation_loses_points(name, old, new):
    mutant = defined(name, LAB.mutated(name, old, new))
    scores = [v.score < v.max_score for v in verdicts(name, mutant)]
    assert scores[1], "nothing sealed goes red"
    assert scores[0], "a student is not told"


# The references that the component does not hold as such.


def test_the_decoder_block_is_torchs(normal):
    B, T, S, C, H = 2, 5, 4, 12, 3
    theirs = nn.TransformerDecoderLayer(C, H, 20, 0.0, batch_first=True, dtype=torch.float64)
    for parameter in theirs.parameters():
        parameter.data = normal(*parameter.shape, scale=0.4)
        parameter.requires_grad_()
    weights = {}
    for name, layer in (("self", theirs.self_attn), ("cross", theirs.multihead_attn)):
        weights[name] = [*(w.T for w in layer.in_proj_weight.chunk(3)), layer.out_proj.weight.T]
        layer.in_proj_bias.data.zero_(), layer.out_proj.bias.data.zero_()
    up, down = theirs.linear1, theirs.linear2
    weights["ffn"] = [up.weight.T, up.bias, down.weight.T, down.bias]
    weights["norms"] = [[n.weight, n.bias] for n in (theirs.norm1, theirs.norm2, theirs.norm3)]
    x, memory, cotangent = normal(B, T, C).requires_grad_(), normal(B, S, C).requires_grad_(), normal(B, T, C)
    mask, padded = causal_mask(T), padding_mask(torch.tensor([S, 2]), S)
    want = theirs(x, memory, ~mask, memory_key_padding_mask=~padded[:, 0, 0])
    parts = LAB.lab.drivers["decoder_block"].parts
    got = EXERCISES["decoder_block"].reference(x, memory, weights, H, mask, padded, **parts)
    assert_close(got, want)
    leaves = [x, memory, up.weight, theirs.norm2.weight, theirs.multihead_attn.in_proj_weight]
    assert_close(torch.autograd.grad(got, leaves, cotangent), torch.autograd.grad(want, leaves, cotangent))


def test_the_decoder_is_the_components(tokens):
    """With real blocks in the place of the driver's, and shared weights."""
    for config in (vaswani_2017(60, 16, 2, 4), gpt2(60, 12, 16, 2, 4), llama(60, 16, 2, 4, 2, 40)):
        config = replace(config, encoder_layers=0)
        ours = Decoder(config)
        theirs = EXERCISES["Decoder"].reference(config, Block, norm_of)
        names = {"embedding.tokens": "embedding", "embedding.positions": "positions", "head.vocabulary": "head"}
        state = {}
        for name, tensor in ours.state_dict().items():
            name = re.sub("^stack.", "", name)
            for old, new in names.items():
                name = name.replace(old, new)
            state[name] = tensor
        theirs.load_state_dict(state)
        text = tokens(2, 9)
        assert_close(theirs(text), ours(text))


def by_autograd(x, gain, gradient, epsilon=1e-5):
    """Lab 3's extension, of a road that it forbids."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (x, gain, torch.zeros_like(gain))]
        return torch.autograd.grad(layer_norm(*leaves, epsilon), leaves, gradient)


def test_finished_parts_are_refused():
    """By the guard at run time, whatever road they come by; the text promises it."""
    finished = {
        "layer_norm": lambda x, gain, bias, epsilon=1e-5: F.layer_norm(x, gain.shape, gain, bias, epsilon),
        "rms_norm": lambda x, gain, epsilon=1e-6: torch.rms_norm(x, gain.shape, gain, epsilon),
        "feed_forward": lambda x, w_1, b_1, w_2, b_2, activation="relu": nn.GELU()(x @ w_1 + b_1) @ w_2,
        "swiglu": lambda x, w_gate, w_up, w_down: torch.ops.aten.silu(x @ w_gate) * (x @ w_up) @ w_down,
        "layer_norm_backward": by_autograd,
    }
    for name, candidate in finished.items():
        for verdict in verdicts(name, candidate):
            assert (verdict.status, verdict.score) == ("forbidden", 0), name
