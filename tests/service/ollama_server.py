"""A server that speaks Ollama's protocol on a real socket, with a real llama.cpp behind it and faults to order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the server does beside answering; `busy` counts the 503s before it gives in."""

    model: str = "tiny:latest"
    digest: str = "sha256:" + "ab" * 32
    cloud_disabled: bool | None = True
    remote_host: str = ""
    remote_in_stream: bool = False
    busy: int = 0
    cut_lines: bool = False
    error_after: int | None = None
    silent_end_after: int | None = None
    drop_after: int | None = None
    slow_load: float = 0
    pause: float = 0
    redirect: bool = False
    reported_prompt_tokens: int | None = None
    done_reason: str | None = None
    text: list[str] | None = None
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)


@contextmanager
def ollama_server(llama: Any, behaviour: Behaviour, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[str]:
    """The URL of a running server; `llama` is an xllamacpp server or None where `behaviour.text` is what it says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            handle(self, behaviour, llama, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            handle(self, behaviour, llama, body)

    server = ThreadingHTTPServer(address, Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def handle(handler: BaseHTTPRequestHandler, behaviour: Behaviour, llama: Any, body: dict[str, Any]) -> None:
    """One request of either kind."""
    behaviour.requests.append((handler.path, body))
    behaviour.headers.append({name.lower(): value for name, value in handler.headers.items()})
    remote = {"remote_model": "big", "remote_host": behaviour.remote_host} if behaviour.remote_host else {}
    if behaviour.redirect:
        handler.send_response(307)
        handler.send_header("location", "http://203.0.113.1/")
        handler.send_header("content-length", "0")
        handler.end_headers()
    elif handler.path == "/api/status" and behaviour.cloud_disabled is not None:
        whole(handler, 200, {"cloud": {"disabled": behaviour.cloud_disabled, "source": "env"}})
    elif handler.path == "/api/tags":
        model = {"name": behaviour.model, "model": behaviour.model, "digest": behaviour.digest, "size": 1, **remote}
        whole(handler, 200, {"models": [model]})
    elif handler.path in ("/api/show", "/api/chat") and body.get("model") != behaviour.model:
        whole(handler, 404, {"error": f"model '{body.get('model')}' not found"})
    elif handler.path == "/api/show":
        whole(handler, 200, {"model_info": {"llama.context_length": 2048}, "capabilities": ["completion"], **remote})
    elif handler.path == "/api/chat" and behaviour.busy:
        behaviour.busy -= 1
        whole(handler, 503, {"error": "server busy, please try again.  maximum pending requests exceeded"})
    elif handler.path == "/api/chat":
        chat(handler, behaviour, llama, body)
    else:
        whole(handler, 404, {"error": "not found"})


def whole(handler: BaseHTTPRequestHandler, status: int, value: dict[str, Any]) -> None:
    """A complete response."""
    data = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def chat(handler: BaseHTTPRequestHandler, behaviour: Behaviour, llama: Any, body: dict[str, Any]) -> None:
    """A stream. Headers leave only when the model is loaded, as in the real server."""
    time.sleep(behaviour.slow_load)
    handler.send_response(200)
    handler.send_header("content-type", "application/x-ndjson")
    handler.send_header("connection", "close")
    handler.end_headers()
    handler.close_connection = True
    count = [0]
    left = threading.Event()

    def line(value: dict[str, Any]) -> None:
        if behaviour.remote_in_stream:
            value = {**value, "remote_host": "https://example.invalid"}
        data = json.dumps({"model": behaviour.model, "created_at": "2026-01-01T00:00:00Z", **value}).encode() + b"\n"
        if behaviour.cut_lines:
            for start in range(0, len(data), 7):
                handler.wfile.write(data[start : start + 7])
                handler.wfile.flush()
                time.sleep(0.001)
        else:
            handler.wfile.write(data)
            handler.wfile.flush()

    def piece(text: str) -> bool:
        if count[0] in (behaviour.error_after, behaviour.silent_end_after, behaviour.drop_after):
            return True
        count[0] += 1
        try:
            line({"message": {"role": "assistant", "content": text}, "done": False})
        except OSError:
            left.set()
            behaviour.cancelled.set()
            return True
        return False

    reason, tokens = generate(behaviour, llama, body, piece)
    # Of this request alone: another that was cancelled may still be ending.
    if left.is_set():
        return
    if count[0] == behaviour.error_after:
        line({"error": "an error was encountered while running the model"})
    elif count[0] == behaviour.drop_after:
        handler.wfile.write(b'{"model": "tiny:la')
    elif count[0] != behaviour.silent_end_after:
        read = tokens if behaviour.reported_prompt_tokens is None else behaviour.reported_prompt_tokens
        end = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": behaviour.done_reason or reason}
        line({**end, "prompt_eval_count": read, "eval_count": count[0]})


def generate(behaviour: Behaviour, llama: Any, body: dict[str, Any], piece: Any) -> tuple[str, int]:
    """Lets llama.cpp speak, or says the ordered text; returns the reason of the end and the tokens read."""
    if behaviour.text is not None:
        for text in behaviour.text:
            time.sleep(behaviour.pause)
            if piece(text):
                break
        return "stop", sum(len(one["content"].encode()) for one in body["messages"]) // 4
    seen = {"reason": "stop", "tokens": 0}

    def heard(event: Any) -> bool:
        for one in event if isinstance(event, list) else [event]:
            timings = one.get("timings", {})
            seen["tokens"] = timings.get("prompt_n", 0) + timings.get("cache_n", 0) or seen["tokens"]
            for choice in one.get("choices", []):
                seen["reason"] = choice.get("finish_reason") or seen["reason"]
                text = choice.get("delta", {}).get("content")
                if text and piece(text):
                    return True
        return False

    options = body.get("options", {})
    request = {"messages": body["messages"], "stream": True, "max_tokens": options.get("num_predict", 32), "temperature": 0}
    llama.handle_chat_completions(request, heard)
    return str(seen["reason"]), int(seen["tokens"])
