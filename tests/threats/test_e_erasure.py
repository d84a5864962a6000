"""Erasure: a legal hold is stronger than everything that would take the text of a document away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from policies.errors import AccessDenied, LegalHold
from vectorstore.types import DocumentId

ROWS = '\n[[collection]]\nglob = "rows.jsonl"\nid = "id"\ntext = "text"\n'


def held_texts(bench: Any) -> dict[str, str]:
    """The texts of everything, by path."""
    return {
        one["path"]: bench("documents.show", id=one["id"], text=True)["text"] for one in bench("documents.list")["documents"]
    }


def test_e4_a_held_document_is_neither_removed_nor_replaced_on_any_path(workbench: Callable[..., Any]) -> None:
    bench = workbench()
    rows = bench.folder / "rows.jsonl"
    rows.write_text(json.dumps({"id": "1", "text": "Row one."}) + "\n" + json.dumps({"id": "2", "text": "Row two."}) + "\n")
    labels = bench.folder / "labels.toml"
    rules = labels.read_text() + ROWS
    labels.write_text(rules)
    bench.ingest()
    before = held_texts(bench)
    held = [bench.document(path)["id"] for path in ("leave.md", "travel.md", "rows.jsonl#1")]
    bench("documents.hold", ids=held, reason="A lawsuit")
    # Asked for, with one that is not held beside it: all or none.
    merger = bench.document("board/merger.md")["id"]
    with pytest.raises(LegalHold) as refused:
        bench("documents.remove", ids=[held[0], merger])
    assert (refused.value.http_status, refused.value.exit_code) == (409, 17)
    assert "leave.md" in refused.value.message
    with pytest.raises(LegalHold):
        bench.installation.store.remove([DocumentId(held[1])])
    # Its file changes, its line changes, its file goes, its rule goes.
    (bench.folder / "leave.md").write_text("# Annual leave\n\nThere is none.\n")
    rows.write_text(json.dumps({"id": "1", "text": "Another."}) + "\n" + json.dumps({"id": "2", "text": "Row two."}) + "\n")
    (bench.folder / "travel.md").unlink()
    for _ in range(2):
        report = bench.ingest(prune=True, confirmed=True)
        assert (report["quarantined"], report["held"], report["removed"]) == (1, 1, 0)
        assert report["records"] == {"quarantined": 1, "unchanged": 1}
        assert {(one["path"], one["reason"]) for one in report["refusals"]} == {
            (path, "legal-hold") for path in ("leave.md", "rows.jsonl#1", "travel.md")
        }
        assert held_texts(bench) == before
    labels.write_text(rules.replace('glob = "*"\n', 'glob = "nothing"\n'))
    assert bench.ingest()["held"] == 2
    assert held_texts(bench) == {path: text for path, text in before.items() if path != "rows.jsonl#2"}
    told = [(one.payload["path"], one.payload["reason"]) for one in bench.events("hold:refused")]
    assert told.count(("leave.md", "asked for")) == 1
    assert told.count(("travel.md", "its file is gone")) == 2
    assert ("leave.md", "its label is gone") in told
    # Who may hold it lifts it, and then all of that goes through.
    with pytest.raises(AccessDenied):
        bench("documents.release", ids=held, reason="No", as_person="ana")
    bench("documents.release", ids=held, reason="It is settled")
    labels.write_text(rules)
    report = bench.ingest(prune=True, confirmed=True)
    assert (report["changed"], report["removed"], report["held"], report["quarantined"]) == (1, 1, 0, 0)
    after = held_texts(bench)
    assert ("There is none." in after["leave.md"], after["rows.jsonl#1"], "travel.md" in after) == (True, "Another.", False)


def test_e4_a_hold_set_while_its_file_is_read_stops_the_commit(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = workbench()
    bench.ingest()
    before, identifier = held_texts(bench), bench.document("leave.md")["id"]
    store = bench.installation.store
    labels_for = store.labels_for

    def hold_first(drafts: Any) -> Any:
        found = labels_for(drafts)
        bench("documents.hold", ids=[identifier], reason="A lawsuit")
        return found

    monkeypatch.setattr(store, "labels_for", hold_first)
    (bench.folder / "leave.md").write_text("# Annual leave\n\nThere is none.\n")
    with pytest.raises(LegalHold):
        bench.ingest()
    monkeypatch.undo()
    assert held_texts(bench) == before
    assert bench.ingest()["refusals"][0]["reason"] == "legal-hold"
