"""The retrieval recipe over a real store: permitted, live, as many as asked for, with scores that mean the same each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.access.scope import AccessScope, UnsafeEverything
from policies.labels import AccessClass, Label
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.fusion import NEIGHBOUR, Fused, fuse, lifted, with_proximity
from vectorstore.lexical.analysis import bound, idf, query_terms, terms
from vectorstore.search import CANDIDATES, Search
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, DocumentId, Hit, PassageDraft, PassageId, Vectors

EMBEDDER = HashingEmbedder()
EVERYTHING = UnsafeEverything("the test compares with all that is there")
STAFF = AccessClass("handbook", "internal", frozenset({"staff"}), "hr")
SALES = AccessClass("handbook", "internal", frozenset({"sales"}), "hr")
BOARD = AccessClass("board", "confidential", frozenset({"directors"}), "board")
QUESTIONS = ["annual leave", "leave number seven", "of the and", "", "zebra", "leave " * 300, "Hotels? (limit) AND *"]


def draft(path: str, text: str, access: AccessClass = STAFF) -> tuple[DocumentDraft, Vectors]:
    made = DocumentDraft(
        source="/folder",
        path=path,
        title=path,
        media_type="text/plain",
        content_sha256=f"{abs(hash(path)):064x}",
        size=len(text),
        modified_ns=1,
        access=access,
        text=text,
        pages=(),
        passages=(PassageDraft(0, len(text), text, None),),
    )
    return made, EMBEDDER.embed([text])


def long_draft(path: str, texts: Sequence[str], access: AccessClass = STAFF) -> tuple[DocumentDraft, Vectors]:
    """A document of several passages."""
    whole, passages = "", []
    for text in texts:
        passages.append(PassageDraft(len(whole), len(whole) + len(text), text, None))
        whole += text + "\n"
    return replace(draft(path, whole, access)[0], passages=tuple(passages)), EMBEDDER.embed(texts)


def opened(directory: Path, checkpoint: Callable[[str], None] = lambda step: None, **options: Any) -> Store:
    Store.create(directory, EMBEDDER.fingerprint)
    return Store.open(directory, EMBEDDER.fingerprint, checkpoint=checkpoint, **options)


def scope(*classes: AccessClass) -> AccessScope:
    return AccessScope("ana", frozenset(one.id for one in classes), "p")


def found(store: Store, question: str, permitted: Any = EVERYTHING, *, limit: int = 10, kb: str | None = None) -> list[Hit]:
    return list(Search(store, EMBEDDER).search(question, permitted, limit=limit, kb=kb).hits)


def paths(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.path for hit in hits]


def corpus() -> list[tuple[DocumentDraft, Vectors]]:
    classes = (STAFF, SALES, BOARD)
    made = [
        draft(f"{number}.txt", f"annual leave number {number} {'filler ' * (number % 9)}", classes[number % 3])
        for number in range(180)
    ]
    return [*made, draft("hotel.txt", "Hotels are paid up to a limit, receipts included.", SALES)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Filled once; the tests that read it leave it as it is."""
    made = opened(tmp_path_factory.mktemp("search"))
    made.commit(corpus())
    yield made
    made.close()


@pytest.mark.parametrize("question", QUESTIONS)
def test_hits_come_best_first_none_twice_with_scores_between_none_and_one(store: Store, question: str) -> None:
    hits = found(store, question, limit=181)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len({hit.passage.id for hit in hits}) == len(hits)
    for hit in hits:
        assert all(0 <= part <= 1 + 1e-6 for part in (hit.score, hit.lexical, hit.dense, hit.proximity))


def test_as_many_come_as_were_asked_for_while_there_are_any(store: Store) -> None:
    # The words and the meaning bring a hundred each; who asks for more gets more.
    for limit in (1, 10, CANDIDATES, CANDIDATES + 50, 500):
        assert len(found(store, "annual leave", limit=limit)) == min(limit, 181)


