"""A GGUF in the process: what is looked at before it is loaded, who can reach it, and how an answer ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from made import source
from policies.errors import DataDirectoryError, ModelRefused, ModelUnavailable, NotFoundError, SettingsError
from service.answer.prompts import messages
from service.runtimes.gguf import read_header
from service.runtimes.interface import AnswerRequest, End, Piece, Text
from service.runtimes.llama_generation import Generation
from service.runtimes.llamacpp import LlamaCppRuntime
from service.runtimes.patience import Patience
from service.settings import load_settings
from service.wiring import Installation

SCHEMA = {
    "type": "object",
    "properties": {"said": {"type": "string", "maxLength": 8}, "source": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["said", "source"],
    "additionalProperties": False,
}


def runtime(directory: Path, **changed: Any) -> LlamaCppRuntime:
    limits = {"context_tokens": 2048, "max_answer_tokens": 24}
    return LlamaCppRuntime(**{"directory": directory, "model": "tiny", "render": messages, **limits, **changed})


def asked(text: str = "Once upon a time there was a dog.", question: str = "What was there?") -> AnswerRequest:
    return AnswerRequest(question, (source(1, text),))


def answer(made: LlamaCppRuntime, request: AnswerRequest | None = None) -> list[Piece]:
    async def whole() -> list[Piece]:
        try:
            return [piece async for piece in made.stream(await made.fit(request or asked()))]
        finally:
            await made.close()

    return asyncio.run(whole())


def said(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


def test_an_answer_is_counted_as_the_model_counts_and_nothing_is_written_beside_it(
    gguf_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = runtime(gguf_data)
    prompt = messages(asked())
    made._render = lambda request: prompt

    async def main() -> tuple[list[Piece], tuple[int, bool]]:
        loaded = await made._ready()
        counted = await loaded.client.count(prompt, "llama.cpp")
        return [piece async for piece in made.stream(asked())], counted

    pieces, (tokens, counted) = asyncio.run(main())
    end = pieces[-1]
    assert counted
    assert isinstance(end, End)
    assert (end.reason, end.prompt_tokens, end.answer_tokens) == ("length", tokens, 24)
    assert len(said(pieces)) > 10
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks at the sockets of a process as Linux shows them")
def test_its_listener_is_a_socket_of_its_owner_s_alone_with_a_key_and_nothing_on_the_network(gguf_data: Path) -> None:
    made = runtime(gguf_data)
    before = listening()
    made.load()
    (at,) = (gguf_data / "llama").iterdir()
    assert stat.S_IMODE(at.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(at.stat().st_mode) == 0o600
    assert listening() == before
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(at)), base_url="http://localhost", trust_env=False) as client:
        for path in ("/props", "/slots", "/metrics"):
            assert client.get(path).status_code == 401
        for path in ("/v1/chat/completions", "/tokenize", "/apply-template"):
            headers = {"Authorization": "Bearer key"}
            assert client.post(path, json={"messages": [], "content": ""}, headers=headers).status_code == 401
        assert client.get("/").status_code in (401, 404)
    asyncio.run(made.close())
    assert not at.exists()


def listening() -> list[str]:
    """The TCP sockets that this process listens on."""
    own = set()
    for handle in Path("/proc/self/fd").iterdir():
        try:
            own.add(os.readlink(handle))
        except OSError:
            continue
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]]
    return sorted(row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own)


def test_a_socket_that_was_left_behind_is_removed_and_one_that_is_heard_is_left_alone(gguf_data: Path) -> None:
    folder = gguf_data / "llama"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(folder / "gone.sock"))
        gone.listen(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(folder / "other.sock"))
        other.listen(1)
        made = runtime(gguf_data)
        made._socket = folder / "gone.sock"
        assert said(answer(made))
        assert [path.name for path in folder.iterdir()] == ["other.sock"]


def test_two_models_are_loaded_side_by_side(gguf_data: Path) -> None:
    first, second = runtime(gguf_data), runtime(gguf_data, context_tokens=1024)
    first.load()
    assert said(answer(second))
    assert said(answer(first))


def test_a_path_that_is_too_long_for_a_socket_is_said(gguf_data: Path) -> None:
    made = runtime(gguf_data)
    made._socket = gguf_data / ("x" * 100) / "model.sock"
    with pytest.raises(DataDirectoryError, match="too long"):
        made.load()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"), "not what was added"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes and was added with"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.with_suffix(".json").write_text('{"form": 2}'), "unknown form"),
    ],
    ids=["a changed byte", "a byte less", "no file", "another form"],
)
def test_a_file_that_is_not_the_one_that_was_added_is_not_loaded(
    gguf_data: Path, change: Callable[[Path], None], words: str
) -> None:
    change(gguf_data / "models" / "gguf" / "tiny.gguf")
    with pytest.raises(ModelRefused, match=words) as caught:
        runtime(gguf_data).load()
    assert "models add FILE.gguf" in caught.value.hint
    assert not (gguf_data / "llama").exists()


def test_a_model_that_was_not_added_or_not_pinned_and_a_missing_library_are_said_at_once(
    gguf_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("other", "../tiny", ""):
        with pytest.raises(NotFoundError, match="no model"):
            runtime(gguf_data, model=name)
    with pytest.raises(ModelRefused, match="not the model"):
        runtime(gguf_data, digest="ab" * 32)
    runtime(gguf_data, digest=f"sha256:{runtime(gguf_data)._known.sha256}")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(SettingsError, match="not installed") as caught:
        runtime(gguf_data)
    assert "inhouse[gguf]" in caught.value.hint


def test_what_llama_cpp_cannot_load_is_an_error_with_a_next_step(gguf_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = runtime(gguf_data)
    (gguf_data / "no-model").write_bytes(b"GGUF")
    monkeypatch.setattr(made._files, "verified", lambda name: gguf_data / "no-model")
    with pytest.raises(ModelUnavailable, match="cannot load tiny") as caught:
        made.load()
    assert "context_tokens" in caught.value.hint


def test_memory_is_what_settings_allow(gguf_data: Path) -> None:
    words = 'kind = "llamacpp"\nmodel = "tiny"\ncontext_tokens = 1024\nparallel_answers = 2\nprompt_cache_mb = 3\nthreads = 1\n'
    (gguf_data / "inhouse.toml").write_text(f"[runtime]\n{words}[embedding]\nkind = 'hashing'\n")
    settings = load_settings(gguf_data, None, {})
    with Installation(gguf_data, settings, serving=True) as installation:
        made = installation.runtime
        assert isinstance(made, LlamaCppRuntime)
        # A service has it loaded before it listens.
        assert made._loaded is not None
        served = asyncio.run(made._loaded.client.served())
        assert (served.kind, served.window) == ("llama.cpp", 1024)
        assert asyncio.run(made.card()).context_tokens == 1024
        import xllamacpp

        given = made._parameters(xllamacpp.CommonParams(), gguf_data, "key")
        assert (given.n_ctx, given.n_parallel, given.cache_ram_mib) == (2048, 2, 3)
        assert (given.offline, given.ui, given.ctx_shift) == (True, False, False)
    assert made._loaded is None
    # Not more than the model was trained for.
    assert asyncio.run(runtime(gguf_data, context_tokens=100_000).card()).context_tokens == 8192


def test_what_does_not_fit_is_an_error_and_never_cut(gguf_data: Path) -> None:
    made = runtime(gguf_data, context_tokens=600)

    async def main() -> None:
        with pytest.raises(ModelUnavailable, match="does not fit"):
            await made.fit(asked(question="why " * 500))
        with pytest.raises(ModelUnavailable, match="longer than the model's window"):
            await anext(aiter(made.stream(asked("dog " * 500))))
        # Nor does the library cut it, should the count ever be wrong.
        loaded = await made._ready()
        body = {"messages": [{"role": "user", "content": "dog " * 900}], "stream": True}
        with pytest.raises(ModelUnavailable, match="longer than the model's window"):
            await Generation(loaded.server, body, threading.Semaphore()).next(Patience(20, 20, 20))
        await made.close()

    asyncio.run(main())


def test_an_answer_to_a_json_schema_is_json_that_it_allows_even_of_a_model_that_tells_stories(gguf_data: Path) -> None:
    found = json.loads(said(answer(runtime(gguf_data, answer_schema=SCHEMA, max_answer_tokens=200))))
    assert set(found) == {"said", "source"}
    assert len(found["said"]) <= 8
    assert found["source"] in (1, 2, 3)


def test_a_schema_that_is_none_is_an_error(gguf_data: Path) -> None:
    with pytest.raises(ModelUnavailable, match="the model failed"):
        answer(runtime(gguf_data, answer_schema={"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}))


class Slow:
    """A library whose model speaks when it is told to."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.speak = threading.Event()
        self.stopped = threading.Event()

    def handle_chat_completions(self, body: Any, hear: Callable[[Any], bool]) -> None:
        self.begun.append(body["number"])
        self.speak.wait(20)
        if hear({"choices": [{"delta": {"content": "word"}}]}):
            self.stopped.set()


