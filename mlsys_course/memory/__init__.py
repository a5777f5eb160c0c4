"""Memory: what it takes to train in less of it. Lab 10."""

from .accumulation import accumulate
from .allocator import CachingAllocator
from .block_quantization import bytes_of_blocks, dequantize_blocks, quantize_blocks
from .blockwise_adamw import blockwise_adamw
from .checkpoint_schedule import even_segments, least_peak, optimal_checkpoints, peak_of
from .checkpointing import checkpoint
from .chunked_cross_entropy import ChunkedCrossEntropy, chunked_cross_entropy
from .lora import LoRALinear, add_lora
from .loss_scaling import DynamicLossScaler, ScalerState
from .mixed_precision import MixedPrecisionStep

__all__ = [
    "CachingAllocator",
    "ChunkedCrossEntropy",
    "DynamicLossScaler",
    "LoRALinear",
    "MixedPrecisionStep",
    "ScalerState",
    "accumulate",
    "add_lora",
    "blockwise_adamw",
    "bytes_of_blocks",
    "checkpoint",
    "chunked_cross_entropy",
    "dequantize_blocks",
    "even_segments",
    "least_peak",
    "optimal_checkpoints",
    "peak_of",
    "quantize_blocks",
]
