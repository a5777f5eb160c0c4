"""The trusted half of parts: a composite's parameter, evaluated here by the reference, forward and backward."""

import threading
from collections.abc import Mapping
from typing import Any

import torch

from mlsys_course.desk.check import Tree, decode, encode
from mlsys_course.desk.check.driver import built_in
from mlsys_course.desk.check.tree import leaves, map_tensors

from .exercise import Part

MOST_WORDS = 300  # of an exception's message


def evaluate(part: Part, request: bytes) -> bytes:
    """Answer one call of ``part`` from a sandbox: its result, or the exception that the reference raises.

    ``request`` encodes {"op": "forward" or "backward", "args", "kwargs"}, for backward also "gradient", one tensor
    for each tensor of the result. Raises ValueError when it is malformed or more work than the part allows.
    """
    call = decode(request)  # raises TreeError, a ValueError
    args, kwargs = _arguments(call)
    operation = {"forward": _forward, "backward": _backward}.get(call.get("op"))
    if operation is None:
        raise ValueError(f"op is {str(call.get('op'))[:20]!r}; a part can do forward and backward")
    try:
        work = part.work(*args, **kwargs)
        if not work <= part.most:
            raise _Refused(f"a call of {work:,} elements; at most {part.most:,} are computed")
        return encode({"result": operation(part, args, kwargs, call)})
    except _Refused as error:
        raise ValueError(str(error)) from None
    except (MemoryError, OSError):  # the machine's trouble, and no answer
        raise
    except Exception as error:  # the reference's own words on bad input belong to the caller
        return encode({"raised": built_in(type(error)), "message": str(error)[:MOST_WORDS]})


class Answers:
    """What parts answered one submission, as long as there is room: each of its processes asks the same."""

    def __init__(self, most_bytes: int = 32 << 20):
        self.left, self._lock = most_bytes, threading.Lock()
        self._known: dict[tuple[str, int, bytes], bytes] = {}  # the oldest first

    def of(self, part: Part, exercise: str, request: bytes) -> bytes:
        """``evaluate``, once for each request; raises as it does."""
        key = (exercise, id(part), request)
        if (answer := self._known.get(key)) is None:
            answer = evaluate(part, request)
            with self._lock:
                self._keep(key, answer)
        return answer

    def _keep(self, key: tuple[str, int, bytes], answer: bytes) -> None:
        if key in self._known:
            return
        self._known[key] = answer
        self.left -= len(key[-1]) + len(answer)
        while self.left < 0:
            oldest = next(iter(self._known))
            self.left += len(oldest[-1]) + len(self._known.pop(oldest))


class _Refused(Exception):
    """A call that is not made at all, unlike one that the reference raises in."""


def _arguments(call: Tree) -> tuple[list[Tree], Mapping[str, Tree]]:
    if not isinstance(call, dict) or not isinstance(call.get("args"), list) or not isinstance(call.get("kwargs"), dict):
        raise ValueError("a call of a part needs op, args and kwargs")
    return call["args"], call["kwargs"]


def _forward(part: Part, args: list[Tree], kwargs: Mapping[str, Tree], call: Mapping[str, Any]) -> Tree:
    with torch.no_grad():
        return part.reference(*args, **kwargs)


def _backward(part: Part, args: list[Tree], kwargs: Mapping[str, Tree], call: Mapping[str, Any]) -> Tree:
    """Gradients of each tensor among the arguments, in order; None for those that have none."""
    inputs: list[torch.Tensor] = []

    def leaf(x: torch.Tensor) -> torch.Tensor:
        inputs.append(x.detach().requires_grad_(x.is_floating_point() or x.is_complex()))
        return inputs[-1]

    call_tree = map_tensors({"args": args, "kwargs": dict(kwargs)}, leaf)
    with torch.enable_grad():
        result = part.reference(*call_tree["args"], **call_tree["kwargs"])
    found = [x for _, x in leaves(result) if isinstance(x, torch.Tensor)]
    gradients = call.get("gradient")
    if not isinstance(gradients, list) or [_kind(g) for g in gradients] != [_kind(x) for x in found]:
        raise _Refused("gradient must hold a tensor like each tensor of the result")
    pairs = [(x, g) for x, g in zip(found, gradients, strict=True) if x.requires_grad]
    wanted = [x for x in inputs if x.requires_grad]
    if not pairs or not wanted:
        return [None for _ in inputs]
    outputs, cotangents = zip(*pairs, strict=True)
    got = iter(torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True))
    return [next(got) if x.requires_grad else None for x in inputs]


def _kind(x: Tree) -> object:
    return (x.shape, x.dtype) if isinstance(x, torch.Tensor) else None
