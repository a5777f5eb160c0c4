"""A model of Hugging Face's with drawn weights in float64, and the same weights in one of ours."""

from dataclasses import replace
from typing import Any

import torch

from mlsys_course.language_model import load_llama
from mlsys_course.transformer import Decoder, EncoderDecoder, ModelConfig, from_t5, llama, t5

V, C, H, K, L = 40, 24, 4, 2, 2


def drawn(model: Any) -> Any:
    """float64, every parameter drawn, gains too; no sign ends a text but where a test says so."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        numbers = torch.randn(parameter.shape, generator=generator)
        parameter.data = (numbers * 0.3 + (1.0 if parameter.ndim == 1 else 0.0)).double()
    return model.eval()


def llama_pair(tied: bool = True) -> tuple[Any, Decoder]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=V, hidden_size=C, intermediate_size=40, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, rms_norm_eps=1e-5, tie_word_embeddings=tied, max_position_embeddings=64,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    theirs = drawn(LlamaForCausalLM(config))
    ours = Decoder(our_config(tied)).double()
    ours.load_state_dict(load_llama(theirs.state_dict(), ours.config))
    return theirs, ours


def our_config(tied: bool = True) -> ModelConfig:
    return replace(llama(V, C, L, H, K, 40), tied_head=tied)


def t5_pair() -> tuple[Any, EncoderDecoder]:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=V, d_model=C, d_kv=6, d_ff=4 * C, num_layers=L, num_heads=H, relative_attention_num_buckets=8,
        relative_attention_max_distance=20, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    config.decoder_start_token_id = 0  # pyright: ignore
    theirs = drawn(T5ForConditionalGeneration(config))
    ours_config = replace(t5(V, C, L, H, 6, 4 * C), buckets=8, max_distance=20)
    ours = EncoderDecoder(ours_config).double()
    ours.load_state_dict(from_t5(theirs.state_dict(), ours_config))
    return theirs, ours