def test_one_more_than_may_be_written_waits_its_turn_and_can_leave_before_it_comes() -> None:
    library, slots = Slow(), threading.Semaphore(1)

    async def main() -> None:
        first, second, third = (Generation(library, {"number": number}, slots) for number in range(3))
        second.leave()
        with pytest.raises(ModelUnavailable, match=r"said nothing for 0\.3 s") as caught:
            await third.next(Patience(0.3, 1, 5))
        assert "start_seconds" in caught.value.hint
        assert library.begun == [0]
        library.speak.set()
        patience = Patience(20, 20, 20)
        assert await first.next(patience) == {"choices": [{"delta": {"content": "word"}}]}
        assert await first.next(patience) is None
        assert await third.next(patience) is not None
        assert library.begun == [0, 2]

    asyncio.run(main())


def test_who_leaves_as_the_turn_comes_keeps_nobody_busy() -> None:
    library, made, ready = Slow(), [], threading.Event()

    class Slots(threading.Semaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            ready.wait(20)
            made[0].leave()
            return super().acquire(blocking, timeout)

    async def main() -> None:
        made.append(Generation(library, {"number": 0}, Slots()))
        ready.set()
        assert await made[0].next(Patience(20, 20, 20)) is None

    asyncio.run(main())
    assert library.begun == []


def test_closing_the_stream_stops_the_model_while_everything_else_goes_on(gguf_data: Path) -> None:
    made = runtime(gguf_data, context_tokens=8192, max_answer_tokens=7000)

    async def main() -> None:
        loaded = await made._ready()
        stream: Any = made.stream(asked())
        assert isinstance(await anext(stream), Text)
        await stream.aclose()
        # There is one slot, which the next answer gets when this one has stopped.
        body = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 1, "stream": True}
        assert await Generation(loaded.server, body, made._slots).next(Patience(20, 20, 20)) is not None
        # The second may have ended by now too.
        assert ends[0] < 7000
        await made.close()

    ends: list[int] = []
    made.load()
    assert made._loaded is not None
    made._loaded = dataclasses.replace(made._loaded, server=Counting(made._loaded.server, ends))
    asyncio.run(main())


