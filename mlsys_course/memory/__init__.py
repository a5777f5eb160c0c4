"""Memory: what it takes to train in less of it. Lab 10."""

from .loss_scaling import DynamicLossScaler, ScalerState

__all__ = ["DynamicLossScaler", "ScalerState"]
