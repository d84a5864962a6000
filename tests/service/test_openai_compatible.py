"""The runtime for servers of OpenAI's protocol, against a double with faults to order and against llama.cpp's own server."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from made import source
from policies.errors import ModelRefused, ModelUnavailable, SettingsError
from service.answer.prompts import messages
from service.runtimes.factory import make_openai
from service.runtimes.interface import AnswerRequest, End, Piece, Source, Text
from service.runtimes.local_address import checked_address, somebody_listens
from service.runtimes.openai_compatible import OpenAICompatibleRuntime
from service.settings import load_settings

ANSWER = "The answer is here [1]."
PATHS = {"/api/version", "/v1/models", "/props", "/api/v0/models", "/apply-template", "/tokenize", "/v1/chat/completions"}
"""All that is asked of a server: nothing that loads, unloads, fetches or changes a model."""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a busy server is left alone is nothing that a test need wait for."""
    monkeypatch.setattr("service.runtimes.local_server._FIRST_PAUSE_SECONDS", 0.01)


def runtime(url: str, **changed: Any) -> OpenAICompatibleRuntime:
    return OpenAICompatibleRuntime(**{"model": "tiny", "url": url, "render": messages, "start_seconds": 20, **changed})


def asked(*sources: Source) -> AnswerRequest:
    return AnswerRequest("What was there?", sources or (source(1),))


async def whole(made: OpenAICompatibleRuntime, request: AnswerRequest) -> list[Piece]:
    try:
        return [piece async for piece in made.stream(await made.fit(request))]
    finally:
        await made.close()


def answer(url: str, request: AnswerRequest | None = None, **changed: Any) -> list[Piece]:
    return asyncio.run(whole(runtime(url, **changed), request or asked()))


def said(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def bodies(behaviour: Any, path: str) -> list[dict[str, Any]]:
    return [body for at, body in behaviour.requests if at == path]


def test_a_real_llama_server_is_heard_and_its_tokens_are_counted_as_it_counts_them(llama_server: tuple[str, str]) -> None:
    url, key = llama_server

    async def main() -> tuple[list[Piece], int, bool]:
        made = runtime(url, api_key=key, max_answer_tokens=24)
        prompt = messages(asked())
        made._render = lambda request: prompt
        served = await made._client.served()
        assert (served.kind, served.window) == ("llama.cpp", 2048)
        counted = await made._client.count(prompt, served.kind)
        return await whole(made, asked()), *counted

    pieces, tokens, counted = asyncio.run(main())
    end = pieces[-1]
    assert isinstance(end, End)
    assert len(said(pieces)) > 10
    assert counted
    assert (end.reason, end.prompt_tokens, end.answer_tokens) == ("length", tokens, 24)


def test_what_does_not_fit_a_real_llama_server_is_left_out_and_its_window_is_used(llama_server: tuple[str, str]) -> None:
    url, key = llama_server
    sources = [source(number, f"word{number} of leave and travel. " * 20) for number in range(1, 20)]

    async def main() -> tuple[AnswerRequest, list[Piece]]:
        made = runtime(url, api_key=key, max_answer_tokens=16)
        fitted = await made.fit(asked(*sources))
        return fitted, await whole(made, fitted)

    fitted, pieces = asyncio.run(main())
    assert fitted.sources == tuple(sources[: len(fitted.sources)])
    end = pieces[-1]
    assert isinstance(end, End)
    # One source more would have been too many, and the estimate alone would have left out a third of these.
    one = end.prompt_tokens / len(fitted.sources)
    assert 2048 - 16 - one < end.prompt_tokens <= 2048 - 16


@pytest.mark.parametrize("kind", ["vllm", "llama", "studio", "plain"])
def test_each_kind_of_server_is_asked_within_the_window_that_it_tells(openai_double: Any, kind: str) -> None:
    behaviour = openai_double.Behaviour(kind=kind, window=2048)
    sources = [source(number, f"word{number} " * 200) for number in range(1, 9)]
    with openai_double.openai_server(behaviour) as url:
        card = asyncio.run(runtime(url, context_tokens=4096, max_answer_tokens=256).card())
        assert card.context_tokens == (4096 if kind == "plain" else 2048)
        assert len(card.digest) == 64
        context = 2048 if kind == "plain" else 4096
        assert said(answer(url, asked(*sources), context_tokens=context, max_answer_tokens=256)) == ANSWER
    assert {path for path, _ in behaviour.requests} <= PATHS
    (chat,) = bodies(behaviour, "/v1/chat/completions")
    tokens = openai_double.tokens_of(chat["messages"])
    held = sum(f"word{number} " in chat["messages"][-1]["content"] for number in range(1, 9))
    one = len(sources[0].passage.text) / openai_double.TOKEN_BYTES
    if kind in ("vllm", "llama"):
        assert 2048 - 256 - one - 32 < tokens <= 2048 - 256
    else:
        # Estimated: fewer than would have fitted, and never too many.
        assert tokens <= 2048 - 256 - one
    assert 0 < held < 8


def test_the_window_is_at_most_the_one_of_the_settings(openai_double: Any) -> None:
    with openai_double.openai_server(openai_double.Behaviour(window=131072)) as url:
        assert asyncio.run(runtime(url, context_tokens=1024).card()).context_tokens == 1024
        with pytest.raises(ModelUnavailable, match="does not fit"):
            answer(url, AnswerRequest("why " * 5000, ()), context_tokens=1024)


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        ({"error_after": 2}, ModelUnavailable, "the model failed: CUDA"),
        ({"error_after": 0}, ModelUnavailable, "the model failed: CUDA"),
        ({"error_after": 2, "error_field": "error"}, ModelUnavailable, "the model failed: CUDA"),
        ({"silent_end_after": 2}, ModelUnavailable, "broke off"),
        ({"without_reason": True}, ModelUnavailable, "broke off"),
        ({"drop_after": 2}, ModelUnavailable, "not JSON"),
        ({"reason": "content_filter"}, ModelUnavailable, "without an answer"),
        ({"reported_prompt_tokens": 20}, ModelUnavailable, "cut the prompt"),
        ({"busy": 9}, ModelUnavailable, "is busy"),
        ({"kind": "llama", "loading": True}, ModelUnavailable, "still loading"),
        ({"model": "big"}, ModelUnavailable, "has no model tiny"),
        ({"kind": "ollama"}, ModelRefused, "Ollama server"),
        ({"key": "another"}, ModelRefused, "Invalid API Key"),
        ({"redirect": True}, ModelRefused, "sends elsewhere"),
        ({"whole_body": True}, ModelUnavailable, "does not stream"),
    ],
    ids=str,
)
def test_a_broken_answer_is_an_error_with_a_next_step(
    openai_double: Any, behaviour: dict[str, Any], error: type[Exception], words: str
) -> None:
    made = openai_double.Behaviour(**behaviour)
    with openai_double.openai_server(made) as url, pytest.raises(error, match=words) as caught:
        answer(url)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_a_model_that_is_gone_between_two_looks_is_an_error(openai_double: Any) -> None:
    behaviour = openai_double.Behaviour()

    async def main(url: str) -> None:
        made = runtime(url)
        served = await made._client.served()
        behaviour.model = "another"

        async def as_before() -> Any:
            return served

        made._client.served = as_before  # type: ignore[method-assign]
        await whole(made, asked())

    with openai_double.openai_server(behaviour) as url, pytest.raises(ModelUnavailable, match="does not answer as tiny"):
        asyncio.run(main(url))


