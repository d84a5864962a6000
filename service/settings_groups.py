"""The settings in their groups: each with its type, its default and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from policies.identity import Role

DEFAULT_RUNTIME = "default"
TokenAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]


class SettingsGroup(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(SettingsGroup):
    """The HTTP service."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless a person says otherwise.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 lets the system choose one.")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost", "[::1]"),
        description="Host headers that are answered; any other is refused, which stops DNS rebinding.",
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="Origins of web pages elsewhere, e.g. `https://intranet.corp.example`, whose scripts may call `/v1/` with "
        "a key or a token (CORS, without cookies); any other is refused. None by default.",
    )
    public_url: str | None = Field(
        None,
        description="Where people reach the service, e.g. `https://ask.corp.example`, where a proxy stands before it: links "
        "and the way back from the identity provider begin with it. Its own address when not set.",
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

    @field_validator("allowed_origins")
    @classmethod
    def _each_an_origin(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for one in origins:
            # As browsers write it; what has none, `null`, is no page that could be told from another.
            if re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+", one) is None:
                raise ValueError(f"server.allowed_origins must be like https://intranet.corp.example, not {one}")
        return origins

    @field_validator("public_url")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://none.invalid")
        plain = parts.scheme in ("http", "https") and parts.hostname and not (parts.path.strip("/") or parts.query)
        if not plain or parts.fragment or "@" in parts.netloc:
            raise ValueError("server.public_url must be like https://ask.corp.example, without a path")
        return url and url.rstrip("/")

    @model_validator(mode="after")
    def _certificate_with_key(self) -> ServerSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("server.tls_certificate and server.tls_key go together")
        return self


class OidcSettings(SettingsGroup):
    """Signing in by an identity provider of OpenID Connect, and its access tokens at the API. Off until `issuer` is set."""

    issuer: str | None = Field(None, description="The provider, exactly as it names itself in `iss`.")
    client_id: str | None = Field(None, description="The pages' name at the provider. Without it nobody signs in there.")
    client_secret_file: Path | None = Field(
        None, description="File that holds the client's secret, and nothing else; a client without one has PKCE alone."
    )
    scopes: tuple[str, ...] = Field(("openid", "profile"), description="What the pages ask the provider for.")
    audience: str | None = Field(
        None, description="What `aud` of an access token must hold. Without it the API takes no tokens; never the client id."
    )
    algorithms: tuple[TokenAlgorithm, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="Signatures that are accepted; none with a shared secret can be."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts of the provider that may be outside of private networks, or other than the issuer's own.",
    )
    ca_file: Path | None = Field(None, description="Certificates in PEM that sign the provider's; the system's when not set.")
    jwks_file: Path | None = Field(None, description="File of the provider's public keys, which are then never fetched.")
    keys_minutes: int = Field(
        60, ge=1, le=24 * 60, description="How long the provider's keys are used before it is asked again."
    )
    key_pause_seconds: int = Field(
        60, ge=1, description="Least time between two questions for keys, whatever unknown keys tokens name."
    )
    clock_skew_seconds: int = Field(60, ge=0, le=600, description="How far the provider's clock may be off.")
    person_claim: str = Field(
        "preferred_username",
        description="Claim that is the person's id, in lower case; one that people cannot change by themselves.",
    )
    name_claim: str = Field("name", description="Claim that is the name that people see.")
    groups_claim: str | None = Field(
        None, description="Claim that lists groups (`realm_access.roles`: one within another). Not set: they stay as they are."
    )
    clearance_claim: str | None = Field(None, description="Claim that `clearances` are looked up by; the highest counts.")
    roles_claim: str | None = Field(None, description="Claim that `roles` are looked up by.")
    groups: Mapping[str, str] = Field(
        {},
        description="`[oidc.groups]`: the provider's group, and ours; others are left out. Empty: all, under their own names.",
    )
    clearances: Mapping[str, str] = Field({}, description="`[oidc.clearances]`: a value of the claim, and the classification.")
    roles: Mapping[str, Role] = Field({}, description="`[oidc.roles]`: a value of the claim, and the role.")
    sign_out: bool = Field(
        True,
        description="Signing out of a session that was begun at the provider leads on to the provider's own sign-out, where it "
        "has one (`end_session_endpoint`), and from there back to the sign-in page.",
    )
    create_people: bool = Field(
        False, description="Whoever signs in at the provider becomes a person; otherwise an administrator adds them first."
    )

    @model_validator(mode="after")
    def _whole(self) -> OidcSettings:
        if self.issuer is None:
            if self.model_fields_set:
                raise ValueError("oidc needs oidc.issuer")
            return self
        if self.client_id is None and self.audience is None:
            raise ValueError("oidc needs oidc.client_id, oidc.audience, or both")
        if self.audience is not None and self.audience == self.client_id:
            # Otherwise what the provider tells a page of a person would open the API.
            raise ValueError("oidc.audience must not be oidc.client_id")
        if "openid" not in self.scopes:
            raise ValueError("oidc.scopes must hold 'openid'")
        for claim, table in (("clearance_claim", self.clearances), ("roles_claim", self.roles)):
            if bool(table) != (getattr(self, claim) is not None):
                raise ValueError(f"oidc.{claim} and its table go together")
        if self.groups and self.groups_claim is None:
            raise ValueError("oidc.groups needs oidc.groups_claim")
        return self


class ProxySettings(SettingsGroup):
    """A reverse proxy that knows who is asking and says so in a header. Off until `secret_file` is set; believed only from
    server.forwarded_allow_ips."""

    secret_file: Path | None = Field(
        None, description="File that holds the secret, of 32 characters or more, which the proxy sends with each request."
    )
    secret_header: str = Field("x-inhouse-proxy-secret", description="Header in which the proxy sends the secret.")
    person_header: str = Field("x-forwarded-user", description="Header in which the proxy names the person, by id.")

    @field_validator("secret_header", "person_header")
    @classmethod
    def _a_header(cls, name: str) -> str:
        taken = {"authorization", "cookie", "host", "origin"}
        if not re.fullmatch(r"[a-z0-9-]+", name := name.lower()) or name in taken:
            raise ValueError("must be the name of a header of its own")
        return name


class EmbeddingSettings(SettingsGroup):
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


class IngestSettings(SettingsGroup):
    """Limits of the worker processes that parse documents, and of a run."""

    parser_workers: int = Field(1, ge=1, le=64, description="Worker processes that parse side by side.")
    memory_mb: int = Field(2048, ge=256, description="Memory of one parser worker, in MiB.")
    cpu_seconds: int = Field(120, ge=1, description="Processor time for one file, in seconds, before what its size adds.")
    silence_seconds: int = Field(60, ge=1, description="Seconds without any sign of progress before a worker is ended.")
    output_mb: int = Field(64, ge=1, description="Most text that one file may give, in MiB.")
    file_mb: int = Field(256, ge=1, description="Largest file that is read, in MiB.")
    upload_files: int = Field(
        20, ge=1, le=1000, description="Files that are uploaded together, and that come in at the same time from all people."
    )
    passage_pieces: int = Field(200, ge=32, le=2048, description="Length of a passage in the embedder's word pieces.")
    prune_share: float = Field(
        1 / 3, gt=0, le=1, description="`--prune` asks first when more than this share of a folder's documents would go."
    )


class RuntimeSettings(SettingsGroup):
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


class ModelRule(SettingsGroup):
    """Which runtime answers from what."""

    kb: str | None = Field(None, description="The one knowledge base that is asked; any, and several at once, when not set.")
    classification: str | None = Field(
        None, description="The highest classification of a passage that is sent to it; any when not set."
    )
    use: str = Field(description="Name of the runtime.")
    chosen: bool = Field(
        False, description="Whether the runtime answers only where somebody chooses it; who else does is for the next rules."
    )


class ModelSettings(SettingsGroup):
    """Runtimes beside the one under `runtime`, whose name is `default`, and which of them answers from what."""

    also: Mapping[str, RuntimeSettings] = Field(
        {}, description="More runtimes by a name: `[models.also.NAME]` with the same names as `[runtime]`; none by default."
    )
    rules: tuple[ModelRule, ...] = Field(
        (),
        description="`[[models.rules]]` with `use` and, where it is not for everything, `kb` and `classification` (the highest "
        "that it is sent). The first one that holds counts; where none does, `default` answers. One with `chosen = true` "
        "decides nothing: it lets people choose its runtime for what it holds for, unless a rule before it has decided.",
    )

    @model_validator(mode="after")
    def _names(self) -> ModelSettings:
        if DEFAULT_RUNTIME in self.also:
            raise ValueError(f"models.also.{DEFAULT_RUNTIME}: that is the name of the one under [runtime]")
        for rule in self.rules:
            if rule.use != DEFAULT_RUNTIME and rule.use not in self.also:
                raise ValueError(f"models.rules: there is no runtime {rule.use!r}; name it in [models.also.{rule.use}]")
        return self


class AnswerSettings(SettingsGroup):
    """How answers are made from what was found."""

    passages: int = Field(8, ge=1, le=50, description="Passages retrieved for an answer.")
    sentences: int = Field(2, ge=1, le=8, description="Most sentences that an extractive answer quotes.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Fused score below which the documents are said not to answer; fitted when not set."
    )
    unsupported: Literal["leave out", "mark"] = Field(
        "leave out", description="What becomes of a sentence of a model that the source it cites does not support."
    )


class AccessSettings(SettingsGroup):
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


class LabelSettings(SettingsGroup):
    """What labels may say beside who may read: of these names alone, where they are set."""

    purposes: tuple[str, ...] | None = Field(
        None, description="Purposes that labels may name; any when not set. One that is not among them is refused."
    )
    retention_classes: tuple[str, ...] | None = Field(
        None, description="Retention classes that labels may name; any when not set. One that is not among them is refused."
    )


class AuditSettings(SettingsGroup):
    """What the audit log keeps."""

    questions: Literal["text", "hash"] = Field(
        "text", description="Keep the question's text in its record, or only a SHA-256 of it with a random blinder."
    )
    file_mb: int = Field(64, ge=1, description="Size at which a new log file is begun, in MiB.")
