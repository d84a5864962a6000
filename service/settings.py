"""The only reader of the environment and of the configuration file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from policies.errors import SettingsError

PREFIX = "INHOUSE_"
DEFAULT_RUNTIME = "default"
_OWN_VARIABLES = {"INHOUSE_DATA_DIR", "INHOUSE_CONFIG", "INHOUSE_API_KEY", "INHOUSE_URL"}
_TEST_VARIABLES = ("INHOUSE_TEST_", "INHOUSE_CRASH_", "INHOUSE_BENCH_")


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Group):
    """The HTTP service."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless a person says otherwise.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 lets the system choose one.")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost", "[::1]"),
        description="Host headers that are answered; any other is refused, which stops DNS rebinding.",
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins of web pages elsewhere that may call the API; none by default."
    )
    tls_certificate: Path | None = Field(None, description="Certificate chain in PEM; with it the service speaks TLS alone.")
    tls_key: Path | None = Field(None, description="The certificate's private key in PEM, without a password.")
    forwarded_allow_ips: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default."
    )
    session_hours: float = Field(12, gt=0, le=24 * 31, description="How long a person stays signed in in a browser.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body, in bytes.")
    max_question_characters: int = Field(8_000, ge=1, description="Longest question, in characters.")
    max_concurrent_answers: int = Field(4, ge=1, description="Answers generated at the same time; more wait.")
    max_waiting_answers: int = Field(64, ge=0, description="Questions that may wait; one more is refused with 503.")

    @model_validator(mode="after")
    def _certificate_with_key(self) -> ServerSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("server.tls_certificate and server.tls_key go together")
        return self


class EmbeddingSettings(_Group):
    """The model that turns text into vectors. A change needs a new index."""

    kind: Literal["onnx", "sentence-transformers", "hashing"] = Field(
        "onnx",
        description="`onnx`: the packaged weights, int8, no torch. `sentence-transformers`: any local model directory, "
        "with the extra of that name installed. `hashing`: no meaning at all, for trials of the plumbing.",
    )
    model: Path | None = Field(None, description="Directory of the model, for `sentence-transformers`.")
    threads: int | None = Field(None, ge=1, description="Threads; the cores granted to the process when not set.")

    @model_validator(mode="after")
    def _model_where_needed(self) -> EmbeddingSettings:
        if self.kind == "sentence-transformers" and self.model is None:
            raise ValueError("embedding.kind = 'sentence-transformers' needs embedding.model, a local directory")
        if self.kind != "sentence-transformers" and self.model is not None:
            raise ValueError(f"embedding.model means nothing with embedding.kind = '{self.kind}'")
        return self


class IngestSettings(_Group):
    """Limits of the worker processes that parse documents, and of a run."""

    parser_workers: int = Field(1, ge=1, le=64, description="Worker processes that parse side by side.")
    memory_mb: int = Field(2048, ge=256, description="Memory of one parser worker, in MiB.")
    cpu_seconds: int = Field(120, ge=1, description="Processor time for one file, in seconds, before what its size adds.")
    silence_seconds: int = Field(60, ge=1, description="Seconds without any sign of progress before a worker is ended.")
    output_mb: int = Field(64, ge=1, description="Most text that one file may give, in MiB.")
    file_mb: int = Field(256, ge=1, description="Largest file that is read, in MiB.")
    passage_pieces: int = Field(200, ge=32, le=2048, description="Length of a passage in the embedder's word pieces.")
    prune_share: float = Field(
        1 / 3, gt=0, le=1, description="`--prune` asks first when more than this share of a folder's documents would go."
    )


