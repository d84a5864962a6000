"""Open WebUI as a client: what its backend sends over an OpenAI-compatible connection (`routers/openai.py` there), by the
HTTP library that it sends it with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

LEAVE = "How many days of annual leave do staff have?"
SENTENCE = "Staff have 30 days of annual leave [1].\n"
MODEL = """
[runtime]
kind = "ollama"
model = "tiny"
url = "{url}"
"""
# Its own signed-in user, where it is set to forward that: not who asks here.
FORWARDED = {
    "X-OpenWebUI-User-Name": "Dora",
    "X-OpenWebUI-User-Id": "dora",
    "X-OpenWebUI-User-Email": "dora@corp.example",
    "X-OpenWebUI-User-Role": "admin",
    "X-OpenWebUI-Chat-Id": "2f0c1f0e-6f43-4d8e-a4c9-0c2f8a3c6f1d",
}


@pytest.fixture(scope="module")
def house(
    make_indexed: Callable[[Path], tuple[Path, Path, dict[str, str]]],
    start_service: Any,
    model_double: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, Any]]:
    """A service whose model is a server's, and that server's behaviour."""
    data, _, keys = make_indexed(tmp_path_factory.mktemp("o"))
    behaviour = model_double.Behaviour(text=[SENTENCE])
    with model_double.ollama_server(None, behaviour) as url:
        (data / "inhouse.toml").write_text(MODEL.format(url=url), encoding="utf-8")
        with start_service(data, keys) as running:
            yield running, behaviour


class Connection:
    """A connection of Open WebUI's: a URL with its key."""

    def __init__(self, service: Any, key: str) -> None:
        self._url, self._key = f"{service.url}/v1", key

    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json", **FORWARDED, "Authorization": f"Bearer {self._key}"}

    async def models(self) -> Any:
        """The list, as it is read for a person who opens a chat."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            headers = {"Authorization": f"Bearer {self._key}"}
            async with session.get(f"{self._url}/models", headers=headers) as response:
                return await response.json()

    async def verified(self) -> tuple[int, Any]:
        """What an administrator sees who checks the connection."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._url}/models", headers=self._headers(), cookies={}) as response,
        ):
            return response.status, await response.json()

    async def completed(self, payload: Mapping[str, Any]) -> tuple[int, Any]:
        """The answer to a request without a stream, and every refusal."""
        async with aiohttp.ClientSession() as session:
            response = await self._posted(session, payload)
            return response.status, await response.json()

    async def streamed(self, payload: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The chunks of a stream; whoever leaves off closes the response and its session, as on Stop."""
        session = aiohttp.ClientSession(read_bufsize=4 * 1024 * 1024)
        response = await self._posted(session, payload)
        try:
            assert response.status == 200
            assert "text/event-stream" in response.headers["Content-Type"]
            async for line in response.content:
                said = line.decode().strip()
                if said.startswith("data: ") and said != "data: [DONE]":
                    yield json.loads(said.removeprefix("data: "))
        finally:
            response.close()
            await session.close()

    async def _posted(self, session: aiohttp.ClientSession, payload: Mapping[str, Any]) -> aiohttp.ClientResponse:
        return await session.request(
            "POST", f"{self._url}/chat/completions", data=json.dumps(payload), headers=self._headers(), cookies={}
        )


def payload(*messages: dict[str, Any], model: str = "inhouse") -> dict[str, Any]:
    """A question as it goes out: with the parameters of a model's settings, and usage asked for in every stream."""
    return {
        "stream": True,
        "model": model,
        "messages": [{"role": "system", "content": "You are a pirate. Answer from what you know."}, *messages],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 128,
        "stop": ["\n\nUser:"],
        "stream_options": {"include_usage": True},
    }


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_its_model_list_has_what_it_reads_of_each_model(house: tuple[Any, Any]) -> None:
    service, _ = house
    listed = run(Connection(service, service.keys["ana"]).models())
    assert [one["id"] for one in listed["data"]] == ["inhouse", "inhouse/handbook"]
    assert all(one.get("name", one["id"]) for one in listed["data"])
    assert run(Connection(service, service.keys["ana"]).verified()) == (200, listed)
    status, told = run(Connection(service, "ih_" + "A" * 43).verified())
    assert status == 401
    assert told["error"]["code"] == "invalid_api_key"


def test_its_stream_is_the_answer_to_who_has_the_key_with_sources_and_usage(house: tuple[Any, Any]) -> None:
    service, _ = house

    async def whole(*messages: dict[str, Any]) -> list[Any]:
        return [chunk async for chunk in Connection(service, service.keys["ana"]).streamed(payload(*messages))]

    chunks = run(whole({"role": "user", "content": LEAVE}))
    text = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])
    assert text == "Staff have 30 days of annual leave [1]."
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [one["choices"][0]["finish_reason"] for one in chunks if one["choices"]][-1] == "stop"
    (told,) = (one["inhouse"] for one in chunks if "inhouse" in one)
    assert told["citations"][0]["path"] == "leave.md"
    assert chunks[-1]["usage"]["total_tokens"] > 0
    record = json.loads(service.inhouse("audit", "show", told["audit_id"], "--json").stdout)
    # The key says who asks, whatever Open WebUI says of its own user.
    assert record["actor"] == "ana"
    earlier = ({"role": "user", "content": LEAVE}, {"role": "assistant", "content": text})
    parts = [{"type": "text", "text": "And how many of it do staff have?", "cache_control": {"type": "ephemeral"}}]
    went_on = run(whole(*earlier, {"role": "user", "content": parts}))
    assert next(one["inhouse"] for one in went_on if "inhouse" in one)["citations"][0]["path"] == "leave.md"


def test_its_stop_stops_the_model_and_the_log_knows(house: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    service, behaviour = house
    monkeypatch.setattr(behaviour, "text", [SENTENCE] * 600)
    monkeypatch.setattr(behaviour, "pause", 0.05)
    behaviour.cancelled.clear()

    async def stopped() -> str:
        stream = Connection(service, service.keys["ana"]).streamed(payload({"role": "user", "content": LEAVE}))
        try:
            async for chunk in stream:
                if text := chunk["choices"][0]["delta"].get("content"):
                    return str(text)
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        return ""

    assert "30 days" in run(stopped())
    assert behaviour.cancelled.wait(20)
    for _ in range(100):
        last = json.loads(service.inhouse("audit", "list", "--actor", "ana", "--limit", "1", "--json").stdout)
        if last["tag"] != "question:asked":
            break
        time.sleep(0.05)
    assert last["tag"] == "question:cancelled"


def test_what_it_asks_by_itself_and_what_it_may_not_ask_has_an_answer_that_it_understands(house: tuple[Any, Any]) -> None:
    service, _ = house
    connection = Connection(service, service.keys["ana"])
    task = "### Task:\nGenerate a concise, 3-5 word title.\n### Chat History:\n<chat_history>\nUSER: Hello\n</chat_history>"
    titled = {
        "model": "inhouse",
        "messages": [{"role": "user", "content": task}],
        "stream": False,
        "max_completion_tokens": 1000,
    }
    status, told = run(connection.completed(titled))
    assert status == 200
    assert isinstance(told["choices"][0]["message"]["content"], str)
    for wrong, code in (
        (payload({"role": "user", "content": LEAVE}, model="inhouse/board"), 404),
        ({**payload({"role": "user", "content": LEAVE}), "tools": [{"type": "function"}]}, 400),
        (payload({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}), 400),
    ):
        status, told = run(connection.completed(wrong))
        assert status == code
        assert told["error"]["message"]
