"""What the course starts from: softmax, look-ups, blocks, a network by hand, and a pipeline around it."""

from .block_matmul import block_matmul, tile_product
from .cross_entropy import cross_entropy, smooth_cross_entropy
from .network import backward, forward, path_shares
from .pipeline import best_label, pipeline
from .problems import BadInput
from .sentiment import sentiment_classifier
from .softmax import log_softmax, softmax, softmax_gradient
from .tokens import look_up, one_hot
from .training import batches, initial, momentum_step, train

__all__ = [
    "BadInput",
    "one_hot",
    "look_up",
    "softmax",
    "log_softmax",
    "softmax_gradient",
    "cross_entropy",
    "smooth_cross_entropy",
    "tile_product",
    "block_matmul",
    "forward",
    "backward",
    "path_shares",
    "initial",
    "batches",
    "momentum_step",
    "train",
    "pipeline",
    "best_label",
    "sentiment_classifier",
]
