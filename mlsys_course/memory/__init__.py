"""Memory: what it takes to train in less of it. Lab 10."""

from .chunked_cross_entropy import ChunkedCrossEntropy, chunked_cross_entropy
from .loss_scaling import DynamicLossScaler, ScalerState

__all__ = ["ChunkedCrossEntropy", "DynamicLossScaler", "ScalerState", "chunked_cross_entropy"]
