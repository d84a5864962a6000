"""The wire to a server of OpenAI's protocol: what it tells of its model, how it counts tokens, and its event streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from policies.errors import ModelRefused, ModelUnavailable, SettingsError
from service.runtimes.local_server import Hints, LocalServer, NotThere, NotUnderstood, error_text
from service.runtimes.openai_reply import NO_THINKING
from service.runtimes.patience import Patience
from service.runtimes.window import estimated_tokens

Messages = Sequence[Mapping[str, str]]
Kind = Literal["llama.cpp", "vLLM", "other"]

_TELLING = ("id", "root", "parent", "max_model_len", "meta", "arch", "publisher", "quantization")
"""What of a model's entry stays the same as long as the model does."""

_HINTS = Hints(
    away="Start it. In a container it must listen beyond its own loopback, on the private network.",
    locked="If it wants a key, put that into a file and name the file in runtime.api_key_file.",
    busy="Ask again soon; how many may wait is a setting of the server.",
    foreign="Is runtime.url the address of a server of OpenAI's protocol, with or without /v1?",
)


@dataclass(frozen=True, slots=True)
class Served:
    """What a server tells of a model. `window` is None where it does not say; `digest` is the SHA-256 of its description,
    because no such server tells that of the weights."""

    kind: Kind
    window: int | None
    digest: str


