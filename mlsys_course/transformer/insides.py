"""The insides of a decoder by what they are for, whether it is the course's or one that a student wrote in lab 3."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..substrate.model_config import ModelConfig
from .block import Block
from .norms import norm_of


def decoder_of(Decoder: Callable[..., nn.Module], config: ModelConfig) -> nn.Module:
    """A model of that class; one that asks for them is given the course's block and norm."""
    asked = "make_block" in inspect.signature(Decoder).parameters
    return Decoder(config, Block, norm_of) if asked else Decoder(config)


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """Its blocks, in order: what is put into the list is what runs."""
    return next(module for module in model.modules() if isinstance(module, nn.ModuleList))


def without_head(model: Any) -> nn.Parameter:
    """Takes the head away, so that the model returns what its logits would be made of; returns the head's weight.

    The weight is still one of the model's parameters.
    """
    weight = getattr(model.head, "vocabulary", model.head).weight
    model.head = nn.Identity()
    if all(weight is not parameter for parameter in model.parameters()):
        model.register_parameter("head_weight", weight)
    return weight


def change_linears(model: nn.Module, change: Callable[[nn.Linear], nn.Module]) -> None:
    """Puts ``change(layer)`` in the place of every linear layer of the blocks."""
    for block in blocks_of(model):
        for name, layer in list(block.named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, change(layer))
