"""Conversations: each person's own, kept in order, found, renamed, cut back by an edit, and gone when deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.errors import NotFoundError
from service.answer.conversation import standalone
from service.conversations.store import LONGEST_TITLE, ConversationStore, shortened
from service.runtimes.interface import Turn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    made = ConversationStore(tmp_path / "conversations.db")
    yield made
    made.close()


def test_turns_come_back_in_order_and_the_last_changed_conversation_first(store: ConversationStore) -> None:
    first, second = store.begin("ana", "Leave?"), store.begin("ana", "Travel?", "handbook")
    store.add("ana", first.id, "Leave?", "answered", {"answer": "30 days [1]"})
    store.add("ana", first.id, "And hotels?", "refused", {"answer": "The documents do not say."})
    assert [one.id for one in store.listed("ana")] == [first.id, second.id]
    assert [(one.number, one.question, one.outcome) for one in store.turns("ana", first.id)] == [
        (1, "Leave?", "answered"),
        (2, "And hotels?", "refused"),
    ]
    assert store.turns("ana", first.id)[0].answer == {"answer": "30 days [1]"}
    assert store.conversation("ana", second.id).kb == "handbook"


def test_somebody_else_s_conversation_looks_like_one_that_is_not_there(store: ConversationStore) -> None:
    mine = store.begin("ana", "Leave?")
    store.add("ana", mine.id, "Leave?", "answered", {"answer": "x"})
    for act in (
        lambda person, id: store.conversation(person, id),
        lambda person, id: store.turns(person, id),
        lambda person, id: store.add(person, id, "q", "answered", {}),
        lambda person, id: store.rename(person, id, "t"),
        lambda person, id: store.delete(person, id),
    ):
        with pytest.raises(NotFoundError) as foreign:
            act("eve", mine.id)
        with pytest.raises(NotFoundError) as absent:
            act("eve", "conv-none")
        assert foreign.value.message.replace(mine.id, "conv-none") == absent.value.message
    assert store.listed("eve") == []
    assert store.listed("eve", search="Leave") == []
    assert len(store.turns("ana", mine.id)) == 1


def test_an_edited_question_drops_what_followed_it(store: ConversationStore) -> None:
    made = store.begin("ana", "One?")
    for question in ("One?", "Two?", "Three?"):
        store.add("ana", made.id, question, "answered", {"answer": question})
    store.add("ana", made.id, "Two, better?", "answered", {}, after=1)
    assert [one.question for one in store.turns("ana", made.id)] == ["One?", "Two, better?"]


def test_conversations_are_found_by_title_and_question_word_for_word_and_not_by_what_was_answered(
    store: ConversationStore,
) -> None:
    made = store.begin("ana", "Holidays")
    store.add("ana", made.id, "How long is 30 % of März?", "answered", {"answer": "Ten days."})
    store.begin("ana", "Other")
    for words in ("holi", "How l", "30 %", "März"):
        assert [one.id for one in store.listed("ana", search=words)] == [made.id]
    for words in ("_", "Ten", "3%o"):
        assert store.listed("ana", search=words) == []
    assert store.listed("ana", search="x%") == []


def test_deleted_means_that_no_turn_is_left_in_the_file(store: ConversationStore, tmp_path: Path) -> None:
    made = store.begin("ana", "Secret quokka")
    store.add("ana", made.id, "Secret quokka?", "answered", {"answer": "quokka"})
    store.rename("ana", made.id, "Renamed")
    assert store.conversation("ana", made.id).title == "Renamed"
    store.delete("ana", made.id)
    assert store.listed("ana") == []
    store.close()
    assert b"quokka" not in b"".join(one.read_bytes() for one in tmp_path.iterdir())


def test_titles_are_one_line_cut_at_a_word() -> None:
    assert shortened("  How\nmany?  ") == "How many?"
    long = shortened("word " * 40)
    assert len(long) <= LONGEST_TITLE
    assert long.endswith("word…")
    assert len(shortened("x" * 300)) <= LONGEST_TITLE
    assert shortened(" \n ")


def test_feedback_is_listed_newest_first(store: ConversationStore) -> None:
    store.give_feedback("ana", "audit-1", "handbook", "wrong", "It is 31.", ["doc-1", "doc-2"])
    store.give_feedback("eve", "audit-2", None, "right", "")
    assert [(one.person, one.verdict, one.done) for one in store.feedback()] == [
        ("eve", "right", False),
        ("ana", "wrong", False),
    ]
    assert [one.documents for one in store.feedback()] == [None, ["doc-1", "doc-2"]]


def history(*questions: str) -> list[Turn]:
    return [turn for one in questions for turn in (Turn("user", one), Turn("assistant", "An answer about it."))]


@pytest.mark.parametrize(
    ("question", "before", "expected"),
    [
        ("How long is it?", ["What is parental leave?"], "What is parental leave? How long is it?"),
        ("And for part-time staff?", ["What is annual leave?"], "What is annual leave? And for part-time staff?"),
        ("Why?", ["Do taxis need a receipt?"], "Do taxis need a receipt? Why?"),
        ("What about trainees?", ["How is leave granted?", "Why?"], "How is leave granted? Why? What about trainees?"),
        (
            "What about trainees?",
            ["How is leave granted?", "Do taxis need a receipt?"],
            "Do taxis need a receipt? What about trainees?",
        ),
        ("What does error code E7 of the pump mean?", ["What is annual leave?"], "What does error code E7 of the pump mean?"),
        ("How long is it?", [], "How long is it?"),
    ],
)
def test_a_follow_up_carries_what_it_refers_back_to(question: str, before: list[str], expected: str) -> None:
    assert standalone(question, history(*before)) == expected


def test_a_conversation_keeps_the_model_that_was_chosen_last_and_one_of_before_has_none(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "conversations.db")
    mine, other = store.begin("ana", "Leave?", model="big"), store.begin("ana", "Travel?")
    store.choose("ana", other.id, "small")
    assert [store.conversation("ana", one.id).model for one in (mine, other)] == ["big", "small"]
    store.choose("ana", mine.id, None)
    assert store.conversation("ana", mine.id).model is None
    with pytest.raises(NotFoundError):
        store.choose("dora", mine.id, "big")
    store.close()
    with sqlite3.connect(tmp_path / "conversations.db") as database:
        database.execute("ALTER TABLE conversation DROP COLUMN model")
        database.execute("ALTER TABLE feedback DROP COLUMN documents")
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    store = ConversationStore(tmp_path / "conversations.db")
    assert store.conversation("ana", other.id).model is None
    store.close()
