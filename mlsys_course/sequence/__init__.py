"""From recurrence to attention: recurrent networks, sequence to sequence, attention over encoder states (lab 1)."""

from .attending import attend, attention_context, attention_distribution, attentional_state, input_feeding, mean_pool
from .conditional import greedy_decode, sequence_loss, teacher_forced_loss, teacher_forcing
from .cost import SequenceCost, attention_cost, crossover, recurrent_cost
from .long_range import clip_by_norm, jacobian_product, spectral_radius, state_jacobian
from .lstm import bidirectional, lstm, lstm_cell, multi_layer
from .recurrent import length_mask, rnn, rnn_cell
from .scoring import (
    additive_score,
    dot_product_score,
    multiplicative_score,
    reduced_rank_score,
    score_parameters,
    scores,
)
from .through_time import rnn_backward
from .training import train
from .translator import Translator, TranslatorConfig, seq2seq
from .window import first_layer_weights, window_mlp

__all__ = [
    "window_mlp",
    "first_layer_weights",
    "rnn_cell",
    "rnn",
    "length_mask",
    "rnn_backward",
    "state_jacobian",
    "jacobian_product",
    "spectral_radius",
    "clip_by_norm",
    "lstm_cell",
    "lstm",
    "bidirectional",
    "multi_layer",
    "teacher_forcing",
    "sequence_loss",
    "teacher_forced_loss",
    "greedy_decode",
    "scores",
    "dot_product_score",
    "multiplicative_score",
    "reduced_rank_score",
    "additive_score",
    "score_parameters",
    "mean_pool",
    "attention_distribution",
    "attend",
    "attention_context",
    "attentional_state",
    "input_feeding",
    "seq2seq",
    "Translator",
    "TranslatorConfig",
    "train",
    "SequenceCost",
    "recurrent_cost",
    "attention_cost",
    "crossover",
]
