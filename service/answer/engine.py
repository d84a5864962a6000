"""The core: permit, retrieve, judge, record, answer, check, record. Nothing is shown that the log does not know."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from policies.access.scope import AccessScope
from policies.audit.events import EventTag
from policies.audit.records import Record
from policies.errors import AuthenticationRequired, SourcesChanged
from policies.identity import Principal
from service.answer.abstain import Refuse, judge
from service.answer.citations import Citations
from service.answer.conversation import standalone
from service.answer.prompts import REFUSAL
from service.answer.standing import Fetch, Moment, Permit, Standing
from service.answer.types import Answer, AnswerEvent, Delta, Done, Nearest
from service.runtimes.interface import AnswerRequest, End, ModelCard, Quote, Runtime, Source, Text, Turn
from vectorstore.search import Search
from vectorstore.types import DocumentId, Hit, Passage, SearchResult

Recorder = Callable[[EventTag, str, Mapping[str, Any]], Record]
Choose = Callable[[str | None, Sequence[str], str | None], tuple[Runtime, bool]]
"""Which runtime answers from text of these classifications, asked of one knowledge base or of all, where the person chose the
named one or none; and whether that is as they chose."""

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How many passages are retrieved, how many sentences are quoted, below which score nothing is answered (None: the
    fitted one), whether the log keeps the question's text, and whether a model's sentence that its sources do not support
    is shown and marked instead of left out."""

    passages: int = 8
    sentences: int = 2
    threshold: float | None = None
    keep_question: bool = True
    mark_unsupported: bool = False


