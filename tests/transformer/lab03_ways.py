"""Lab 3's exercises solved in other ways: unusual, and right."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def layer_norm_by_loops(x, gain, bias, epsilon=1e-5):
    """One token at a time, in float64."""
    rows = []
    for token in x.reshape(-1, x.shape[-1]).double():
        deviations = token - sum(token) / len(token)
        rows.append(deviations / math.e ** (0.5 * torch.log((deviations @ deviations) / len(token) + epsilon)))
    return (torch.stack(rows).reshape(x.shape) * gain.double() + bias.double()).to(x.dtype)


def layer_norm_by_var(x, gain, bias, epsilon=1e-5):
    wide = x.float() if x.dtype != torch.float64 else x
    variance, mean = torch.var_mean(wide, -1, keepdim=True, correction=0)
    return torch.addcmul(bias.to(wide), (wide - mean) / (variance + epsilon) ** 0.5, gain.to(wide)).to(x.dtype)


def rms_norm_by_einsum(x, gain, epsilon=1e-6):
    wide = x.double()
    return (wide * (torch.einsum("...c,...c->...", wide, wide) / x.shape[-1] + epsilon)[..., None].pow(-0.5) * gain).to(
        x.dtype
    )


def rms_norm_gain_last(x, gain, epsilon=1e-6):
    """Rounded before the gain, as Hugging Face's LLaMA does it."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return gain * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def feed_forward_by_units(x, w_1, b_1, w_2, b_2, activation="relu"):
    """A sum over hidden units, with the normal distribution's own function."""
    phi = (
        torch.distributions.Normal(0.0, 1.0).cdf
        if x.dtype != torch.bfloat16
        else lambda h: (1 + torch.erf(h / 2**0.5)) / 2
    )
    bend = {
        "relu": lambda h: h * (h > 0),
        "gelu": lambda h: h * phi(h),
        "gelu_tanh": lambda h: h * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)),
    }[activation]
    return b_2 + sum(bend(x @ w_1[:, [f]] + b_1[f]) * w_2[f] for f in range(len(b_1)))


def swiglu_in_one_product(x, w_gate, w_up, w_down):
    gate, up = (x @ torch.cat([w_gate, w_up], 1)).chunk(2, -1)
    return torch.einsum("...f,fc->...c", up * gate / 2 * (1 + torch.tanh(gate / 2)), w_down)


def block_by_recursion(x, sublayers, norms, norm_position):
    if not sublayers:
        return x
    before, after = (norms[0], lambda y: y) if norm_position == "pre" else (lambda y: y, norms[0])
    return block_by_recursion(after(sublayers[0](before(x)) + x), sublayers[1:], norms[1:], norm_position)


def decoder_block_by_keyword(
    x, memory, weights, n_heads, mask=None, memory_mask=None, *, attend, feed_forward, layer_norm
):
    looks = [("self", None, mask), ("cross", memory, memory_mask)]
    for (name, source, hidden), (gain, bias) in zip(looks, weights["norms"], strict=False):
        y = attend(x, x if source is None else source, *weights[name], n_heads=n_heads, mask=hidden)
        x = layer_norm(x=y + x, gain=gain, bias=bias)
    return layer_norm(feed_forward(x, *weights["ffn"]) + x, *weights["norms"][-1])


def encoder_decoder_with_wide_masks(x, y, encoder, decoder, lengths=None):
    """Masks in full; where no source has padding, a mask of True if there are lengths."""
    (B, S, _), T, shown = x.shape, y.shape[1], None
    if lengths is not None:
        shown = (torch.arange(S, device=x.device)[None] < lengths[:, None])[:, None, None].expand(B, 1, S, S)
    for layer in encoder:
        x = layer(x, shown)
    triangle = torch.ones(T, T, dtype=torch.bool, device=y.device).tril().expand(B, 1, T, T)
    for layer in decoder:
        y = layer(y, x, triangle, None if shown is None else shown[:, :, :1])
    return y


class DecoderWithBuffers(nn.Module):
    """Positions for all places at once, in a buffer; the head's weight given to the embedding."""

    def __init__(self, config, make_block, make_norm):
        super().__init__()
        C, self.config = config.d_model, config
        self.head = nn.Linear(C, config.vocabulary, bias=False)
        self.embedding = nn.Embedding(config.vocabulary, C)
        if config.tied_head:
            self.embedding.weight = self.head.weight
        if config.positions == "learned":
            self.positions = nn.Embedding(config.context, C)
        t, i = torch.arange(64)[:, None], torch.arange(C)
        angles = t * 10000.0 ** (-(i - i % 2) / C)
        self.register_buffer("table", torch.where(i % 2 == 0, angles.sin(), angles.cos()), persistent=False)
        self.blocks = nn.ModuleList()
        for _ in range(config.n_layers):
            self.blocks.append(make_block(config))
        if config.norm_position == "pre":
            self.norm = make_norm(config)

    def forward(self, tokens):
        T = tokens.shape[1]
        x = F.one_hot(tokens, self.config.vocabulary).to(self.embedding.weight) @ self.embedding.weight
        x = x * (self.config.d_model**0.5 if self.config.embedding_scale else 1)
        x = x + (self.table[:T].to(x) if self.config.positions == "sinusoidal" else 0)
        x = x + (self.positions(torch.arange(T, device=tokens.device)) if self.config.positions == "learned" else 0)
        for layer in self.blocks:
            x = layer(x, torch.ones(T, T, device=tokens.device).tril().bool())
        return self.head(self.norm(x) if hasattr(self, "norm") else x)


def layer_norm_backward_by_jacobian(x, gain, gradient, epsilon=1e-5):
    """The whole C x C Jacobian of each token."""
    C = x.shape[-1]
    center = torch.eye(C, dtype=x.dtype) - 1 / C
    d = x @ center
    s = (d.square().mean(-1) + epsilon)[..., None, None]
    jacobian = center / s.sqrt() - d[..., :, None] * d[..., None, :] / C / s**1.5
    dx = ((gradient * gain)[..., None, :] @ jacobian)[..., 0, :]
    rows, hat = gradient.reshape(-1, C), (d / s[..., 0].sqrt()).reshape(-1, C)
    return [dx, torch.einsum("nc,nc->c", rows, hat), torch.einsum("nc->c", rows)]


RIGHT = [
    ("layer_norm", layer_norm_by_loops),
    ("layer_norm", layer_norm_by_var),
    ("rms_norm", rms_norm_by_einsum),
    ("rms_norm", rms_norm_gain_last),
    ("feed_forward", feed_forward_by_units),
    ("swiglu", swiglu_in_one_product),
    ("block", block_by_recursion),
    ("decoder_block", decoder_block_by_keyword),
    ("encoder_decoder", encoder_decoder_with_wide_masks),
    ("Decoder", DecoderWithBuffers),
    ("layer_norm_backward", layer_norm_backward_by_jacobian),
]
