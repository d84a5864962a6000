"""Conversations and feedback, in the service's own `conversations.db`."""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from policies.database import open_database, reading, writing
from policies.errors import NotFoundError

Outcome = Literal["answered", "refused", "stopped", "failed"]
Verdict = Literal["right", "wrong", "missing", "tell-owner"]
LONGEST_TITLE = 80
_METADATA = sa.MetaData()
_CONVERSATION = sa.Table(
    "conversation",
    _METADATA,
    *(
        sa.Column(name, sa.Text, primary_key=name == "id")
        for name in ("id", "person", "title", "kb", "created", "updated", "model")
    ),
)
_TURN = sa.Table(
    "turn",
    _METADATA,
    sa.Column("conversation", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("question", "outcome", "answer", "asked")),
)
_FEEDBACK = sa.Table(
    "feedback",
    _METADATA,
    *(
        sa.Column(name, sa.Text, primary_key=name == "id")
        for name in ("id", "person", "question", "kb", "verdict", "reason", "given")
    ),
    sa.Column("done", sa.Boolean),
    sa.Column("documents", sa.JSON(none_as_null=True)),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what came of it. `answer` is the versioned JSON of the answer (`service.answer.types`); of one that was
    stopped or failed, what was shown of it under `answer`. `asked` is ISO 8601 in UTC."""

    number: int
    question: str
    outcome: Outcome
    answer: Mapping[str, Any]
    asked: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation of one person; `kb` is the knowledge base that it asks, None for all, `model` the runtime that the person
    chose last, None where they leave it to the settings. Times are ISO 8601 in UTC."""

    id: str
    person: str
    title: str
    kb: str | None
    created: str
    updated: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said of an answer; `question` is its audit id, `kb` the knowledge base that it concerns, `documents` the
    ids of those that the answer rests on, None where that is not known."""

    id: str
    person: str
    question: str
    kb: str | None
    verdict: Verdict
    reason: str
    given: str
    done: bool
    documents: Sequence[str] | None = None


class ConversationStore:
    """Every reader and writer takes the person: a conversation of somebody else looks like one that is not there.

    Raises DataDirectoryError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._engine = open_database(path, Path(__file__).parent / "migrations")

    def begin(self, person: str, title: str, kb: str | None = None, model: str | None = None) -> Conversation:
        """A new conversation, titled by its first question, shortened at a word."""
        now = _now()
        made = Conversation("conv-" + secrets.token_hex(8), person, shortened(title), kb, now, now, model)
        with writing(self._engine) as connection:
            connection.execute(_CONVERSATION.insert().values(asdict(made)))
        return made

    def listed(self, person: str, search: str = "", limit: int = 200) -> list[Conversation]:
        """The person's conversations, the last changed first; with `search`, those whose title or questions hold it. Answers
        are not searched: a find would tell what stands in one that the person may no longer read."""
        query = _CONVERSATION.select().where(_CONVERSATION.c.person == person)
        if search:
            pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            asked = sa.exists().where(_TURN.c.conversation == _CONVERSATION.c.id, _TURN.c.question.like(pattern, escape="\\"))
            query = query.where(sa.or_(_CONVERSATION.c.title.like(pattern, escape="\\"), asked))
        last_first: tuple[Any, ...] = (_CONVERSATION.c.updated.desc(), sa.literal_column("conversation.rowid").desc())
        with reading(self._engine) as connection:
            return [Conversation(*row) for row in connection.execute(query.order_by(*last_first).limit(limit))]

    def conversation(self, person: str, id: str) -> Conversation:
        """One conversation; raises NotFoundError."""
        with reading(self._engine) as connection:
            return _one(connection, person, id)

    def turns(self, person: str, id: str) -> list[Turn]:
        """What was asked and answered, in order; raises NotFoundError."""
        with reading(self._engine) as connection:
            _one(connection, person, id)
            rows = connection.execute(_TURN.select().where(_TURN.c.conversation == id).order_by(_TURN.c.number))
            return [Turn(row.number, row.question, row.outcome, json.loads(row.answer), row.asked) for row in rows]

    def add(
        self, person: str, id: str, question: str, outcome: Outcome, answer: Mapping[str, Any], *, after: int | None = None
    ) -> Turn:
        """Adds a turn; after turn number `after` where that is given, and what followed it is dropped, as when a question
        is edited. Raises NotFoundError."""
        now = _now()
        with writing(self._engine) as connection:
            _one(connection, person, id)
            if after is not None:
                connection.execute(_TURN.delete().where(_TURN.c.conversation == id, _TURN.c.number > after))
            last = connection.execute(sa.select(sa.func.max(_TURN.c.number)).where(_TURN.c.conversation == id)).scalar()
            turn = Turn(int(last or 0) + 1, question, outcome, answer, now)
            row = {"conversation": id, "number": turn.number, "question": question, "outcome": outcome, "asked": now}
            connection.execute(_TURN.insert().values(**row, answer=json.dumps(answer, ensure_ascii=False)))
            connection.execute(_CONVERSATION.update().where(_CONVERSATION.c.id == id).values(updated=now))
        return turn

    def rename(self, person: str, id: str, title: str) -> None:
        """Gives it another title; raises NotFoundError."""
        with writing(self._engine) as connection:
            _one(connection, person, id)
            connection.execute(_CONVERSATION.update().where(_CONVERSATION.c.id == id).values(title=shortened(title)))

    def choose(self, person: str, id: str, model: str | None) -> None:
        """Keeps which runtime the person chose; raises NotFoundError."""
        with writing(self._engine) as connection:
            _one(connection, person, id)
            connection.execute(_CONVERSATION.update().where(_CONVERSATION.c.id == id).values(model=model))

    def delete(self, person: str, id: str) -> None:
        """Removes it with its turns; raises NotFoundError."""
        with writing(self._engine) as connection:
            _one(connection, person, id)
            connection.execute(_TURN.delete().where(_TURN.c.conversation == id))
            connection.execute(_CONVERSATION.delete().where(_CONVERSATION.c.id == id))

    def give_feedback(
        self, person: str, question: str, kb: str | None, verdict: Verdict, reason: str, documents: Sequence[str] | None = None
    ) -> Feedback:
        """Keeps what a person said of an answer, for the stewards' list."""
        note = "note-" + secrets.token_hex(6)
        given = Feedback(note, person, question, kb, verdict, reason, _now(), False, documents)
        row = {name: getattr(given, name) for name in Feedback.__dataclass_fields__}
        with writing(self._engine) as connection:
            connection.execute(_FEEDBACK.insert().values(row))
        return given

    def feedback(self) -> list[Feedback]:
        """The stewards' list, newest first."""
        newest_first: tuple[Any, ...] = (_FEEDBACK.c.given.desc(), sa.literal_column("rowid").desc())
        with reading(self._engine) as connection:
            return [Feedback(*row) for row in connection.execute(_FEEDBACK.select().order_by(*newest_first))]

    def asked(self, person: str, audit_id: str) -> Turn | None:
        """The turn in which a person asked the question of that audit id, if they still keep it."""
        query = (
            _TURN.select()
            .join(_CONVERSATION, _CONVERSATION.c.id == _TURN.c.conversation)
            .where(_CONVERSATION.c.person == person, sa.func.json_extract(_TURN.c.answer, "$.audit_id") == audit_id)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else Turn(row.number, row.question, row.outcome, json.loads(row.answer), row.asked)

    def note(self, id: str) -> Feedback:
        """One note of the stewards' list; raises NotFoundError."""
        with reading(self._engine) as connection:
            row = connection.execute(_FEEDBACK.select().where(_FEEDBACK.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"there is no note {id!r}", hint="The list shows those that are there.")
        return Feedback(*row)

    def settle(self, id: str, *, done: bool) -> None:
        """Marks a note of the stewards' list as done, or as open again; raises NotFoundError."""
        self.note(id)
        with writing(self._engine) as connection:
            connection.execute(_FEEDBACK.update().where(_FEEDBACK.c.id == id).values(done=done))

    def close(self) -> None:
        """Closes the file."""
        self._engine.dispose()


def shortened(title: str) -> str:
    """A title of one line and at most 80 characters, cut at a word where there is one."""
    line = " ".join(title.split()) or "…"
    if len(line) <= LONGEST_TITLE:
        return line
    return line[: LONGEST_TITLE - 1].rsplit(" ", 1)[0].rstrip() + "…"


def _one(connection: sa.Connection, person: str, id: str) -> Conversation:
    owned = (_CONVERSATION.c.id == id, _CONVERSATION.c.person == person)
    row = connection.execute(_CONVERSATION.select().where(*owned)).first()
    if row is None:
        raise NotFoundError(f"there is no conversation {id!r}", hint="The list at the left shows those that are there.")
    return Conversation(*row)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
