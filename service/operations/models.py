"""Models: those that this installation has or can ask, of every runtime; GGUF files added and removed."""

from __future__ import annotations

import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from policies.access.actions import Action
from policies.audit.events import EventTag
from policies.errors import InhouseError, ModelRefused, NotFoundError, UsageError
from service.operations.managing import manager
from service.operations.registry import Emit, Operation, Result
from service.runtimes.factory import make_served
from service.runtimes.model_files import ModelFolder
from service.settings import Settings
from service.settings_groups import RuntimeSettings
from service.wiring import Installation, embedder_words

if TYPE_CHECKING:
    from service.runtimes.interface import ModelCard

_EXTRACTIVE = "extractive"
_PROGRESS_BYTES = 64 * 2**20


class AddModel(BaseModel):
    """A GGUF file by its absolute path; `name` is that of the file when not given. With `sha256` another one is refused."""

    model_config = ConfigDict(extra="forbid")
    path: Path
    name: str | None = None
    sha256: str | None = None
    as_person: str | None = None


class AllModels(BaseModel):
    """No choice to make."""

    model_config = ConfigDict(extra="forbid")


class OneModel(BaseModel):
    """A model by its name."""

    model_config = ConfigDict(extra="forbid")
    name: str


class RemoveModel(OneModel):
    """A GGUF file by its name."""

    as_person: str | None = None


def add(installation: Installation, request: AddModel, emit: Emit, stop: threading.Event) -> Result:
    """Copies a GGUF file into the data directory, with `progress` on the way. What refuses it: `ModelFolder.add`."""
    actor, told = manager(installation, request.as_person, Action.MODELS_MANAGE), 0

    def progress(done: int, whole: int) -> None:
        nonlocal told
        if done - told >= _PROGRESS_BYTES or done == whole:
            told = done
            emit({"progress": {"bytes": done, "of": whole}})

    folder = ModelFolder(installation.directory)
    known = folder.add(request.path, request.name or request.path.stem, request.sha256, progress, stop)
    told_of = {"model": known.name, "sha256": known.sha256, "size": known.size}
    try:
        installation.audit.append(EventTag.MODEL_ADDED, actor.id, told_of)
    except BaseException:
        # A model that the log does not know must not answer.
        folder.remove(known.name)
        raise
    return {"model": _gguf(installation.settings, folder, known.name)}


def list_models(installation: Installation, request: AllModels, emit: Emit, stop: threading.Event) -> Result:
    """The embedder, the extractive runtime, the GGUF files, and what the configured model server has, or why it does not
    say."""
    folder, settings = ModelFolder(installation.directory), installation.settings
    return {
        "models": [
            _embedder(installation),
            _extractive(settings),
            *(_gguf(settings, folder, name) for name in folder.names()),
            *(row for chosen in _servers(settings) for row in _served(installation, chosen)),
        ]
    }


def show(installation: Installation, request: OneModel, emit: Emit, stop: threading.Event) -> Result:
    """One model, of whichever runtime. Raises NotFoundError, and for one of a server what the server's answer means."""
    folder, settings = ModelFolder(installation.directory), installation.settings
    if request.name in folder.names():
        known = folder.show(request.name)
        return {"model": {**_gguf(settings, folder, request.name), **asdict(known), "path": str(folder.path(request.name))}}
    for chosen in _servers(settings):
        if request.name == chosen.model:
            card = installation.run_coroutine(partial(_card, chosen))
            row = _row(card.name, card.runtime, "answers", True, "ready")
            return {"model": {**row, "digest": card.digest, "context_tokens": card.context_tokens, "url": chosen.url}}
    for one in (_embedder(installation), _extractive(settings)):
        if request.name == one["name"]:
            return {"model": one}
    raise NotFoundError(f"there is no model {request.name}", hint="inhouse models list")


