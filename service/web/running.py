"""What is running, as the chat page says it: which model, where, and whether the service is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.choosing import Open
from service.settings import Settings
from service.settings_groups import DEFAULT_RUNTIME, RuntimeSettings
from service.web.rendering import texts

_OF_OTHERS = ("ollama", "openai")
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Running:
    """What answers where this is chosen: the name of the choice, which is empty for what the settings say, the model or the
    models, and where they are, in words."""

    name: str
    model: str
    place: str


def running(settings: Settings, there: Open) -> list[Running]:
    """What answers somebody to whom this is open, first where they choose nothing. From the settings: a model server that is
    away must not take people's own conversations with it."""
    runtimes = settings.runtimes()
    usual = [runtimes[name] for name in there.usual or [DEFAULT_RUNTIME]]
    return [_running("", usual), *(_running(name, [runtimes[name]]) for name in there.choices)]


def _running(name: str, chosen: Sequence[RuntimeSettings]) -> Running:
    between = f" {texts()['chat']['or']} "
    models = dict.fromkeys(one.model or one.kind for one in chosen)
    return Running(name, between.join(models), between.join(dict.fromkeys(map(_place, chosen))))


def _place(chosen: RuntimeSettings) -> str:
    said = texts()["chat"]
    server = urlsplit(chosen.url)
    if chosen.kind not in _OF_OTHERS or server.scheme == "unix" or server.hostname in _HERE:
        return str(said["local"])
    return f"{said['inside']} {server.hostname}"
