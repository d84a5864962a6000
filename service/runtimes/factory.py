"""Makes the runtime that settings describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.answer.prompts import messages
from service.settings_groups import RuntimeSettings

if TYPE_CHECKING:
    from service.runtimes.extractive import ExtractiveRuntime
    from service.runtimes.llamacpp import LlamaCppRuntime
    from service.runtimes.ollama import OllamaRuntime
    from service.runtimes.openai_compatible import OpenAICompatibleRuntime
    from vectorstore.embedders.interface import Embedder


def make_extractive(embedder: Embedder) -> ExtractiveRuntime:
    """The runtime that quotes."""
    from service.runtimes.extractive import ExtractiveRuntime

    return ExtractiveRuntime(embedder)


def make_served(chosen: RuntimeSettings) -> OllamaRuntime | OpenAICompatibleRuntime:
    """The runtime of a model server; raises SettingsError or ModelRefused."""
    return make_ollama(chosen) if chosen.kind == "ollama" else make_openai(chosen)


def make_ollama(chosen: RuntimeSettings) -> OllamaRuntime:
    """The runtime of an Ollama server; raises SettingsError or ModelRefused."""
    from service.runtimes.ollama import OllamaRuntime

    assert chosen.model is not None
    return OllamaRuntime(
        model=chosen.model,
        url=chosen.url,
        render=messages,
        allowed_hosts=chosen.allowed_hosts,
        ca_file=chosen.ca_file,
        digest=chosen.digest,
        require_cloud_disabled=chosen.require_cloud_disabled,
        context_tokens=chosen.context_tokens,
        max_answer_tokens=chosen.max_answer_tokens,
        keep_alive=chosen.keep_alive,
        start_seconds=chosen.start_seconds,
        token_seconds=chosen.token_seconds,
        total_seconds=chosen.total_seconds,
    )


def make_openai(chosen: RuntimeSettings) -> OpenAICompatibleRuntime:
    """The runtime of a server of OpenAI's protocol; raises SettingsError or ModelRefused."""
    from service.runtimes.openai_client import key_in
    from service.runtimes.openai_compatible import OpenAICompatibleRuntime

    assert chosen.model is not None
    return OpenAICompatibleRuntime(
        model=chosen.model,
        url=chosen.url,
        render=messages,
        allowed_hosts=chosen.allowed_hosts,
        ca_file=chosen.ca_file,
        api_key=None if chosen.api_key_file is None else key_in(chosen.api_key_file),
        digest=chosen.digest,
        context_tokens=chosen.context_tokens,
        max_answer_tokens=chosen.max_answer_tokens,
        start_seconds=chosen.start_seconds,
        token_seconds=chosen.token_seconds,
        total_seconds=chosen.total_seconds,
    )


def make_llamacpp(chosen: RuntimeSettings, directory: Path, cores: int) -> LlamaCppRuntime:
    """The runtime of a GGUF of a data directory, not loaded yet; raises SettingsError, ModelRefused or NotFoundError."""
    from service.runtimes.llamacpp import LlamaCppRuntime

    assert chosen.model is not None
    return LlamaCppRuntime(
        directory=directory,
        model=chosen.model,
        render=messages,
        digest=chosen.digest,
        context_tokens=chosen.context_tokens,
        max_answer_tokens=chosen.max_answer_tokens,
        parallel=chosen.parallel_answers,
        prompt_cache_mb=chosen.prompt_cache_mb,
        threads=chosen.threads or cores,
        start_seconds=chosen.start_seconds,
        token_seconds=chosen.token_seconds,
        total_seconds=chosen.total_seconds,
    )