def remove(installation: Installation, request: RemoveModel, emit: Emit, stop: threading.Event) -> Result:
    """Removes a GGUF file. Raises UsageError for the one in use, and for a model that is no file of this installation."""
    actor = manager(installation, request.as_person, Action.MODELS_MANAGE)
    folder, settings = ModelFolder(installation.directory), installation.settings
    if request.name not in folder.names():
        others = [one["name"] for one in (_embedder(installation), _extractive(settings))]
        if request.name in (*others, *(chosen.model for chosen in _servers(settings))):
            raise UsageError(f"{request.name} is no GGUF file", hint="A server's model is removed on that server.")
    elif _in_use(settings, request.name):
        raise UsageError(
            f"{request.name} is in use", hint="Take it out of the settings of every runtime, and restart the service."
        )
    if request.name in folder.names():
        try:
            digest = folder.show(request.name).sha256
        except ModelRefused:
            digest = None
        installation.audit.append(EventTag.MODEL_REMOVED, actor.id, {"model": request.name, "sha256": digest})
    known = folder.remove(request.name)
    return {"removed": request.name, "sha256": known.sha256 if known else None}


def _gguf(settings: Settings, folder: ModelFolder, name: str) -> dict[str, Any]:
    in_use = _in_use(settings, name)
    try:
        known = folder.show(name)
        there = folder.path(name).is_file() and folder.path(name).stat().st_size == known.size
    except ModelRefused as error:
        return _row(name, "llamacpp", "answers", in_use, error.message)
    state = "ready" if there else "its file is gone or has another size"
    row = _row(name, "llamacpp", "answers", in_use, state)
    return {**row, "size": known.size, "sha256": known.sha256, "context_tokens": known.context_tokens}


def _embedder(installation: Installation) -> dict[str, Any]:
    words = embedder_words(installation.directory, installation.settings)
    chosen = installation.settings.embedding
    name = Path(words["model"]).name if chosen.model is not None else f"{chosen.kind}-embedder"
    there = words["kind"] == "hashing" or Path(words["model"]).is_dir()
    return _row(name, chosen.kind, "search", True, "ready" if there else "not there: inhouse init builds it")


def _extractive(settings: Settings) -> dict[str, Any]:
    in_use = any(chosen.kind == _EXTRACTIVE for chosen in settings.runtimes().values())
    return _row(_EXTRACTIVE, _EXTRACTIVE, "answers", in_use, "ready")


def _servers(settings: Settings) -> list[RuntimeSettings]:
    return [chosen for chosen in settings.runtimes().values() if chosen.kind in ("ollama", "openai")]


def _served(installation: Installation, chosen: RuntimeSettings) -> list[dict[str, Any]]:
    try:
        names = installation.run_coroutine(partial(_names, chosen))
    except InhouseError as error:
        return [_row(str(chosen.model), chosen.kind, "answers", True, f"{error.message}. {error.hint}")]
    used = {chosen.model, f"{chosen.model}:latest"} if chosen.kind == "ollama" else {chosen.model}
    rows = [_row(name, chosen.kind, "answers", name in used, "ready") for name in names]
    if used.isdisjoint(names):
        rows.append(_row(str(chosen.model), chosen.kind, "answers", True, "the server does not have it"))
    return rows


def _row(name: str, runtime: str, use: str, in_use: bool, state: str) -> dict[str, Any]:
    return {"name": name, "runtime": runtime, "for": use, "in_use": in_use, "state": state}


def _in_use(settings: Settings, name: str) -> bool:
    return any(chosen.kind == "llamacpp" and chosen.model == name for chosen in settings.runtimes().values())


async def _names(chosen: RuntimeSettings) -> list[str]:
    runtime = make_served(chosen)
    try:
        return await runtime.models()
    finally:
        await runtime.close()


async def _card(chosen: RuntimeSettings) -> ModelCard:
    runtime = make_served(chosen)
    try:
        return await runtime.card()
    finally:
        await runtime.close()


OPERATIONS = {
    "models.add": Operation(AddModel, add),
    "models.list": Operation(AllModels, list_models, shared=True),
    "models.remove": Operation(RemoveModel, remove),
    "models.show": Operation(OneModel, show, shared=True),
}
