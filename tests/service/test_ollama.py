"""The Ollama runtime against a server that speaks the protocol over a real socket, llama.cpp behind it."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import ollama
import pytest

from made import source
from policies.errors import ModelRefused, ModelUnavailable, SettingsError
from service.answer.prompts import messages
from service.runtimes.interface import AnswerRequest, End, Piece, Source, Text
from service.runtimes.ollama import OllamaRuntime


def _load_server() -> Any:
    name = "ollama_server_for_tests"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("ollama_server.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_SERVER = _load_server()
Behaviour, ollama_server = _SERVER.Behaviour, _SERVER.ollama_server
WORDS = ["The ", "answer ", "is ", "here [1]."]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a busy server is left alone is nothing that a test need wait for."""
    monkeypatch.setattr("service.runtimes.local_server._FIRST_PAUSE_SECONDS", 0.01)


def runtime(url: str, **changed: Any) -> OllamaRuntime:
    return OllamaRuntime(**{"model": "tiny", "url": url, "render": messages, "start_seconds": 20, **changed})


def asked(*sources: Source) -> AnswerRequest:
    return AnswerRequest("What was there?", sources or (source(1),))


def answer(url: str, request: AnswerRequest | None = None, **changed: Any) -> list[Piece]:
    async def whole() -> list[Piece]:
        made = runtime(url, **changed)
        try:
            fitted = await made.fit(request or asked())
            return [piece async for piece in made.stream(fitted)]
        finally:
            await made.close()

    return asyncio.run(whole())


