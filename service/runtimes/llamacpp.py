"""A GGUF in this process, by llama.cpp: checked before it is loaded, heard by nobody outside, stopped when nobody listens."""

from __future__ import annotations

import importlib.util
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from policies.errors import DataDirectoryError, ModelRefused, ModelUnavailable, SettingsError
from service.runtimes.interface import AnswerRequest, ModelCard, Piece, Text
from service.runtimes.llama_generation import Generation
from service.runtimes.local_address import somebody_listens
from service.runtimes.model_files import ModelFolder
from service.runtimes.openai_client import OpenAIClient
from service.runtimes.openai_reply import Reply, chat_body
from service.runtimes.patience import Patience
from service.runtimes.window import fitted

Render = Callable[[AnswerRequest], list[dict[str, str]]]
_LONGEST_SOCKET_PATH = 100
_HTTP_THREADS = 2
_PLAIN_TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
"""For a model that brings no chat template: it was trained on plain text, and reads plain text."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model in memory: the library's server, the wire to its socket, and the window of one answer in tokens."""

    server: Any
    client: OpenAIClient
    window: int


class LlamaCppRuntime:
    """Answers with a model of the data directory's own (docs/how-to/gguf.md).

    The library always opens a listener: it is a Unix socket in a folder that is its owner's alone, with a key that nobody is
    told, and never TCP. It is used for counting tokens; answers are written in the process. `parallel` answers are written
    side by side, each in a window of its own. With `answer_schema`, a JSON schema, answers are JSON that it allows. Raises
    SettingsError without the library, NotFoundError where the model was not added.
    """

    def __init__(
        self,
        *,
        directory: Path,
        model: str,
        render: Render,
        digest: str | None = None,
        context_tokens: int = 8192,
        max_answer_tokens: int = 512,
        parallel: int = 1,
        prompt_cache_mb: int = 0,
        threads: int = 1,
        answer_schema: Mapping[str, Any] | None = None,
        start_seconds: float = 300,
        token_seconds: float = 60,
        total_seconds: float = 900,
    ) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise SettingsError(
                "runtime.kind = 'llamacpp' needs llama.cpp, which is not installed", hint="Install the extra: inhouse[gguf]."
            )
        self._files = ModelFolder(directory)
        self._known = self._files.show(model)
        if digest is not None and self._known.sha256 != digest.removeprefix("sha256:"):
            raise ModelRefused(
                f"{model} is not the model that settings name: its SHA-256 is {self._known.sha256[:12]}…",
                hint="Put the old model back, or set runtime.digest after checking the new one.",
            )
        # Of its own: more than one model may be loaded, or one twice with different windows.
        self._socket = directory / "llama" / f"{secrets.token_hex(4)}.sock"
        self._render = render
        # What the model was trained for is the most that it understands.
        self._context = min(context_tokens, self._known.context_tokens or context_tokens)
        self._answer_tokens = max_answer_tokens
        self._parallel = parallel
        self._prompt_cache_mb = prompt_cache_mb
        self._threads = threads
        self._answer_schema = answer_schema
        self._seconds = (start_seconds, token_seconds, total_seconds)
        self._slots = threading.Semaphore(parallel)
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None

    def load(self) -> None:
        """Checks the file and loads it, unless it is loaded. The library holds up every thread of the process meanwhile, so a
        service calls this before it listens. Raises ModelRefused for a file that is not the one that was added,
        ModelUnavailable where it cannot be loaded."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()

    async def card(self) -> ModelCard:
        """The model, loaded by now; the digest is of its file as it was checked when it was loaded."""
        loaded = await self._ready()
        return ModelCard(self._known.name, "llamacpp", self._known.sha256, loaded.window)

    async def fit(self, request: AnswerRequest) -> AnswerRequest:
        """As many sources, best first, as fit beside the longest answer, counted in the model's own tokens; raises
        ModelUnavailable where the question alone does not."""
        loaded = await self._ready()

        async def count(smaller: AnswerRequest) -> int:
            return (await loaded.client.count(self._render(smaller), "llama.cpp"))[0]

        return await fitted(request, count, window=loaded.window, answer_tokens=self._answer_tokens)

    async def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        """See `Runtime.stream`."""
        loaded = await self._ready()
        messages = self._render(request)
        tokens, counted = await loaded.client.count(messages, "llama.cpp")
        if tokens + self._answer_tokens > loaded.window:
            raise ModelUnavailable("the prompt is longer than the model's window", hint="Ask again, more briefly.")
        body = chat_body(messages, answer_tokens=self._answer_tokens, templates=True, answer_schema=self._answer_schema)
        patience = Patience(*self._seconds)
        reply = Reply(patience)
        generation = Generation(loaded.server, body, self._slots)
        try:
            while (chunk := await generation.next(patience)) is not None:
                if text := reply.add(chunk):
                    yield Text(text)
        finally:
            generation.leave()
        if rest := reply.rest():
            yield Text(rest)
        yield reply.end(tokens, counted=counted)

    async def close(self) -> None:
        """Lets go of the model, whose memory is free once the last answer has ended."""
        with self._loading:
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await loaded.client.close()
            del loaded
            self._socket.unlink(missing_ok=True)

    async def _ready(self) -> _Loaded:
        if self._loaded is None:
            await anyio.to_thread.run_sync(self.load)
        assert self._loaded is not None
        return self._loaded

    def _load(self) -> _Loaded:
        import xllamacpp

        path = self._files.verified(self._known.name)
        key = secrets.token_urlsafe(32)
        self._make_way()
        parameters = self._parameters(xllamacpp.CommonParams(), path, key)
        try:
            server = xllamacpp.Server(parameters)
            # A server that is let go before its loop has taken up work hangs its process for ever: one token is waited for.
            server.handle_completions({"prompt": "a", "max_tokens": 1})
        except RuntimeError:
            # The library gives the same words for every cause; the file and the socket were looked at before.
            raise ModelUnavailable(
                f"llama.cpp cannot load {self._known.name}",
                hint="Its architecture may be newer than the library, or its window too large for this memory: "
                "see runtime.context_tokens and runtime.parallel_answers.",
            ) from None
        if not str(server.listening_address).startswith("unix:"):
            raise ModelRefused("llama.cpp listens beyond its socket", hint="Install the version of the lock.")
        self._socket.chmod(0o600)
        client = OpenAIClient(self._known.name, f"unix://{self._socket}", key=key, whole_seconds=self._seconds[0])
        return _Loaded(server, client, self._context)

    def _parameters(self, parameters: Any, path: Path, key: str) -> Any:
        parameters.model.path = str(path)
        parameters.model_alias = {self._known.name}
        # Nothing is fetched, shown in a browser, told to other origins, or written about what is asked.
        parameters.offline, parameters.ui, parameters.verbosity = True, False, 0
        parameters.endpoint_slots, parameters.endpoint_metrics = False, False
        parameters.hostnames, parameters.api_keys = [str(self._socket)], [key]
        parameters.n_threads_http = _HTTP_THREADS
        # The whole memory: one window for each answer that is written side by side, and what is kept of prompts.
        parameters.n_ctx, parameters.n_parallel = self._context * self._parallel, self._parallel
        parameters.cache_ram_mib = self._prompt_cache_mb
        parameters.ctx_shift = False
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self._threads
        if not self._known.chat_template:
            parameters.chat_template = _PLAIN_TEMPLATE
        return parameters

    def _make_way(self) -> None:
        """Makes the folder, and removes what ended processes left in it: the library fails over such a file without a
        reason."""
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET_PATH:
            raise DataDirectoryError(
                f"{self._socket.parent} is too long a path for a Unix socket", hint="Move the data directory to a shorter path."
            )
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        self._socket.parent.chmod(0o700)
        for left in self._socket.parent.glob("*.sock"):
            if not somebody_listens(left):
                left.unlink(missing_ok=True)
