"""Automatic differentiation that builds graphs: from a computation's graph the graph of its derivatives."""

from .backpropagation import backpropagate
from .evaluator import EvaluationError, Evaluator, FeedError, evaluate
from .forward import directional
from .gradient import gradient
from .numerical import check_gradient, complex_step, numerical_gradient
from .optimizers import SGD, AdamW, TrainingStep
from .order import topological_order
from .rules import RULES, Rule, adjoints, rule, sum_to

__all__ = [
    "AdamW",
    "EvaluationError",
    "Evaluator",
    "FeedError",
    "RULES",
    "Rule",
    "SGD",
    "TrainingStep",
    "adjoints",
    "backpropagate",
    "check_gradient",
    "complex_step",
    "directional",
    "evaluate",
    "gradient",
    "numerical_gradient",
    "rule",
    "sum_to",
    "topological_order",
]
