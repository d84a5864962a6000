"""Server-sent events in answer to a POST, which `static/stream.js` reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi.responses import StreamingResponse


def event(name: str, value: Mapping[str, Any]) -> str:
    """One event, its value as JSON."""
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"


def response(events: AsyncIterator[str]) -> StreamingResponse:
    """The events as they come: a proxy that knows the header holds none of them back."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
