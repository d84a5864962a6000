"""Labels said by a person instead of the source: they hold, can be taken back, and every change of them can be looked up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from policies.errors import AccessDenied, NotFoundError, UsageError
from policies.labels import Label
from vectorstore.types import Act, DocumentId

Bench = Callable[..., Any]
PARTS = ("kb", "classification", "groups", "owner", "purpose", "retention", "label_from")


def label(document: dict[str, Any]) -> dict[str, Any]:
    return {part: document[part] for part in PARTS}


def rewrite(folder: Path, old: str, new: str) -> None:
    labels = folder / "labels.toml"
    text = labels.read_text(encoding="utf-8")
    assert old in text
    labels.write_text(text.replace(old, new), encoding="utf-8")


def test_a_person_s_label_holds_over_later_ingests_and_is_taken_back_to_what_the_source_says_by_then(workbench: Bench) -> None:
    bench = workbench()
    bench.ingest()
    leave = bench.document("leave.md")
    wish = {"classification": "confidential", "groups": ["directors"], "purpose": "a trial"}
    assert bench("documents.relabel", ids=[leave["id"]], reason="The board looks first", **wish) == {"relabelled": 1}
    changed = bench.document("leave.md")
    assert label(changed) == {**label(leave), **wish, "label_from": "override"}
    (bench.folder / "leave.md").write_text("# Annual leave\n\nStaff have 31 days of annual leave.\n", encoding="utf-8")
    rewrite(bench.folder, 'owner = "hr"', 'owner = "people-office"\nretention = "ten years"')
    report = bench.ingest()
    assert (report["changed"], report["relabelled"]) == (1, 1)
    again = bench.document("leave.md")
    assert (label(again), again["version"]) == (label(changed), 2)
    # It holds, too, where the document leaves the index and comes back, and where no rule labels its file any more.
    bench("documents.remove", ids=[leave["id"]])
    bench.ingest()
    assert label(bench.document("leave.md")) == label(changed)
    bench("documents.relabel", ids=[leave["id"]], clear=True, reason="Seen")
    back = bench.document("leave.md")
    assert label(back) == {**label(leave), "owner": "people-office", "retention": "ten years"}
    bench("documents.relabel", ids=[leave["id"]], purpose="another", reason="Once more")
    rewrite(bench.folder, 'glob = "*"', 'glob = "t*"')
    bench.ingest()
    assert bench.document("leave.md")["purpose"] == "another"
    with pytest.raises(UsageError, match=r"no rule labels leave\.md"):
        bench("documents.relabel", ids=[leave["id"]], clear=True, reason="Enough")


def test_every_change_is_in_the_history_and_in_the_log_with_who_when_what_and_why(workbench: Bench) -> None:
    bench = workbench()
    run = bench.ingest()["id"]
    identifier = bench.document("travel.md")["id"]
    bench("documents.relabel", ids=[identifier], retention="short", reason="Prices change", as_person="sam")
    bench("documents.relabel", ids=[identifier], retention="short", reason="Says nothing new", as_person="sam")
    bench("documents.hold", ids=[identifier], reason="A lawsuit", as_person="dirk")
    bench("documents.release", ids=[identifier], reason="It is settled")
    bench("documents.relabel", ids=[identifier], clear=True, reason="Not so", as_person="sam")
    rewrite(bench.folder, 'classification = "internal"', 'classification = "public"')
    later = bench.ingest()["id"]
    changes = bench("documents.labels", id=identifier)["changes"]
    assert [(one["kind"], one["actor"], one["reason"]) for one in changes] == [
        ("given", "local-owner", f"ingest {run}"),
        ("overridden", "sam", "Prices change"),
        ("held", "dirk", "A lawsuit"),
        ("released", "local-owner", "It is settled"),
        ("cleared", "sam", "Not so"),
        ("changed", "local-owner", f"ingest {later}"),
    ]
    assert changes[0]["old"] is None
    assert all(one["old"] == before["new"] for before, one in pairwise(changes))
    assert changes[-1]["new"] == label(bench.document("travel.md"))
    told = [
        one for one in bench.events("document:relabelled", "hold:set", "hold:lifted") if one.payload["document"] == identifier
    ]
    assert [(one.actor, one.payload["reason"]) for one in told] == [(one["actor"], one["reason"]) for one in changes[1:]]
    for record, change in zip(told, changes[1:], strict=True):
        if record.tag == "document:relabelled":
            sides = [{**json.loads(record.payload[side]), "label_from": change[side]["label_from"]} for side in ("old", "new")]
            assert [{part: one[part] for part in PARTS} for one in sides] == [change["old"], change["new"]]
    added = next(one for one in bench.events("document:added") if one.payload["path"] == "travel.md")
    assert json.loads(added.payload["label"])["origin"] == "rules"


def test_of_labels_that_a_person_may_not_see_the_history_tells_when_alone(workbench: Bench) -> None:
    bench = workbench()
    bench.ingest()
    identifier = bench.document("board/merger.md")["id"]
    with pytest.raises(NotFoundError):
        bench("documents.labels", id=identifier, as_person="ana")
    open_to_all = {"classification": "public", "groups": ["everyone"]}
    bench("documents.relabel", ids=[identifier], reason="Tannhof is told", **open_to_all)
    bench("documents.relabel", ids=[identifier], purpose="news", reason="It is news")
    told = bench("documents.labels", id=identifier, as_person="ana")
    assert [set(one) for one in told["changes"][:2]] == [{"number", "at", "withheld"}] * 2
    assert told["changes"][2]["reason"] == "It is news"
    assert "directors" not in json.dumps(told)
    assert not any(one["withheld"] for one in bench("documents.labels", id=identifier, as_person="dora")["changes"])


def test_purposes_and_retention_classes_are_those_of_the_settings(workbench: Bench) -> None:
    bench = workbench(INHOUSE_LABELS__PURPOSES="service, law", INHOUSE_LABELS__RETENTION_CLASSES="short")
    bench.ingest()
    identifier = bench.document("leave.md")["id"]
    bench("documents.relabel", ids=[identifier], purpose="law", retention="short", reason="So")
    for wrong in ({"purpose": "fun"}, {"retention": "long"}):
        with pytest.raises(UsageError, match="unknown"):
            bench("documents.relabel", ids=[identifier], reason="So", **wrong)
        rewrite(
            bench.folder, 'owner = "hr"', "\n".join(['owner = "hr"', *(f'{key} = "{value}"' for key, value in wrong.items())])
        )
        with pytest.raises(UsageError, match="unknown"):
            bench.ingest()
        rewrite(bench.folder, "".join(f'{key} = "{value}"' for key, value in wrong.items()), "")
    assert (bench.document("leave.md")["purpose"], bench.document("leave.md")["retention"]) == ("law", "short")


def test_who_relabels_needs_the_right_for_the_old_and_the_new_label_and_gives_a_reason(workbench: Bench) -> None:
    bench = workbench()
    bench.ingest()
    leave, merger = (bench.document(path)["id"] for path in ("leave.md", "board/merger.md"))
    with pytest.raises(AccessDenied):
        bench("documents.relabel", ids=[leave], purpose="x", reason="So", as_person="ana")
    with pytest.raises(NotFoundError):
        bench("documents.relabel", ids=[leave, merger], groups=["everyone"], reason="So", as_person="sam")
    for beyond in ({"classification": "confidential"}, {"groups": ["directors"]}):
        with pytest.raises(AccessDenied, match="you may not put documents into"):
            bench("documents.relabel", ids=[leave], reason="So", as_person="sam", **beyond)
    with pytest.raises(AccessDenied):
        bench("documents.hold", ids=[leave], reason="So", as_person="ana")
    for request in (
        {"purpose": "x"},
        {"purpose": "x", "reason": " "},
        {"reason": "So"},
        {"purpose": "x", "clear": True, "reason": "So"},
    ):
        with pytest.raises(UsageError):
            bench("documents.relabel", ids=[leave], **request)
    assert bench.events("document:relabelled", "hold:set") == []
    preview = bench("documents.relabel", ids=[leave], groups=["directors"], preview=True)
    assert {one["person"]: (one["gains"], one["loses"]) for one in preview["effects"]} == {"ana": (0, 1), "sam": (0, 1)}
    assert bench.events("document:relabelled") == []


def test_what_was_decided_on_one_label_changes_no_document_that_has_another_by_then(workbench: Bench) -> None:
    bench = workbench()
    bench.ingest()
    store = bench.installation.store
    leave = next(one for one in store.known(str(bench.folder)).values() if one.path == "leave.md")
    seen = {leave.id: replace(leave.access, owner="somebody before")}
    act = Act("sam", "So")
    for change in (
        lambda: store.relabel([(leave.id, Label(leave.access, "x"))], act, seen=seen),
        lambda: store.hold([leave.id], True, act, seen=seen),
        lambda: store.clear_overrides([leave.id], act, seen=seen),
        lambda: store.remove([leave.id], seen=seen),
    ):
        with pytest.raises(NotFoundError):
            change()
    assert store.known(str(bench.folder))["leave.md"] == leave
    assert store.remove([DocumentId(leave.id)], seen={leave.id: leave.access}) == 1
