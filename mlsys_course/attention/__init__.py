"""Attention: scaled dot-product, masks, several heads, positions, a cache of keys and values (lab 2)."""

from .cache import KVCache, cached_attention
from .masks import causal_mask, document_mask, padding_mask, prefix_mask, window_mask
from .multi_head import grouped_query_attention, merge_heads, multi_head_attention, repeat_kv, split_heads
from .positions import learned_positions, rotary_positions, scaled_frequencies, sinusoidal_positions
from .projections import self_attention
from .scaled_dot_product import attention

__all__ = [
    "attention",
    "causal_mask",
    "padding_mask",
    "window_mask",
    "prefix_mask",
    "document_mask",
    "self_attention",
    "split_heads",
    "merge_heads",
    "repeat_kv",
    "multi_head_attention",
    "grouped_query_attention",
    "sinusoidal_positions",
    "learned_positions",
    "rotary_positions",
    "scaled_frequencies",
    "KVCache",
    "cached_attention",
]