class OpenAIClient:
    """One model of one server. What kind of server it is, is seen from what it answers, never from a name."""

    def __init__(
        self,
        model: str,
        url: str,
        allowed_hosts: Sequence[str] = (),
        *,
        key: str | None = None,
        ca_file: Path | None = None,
        whole_seconds: float,
    ) -> None:
        """`url` may end with /v1. Raises SettingsError for one that is neither loopback, a Unix socket, nor an allowed
        private host."""
        base = url.rstrip("/").removesuffix("/v1")
        self._server = LocalServer(base, allowed_hosts, _HINTS, whole_seconds=whole_seconds, key=key, ca_file=ca_file)
        self._model = model

    async def models(self) -> list[dict[str, Any]]:
        """The server's models, as it lists them. Raises ModelUnavailable."""
        found = (await self._server.get("/v1/models")).get("data")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    async def served(self) -> Served:
        """The model as the server has it now. Raises ModelUnavailable where it is not among the server's, ModelRefused where
        the server is one of Ollama's, which cuts prompts and may send them out unless asked by its own protocol."""
        if isinstance((await self._told("/api/version")).get("version"), str):
            raise ModelRefused("this is an Ollama server", hint="Set runtime.kind = 'ollama', which asks it to stay inside.")
        listed = await self.models()
        entry = next((one for one in listed if one.get("id") == self._model), None)
        if entry is None:
            names = ", ".join(str(one.get("id")) for one in listed[:10])
            raise ModelUnavailable(
                f"the model server has no model {self._model}",
                hint=f"Name one that it has in runtime.model: {names or 'none'}.",
            )
        kind, window = await self._window(entry)
        told = json.dumps({name: entry[name] for name in _TELLING if name in entry}, sort_keys=True)
        return Served(kind, window, hashlib.sha256(told.encode()).hexdigest())

    async def count(self, messages: Messages, kind: Kind) -> tuple[int, bool]:
        """How many tokens the messages are with the model's template around them, and whether that was counted: it is
        estimated, safely too high, where the server cannot count."""
        try:
            if kind == "llama.cpp":
                return await self._count_by_llama(messages), True
            if kind == "vLLM":
                body = {"model": self._model, "messages": list(messages), "chat_template_kwargs": dict(NO_THINKING)}
                said = await self._server.post("/tokenize", body)
                if isinstance(said.get("count"), int):
                    return int(said["count"]), True
        except (NotThere, NotUnderstood):
            pass
        return estimated_tokens(messages), False

    async def chunks(self, body: Mapping[str, Any], patience: Patience) -> AsyncGenerator[dict[str, Any]]:
        """The objects of a streamed answer until the server ends it; closing it cancels the work there. Raises
        ModelUnavailable for an error in mid-stream and for a line that is none of the protocol's."""
        whole = {"model": self._model, **body}
        try:
            async with aclosing(self._server.lines("/v1/chat/completions", whole, patience)) as lines:
                async for line in lines:
                    field, _, value = line.strip().partition(b":")
                    if value.strip() == b"[DONE]":
                        return
                    if field not in (b"event", b"id", b"retry"):
                        yield self._chunk(line, field, value)
        except NotThere as error:
            raise ModelUnavailable(
                f"the model server does not answer as {self._model}: {error.message}", hint="See `inhouse models list`."
            ) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.close()

    def _chunk(self, line: bytes, field: bytes, value: bytes) -> dict[str, Any]:
        # Some builds of llama.cpp name the field of an error `error`; what has no field is a body and no stream.
        chunk = self._server.object_in(value if field in (b"data", b"error") else line)
        if field == b"error" or "error" in chunk or chunk.get("object") == "error":
            raise failed(chunk)
        if field != b"data":
            raise ModelUnavailable("the model server does not stream", hint="See its settings for streaming.")
        return chunk

    async def _window(self, entry: Mapping[str, Any]) -> tuple[Kind, int | None]:
        if isinstance(entry.get("max_model_len"), int):
            return "vLLM", int(entry["max_model_len"])
        # The share of one slot, where the window of the whole server is divided among several.
        props = await self._told(f"/props?model={quote(self._model, safe='')}")
        slot = (props.get("default_generation_settings") or {}).get("n_ctx")
        if isinstance(slot, int) and slot > 0:
            return "llama.cpp", slot
        meta = entry.get("meta") or {}
        for told in ("n_ctx", "n_ctx_train"):
            if isinstance(meta.get(told), int):
                return "llama.cpp", int(meta[told])
        studio = (await self._told("/api/v0/models")).get("data")
        for one in studio if isinstance(studio, list) else []:
            for told in ("loaded_context_length", "max_context_length"):
                if one.get("id") == self._model and isinstance(one.get(told), int):
                    return "other", int(one[told])
        return "other", None

    async def _count_by_llama(self, messages: Messages) -> int:
        asked = {"model": self._model, "messages": list(messages), "chat_template_kwargs": dict(NO_THINKING)}
        prompt = (await self._server.post("/apply-template", asked)).get("prompt")
        if not isinstance(prompt, str):
            raise NotUnderstood("the model server applies no template")
        content = {"model": self._model, "content": prompt, "add_special": True, "parse_special": True}
        tokens = (await self._server.post("/tokenize", content)).get("tokens")
        if not isinstance(tokens, list):
            raise NotUnderstood("the model server counts no tokens")
        return len(tokens)

    async def _told(self, path: str) -> dict[str, Any]:
        """What the server says at a path that only some kinds of server have; nothing where it has it not."""
        try:
            return await self._server.get(path)
        except (NotThere, NotUnderstood):
            return {}


def failed(chunk: Any) -> ModelUnavailable:
    """The error that a server or llama.cpp reports instead of an answer."""
    said = chunk.get("error", chunk) if isinstance(chunk, dict) else chunk
    if isinstance(said, dict) and said.get("type") == "exceed_context_size_error":
        return ModelUnavailable(
            "the prompt is longer than the model's window", hint="Lower runtime.context_tokens to what the server has."
        )
    return ModelUnavailable(
        f"the model failed: {error_text(said) or 'it does not say why'}", hint="See the model server's log."
    )


def key_in(path: Path) -> str:
    """The key that a file holds. Raises SettingsError where it cannot be read, or holds anything but one printable word."""
    try:
        key = path.expanduser().read_bytes().strip().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise SettingsError(f"cannot read the key in {path}: {why}", hint="Check runtime.api_key_file.") from None
    if not key or not key.isprintable() or " " in key:
        raise SettingsError(f"{path} does not hold one key", hint="It must hold the key of the model server and nothing else.")
    return key
