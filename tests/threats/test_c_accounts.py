"""Accounts and the API: no carrier of a credential goes round a limit, no page or name of elsewhere gets in, and one
caller's excess leaves the others their answers."""

from __future__ import annotations

import base64
import datetime
import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from policies.credentials import KeyStore
from policies.errors import SettingsError
from policies.identity import Role
from policies.people import PeopleStore
from service.settings import load_settings
from service.web.application import create_site

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
SECRET_WORDS = ("Tannhof", "merger", "48 million", "board/")
DEAD = ("expired", "revoked", "disabled", "unknown", "no key")


@pytest.fixture(scope="module")
def limited_keys(service: Any) -> Mapping[str, str | None]:
    """Keys of one person who may read everything: whole, with one right fewer each, and dead ones."""
    people = PeopleStore(service.data / "people.db")
    keys = KeyStore(people, ("public", "internal", "confidential"))
    for person in ("emil", "gone"):
        people.add(person, person, ["directors"], "confidential", [Role.USER, Role.ADMIN])

    def made(person: str = "emil", **limits: Any) -> tuple[str, str]:
        asked = [f"--{name}={value}" for name, value in limits.items()]
        done = json.loads(service.inhouse("keys", "create", person, "--json", *asked).stdout)
        return done["key"]["id"], done["secret"]

    found: dict[str, str | None] = {"whole": made()[1], "no key": None, "unknown": "ih_" + "A" * 43}
    found["fewer clearance"] = made(clearance="internal")[1]
    found["fewer roles"] = made(role="admin")[1]
    # From the command line a key cannot be left with no group at all.
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    found["fewer groups"] = keys.create("emil", later, groups=[])[1]
    expired, found["expired"] = made()
    revoked, found["revoked"] = made()
    found["disabled"] = made("gone")[1]
    people.close()
    service.inhouse("keys", "revoke", revoked)
    service.inhouse("people", "disable", "gone")
    with sqlite3.connect(service.data / "people.db") as database:
        # A month ago, as if the month had passed.
        database.execute("UPDATE api_key SET expires = '2026-01-01T00:00:00+00:00' WHERE id = ?", (expired,))
    database.close()
    return found


def names_to_ask_for(service: Any) -> list[str]:
    listed = httpx2.get(
        f"{service.url}/v1/documents", headers={"Authorization": f"Bearer {service.keys['dora']}"}, trust_env=False
    ).json()["documents"]
    return ["board", next(one["id"] for one in listed if one["path"] == "board/merger.md")]


@pytest.mark.parametrize("kind", ["fewer clearance", "fewer groups", "fewer roles"])
def test_c2_a_key_with_fewer_rights_sees_less_on_every_route(
    service: Any, calls: Any, send: Any, limited_keys: Mapping[str, str], kind: str
) -> None:
    seen = []
    for name in names_to_ask_for(service):
        for call in calls:
            one = call.about(name)
            told = send(service, one, limited_keys[kind])
            assert not [word for word in SECRET_WORDS if word in told.text.replace(json.dumps(name)[1:-1], "")], one
            seen.append(send(service, one, limited_keys["whole"]).text)
    # The key with all its owner's rights shows that there was something to hide.
    assert all(any(word in text for text in seen) for word in SECRET_WORDS)


@pytest.mark.parametrize("kind", DEAD)
def test_c2_a_dead_key_opens_no_route_and_all_dead_ones_look_the_same(
    service: Any, calls: Any, send: Any, limited_keys: Mapping[str, str | None], kind: str
) -> None:
    for call in calls:
        one = call.about("board")
        told = send(service, one, limited_keys[kind])
        if not one.key:
            assert told.status_code == 200
            continue
        assert told.status_code == 401, one
        if kind != "no key":
            assert told.content == send(service, one, limited_keys["unknown"]).content


def test_c2_disabling_a_person_ends_every_carrier_of_theirs(service: Any) -> None:
    service.inhouse("people", "add", "carol", "--name", "Carol", "--clearance", "internal")
    secrets = [json.loads(service.inhouse("keys", "create", "carol", "--json").stdout)["secret"] for _ in range(2)]
    as_password = base64.b64encode(f"any:{secrets[0]}".encode()).decode()
    carriers: list[Callable[[], bool]] = [
        *(
            lambda secret=secret: (
                httpx2.get(
                    f"{service.url}/v1/documents", headers={"Authorization": f"Bearer {secret}"}, trust_env=False
                ).status_code
                == 200
            )
            for secret in secrets
        ),
        lambda: (
            httpx2.get(f"{service.url}/docs", headers={"Authorization": f"Basic {as_password}"}, trust_env=False).status_code
            == 200
        ),
        lambda: service.inhouse("search", "leave", "--as", "carol").returncode == 0,
    ]
    assert [carrier() for carrier in carriers] == [True] * 4
    assert service.inhouse("people", "disable", "carol").returncode == 0
    assert [carrier() for carrier in carriers] == [False] * 4


