"""Questions that a person's own documents can answer, for somebody who has not asked yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from policies.access.actions import Action
from policies.access.scope import AccessScope
from policies.errors import NotFoundError
from policies.identity import Principal
from service.answer.abstain import Proceed, judge
from service.operations.documents import scope_for
from service.web.rendering import texts
from service.wiring import Installation
from vectorstore.types import Document, DocumentId

WANTED = 3
_SPREAD = 12
_LOOKED_AT = 48
_KEPT_SECONDS = 600
_MOST_KEPT = 256
_LONGEST_HEADING = 60


@dataclass(frozen=True, slots=True)
class _Suggested:
    """What was found for a permission, when, and of which versions of which documents the questions are."""

    at: float
    questions: tuple[str, ...]
    documents: tuple[tuple[DocumentId, int], ...]


_KEPT: WeakKeyDictionary[Installation, dict[tuple[str, frozenset[str]], _Suggested]] = WeakKeyDictionary()


def suggestions(installation: Installation, principal: Principal) -> list[str]:
    """Up to three questions, each made from a heading of another document that the person may read, and each tried: its
    document is found for it, and the find is good enough to answer from.

    They are kept for some minutes for all who may read the same, and made anew when one of their documents has changed.
    """
    scope = scope_for(installation, principal, Action.RETRIEVE)
    kept = _KEPT.setdefault(installation, {})
    key = (scope.policy_hash, frozenset(str(one) for one in scope.classes))
    known = kept.get(key)
    if known is None or time.monotonic() - known.at > _KEPT_SECONDS or not _still_there(installation, scope, known):
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        known = kept[key] = _made(installation, scope)
    return list(known.questions)


def _made(installation: Installation, scope: AccessScope) -> _Suggested:
    found = []
    for document in _spread(installation, scope):
        question = next(_questions(installation, scope, document), None)
        if question is not None:
            found.append((question, (document.id, document.version)))
        if len(found) == WANTED:
            break
    return _Suggested(time.monotonic(), tuple(one for one, _ in found), tuple(one for _, one in found))


def _still_there(installation: Installation, scope: AccessScope, known: _Suggested) -> bool:
    try:
        return all(installation.store.document(scope, one).version == version for one, version in known.documents)
    except NotFoundError:
        return False


def _spread(installation: Installation, scope: AccessScope) -> list[Document]:
    """Documents from all over the list first, so that the questions are about different things; then those between them, since
    many documents have no heading that makes a question."""
    documents = installation.store.documents(scope, limit=200)
    step = max(1, len(documents) // _SPREAD)
    return [one for start in range(step) for one in documents[start::step]][:_LOOKED_AT]


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