WORDS = ["leave", "annual", "notice", "period", "hotel", "of", "receipt", "limit", "filler", "number"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Passages of the same few words at random, so that many hold all terms of a question and few hold them together."""
    random = np.random.default_rng(5)
    made = opened(tmp_path_factory.mktemp("mixed"))
    texts = [" ".join(random.choice(WORDS, size=int(random.integers(1, 60)))) for _ in range(300)]
    made.commit([long_draft(f"{number}.txt", texts[number : number + 3]) for number in range(0, len(texts), 3)])
    yield made
    made.close()


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), limit=st.sampled_from([1, 3, 10, 30]))
def test_no_text_that_is_left_unread_would_have_come_among_the_best(mixed: Store, words: list[str], limit: int) -> None:
    few = found(mixed, " ".join(words), limit=limit)
    with pytest.MonkeyPatch.context() as patch:
        # Then no bound is low enough to leave any out.
        patch.setattr("vectorstore.search._ROUNDING", 10.0)
        assert few == found(mixed, " ".join(words), limit=limit)


def test_a_passage_that_was_still_to_come_is_read_again_when_a_search_looks_further(
    mixed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found(mixed, "annual leave", limit=10)
    fetch, search = mixed.fetch, mixed.dense.search
    rounds: list[int] = []
    monkeypatch.setattr(mixed.dense, "search", lambda *given: rounds.append(1) or search(*given))
    monkeypatch.setattr(mixed, "fetch", lambda ids, scope: fetch(ids, scope) if len(rounds) > 1 else {})
    assert found(mixed, "annual leave", limit=10) == before
    assert len(rounds) == 2


def test_most_texts_are_left_unread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    fetch = store.fetch
    monkeypatch.setattr(store, "fetch", lambda ids, scope: read.append(len(ids)) or fetch(ids, scope))
    found(store, "receipts for hotels", limit=10)
    assert 0 < sum(read) < 60


@pytest.mark.parametrize("permitted", [(STAFF,), (SALES,), (BOARD,), (STAFF, BOARD)])
def test_a_narrower_permission_finds_what_an_index_of_that_alone_does(
    store: Store, permitted: tuple[AccessClass, ...], tmp_path: Path
) -> None:
    alone = opened(tmp_path)
    alone.commit([one for one in corpus() if one[0].access in permitted])

    def told(hits: Sequence[Hit]) -> list[Any]:
        return [(one.passage.path, one.score, one.lexical, one.dense, one.proximity, one.lift) for one in hits]

    for question in QUESTIONS:
        for limit in (1, 10, 181):
            part = told(found(store, question, scope(*permitted), limit=limit))
            assert part == told(found(alone, question, limit=limit))
    alone.close()


def test_an_empty_scope_finds_nothing_and_counts_nothing(store: Store) -> None:
    result = Search(store, EMBEDDER).search("annual leave", scope(), limit=10)
    assert (list(result.hits), result.candidates, dict(result.weights)) == ([], 0, {})
    stranger = AccessClass("handbook", "internal", frozenset({"nobody"}), "hr")
    assert found(store, "annual leave", scope(stranger)) == []


def test_a_knowledge_base_outside_the_scope_finds_nothing_and_one_inside_narrows_it(store: Store) -> None:
    assert found(store, "annual leave", scope(STAFF, SALES), kb="board") == []
    assert found(store, "annual leave", EVERYTHING, kb="there is none") == []
    inside = found(store, "annual leave", scope(STAFF, BOARD), limit=181, kb="board")
    assert {hit.passage.kb for hit in inside} == {"board"}
    assert len(inside) == 60
    assert len(found(store, "annual leave", EVERYTHING, limit=181, kb="handbook")) == 121


def test_each_part_of_a_score_is_what_it_says(store: Store) -> None:
    question = "hotel receipts number"
    hit = found(store, question, limit=1)[0]
    assert hit.passage.path == "hotel.txt"
    vector = EMBEDDER.embed_query(question)
    assert hit.dense == pytest.approx((vector @ EMBEDDER.embed([hit.passage.text]).T).item(), abs=1e-5)
    asked = query_terms(question)
    result = Search(store, EMBEDDER).search(question, EVERYTHING, limit=1)
    assert result.weights == {"hotel": idf(1, 181), "receipt": idf(1, 181), "number": idf(180, 181)}
    bm25 = store.lexical.query(asked, None).scores([hit.passage.id]).item()
    assert hit.lexical == pytest.approx(bm25 / bound([1, 1, 180], 181))


SEABIRDS = "Which seabirds nest on the northern cliffs?"


@pytest.fixture
def long(tmp_path: Path) -> Iterator[Store]:
    """A long document between others whose passages are numbered next to its own, and many that share a word with it."""
    made = opened(tmp_path)
    made.commit([draft("before.txt", "Pumps are serviced in May.", BOARD)])
    made.commit(
        [
            long_draft(
                "cliffs.txt", ["Seabirds nest on the northern cliffs: which.", "Puffins, razorbills.", "Tickets cost nine."]
            )
        ]
    )
    made.commit([draft("after.txt", "Boilers are serviced in June.")])
    made.commit([draft(f"{number}.txt", f"Northern line number {number}.") for number in range(CANDIDATES + 50)])
    yield made
    made.close()


def test_what_stands_beside_the_best_passage_comes_with_it_although_it_is_no_candidate(long: Store) -> None:
    best, second = found(long, SEABIRDS, limit=2)
    assert (best.passage.text, best.lift) == ("Seabirds nest on the northern cliffs: which.", 0)
    assert second.passage.text == "Puffins, razorbills."
    assert second.lift > 0
    own = second.score - second.lift
    assert second.score == pytest.approx(own + NEIGHBOUR * (best.score - own))


def test_only_the_passages_of_the_same_document_are_lifted(long: Store) -> None:
    for hit in found(long, SEABIRDS, limit=CANDIDATES):
        assert not hit.lift or hit.passage.path == "cliffs.txt"
    # Its number is next to the best passage's, and it lies in another knowledge base.
    assert "before.txt" not in paths(found(long, SEABIRDS, limit=2 * CANDIDATES, kb="handbook"))
    assert "before.txt" in paths(found(long, SEABIRDS, limit=2 * CANDIDATES))


@given(scores=st.lists(st.tuples(st.integers(1, 3), st.floats(0, 1)), max_size=30))
def test_a_lift_goes_towards_a_better_neighbour_and_never_past_it(store: Store, scores: list[tuple[int, float]]) -> None:
    some = found(store, "hotel", limit=1)[0]
    hits = [
        replace(
            some,
            score=score,
            passage=replace(some.passage, id=PassageId(number), document=DocumentId(f"doc-{document}")),
        )
        for number, (document, score) in enumerate(scores)
    ]
    after = lifted(hits)
    assert [hit.passage for hit in after] == [hit.passage for hit in hits]
    for place, (old, new) in enumerate(zip(hits, after, strict=True)):
        beside = [one.score for one in hits[max(0, place - 1) : place + 2] if one.passage.document == old.passage.document]
        assert old.score <= new.score <= max(beside)
        assert (new.score > old.score) == (max(beside) > old.score) or max(beside) - old.score < 1e-9
        assert new.lift == pytest.approx(new.score - old.score)
    for document in {hit.passage.document for hit in hits}:
        best = max(hit.score for hit in hits if hit.passage.document == document)
        assert max(hit.score for hit in after if hit.passage.document == document) == best


def test_the_graph_finds_what_exact_scoring_finds(store: Store, tmp_path: Path) -> None:
    graph = opened(tmp_path, exact_rows=0)
    graph.commit(corpus())
    try:
        for question in QUESTIONS[:2]:
            for permitted in (EVERYTHING, scope(STAFF), scope(BOARD, SALES)):
                assert paths(found(graph, question, permitted)) == paths(found(store, question, permitted))
    finally:
        graph.close()


CHANGES: dict[str, tuple[str, Callable[[Store, list[Any]], Any]]] = {
    "removed": ("retired", lambda store, gone: store.remove(gone)),
    "relabelled": ("flipped", lambda store, gone: store.relabel([(one, Label(BOARD)) for one in gone])),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rows", [10**6, 0], ids=["exact", "graph"])
@pytest.mark.parametrize("count", [60, CANDIDATES + 20])
def test_what_went_meanwhile_is_dropped_by_the_read_and_later_candidates_move_up(
    change: str, rows: int, count: int, tmp_path: Path
) -> None:
    """More than one read of candidates went, or all of them, and the indexes still have them, as in the middle of every
    change."""
    seen: list[list[str]] = []
    step, do = CHANGES[change]

    def look(reached: str) -> None:
        if reached == step and watching:
            seen.append(paths(found(store, "annual leave", scope(STAFF))))

    watching = False
    store = opened(tmp_path, look, exact_rows=rows)
    best = [f"best {number}.txt" for number in range(count)]
    rest = [f"rest {number}.txt" for number in range(12)]
    made = store.commit(
        [draft(path, "annual leave") for path in best] + [draft(path, "annual leave in other words") for path in rest]
    )
    assert {*paths(found(store, "annual leave", scope(STAFF)))} <= {*best}
    watching = True
    do(store, [one.id for one in made if one.path in best])
    assert len(seen) == 1
    assert len(seen[0]) == 10
    assert {*seen[0]} <= {*rest}
    assert {*paths(found(store, "annual leave", scope(STAFF), limit=100))} == {*rest}
    store.close()


def test_scores_stay_absolute_after_most_documents_went(tmp_path: Path) -> None:
    store = opened(tmp_path)
    made = store.commit([draft(f"{number}.txt", f"alpha word{number}") for number in range(150)])
    kept = store.commit([draft("kept.txt", "zebra quick")])
    store.remove([one.id for one in made[3:]])
    hit = found(store, "zebra quick")[0]
    assert hit.passage.document == kept[0].id
    assert hit.lexical <= 1
    assert hit.score <= 1
    store.close()


# Fusion.

SIDES = st.lists(st.tuples(st.floats(0, 5), st.floats(-1, 1)), max_size=12)


def fused(candidates: Sequence[tuple[float, float]], bound: float) -> Fused:
    lexical, dense = np.array(candidates, np.float64).reshape(-1, 2).T
    return fuse(np.arange(len(candidates)), lexical, bound, dense, np.ones(len(candidates)))


@given(candidates=SIDES)
def test_a_score_is_of_both_sides_and_proximity_only_adds_to_it(candidates: list[tuple[float, float]]) -> None:
    found = fused(candidates, 5.0)
    assert found.ids.tolist() == list(range(len(candidates)))
    assert found.lexical.tolist() == [pytest.approx(lexical / 5) for lexical, _ in candidates]
    assert found.dense.tolist() == [max(0.0, dense) for _, dense in candidates]
    for score, highest in zip(found.score.tolist(), found.highest.tolist(), strict=True):
        assert 0 <= score == with_proximity(score, 0.0) <= with_proximity(score, 1.0) == highest <= 1 + 1e-9


def test_more_of_either_side_is_a_higher_score() -> None:
    both, words, meaning, neither = fused([(4.0, 0.9), (4.0, 0.0), (0.0, 0.9), (1.0, 0.1)], 5.0).score.tolist()
    assert both > words > neither
    assert both > meaning > neither
    # A perfect match of both, as near as can be, is all that there is to reach.
    assert with_proximity(fused([(5.0, 1.0)], 5.0).score.item(), 1.0) == pytest.approx(1.0)


def test_a_question_without_terms_is_fused_by_meaning_alone() -> None:
    less, more = fused([(0.0, 0.2), (0.0, 0.4)], 0.0).score.tolist()
    assert more == 2 * less > 0
    assert fused([], 0.0).score.tolist() == []


def test_the_vectors_of_this_test_are_of_length_one() -> None:
    """Cosines above are dot products only then."""
    np.testing.assert_allclose(np.linalg.norm(EMBEDDER.embed(QUESTIONS), axis=1), 1.0, atol=1e-5)
    assert terms("Hotels hotel") == ["hotel", "hotel"]
