"""A server that speaks OpenAI's protocol as vLLM, llama.cpp's server or LM Studio do, with faults to order."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN_BYTES = 4


@dataclass
class Behaviour:
    """What the server is and does; `busy` counts the refusals with `busy_status` before it gives in."""

    model: str = "tiny"
    kind: str = "vllm"
    window: int = 2048
    key: str | None = None
    busy: int = 0
    busy_status: int = 503
    loading: bool = False
    cut_lines: bool = False
    pings: float = 0
    error_after: int | None = None
    error_field: str = "data"
    silent_end_after: int | None = None
    drop_after: int | None = None
    hang_after: int | None = None
    without_reason: bool = False
    without_done: bool = False
    whole_body: bool = False
    slow_load: float = 0
    redirect: bool = False
    reported_prompt_tokens: int | None = None
    reason: str = "stop"
    text: list[str] = field(default_factory=lambda: ["The ", "answer ", "is ", "here [1]."])
    thoughts: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: list[tuple[str, int]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)


@contextmanager
def openai_server(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a running server; with TLS where there is a context for it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            handle(self, behaviour, {})

        def do_POST(self) -> None:
            handle(self, behaviour, json.loads(self.rfile.read(int(self.headers["content-length"]))))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def tokens_of(messages: list[dict[str, str]]) -> int:
    """How many tokens this server makes of messages."""
    return sum(len(one["content"].encode()) for one in messages) // TOKEN_BYTES + 8 * len(messages)


def handle(handler: BaseHTTPRequestHandler, behaviour: Behaviour, body: dict[str, Any]) -> None:
    """One request of either kind."""
    path = urlsplit(handler.path).path
    behaviour.requests.append((path, body))
    behaviour.headers.append({name.lower(): value for name, value in handler.headers.items()})
    behaviour.connections.append(handler.client_address)
    answer = told(behaviour, path, body)
    if behaviour.redirect:
        handler.send_response(307)
        handler.send_header("location", "http://203.0.113.1/")
        handler.send_header("content-length", "0")
        handler.end_headers()
    elif behaviour.key is not None and handler.headers.get("authorization") != f"Bearer {behaviour.key}":
        whole(handler, 401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}})
    elif answer is not None:
        whole(handler, 200, answer)
    elif behaviour.loading:
        whole(handler, 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    elif path != "/v1/chat/completions":
        status = 200 if behaviour.kind == "studio" else 404
        whole(handler, status, {"error": "Unexpected endpoint or method."})
    elif body.get("model") != behaviour.model:
        message = f"The model `{body.get('model')}` does not exist."
        whole(handler, 404, {"error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}})
    elif behaviour.busy:
        behaviour.busy -= 1
        whole(handler, behaviour.busy_status, {"error": {"message": "too many requests"}})
    elif tokens_of(body["messages"]) + body["max_tokens"] > behaviour.window:
        whole(handler, 400, {"error": {"message": f"This model's maximum context length is {behaviour.window} tokens."}})
    else:
        chat(handler, behaviour, body)


def told(behaviour: Behaviour, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """What the kind of server says at a path; None where it has none."""
    entry: dict[str, Any] = {"id": behaviour.model, "object": "model", "created": int(time.time() * 1000)}
    if path == "/v1/models":
        if behaviour.kind == "vllm":
            entry |= {"owned_by": "vllm", "root": "/models/tiny", "max_model_len": behaviour.window}
        if behaviour.kind == "llama":
            entry |= {"owned_by": "llamacpp", "meta": {"n_ctx_train": 131072, "n_params": 260_000}}
        return {"object": "list", "data": [{"id": "other", "object": "model"}, entry]}
    if path == "/props" and behaviour.kind == "llama" and not behaviour.loading:
        return {"default_generation_settings": {"n_ctx": behaviour.window}, "total_slots": 1}
    if path == "/api/v0/models" and behaviour.kind == "studio":
        entry |= {"state": "loaded", "max_context_length": 131072, "loaded_context_length": behaviour.window}
        return {"object": "list", "data": [{**entry, "id": "other", "loaded_context_length": 9}, entry]}
    if path == "/api/version" and behaviour.kind == "ollama":
        return {"version": "0.32.1"}
    if path == "/tokenize" and behaviour.kind == "vllm":
        return {"count": tokens_of(body["messages"]), "max_model_len": behaviour.window, "tokens": []}
    if path == "/apply-template" and behaviour.kind == "llama":
        return {"prompt": "".join(one["content"] + "|" * 8 * TOKEN_BYTES for one in body["messages"])}
    if path == "/tokenize" and behaviour.kind == "llama":
        return {"tokens": [0] * (len(body["content"].encode()) // TOKEN_BYTES)}
    return None


def whole(handler: BaseHTTPRequestHandler, status: int, value: dict[str, Any]) -> None:
    """A complete response."""
    data = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def chat(handler: BaseHTTPRequestHandler, behaviour: Behaviour, body: dict[str, Any]) -> None:
    """A stream of events."""
    time.sleep(behaviour.slow_load)
    if behaviour.whole_body:
        message = {"role": "assistant", "content": "".join(behaviour.text)}
        whole(handler, 200, {"object": "chat.completion", "choices": [{"message": message, "finish_reason": "stop"}]})
        return
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("connection", "close")
    handler.end_headers()
    handler.close_connection = True
    try:
        said = speak(handler, behaviour)
        read = tokens_of(body["messages"]) if behaviour.reported_prompt_tokens is None else behaviour.reported_prompt_tokens
        finish(handler, behaviour, said, {"prompt_tokens": read, "completion_tokens": said})
    except OSError:
        behaviour.cancelled.set()


def speak(handler: BaseHTTPRequestHandler, behaviour: Behaviour) -> int:
    """Says the text; returns how many pieces of it."""
    send(handler, behaviour, "data", {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
    for thought in behaviour.thoughts:
        send(handler, behaviour, "data", {"choices": [{"index": 0, "delta": {"reasoning_content": thought}}]})
    faults = (behaviour.error_after, behaviour.silent_end_after, behaviour.drop_after, behaviour.hang_after)
    for number, text in enumerate(behaviour.text):
        if number in faults:
            return number
        send(handler, behaviour, "data", {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    return len(behaviour.text)


def finish(handler: BaseHTTPRequestHandler, behaviour: Behaviour, said: int, usage: dict[str, int]) -> None:
    """Ends the stream, or breaks it off as ordered."""
    if said == behaviour.error_after:
        error = {"code": 500, "message": "CUDA out of memory", "type": "server_error"}
        send(handler, behaviour, behaviour.error_field, {"error": error} if behaviour.error_field == "data" else error)
        send(handler, behaviour, "data", "[DONE]")
    elif said == behaviour.drop_after:
        handler.wfile.write(b'data: {"choices": [{"del')
    elif said == behaviour.hang_after:
        for _ in range(600):
            time.sleep(behaviour.pings or 0.1)
            handler.wfile.write(b": ping\n\n" if behaviour.pings else b"")
            handler.wfile.flush()
    elif said != behaviour.silent_end_after:
        if not behaviour.without_reason:
            send(handler, behaviour, "data", {"choices": [{"index": 0, "delta": {}, "finish_reason": behaviour.reason}]})
        send(handler, behaviour, "data", {"choices": [], "usage": usage})
        if not behaviour.without_done:
            send(handler, behaviour, "data", "[DONE]")


def send(handler: BaseHTTPRequestHandler, behaviour: Behaviour, name: str, value: Any) -> None:
    """One event; its lines end with CR LF, which the protocol allows too."""
    data = f"{name}: {value if isinstance(value, str) else json.dumps(value)}\r\n\r\n".encode()
    for start in range(0, len(data), 7 if behaviour.cut_lines else len(data)):
        handler.wfile.write(data[start : start + (7 if behaviour.cut_lines else len(data))])
        handler.wfile.flush()
        time.sleep(0.001 if behaviour.cut_lines else 0)
