"""Kernels: operators under counted traffic between a fast and a slow memory, numbers of few bits. Lab 12."""

from .attend import attend
from .convolution import conv2d, im2col
from .flash_attention import flash_attention, forward_traffic
from .flash_attention_backward import backward_traffic, flash_attention_backward
from .fused_swiglu import fused_swiglu
from .microscaling import bytes_of_mxfp4, dequantize_mxfp4, quantize_mxfp4
from .online_softmax import merge_states, online_softmax
from .rounding import round_to
from .stationary_matmul import stationary_matmul
from .tiled_matmul import matmul_bound, tiled_matmul

__all__ = [
    "attend",
    "backward_traffic",
    "bytes_of_mxfp4",
    "conv2d",
    "dequantize_mxfp4",
    "flash_attention",
    "flash_attention_backward",
    "forward_traffic",
    "fused_swiglu",
    "im2col",
    "matmul_bound",
    "merge_states",
    "online_softmax",
    "quantize_mxfp4",
    "round_to",
    "stationary_matmul",
    "tiled_matmul",
]
