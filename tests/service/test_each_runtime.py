"""The same question over the same documents, answered by each runtime: what holds of an answer holds whoever wrote it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from policies.audit.query import records
from policies.audit.records import Record
from policies.identity import Principal
from service.answer.types import Answer, Done
from service.runtimes.model_files import ModelFolder
from service.settings import load_settings
from service.wiring import Installation
from vectorstore.types import PassageId

LEAVE = "How many days of annual leave do staff have?"
SAID = "Staff have 30 days of annual leave [1]. Staff have 45 days of annual leave [1]. Requests go to the line manager [9]."
KEY = "key-of-this-test"
RUNTIMES = """
[models.also.ollama]
kind = "ollama"
model = "tiny"
url = "{ollama}"
max_answer_tokens = 256

[models.also.server]
kind = "openai"
model = "tiny"
url = "{server}"
api_key_file = "{key}"
max_answer_tokens = 256

[models.also.process]
kind = "llamacpp"
model = "tiny"
context_tokens = 2048
max_answer_tokens = 256
"""
NAMES = {
    "default": ("extractive", "extractive"),
    "ollama": ("ollama", "tiny:latest"),
    "server": ("openai", "tiny"),
    "process": ("llamacpp", "tiny"),
}


@pytest.fixture(scope="module")
def xllamacpp() -> Iterator[ModuleType]:
    """The library, with which every model says what `SAID` has, letter by letter: the only thing that its grammar allows. It
    reads and writes tokens as ever."""
    library: ModuleType = pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    plain = library.CommonParams

    def guided() -> Any:
        parameters = plain()
        grammar = parameters.sampling.grammar
        grammar.grammar = f"root ::= {json.dumps(SAID)}"
        parameters.sampling.grammar = grammar
        return parameters

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(library, "CommonParams", guided)
        yield library


@pytest.fixture(scope="module")
def llama_cpp(xllamacpp: ModuleType, tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """llama.cpp's own server of OpenAI's protocol."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias = str(tiny_gguf), {"tiny"}
    parameters.n_ctx, parameters.verbosity, parameters.offline, parameters.ui = 2048, 0, True, False
    parameters.cache_ram_mib = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames, parameters.api_keys = [str(tmp_path_factory.mktemp("e") / "l.sock")], [KEY]
    parameters.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    server = xllamacpp.Server(parameters)
    # One that is let go before it has worked hangs its process.
    server.handle_completions({"prompt": "a", "max_tokens": 1})
    return server


@dataclass(frozen=True)
class Answered:
    """An answer with its first and its last record, and the text of what was retrieved for it by document and span."""

    answer: Answer
    asked: Record
    ended: Record
    retrieved: dict[tuple[str, int, int, int], str]


@pytest.fixture(scope="module")
def answers(
    llama_cpp: Any,
    tiny_gguf: Path,
    model_double: ModuleType,
    make_indexed: Callable[[Path], tuple[Path, Path, dict[str, str]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Answered]]:
    """What each runtime answered somebody who may read everything that there is."""
    data, _, _ = make_indexed(tmp_path_factory.mktemp("a"))
    ModelFolder(data).add(tiny_gguf, "tiny", None, lambda done, whole: None, threading.Event())
    (data / "key").write_text(KEY, encoding="utf-8")
    with model_double.ollama_server(llama_cpp, model_double.Behaviour()) as ollama:
        rules = "".join(f'[[models.rules]]\nuse = "{name}"\nchosen = true\n' for name in NAMES)
        text = RUNTIMES.format(ollama=ollama, server=llama_cpp.listening_address, key=data / "key")
        (data / "inhouse.toml").write_text(text + rules, encoding="utf-8")
        with Installation(data, load_settings(data, None, {})) as installation:
            dora = installation.principal("dora")
            yield {name: asyncio.run(answered(installation, dora, name)) for name in NAMES}


async def answered(installation: Installation, principal: Principal, name: str) -> Answered:
    stream = installation.engine.answer(LEAVE, principal, wanted=name)
    (answer,) = [event.answer async for event in stream if isinstance(event, Done)]
    ended, asked = islice(records(installation.directory / "audit", newest_first=True), 2)
    ids = [PassageId(one) for one in asked.payload["passages"]]
    found = installation.store.fetch(ids, installation.answerable(principal)).values()
    retrieved = {(str(one.document), one.version, one.start, one.end): one.text for one in found}
    if hasattr(runtime := installation.runtimes[name], "close"):
        await runtime.close()
    return Answered(answer, asked, ended, retrieved)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_says_what_the_documents_say_and_cites_only_what_was_retrieved(
    answers: dict[str, Answered], name: str
) -> None:
    found = answers[name]
    answer = found.answer
    assert not answer.refused
    assert "Staff have 30 days of annual leave" in answer.answer
    assert {cited.path for cited in answer.citations} == {"leave.md"}
    for cited in answer.citations:
        inside = [
            text[cited.start - start : cited.end - start]
            for (document, version, start, end), text in found.retrieved.items()
            if (document, version) == (cited.document, cited.version) and start <= cited.start < cited.end <= end
        ]
        assert inside == [cited.quote]
        assert cited.classification == "internal"
    assert {number for number in range(100) if f"[{number}]" in answer.answer} == {cited.number for cited in answer.citations}


@pytest.mark.parametrize("name", sorted({*NAMES} - {"default"}))
def test_what_a_model_says_without_support_is_left_out_and_told(answers: dict[str, Answered], name: str) -> None:
    answer = answers[name].answer
    assert answer.answer == "Staff have 30 days of annual leave [1]."
    assert [one.partition(" (")[0] for one in answer.unsupported] == [
        "Staff have 45 days of annual leave.",
        "Requests go to the line manager.",
    ]
    assert answers[name].ended.payload["citations_dropped"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_names_its_model_and_is_in_the_log_with_its_citations(answers: dict[str, Answered], name: str) -> None:
    found = answers[name]
    answer, asked, ended = found.answer, found.asked, found.ended
    assert (answer.runtime, answer.model, answer.instead_of) == (*NAMES[name], "")
    assert (asked.tag, ended.tag, asked.actor) == ("question:asked", "question:answered", "dora")
    assert (asked.payload["runtime"], asked.payload["model"], asked.payload["chosen"]) == (*NAMES[name], name)
    assert len(asked.payload["digest"].removeprefix("sha256:")) == 64
    assert answer.passages == len(asked.payload["passages"]) > 0
    assert ended.payload["question"] == asked.id == answer.audit_id
    assert ended.payload["citations"] == [[one.document, one.version, one.start, one.end] for one in answer.citations]
