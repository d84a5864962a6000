"""The store keeps catalog, vectors and words together, whatever kills it and whenever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from policies.access.scope import AccessScope, UnsafeEverything
from policies.errors import DataDirectoryError, IndexMismatch, NotFoundError
from policies.labels import AccessClass, Label
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.search import Search
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, DocumentId, IndexFingerprint, PassageDraft, Vectors

EMBEDDER = HashingEmbedder()
EVERYTHING = UnsafeEverything("the test compares with all that is there")
STAFF = AccessClass("handbook", "internal", frozenset({"staff"}), "hr")
BOARD = AccessClass("board", "confidential", frozenset({"directors"}), "board")
STEPS = ("pending", "vectors", "words", "flipped", "dropped")

CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import test_store_helpers as helpers
directory, step, change = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def checkpoint(reached):
    if reached == step:
        os.kill(os.getpid(), signal.SIGKILL)
store = helpers.opened(directory, checkpoint)
helpers.change(store, change)
print("ended")
"""


def draft(path: str, text: str, access: AccessClass = STAFF) -> tuple[DocumentDraft, Vectors]:
    """A document with a passage for each line."""
    passages, place = [], 0
    for line in text.splitlines():
        passages.append(PassageDraft(place, place + len(line), line, None))
        place += len(line) + 1
    made = DocumentDraft(
        source="/folder",
        path=path,
        title=path,
        media_type="text/plain",
        content_sha256=f"{hash(text) & (2**64 - 1):064x}",
        size=len(text),
        modified_ns=1,
        access=access,
        text=text,
        pages=(),
        passages=tuple(passages),
    )
    return made, EMBEDDER.embed([one.text for one in passages])


def opened(directory: Path) -> Store:
    return Store.open(directory, EMBEDDER.fingerprint)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    Store.create(tmp_path, EMBEDDER.fingerprint)
    return tmp_path


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    made = opened(directory)
    yield made
    made.close()


def texts(store: Store) -> dict[str, str]:
    """What a reader of everything sees."""
    return {one.path: store.document_text(EVERYTHING, one.id)[0] for one in store.documents(EVERYTHING)}


def assert_whole(store: Store) -> None:
    """The indexes hold exactly the passages of what is live."""
    there = store.documents(EVERYTHING, limit=10_000)
    live = {passage.id for one in there for passage in store.passages(EVERYTHING, one.id)}
    assert set(store.exact.ids()) == live
    kept = {identifier for kb in ("handbook", "board") for ids, _ in store.vectors.all(kb) for identifier in ids}
    assert kept == live
    assert set(store.lexical.ids()) == live
    assert set(store.lexical.query(["word"], None).best(10_000).ids.tolist()) == live


OLD = {"a.txt": "word one old\nword two old", "b.txt": "word three old"}
NEW = {"a.txt": "word one new\nword two new\nword four new", "c.txt": "word five new"}


def change(store: Store, name: str) -> None:
    """The changes that a child is killed in."""
    if name == "commit":
        store.commit([draft(path, text) for path, text in NEW.items()])
    elif name == "relabel":
        first = next(one for one in store.documents(EVERYTHING) if one.path == "a.txt")
        store.relabel([(first.id, Label(BOARD))])
    else:
        store.remove([one.id for one in store.documents(EVERYTHING)])


@pytest.mark.parametrize("step", [*STEPS, "retired"])
@pytest.mark.parametrize("name", ["commit", "remove", "relabel"])
def test_killed_at_any_step_it_shows_the_old_or_the_new_and_nothing_between(directory: Path, step: str, name: str) -> None:
    first = opened(directory)
    first.commit([draft(path, text) for path, text in OLD.items()])
    first.close()
    program = CHILD.replace("import test_store_helpers as helpers", _HELPERS)
    command = [sys.executable, "-c", program, str(directory), step, name, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -9), done.stderr
    after = {"commit": {**OLD, **NEW}, "remove": {}, "relabel": OLD}[name]
    again = opened(directory)
    try:
        assert texts(again) in (OLD, after)
        if done.returncode == 0:
            assert texts(again) == after
        classes = {one.path: one.access for one in again.documents(EVERYTHING)}
        for one in again.documents(EVERYTHING):
            # The label and its history change together.
            assert again.label_changes(EVERYTHING, one.id)[-1].new == one.label
        assert classes.get("a.txt") in (STAFF, BOARD, None)
        assert_whole(again)
        # It goes on working, and opening once more changes nothing.
        again.commit([draft("d.txt", "word six")])
        assert_whole(again)
    finally:
        again.close()


