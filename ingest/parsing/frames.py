"""Messages between the parser's parent and its child: a length and JSON, typed and capped, never pickled."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The other end sent something that is not a frame, or one past the cap; or it has gone."""


class FrameTimeout(FrameError):
    """Nothing came in time."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame."""
    body = json.dumps(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Reads frames from a pipe's descriptor, none of them longer than `cap` bytes."""

    def __init__(self, descriptor: int, cap: int) -> None:
        self._descriptor = descriptor
        self._cap = cap
        self._buffer = bytearray()

    def read(self, seconds: float) -> dict[str, Any]:
        """The next frame; raises FrameTimeout when nothing came for `seconds`, FrameError for a broken one or the end."""
        header = self._take(_LENGTH.size, seconds)
        (length,) = _LENGTH.unpack(header)
        if length > self._cap:
            raise FrameError("over the cap")
        try:
            message = json.loads(self._take(length, seconds))
        except ValueError:
            raise FrameError("not JSON") from None
        if not isinstance(message, dict):
            raise FrameError("not an object")
        return message

    def _take(self, count: int, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while len(self._buffer) < count:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise FrameTimeout("silence")
            piece = os.read(self._descriptor, 1 << 20)
            if not piece:
                raise FrameError("ended")
            self._buffer += piece
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken
