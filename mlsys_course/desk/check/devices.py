"""Cases on a device: an entry of a case's inputs says so, and where there is no card, one is pretended."""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from . import own
from .pretence import CARD, CPU, DEVICE, Elsewhere, Pretence, pretending
from .tree import Tree, leaves, map_tensors

PRETENDED = "pretended"  # what a case has for its "device" that is to be as on a card
MADE_ON = "device of "  # how the path of what is said of a result's device begins
PLACES = {str(CPU), str(CARD)}
__all__ = ["CARD", "CPU", "DEVICE", "MADE_ON", "PLACES", "PRETENDED", "Elsewhere", "Pretence", "moved", "on_a_card"]


def moved(inputs: Mapping[str, Tree], device: str) -> dict[str, Tree]:
    """A case's inputs on a device; where that is a card, none needs to be pretended."""
    pretended = DEVICE in inputs and device != CPU.type
    found = map_tensors(dict(inputs), lambda x: x.to(device))
    return {**found, DEVICE: device} if pretended else found


@contextlib.contextmanager
def on_a_card(
    inputs: Mapping[str, Tree], *copies: Tree, arguments: Collection[str] = ()
) -> Iterator[tuple[Mapping[str, Tree], Pretence | None]]:
    """A case's inputs as its driver gets them, with a ``torch.device`` where it has a "device".

    Where it is to pretend, inputs and copies are on a card in here, and so is what is made of them. A message names one
    of the candidate's ``arguments``, where a tensor of the case has such a name.
    """
    if DEVICE not in inputs:
        yield inputs, None
        return
    if inputs[DEVICE] != PRETENDED:
        yield {**inputs, DEVICE: torch.device(inputs[DEVICE])}, None
        return
    tensors = [path for path, x in leaves(inputs) if isinstance(x, Tensor)]
    named = next((path for path in tensors if re.split(r"[.[]", path)[0] in arguments), next(iter(tensors), ""))
    pretence = Pretence(named)
    map_tensors([inputs, *copies], lambda x: pretence.put(x, True))
    with pretending(pretence):
        yield {**inputs, DEVICE: CARD}, pretence


def said_there(outputs: Tree) -> dict[str, Tree]:
    """What outputs tell of devices, without the rest."""
    told = outputs if isinstance(outputs, Mapping) else {}
    return {path: said for path, said in told.items() if path.startswith(MADE_ON)}


def said_of(outputs: Tree, pretence: Pretence | None) -> dict[str, str]:
    """Where each tensor of a result is."""
    found = ((path, x) for path, x in leaves(outputs) if isinstance(x, Tensor))
    return {f"{MADE_ON}{path}": str(CARD if pretence and pretence.has(x) else own.device_of(x)) for path, x in found}
