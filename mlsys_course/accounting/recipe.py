"""How a training step is run: what decides its memory beside the model's sizes."""

from dataclasses import dataclass

from ..substrate.model_config import BadSize, ModelConfig, check_one_of, check_served

CHECKPOINTING = ("none", "selective", "full")
# Bytes a parameter, by what they are for. "mixed" is the notes' and the ZeRO paper's: a 16-bit model, and float32
# master weights that the optimizer updates. "autocast" is PyTorch's: float32 weights, copied to 16 bits where products
# need them.
STATES = {
    "float32": {"weights": 4, "gradients": 4, "master_weights": 0, "first_moment": 4, "second_moment": 4},
    "autocast": {"weights": 4, "gradients": 4, "master_weights": 0, "first_moment": 4, "second_moment": 4},
    "bfloat16": {"weights": 2, "gradients": 2, "master_weights": 0, "first_moment": 2, "second_moment": 2},
    "mixed": {"weights": 2, "gradients": 2, "master_weights": 4, "first_moment": 4, "second_moment": 4},
}
# What an optimizer has no use for of these; its master weights go with the precision alone.
NOT_KEPT = {"adamw": (), "momentum": ("second_moment",), "sgd": ("first_moment", "second_moment")}
CHOICES = {
    "precision": tuple(STATES),
    "attention": ("fused", "eager"),
    "checkpointing": CHECKPOINTING,
    "optimizer": ("adamw", "adamw_fused"),
    "device": ("cuda", "cpu"),
}


@dataclass(frozen=True)
class Recipe:
    """Precision, kernels, checkpointing and optimizer of a training step.

    ``attention`` "eager" writes its table of scores to memory, "fused" does not. ``dropout`` is on embeddings, on the
    attention's weights and on what a sublayer adds. ``checkpointing`` "full" keeps each layer's input only, "selective"
    all but the attention's insides. ``optimizer`` "adamw" runs over lists of tensors on a card, and tensor by tensor on
    the CPU; "adamw_fused" in one kernel.

    Raises:
        BadSize: a choice that is none, or that PyTorch does not have.
    """

    precision: str = "autocast"
    attention: str = "fused"
    dropout: bool = False
    checkpointing: str = "none"
    optimizer: str = "adamw"
    device: str = "cuda"

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            check_one_of(field, getattr(self, field), choices)
        if self.dropout and self.attention == "fused" and self.device == "cpu":
            raise BadSize(
                "attention='fused' with dropout=True and device='cpu': PyTorch has no such kernel, and takes another "
                "way; choose attention='eager', or dropout=False"
            )

    @property
    def weight_width(self) -> int:
        """Bytes of a weight, and of its gradient."""
        return STATES[self.precision]["weights"]


def check_plain(config: ModelConfig, who: str = "a step's memory is counted for plain decoders") -> None:
    """Raises BadSize, in which ``who`` says why, for what is no plain decoder; sizes may be any."""
    usual = {
        "registers": 0,
        "extra_positions": 0,
        "value_multiple": 1,
        "sinks": False,
        "norms_per_layer": 2,
        "norm_position": "pre",
        "embedding_scale": False,
        "embedding_norm": False,
        "final_norm": True,
        "qk_norm": False,
        "causal": True,
        "encoder_layers": 0,
        "segments": 0,
        "head_transform": False,
        "head_bias": False,
        "positions": ("rotary", "learned", "none"),
    }
    check_served(config, usual, who)
