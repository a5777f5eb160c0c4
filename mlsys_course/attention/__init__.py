"""Attention: scaled dot-product, masks, several heads, positions (lab 2)."""

from .masks import causal_mask, padding_mask
from .multi_head import grouped_query_attention, merge_heads, multi_head_attention, split_heads
from .positions import rotary_positions, sinusoidal_positions
from .scaled_dot_product import attention

__all__ = [
    "attention",
    "causal_mask",
    "padding_mask",
    "split_heads",
    "merge_heads",
    "multi_head_attention",
    "grouped_query_attention",
    "sinusoidal_positions",
    "rotary_positions",
]
