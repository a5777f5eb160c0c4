"""Trees of tensors, numbers and strings, and their one byte format.

A tree is a dict with string keys, a list, a tensor, a number, a string or None. Its bytes are a
safetensors file: the tensors by path, and the rest as JSON in the header. Nothing is ever unpickled.
"""

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from . import own

Tree: TypeAlias = Any
LEAVES = (torch.Tensor, bool, int, float, str, type(None))
MAX_DEPTH, MAX_LEAVES = 32, 100_000
NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.uint16: "U16",
    torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.uint32: "U32", torch.float32: "F32",
    torch.complex64: "C64", torch.float64: "F64", torch.int64: "I64", torch.uint64: "U64",
}  # fmt: skip
DTYPES = {name: dtype for dtype, name in NAMES.items()}
WIDEST_LAST = {dtype: place for place, dtype in enumerate(NAMES)}  # a file begins with its widest numbers


class TreeError(ValueError):
    """Something that is no tree, or bytes that are not a tree's."""


def plain(value: Tree) -> Tree:
    """Copy of a tree with detached contiguous CPU tensors, tuples as lists, NumPy scalars as numbers."""
    return _plain(value, lambda x: own.clone(_dense(x)))


def _dense(x: torch.Tensor) -> torch.Tensor:
    """Detached, contiguous and on the CPU; the same memory where it is so already."""
    x = own.detach(x)
    if own.device_of(x).type != "cpu":
        x = own.cpu(x)
    if own.is_conj(x) or own.is_neg(x):
        x = own.resolve_neg(own.resolve_conj(x))
    return x if own.is_contiguous(x) else own.contiguous(x)


def _plain(value: Tree, dense: Callable[[torch.Tensor], Any], path: str = "", depth: int = 0) -> Tree:
    """The tree with ``dense`` of its tensors."""
    if depth > MAX_DEPTH:
        raise TreeError(f"{path}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise TreeError(f"{path or 'result'}: a {value.layout} tensor on {value.device}; return a dense one")
        return dense(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TreeError(f"{path or 'result'}: dictionary keys must be strings")
        return {key: _plain(item, dense, f"{path}.{key}" if path else key, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, dense, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, LEAVES):
        return value
    raise TreeError(f"{path or 'result'}: a {type(value).__name__}, which is no tensor, number or string")


def leaves(tree: Tree, path: str = "") -> list[tuple[str, Tree]]:
    """(path, leaf) pairs, in order; an empty dict or list is a leaf of its own."""
    found: list[tuple[str, Tree]] = []
    _collect(tree, path, found)
    return found


def _collect(tree: Tree, path: str, found: list[tuple[str, Tree]]) -> None:
    if isinstance(tree, dict) and tree:
        for key, item in tree.items():
            _collect(item, f"{path}.{key}" if path else key, found)
    elif isinstance(tree, list | tuple) and tree:
        for i, item in enumerate(tree):
            _collect(item, f"{path}[{i}]", found)
    else:
        found.append((path, tree))


def map_tensors(tree: Tree, function: Any) -> Tree:
    """The same tree with ``function`` applied to each tensor."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(item, function) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [map_tensors(item, function) for item in tree]
    return tree


def encode(tree: Tree) -> bytes:
    """Bytes of a tree."""
    tensors: dict[str, torch.Tensor] = {}

    def named(x: torch.Tensor) -> _Named:
        tensors[str(len(tensors))] = _dense(x)
        return _Named(len(tensors) - 1)

    def skeleton(value: Tree) -> Any:
        if isinstance(value, _Named):
            return {"t": value.place}
        if isinstance(value, dict):
            return {"d": {key: skeleton(item) for key, item in value.items()}}
        if isinstance(value, list):
            return [skeleton(item) for item in value]
        return value

    return _file(tensors, {"tree": json.dumps(skeleton(_plain(tree, named)))})


@dataclass(frozen=True, slots=True)
class _Named:
    """In the place of a tensor of a file."""

    place: int


def _file(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """What ``safetensors.torch.save`` writes, byte for byte; a call of a part is shorter than that function."""
    header: dict[str, Any] = {"__metadata__": metadata}
    pieces: list[bytes] = []
    end = 0
    try:
        order = sorted(tensors, key=lambda name: (-WIDEST_LAST[own.dtype_of(tensors[name])], name))
    except KeyError as error:
        raise TreeError(f"a tensor of dtype {error}; return float, integer, complex or bool") from None
    for name in order:
        x = tensors[name]
        dtype = own.dtype_of(x)
        pieces.append(own.numpy(own.view(x, torch.int16) if dtype == torch.bfloat16 else x).tobytes())
        start, end = end, end + len(pieces[-1])
        header[name] = {"dtype": NAMES[dtype], "shape": list(own.shape_of(x)), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *pieces])


def _header(blob: bytes) -> tuple[dict[str, Any], Any, int]:
    """What a file says of its tensors, its tree, and where its numbers begin."""
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    return header, json.loads(header.pop("__metadata__")["tree"]), 8 + length


def outline(blob: bytes) -> Tree:
    """The tree of ``blob`` with the shapes of its tensors, as tuples, in their place: a look at the header alone."""
    try:
        header, tree, _ = _header(blob)

        def build(value: Any) -> Tree:
            if isinstance(value, dict):
                found = value.get("t")
                if found is not None:
                    return tuple(int(size) for size in header[str(int(found))]["shape"])
                return {str(key): build(item) for key, item in value["d"].items()}
            return [build(item) for item in value] if isinstance(value, list) else value

        return build(tree)
    except Exception as error:
        raise TreeError(f"bytes that are no tree ({type(error).__name__})") from None


def _tensors(header: dict[str, Any], numbers: bytearray) -> dict[str, torch.Tensor]:
    """The tensors of a file, each with memory of its own; together they are all of its ``numbers``, in order."""
    found, end = {}, 0
    for name, said in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (first, last) = DTYPES[said["dtype"]], said["shape"], said["data_offsets"]
        count = math.prod(shape)
        if first != end or last - first != count * dtype.itemsize or min(shape, default=0) < 0:
            raise ValueError(f"{name}: {shape} of {said['dtype']} do not take bytes {first} to {last}")
        flat = own.frombuffer(numbers, dtype=dtype, count=count, offset=first) if count else own.empty(0, dtype=dtype)
        found[name], end = own.clone(own.view(flat, shape)), last
    if end != len(numbers):
        raise ValueError(f"{len(numbers) - end} bytes belong to no tensor")
    return found


def decode(blob: bytes) -> Tree:
    """The tree of ``blob``, which may come from anybody: raises TreeError on anything malformed."""
    try:
        header, tree, start = _header(blob)
        tensors = _tensors(header, bytearray(blob[start:]))
        count = 0

        def build(value: Any, depth: int = 0) -> Tree:
            nonlocal count
            count += 1
            if depth > MAX_DEPTH or count > MAX_LEAVES:
                raise TreeError("a tree too deep or too large")
            if isinstance(value, dict):
                if value.keys() == {"t"}:
                    return tensors.pop(str(int(value["t"])))  # once: small bytes must not become many
                return {str(key): build(item, depth + 1) for key, item in value["d"].items()}
            if isinstance(value, list):
                return [build(item, depth + 1) for item in value]
            return value

        return build(tree)
    except TreeError:
        raise
    except Exception as error:
        raise TreeError(f"bytes that are no tree ({type(error).__name__})") from None
