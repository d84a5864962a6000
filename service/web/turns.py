"""A question and its answer as people see them, and whether they may still see them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.errors import NotFoundError
from policies.identity import Principal
from service.choosing import highest_classification
from service.conversations.store import Turn
from service.operations.documents import scope_for
from service.web.rendering import fragment, rendered
from service.wiring import Installation
from vectorstore.types import DocumentId

_MARKER = re.compile(r"\[(\d{1,20}(?:\s*,\s*\d{1,20})*)\]")
_NOTHING: Mapping[str, Any] = {
    "answer": "",
    "audit_id": "",
    "citations": (),
    "cut_off": False,
    "error": "",
    "form": "quotes",
    "hint": "",
    "instead_of": "",
    "model": "",
    "nearest": (),
    "passages": 0,
    "passages_left_out": 0,
    "unsupported": (),
}
"""What an answer tells where nothing of it is kept."""

_BLOCK = re.compile(r"(<pre>.*?</pre>|<code>.*?</code>|<[^>]*>)", re.DOTALL)


def turn_html(turn: Turn, standing: Standing) -> str:
    """One turn as a part of the page."""
    answer = {**_NOTHING, **turn.answer}
    citations = list(answer["citations"])
    withheld = turn.number in standing.withheld
    body = Markup("") if withheld else answer_html(str(answer["answer"]), str(answer["form"]), citations)
    return fragment(
        "turn.html",
        turn=turn,
        answer=answer,
        citations=[] if withheld else citations,
        body=body,
        highest=standing.classification([turn]),
        withheld=withheld,
    )


def answer_html(text: str, form: str, citations: Sequence[Mapping[str, Any]]) -> Markup:
    """An answer's text as HTML, its numbers linked to what they cite: each to the next citation of that number, as the
    engine lists them in the order of the text. Quotations are plain text; only a model's own words are Markdown."""
    if form == "markdown":
        whole = rendered(text)
    else:
        whole = "".join(f"<p>{html.escape(line)}</p>" for line in text.split("\n") if line.strip())
    waiting: dict[int, list[int]] = {}
    for place, one in enumerate(citations):
        waiting.setdefault(int(one["number"]), []).append(place)

    def linked(found: re.Match[str]) -> str:
        links = []
        for number in (int(one) for one in re.split(r"\s*,\s*", found.group(1))):
            places = waiting.get(number)
            if not places:
                continue
            place = places.pop(0) if len(places) > 1 else places[0]
            links.append(f'<a class="cite" href="#" data-citation="{place}" role="button">{number}</a>')
        return "".join(links) or found.group(0)

    parts = _BLOCK.split(whole)
    # NOTE: Every part is escaped above or came out of the sanitiser; the odd ones are its tags.
    return Markup("".join(part if place % 2 else _MARKER.sub(linked, part) for place, part in enumerate(parts)))  # noqa: S704


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of the documents that turns rest on, as a person may know it now.

    `withheld` are the numbers of the turns that rest on what the person may no longer read, or what is no longer there;
    `labels` has the classification of each document that is still there by its id, `levels` the order of the names.
    """

    withheld: frozenset[int]
    labels: Mapping[str, str]
    levels: Sequence[str]

    def shown(self, turns: Iterable[Turn]) -> list[Turn]:
        """Those of the turns whose answers may be shown."""
        return [one for one in turns if one.number not in self.withheld]

    def classification(self, turns: Iterable[Turn]) -> str | None:
        """The highest classification of what the answers of these turns cite, by the labels of now; None where they cite
        nothing that may be shown."""
        cited = (cite for one in self.shown(turns) for cite in one.answer.get("citations", ()))
        return highest_classification((self.labels[str(cite["document"])] for cite in cited), self.levels)


def standing(installation: Installation, principal: Principal, turns: Sequence[Turn]) -> Standing:
    """How these turns stand for a principal now."""
    return _standing(installation, scope_for(installation, principal, Action.RETRIEVE), turns)


def standing_for_models(installation: Installation, principal: Principal, turns: Sequence[Turn]) -> Standing:
    """How these turns stand for a model that answers the principal now: withheld is also what policy shows to no model."""
    return _standing(installation, installation.answerable(principal), turns)


def _standing(installation: Installation, scope: AccessScope, turns: Sequence[Turn]) -> Standing:
    labels: dict[str, str | None] = {}
    withheld = set()
    for turn in turns:
        for identifier in named(turn):
            if identifier not in labels:
                try:
                    labels[identifier] = installation.store.document(scope, DocumentId(identifier)).access.classification
                except NotFoundError:
                    labels[identifier] = None
            if labels[identifier] is None:
                withheld.add(turn.number)
    there = {identifier: name for identifier, name in labels.items() if name is not None}
    return Standing(frozenset(withheld), there, installation.settings.access.classifications)


def named(turn: Turn) -> list[str]:
    """The ids of the documents that an answer cites, or that a refusal names as the nearest."""
    return [str(one["document"]) for one in (*turn.answer.get("citations", ()), *turn.answer.get("nearest", ()))]
