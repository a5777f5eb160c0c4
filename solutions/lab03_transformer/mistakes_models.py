"""Lab 3's misconceptions about stacks and models, and of the extensions. Sealed, as exercises.py."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autograder.exercise import Misconception
from mlsys_course import transformer as component
from mlsys_course.attention import causal_mask, padding_mask

from . import references
from .mistakes import DIGITS

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def decoder_block_like(
    order: str = "scf",
    sees: Candidate = lambda y, memory: (y, memory),
    masks: Candidate = lambda y, mask, memory_mask: (mask, memory_mask),
    same_weights: bool = False,
    norm_position: str = "post",
) -> Candidate:
    """A wrong ``decoder_block``: ``order`` of self-attention, cross-attention, feed-forward; what crossing sees."""

    def candidate(x, memory, w, n_heads, mask=None, memory_mask=None, *, attend, feed_forward, layer_norm) -> Tensor:
        own, other = masks(x, mask, memory_mask)

        def cross(y: Tensor) -> Tensor:
            return attend(*sees(y, memory), *w["self" if same_weights else "cross"], n_heads, other)

        sublayers = {
            "s": lambda y: attend(y, y, *w["self"], n_heads, own),
            "c": cross,
            "f": lambda y: feed_forward(y, *w["ffn"]),
        }
        norms = [lambda y, norm=norm: layer_norm(y, *norm) for norm in w["norms"]]
        return component.block(x, [sublayers[c] for c in order], norms[: len(order)], norm_position)

    return candidate


def one_residual(x, memory, w, n_heads, mask=None, memory_mask=None, *, attend, feed_forward, layer_norm) -> Tensor:
    y = layer_norm(x + attend(x, x, *w["self"], n_heads, mask), *w["norms"][0])
    y = layer_norm(attend(y, memory, *w["cross"], n_heads, memory_mask), *w["norms"][1])
    return layer_norm(y + feed_forward(y, *w["ffn"]), *w["norms"][2])


def always_causal(y: Tensor, mask: Tensor | None, memory_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return causal_mask(y.shape[1], device=y.device), memory_mask


DECODER_BLOCK = [
    Misconception(
        "crosses to itself",
        decoder_block_like(sees=lambda y, memory: (y, y), masks=lambda y, m, _: (m, None)),
        "Change the memory: does your result change?",
    ),
    Misconception(
        "crosses before it looks at itself",
        decoder_block_like("csf"),
        "In which order do self-attention and cross-attention stand in the paper's figure 1?",
    ),
    Misconception("feed-forward in the middle", decoder_block_like("sfc"), "Which of the three sublayers comes last?"),
    Misconception(
        "self-attention's weights twice", decoder_block_like(same_weights=True), "Whose weights does the crossing use?"
    ),
    Misconception(
        "no residual around the crossing",
        one_residual,
        "Around how many of the three sublayers does x have a way past?",
    ),
    Misconception("pre-norm", decoder_block_like(norm_position="pre"), "This block is the paper's: post-norm."),
    Misconception(
        "mask dropped",
        decoder_block_like(masks=lambda y, mask, memory_mask: (None, memory_mask)),
        "With and without `mask` your result is the same. Which attention is it for?",
    ),
    Misconception(
        "memory's mask dropped",
        decoder_block_like(masks=lambda y, mask, memory_mask: (mask, None)),
        "With and without `memory_mask` your result is the same. Which attention is it for?",
    ),
    Misconception(
        "causal whether asked or not",
        decoder_block_like(masks=always_causal),
        "Without a mask every token may see every other. Where does your causal mask come from?",
    ),
]


def stacks_like(
    source_mask: Candidate = lambda x, padded: padded,
    target_mask: Candidate = lambda y: causal_mask(y.shape[1], device=y.device),
    memory_mask: Candidate = lambda padded: padded,
    layer_by_layer: bool = False,
    first: bool = False,
) -> Candidate:
    """A wrong ``encoder_decoder``: other masks, or another memory."""

    def candidate(x: Tensor, y: Tensor, encoder: Any, decoder: Any, lengths: Tensor | None = None) -> Tensor:
        padded = None if lengths is None else padding_mask(lengths, x.shape[1])
        states = [x]
        for layer in encoder:
            states.append(layer(states[-1], source_mask(x, padded)))
        for n, layer in enumerate(decoder):
            memory = states[n + 1] if layer_by_layer else states[1 if first and encoder else -1]
            y = layer(y, memory, target_mask(y), memory_mask(padded))
        return y

    return candidate


def causal_source(x: Tensor, padded: Tensor | None) -> Tensor:
    causal = causal_mask(x.shape[1], device=x.device)
    return causal if padded is None else causal & padded


def inverted(padded: Tensor | None) -> Tensor | None:
    return None if padded is None else ~padded


ENCODER_DECODER = [
    Misconception(
        "memory from the layer beside it",
        stacks_like(layer_by_layer=True),
        "Every decoder layer reads the same memory. Which encoder layer wrote it?",
    ),
    Misconception(
        "memory from the first layer", stacks_like(first=True), "Which encoder layer's output is the memory?"
    ),
    Misconception(
        "the raw source as memory",
        lambda x, y, encoder, decoder, lengths=None: references.encoder_decoder(x, y, [], decoder, lengths),
        "What does the decoder read, the source's embeddings or what the encoder has made of them?",
    ),
    Misconception(
        "decoder not causal", stacks_like(target_mask=lambda y: None), "May a token of the target see the next one?"
    ),
    Misconception(
        "encoder causal",
        stacks_like(source_mask=causal_source),
        "The source is known as a whole. Who may see whom in it?",
    ),
    Misconception(
        "padding seen by the encoder",
        stacks_like(source_mask=lambda x, padded: None),
        "Padding is hidden from the decoder in yours. From whom else must it be?",
    ),
    Misconception(
        "padding seen by the decoder",
        stacks_like(memory_mask=lambda padded: None),
        "Padding is hidden from the encoder in yours. Who else looks at the source?",
    ),
    Misconception(
        "padding shown, tokens hidden",
        stacks_like(source_mask=lambda x, padded: inverted(padded), memory_mask=inverted),
        "True is where a token may be seen. Where is your padding mask True: at the tokens, or at the padding?",
    ),
]


def tied(model: nn.Module) -> None:
    if model.config.tied_head:
        model.head.weight = model.embedding.weight


class OneBlock(references.Decoder):
    def __init__(self, config, make_block, make_norm):
        super().__init__(config, make_block, make_norm)
        self.blocks = nn.ModuleList([make_block(config)] * config.n_layers)


class Backwards(references.Decoder):
    def forward(self, tokens: Tensor) -> Tensor:
        x, mask = self.embed(tokens), self.mask(tokens)
        for layer in reversed(self.blocks):
            x = layer(x, mask)
        return self.head(self.norm(x) if self.config.norm_position == "pre" else x)


class SeesAll(references.Decoder):
    def mask(self, tokens: Tensor) -> None:
        return None


class NeverNormed(references.Decoder):
    def forward(self, tokens: Tensor) -> Tensor:
        x, mask = self.embed(tokens), self.mask(tokens)
        for layer in self.blocks:
            x = layer(x, mask)
        return self.head(x)


class NormedFirst(references.Decoder):
    def forward(self, tokens: Tensor) -> Tensor:
        pre = self.config.norm_position == "pre"
        x, mask = self.embed(tokens), self.mask(tokens)
        x = self.norm(x) if pre else x
        for layer in self.blocks:
            x = layer(x, mask)
        return self.head(x)


class NotTied(references.Decoder):
    def __init__(self, config, make_block, make_norm):
        super().__init__(config, make_block, make_norm)
        self.head = nn.Linear(config.d_model, config.vocabulary, bias=False)


class ScaledWithPositions(references.Decoder):
    def embed(self, tokens: Tensor) -> Tensor:
        factor = math.sqrt(self.config.d_model) if self.config.embedding_scale else 1.0
        x, T = self.embedding(tokens), tokens.shape[1]
        if self.config.positions == "learned":
            x = x + self.positions.weight[:T]
        if self.config.positions == "sinusoidal":
            x = x + references.sinusoidal_positions(T, self.config.d_model, device=x.device).to(x.dtype)
        return x * factor


class NotScaled(references.Decoder):
    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens) - (
            math.sqrt(self.config.d_model) - 1
        ) * self.config.embedding_scale * self.embedding(tokens)


class NoPositions(references.Decoder):
    def embed(self, tokens: Tensor) -> Tensor:
        factor = math.sqrt(self.config.d_model) if self.config.embedding_scale else 1.0
        return self.embedding(tokens) * factor


class AlwaysAdds(references.Decoder):
    def embed(self, tokens: Tensor) -> Tensor:
        x = super().embed(tokens)
        if self.config.positions == "rotary":
            x = x + references.sinusoidal_positions(tokens.shape[1], x.shape[-1], device=x.device).to(x.dtype)
        return x


DECODER = [
    Misconception(
        "one block, several times",
        OneBlock,
        "Your blocks share their weights. What does `[block] * n` make n of?",
    ),
    Misconception("last block first", Backwards, "Through which block does x go first?"),
    Misconception("sees what comes", SeesAll, "May a token see the one that it is to predict?"),
    Misconception(
        "no final norm",
        NeverNormed,
        "After pre-norm blocks x is a sum that no norm has seen. What comes before the head?",
    ),
    Misconception("norm before the blocks", NormedFirst, "Where does a pre-norm model have its last norm?"),
    Misconception(
        "head not tied",
        NotTied,
        "The model learns more numbers than it should. What does a tied head share with the embedding?",
    ),
    Misconception(
        "positions scaled too", ScaledWithPositions, "Are positions added before the embeddings are scaled, or after?"
    ),
    Misconception("not scaled", NotScaled, "What is `embedding_scale` for? See the list of switches."),
    Misconception("positions left out", NoPositions, 'What is added with "learned" and with "sinusoidal" positions?'),
    Misconception(
        "something added for rotary",
        AlwaysAdds,
        "Rotary positions turn queries and keys inside the blocks. What is there to add outside?",
    ),
]


def counted(**changed: Any) -> Candidate:
    """A wrong ``block_parameters``: the terms of ``changed`` from rules of (config, right counts)."""

    def candidate(config: Any) -> dict[str, int]:
        right = component.block_parameters(config)
        return {name: changed[name](config, count) if name in changed else count for name, count in right.items()}

    return candidate


def biases_of_heads(c: Any, count: int) -> int:
    return (
        count
        - sum({"K": c.n_kv_heads, "V": c.n_kv_heads}.get(p, 0) for p in c.attention_biases) * c.head_dim
        + sum(c.n_heads * c.head_dim for p in c.attention_biases if p in "KV")
    )


BLOCK_PARAMETERS = [
    Misconception(
        "as many key heads as query heads",
        counted(attention=lambda c, n: n + 2 * c.d_model * c.head_dim * (c.n_heads - c.n_kv_heads)),
        "With grouped heads, how wide are W_k and W_v?",
    ),
    Misconception(
        "no output projection",
        counted(attention=lambda c, n: n - c.d_model * c.n_heads * c.head_dim),
        "Attention has four matrices. Which one mixes the heads?",
    ),
    Misconception(
        "square projections",
        counted(attention=lambda c, n: 4 * c.d_model**2),
        "Heads times head width need not be the model's width, nor are all four matrices alike.",
    ),
    Misconception(
        "key biases as wide as queries'",
        counted(attention=biases_of_heads),
        "A bias belongs to a matrix's outputs. How many has W_k?",
    ),
    Misconception(
        "gate left out",
        counted(feed_forward=lambda c, n: n - c.gated * (c.d_model * c.d_ffn + c.d_ffn * c.mlp_biases)),
        "How many matrices does a gated network have?",
    ),
    Misconception(
        "biases of the second matrix left out",
        counted(feed_forward=lambda c, n: n - c.d_model * c.mlp_biases),
        "Which of the network's matrices have a bias, and how long is each?",
    ),
    Misconception(
        "one norm a block", counted(norms=lambda c, n: n // 2), "How many sublayers are there, and so how many norms?"
    ),
    Misconception(
        "a bias in every norm", counted(norms=lambda c, n: 4 * c.d_model), "What does RMSNorm learn for each channel?"
    ),
]


def backward_like(rule: Candidate, rest: Candidate | None = None) -> Candidate:
    """A wrong ``layer_norm_backward``: ``rule`` of (normalized x, gradient at it, 1/std); ``rest`` of gain and bias."""

    def candidate(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
        deviations = x - x.mean(-1, keepdim=True)
        scale = torch.rsqrt(deviations.square().mean(-1, keepdim=True) + epsilon)
        hat = deviations * scale
        tokens = list(range(x.ndim - 1))
        own = (gradient * hat, gradient) if rest is None else rest(gradient, hat)
        sums = [g.sum(tokens) if tokens else g for g in own]
        return rule(hat, gradient * gain, scale), sums[0], sums[1]

    return candidate


def mean(x: Tensor) -> Tensor:
    return x.mean(-1, keepdim=True)


def right_rule(hat: Tensor, g: Tensor, scale: Tensor) -> Tensor:
    return scale * (g - mean(g) - hat * mean(g * hat))


def always_float32(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, ...]:
    found = references.layer_norm_backward(x.float(), gain.float(), gradient.float(), epsilon)
    return tuple(each.to(x.dtype) for each in found)


def not_summed(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    dx, _, _ = references.layer_norm_backward(x, gain, gradient, epsilon)
    hat = component.layer_norm(x, torch.ones_like(gain), torch.zeros_like(gain), epsilon)
    return (dx, gradient * hat, gradient) if x.ndim > 1 else (dx, gradient, gradient * hat)


LAYER_NORM_BACKWARD = [
    Misconception(
        "statistics held fixed",
        backward_like(lambda hat, g, scale: scale * g),
        "Move one channel of x: the mean and the variance move too. Which terms come from them?",
    ),
    Misconception(
        "mean held fixed",
        backward_like(lambda hat, g, scale: scale * (g - hat * mean(g * hat))),
        "Add the same number to all channels: the output stays, so dx must sum to 0 over channels. Does yours?",
    ),
    Misconception(
        "variance held fixed",
        backward_like(lambda hat, g, scale: scale * (g - mean(g))),
        "Stretch a token: the output stays (but for epsilon), so dx is orthogonal to it. Is yours?",
    ),
    Misconception(
        "gain left out of dx",
        lambda x, gain, gradient, epsilon=1e-5: (
            references.layer_norm_backward(x, gain * 0 + 1, gradient, epsilon)[0],
            *references.layer_norm_backward(x, gain, gradient, epsilon)[1:],
        ),
        "Between the normalized x and the output stands the gain. Does dx pass through it?",
    ),
    Misconception(
        "gain's gradient from x itself",
        lambda x, gain, gradient, epsilon=1e-5: (
            references.layer_norm_backward(x, gain, gradient, epsilon)[0],
            (gradient * x).sum(list(range(x.ndim - 1))) if x.ndim > 1 else gradient * x,
            references.layer_norm_backward(x, gain, gradient, epsilon)[2],
        ),
        "What does the gain multiply: x, or what the norm has made of it?",
    ),
    Misconception(
        "gain and bias not summed over tokens",
        not_summed,
        "One gain serves all tokens. What happens to the gradients of something that is used many times?",
    ),
    Misconception("always in float32", always_float32, DIGITS),
]
