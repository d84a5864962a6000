"""The only reader of the environment and of the configuration file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from policies.errors import SettingsError
from policies.labels import LabelNames
from service.settings_groups import (
    DEFAULT_RUNTIME,
    AccessSettings,
    AnswerSettings,
    AuditSettings,
    EmbeddingSettings,
    IngestSettings,
    LabelSettings,
    ModelSettings,
    OidcSettings,
    ProxySettings,
    RuntimeSettings,
    ServerSettings,
    SettingsGroup,
)

PREFIX = "INHOUSE_"
_OWN_VARIABLES = {"INHOUSE_DATA_DIR", "INHOUSE_CONFIG", "INHOUSE_API_KEY", "INHOUSE_URL"}
_TEST_VARIABLES = ("INHOUSE_TEST_", "INHOUSE_CRASH_", "INHOUSE_BENCH_")


class Settings(SettingsGroup):
    """Everything that can be set; frozen, read once at the edge, unknown names refused."""

    # The type checker takes a default that stands first in `Field` for none at all, so it misses every argument here.
    server: ServerSettings = ServerSettings()  # type: ignore[call-arg]
    oidc: OidcSettings = OidcSettings()  # type: ignore[call-arg]
    proxy: ProxySettings = ProxySettings()  # type: ignore[call-arg]
    embedding: EmbeddingSettings = EmbeddingSettings()  # type: ignore[call-arg]
    ingest: IngestSettings = IngestSettings()  # type: ignore[call-arg]
    runtime: RuntimeSettings = RuntimeSettings()  # type: ignore[call-arg]
    models: ModelSettings = ModelSettings()  # type: ignore[call-arg]
    answer: AnswerSettings = AnswerSettings()  # type: ignore[call-arg]
    access: AccessSettings = AccessSettings()  # type: ignore[call-arg]
    labels: LabelSettings = LabelSettings()  # type: ignore[call-arg]
    audit: AuditSettings = AuditSettings()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _levels(self) -> Settings:
        for rule in self.models.rules:
            if rule.classification is not None and rule.classification not in self.access.classifications:
                raise ValueError(f"models.rules: {rule.classification!r} is not among access.classifications")
        for level in self.oidc.clearances.values():
            if level not in self.access.classifications:
                raise ValueError(f"oidc.clearances: {level!r} is not among access.classifications")
        return self

    def label_names(self) -> LabelNames:
        """The purposes and retention classes that labels may name."""
        return LabelNames(self.labels.purposes, self.labels.retention_classes)

    def runtimes(self) -> Mapping[str, RuntimeSettings]:
        """Every runtime by its name, the default one first."""
        return {DEFAULT_RUNTIME: self.runtime, **self.models.also}

    def runtimes_for(self, kb: str | None, classification: str) -> tuple[str, ...]:
        """The names of the runtimes that may answer from passages of which `classification` is the highest, out of one
        knowledge base, or out of several (None): the one that does, then those that a person may choose instead. Raises
        ValueError for a classification that is not among the levels."""
        levels = self.access.classifications
        height = levels.index(classification)
        others: list[str] = []
        for rule in self.models.rules:
            if rule.kb not in (None, kb):
                continue
            if rule.classification is not None and height > levels.index(rule.classification):
                continue
            if not rule.chosen:
                return tuple(dict.fromkeys([rule.use, *others]))
            others.append(rule.use)
        return tuple(dict.fromkeys([DEFAULT_RUNTIME, *others]))


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
