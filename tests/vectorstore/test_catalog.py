"""The catalog finds things by their keys, however many versions are live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import event

from policies.labels import AccessClass
from vectorstore.catalog import Catalog
from vectorstore.types import DocumentDraft, DocumentId, PassageDraft, PassageId
from vectorstore.versions import add_pending, flip, retire, touch

STAFF = AccessClass("handbook", "internal", frozenset({"staff"}), "hr")


def draft(number: int) -> DocumentDraft:
    text = f"Document {number}"
    passages = (PassageDraft(0, len(text), text, None),)
    return DocumentDraft("folder", f"{number}.txt", text, "text/plain", "0" * 64, 1, 1, STAFF, text, (), passages)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(tmp_path / "catalog.db")
    with made.writing() as connection:
        versions = [add_pending(connection, draft(number))[0] for number in range(20)]
        flip(connection, versions)
    return made


def flip_one(catalog: Catalog) -> object:
    with catalog.writing() as connection:
        version, _ = add_pending(connection, draft(3))
        flip(connection, [version])
    return True


def retire_one(catalog: Catalog) -> object:
    with catalog.writing() as connection:
        return retire(connection, [catalog.documents(None)[0].id])


def touch_one(catalog: Catalog) -> object:
    with catalog.writing() as connection:
        touch(connection, [(catalog.documents(None)[0].id, 2, 2)])
    return True


@pytest.mark.parametrize(
    "read",
    [
        lambda catalog: catalog.passages([PassageId(number) for number in range(1, 51)], None),
        lambda catalog: list(catalog.documents_at("folder", [f"{number}.txt" for number in range(50)])),
        lambda catalog: catalog.classes_by_document([f"doc-{number}" for number in range(50)]) == {},
        lambda catalog: catalog.document(DocumentId("doc-1"), None) is None,
        lambda catalog: catalog.classes(),
        lambda catalog: catalog.passages_of(DocumentId("doc-1")) or True,
        flip_one,
        retire_one,
        touch_one,
    ],
    ids=[
        "passages",
        "documents at paths",
        "classes by document",
        "document",
        "classes",
        "passages of a document",
        "flip",
        "retire",
        "touch",
    ],
)
def test_nothing_walks_through_all_live_versions(catalog: Catalog, read: Callable[[Catalog], object]) -> None:
    """A read by key that goes by the index of the state costs what the whole catalog holds."""
    plans: list[str] = []

    def explain(connection: object, cursor: object, statement: str, parameters: Sequence[object], *rest: object) -> None:
        if statement.startswith(("SELECT", "UPDATE")):
            raw = catalog._engine.raw_connection()
            plans.extend(str(row[3]) for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))
            raw.close()

    event.listen(catalog._engine, "before_cursor_execute", explain)
    assert read(catalog)
    assert plans
    assert [one for one in plans if "ix_version_state" in one or one.startswith("SCAN version")] == []
