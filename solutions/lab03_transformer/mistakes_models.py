"""Lab 3's misconceptions about stacks and models, and of the extensions. Sealed, as exercises.py."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import transformer as component
from mlsys_course.attention import causal_mask

from . import references
from .mistakes import DIGITS, always_float32

Tensor = torch.Tensor
Candidate = Callable[..., Any]


mistake = wrong(component.decoder_block)
DECODER_BLOCK = [
    mistake("crosses to itself", "Change the memory: does your result change?",
        'attend(y, memory, *weights["cross"], n_heads, memory_mask)', 'attend(y, y, *weights["cross"], n_heads, None)'),
    mistake("crosses before it looks at itself",
        "In which order do self-attention and cross-attention stand in the paper's figure 1?",
        "block(x, sublayers,", "block(x, [sublayers[n] for n in (1, 0, 2)],"),
    mistake("feed-forward in the middle", "Which of the three sublayers comes last?",
        "block(x, sublayers,", "block(x, [sublayers[n] for n in (0, 2, 1)],"),
    mistake("self-attention's weights twice", "Whose weights does the crossing use?",
        'weights["cross"]', 'weights["self"]'),
    mistake("no residual around the crossing", "Around how many of the three sublayers does x have a way past?",
        'return block(x, sublayers, norms, "post")',
        'y = norms[1](sublayers[1](block(x, sublayers[:1], norms[:1], "post")))\n'
        '    return block(y, sublayers[2:], norms[2:], "post")'),
    mistake("one norm for all three", "The block has three norms. Which ones are called in yours?",
        'for norm in weights["norms"]]', 'for norm in weights["norms"][:1] * 3]'),
    mistake("pre-norm", "This block is the paper's: post-norm.", 'norms, "post")', 'norms, "pre")'),
    mistake("mask dropped", "With and without `mask` your result is the same. Which attention is it for?",
        "n_heads, mask)", "n_heads, None)"),
    mistake("memory's mask dropped",
        "With and without `memory_mask` your result is the same. Which attention is it for?",
        "n_heads, memory_mask)", "n_heads, None)"),
    mistake("causal whether asked or not",
        "Without a mask every token may see every other. Where does your causal mask come from?",
        "n_heads, mask)", "n_heads, causal_mask(y.shape[1], device=y.device))", causal_mask=causal_mask),
]  # fmt: skip


mistake = wrong(component.encoder_decoder)
ENCODER_DECODER = [
    mistake("memory from the layer beside it",
        "Every decoder layer reads the same memory. Which encoder layer wrote it?",
        "for layer in encoder:\n        x = layer(x, padding)",
        "memories = [x := layer(x, padding) for layer in encoder]", "for layer in decoder:",
        "for layer, x in zip(decoder, memories, strict=True):"),
    mistake("memory from the first layer", "Which encoder layer's output is the memory?",
        "in encoder:", "in encoder[:1]:"),
    mistake("the raw source as memory",
        "What does the decoder read, the source's embeddings or what the encoder has made of them?",
        "in encoder:", "in encoder[:0]:"),
    mistake("decoder not causal", "May a token of the target see the next one?",
        "causal_mask(y.shape[1], device=y.device)", "None"),
    mistake("encoder causal", "The source is known as a whole. Who may see whom in it?",
        "x = layer(x, padding)",
        "x = layer(x, causal_mask(x.shape[1], device=x.device) & (True if padding is None else padding))"),
    mistake("padding seen by the encoder", "Padding is hidden from the decoder in yours. From whom else must it be?",
        "layer(x, padding)", "layer(x, None)"),
    mistake("padding seen by the decoder", "Padding is hidden from the encoder in yours. Who else looks at the source?",
        "device=y.device), padding)", "device=y.device), None)"),
    mistake("no masks at all", "Nothing is hidden in yours. What must the target not see, and what must nobody see?",
        "causal_mask(y.shape[1], device=y.device), padding)", "None, None)", "layer(x, padding)", "layer(x, None)"),
    mistake("one token too many",
        "With three tokens, at which positions do they stand? Which does your mask show?",
        "padding_mask(lengths, x.shape[1])", "padding_mask((lengths + 1).clamp(max=x.shape[1]), x.shape[1])"),
    mistake("one token too few",
        "With three tokens, at which positions do they stand? Which does your mask show?",
        "padding_mask(lengths, x.shape[1])", "padding_mask(lengths - 1, x.shape[1])"),
    mistake("padding shown, tokens hidden",
        "True is where a token may be seen. Where is your padding mask True: at the tokens, or at the padding?",
        "else padding_mask(", "else ~padding_mask("),
]  # fmt: skip


mistake = wrong(references.Decoder)
DECODER = [
    mistake("one block, several times", "Your blocks share their weights. What does `[block] * n` make n of?",
        "make_block(config) for _ in range(config.n_layers)", "[make_block(config)] * config.n_layers"),
    mistake("last block first", "Through which block does x go first?", "in self.blocks", "in reversed(self.blocks)"),
    mistake("sees what comes", "May a token see the one that it is to predict?",
        "return causal_mask(tokens.shape[1], device=tokens.device)", "return None"),
    mistake("no final norm", "After pre-norm blocks x is a sum that no norm has seen. What comes before the head?",
        'self.norm(x) if self.config.norm_position == "pre" else x)', "x)"),
    mistake("norm before the blocks", "Where does a pre-norm model have its last norm?",
        "for layer in", 'x = self.norm(x) if self.config.norm_position == "pre" else x\n        for layer in',
        'return self.head(self.norm(x) if self.config.norm_position == "pre" else x)', "return self.head(x)"),
    mistake("head not tied",
        "The model learns more numbers than it should. What does a tied head share with the embedding?",
        "if config.tied_head:\n            self.head.weight = self.embedding.weight\n", "\n"),
    mistake("positions scaled too", "Are positions added before the embeddings are scaled, or after?",
        "if self.config.embedding_scale:\n            x = x * math.sqrt(C)\n", "\n", "return x\n",
        "return x * math.sqrt(C) if self.config.embedding_scale else x\n"),
    mistake("always tied",
        "The model learns fewer numbers than it should. When does the head share the embedding's weight?",
        "if config.tied_head:", "if True:"),
    mistake("always scaled", "When are the embeddings multiplied by the root of C?",
        "if self.config.embedding_scale:", "if True:"),
    mistake("scaled by C", "By how much are the embeddings scaled: C, or its root?", "x * math.sqrt(C)", "x * C"),
    mistake("not scaled", "What is `embedding_scale` for? See the list of switches.", "x * math.sqrt(C)", "x"),
    mistake("positions left out", 'What is added with "learned" and with "sinusoidal" positions?',
        "x + learned_positions(self.positions.weight, T)", "x",
        "x + sinusoidal_positions(T, C, device=x.device).to(x.dtype)", "x"),
    mistake("something added for rotary",
        "Rotary positions turn queries and keys inside the blocks. What is there to add outside?",
        '== "sinusoidal"', '!= "learned"'),
]  # fmt: skip


mistake = wrong(component.block_parameters)
BLOCK_PARAMETERS = [
    mistake("as many key heads as query heads", "With grouped heads, how wide are W_k and W_v?",
        "2 * C * config.n_kv_heads * D", "2 * C * config.n_heads * D"),
    mistake("no output projection", "Attention has four matrices. Which one mixes the heads?",
        "2 * C * config.n_heads * D", "C * config.n_heads * D"),
    mistake("square projections",
        "Heads times head width need not be the model's width, nor are all four matrices alike.",
        "attention = projections + sum(width[letter] for letter in config.attention_biases)", "attention = 4 * C**2"),
    mistake("key biases as wide as queries'", "A bias belongs to a matrix's outputs. How many has W_k?",
        '"K": config.n_kv_heads * D, "V": config.n_kv_heads * D', '"K": config.n_heads * D, "V": config.n_heads * D'),
    mistake("gate left out", "How many matrices does a gated network have?", "2 if config.gated else 1", "1"),
    mistake("biases of the second matrix left out",
        "Which of the network's matrices have a bias, and how long is each?",
        "(into * F + C)", "into * F"),
    mistake("one norm a block", "How many sublayers are there, and so how many norms?",
        "(2 + cross) * norm", "(1 + cross) * norm"),
    mistake("no bias in any norm", "What does LayerNorm learn for each channel, besides a gain?",
        '(2 if config.norm == "layer" else 1)', "1"),
    mistake("a bias in every norm", "What does RMSNorm learn for each channel?",
        '(2 if config.norm == "layer" else 1)', "2"),
]  # fmt: skip


def not_summed(x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    dx, _, _ = component.layer_norm_backward(x, gain, gradient, epsilon)
    hat = component.layer_norm(x, torch.ones_like(gain), torch.zeros_like(gain), epsilon)
    return (dx, gradient * hat, gradient) if x.ndim > 1 else (dx, gradient, gradient * hat)


mistake = wrong(component.layer_norm_backward)
LAYER_NORM_BACKWARD = [
    mistake("statistics held fixed",
        "Move one channel of x: the mean and the variance move too. Which terms come from them?",
        "scale * (g - g.mean(-1, keepdim=True) - hat * (g * hat).mean(-1, keepdim=True))", "scale * g"),
    mistake("mean held fixed",
        "Add the same number to all channels: the output stays, so dx must sum to 0 over channels. Does yours?",
        " - g.mean(-1, keepdim=True)", ""),
    mistake("variance held fixed",
        "Stretch a token: the output stays (but for epsilon), so dx is orthogonal to it. Is yours?",
        " - hat * (g * hat).mean(-1, keepdim=True)", ""),
    mistake("sums for means", "Are the two terms that are taken off sums over channels, or means?",
        "g.mean(-1, keepdim=True)", "g.sum(-1, keepdim=True)",
        "(g * hat).mean(-1, keepdim=True)", "(g * hat).sum(-1, keepdim=True)"),
    mistake("gain left out of dx", "Between the normalized x and the output stands the gain. Does dx pass through it?",
        "gradient * gain", "gradient"),
    mistake("gain's gradient from x itself", "What does the gain multiply: x, or what the norm has made of it?",
        "(gradient * hat, gradient)", "(gradient * x, gradient)"),
    Misconception("gain and bias not summed over tokens", not_summed,
        "One gain serves all tokens. What happens to the gradients of something that is used many times?"),
    Misconception("always in float32", always_float32(component.layer_norm_backward), DIGITS),
]  # fmt: skip
