"""What the attacks share: every route of the application with a request for it, raw bytes to a service, a model double."""

from __future__ import annotations

import http.cookiejar
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from service.api.application import create_app
from service.settings import Settings
from service.wiring import Installation


@dataclass(frozen=True)
class Call:
    """A request for one route. `{id}` in the path, the query or the body is where a name goes that a caller may make up;
    `key` says whether the route asks for one."""

    method: str
    route: str
    path: str
    body: Mapping[str, Any] | None = None
    key: bool = True

    def about(self, name: str) -> Call:
        """The same request with the name put in."""
        body = json.loads(json.dumps(self.body).replace("{id}", json.dumps(name)[1:-1])) if self.body is not None else None
        return Call(self.method, self.route, self.path.replace("{id}", quote(name, safe="/")), body, self.key)


def _asked(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "For how much does the board buy Tannhof Optics?"}]}


CALLS = (
    Call("GET", "/healthz", "/healthz", key=False),
    Call("GET", "/readyz", "/readyz", key=False),
    Call("GET", "/metrics", "/metrics"),
    Call("GET", "/openapi.json", "/openapi.json"),
    Call("GET", "/docs", "/docs"),
    Call("GET", "/v1/models", "/v1/models"),
    Call("GET", "/v1/models/{name:path}", "/v1/models/{id}"),
    Call("GET", "/v1/models/{name:path}", "/v1/models/inhouse/{id}"),
    Call("POST", "/v1/chat/completions", "/v1/chat/completions", _asked("inhouse")),
    Call("POST", "/v1/chat/completions", "/v1/chat/completions", _asked("inhouse/{id}")),
    Call("POST", "/v1/chat/completions", "/v1/chat/completions", {**_asked("inhouse/{id}"), "stream": True}),
    Call("POST", "/v1/search", "/v1/search", {"text": "Tannhof Optics merger"}),
    Call("POST", "/v1/search", "/v1/search", {"text": "Tannhof Optics merger", "kb": "{id}"}),
    Call("GET", "/v1/documents", "/v1/documents"),
    Call("GET", "/v1/documents", "/v1/documents?kb={id}"),
    Call("GET", "/v1/documents", "/v1/documents?prefix={id}"),
    Call("GET", "/v1/documents", "/v1/documents?after={id}"),
    Call("GET", "/v1/documents/{document}", "/v1/documents/{id}"),
    Call("GET", "/v1/documents/{document}", "/v1/documents/{id}?text=true"),
)


def routes_of(app: Any) -> set[tuple[str, str]]:
    """Every method and path that the application answers."""
    found: set[tuple[str, str]] = set()
    waiting = list(app.routes)
    while waiting:
        one = waiting.pop()
        if hasattr(one, "original_router"):
            waiting += one.original_router.routes
        else:
            found |= {(method, one.path) for method in one.methods or {"*"}}
    return found


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """The routes, from the application itself."""
    return routes_of(create_app(Installation(tmp_path_factory.mktemp("r"), Settings())))


@pytest.fixture(scope="session")
def calls(routes: set[tuple[str, str]]) -> tuple[Call, ...]:
    """A request for each route; a route without one fails every test that walks over them."""
    assert {(one.method, one.route) for one in CALLS} == routes
    return CALLS


@pytest.fixture(scope="session")
def client() -> Iterator[httpx2.Client]:
    """Makes requests, each over a connection of its own as strangers do; one client for all of them, since to make one reads
    every certificate of this machine. It keeps no cookie."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    with httpx2.Client(trust_env=False, timeout=60, limits=limits) as made:
        made.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        yield made


@pytest.fixture(scope="session")
def send(client: httpx2.Client) -> Callable[..., httpx2.Response]:
    """Sends a call with a key, or without."""

    def sent(service: Any, call: Call, key: str | None, **headers: str) -> httpx2.Response:
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return client.request(call.method, service.url + call.path, json=call.body, headers=headers)

    return sent


@pytest.fixture(scope="session")
def send_raw() -> Callable[[Any, bytes], bytes]:
    """Sends bytes as they are and returns everything that comes back until the service closes or falls silent."""

    def sent(service: Any, data: bytes) -> bytes:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It hung up before it had all: what it said is still there.
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except OSError:
                pass
            return received

    return sent


@pytest.fixture(scope="session")
def model_service(
    make_indexed: Any, start_service: Any, model_double: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any]]:
    """A service whose answers come from the model double, pinned by digest, one at a time with one more waiting; and the
    double's behaviour, which each test sets."""
    data, _, keys = make_indexed(tmp_path_factory.mktemp("m"))
    behaviour = model_double.Behaviour(text=["Staff have 30 days [1]."])
    with model_double.ollama_server(None, behaviour) as url:
        settings = {
            "INHOUSE_RUNTIME__KIND": "ollama",
            "INHOUSE_RUNTIME__MODEL": "tiny",
            "INHOUSE_RUNTIME__URL": url,
            "INHOUSE_RUNTIME__DIGEST": "ab" * 32,
            "INHOUSE_SERVER__MAX_CONCURRENT_ANSWERS": "1",
            "INHOUSE_SERVER__MAX_WAITING_ANSWERS": "1",
        }
        with start_service(data, keys, **settings) as running:
            yield running, behaviour


@pytest.fixture(scope="session")
def ask() -> Callable[..., httpx2.Response]:
    """Asks a service a question as one of its people."""

    def asked(service: Any, question: str, person: str = "ana", **more: Any) -> httpx2.Response:
        body = {"model": "inhouse", "messages": [{"role": "user", "content": question}], **more}
        headers = {"Authorization": f"Bearer {service.keys[person]}"}
        url = f"{service.url}/v1/chat/completions"
        return httpx2.post(url, json=body, headers=headers, trust_env=False, timeout=120)

    return asked


@pytest.fixture
def canary() -> Iterator[tuple[str, list[bytes]]]:
    """An address on this machine, and what anyone who connected to it said."""
    heard: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def hear() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            heard.append(b"connected")
            connection.close()

    threading.Thread(target=hear, daemon=True).start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", heard
    listening.close()