class RuntimeSettings(_Group):
    """What turns passages into an answer."""

    kind: Literal["extractive", "ollama", "openai", "llamacpp"] = Field(
        "extractive",
        description="`extractive`: quotes, no model. `ollama`: a model of a local Ollama server. `openai`: one of a local "
        "server of OpenAI's protocol (vLLM, llama.cpp, LM Studio). `llamacpp`: a GGUF in this process, with the extra `gguf`.",
    )
    model: str | None = Field(
        None, description="Model name, e.g. `qwen3:4b`: as the server lists it, or as `inhouse models list` shows a GGUF."
    )
    url: str = Field("http://127.0.0.1:11434", description="The model server: loopback, a unix socket, or an allowed host.")
    api_key_file: Path | None = Field(None, description="File that holds the key of an `openai` server, and nothing else.")
    ca_file: Path | None = Field(
        None, description="Certificates in PEM that sign the model server's, for https; the system's when not set."
    )
    allowed_hosts: tuple[str, ...] = Field((), description="Private hosts, beside loopback, that may be the model server.")
    digest: str | None = Field(
        None,
        description="SHA-256 that the model must have; another one is refused. With `openai` it is that of what the server "
        "tells of the model, because none tells that of the weights.",
    )
    require_cloud_disabled: bool = Field(
        True, description="Refuse an Ollama server whose cloud switch is not off, or that does not say."
    )
    context_tokens: int = Field(8192, ge=512, description="Context window asked for, capped by the model's own.")
    max_answer_tokens: int = Field(512, ge=16, description="Longest answer, in tokens.")
    keep_alive: str = Field("10m", description="How long an Ollama server keeps the model in memory.")
    parallel_answers: int = Field(
        1, ge=1, le=64, description="Answers that a GGUF in this process writes side by side, each with a window of its own."
    )
    prompt_cache_mb: int = Field(0, ge=0, description="Memory in which a GGUF in this process keeps prompts, in MiB.")
    threads: int | None = Field(
        None, ge=1, description="Threads of a GGUF in this process; the cores granted to the process when not set."
    )
    start_seconds: float = Field(300, gt=0, description="Longest wait for the first token, a cold load included.")
    token_seconds: float = Field(60, gt=0, description="Longest wait between two tokens.")
    total_seconds: float = Field(900, gt=0, description="Longest answer, in seconds.")

    @model_validator(mode="after")
    def _whole(self) -> RuntimeSettings:
        example = {"ollama": "qwen3:4b", "openai": "qwen3-4b", "llamacpp": "qwen3-4b"}.get(self.kind)
        if example and not self.model:
            raise ValueError(f"runtime.kind = '{self.kind}' needs runtime.model, e.g. '{example}'")
        if self.kind == "openai" and "url" not in self.model_fields_set:
            raise ValueError("runtime.kind = 'openai' needs runtime.url, e.g. 'http://127.0.0.1:8000/v1'")
        if self.kind != "openai" and self.api_key_file is not None:
            raise ValueError(f"runtime.api_key_file means nothing with runtime.kind = '{self.kind}'")
        if self.context_tokens <= self.max_answer_tokens:
            raise ValueError("runtime.context_tokens must be more than runtime.max_answer_tokens")
        return self


class ModelRule(_Group):
    """Which runtime answers from what."""

    kb: str | None = Field(None, description="The one knowledge base that is asked; any, and several at once, when not set.")
    classification: str | None = Field(
        None, description="The highest classification of a passage that is sent to it; any when not set."
    )
    use: str = Field(description="Name of the runtime.")


class ModelSettings(_Group):
    """Runtimes beside the one under `runtime`, whose name is `default`, and which of them answers from what."""

    also: Mapping[str, RuntimeSettings] = Field(
        {}, description="More runtimes by a name: `[models.also.NAME]` with the same names as `[runtime]`; none by default."
    )
    rules: tuple[ModelRule, ...] = Field(
        (),
        description="`[[models.rules]]` with `use` and, where it is not for everything, `kb` and `classification` (the highest "
        "that it is sent). The first one that holds counts; where none does, `default` answers.",
    )

    @model_validator(mode="after")
    def _names(self) -> ModelSettings:
        if DEFAULT_RUNTIME in self.also:
            raise ValueError(f"models.also.{DEFAULT_RUNTIME}: that is the name of the one under [runtime]")
        for rule in self.rules:
            if rule.use != DEFAULT_RUNTIME and rule.use not in self.also:
                raise ValueError(f"models.rules: there is no runtime {rule.use!r}; name it in [models.also.{rule.use}]")
        return self


class AnswerSettings(_Group):
    """How answers are made from what was found."""

    passages: int = Field(8, ge=1, le=50, description="Passages retrieved for an answer.")
    sentences: int = Field(2, ge=1, le=8, description="Most sentences that an extractive answer quotes.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Fused score below which the documents are said not to answer; fitted when not set."
    )
    unsupported: Literal["leave out", "mark"] = Field(
        "leave out", description="What becomes of a sentence of a model that the source it cites does not support."
    )


class AccessSettings(_Group):
    """Classifications and policies."""

    classifications: tuple[str, ...] = Field(
        ("public", "internal", "confidential"), min_length=1, description="Names of the levels, lowest first."
    )
    policies: Path | None = Field(None, description="Directory of an organisation's own Cedar policies and schema.")

    @field_validator("classifications")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise ValueError("access.classifications must be distinct and not empty")
        return names