def said(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


@pytest.mark.parametrize("cut_lines", [False, True])
def test_a_real_model_is_heard_to_its_end(llama: Any, cut_lines: bool) -> None:
    with ollama_server(llama, Behaviour(cut_lines=cut_lines)) as url:
        pieces = answer(url, max_answer_tokens=24)
    assert len(said(pieces)) > 10
    end = pieces[-1]
    assert isinstance(end, End)
    assert end.reason == "length"
    assert end.prompt_tokens > 50
    assert end.answer_tokens > 5


def test_every_call_names_the_same_window_and_forbids_cutting() -> None:
    behaviour = Behaviour(text=WORDS)
    with ollama_server(None, behaviour) as url:
        answer(url, context_tokens=8192)
        answer(url, asked(source(1), source(2)), context_tokens=8192)
    chats = [body for path, body in behaviour.requests if path == "/api/chat"]
    assert [body["options"]["num_ctx"] for body in chats] == [2048, 2048]
    assert all(body["truncate"] is False and body["shift"] is False and body["think"] is False for body in chats)


def test_what_does_not_fit_is_left_out_whole_and_the_best_stays() -> None:
    sources = [source(number, f"word{number} " * 200) for number in range(1, 9)]
    behaviour = Behaviour(text=WORDS)
    with ollama_server(None, behaviour) as url:
        fitted = asyncio.run(runtime(url).fit(asked(*sources)))
        assert 0 < len(fitted.sources) < 8
        assert [one.number for one in fitted.sources] == list(range(1, len(fitted.sources) + 1))
        with pytest.raises(ModelUnavailable, match="does not fit"):
            asyncio.run(runtime(url).fit(AnswerRequest("why " * 5000, sources)))


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        (Behaviour(text=WORDS, error_after=2), ModelUnavailable, "the model failed"),
        (Behaviour(text=WORDS, silent_end_after=2), ModelUnavailable, "broke off"),
        (Behaviour(text=WORDS, drop_after=2), ModelUnavailable, "not JSON"),
        (Behaviour(text=WORDS, done_reason="load"), ModelUnavailable, "without an answer"),
        (Behaviour(text=WORDS, reported_prompt_tokens=20), ModelUnavailable, "cut the prompt"),
        (Behaviour(text=WORDS, busy=9), ModelUnavailable, "busy"),
        (Behaviour(text=WORDS, model="other:latest"), ModelUnavailable, "has no model tiny:latest"),
        (Behaviour(text=WORDS, remote_host="https://example.invalid"), ModelRefused, "outside this network"),
        (Behaviour(text=WORDS, remote_in_stream=True), ModelRefused, "outside this network"),
        (Behaviour(text=WORDS, cloud_disabled=False), ModelRefused, "may send prompts"),
        (Behaviour(text=WORDS, cloud_disabled=None), ModelRefused, "does not say"),
        (Behaviour(text=WORDS, redirect=True), ModelRefused, "sends elsewhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_or_foreign_answer_is_refused(behaviour: Any, error: type[Exception], words: str) -> None:
    with ollama_server(None, behaviour) as url, pytest.raises(error, match=words) as caught:
        answer(url)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_a_busy_server_is_asked_again_before_the_first_word_and_a_slow_load_is_waited_for() -> None:
    behaviour = Behaviour(text=WORDS, busy=2, slow_load=0.5)
    with ollama_server(None, behaviour) as url:
        assert said(answer(url)) == "The answer is here [1]."


def test_a_load_longer_than_the_limit_is_an_error_with_a_next_step() -> None:
    with ollama_server(None, Behaviour(text=WORDS, slow_load=30)) as url, pytest.raises(ModelUnavailable):
        answer(url, start_seconds=0.5)


def test_closing_the_stream_reaches_the_server(llama: Any) -> None:
    behaviour = Behaviour()

    async def leave(url: str) -> None:
        made = runtime(url, max_answer_tokens=1500)
        stream: Any = made.stream(asked())
        assert isinstance(await anext(stream), Text)
        await stream.aclose()
        await made.close()

    with ollama_server(llama, behaviour) as url:
        asyncio.run(leave(url))
        assert behaviour.cancelled.wait(20)


def test_another_digest_than_the_pinned_one_is_refused() -> None:
    with ollama_server(None, Behaviour(text=WORDS)) as url:
        assert said(answer(url, digest="ab" * 32))
        with pytest.raises(ModelRefused, match="not the model"):
            answer(url, digest="cd" * 32)


def test_thoughts_are_not_shown_however_packets_cut_them() -> None:
    with ollama_server(None, Behaviour(text=["<th", "ink>se", "cret</thi", "nk> Yes", " < no <t", "!"])) as url:
        assert said(answer(url)).strip() == "Yes < no <t!"


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi:Cloud", "x:CLOUD"])
def test_a_cloud_model_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ModelRefused, match="outside"):
        runtime("http://127.0.0.1:1", model=name)


@pytest.mark.parametrize("url", ["http://192.0.2.1:11434", "http://8.8.8.8", "ftp://127.0.0.1", "http://u:p@127.0.0.1", "no"])
def test_a_server_that_is_not_inside_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        runtime(url)


def test_the_environment_cannot_send_a_prompt_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    behaviour = Behaviour(text=WORDS)
    with ollama_server(None, behaviour) as url:
        assert said(answer(url))
    assert behaviour.headers
    assert not any("authorization" in headers for headers in behaviour.headers)


def test_nobody_there_says_what_to_start() -> None:
    with pytest.raises(ModelUnavailable, match="no model server answers") as caught:
        answer("http://127.0.0.1:9")
    assert "ollama serve" in caught.value.hint


def test_the_server_of_these_tests_speaks_as_the_client_of_ollama_itself_reads(llama: Any) -> None:
    """The official client parses strictly what it knows: a double that drifted from the protocol would be refused here."""
    with ollama_server(llama, Behaviour()) as url, ollama.Client(host=url, trust_env=False, timeout=60) as client:
        (listed,) = client.list().models
        assert (listed.model, listed.digest) == ("tiny:latest", Behaviour().digest)
        shown = client.show("tiny:latest")
        assert shown.capabilities == ["completion"]
        assert shown.modelinfo == {"llama.context_length": 2048}
        said = [{"role": "user", "content": "Once upon a time"}]
        parts = list(client.chat("tiny:latest", said, stream=True, options={"num_predict": 8}))
        assert "".join(one.message.content or "" for one in parts).strip()
        assert [one.done for one in parts] == [False] * (len(parts) - 1) + [True]
        assert parts[-1].done_reason == "length"
        assert (parts[-1].prompt_eval_count or 0) > 0
        with pytest.raises(ollama.ResponseError, match="not found"):
            client.show("other:latest")
