"""The HTTP face, spoken to over a real socket by the clients that people use."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

QUESTION = [{"role": "user", "content": "How many days of annual leave do staff have?"}]
BOARD = [{"role": "user", "content": "For how much does the board plan to buy Tannhof Optics?"}]


def client(service: Any, person: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.keys[person], max_retries=0)


def get(service: Any, path: str, person: str | None = None, **headers: str) -> httpx2.Response:
    if person is not None:
        headers["Authorization"] = f"Bearer {service.keys[person]}"
    return httpx2.get(service.url + path, headers=headers, trust_env=False)


def post(service: Any, path: str, body: Any, person: str = "ana") -> httpx2.Response:
    headers = {"Authorization": f"Bearer {service.keys[person]}"}
    return httpx2.post(service.url + path, json=body, headers=headers, trust_env=False, timeout=60)


def test_the_openai_client_gets_a_cited_answer(service: Any) -> None:
    answer: Any = client(service, "ana").chat.completions.create(model="inhouse", messages=QUESTION)
    assert "30 days" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    cited = answer.inhouse["citations"][0]
    assert cited["path"] == "leave.md"
    assert cited["quote"] == "Staff have 30 days of annual leave."
    shown = service.inhouse("audit", "show", answer.inhouse["audit_id"], "--json")
    assert json.loads(shown.stdout)["actor"] == "ana"


def test_the_openai_client_gets_the_same_as_a_stream(service: Any) -> None:
    whole: Any = client(service, "ana").chat.completions.create(model="inhouse", messages=QUESTION)
    options: Any = {"include_usage": True}
    stream: Any = client(service, "ana").chat.completions.create(
        model="inhouse", messages=QUESTION, stream=True, stream_options=options
    )
    chunks = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0
    told = [one.inhouse for one in chunks if getattr(one, "inhouse", None)]
    assert told[0]["citations"] == whole.inhouse["citations"]


def test_who_may_not_read_it_is_told_that_the_documents_do_not_say(service: Any) -> None:
    permitted: Any = client(service, "dora").chat.completions.create(model="inhouse", messages=BOARD)
    assert "48 million" in permitted.choices[0].message.content
    for person in ("ana", "root", "audra"):
        refused: Any = client(service, person).chat.completions.create(model="inhouse", messages=BOARD)
        assert refused.inhouse["refused"]
        assert not refused.inhouse["citations"]
        assert "Tannhof" not in refused.model_dump_json()
        assert "board" not in json.dumps(refused.inhouse["nearest"])


def test_models_are_the_knowledge_bases_that_the_person_may_read(service: Any) -> None:
    assert [one.id for one in client(service, "ana").models.list()] == ["inhouse", "inhouse/handbook"]
    assert [one.id for one in client(service, "dora").models.list()] == ["inhouse", "inhouse/board", "inhouse/handbook"]
    assert client(service, "dora").models.retrieve("inhouse/board").id == "inhouse/board"
    for name in ("inhouse/board", "inhouse/none", "gpt-4"):
        with pytest.raises(openai.NotFoundError):
            client(service, "ana").chat.completions.create(model=name, messages=QUESTION)


@pytest.mark.parametrize("key", ["x", "ih_" + "A" * 43, "ih_" + "A" * 5000])
def test_a_wrong_key_is_refused_in_each_face_s_own_shape(service: Any, key: str) -> None:
    stranger = openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="inhouse", messages=QUESTION)
    told = get(service, "/v1/documents", Authorization=f"Bearer {key}")
    assert told.status_code == 401
    assert told.headers["content-type"] == "application/problem+json"
    assert told.json()["status"] == 401
    assert told.json()["hint"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/documents", "/v1/documents/x", "/metrics", "/docs", "/openapi.json"])
def test_everything_but_health_needs_a_key(service: Any, path: str) -> None:
    assert get(service, path).status_code == 401
    assert get(service, "/healthz").json() == {"status": "ok"}
    assert get(service, "/readyz").json() == {"status": "ready"}


def test_every_route_of_the_application_is_known_to_these_tests(service: Any) -> None:
    paths = get(service, "/openapi.json", "ana").json()["paths"]
    assert set(paths) == {
        "/healthz",
        "/metrics",
        "/readyz",
        "/v1/chat/completions",
        "/v1/documents",
        "/v1/documents/{document}",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/search",
    }


def test_search_and_documents_show_what_the_person_may_read(service: Any) -> None:
    def paths(person: str) -> set[str]:
        found = post(service, "/v1/search", {"text": "Tannhof merger leave hotel", "limit": 20}, person).json()["hits"]
        listed = get(service, "/v1/documents", person).json()["documents"]
        assert {one["path"] for one in found} <= {one["path"] for one in listed}
        return {one["path"] for one in listed}

    assert paths("ana") == {"leave.md", "travel.md"}
    assert paths("dora") == {"leave.md", "travel.md", "board/merger.md"}
    assert paths("root") == paths("audra") == set()


def test_forbidden_and_absent_look_the_same(service: Any) -> None:
    secret = next(
        one["id"] for one in get(service, "/v1/documents", "dora").json()["documents"] if one["path"] == "board/merger.md"
    )
    for suffix in ("", "?text=true"):
        forbidden = get(service, f"/v1/documents/{secret}{suffix}", "ana")
        absent = get(service, f"/v1/documents/doc-none{suffix}", "ana")
        assert forbidden.status_code == absent.status_code == 404
        assert forbidden.text.replace(secret, "ID") == absent.text.replace("doc-none", "ID")
    shown = get(service, f"/v1/documents/{secret}?text=true", "dora").json()
    assert "Tannhof Optics" in shown["text"]


def test_only_who_policy_names_reads_metrics_and_they_hold_no_names(service: Any) -> None:
    assert get(service, "/metrics", "ana").status_code == 403
    text = get(service, "/metrics", "root").text
    assert "inhouse_questions_in_progress" in text
    # How many documents there are tells of those that nobody may read who reads metrics.
    assert "inhouse_documents" not in text
    assert 'route="/v1/documents/{document}"' in text
    for word in ("ana", "dora", "leave.md", "Tannhof"):
        assert word not in text


def test_the_docs_page_asks_nothing_of_any_other_host(service: Any) -> None:
    page = httpx2.get(f"{service.url}/docs", auth=("any", service.keys["ana"]), trust_env=False)
    assert page.status_code == 200
    assert "/v1/chat/completions" in page.text
    assert "http" not in page.text.replace("<!doctype html>", "").lower().replace("<code>http", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert get(service, "/docs").headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Host": ""}, 421), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403)],
)
def test_foreign_hosts_and_pages_are_refused(service: Any, headers: dict[str, str], status: int) -> None:
    told = get(service, "/healthz", **headers)
    assert told.status_code == status
    assert told.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "inhouse", "messages": []}, 400),
        ({"model": "inhouse", "messages": [{"role": "user", "content": " "}]}, 400),
        ({"model": "inhouse", "messages": [{"role": "assistant", "content": "x"}]}, 400),
        ({"model": "inhouse", "messages": QUESTION, "n": 2}, 400),
        ({"model": "inhouse", "messages": [{"role": "user", "content": "x" * 9000}]}, 400),
        ({"model": "inhouse", "messages": [{"role": "user", "content": "x" * 30000}]}, 413),
    ],
)
def test_a_bad_chat_request_is_told_in_openai_s_shape(service: Any, body: Any, status: int) -> None:
    told = post(service, "/v1/chat/completions", body)
    assert told.status_code == status
    assert told.json()["error"]["message"]


def test_a_body_without_a_length_is_stopped_at_the_limit(service: Any) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    headers = {"Authorization": f"Bearer {service.keys['ana']}", "Content-Type": "application/json"}
    told = httpx2.post(f"{service.url}/v1/search", content=endless(), headers=headers, trust_env=False)
    assert told.status_code == 413


def test_an_unknown_path_and_field_are_problems(service: Any) -> None:
    assert get(service, "/nothing", "ana").json()["status"] == 404
    told = post(service, "/v1/search", {"text": "x", "colour": "red"})
    assert told.status_code == 400
    assert "colour" in told.json()["detail"]


def test_the_command_line_is_a_client_of_the_running_service(service: Any) -> None:
    status = json.loads(service.inhouse("status", "--json").stdout)
    assert status["serving"] is True
    assert status["knowledge_bases"]["handbook"]["documents"] == 2
    socket = service.data / "inhouse.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    second = service.inhouse("serve", "--port", "0")
    assert second.returncode == 8
    assert "inhouse serve" in second.stderr


def test_a_revoked_key_and_a_disabled_person_are_refused_at_the_next_request(service: Any) -> None:
    service.inhouse("people", "add", "temp", "--name", "Temp", "--clearance", "internal")
    made = [json.loads(service.inhouse("keys", "create", "temp", "--json").stdout) for _ in range(2)]
    headers = [{"Authorization": f"Bearer {one['secret']}"} for one in made]

    def status(one: dict[str, str]) -> int:
        return httpx2.get(f"{service.url}/v1/documents", headers=one, trust_env=False).status_code

    assert [status(one) for one in headers] == [200, 200]
    assert service.inhouse("keys", "revoke", made[0]["key"]["id"]).returncode == 0
    assert [status(one) for one in headers] == [401, 200]
    assert service.inhouse("people", "disable", "temp").returncode == 0
    assert [status(one) for one in headers] == [401, 401]
    assert service.inhouse("audit", "verify").returncode == 0
