"""A model of a local server of OpenAI's protocol (vLLM, llama.cpp's server, LM Studio): asked within the window that it has,
believed only when it ends its answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from policies.errors import ModelRefused, ModelUnavailable
from service.runtimes.interface import AnswerRequest, ModelCard, Piece, Text
from service.runtimes.openai_client import OpenAIClient, Served
from service.runtimes.openai_reply import Reply, chat_body
from service.runtimes.patience import Patience
from service.runtimes.window import fitted

Render = Callable[[AnswerRequest], list[dict[str, str]]]
_CLOUD_NAME = re.compile(r"(:|-)cloud$", re.IGNORECASE)


class OpenAICompatibleRuntime:
    """Answers with one model of one server (docs/how-to/openai-compatible.md).

    `render` makes the chat messages. `digest` pins what the server tells of the model. With `answer_schema`, a JSON schema,
    answers are JSON that it allows. Raises SettingsError for a URL that is not inside, ModelRefused for a name that means a
    cloud model.
    """

    def __init__(
        self,
        *,
        model: str,
        url: str,
        render: Render,
        allowed_hosts: Sequence[str] = (),
        api_key: str | None = None,
        ca_file: Path | None = None,
        digest: str | None = None,
        context_tokens: int = 8192,
        max_answer_tokens: int = 512,
        answer_schema: Mapping[str, Any] | None = None,
        start_seconds: float = 300,
        token_seconds: float = 60,
        total_seconds: float = 900,
    ) -> None:
        if _CLOUD_NAME.search(model):
            raise ModelRefused(f"{model} runs outside this network", hint="Name a model whose weights are on this server.")
        self._client = OpenAIClient(model, url, allowed_hosts, key=api_key, ca_file=ca_file, whole_seconds=start_seconds)
        self._model = model
        self._render = render
        self._digest = digest
        self._context = context_tokens
        self._answer_tokens = max_answer_tokens
        self._answer_schema = answer_schema
        self._seconds = (start_seconds, token_seconds, total_seconds)

    async def card(self) -> ModelCard:
        """The model as the server has it now. The digest is of the server's description of it, not of its weights."""
        served = await self._served()
        return ModelCard(self._model, "openai", served.digest, self._window(served))

    async def models(self) -> list[str]:
        """What the server calls the models that it has. Raises ModelUnavailable."""
        return [str(one.get("id")) for one in await self._client.models()]

    async def fit(self, request: AnswerRequest) -> AnswerRequest:
        """As many sources, best first, as fit beside the longest answer, counted in the model's own tokens where the server
        can; raises ModelUnavailable where the question alone does not."""
        served = await self._served()

        async def count(smaller: AnswerRequest) -> int:
            return (await self._client.count(self._render(smaller), served.kind))[0]

        return await fitted(request, count, window=self._window(served), answer_tokens=self._answer_tokens)

    async def stream(self, request: AnswerRequest) -> AsyncIterator[Piece]:
        """See `Runtime.stream`. A stream that ends without saying why is an error, never an answer."""
        served = await self._served()
        messages = self._render(request)
        tokens, counted = await self._client.count(messages, served.kind)
        if tokens + self._answer_tokens > self._window(served):
            raise ModelUnavailable("the prompt is longer than the model's window", hint="Ask again, more briefly.")
        patience = Patience(*self._seconds)
        reply = Reply(patience)
        body = chat_body(
            messages,
            answer_tokens=self._answer_tokens,
            templates=served.kind != "other",
            answer_schema=self._answer_schema,
        )
        async with aclosing(self._client.chunks(body, patience)) as chunks:
            async for chunk in chunks:
                if text := reply.add(chunk):
                    yield Text(text)
        if rest := reply.rest():
            yield Text(rest)
        yield reply.end(tokens, counted=counted)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _served(self) -> Served:
        served = await self._client.served()
        if self._digest is not None and served.digest != self._digest.removeprefix("sha256:"):
            raise ModelRefused(
                f"{self._model} is not the model that settings name: its description is {served.digest[:12]}…",
                hint="Put the old model back, or set runtime.digest after checking the new one.",
            )
        return served

    def _window(self, served: Served) -> int:
        return min(self._context, served.window or self._context)
