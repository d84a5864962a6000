"""What the attacks share: every route of the application with a request for it, raw bytes to a service, a model double."""

from __future__ import annotations

import http.cookiejar
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from policies.credentials import KeyStore
from policies.identity import Role
from policies.people import PeopleStore
from policies.sessions import SessionStore
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


@pytest.fixture(scope="session")
def small_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest file that counts as a model, `small.gguf`: one field, and one tensor of eight numbers."""

    def text(word: str) -> bytes:
        return struct.pack("<Q", len(word)) + word.encode()

    field = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    tensor = text("weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    made = tmp_path_factory.mktemp("g") / "small.gguf"
    made.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + field + tensor + bytes(256))
    return made


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


HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
PROXY_SECRET = "of the proxy alone: " + "p" * 32
IDENTITY = """
[server]
forwarded_allow_ips = ["127.0.0.1"]

[proxy]
secret_file = "{secret}"

[oidc]
issuer = "{provider.issuer}"
client_id = "{double.CLIENT}"
client_secret_file = "{client}"
audience = "{double.AUDIENCE}"
groups_claim = "realm.groups"
clearance_claim = "clearance"
roles_claim = "work"
key_pause_seconds = 1

[oidc.groups]
"/Directors" = "directors"

[oidc.clearances]
secret = "confidential"
usual = "internal"

[oidc.roles]
reader = "user"
"""


@dataclass(frozen=True)
class Identities:
    """A service with every carrier switched on: people to sign in, and the provider whose word it takes."""

    service: Any
    provider: Any
    people: PeopleStore
    keys: KeyStore
    sessions: SessionStore
    client: httpx2.Client
    inhouse: Callable[..., Any]

    def add(self, id: str) -> None:
        """A person who may read all there is."""
        self.people.add(id, id.title(), ["directors"], "confidential", [Role.USER])

    def account(self, id: str, **said: Any) -> dict[str, Any]:
        """What the provider says of that person: all that `add` gives them."""
        whole = {"sub": f"account-{id}", "preferred_username": id, "name": id.title()}
        return {**whole, "realm": {"groups": ["/Directors"]}, "clearance": "secret", "work": ["reader"], **said}

    def token(self, id: str, **said: Any) -> str:
        """An access token for that person."""
        token: str = self.provider.token(**{**self.account(id), **said})
        return token

    def proxied(self, person: str, secret: str = PROXY_SECRET) -> dict[str, str]:
        """The headers of the proxy."""
        return {"X-Forwarded-User": person, "X-Inhouse-Proxy-Secret": secret}

    def get(self, path: str = "/v1/documents", **headers: str) -> httpx2.Response:
        """What a route answers to these headers."""
        return self.client.get(self.service.url + path, headers={name.replace("_", "-"): one for name, one in headers.items()})

    def bearer(self, credential: str, path: str = "/v1/documents", **headers: str) -> httpx2.Response:
        """What a route answers to a key or a token."""
        return self.get(path, Authorization=f"Bearer {credential}", **headers)

    def cookie_of(self, response: httpx2.Response) -> str:
        """The session that an answer begins, as a browser sends it."""
        said = [one.partition(";")[0] for one in response.headers.get_list("set-cookie")]
        return next(one for one in said if one.startswith("inhouse_session="))

    def sign_in_at_provider(self, id: str, **spoils: Any) -> httpx2.Response:
        """The way to the provider and back of somebody who has that account there."""
        self.provider.account, self.provider.spoils = self.account(id), spoils
        there = self.get("/sign-in/provider")
        flow = there.headers["set-cookie"].partition(";")[0]
        back = self.client.get(there.headers["location"]).headers["location"]
        return self.client.get(back, headers={"cookie": flow})

    def refusals(self) -> list[tuple[str, str]]:
        """What the log says was refused, the newest first: by which carrier, and why."""
        from policies.audit.query import records

        found = records(self.service.data / "audit", tag="credential:refused", limit=1000)
        return [(one.payload["carrier"], one.payload["reason"]) for one in found]


@pytest.fixture(scope="session")
def identities(
    inhouse_within: Callable[..., Any],
    start_service: Callable[..., Any],
    provider_double: ModuleType,
    client: httpx2.Client,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Identities]:
    """That service, over one open and one confidential document."""
    root = tmp_path_factory.mktemp("i")
    data, folder, secret, secret_of_client = (root / name for name in ("data", "folder", "secret", "client"))
    (folder / "board").mkdir(parents=True)
    (folder / "leave.md").write_text("# Leave\n\nStaff have 30 days.\n")
    (folder / "board" / "merger.md").write_text("# Merger\n\nThe board buys Tannhof Optics.\n")
    rule = '[[rule]]\nglob = "{}"\nkb = "{}"\nclassification = "{}"\ngroups = ["{}"]\nowner = "hr"\n'
    labels = rule.format("*", "kb", "public", "everyone") + rule.format("board/*", "board", "confidential", "directors")
    (folder / "labels.toml").write_text(labels)
    secret.write_text(PROXY_SECRET + "\n")
    secret_of_client.write_text(provider_double.SECRET)
    for arguments in (("init",), ("ingest", str(folder))):
        assert inhouse_within(data, *arguments, **HASHING).returncode == 0
    people = PeopleStore(data / "people.db")
    keys = KeyStore(people, ("public", "internal", "confidential"))
    with provider_double.oidc_provider() as provider:
        written = IDENTITY.format(provider=provider, double=provider_double, secret=secret, client=secret_of_client)
        (data / "inhouse.toml").write_text(written)
        with start_service(data, {}, **HASHING) as service:
            yield Identities(service, provider, people, keys, SessionStore(people, keys), client, inhouse_within)
    people.close()
