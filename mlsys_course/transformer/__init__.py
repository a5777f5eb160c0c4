"""The transformer: feed-forward networks, norms, blocks, and the three families built of them (lab 3)."""

from ..substrate.model_config import ModelConfig, RotaryScaling, head_dim_of
from ..substrate.presets import (
    bert,
    gpt2,
    gpt3_175b,
    llama,
    llama2_7b,
    llama2_70b,
    llama3_8b,
    llama31_8b,
    llama31_405b,
    t5,
    vaswani_2017,
)
from .attention_layer import Attention, RelativeBias, relative_buckets
from .block import Block, attend, block, decoder_block
from .feed_forward import ACTIVATIONS, FeedForward, activate, feed_forward, swiglu
from .model import Decoder, Encoder, EncoderDecoder, encoder_decoder
from .norms import LayerNorm, RMSNorm, layer_norm, layer_norm_backward, norm_of, rms_norm
from .parameters import block_parameters, feed_forward_share
from .stack import Embedding, Head, Stack, initialize
from .weights import from_bert, from_gpt2, from_llama, from_t5

__all__ = [
    "layer_norm",
    "rms_norm",
    "layer_norm_backward",
    "LayerNorm",
    "RMSNorm",
    "norm_of",
    "ACTIVATIONS",
    "activate",
    "feed_forward",
    "swiglu",
    "FeedForward",
    "ModelConfig",
    "RotaryScaling",
    "head_dim_of",
    "vaswani_2017",
    "gpt2",
    "gpt3_175b",
    "bert",
    "t5",
    "llama",
    "llama2_7b",
    "llama2_70b",
    "llama3_8b",
    "llama31_8b",
    "llama31_405b",
    "Attention",
    "relative_buckets",
    "RelativeBias",
    "block",
    "attend",
    "decoder_block",
    "Block",
    "Embedding",
    "Stack",
    "Head",
    "initialize",
    "Encoder",
    "Decoder",
    "EncoderDecoder",
    "encoder_decoder",
    "block_parameters",
    "feed_forward_share",
    "from_gpt2",
    "from_llama",
    "from_bert",
    "from_t5",
]