def test_c2_a_password_dialogue_is_answered_on_no_route_but_the_docs(service: Any, calls: Any, send: Any) -> None:
    told = {
        call.route: httpx2.request(
            call.method, service.url + call.path, json=call.body, auth=("any", service.keys["root"]), trust_env=False
        ).status_code
        for call in calls
        if call.key
    }
    assert {route for route, status in told.items() if status != 401} == {"/docs", "/openapi.json"}


def test_c3_on_a_fresh_installation_only_health_answers_and_nobody_can_make_themselves_a_key(
    tmp_path: Path, inhouse_within: Any, start_service: Any, calls: Any, send: Any, client: httpx2.Client
) -> None:
    data = tmp_path / "d"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    with start_service(data, {}, **HASHING) as service:
        answered = {call.route for call in calls if send(service, call.about("x"), None).status_code != 401}
        assert answered == {"/healthz", "/readyz"}
        statuses: list[int] = []

        def bootstrap() -> None:
            for path in ("/v1/keys", "/v1/people", "/v1/auths/signup", "/init", "/operations/keys.create"):
                body = {"id": "eve", "name": "Eve", "clearance": "confidential", "roles": ["admin"], "person": "eve"}
                statuses.append(client.post(service.url + path, json=body).status_code)

        threads = [threading.Thread(target=bootstrap) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {404}
        assert len(statuses) == 100
    assert [one["id"] for one in json.loads(inhouse_within(data, "people", "list", "--json").stdout)["people"]] == [
        "local-owner"
    ]
    assert json.loads(inhouse_within(data, "keys", "list", "--json").stdout)["keys"] == []


def test_c3_no_other_site_is_let_in_by_cors(service: Any, calls: Any) -> None:
    for call in calls:
        for headers in (
            {"Origin": "http://evil.example", "Access-Control-Request-Method": call.method},
            {"Access-Control-Request-Method": call.method},
        ):
            told = httpx2.options(service.url + call.about("x").path, headers=headers, trust_env=False)
            assert told.status_code >= 400
            assert not [name for name in told.headers if name.startswith("access-control-")]


def test_c4_a_key_is_nowhere_but_with_whom_it_was_shown_to(service: Any) -> None:
    shown = {service.keys[person].encode() for person in service.keys}
    kept = [path for path in service.data.rglob("*") if path.is_file() and any(one in path.read_bytes() for one in shown)]
    assert kept == []
    assert len(shown) == len(service.keys)
    # 256 random bits.
    assert min(len(one) for one in shown) >= 46


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "unknown"])
def test_c4_a_token_that_was_made_up_is_no_key(service: Any, algorithm: str) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "jku": "http://127.0.0.1/"}).encode()).decode()
    body = base64.urlsafe_b64encode(json.dumps({"sub": "root", "roles": ["admin"]}).encode()).decode()
    for token in (f"{header}.{body}.", f"{header}.{body}.{body}", f"ih_{header}.{body}.", "ih_", "ih_é"):
        headers = {"Authorization": f"Bearer {token}".encode()}
        told = httpx2.get(f"{service.url}/v1/documents", headers=headers, trust_env=False)  # type: ignore[arg-type]
        assert told.status_code == 401


HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8080",
    "evil.example@localhost",
    "localhost@evil.example",
    "localhost:8080@evil.example",
    "localhost:http",
    "localhost:8080:8080",
    "localhost:-1",
    "localhost:123456",
    "localhost.",
    "localhost/",
    "localhost#",
    "local host",
    "localhost,evil.example",
    "[::1",
    "::1",
    "[::ffff:127.0.0.1]",
    "127.1",
    "2130706433",
    "0.0.0.0",
    "0",
    "ſ",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
