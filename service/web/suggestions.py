"""Questions that a person's own documents can answer, for somebody who has not asked yet."""

from __future__ import annotations

from collections.abc import Iterator

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.identity import Principal
from service.answer.abstain import Proceed, judge
from service.operations.documents import scope_for
from service.web.rendering import texts
from service.wiring import Installation
from vectorstore.types import Document

WANTED = 3
_LOOKED_AT = 12
_LONGEST_HEADING = 60


def suggestions(installation: Installation, principal: Principal) -> list[str]:
    """Up to three questions, each made from a heading of another document that the person may read, and each tried: its
    document is found for it, and the find is good enough to answer from."""
    scope = scope_for(installation, principal, Action.RETRIEVE)
    found = []
    for document in _spread(installation, scope):
        question = next(_questions(installation, scope, document), None)
        if question is not None:
            found.append(question)
        if len(found) == WANTED:
            break
    return found


def _spread(installation: Installation, scope: AccessScope) -> list[Document]:
    """Documents from all over the list, so that the questions are about different things."""
    documents = installation.store.documents(scope, limit=200)
    step = max(1, len(documents) // _LOOKED_AT)
    return documents[::step][:_LOOKED_AT]


def _questions(installation: Installation, scope: AccessScope, document: Document) -> Iterator[str]:
    threshold = installation.settings.answer.threshold
    for passage in installation.store.passages(scope, document.id)[:4]:
        heading = " ".join(passage.heading[-1].split()) if passage.heading else ""
        if not heading or len(heading) > _LONGEST_HEADING or heading == document.title:
            continue
        form = "{heading}" if heading.endswith("?") else str(texts()["chat"]["suggestion"])
        question = form.format(heading=heading, title=document.title)
        hits = installation.search.search(question, scope, limit=installation.settings.answer.passages).hits
        if hits and hits[0].passage.document == document.id and isinstance(judge(question, hits, threshold), Proceed):
            yield question
