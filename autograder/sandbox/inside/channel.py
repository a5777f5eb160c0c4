"""Frames over a stream socket: two lengths, a JSON header, bytes. The same on the trusted side and inside."""

import array
import errno
import json
import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

LENGTHS = struct.Struct("<II")
MACHINE = (errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE)  # says nothing of the other end
MOST_HEADER, MOST_BLOB = 32 << 20, 64 << 20  # bytes


class Closed(EOFError):
    """The other end is gone."""


def closed(error: OSError) -> OSError | Closed:
    """What to raise of a socket's error: that the other end is gone, unless this machine is out of something."""
    return error if error.errno in MACHINE else Closed(str(error))


class BadFrame(ValueError):
    """A frame too large, or one that is none."""


class Late(TimeoutError):
    """Nothing whole came in time."""


class Channel:
    """One end of a stream socket that carries frames. A sender may dribble: ``deadline`` is for the whole frame."""

    def __init__(self, sock: socket.socket, most_header: int = MOST_HEADER, most_blob: int = MOST_BLOB):
        self.sock, self.most_header, self.most_blob = sock, most_header, most_blob

    def send(self, head: Mapping[str, Any], blob: bytes = b"", seconds: float | None = None) -> None:
        """Send one frame; raises Closed, or Late after ``seconds``."""
        text = json.dumps(head).encode()
        if len(text) > self.most_header or len(blob) > self.most_blob:
            raise BadFrame(f"a frame of {len(text)} + {len(blob)} bytes; at most {self.most_header} + {self.most_blob}")
        self.sock.settimeout(seconds)
        try:
            self.sock.sendall(LENGTHS.pack(len(text), len(blob)) + text + blob)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise closed(error) from None

    def receive(self, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
        """The next frame; raises Closed, Late after ``deadline`` (time.monotonic), or BadFrame."""
        head_length, blob_length = LENGTHS.unpack(self._exactly(LENGTHS.size, deadline))
        if head_length > self.most_header or blob_length > self.most_blob:
            raise BadFrame(f"a frame of {head_length} + {blob_length} bytes is announced")
        text = self._exactly(head_length, deadline)
        blob = self._exactly(blob_length, deadline)
        try:
            head = json.loads(text)
        except (ValueError, RecursionError):
            raise BadFrame("a header that is no JSON") from None
        if not isinstance(head, dict):
            raise BadFrame("a header that is no object")
        return head, blob

    def unread(self) -> bool:
        """Whether something has come that nobody read, or the other end is gone."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def _exactly(self, count: int, deadline: float | None) -> bytes:
        data = bytearray()
        while len(data) < count:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise Late
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(min(count - len(data), 1 << 20))
            except TimeoutError:
                raise Late from None
            except OSError as error:
                raise closed(error) from None
            if not piece:
                raise Closed
            data += piece
        return bytes(data)

    def sender(self, deadline: float) -> int:
        """Process id, in this process's own view, of who sends the next byte, by the kernel's word. Linux only.

        The socket needs SO_PASSCRED from before that byte was sent; nothing is consumed.
        """
        self.sock.settimeout(max(0.0, deadline - time.monotonic()))
        try:
            got, extra, _, _ = self.sock.recvmsg(1, socket.CMSG_SPACE(12), socket.MSG_PEEK)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise closed(error) from None
        if not got:
            raise Closed
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                return struct.unpack("3i", data[:12])[0]
        raise BadFrame("a message without its sender's credentials")

    def close(self) -> None:
        """Close this end."""
        self.sock.close()


class Answering(Channel):
    """The end inside, in a sealed call: what it sends repeats the word of what it was told last."""

    word: Any = None

    def send(self, head: Mapping[str, Any], blob: bytes = b"", seconds: float | None = None) -> None:
        super().send(head if self.word is None else {**head, "after": self.word}, blob, seconds)

    def receive(self, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
        head, blob = super().receive(deadline)
        self.word = head.get("word")
        return head, blob


def send_with_descriptors(channel: Channel, head: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """One frame that carries open descriptors with its first byte."""
    text = json.dumps({**head, "descriptors": len(descriptors)}).encode()
    message = LENGTHS.pack(len(text), 0) + text
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    try:
        sent = channel.sock.sendmsg([message], extra)
        channel.sock.sendall(message[sent:])
    except OSError as error:
        raise closed(error) from None


def receive_with_descriptors(channel: Channel) -> tuple[dict[str, Any], list[int]]:
    """The counterpart of ``send_with_descriptors``; also reads plain frames without bytes."""
    received = array.array("i")
    try:
        first, extra, _, _ = channel.sock.recvmsg(LENGTHS.size, socket.CMSG_SPACE(253 * received.itemsize))
    except OSError as error:
        raise closed(error) from None
    if not first:
        raise Closed
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
    first += channel._exactly(LENGTHS.size - len(first), None)
    length, _ = LENGTHS.unpack(first)
    return json.loads(channel._exactly(length, None)), list(received)
