"""A question and its answer as people see them, and whether they may still see them."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from policies.access.actions import Action
from policies.errors import NotFoundError
from policies.identity import Principal
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
    "model": "",
    "nearest": (),
    "passages": 0,
    "passages_left_out": 0,
    "unsupported": (),
}
"""What an answer tells where nothing of it is kept."""

_BLOCK = re.compile(r"(<pre>.*?</pre>|<code>.*?</code>|<[^>]*>)", re.DOTALL)


def turn_html(turn: Turn, classifications: Sequence[str], *, withheld: bool = False) -> str:
    """One turn as a part of the page."""
    answer = {**_NOTHING, **turn.answer}
    citations = list(answer["citations"])
    highest = highest_classification(citations, classifications)
    body = Markup("") if withheld else answer_html(str(answer["answer"]), str(answer["form"]), citations)
    return fragment(
        "turn.html",
        turn=turn,
        answer=answer,
        citations=[] if withheld else citations,
        body=body,
        highest=highest,
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


def highest_classification(citations: Sequence[Mapping[str, Any]], classifications: Sequence[str]) -> str | None:
    """The highest classification of what is cited; the highest of all for one that settings no longer know. None where
    nothing is cited."""
    names = {str(one.get("classification") or "") for one in citations}
    if not names:
        return None
    if not names <= set(classifications):
        return classifications[-1]
    return max(names, key=list(classifications).index)


def withheld(installation: Installation, principal: Principal, turns: Sequence[Turn]) -> set[int]:
    """The numbers of the turns whose answers rest on what the person may no longer read, or what is no longer there."""
    scope = scope_for(installation, principal, Action.RETRIEVE)
    there: dict[str, bool] = {}
    found = set()
    for turn in turns:
        for one in (*turn.answer.get("citations", ()), *turn.answer.get("nearest", ())):
            identifier = str(one["document"])
            if identifier not in there:
                try:
                    installation.store.document(scope, DocumentId(identifier))
                    there[identifier] = True
                except NotFoundError:
                    there[identifier] = False
            if not there[identifier]:
                found.add(turn.number)
    return found
