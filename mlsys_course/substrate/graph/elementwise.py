"""Functions of single numbers, entry by entry."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .arithmetic import Smooth
from .node import Node


class Exp(Smooth):
    compute = staticmethod(torch.exp)


class Log(Smooth):
    compute = staticmethod(torch.log)


class Sin(Smooth):
    compute = staticmethod(torch.sin)


class Cos(Smooth):
    compute = staticmethod(torch.cos)


class Tanh(Smooth):
    compute = staticmethod(torch.tanh)


class Sqrt(Smooth):
    compute = staticmethod(torch.sqrt)


class Sigmoid(Smooth):
    compute = staticmethod(torch.sigmoid)


class Relu(Smooth):
    compute = staticmethod(torch.relu)


class Silu(Smooth):
    compute = staticmethod(F.silu)


class Gelu(Smooth):
    compute = staticmethod(F.gelu)


class GeluSlope(Smooth):
    """The derivative of GELU, Phi(x) + x phi(x), with the normal distribution and its density."""

    def compute(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        slope = (wide * math.sqrt(0.5)).erf_().add_(1).mul_(0.5)
        density = wide.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        return slope.addcmul_(wide, density).to(x.dtype)


def exp(x: Node) -> Node:
    return Exp()(x)


def log(x: Node) -> Node:
    """The natural logarithm."""
    return Log()(x)


def sin(x: Node) -> Node:
    return Sin()(x)


def cos(x: Node) -> Node:
    return Cos()(x)


def tanh(x: Node) -> Node:
    return Tanh()(x)


def sqrt(x: Node) -> Node:
    return Sqrt()(x)


def sigmoid(x: Node) -> Node:
    return Sigmoid()(x)


def relu(x: Node) -> Node:
    return Relu()(x)


def silu(x: Node) -> Node:
    """x * sigmoid(x), also called swish."""
    return Silu()(x)


def gelu(x: Node) -> Node:
    """x Phi(x) with the normal distribution itself, not its tanh approximation."""
    return Gelu()(x)


def gelu_slope(x: Node) -> Node:
    return GeluSlope()(x)
