"""A rank's communicator in a sandbox: its messages are frames to the trusted side, and there is no other way out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlsys_course.substrate.ranks import Communicator, Released

from .channel import Channel

MOST_MESSAGE = 16 << 20  # bytes
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
)}  # fmt: skip


class RemoteCommunicator(Communicator):
    """Messages by frames. What arrives is what the relay counted: a dtype, a shape, and as many bytes as they take."""

    def __init__(self, channel: Channel, rank: int, world_size: int):
        super().__init__(rank, world_size)
        self._channel = channel

    def _post(self, tensor: Tensor, to: int) -> None:
        if tensor.nbytes > MOST_MESSAGE:
            raise ValueError(f"a message of {tensor.nbytes:,} bytes; grading carries at most {MOST_MESSAGE:,} in one")
        described, data = to_wire(tensor)
        self._channel.send({"kind": "send", "to": to, **described}, data)

    def _take(self, source: int, buffer: Tensor) -> Tensor:
        self._channel.send({"kind": "recv", "from": source})
        head, data = self._channel.receive()
        if head["kind"] == "released":
            raise Released(f"rank {self.rank} waits in recv from {source} for what cannot come")
        return from_wire(head, data)


def to_wire(tensor: Tensor) -> tuple[dict[str, Any], bytes]:
    """A tensor's header and its entries; raises ValueError for a dtype that no message has."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES or tensor.layout != torch.strided:
        raise ValueError(f"no message can be {tensor.layout} {dtype}; send a dense tensor of numbers")
    flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return {"dtype": dtype, "shape": list(tensor.shape)}, flat.view(torch.uint8).numpy().tobytes()


def from_wire(head: Mapping[str, Any], data: bytes) -> Tensor:
    """The inverse of ``to_wire``, for what the relay has checked."""
    shape: Sequence[int] = head["shape"]
    dtype = DTYPES[head["dtype"]]
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)
