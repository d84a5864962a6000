"""What a person may not read leaves no trace in what they are told, whatever is added, changed or removed there."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vectorstore.dense.exact
from policies.access.scope import AccessScope
from policies.identity import Principal, Role
from policies.labels import AccessClass, Label
from service.answer.engine import AnswerEngine, AnswerOptions
from service.answer.types import Done
from service.operations.run import run_in
from service.runtimes.extractive import ExtractiveRuntime
from service.settings import load_settings
from service.web.application import create_site
from service.wiring import Installation
from vectorstore.dense.chroma import ChromaVectors
from vectorstore.dense.exact import ExactVectors
from vectorstore.dense.planner import DensePlanner
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.search import Search
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, PassageDraft, PassageId

EMBEDDER = HashingEmbedder()
STAFF = AccessClass("handbook", "internal", frozenset({"staff"}), "hr")
PRINT = AccessClass("handbook", "internal", frozenset({"staff"}), "print")
FORBIDDEN = (
    AccessClass("handbook", "internal", frozenset({"sales"}), "hr"),
    AccessClass("board", "confidential", frozenset({"directors"}), "board"),
    AccessClass("handbook", "secret", frozenset({"staff"}), "hr"),
)
ANA = Principal("ana", "Ana", frozenset({"staff"}), "internal", frozenset({Role.USER}))
SCOPE = AccessScope("ana", frozenset({STAFF.id, PRINT.id}), "policy-1")
READABLE = {
    "leave.md": "Staff have thirty days of annual leave. Requests go to the line manager.",
    "carry.md": "Days of annual leave that staff have left over expire in March.",
    "hotel.md": "Hotels are paid up to 140 euros a night. Receipts are handed in within a month.",
    "print.md": "The printer HM-90 prints on both sides.\nToner is in the cupboard.\nHM-40 prints on one side alone.",
    "empty.md": "",
}
QUESTIONS = (
    "How many days of annual leave do staff have?",
    "What is paid for hotels?",
    "Who bought Tannhof Optics?",
    "Does the HM-90 print on both sides?",
    "Where is the zebra of Doctor Quill?",
    "leave leave annual the",
)


def draft(path: str, text: str, access: AccessClass) -> tuple[DocumentDraft, Any]:
    """A document with a passage for each line."""
    passages, start = [], 0
    for line in text.splitlines(keepends=True):
        passages.append(PassageDraft(start, start + len(line), line, None))
        start += len(line)
    made = DocumentDraft(
        source="/folder",
        path=path,
        title=path,
        media_type="text/markdown",
        content_sha256=f"{len(text):064x}",
        size=len(text),
        modified_ns=1,
        access=access,
        text=text,
        pages=(),
        passages=tuple(passages),
    )
    return made, EMBEDDER.embed([one.text for one in passages])


@dataclass
class World:
    """A store with what Ana may read, and all that she is told by it."""

    directory: Path
    store: Store

    def told(self) -> list[Any]:
        """Results with each part of each score, weights and counts; answers with citations and refusals; lists; to the bit."""
        search = Search(self.store, EMBEDDER)
        said: list[Any] = []
        for question in QUESTIONS:
            said += [search.search(question, SCOPE, limit=limit) for limit in (1, 50)]
            said.append(search.search(question, SCOPE, limit=10, kb="handbook"))
            said.append(self._answer(question, search))
        said += [self.store.browse(SCOPE), self.store.browse(SCOPE, named="leave"), self.store.documents(SCOPE)]
        return said

    def _answer(self, question: str, search: Search) -> tuple[Any, Any]:
        records: list[Any] = []

        def record(tag: Any, actor: str, payload: Mapping[str, Any]) -> Any:
            records.append((tag, actor, {name: value for name, value in payload.items() if name not in ("asked", "question")}))
            return SimpleNamespace(id="audit-1")

        engine = AnswerEngine(
            permit=lambda principal: SCOPE,
            search=search,
            fetch=self.store.fetch,
            runtime=ExtractiveRuntime(EMBEDDER),
            record=record,
            options=AnswerOptions(),
            moment=lambda principal: self.store.moment,
        )

        async def whole() -> Any:
            return [event async for event in engine.answer(question, ANA)]

        events = asyncio.run(whole())
        assert isinstance(events[-1], Done)
        return events, records

    def forbidden(self) -> list[Any]:
        everything = AccessScope("root", frozenset(one.id for one in FORBIDDEN), "policy-1")
        return self.store.documents(everything, limit=1000)

    def open_again(self, *, rebuilt: bool) -> None:
        """As a new process does; `rebuilt` as after one that was killed."""
        self.store.close()
        if rebuilt:
            for name in ("words", "dense"):
                (self.directory / name / "stamp.json").unlink()
        self.store = Store.open(self.directory, EMBEDDER.fingerprint)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("n")
    with pytest.MonkeyPatch.context() as patched:
        # So that rows move between the tail and the matrix all the time.
        patched.setattr(vectorstore.dense.exact, "_TAIL_ROWS", 3)
        Store.create(directory, EMBEDDER.fingerprint)
        made = World(directory, Store.open(directory, EMBEDDER.fingerprint))
        made.store.commit([draft(path, text, PRINT if path == "print.md" else STAFF) for path, text in READABLE.items()])
        yield made
        made.store.close()


WORDS = st.sampled_from(
    ["leave", "annual", "days", "staff", "hotels", "zebra", "Quill", "Tannhof", "Optics", "HM-90", "HM-40", "paid", "rare7"]
)
COPIES = st.sampled_from([text for text in READABLE.values() if text])
TEXTS = st.one_of(
    COPIES,
    st.tuples(COPIES, WORDS, WORDS).map(lambda drawn: drawn[0].replace("the", drawn[1]) + " " + drawn[2]),
    st.tuples(WORDS, st.integers(1, 400)).map(lambda drawn: f"{drawn[0]} " * drawn[1]),
    st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=1, max_size=9).map("\n".join),
)
WRITTEN = st.tuples(st.sampled_from("abcdef"), TEXTS, st.sampled_from(FORBIDDEN))
WRITES = st.tuples(st.just("write"), st.lists(WRITTEN, min_size=1, max_size=6, unique_by=itemgetter(0)))
CHANGES = st.one_of(WRITES, WRITES, st.tuples(st.sampled_from(["remove", "relabel", "open", "rebuild"]), st.integers(0, 99)))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changes=st.lists(CHANGES, min_size=1, max_size=6))
def test_r3_no_forbidden_document_moves_a_result_a_score_a_refusal_or_a_count(world: World, changes: Sequence[Any]) -> None:
    before = world.told()
    for kind, drawn in changes:
        if kind == "write":
            world.store.commit([draft(f"{name}.md", text, access) for name, text, access in drawn])
        elif kind in ("open", "rebuild"):
            world.open_again(rebuilt=kind == "rebuild")
        else:
            some = [one for one in world.forbidden() if (ord(one.path[0]) + drawn) % 2]
            if kind == "remove":
                world.store.remove([one.id for one in some])
            else:
                world.store.relabel([(one.id, Label(FORBIDDEN[drawn % len(FORBIDDEN)])) for one in some])
        assert world.told() == before


def test_r3_what_is_told_differs_where_a_permitted_document_changes(world: World) -> None:
    """So that the comparison above would see a difference."""
    before = world.told()
    [made] = world.store.commit([draft("extra.md", "zebra", STAFF)])
    assert sum(one != other for one, other in zip(world.told(), before, strict=True)) >= len(QUESTIONS)
    world.store.remove([made.id])
    assert world.told() == before


def test_r3_where_the_graph_is_asked_forbidden_near_copies_move_no_score_and_hardly_a_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past `exact_rows` permitted rows. bench/noninterference.py measures it on passages as they are."""
    random = np.random.default_rng(0)

    def near(centres: Any, length: float) -> Any:
        noise = random.standard_normal(centres.shape)
        moved = centres + length * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)

    rows = near(np.repeat(random.standard_normal((60, 48)), 50, axis=0), 4)
    queries = near(rows[::150], 0.5)
    copies = near(np.repeat(queries, 60, axis=0), 0.2)
    exact, keeper = ExactVectors(48), ChromaVectors(tmp_path)
    planner = DensePlanner(exact, keeper, lambda classes: ["kb"], exact_rows=1000)

    def add(first: int, number: int, vectors: Any) -> list[PassageId]:
        ids = [PassageId(first + place) for place in range(len(vectors))]
        keeper.add("kb", ids, vectors)
        exact.add(ids, [number] * len(ids), vectors)
        return ids

    def told() -> list[dict[PassageId, float]]:
        return [dict(planner.search(one[None], frozenset({0}), 100).pairs()) for one in queries]

    add(0, 0, rows)
    asked: list[int] = []
    nearest = keeper.nearest
    monkeypatch.setattr(keeper, "nearest", lambda *given: asked.append(1) or nearest(*given))
    before = told()
    assert len(asked) == len(queries)
    # The graph finds all but a few of the best.
    best = [dict(exact.search(one[None], frozenset({0}), 100).pairs()) for one in queries]
    assert sum(len(one.keys() & other.keys()) for one, other in zip(before, best, strict=True)) >= 0.98 * 100 * len(queries)
    there = add(10_000, 1, copies)
    assert all(
        planner.search(one[None], frozenset({1}), 1).scores[0] > max(said.values())
        for one, said in zip(queries, best, strict=True)
    )
    within = told()
    exact.delete(there)
    keeper.delete("kb", there)
    for now in (within, told()):
        for one, other in zip(before, now, strict=True):
            assert len(other) == 100
            assert {row: other[row] for row in one.keys() & other.keys()} == {
                row: one[row] for row in one.keys() & other.keys()
            }
            assert list(one)[:10] == list(other)[:10]
        assert sum(len(one.keys() & other.keys()) for one, other in zip(before, now, strict=True)) >= 0.98 * 100 * len(queries)
    keeper.close()