class AuditSettings(_Group):
    """What the audit log keeps."""

    questions: Literal["text", "hash"] = Field(
        "text", description="Keep the question's text in its record, or only a SHA-256 of it with a random blinder."
    )
    file_mb: int = Field(64, ge=1, description="Size at which a new log file is begun, in MiB.")


class Settings(_Group):
    """Everything that can be set; frozen, read once at the edge, unknown names refused."""

    server: ServerSettings = ServerSettings()  # type: ignore[call-arg]
    embedding: EmbeddingSettings = EmbeddingSettings()  # type: ignore[call-arg]
    ingest: IngestSettings = IngestSettings()  # type: ignore[call-arg]
    runtime: RuntimeSettings = RuntimeSettings()  # type: ignore[call-arg]
    models: ModelSettings = ModelSettings()  # type: ignore[call-arg]
    answer: AnswerSettings = AnswerSettings()  # type: ignore[call-arg]
    access: AccessSettings = AccessSettings()  # type: ignore[call-arg]
    audit: AuditSettings = AuditSettings()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _levels(self) -> Settings:
        for rule in self.models.rules:
            if rule.classification is not None and rule.classification not in self.access.classifications:
                raise ValueError(f"models.rules: {rule.classification!r} is not among access.classifications")
        return self

    def runtimes(self) -> Mapping[str, RuntimeSettings]:
        """Every runtime by its name, the default one first."""
        return {DEFAULT_RUNTIME: self.runtime, **self.models.also}

    def runtime_for(self, kb: str | None, classification: str) -> str:
        """The name of the runtime that answers from passages of which `classification` is the highest, out of one knowledge
        base, or out of several (None). Raises ValueError for a classification that is not among the levels."""
        levels = self.access.classifications
        height = levels.index(classification)
        for rule in self.models.rules:
            if rule.kb not in (None, kb):
                continue
            if rule.classification is None or height <= levels.index(rule.classification):
                return rule.use
        return DEFAULT_RUNTIME


def data_directory(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Where everything is kept: `--data`, else INHOUSE_DATA_DIR, else `inhouse` in the user's data home."""
    if given is not None:
        return given.expanduser().absolute()
    if environment.get("INHOUSE_DATA_DIR"):
        return Path(environment["INHOUSE_DATA_DIR"]).expanduser().absolute()
    home = environment.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser())
    return Path(home) / "inhouse"


def load_settings(data: Path, config: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file (`--config`, else INHOUSE_CONFIG, else `inhouse.toml` in the data directory if it is
    there) with `INHOUSE_GROUP__NAME` variables on top. Raises SettingsError for an unknown name in either, a wrong
    type, or an unreadable file."""
    if config is None and environment.get("INHOUSE_CONFIG"):
        config = Path(environment["INHOUSE_CONFIG"])
    path = config or data / "inhouse.toml"
    values = _from_file(path, must_exist=config is not None)
    for group, fields in _from_environment(environment).items():
        values.setdefault(group, {}).update(fields)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {where or '(file)'}: {first['msg']}",
            hint=f"Look in {path} and in the {PREFIX}* variables; docs/reference/settings.md lists every setting.",
        ) from None


def with_server(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings with what a command line says of the server on top; raises SettingsError as `load_settings` does."""
    try:
        server = ServerSettings.model_validate({**settings.server.model_dump(), **given})
    except ValidationError as error:
        raise SettingsError(
            error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"],
            hint="See `inhouse serve --help`.",
        ) from None
    return settings.model_copy(update={"server": server})


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"there is no configuration file {path}", hint="Check --config.") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}", hint="It must be a readable TOML file in UTF-8.") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Variables by group; lists are comma-separated. pydantic-settings does not refuse unknown variables, so this does."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in _OWN_VARIABLES or name.startswith(_TEST_VARIABLES):
            continue
        group, _, key = name.removeprefix(PREFIX).lower().partition("__")
        model = Settings.model_fields.get(group)
        fields = getattr(model.annotation, "model_fields", {}) if model else {}
        if key not in fields:
            raise SettingsError(
                f"unknown variable {name}",
                hint=f"Settings are set as {PREFIX}GROUP__NAME, e.g. INHOUSE_SERVER__PORT; unset what is not one.",
            )
        is_list = "tuple" in str(fields[key].annotation)
        found.setdefault(group, {})[key] = [part.strip() for part in value.split(",") if part.strip()] if is_list else value
    return found