@pytest.mark.parametrize(
    "changed", [{"cut_lines": True}, {"without_done": True}, {"busy": 1, "busy_status": 429, "slow_load": 0.5}], ids=str
)
def test_a_whole_answer_is_whole_however_it_comes(openai_double: Any, changed: dict[str, Any]) -> None:
    with openai_double.openai_server(openai_double.Behaviour(**changed)) as url:
        pieces = answer(url, token_seconds=0.4)
    assert said(pieces) == ANSWER
    assert isinstance(pieces[-1], End)


def test_neither_a_load_nor_a_silence_nor_signs_of_life_are_waited_for_without_end(openai_double: Any) -> None:
    limits = {
        "said nothing for 0.3 s": ({"slow_load": 30}, {"start_seconds": 0.3}),
        "said nothing for 0.4 s": ({"hang_after": 1}, {"token_seconds": 0.4}),
        "said nothing for 0.6 s": ({"hang_after": 0, "pings": 0.1}, {"start_seconds": 0.6, "token_seconds": 0.1}),
        "took too long": ({"text": ["word "] * 5000, "cut_lines": True}, {"total_seconds": 0.3}),
    }
    for words, (behaviour, seconds) in limits.items():
        with openai_double.openai_server(openai_double.Behaviour(**behaviour)) as url:
            with pytest.raises(ModelUnavailable, match=words) as caught:
                answer(url, **seconds)
            assert caught.value.hint


def test_closing_the_stream_closes_the_connection(openai_double: Any) -> None:
    behaviour = openai_double.Behaviour(text=["word "] * 50_000)

    async def leave(url: str) -> None:
        made = runtime(url)
        stream: Any = made.stream(asked())
        assert isinstance(await anext(stream), Text)
        await stream.aclose()
        await asyncio.to_thread(behaviour.cancelled.wait, 20)
        await made.close()

    with openai_double.openai_server(behaviour) as url:
        asyncio.run(leave(url))
    assert behaviour.cancelled.is_set()