LABELS = """
[[rule]]
glob = "*"
kb = "plans"
classification = "confidential"
groups = ["directors"]
owner = "board"

[[rule]]
glob = "sales/*"
kb = "handbook"
classification = "internal"
groups = ["sales"]
owner = "hr"
"""
SECRETS = {
    "leave.md": "# Annual leave\n\nStaff have 90 days of annual leave. Zebra requests go to Tannhof by 1 March.\n",
    "sales/travel.md": "# Travel\n\nHotels are paid up to 140 euros a night. Taxis need a receipt.\n",
    "sales/flood.md": "# Flood\n\n" + "annual leave hotels taxis zebra " * 60 + "\n",
}
DESKS = """# Desks

## How do I book a desk?

Desks are booked on the floor plan until six in the evening of the day before.

## Lockers

Each desk has a locker. Keys to the lockers are at the reception.
"""
CHANGING = re.compile(r'"(audit_id|id|created|question_id)": ?("[^"]*"|\d+)|conv-\w+|[0-9a-f]{32,}')
"""What differs between two answers to the same request."""


def test_r3_no_route_and_no_suggestion_tells_that_forbidden_documents_came_or_went(
    make_indexed: Callable[[Path], tuple[Path, Path, dict[str, str]]], calls: Any, tmp_path: Path
) -> None:
    data, readable, keys = make_indexed(tmp_path / "i")
    (readable / "desks.md").write_text(DESKS, encoding="utf-8")
    folder = tmp_path / "secrets"
    with Installation(data, load_settings(data)) as installation:
        transport = httpx2.ASGITransport(create_site(installation))

        def ingest(asked: Mapping[str, Any]) -> None:
            run = run_in(installation, "ingest", asked, lambda event: None, threading.Event())["run"]
            assert run["quarantined"] == 0
            assert run["added"] + run["changed"] + run["removed"] > 0

        async def walk() -> list[Any]:
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", trust_env=False) as client:
                signed_in = await client.post("/web/sign-in", json={"credential": keys["ana"]})
                assert signed_in.status_code == 200
                seen = []
                for path in ("/", "/web/conversations", "/documents", "/readyz"):
                    seen.append(await client.get(path))
                for call in calls:
                    headers = {"Authorization": f"Bearer {keys['ana']}"}
                    for name in ("handbook", "board", "plans"):
                        one = call.about(name)
                        seen.append(await client.request(one.method, one.path, json=one.body, headers=headers))
                return [(one.request.url.path, one.status_code, CHANGING.sub("ID", one.text)) for one in seen]

        ingest({"folder": str(readable)})
        before = asyncio.run(walk())
        assert sum(status == 200 for _, status, _ in before) > 15
        assert 'class="suggestion"' in before[0][2]
        for names in (list(SECRETS), ["leave.md"], []):
            for name, text in SECRETS.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                if name in names:
                    path.write_text(text + "more" * len(names), encoding="utf-8")
            (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
            ingest({"folder": str(folder), "prune": True, "confirmed": True})
            assert asyncio.run(walk()) == before
