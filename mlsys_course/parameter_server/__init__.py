"""The parameter server: what goes over the wire, and whom to believe. Lab 8."""

from .admm import admm_step
from .averaging import federated_average, gossip_step, hierarchical_average
from .compressed import ErrorFeedback, compressed_push_pull
from .compressors import (
    Compressor,
    all_compressors,
    bytes_sent,
    fp16,
    none,
    qsgd,
    quantile,
    random_sparsifier,
    sign,
    ternary,
    top_k,
    uniform_8bit,
)
from .consensus import agree_on_state, fixed_order_mean, state_digest
from .liars import a_little, coordinated, expel_liars, sign_flip
from .masks import mask_update, unmasked_sum
from .quantize import pack_codes, quantile_levels, quantize, uniform_levels, unpack_codes
from .robust import robust_aggregate
from .sparsify import densify, momentum_sparsify, random_k, sparsify

__all__ = [
    "Compressor",
    "ErrorFeedback",
    "a_little",
    "admm_step",
    "agree_on_state",
    "all_compressors",
    "bytes_sent",
    "compressed_push_pull",
    "coordinated",
    "densify",
    "expel_liars",
    "federated_average",
    "fixed_order_mean",
    "fp16",
    "gossip_step",
    "hierarchical_average",
    "mask_update",
    "momentum_sparsify",
    "none",
    "pack_codes",
    "qsgd",
    "quantile",
    "quantile_levels",
    "quantize",
    "random_k",
    "random_sparsifier",
    "robust_aggregate",
    "sign",
    "sign_flip",
    "sparsify",
    "state_digest",
    "ternary",
    "top_k",
    "uniform_8bit",
    "uniform_levels",
    "unmasked_sum",
    "unpack_codes",
]
