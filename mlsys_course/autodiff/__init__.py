"""Automatic differentiation that builds graphs: from a computation's graph the graph of its derivatives."""

from .backpropagation import backpropagate
from .evaluator import EvaluationError, Evaluator, FeedError, evaluate
from .forward import directional, forward_rule
from .gradient import gradient
from .numerical import check_gradient, complex_step, numerical_gradient
from .optimizers import SGD, AdamW, TrainingStep, adamw_step
from .order import topological_order
from .rules import RULES, Rule, adjoints, rule, rule_with, sum_to
from .rules_elementwise import elementwise_gradients
from .rules_network import cross_entropy_gradient, normalization_gradients, selection_gradients
from .rules_shapes import linear_gradients

__all__ = [
    "AdamW",
    "EvaluationError",
    "Evaluator",
    "FeedError",
    "RULES",
    "Rule",
    "SGD",
    "TrainingStep",
    "adamw_step",
    "adjoints",
    "backpropagate",
    "check_gradient",
    "complex_step",
    "cross_entropy_gradient",
    "directional",
    "elementwise_gradients",
    "evaluate",
    "forward_rule",
    "gradient",
    "linear_gradients",
    "normalization_gradients",
    "numerical_gradient",
    "rule",
    "rule_with",
    "selection_gradients",
    "sum_to",
    "topological_order",
]