def test_thoughts_are_not_shown_wherever_they_stand(openai_double: Any) -> None:
    behaviour = openai_double.Behaviour(thoughts=["secret ", "thought"], text=["<th", "ink>more</think", "> Yes", " [1]."])
    with openai_double.openai_server(behaviour) as url:
        assert said(answer(url)).strip() == "Yes [1]."
    (chat,) = bodies(behaviour, "/v1/chat/completions")
    assert chat["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_schema_is_asked_for_and_a_real_server_keeps_to_it(openai_double: Any, llama_server: tuple[str, str]) -> None:
    schema = {"type": "object", "properties": {"said": {"type": "string", "maxLength": 8}}, "required": ["said"]}
    behaviour = openai_double.Behaviour(kind="plain")
    with openai_double.openai_server(behaviour) as url:
        answer(url, answer_schema=schema)
        answer(url)
    with_schema, without = bodies(behaviour, "/v1/chat/completions")
    assert with_schema["response_format"]["json_schema"]["schema"] == schema
    assert "response_format" not in without
    # Of a server of an unknown kind nothing is asked that is not in the protocol.
    assert "chat_template_kwargs" not in without
    url, key = llama_server
    found = json.loads(said(answer(url, api_key=key, answer_schema=schema, max_answer_tokens=200)))
    assert len(found["said"]) <= 8


def test_the_description_of_the_model_can_be_pinned(openai_double: Any) -> None:
    behaviour = openai_double.Behaviour()
    with openai_double.openai_server(behaviour) as url:
        digest = asyncio.run(runtime(url).card()).digest
        assert said(answer(url, digest=f"sha256:{digest}"))
        before = len(bodies(behaviour, "/v1/chat/completions"))
        behaviour.window = 4096
        with pytest.raises(ModelRefused, match="not the model"):
            answer(url, digest=digest)
        assert len(bodies(behaviour, "/v1/chat/completions")) == before


def test_one_runtime_serves_one_event_loop_after_the_other_and_keeps_no_connection(openai_double: Any) -> None:
    behaviour = openai_double.Behaviour()
    with openai_double.openai_server(behaviour) as url:
        made = runtime(url)

        async def once() -> list[Piece]:
            return [piece async for piece in made.stream(await made.fit(asked()))]

        assert [said(asyncio.run(once())) for _ in range(3)] == [ANSWER] * 3
    assert len(behaviour.connections) == len(set(behaviour.connections)) == len(behaviour.requests)


def test_the_environment_cannot_send_a_prompt_elsewhere_or_add_a_key(
    openai_double: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    behaviour = openai_double.Behaviour()
    with openai_double.openai_server(behaviour) as url:
        assert said(answer(url)) == ANSWER
    assert behaviour.headers
    assert not any("authorization" in headers for headers in behaviour.headers)


def test_the_key_comes_from_a_file_and_goes_into_the_header_alone(openai_double: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc-123\n")
    behaviour = openai_double.Behaviour(key="abc-123")
    with openai_double.openai_server(behaviour) as url:
        config = tmp_path / "c.toml"
        words = f'[runtime]\nkind = "openai"\nmodel = "tiny"\nurl = "{url}"\napi_key_file = "{tmp_path / "key"}"\n'
        config.write_text(words)
        made = make_openai(load_settings(tmp_path, config, {}).runtime)
        assert said(asyncio.run(whole(made, asked()))) == ANSWER
    assert {headers["authorization"] for headers in behaviour.headers} == {"Bearer abc-123"}
    assert "abc-123" not in repr(behaviour.requests)
    for wrong in ("", "two words", "two\nlines", "ключ"):
        (tmp_path / "key").write_text(wrong)
        with pytest.raises(SettingsError, match="key") as caught:
            make_openai(load_settings(tmp_path, config, {}).runtime)
        assert wrong == "" or wrong not in caught.value.message
    (tmp_path / "key").unlink()
    with pytest.raises(SettingsError, match="cannot read the key"):
        make_openai(load_settings(tmp_path, config, {}).runtime)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('kind = "openai"\nurl = "http://127.0.0.1:8000"', "needs runtime.model"),
        ('kind = "openai"\nmodel = "m"', "needs runtime.url"),
        ('kind = "ollama"\nmodel = "m"\napi_key_file = "k"', "api_key_file means nothing"),
        ('kind = "openai"\nmodel = "m"\nurl = "http://127.0.0.1:8000"\ncontext_tokens = 512', "must be more than"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "inhouse.toml").write_text(f"[runtime]\n{words}\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(tmp_path, None, {})


@pytest.mark.parametrize(
    "url",
    [
        *("http://192.0.2.1:8000", "http://8.8.8.8", "ftp://127.0.0.1", "no", "", "http://", "http://127.0.0.1:99999"),
        *("http://u:p@127.0.0.1", "http://:secret@127.0.0.1", "http://secret@127.0.0.1", "http://127.0.0.1?api_key=secret"),
        *("http://127.0.0.1#x", "unix:relative", "unix://host/path", "http://[::ffff:8.8.8.8]:80", "http://10.0.0.1:80"),
        *("http://inhouse-nobody.invalid", "http://" + "a" * 70 + ".example"),
    ],
)
def test_a_server_that_is_not_inside_or_a_key_in_its_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        runtime(url)
    assert "secret" not in caught.value.message


def test_a_private_host_counts_only_where_settings_name_it_and_a_public_one_never() -> None:
    assert checked_address("http://10.0.0.1:8000/v1/", ["10.0.0.1"]).base == "http://10.0.0.1:8000/v1"
    assert checked_address("http://[::ffff:127.0.0.1]:8000", []).base == "http://127.0.0.1:8000"
    assert checked_address("http://[::1]:8000", []).host == "[::1]:8000"
    assert checked_address("https://127.0.0.1", []).base == "https://127.0.0.1:443"
    assert checked_address("unix:///run/llm.sock", []).socket_path == "/run/llm.sock"
    for public in ("8.8.8.8", "::ffff:8.8.8.8", "2001:4860:4860::8888"):
        url = f"http://[{public}]:80" if ":" in public else f"http://{public}"
        with pytest.raises(SettingsError, match="not inside"):
            checked_address(url, [public])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for `localhost` alone that signs itself, and what a server needs of it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate: install your system's package `openssl`")
    made, key = (tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem"))
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


def test_with_https_the_server_must_have_its_name_in_a_certificate_that_settings_trust(
    openai_double: Any, certificate: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    trusted, context = certificate
    behaviour = openai_double.Behaviour()
    with openai_double.openai_server(behaviour, context) as url:
        named = url.replace("127.0.0.1", "localhost")
        assert said(answer(named, ca_file=trusted)) == ANSWER
        asked_before = len(behaviour.requests)
        for wrong, file in ((named, None), (url, trusted)):
            with pytest.raises(ModelRefused, match="certificate") as caught:
                answer(wrong, ca_file=file, api_key="secret")
            assert "runtime.ca_file" in caught.value.hint
        assert len(behaviour.requests) == asked_before
    (tmp_path / "none.pem").write_text("no certificate")
    for file in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        with pytest.raises(SettingsError, match="cannot use"):
            runtime(named, ca_file=file)


@pytest.mark.parametrize(
    ("found", "allowed", "base"),
    [
        (["::1", "127.0.0.1"], [], "http://127.0.0.1:8000"),
        (["fd00::7", "10.0.0.7"], ["gpu.lan"], "http://10.0.0.7:8000"),
        (["fd00::7"], ["gpu.lan"], "http://[fd00::7]:8000"),
        (["127.0.0.1", "10.0.0.7"], [], None),
        (["10.0.0.7", "8.8.8.8"], ["gpu.lan"], None),
    ],
)
def test_a_name_counts_with_all_of_its_addresses_and_the_one_that_servers_listen_on_is_taken(
    monkeypatch: pytest.MonkeyPatch, found: list[str], allowed: list[str], base: str | None
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (address, 8000)) for address in found])
    if base is None:
        with pytest.raises(SettingsError, match="not inside"):
            checked_address("http://gpu.lan:8000", allowed)
    else:
        assert checked_address("http://gpu.lan:8000", allowed).base == base


def test_a_cloud_model_is_refused_by_its_name() -> None:
    with pytest.raises(ModelRefused, match="outside"):
        runtime("http://127.0.0.1:1", model="gpt-oss:120b-cloud")


def test_nobody_there_says_what_to_do() -> None:
    with pytest.raises(ModelUnavailable, match="no model server answers") as caught:
        answer("http://127.0.0.1:9")
    assert "Start it" in caught.value.hint


def test_a_socket_file_that_an_ended_process_left_is_told_from_one_that_is_heard(tmp_path: Path) -> None:
    socket_file = tmp_path / "s"
    assert not somebody_listens(socket_file)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(socket_file))
        listening.listen(1)
        assert somebody_listens(socket_file)
    assert socket_file.exists()
    assert not somebody_listens(socket_file)
