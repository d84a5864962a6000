"""Which runtime answers: by the rules of the settings, and by a person's choice among what the rules leave open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.errors import NotFoundError
from policies.identity import Principal
from policies.labels import AccessClass

if TYPE_CHECKING:
    from service.settings import Settings
    from service.wiring import Installation


def highest_classification(names: Iterable[str], classifications: Sequence[str]) -> str | None:
    """The highest of these names; the highest of all for one that settings no longer know. None where there is none."""
    found = set(names)
    if not found:
        return None
    if not found <= set(classifications):
        return classifications[-1]
    return max(found, key=list(classifications).index)


def runtime_name(settings: Settings, kb: str | None, classifications: Iterable[str], wanted: str | None = None) -> str:
    """The runtime that answers from text of these classifications, asked of one knowledge base or of several (None): the
    wanted one where the rules leave that choice, else the one of the rules. Never one that the rules would not send it to."""
    levels = settings.access.classifications
    # One that settings no longer know counts as the highest: no model sees by a change of names what it may not.
    highest = highest_classification(classifications, levels) or levels[0]
    usual, *others = settings.runtimes_for(kb, highest)
    return wanted if wanted is not None and wanted in others else usual


@dataclass(frozen=True, slots=True)
class Open:
    """The runtimes that answer a person by the rules, and those that the person may choose instead, each in the order of the
    settings."""

    usual: list[str]
    choices: list[str]


def open_to(installation: Installation, principal: Principal, kb: str | None) -> Open:
    """What is open to a principal who asks this knowledge base, or several at once (None), for any classification of what
    they may have shown to a model."""
    return _open(installation.settings, _askable(installation, principal), [kb])


def open_anywhere(installation: Installation, principal: Principal) -> Open:
    """What is open to a principal wherever they ask."""
    askable = _askable(installation, principal)
    return _open(installation.settings, askable, {None, *(one.kb for one in askable)})


def check_choice(installation: Installation, principal: Principal, wanted: str | None) -> None:
    """Raises NotFoundError for a runtime that the principal may choose nowhere, be it there or not."""
    if wanted is not None and wanted not in (there := open_anywhere(installation, principal).choices):
        hint = f"Choose one of: {', '.join(there)}." if there else "Ask without a model: the settings say which one answers."
        raise NotFoundError(f"there is no model {wanted!r} to choose", hint=hint)


def _askable(installation: Installation, principal: Principal) -> list[AccessClass]:
    usable = installation.answerable(principal).classes
    return [one for one in installation.store.access_classes() if one.id in usable]


def _open(settings: Settings, askable: Iterable[AccessClass], kbs: Iterable[str | None]) -> Open:
    levels = settings.access.classifications
    usual, choices = set(), set()
    for kb in kbs:
        for level in {highest_classification([one.classification], levels) for one in askable if kb in (None, one.kb)}:
            first, *others = settings.runtimes_for(kb, level or levels[0])
            usual.add(first)
            choices.update(others)
    names = list(settings.runtimes())
    return Open([one for one in names if one in usual], [one for one in names if one in choices])
