"""Messages between the parser's parent and its child: a length and JSON, typed and capped, never pickled."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">I")
_BODY_SECONDS = 60.0
"""What a frame that has begun may take: the largest passes a pipe in about a second."""


class FrameError(Exception):
    """The other end sent something that is not a frame, or one past the cap; or it has gone."""


class FrameTimeout(FrameError):
    """Nothing came in time."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame."""
    body = json.dumps(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Reads frames from a pipe's descriptor, none of them longer than `cap` bytes; one that has begun must be whole within
    `body_seconds`, however its bytes drip."""

    def __init__(self, descriptor: int, cap: int, body_seconds: float = _BODY_SECONDS) -> None:
        self._descriptor = descriptor
        self._cap = cap
        self._body_seconds = body_seconds
        self._buffer = bytearray()

    def read(self, seconds: float) -> dict[str, Any]:
        """The next frame; raises FrameTimeout when none began within `seconds`, FrameError for a broken one or the end."""
        if not self._buffer:
            self._fill(seconds)
        deadline = time.monotonic() + self._body_seconds
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size, deadline))
        if length > self._cap:
            raise FrameError("over the cap")
        return _decoded(self._take(length, deadline))

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._fill(deadline - time.monotonic())
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self, seconds: float) -> None:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
        if not ready:
            raise FrameTimeout("silence")
        piece = os.read(self._descriptor, 1 << 20)
        if not piece:
            raise FrameError("ended")
        self._buffer += piece


def send_file(to: socket.socket, message: dict[str, Any], descriptor: int) -> None:
    """Sends a frame together with an open file; raises OSError when the other end has gone."""
    frame = encode(message)
    sent = socket.send_fds(to, [frame], [descriptor])
    to.sendall(frame[sent:])


def receive_file(source: socket.socket, cap: int) -> tuple[dict[str, Any], int]:
    """The next frame and the open file that came with it, which is the caller's to close; raises FrameError for a broken
    frame, one over `cap` bytes or without a file, and at the end."""
    files: list[int] = []
    try:
        (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size, files))
        if length > cap:
            raise FrameError("over the cap")
        message = _decoded(_exactly(source, length, files))
        if len(files) != 1:
            raise FrameError("not one file")
    except FrameError:
        for one in files:
            os.close(one)
        raise
    return message, files[0]


def _exactly(source: socket.socket, count: int, files: list[int]) -> bytes:
    # No byte more than this: a file that is read past is a file that is closed.
    taken = bytearray()
    while len(taken) < count:
        piece, received, _, _ = socket.recv_fds(source, count - len(taken), 1)
        files += received
        if not piece:
            raise FrameError("ended")
        taken += piece
    return bytes(taken)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise FrameError("not JSON") from None
    if not isinstance(message, dict):
        raise FrameError("not an object")
    return message
