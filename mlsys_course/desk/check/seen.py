"""What is seen of a call from outside the candidate: messages, and calls of the parts that it was handed, in order."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from ...substrate.ranks import Action
from .tree import Tree, map_tensors

Seen: TypeAlias = Sequence[Sequence[Action]]  # by rank; of a call without ranks there is one
OUTSIDE = "outside"  # an entry of a case's inputs that only the one who judges reads


def candidates_own(inputs: Mapping[str, Tree]) -> dict[str, Tree]:
    """What of a case's inputs the candidate's process is given."""
    return {name: value for name, value in inputs.items() if name != OUTSIDE}


def seen_by(see: Callable[[Action], None], name: str, part: Callable[..., Any]) -> Callable[..., Any]:
    """The same part, each call of which is told to ``see`` before it is answered."""

    @functools.wraps(part)
    def call(*args: Any, **kwargs: Any) -> Any:
        see(part_call(name, map_tensors({"args": list(args), "kwargs": kwargs}, lambda x: tuple(x.shape))))
        return part(*args, **kwargs)

    return call


def part_call(name: str, outlined: Tree) -> Action:
    """The call of a part as an action, from a request with shapes in place of tensors."""
    return (name, *outlined["args"], *outlined["kwargs"].values())


def calls_of(name: str, actions: Sequence[Action]) -> list[Action]:
    """Those of one part, without its name."""
    return [action[1:] for action in actions if action[0] == name]


def unforeseen(shape: Sequence[int], *key: Any) -> torch.Tensor:
    """Normal float64 numbers that are the same for the same ``key`` of numbers, words and tensors, and tell no other.

    What a part answers so cannot be had without asking it, if its key holds something that the candidate cannot know.
    """
    pieces = [k.contiguous().numpy().tobytes() if isinstance(k, torch.Tensor) else repr(k).encode() for k in key]
    digest = hashlib.sha256(b"/".join(hashlib.sha256(piece).digest() for piece in pieces)).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    return torch.from_numpy(np.asarray(generator.standard_normal(tuple(shape))))