class Counting:
    """The library, and of each answer that has ended how many chunks it had."""

    def __init__(self, server: Any, ends: list[int]) -> None:
        self._server = server
        self._ends = ends

    def handle_chat_completions(self, body: Any, hear: Callable[[Any], bool]) -> None:
        heard: list[Any] = []

        def counted(chunk: Any) -> bool:
            heard.append(chunk)
            return hear(chunk)

        self._server.handle_chat_completions(body, counted)
        self._ends.append(len(heard))


def test_whoever_leaves_stops_the_model_at_its_next_word() -> None:
    library = Slow()

    async def main() -> None:
        left = Generation(library, {"number": 0}, threading.Semaphore(1))
        while not library.begun:
            await asyncio.sleep(0.01)
        left.leave()

    asyncio.run(main())
    # The loop that listened has ended, which must not keep the model going either.
    library.speak.set()
    assert library.stopped.wait(20)


def test_what_the_library_says_in_no_known_form_ends_the_answer_as_an_error() -> None:
    class Odd:
        def handle_chat_completions(self, body: Any, hear: Callable[[Any], bool]) -> None:
            assert hear(7) is True

    class Failing:
        def handle_chat_completions(self, body: Any, hear: Callable[[Any], bool]) -> None:
            raise RuntimeError("output does not match: secret words of an answer")

    async def main() -> None:
        patience = Patience(20, 20, 20)
        assert await Generation(Odd(), {}, threading.Semaphore()).next(patience) is None
        with pytest.raises(ModelUnavailable, match="RuntimeError") as caught:
            await Generation(Failing(), {}, threading.Semaphore()).next(patience)
        assert "secret" not in caught.value.message + caught.value.hint

    asyncio.run(main())


