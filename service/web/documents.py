"""The documents desk: what is in the index, and one document as the index sees it beside the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.audit.events import EventTag
from policies.identity import Principal
from policies.labels import AccessClass
from service.api.state import Shared, State
from service.operations.documents import LastLook, listed, scope_for
from service.operations.labels import history
from service.operations.search import searched
from service.web.explaining import reads_policies
from service.web.stewards import shown, steward_page
from service.web.visiting import Visitor
from service.wiring import Installation
from vectorstore.context import context_text
from vectorstore.types import Document, DocumentId, Hit, Passage

router = APIRouter(tags=["pages"], include_in_schema=False)
PAGE = 50
"""Documents on a page."""

_PASSAGES_PAGE = 20
_HITS = 10
_EXCERPT = 300
_AROUND = 200

Word = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]


@dataclass(frozen=True, slots=True)
class Row:
    """A document in the list; the title is there where its text may be retrieved."""

    document: Document
    title: str | None


@router.get("/documents")
async def documents(
    request: Request, shared: Shared, search: Word = "", kb: Word = "", classification: Word = "", at: PageNumber = 1
) -> Response:
    """What the steward may see of the index, searched by title, path and text."""

    def make(visitor: Visitor) -> Response:
        installation, principal = shared.installation, visitor.principal
        look = LastLook(installation, principal)
        classes = _classes_in(installation, listed(installation, principal))
        readable = scope_for(installation, principal, Action.RETRIEVE)
        kept = frozenset(one.id for one in classes if kb in ("", one.kb) and classification in ("", one.classification))
        words = search.strip()
        # NOTE: What is not readable is not searched either: that something is found would tell what its title says.
        scope = readable.narrowed_to(kept) if words else listed(installation, principal).narrowed_to(kept)
        found, count = installation.store.browse(scope, named=words, offset=(at - 1) * PAGE, limit=PAGE)
        hits = searched(installation, principal, scope, words, kb or None, _HITS, look) if words else []
        levels = installation.settings.access.classifications
        return shown(
            "documents.html",
            "documents",
            visitor,
            rows=[Row(one, one.title if one.access.id in readable.classes else None) for one in found],
            count=count,
            at=at,
            pages=max(1, -(-count // PAGE)),
            hits=[(hit.passage, _excerpt(hit)) for hit in hits if hit.lexical > 0],
            kbs=sorted({one.kb for one in classes}),
            classifications=sorted({one.classification for one in classes}, key=_rank(levels)),
            filters={"search": words, "kb": kb, "classification": classification},
        )

    return await steward_page(request, make)


def _rank(levels: Sequence[str]) -> Any:
    return lambda name: (levels.index(name) if name in levels else len(levels), name)


def _classes_in(installation: Installation, scope: AccessScope) -> list[AccessClass]:
    return [one for one in installation.store.access_classes() if one.id in scope.classes]


def _excerpt(hit: Hit) -> str:
    text = " ".join(hit.passage.text.split())
    return text if len(text) <= _EXCERPT else text[:_EXCERPT].rsplit(" ", 1)[0] + " …"


@router.get("/documents/{document}")
async def document(document: str, request: Request, shared: Shared, at: PageNumber = 1, passage: int | None = None) -> Response:
    """One document: its label, and where the steward may open it, each passage as the index sees it beside the text that it
    was taken from, from the page on that is asked for or holds the passage that starts there. Recorded before it
    is shown."""
    return await steward_page(request, lambda visitor: _document_page(shared, visitor, DocumentId(document), at, passage))


def _document_page(shared: State, visitor: Visitor, identifier: DocumentId, at: int, wanted: int | None) -> Response:
    installation, principal = shared.installation, visitor.principal
    look = LastLook(installation, principal)
    found = installation.store.document(listed(installation, principal), identifier)
    readable = _holds(installation, principal, Action.RETRIEVE, found)
    openable = readable and _holds(installation, principal, Action.OPEN, found)
    pairs: list[tuple[Passage, str, Markup]] = []
    if openable:
        scope = scope_for(installation, principal, Action.OPEN)
        text, _ = installation.store.document_text(scope, identifier)
        passages = installation.store.passages(scope, identifier)
        at = next((place // _PASSAGES_PAGE + 1 for place, one in enumerate(passages) if one.start == wanted), at)
        on_page = passages[(at - 1) * _PASSAGES_PAGE : at * _PASSAGES_PAGE]
        pairs = [(one, context_text(one.title, one.heading, one.text), _in_place(text, one)) for one in on_page]
    told = {"document": found.id, "version": found.version, "path": found.path, "text": openable}
    installation.audit.append(EventTag.DOCUMENT_VIEWED, principal.id, told)
    if readable:
        look.require(Action.OPEN if openable else Action.RETRIEVE, found.id)
    return shown(
        "document.html",
        "documents",
        visitor,
        document=found,
        title=found.title if readable else None,
        openable=openable,
        changes=history(installation, principal, found),
        pairs=pairs,
        first=(at - 1) * _PASSAGES_PAGE,
        at=at,
        pages=max(1, -(-found.passages // _PASSAGES_PAGE)),
        explains=reads_policies(installation, principal) or _holds(installation, principal, Action.POLICY_READ, found),
        labels=_holds(installation, principal, Action.LABEL, found),
        erases=_holds(installation, principal, Action.ERASE, found),
        holds=_holds(installation, principal, Action.HOLD, found),
    )


def _holds(installation: Installation, principal: Principal, action: Action, found: Document) -> bool:
    return found.access.id in scope_for(installation, principal, action).classes


def _in_place(text: str, passage: Passage) -> Markup:
    """The passage in the text of the document, marked, with what stands before and after it."""
    before = text[max(0, passage.start - _AROUND) : passage.start]
    after = text[passage.end : passage.end + _AROUND]
    if passage.start > _AROUND:
        before = "… " + before.partition(" ")[2]
    if passage.end + _AROUND < len(text):
        after = after.rpartition(" ")[0] + " …"
    return Markup("{}<mark>{}</mark>{}").format(before, text[passage.start : passage.end], after)
