"""A model of a local Ollama server: checked to be local, asked within its window, believed only when it ends its answer."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from policies.errors import ModelRefused, ModelUnavailable
from service.runtimes.interface import AnswerRequest, End, ModelCard, Piece, Text
from service.runtimes.local_server import NotThere
from service.runtimes.ollama_client import OllamaClient
from service.runtimes.patience import Patience
from service.runtimes.thoughts import Visible
from service.runtimes.window import ESTIMATED_SHARE, estimated_tokens, fitted

Render = Callable[[AnswerRequest], list[dict[str, str]]]
_CLOUD_NAME = re.compile(r"(:|-)cloud$", re.IGNORECASE)
_REMOTE = ("remote_model", "remote_host")
_SEED = 7


class OllamaRuntime:
    """Answers with one model of one server; every point is from the server's own contract (docs/how-to/ollama.md).

    `render` makes the chat messages. `digest` pins the weights. With `require_cloud_disabled` a server that does not say
    that its cloud switch is off is refused. Raises SettingsError for a URL that is not inside, ModelRefused for a name that
    means a cloud model.
    """

    def __init__(
        self,
        *,
        model: str,
        url: str,
        render: Render,
        allowed_hosts: Sequence[str] = (),
        ca_file: Path | None = None,
        digest: str | None = None,
        require_cloud_disabled: bool = True,
        context_tokens: int = 8192,
        max_answer_tokens: int = 512,
        keep_alive: str = "10m",
        start_seconds: float = 300,
        token_seconds: float = 60,
        total_seconds: float = 900,
    ) -> None:
        if _CLOUD_NAME.search(model):
            raise _cloud(model)
        self._model = model if ":" in model else f"{model}:latest"
        self._client = OllamaClient(url, allowed_hosts, whole_seconds=start_seconds, ca_file=ca_file)
        self._render = render
        self._digest = digest
        self._strict = require_cloud_disabled
        self._context = context_tokens
        self._answer_tokens = max_answer_tokens
        self._keep_alive = keep_alive
        self._seconds = (start_seconds, token_seconds, total_seconds)

    async def card(self) -> ModelCard:
        """The model as the server has it now: asked anew each time, because a name can be made to mean another model."""
        if self._strict:
            await self._check_cloud_switch()
        try:
            shown = await self._client.post("/api/show", {"model": self._model})
        except NotThere:
            raise self._missing() from None
        listed = await self._listed()
        if any(one.get(key) for one in (shown, listed) for key in _REMOTE):
            raise _cloud(self._model)
        digest = str(listed.get("digest", ""))
        if self._digest is not None and digest.removeprefix("sha256:") != self._digest.removeprefix("sha256:"):
            raise ModelRefused(
                f"{self._model} is not the model that settings name: its digest is {digest[:19]}…",
                hint="Put the old model back, or set runtime.digest after checking the new one.",
            )
        capabilities = shown.get("capabilities")
        if isinstance(capabilities, list) and "completion" not in capabilities:
            raise ModelRefused(f"{self._model} cannot answer questions", hint="Name a chat model in runtime.model.")
        return ModelCard(self._model, "ollama", digest, min(self._context, _trained_context(shown) or self._context))

    async def models(self) -> list[str]:
        """What the server calls the models whose weights it has. Raises ModelUnavailable."""
        listed = (await self._client.get("/api/tags")).get("models") or []
        return [str(one.get("name")) for one in listed if not any(one.get(key) for key in _REMOTE)]

    async def fit(self, request: AnswerRequest) -> AnswerRequest:
        """As many sources, best first, as fit beside the longest answer; raises ModelUnavailable where the question alone
        does not."""
        window = (await self.card()).context_tokens or self._context

        async def count(smaller: AnswerRequest) -> int:
            return self._estimate(smaller)

        return await fitted(request, count, window=window, answer_tokens=self._answer_tokens)

    async def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        """See `Runtime.stream`. A stream that ends without saying so is an error, never an answer."""
        window = (await self.card()).context_tokens or self._context
        visible = Visible()
        async with aclosing(self._lines(request, window)) as lines:
            async for line in lines:
                text = visible.add(str((line.get("message") or {}).get("content") or ""))
                if text:
                    yield Text(text)
                if line.get("done") is True:
                    if rest := visible.rest():
                        yield Text(rest)
                    yield self._end(line, request)
                    return
        raise ModelUnavailable("the model broke off in the middle of its answer", hint="Ask again; see the server's log.")

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _lines(self, request: AnswerRequest, window: int) -> AsyncGenerator[dict[str, Any]]:
        body = {
            "model": self._model,
            "messages": self._render(request),
            "stream": True,
            "think": False,
            "truncate": False,
            "shift": False,
            "keep_alive": self._keep_alive,
            # The same for every call: another num_ctx makes the server load the model again.
            "options": {"num_ctx": window, "num_predict": self._answer_tokens, "temperature": 0, "seed": _SEED},
        }
        try:
            async with aclosing(self._client.lines("/api/chat", body, Patience(*self._seconds))) as lines:
                async for line in lines:
                    if any(line.get(key) for key in _REMOTE):
                        raise _cloud(self._model)
                    if "error" in line:
                        raise ModelUnavailable(f"the model failed: {str(line['error'])[:300]}", hint="See the server's log.")
                    yield line
        except NotThere:
            raise self._missing() from None

    def _end(self, line: dict[str, Any], request: AnswerRequest) -> End:
        read, written = int(line.get("prompt_eval_count") or 0), int(line.get("eval_count") or 0)
        # Old servers ignore `truncate` and `shift`; zero is what some report for a prompt that they had cached.
        if read and read < ESTIMATED_SHARE * self._estimate(request):
            raise ModelUnavailable(
                f"the model server cut the prompt: it read {read} tokens", hint="Update Ollama, or raise its context length."
            )
        reason = line.get("done_reason")
        if reason in ("", "load", "unload"):
            raise ModelUnavailable(f"the model ended without an answer ({reason or 'connection closed'})", hint="Ask again.")
        return End("length" if reason == "length" else "stop", read, written)

    def _estimate(self, request: AnswerRequest) -> int:
        return estimated_tokens(self._render(request))

    async def _check_cloud_switch(self) -> None:
        hint = "Start Ollama with OLLAMA_NO_CLOUD=1; or set runtime.require_cloud_disabled = false if it has no way out."
        try:
            said = await self._client.get("/api/status")
        except NotThere:
            raise ModelRefused("the Ollama server does not say whether its cloud is off", hint=hint) from None
        if (said.get("cloud") or {}).get("disabled") is not True:
            raise ModelRefused("the Ollama server may send prompts to its cloud", hint=hint)

    async def _listed(self) -> dict[str, Any]:
        for one in (await self._client.get("/api/tags")).get("models") or []:
            if self._model in (one.get("name"), one.get("model")):
                return dict(one)
        raise self._missing()

    def _missing(self) -> ModelUnavailable:
        return ModelUnavailable(f"the Ollama server has no model {self._model}", hint=f"On it, run: ollama pull {self._model}")


def _trained_context(shown: dict[str, Any]) -> int | None:
    found = [value for key, value in (shown.get("model_info") or {}).items() if key.endswith(".context_length")]
    return int(found[0]) if found and isinstance(found[0], int) else None


def _cloud(model: str) -> ModelRefused:
    return ModelRefused(
        f"{model} runs outside this network", hint="Name a model whose weights are on this server: `ollama list`."
    )