_HELPERS = """
import importlib.util
spec = importlib.util.spec_from_file_location("test_store_child", sys.argv[4] + "/test_store.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
class helpers:
    opened = staticmethod(lambda d, c: module.Store.open(d, module.EMBEDDER.fingerprint, checkpoint=c))
    change = staticmethod(module.change)
"""


def test_the_steps_of_a_commit_are_the_ones_that_are_killed(directory: Path) -> None:
    reached: list[str] = []
    store = Store.open(directory, EMBEDDER.fingerprint, checkpoint=reached.append)
    store.commit([draft(path, text) for path, text in OLD.items()])
    store.commit([draft(path, text) for path, text in NEW.items()])
    store.remove([one.id for one in store.documents(EVERYTHING)])
    store.close()
    assert set(reached) == {*STEPS, "retired"}


def test_a_new_version_replaces_the_old_in_one_commit(store: Store) -> None:
    store.commit([draft("a.txt", "word old")])
    made = store.commit([draft("a.txt", "word new")])[0]
    assert made.version == 2
    assert texts(store) == {"a.txt": "word new"}
    assert_whole(store)


def test_relabelling_moves_between_readers_and_embeds_nothing(store: Store) -> None:
    made = store.commit([draft("a.txt", "word secret")])[0]
    staff = AccessScope("ana", frozenset({STAFF.id}), "p")
    search = Search(store, EMBEDDER)
    assert search.search("word secret", staff, limit=5).hits
    store.relabel([(made.id, Label(BOARD))])
    assert not search.search("word secret", staff, limit=5).hits
    with pytest.raises(NotFoundError):
        store.document(staff, made.id)
    board = AccessScope("dora", frozenset({BOARD.id}), "p")
    assert [hit.passage.text for hit in search.search("word secret", board, limit=5).hits] == ["word secret"]
    assert_whole(store)


def test_thousands_of_documents_move_together_and_each_has_its_history(store: Store) -> None:
    made = store.commit([draft(f"{number}.txt", f"word {number}") for number in range(2_000)])
    before = store.moment
    store.relabel([(one.id, Label(BOARD)) for one in made[:1_500]])
    assert store.moment == before + 1
    staff, board = (AccessScope("ana", frozenset({one.id}), "p") for one in (STAFF, BOARD))
    assert (len(store.documents(staff, limit=5_000)), len(store.documents(board, limit=5_000))) == (500, 1_500)
    found = {hit.passage.path for hit in Search(store, EMBEDDER).search("word 3", staff, limit=50).hits}
    assert found <= {one.path for one in made[1_500:]}
    assert [one.new.access for one in store.label_changes(EVERYTHING, made[7].id)] == [STAFF, BOARD]
    assert_whole(store)


def test_an_empty_scope_finds_and_lists_nothing(store: Store) -> None:
    store.commit([draft("a.txt", "word")])
    nobody = AccessScope("eve", frozenset(), "p")
    assert store.documents(nobody) == []
    assert not Search(store, EMBEDDER).search("word", nobody, limit=5).hits


def test_a_search_without_a_scope_cannot_be_written(store: Store) -> None:
    with pytest.raises(TypeError):
        Search(store, EMBEDDER).search("word", limit=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        store.documents()  # type: ignore[call-arg]


def test_nothing_permitted_is_missed_and_nothing_forbidden_found_among_many_classes(store: Store) -> None:
    classes = [AccessClass("handbook", "internal", frozenset({f"g{n}"}), "hr") for n in range(40)]
    store.commit([draft(f"{n}-{m}.txt", f"word number {n} of {m}", one) for n, one in enumerate(classes) for m in range(3)])
    for share in (1, 7, 40):
        scope = AccessScope("ana", frozenset(one.id for one in classes[:share]), "p")
        hits = Search(store, EMBEDDER).search("word number", scope, limit=200).hits
        assert {hit.passage.path for hit in hits} == {f"{n}-{m}.txt" for n in range(share) for m in range(3)}


def test_the_exact_matrix_agrees_with_the_keeper_after_it_is_loaded_again(directory: Path) -> None:
    store = opened(directory)
    store.commit([draft(path, text) for path, text in OLD.items()])
    query = EMBEDDER.embed_query("word two")
    before = store.exact.search(query, None, 10)
    store.close()
    again = opened(directory)
    assert again.exact.search(query, None, 10).ids.tolist() == before.ids.tolist()
    near = dict(again.vectors.nearest("handbook", query, 10).pairs())
    for identifier, cosine in before.pairs():
        assert near[identifier] == pytest.approx(cosine, abs=1e-5)
    again.close()


def test_another_embedder_is_refused_with_what_mends_it(directory: Path) -> None:
    other = IndexFingerprint("hashing", 64, "0" * 64, 1)
    with pytest.raises(IndexMismatch) as caught:
        Store.open(directory, other)
    assert "inhouse" in caught.value.hint


def test_a_place_without_an_index_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError) as caught:
        opened(tmp_path / "none")
    assert "inhouse init" in caught.value.hint