LEAVING = """
import asyncio, sys
from pathlib import Path
from service.answer.prompts import messages
from service.runtimes.interface import AnswerRequest, Text
from service.runtimes.llamacpp import LlamaCppRuntime

async def main():
    made = LlamaCppRuntime(directory=Path(sys.argv[1]), model="tiny", render=messages, max_answer_tokens=6000)
    stream = made.stream(AnswerRequest("Why?", ()))
    assert isinstance(await anext(stream), Text)
    if sys.argv[2] == "close":
        await stream.aclose()

asyncio.run(main())
print("left")
"""


@pytest.mark.parametrize("how", ["close", "end"])
def test_a_process_that_leaves_in_the_middle_of_an_answer_ends_in_order(gguf_data: Path, how: str) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING, str(gguf_data), how], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def field(name: str, value: str | int | list[str]) -> bytes:
    if isinstance(value, str):
        return text(name) + struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return text(name) + struct.pack("<II", 4, value)
    return text(name) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(one) for one in value)


def gguf(*, version: int = 3, kind: int = 0, data: int = 256, tensors: int = 1, **fields: Any) -> bytes:
    """A file of one tensor of 8 x 8 values with `data` bytes of them."""
    names = {"general__architecture": "llama", "general__name": "Tiny", "llama__context_length": 512, **fields}
    told = [field(name.replace("__", "."), value) for name, value in names.items() if value is not None]
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(told)) + b"".join(told)
    head += text("w") + struct.pack("<IQQIQ", 2, 8, 8, kind, 0)
    return head + b"\0" * (-len(head) % 32) + b"\1" * data


def header(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    with path.open("rb") as file:
        return read_header(file)


def test_a_header_tells_what_must_be_known_before_a_model_is_loaded(tmp_path: Path) -> None:
    found = header(tmp_path / "m", gguf(tokenizer__chat_template="{{ m }}" * 2000, tokenizer__ggml__tokens=["a", "é"] * 500))
    assert (found.architecture, found.title, found.context_tokens, found.chat_template) == ("llama", "Tiny", 512, True)
    found = header(tmp_path / "m", gguf(version=2, llama__context_length=None, kind=8, data=68))
    assert (found.context_tokens, found.chat_template) == (None, False)
    # Of a type that is newer than this program only the beginning of a tensor is known.
    assert header(tmp_path / "m", gguf(kind=99, data=1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too short"),
        (b"<!DOCTYPE html><html>", "does not begin with GGUF"),
        (gguf(version=1), "version 1"),
        (gguf(data=255), "should have at least"),
        (gguf()[:60], "ends within its header"),
        (gguf(tensors=0), "names 0 tensors"),
        (gguf(tensors=2**40), "tensors"),
        (gguf(split__count=3), "one of 3 parts"),
        (gguf(llama__pooling_type=1), "vectors, not text"),
        (gguf(general__architecture="bert"), "vectors, not text"),
        (gguf(general__architecture=None), "architecture"),
        (gguf(general__alignment=0), "alignment"),
        (gguf(odd=7)[:24] + text("x") + struct.pack("<I", 77) + gguf(), "unknown type 77"),
        (gguf()[:24] + text("x") + struct.pack("<IIQ", 9, 0, 2**62) + gguf(), "ends within its header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_usable_model_is_refused_with_its_reason(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ModelRefused, match=words) as caught:
        header(tmp_path / "m", content)
    assert caught.value.hint


def test_no_damage_to_a_header_gives_anything_but_a_refusal_or_a_header(tmp_path: Path) -> None:
    chance = random.Random(8)
    whole = gguf(tokenizer__ggml__tokens=["a", "b"], general__alignment=32)
    refused = 0
    for _ in range(400):
        content = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(content) or 1)
            content[at : at + 1] = bytes([chance.randrange(256)])
        try:
            header(tmp_path / "m", bytes(content))
        except ModelRefused:
            refused += 1
    assert 200 < refused < 400
