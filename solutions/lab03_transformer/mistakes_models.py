"""Lab 3's misconceptions about stacks and models, and of the extensions. Sealed, as exercises.py."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated
from mlsys_course import transformer as component
from mlsys_course.attention import causal_mask

from . import references
from .mistakes import DIGITS

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def one_residual(x, memory, w, n_heads, mask=None, memory_mask=None, *, attend, feed_forward, layer_norm) -> Tensor:
    y = layer_norm(x + attend(x, x, *w["self"], n_heads, mask), *w["norms"][0])
    y = layer_norm(attend(y, memory, *w["cross"], n_heads, memory_mask), *w["norms"][1])
    return layer_norm(y + feed_forward(y, *w["ffn"]), *w["norms"][2])


DECODER_BLOCK = [
    Misconception(
        "crosses to itself",
        mutated(
            component.decoder_block,
            'attend(y, memory, *weights["cross"], n_heads, memory_mask)',
            'attend(y, y, *weights["cross"], n_heads, None)',
        ),
        "Change the memory: does your result change?",
    ),
    Misconception(
        "crosses before it looks at itself",
        mutated(component.decoder_block, "block(x, sublayers,", "block(x, [sublayers[n] for n in (1, 0, 2)],"),
        "In which order do self-attention and cross-attention stand in the paper's figure 1?",
    ),
    Misconception(
        "feed-forward in the middle",
        mutated(component.decoder_block, "block(x, sublayers,", "block(x, [sublayers[n] for n in (0, 2, 1)],"),
        "Which of the three sublayers comes last?",
    ),
    Misconception(
        "self-attention's weights twice",
        mutated(component.decoder_block, 'weights["cross"]', 'weights["self"]'),
        "Whose weights does the crossing use?",
    ),
    Misconception(
        "no residual around the crossing",
        one_residual,
        "Around how many of the three sublayers does x have a way past?",
    ),
    Misconception(
        "pre-norm",
        mutated(component.decoder_block, 'norms, "post")', 'norms, "pre")'),
        "This block is the paper's: post-norm.",
    ),
    Misconception(
        "mask dropped",
        mutated(component.decoder_block, "n_heads, mask)", "n_heads, None)"),
        "With and without `mask` your result is the same. Which attention is it for?",
    ),
    Misconception(
        "memory's mask dropped",
        mutated(component.decoder_block, "n_heads, memory_mask)", "n_heads, None)"),
        "With and without `memory_mask` your result is the same. Which attention is it for?",
    ),
    Misconception(
        "causal whether asked or not",
        mutated(
            component.decoder_block,
            "n_heads, mask)",
            "n_heads, causal_mask(y.shape[1], device=y.device))",
            causal_mask=causal_mask,
        ),
        "Without a mask every token may see every other. Where does your causal mask come from?",
    ),
]


ENCODER_DECODER = [
    Misconception(
        "memory from the layer beside it",
        mutated(
            component.encoder_decoder,
            "for layer in encoder:\n        x = layer(x, padding)",
            "memories = [x := layer(x, padding) for layer in encoder]",
            "for layer in decoder:",
            "for layer, x in zip(decoder, memories, strict=True):",
        ),
        "Every decoder layer reads the same memory. Which encoder layer wrote it?",
    ),
    Misconception(
        "memory from the first layer",
        mutated(component.encoder_decoder, "in encoder:", "in encoder[:1]:"),
        "Which encoder layer's output is the memory?",
    ),
    Misconception(
        "the raw source as memory",
        mutated(component.encoder_decoder, "in encoder:", "in encoder[:0]:"),
        "What does the decoder read, the source's embeddings or what the encoder has made of them?",
    ),
    Misconception(
        "decoder not causal",
        mutated(component.encoder_decoder, "causal_mask(y.shape[1], device=y.device)", "None"),
        "May a token of the target see the next one?",
    ),
    Misconception(
        "encoder causal",
        mutated(
            component.encoder_decoder,
            "x = layer(x, padding)",
            "x = layer(x, causal_mask(x.shape[1], device=x.device) & (True if padding is None else padding))",
        ),
        "The source is known as a whole. Who may see whom in it?",
    ),
    Misconception(
        "padding seen by the encoder",
        mutated(component.encoder_decoder, "layer(x, padding)", "layer(x, None)"),
        "Padding is hidden from the decoder in yours. From whom else must it be?",
    ),
    Misconception(
        "padding seen by the decoder",
        mutated(component.encoder_decoder, "device=y.device), padding)", "device=y.device), None)"),
        "Padding is hidden from the encoder in yours. Who else looks at the source?",
    ),
    Misconception(
        "padding shown, tokens hidden",
        mutated(component.encoder_decoder, "else padding_mask(", "else ~padding_mask("),
        "True is where a token may be seen. Where is your padding mask True: at the tokens, or at the padding?",
    ),
]


DECODER = [
    Misconception(
        "one block, several times",
        mutated(
            references.Decoder,
            "make_block(config) for _ in range(config.n_layers)",
            "[make_block(config)] * config.n_layers",
        ),
        "Your blocks share their weights. What does `[block] * n` make n of?",
    ),
    Misconception(
        "last block first",
        mutated(references.Decoder, "in self.blocks", "in reversed(self.blocks)"),
        "Through which block does x go first?",
    ),
    Misconception(
        "sees what comes",
        mutated(references.Decoder, "return causal_mask(tokens.shape[1], device=tokens.device)", "return None"),
        "May a token see the one that it is to predict?",
    ),
    Misconception(
        "no final norm",
        mutated(references.Decoder, 'self.norm(x) if self.config.norm_position == "pre" else x)', "x)"),
        "After pre-norm blocks x is a sum that no norm has seen. What comes before the head?",
    ),
    Misconception(
        "norm before the blocks",
        mutated(
            references.Decoder,
            "for layer in",
            'x = self.norm(x) if self.config.norm_position == "pre" else x\n        for layer in',
            'return self.head(self.norm(x) if self.config.norm_position == "pre" else x)',
            "return self.head(x)",
        ),
        "Where does a pre-norm model have its last norm?",
    ),
    Misconception(
        "head not tied",
        mutated(
            references.Decoder, "if config.tied_head:\n            self.head.weight = self.embedding.weight\n", "\n"
        ),
        "The model learns more numbers than it should. What does a tied head share with the embedding?",
    ),
    Misconception(
        "positions scaled too",
        mutated(
            references.Decoder,
            "if self.config.embedding_scale:\n            x = x * math.sqrt(C)\n",
            "\n",
            "return x\n",
            "return x * math.sqrt(C) if self.config.embedding_scale else x\n",
        ),
        "Are positions added before the embeddings are scaled, or after?",
    ),
    Misconception(
        "not scaled",
        mutated(references.Decoder, "x * math.sqrt(C)", "x"),
        "What is `embedding_scale` for? See the list of switches.",
    ),
    Misconception(
        "positions left out",
        mutated(
            references.Decoder,
            "x + learned_positions(self.positions.weight, T)",
            "x",
            "x + sinusoidal_positions(T, C, device=x.device).to(x.dtype)",
            "x",
        ),
        'What is added with "learned" and with "sinusoidal" positions?',
    ),
    Misconception(
        "something added for rotary",
        mutated(references.Decoder, '== "sinusoidal"', '!= "learned"'),
        "Rotary positions turn queries and keys inside the blocks. What is there to add outside?",
    ),
]


BLOCK_PARAMETERS = [
    Misconception(
        "as many key heads as query heads",
        mutated(component.block_parameters, "2 * C * config.n_kv_heads * D", "2 * C * config.n_heads * D"),
        "With grouped heads, how wide are W_k and W_v?",
    ),
    Misconception(
        "no output projection",
        mutated(component.block_parameters, "2 * C * config.n_heads * D", "C * config.n_heads * D"),
        "Attention has four matrices. Which one mixes the heads?",
    ),
    Misconception(
        "square projections",
        mutated(
            component.block_parameters,
            "attention = projections + sum(width[letter] for letter in config.attention_biases)",
            "attention = 4 * C**2",
        ),
        "Heads times head width need not be the model's width, nor are all four matrices alike.",
    ),
    Misconception(
        "key biases as wide as queries'",
        mutated(
            component.block_parameters,
            '"K": config.n_kv_heads * D, "V": config.n_kv_heads * D',
            '"K": config.n_heads * D, "V": config.n_heads * D',
        ),
        "A bias belongs to a matrix's outputs. How many has W_k?",
    ),
    Misconception(
        "gate left out",
        mutated(component.block_parameters, "2 if config.gated else 1", "1"),
        "How many matrices does a gated network have?",
    ),
    Misconception(
        "biases of the second matrix left out",
        mutated(component.block_parameters, "(into * F + C)", "into * F"),
        "Which of the network's matrices have a bias, and how long is each?",
    ),
    Misconception(
        "one norm a block",
        mutated(component.block_parameters, "(2 + cross) * norm", "(1 + cross) * norm"),
        "How many sublayers are there, and so how many norms?",
    ),
    Misconception(
        "a bias in every norm",
        mutated(component.block_parameters, '(2 if config.norm == "layer" else 1)', "2"),
        "What does RMSNorm learn for each channel?",
    ),
]


def always_float32(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, ...]:
    found = component.layer_norm_backward(x.float(), gain.float(), gradient.float(), epsilon)
    return tuple(each.to(x.dtype) for each in found)


def not_summed(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    dx, _, _ = component.layer_norm_backward(x, gain, gradient, epsilon)
    hat = component.layer_norm(x, torch.ones_like(gain), torch.zeros_like(gain), epsilon)
    return (dx, gradient * hat, gradient) if x.ndim > 1 else (dx, gradient, gradient * hat)


LAYER_NORM_BACKWARD = [
    Misconception(
        "statistics held fixed",
        mutated(
            component.layer_norm_backward,
            "scale * (g - g.mean(-1, keepdim=True) - hat * (g * hat).mean(-1, keepdim=True))",
            "scale * g",
        ),
        "Move one channel of x: the mean and the variance move too. Which terms come from them?",
    ),
    Misconception(
        "mean held fixed",
        mutated(component.layer_norm_backward, " - g.mean(-1, keepdim=True)", ""),
        "Add the same number to all channels: the output stays, so dx must sum to 0 over channels. Does yours?",
    ),
    Misconception(
        "variance held fixed",
        mutated(component.layer_norm_backward, " - hat * (g * hat).mean(-1, keepdim=True)", ""),
        "Stretch a token: the output stays (but for epsilon), so dx is orthogonal to it. Is yours?",
    ),
    Misconception(
        "gain left out of dx",
        mutated(component.layer_norm_backward, "gradient * gain", "gradient"),
        "Between the normalized x and the output stands the gain. Does dx pass through it?",
    ),
    Misconception(
        "gain's gradient from x itself",
        mutated(component.layer_norm_backward, "(gradient * hat, gradient)", "(gradient * x, gradient)"),
        "What does the gain multiply: x, or what the norm has made of it?",
    ),
    Misconception(
        "gain and bias not summed over tokens",
        not_summed,
        "One gain serves all tokens. What happens to the gradients of something that is used many times?",
    ),
    Misconception("always in float32", always_float32, DIGITS),
]