def test_vectors_that_do_not_fit_their_passages_change_nothing(store: Store) -> None:
    made, vectors = draft("a.txt", "word one\nword two")
    with pytest.raises((ValueError, AssertionError)):
        store.commit([(made, np.asarray(vectors[:1]))])
    assert texts(store) == {}
    assert_whole(store)


def steps_of(looked_up: Callable[[], object]) -> int:
    """How many steps SQLite takes for what is looked up."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    def begin(connection: Any, *rest: Any) -> None:
        connection.connection.driver_connection.set_progress_handler(step, 1)

    sa.event.listen(sa.Engine, "before_cursor_execute", begin)
    try:
        looked_up()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", begin)
    return count


def test_a_forbidden_document_costs_no_more_than_an_absent_one_however_much_one_may_read(store: Store) -> None:
    forbidden, permitted = store.commit([draft("merger.txt", "merger", BOARD), draft("leave.txt", "leave")])
    scope = AccessScope("ana", frozenset({STAFF.id, *(f"class-{number}" for number in range(5000))}), "test")  # type: ignore[arg-type]

    def refused(identifier: str) -> None:
        with pytest.raises(NotFoundError):
            store.document(scope, DocumentId(identifier))

    assert store.document(scope, permitted.id) == permitted
    assert 0 < steps_of(lambda: refused("nowhere")) <= steps_of(lambda: refused(forbidden.id))
    # Finding two rows; their columns would be dozens of steps, and the permitted classes thousands.
    assert steps_of(lambda: refused(forbidden.id)) - steps_of(lambda: refused("nowhere")) < 20


def test_what_is_asked_of_lists_takes_forbidden_documents_no_longer_where_they_are_what_is_asked_for(store: Store) -> None:
    store.commit([draft(f"board/{number}.txt", "merger", BOARD) for number in range(50)])
    store.commit([draft(f"staff/{number}.txt", "leave") for number in range(50)])
    scope = AccessScope("ana", frozenset({STAFF.id}), "test")
    lists: list[tuple[Callable[[str], object], str, str, str]] = [
        (lambda name: store.documents(scope, kb=name), STAFF.kb, BOARD.kb, "nowhere"),
        (lambda name: store.documents(scope, prefix=name), "staff/", "board/", "blank/"),
        (lambda name: store.browse(scope, named=name), "staff", "board", "blank"),
    ]
    for ask, permitted, forbidden, nowhere in lists:
        assert steps_of(lambda: ask(permitted)) > steps_of(lambda: ask(nowhere))  # noqa: B023 -- called at once
        assert steps_of(lambda: ask(forbidden)) == steps_of(lambda: ask(nowhere))  # noqa: B023 -- called at once


def test_what_rests_on_several_documents_is_permitted_where_each_of_them_is(store: Store) -> None:
    made = store.commit([draft("a.txt", "one"), draft("b.txt", "two"), draft("merger.txt", "merger", BOARD)])
    first, second, forbidden = (one.id for one in made)
    staff = AccessScope("ana", frozenset({STAFF.id}), "test")
    assert store.permits(staff, [])
    assert store.permits(staff, [first, second, first])
    assert not store.permits(staff, [first, forbidden])
    assert not store.permits(staff, [first, "nowhere"])
    assert store.permits(EVERYTHING, [first, forbidden])
    assert not store.permits(EVERYTHING, ["nowhere"])