def test_c5_a_foreign_or_malformed_host_is_answered_by_no_route(service: Any, calls: Any, send_raw: Any, host: str) -> None:
    for call in calls:
        path = call.about("x").path
        key = service.keys["root"]
        body = json.dumps(call.body).encode() if call.body is not None else b""
        request = (
            f"{call.method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        told = send_raw(service, request.encode() + body)
        assert told.split(b" ", 2)[1] in (b"400", b"421"), (path, told[:200])


@pytest.mark.parametrize(
    "lines",
    [
        "Host: localhost\r\nHost: evil.example",
        "Host: evil.example\r\nHost: localhost",
        "X: y",
        "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example",
        "Host : localhost",
        " Host: localhost",
        "Host: localhost\r\n\tevil.example",
        "Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "Host: localhost\r\nContent-Length: \xb2",
        "Host: localhost\x00",
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_c5_headers_that_two_readers_would_read_in_two_ways_get_no_answer(
    service: Any, send_raw: Any, lines: str, version: str
) -> None:
    told = send_raw(service, f"GET /healthz HTTP/{version}\r\n{lines}\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert b" 200 " not in told.split(b"\r\n", 1)[0]


ORIGINS = ["http://evil.example", "null", "http://localhost.evil.example", "http://[", "//localhost", "file://", "", "*"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_c5_a_page_of_another_site_is_answered_by_no_route(service: Any, calls: Any, send: Any, origin: str) -> None:
    for call in calls:
        told = send(service, call.about("x"), service.keys["root"], Origin=origin)
        assert told.status_code == 403, call


def test_c5_the_product_s_own_page_is_answered(service: Any, calls: Any, send: Any) -> None:
    assert send(service, calls[0], None, Origin=service.url).status_code == 200


def test_c5_a_named_origin_s_page_is_answered_by_the_api_alone_and_no_other_is(
    calls: Any, workbench: Callable[..., Any]
) -> None:
    named, other = "https://intranet.example", "https://intranet.example.evil.example"
    bench = workbench(INHOUSE_SERVER__ALLOWED_ORIGINS=named)
    key = bench("keys.create", person="root")["secret"]
    wanted = {"Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang"}
    with TestClient(create_site(bench.installation), base_url="http://localhost") as client:

        def told(call: Any, method: str, origin: str, **headers: str) -> tuple[int, dict[str, str]]:
            answer = client.request(method, call.path, json=call.body, headers={"Origin": origin, **headers})
            return answer.status_code, {k: v for k, v in answer.headers.items() if k.startswith("access-control-")}

        for call in [one.about("x") for one in calls]:
            asked = {**wanted, "Access-Control-Request-Method": call.method}
            assert told(call, "OPTIONS", other, **asked) == (403, {})
            assert told(call, call.method, other, Authorization=f"Bearer {key}") == (403, {})
            status, sent = told(call, "OPTIONS", named, **asked)
            if not call.path.startswith("/v1/"):
                assert (status, sent) == (403, {}), call
                assert told(call, call.method, named, Authorization=f"Bearer {key}") == (403, {}), call
                continue
            assert (status, sent["access-control-allow-origin"]) == (200, named)
            assert sent["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
            # No cookie goes along, and a refusal can be read by the page as well.
            for authorization in (f"Bearer {key}", "Bearer made up"):
                assert told(call, call.method, named, Authorization=authorization)[1] == {"access-control-allow-origin": named}
            assert "access-control-allow-credentials" not in sent


@pytest.mark.parametrize(
    "origin", ["*", "null", "https://a.example/", "https://a.example/path", "a.example", "https://A.example"]
)
def test_c5_what_no_browser_sends_as_an_origin_is_no_setting(tmp_path: Path, origin: str) -> None:
    with pytest.raises(SettingsError, match="allowed_origins"):
        load_settings(tmp_path, environment={"INHOUSE_SERVER__ALLOWED_ORIGINS": origin})


def test_c6_headers_without_end_are_stopped(service: Any, send_raw: Any, calls: Any, send: Any) -> None:
    for request in (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2**22 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 2**18 + b"\r\n",
        b"GET /" + b"a" * 2**22 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        assert b" 200 " not in send_raw(service, request).split(b"\r\n", 1)[0]
        assert send(service, calls[0], None).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        "[" * 9000,
        '{"text":' * 2000,
        '{"text": "x", "limit": ' + "9" * 5000 + "}",
        '{"text": "x", "limit": 1e999}',
        '{"text": "x", "limit": NaN}',
        '{"text": "\\ud800"}',
        '{"text": "' + "x" * 9000 + '"}',
        "\x00",
    ],
    ids=lambda body: body[:12],
)
def test_c6_a_body_made_to_cost_much_is_a_plain_refusal(service: Any, body: str) -> None:
    headers = {"Authorization": f"Bearer {service.keys['ana']}", "Content-Type": "application/json"}
    told = httpx2.post(f"{service.url}/v1/search", content=body.encode(), headers=headers, trust_env=False, timeout=60)
    assert told.status_code in (400, 413)
    assert told.json()["status"] == told.status_code


def test_c6_a_full_queue_refuses_at_once_and_leaves_the_others_their_answers(
    model_service: Any, calls: Any, send: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, behaviour = model_service
    release, heard, told = threading.Event(), threading.Semaphore(0), []

    class Slow(list[str]):
        """Says its first word only when it is let."""

        def __iter__(self) -> Any:
            heard.release()
            assert release.wait(120)
            return super().__iter__()

    monkeypatch.setattr(behaviour, "text", Slow(["Staff have 30 days of annual leave [1]."]))
    question = "How many days of annual leave do staff have?"
    threads = [threading.Thread(target=lambda: told.append(ask(service, question).status_code)) for _ in range(2)]
    threads[0].start()
    assert heard.acquire(timeout=60)
    threads[1].start()
    metrics = next(call for call in calls if call.route == "/metrics")
    while "inhouse_questions_in_progress 2.0" not in send(service, metrics, service.keys["root"]).text:
        release.wait(0.1)
    full = ask(service, question)
    assert full.status_code == 503
    assert full.headers["retry-after"]
    assert "waiting" in full.json()["error"]["message"]
    for route in ("/healthz", "/v1/models", "/v1/documents"):
        call = next(one for one in calls if one.route == route)
        assert send(service, call, service.keys["dora"]).status_code == 200
    release.set()
    for thread in threads:
        thread.join()
    assert told == [200, 200]
