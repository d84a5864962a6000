"""The stewards' list: what people said of answers, and what they miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from policies.access.scope import AccessScope
from policies.audit.events import EventTag
from policies.errors import NotFoundError
from policies.identity import Principal
from service.api.state import Shared
from service.conversations.store import Feedback
from service.operations.documents import listed
from service.web.stewards import ActingSteward, shown, steward_page
from service.web.turns import named, standing
from service.web.visiting import Visitor
from service.wiring import Installation

router = APIRouter(tags=["pages"], include_in_schema=False)
_MOST = 200
_NOTHING = Feedback("", "", "", None, "wrong", "", "", False, documents=("",))
"""A note of an answer that rests on a document which nobody knows of."""


class Settled(BaseModel):
    """Whether a note is done."""

    model_config = ConfigDict(extra="forbid")
    done: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A note; the question that it is about, where the person still keeps it and the steward may read what its answer rests
    on; and what the person wrote, unless that is the question which is withheld."""

    note: Feedback
    question: str | None
    reason: str


@router.get("/documents/notes")
async def notes(request: Request, shared: Shared) -> Response:
    """The notes of the steward's knowledge bases and those that name none, of answers that rest on nothing but what the
    steward knows of; what is open first, then the newest."""

    def make(visitor: Visitor) -> Response:
        installation, principal = shared.installation, visitor.principal
        every = installation.conversations.feedback()
        found = list(islice(filter(_concerned(installation, principal), every), _MOST))
        found.sort(key=lambda one: one.done)
        told = [_told(installation, principal, one) for one in found]
        seen = [one.note.question for one in told if one.question is not None]
        listed_notes = {"notes": [one.note.id for one in told], "questions": seen}
        installation.audit.append(EventTag.FEEDBACK_READ, principal.id, listed_notes)
        return shown("notes.html", "notes", visitor, notes=told)

    return await steward_page(request, make)


@router.post("/web/documents/notes/{note}")
async def settle(note: str, body: Settled, visitor: ActingSteward, shared: Shared) -> Response:
    """Marks a note as done, or as open again."""

    def change() -> None:
        installation, principal = shared.installation, visitor.principal
        store = installation.conversations
        try:
            found = store.note(note)
        except NotFoundError:
            # Looked at like one that is there, which its time would else tell from one that is nowhere.
            found = _NOTHING
        if not _concerned(installation, principal)(found):
            raise NotFoundError(f"there is no note {note!r}", hint="The list shows those that are there.")
        installation.audit.append(EventTag.FEEDBACK_DONE, principal.id, {"feedback": note, "done": body.done})
        store.settle(note, done=body.done)

    await anyio.to_thread.run_sync(change)
    return JSONResponse({"next": "/documents/notes"})


def _concerned(installation: Installation, principal: Principal) -> Callable[[Feedback], bool]:
    known = listed(installation, principal)
    kbs = {None, *(one.kb for one in installation.store.access_classes() if one.id in known.classes)}
    return lambda note: _knows(installation, known, note) and note.kb in kbs


def _knows(installation: Installation, known: AccessScope, note: Feedback) -> bool:
    documents = note.documents
    if documents is None:
        turn = installation.conversations.asked(note.person, note.question)
        # What somebody wrote of an answer that nobody can look at any more could tell of any document.
        if turn is None:
            return False
        documents = named(turn)
    return installation.store.permits(known, documents)


def _told(installation: Installation, principal: Principal, note: Feedback) -> Note:
    turn = installation.conversations.asked(note.person, note.question)
    if turn is None:
        return Note(note, None, note.reason)
    if standing(installation, principal, [turn]).withheld:
        # A notice to the owner of a knowledge base repeats the question.
        return Note(note, None, "" if note.reason and note.reason in turn.question else note.reason)
    return Note(note, turn.question, "" if note.reason == turn.question else note.reason)