@dataclass(slots=True)
class _Reply:
    """An answer under way: what was shown of it, and what the log will say of it if nothing more comes."""

    citations: Citations
    nearest: tuple[Nearest, ...]
    text: str = ""
    end: End = field(default_factory=lambda: End("stop"))
    tag: EventTag = EventTag.QUESTION_CANCELLED
    payload: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether the sources turned out not to answer."""
        return self.tag is EventTag.QUESTION_REFUSED

    def answer(self, card: ModelCard, asked: Record, passages: int, left_out: int, instead_of: str) -> Answer:
        """The whole of it, once nothing more comes."""
        return Answer(
            answer=self.text or REFUSAL,
            refused=self.refused,
            citations=() if self.refused else self.citations.all(),
            model=card.name,
            passages_left_out=left_out,
            audit_id=asked.id,
            runtime=card.runtime,
            passages=passages,
            nearest=self.nearest if self.refused else (),
            cut_off=self.end.reason == "length",
            unsupported=self.citations.unsupported(),
            instead_of=instead_of,
        )


class AnswerEngine:
    """Answers questions; its collaborators are what it may do: decide, search, fetch, generate, record."""

    def __init__(
        self,
        *,
        permit: Permit,
        search: Search,
        fetch: Fetch,
        runtime: Runtime | Choose,
        record: Recorder,
        options: AnswerOptions,
        moment: Moment,
    ) -> None:
        self._permit = permit
        self._search = search
        self._fetch = fetch
        self._choose: Choose = runtime if callable(runtime) else lambda kb, names, wanted: (runtime, True)
        self._record = record
        self._options = options
        self._moment = moment

    async def answer(
        self,
        question: str,
        principal: Principal,
        *,
        kb: str | None = None,
        limit: int | None = None,
        history: Sequence[Turn] = (),
        wanted: str | None = None,
    ) -> AsyncGenerator[AnswerEvent]:
        """Streams an answer, Done last, by the runtime that is wanted if that may be sent what was found and what the history
        rests on. Raises AuditUnavailable before the first piece where it cannot be recorded, and what the runtime raises;
        closing the stream cancels the model and is recorded too. Once what it rests on may no longer be read it
        raises SourcesChanged, once the principal is no longer let in AuthenticationRequired, either recorded as a refusal: no
        piece leaves after that."""
        standing = await anyio.to_thread.run_sync(self._standing, principal)
        scope = await anyio.to_thread.run_sync(self._permit, principal)
        count = limit or self._options.passages
        about = await anyio.to_thread.run_sync(standalone, question, history)
        found = await anyio.to_thread.run_sync(lambda: self._search.search(about, scope, limit=count, kb=kb))
        sources = [Source(number, hit.passage, hit.score) for number, hit in enumerate(found.hits, 1)]
        request = AnswerRequest(question, sources, found.weights, history, self._options.sentences, about)
        rests_on = [one for one in (turn.classification for turn in history) if one]
        runtime, as_wanted = self._choose(kb, [*(hit.passage.classification for hit in found.hits), *rests_on], wanted)
        instead_of = "" if as_wanted or wanted is None else wanted
        card = await runtime.card()
        request = await runtime.fit(request)
        asked = await self._asked(principal, scope, request, card, wanted)
        verdict = judge(about, found.hits, self._options.threshold)
        if isinstance(verdict, Refuse):
            answer = await self._refusal(principal, asked, found, card, verdict.reason)
            await _require(standing, [hit.passage for hit in found.hits])
            yield Delta(answer.answer)
            yield Done(replace(answer, instead_of=instead_of))
            return
        reply = _Reply(Citations(request.sources, mark=self._options.mark_unsupported), _nearest(found.hits))
        async with aclosing(self._spoken(runtime, request, standing, principal, asked, reply)) as deltas:
            async for delta in deltas:
                yield delta
        # Writing the record took its time, and what comes now quotes the sources once more.
        await _require(standing, [hit.passage for hit in found.hits])
        if reply.refused and not reply.text:
            yield Delta(REFUSAL)
        left_out = len(found.hits) - len(request.sources)
        yield Done(reply.answer(card, asked, len(request.sources), left_out, instead_of))

    async def _spoken(
        self,
        runtime: Runtime,
        request: AnswerRequest,
        standing: Standing,
        principal: Principal,
        asked: Record,
        reply: _Reply,
    ) -> AsyncGenerator[Delta]:
        """What the runtime says, each piece held against its sources; however it ends, the log says how."""
        passages = [source.passage for source in request.sources]
        try:
            async with aclosing(runtime.stream(request)) as pieces:  # type: ignore[type-var]  # every runtime is a generator
                async for piece in pieces:
                    text = ""
                    if isinstance(piece, End):
                        reply.end = piece
                    else:
                        text = await self._shown(piece, reply.citations, first=not reply.text)
                    # The last thing before it leaves, and of what does not leave too: a model need not speak to nobody.
                    await _require(standing, passages)
                    if text:
                        reply.text += text
                        yield Delta(text)
            rest = await anyio.to_thread.run_sync(reply.citations.rest)
            await _require(standing, passages)
            if rest:
                reply.text += rest
                yield Delta(rest)
            reply.tag, reply.payload = self._outcome(asked, reply)
        except (SourcesChanged, AuthenticationRequired) as lost:
            reply.tag, reply.payload = EventTag.QUESTION_REFUSED, _cut(asked, reply, lost)
            raise
        except Exception as error:
            # Whatever it is: what is left over here is a listener who went away, and the log must tell the two apart.
            reply.tag, reply.payload = EventTag.QUESTION_FAILED, {"question": asked.id, "error": type(error).__name__}
            raise
        finally:
            # The client may have left: without the shield the record of that would be cancelled with it.
            with anyio.CancelScope(shield=True):
                await self._recorded(reply.tag, principal, reply.payload or {"question": asked.id})

    async def _recorded(self, tag: EventTag, principal: Principal, payload: Mapping[str, Any]) -> Record:
        """The record once it is durable. On a thread: a disk that hangs must not keep everyone else waiting."""
        return await anyio.to_thread.run_sync(self._record, tag, principal.id, payload)

    async def _asked(
        self, principal: Principal, scope: AccessScope, request: AnswerRequest, card: ModelCard, wanted: str | None
    ) -> Record:
        payload: dict[str, Any] = {
            "policy": scope.policy_hash,
            "passages": [source.passage.id for source in request.sources],
            "contents": [source.passage.content_sha256 for source in request.sources],
            "model": card.name,
            "runtime": card.runtime,
            "digest": card.digest,
            **({"chosen": wanted} if wanted is not None else {}),
        }
        if self._options.keep_question:
            payload["text"] = request.question
        else:
            blinder = secrets.token_hex(16)
            payload["blinder"] = blinder
            payload["text_sha256"] = hashlib.sha256((blinder + request.question).encode()).hexdigest()
        return await self._recorded(EventTag.QUESTION_ASKED, principal, payload)

    async def _refusal(self, principal: Principal, asked: Record, found: SearchResult, card: ModelCard, reason: str) -> Answer:
        nearest = _nearest(found.hits)
        await self._recorded(EventTag.QUESTION_REFUSED, principal, _refused(asked, reason, nearest))
        return Answer(REFUSAL, True, (), card.name, 0, asked.id, card.runtime, len(found.hits), nearest)

    def _standing(self, principal: Principal) -> Standing:
        return Standing(principal, permit=self._permit, fetch=self._fetch, moment=self._moment)

    @staticmethod
    async def _shown(piece: Text | Quote, citations: Citations, *, first: bool) -> str:
        if isinstance(piece, Text):
            # On a thread: a sentence made to be slow to check must not keep everyone else waiting.
            return await anyio.to_thread.run_sync(citations.text, piece.text)
        quote = citations.quote(piece)
        return quote if first or not quote else f"\n{quote}"

    @staticmethod
    def _outcome(question: Record, reply: _Reply) -> tuple[EventTag, dict[str, Any]]:
        citations = reply.citations
        unsupported = len(citations.unsupported())
        if reply.end.reason == "refused" or not citations.all():
            reason = "nothing that the model said was supported" if unsupported else "the sources do not answer"
            return EventTag.QUESTION_REFUSED, _refused(question, reason, reply.nearest)
        cited = [[one.document, one.version, one.start, one.end] for one in citations.all()]
        return EventTag.QUESTION_ANSWERED, {
            "question": question.id,
            "citations": cited,
            "citations_dropped": citations.dropped,
            "characters": len(reply.text),
            "paths": list(dict.fromkeys(one.path for one in citations.all())),
            **({"unsupported": unsupported} if unsupported else {}),
        }


def _nearest(hits: Sequence[Hit]) -> tuple[Nearest, ...]:
    found: dict[DocumentId, Nearest] = {}
    for one in (hit.passage for hit in hits):
        near = Nearest(one.document, one.path, one.title, one.version, one.page, one.start, one.end)
        found.setdefault(one.document, near)
    return tuple(found.values())[:_NEAREST]


def _refused(question: Record, reason: str, nearest: Sequence[Nearest]) -> dict[str, Any]:
    """What the log says of a refusal: the documents that it names, too."""
    named = {"documents": [one.document for one in nearest], "paths": [one.path for one in nearest]}
    return {"question": question.id, "reason": reason, **named}


def _cut(question: Record, reply: _Reply, lost: SourcesChanged | AuthenticationRequired) -> dict[str, Any]:
    """What the log says of an answer that was cut off: what it had shown until then, too."""
    shown = reply.citations.all()
    documents, paths = (list(dict.fromkeys(one)) for one in ([one.document for one in shown], [one.path for one in shown]))
    left = isinstance(lost, AuthenticationRequired)
    reason = "who asked is no longer let in" if left else "what it rests on may no longer be read"
    return {"question": question.id, "reason": reason, "documents": documents, "paths": paths}


async def _require(standing: Standing, passages: Sequence[Passage]) -> None:
    """`Standing.require` where something has changed, on a thread, since it reads from the disk; what changes while the
    thread's word is on its way back is seen too."""
    while not standing.holds():
        await anyio.to_thread.run_sync(standing.require, [one.id for one in passages])
