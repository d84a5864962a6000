"""The documents desk over HTTP: whom it is there for, what a steward sees of each document, and what they may change."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from policies.sessions import csrf_token
from service.operations.run import run
from service.web.application import create_site

LABELS = """
[[rule]]
glob = "*.md"
kb = "desk"
classification = "internal"
groups = ["everyone"]
owner = "hr"

[[rule]]
glob = "*.pdf"
kb = "desk"
classification = "internal"
groups = ["everyone"]
owner = "hr"
"""
PATHS = (
    "/documents",
    "/documents/upload",
    "/documents/runs",
    "/documents/quarantine",
    "/documents/notes",
    "/documents/remove?id=x",
    "/documents/x",
)
OVERRIDE, ALEPH = "\u202e", "\u05d0"
LEAVE = "How many days of annual leave do staff have?"
MERGER = "For how much does the board plan to buy Tannhof Optics?"


@pytest.fixture(scope="module")
def source(service: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A source of its own, which only has what every steward may label; gone again at the end."""
    folder = tmp_path_factory.mktemp("desk") / "handbooks"
    folder.mkdir()
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    hostile = "# Keys\n\nKeys are at the porter's lodge <script>alert(1)</script> until 8 in the evening.\n"
    (folder / "keys.md").write_text(hostile, encoding="utf-8")
    (folder / "quokka.md").write_text("# Wombat rooms\n\nThe small rooms are booked by telephone.\n", encoding="utf-8")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing of it")
    for person, clearance, groups, roles in (
        ("stella", "internal", [], ["user", "steward"]),
        ("labella", "internal", [], ["steward"]),
        ("sten", "confidential", ["directors"], ["user", "steward"]),
    ):
        asked = {"id": person, "name": person.title(), "clearance": clearance, "groups": groups, "roles": roles}
        run(service.data, "people.add", asked)
    run(service.data, "ingest", {"folder": str(folder)})
    yield folder
    there = run(service.data, "documents.list", {"kb": "desk"})["documents"]
    there += run(service.data, "documents.list", {"kb": "elsewhere"})["documents"]
    if there:
        run(service.data, "documents.remove", {"ids": [one["id"] for one in there]})


@pytest.fixture(scope="module")
def browser(source: Path, signed_in: Callable[[str], Any]) -> Callable[[str], Any]:
    """Signs a person in, once the source and its stewards are there."""
    return signed_in


def document(service: Any, path: str) -> dict[str, Any]:
    """A document of the whole index, by its path."""
    listed = run(service.data, "documents.list", {})["documents"]
    return next(one for one in listed if one["path"] == path)


def events(service: Any, tag: str) -> list[dict[str, Any]]:
    """The newest records of an event, newest first."""
    found: list[dict[str, Any]] = []
    run(service.data, "audit.list", {"tag": tag, "limit": 10}, emit=lambda event: found.append(dict(event["record"])))
    return found


def test_for_who_is_no_steward_the_desk_is_not_there(service: Any, browser: Callable[[str], Any]) -> None:
    absent = browser("ana").client.get("/no-such-page")
    for person in ("ana", "root"):
        ana = browser(person)
        assert 'href="/documents"' not in ana.get("/")
        for path in (*PATHS, "/web/documents/progress"):
            response = ana.client.get(path)
            assert (response.status_code, response.text) == (404, absent.text), (person, path)
        for path in (
            "runs",
            "runs/stop",
            "quarantine",
            "quarantine/discard",
            "release",
            "remove",
            "relabel",
            "hold",
            "notes/x",
        ):
            assert ana.client.post(f"/web/documents/{path}", json={}).status_code == 404
    assert 'href="/documents"' in browser("stella").get("/")
    with httpx2.Client(base_url=service.url, trust_env=False, follow_redirects=False) as stranger:
        assert {stranger.get(path).headers["location"] for path in PATHS} == {"/sign-in"}


def test_what_changes_something_needs_the_token_of_the_session(browser: Callable[[str], Any]) -> None:
    stella = browser("stella")
    for path in ("runs", "quarantine", "remove", "relabel", "hold", "notes/x"):
        for token in ("", browser("ana").csrf):
            response = stella.client.post(f"/web/documents/{path}", json={}, headers={"x-csrf-token": token})
            assert response.status_code == 403, path


def test_a_steward_finds_documents_by_title_and_by_text_and_none_that_they_may_not_read(
    service: Any, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    everything = stella.get("/documents")
    for told in ("leave.md", "Annual leave", "handbook", "desk", "keys.md"):
        assert told in everything
    for hidden in ("merger", "Merger", "board", "directors"):
        assert hidden not in everything
    before = [one["id"] for one in events(service, "search:run")]
    by_title = stella.get("/documents?search=WOMBAT")
    assert by_title.count('name="id"') == 1
    by_text = stella.get("/documents?search=telephone")
    assert 'name="id"' not in by_text
    assert "booked by telephone" in by_text
    newest = events(service, "search:run")[0]
    assert newest["id"] not in before
    assert (newest["actor"], len(newest["payload"]["passages"]) > 0) == ("stella", True)
    assert "Tannhof" not in stella.get("/documents?search=Tannhof+Optics+48+million").replace("Tannhof Optics 48 million", "")
    assert "leave.md" not in stella.get("/documents?kb=desk")
    assert 'name="id"' not in stella.get("/documents?classification=confidential")
    # What may be meant in another way is read literally.
    assert 'name="id"' not in stella.get("/documents?search=%25")


def test_a_document_shows_its_passages_beside_the_original_and_that_is_recorded(
    service: Any, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    page = stella.get(f"/documents/{document(service, 'keys.md')['id']}")
    assert "<mark># Keys" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    told = events(service, "document:viewed")[0]
    assert (told["actor"], told["payload"]["path"], told["payload"]["text"]) == ("stella", "keys.md", True)
    board = stella.client.get(f"/documents/{document(service, 'board/merger.md')['id']}")
    absent = stella.client.get("/documents/doc-0000000000000000")
    assert (board.status_code, absent.status_code) == (404, 404)
    assert "merger" not in board.text.lower()
    assert 'href="/documents"' in absent.text


def test_a_steward_who_may_read_nothing_sees_labels_and_no_text(service: Any, browser: Callable[[str], Any]) -> None:
    labella = browser("labella")
    listed = labella.get("/documents")
    assert "quokka.md" in listed
    page = labella.get(f"/documents/{document(service, 'quokka.md')['id']}")
    # Nor is it told by what is found: the title came out of the text.
    found = labella.get("/documents?search=Wombat")
    for text in (listed, page, found.replace('value="Wombat"', "")):
        assert "Wombat" not in text
        assert "telephone" not in text
    assert events(service, "document:viewed")[0]["payload"]["text"] is False


def test_runs_and_quarantine_are_those_of_the_sources_that_the_steward_may_label(
    service: Any, indexed: tuple[Path, Path, Mapping[str, str]], source: Path, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    page = stella.get("/documents/runs")
    assert str(source) in page
    everything = run(service.data, "runs", {"limit": 1000})["runs"]
    # The folder with the board's documents; other tests of this service may have ingested what a steward may label.
    others = {one["source"]: one["id"] for one in everything if one["source"] == str(indexed[1])}
    assert others
    for other, identifier in others.items():
        assert other not in page.replace(str(source), "")
        assert identifier not in page
        assert stella.send("POST", "/web/documents/runs", {"run": identifier}).status_code == 404
    assert stella.send("POST", "/web/documents/runs", {"run": "run-x"}).status_code == 404
    assert stella.send("POST", "/web/documents/runs", {"run": "run-x", "folder": "/etc"}).status_code == 400
    quarantine = stella.get("/documents/quarantine")
    assert "broken.pdf" in quarantine
    assert "not a whole file of its kind" in quarantine


def test_a_source_is_ingested_again_and_what_was_refused_is_tried_again(
    service: Any, source: Path, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    reports = [one for one in run(service.data, "runs", {"limit": 1000})["runs"] if one["source"] == str(source)]
    (source / "late.md").write_text("# Late\n\nWho comes late rings twice.\n", encoding="utf-8")
    assert stella.send("POST", "/web/documents/runs", {"run": reports[0]["id"]}).status_code == 202
    assert stella.settled() == ""
    assert "late.md" in stella.get("/documents?kb=desk")
    assert events(service, "ingest:run:finished")[0]["actor"] == "stella"
    (source / "broken.pdf").unlink()
    entry = re.search(r'data-entry="(q-[0-9a-f]+)"', stella.get("/documents/quarantine"))
    assert entry is not None
    assert stella.send("POST", "/web/documents/quarantine", {"entry": entry.group(1)}).status_code == 202
    assert stella.settled() == ""
    assert "broken.pdf" not in stella.get("/documents/quarantine")
    assert stella.send("POST", "/web/documents/quarantine", {"entry": entry.group(1)}).status_code == 404


def test_a_file_that_no_rule_labels_is_released_with_a_label_that_holds_over_later_runs(
    service: Any, source: Path, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    for name in ("gate.txt", "fence.txt"):
        (source / name).write_text(f"Whoever asks of the {name} finds it closed at nine.", encoding="utf-8")
    run(service.data, "ingest", {"folder": str(source)})
    entries = {one["path"]: one for one in run(service.data, "quarantine.list", {"source": str(source)})["quarantine"]}
    gate, fence = entries["gate.txt"]["id"], entries["fence.txt"]["id"]
    assert f"/documents/release?entry={gate}" in stella.get("/documents/quarantine")
    assert 'name="reason"' in stella.get(f"/documents/release?entry={gate}")
    label = {"kb": "desk", "classification": "internal", "groups": "everyone", "owner": "hr", "reason": "the porter asks"}
    higher = {**label, "groups": "directors", "classification": "confidential"}
    assert stella.send("POST", "/web/documents/release", {"id": gate, **higher}).status_code == 403
    assert stella.send("POST", "/web/documents/release", {"id": gate, **label, "reason": " "}).status_code == 400
    assert stella.send("POST", "/web/documents/release", {"id": "q-x", **label}).status_code == 404
    assert stella.send("POST", "/web/documents/release", {"id": gate, **label}).status_code == 202
    assert stella.settled() == ""
    found = document(service, "gate.txt")
    assert (found["kb"], found["groups"]) == ("desk", ["everyone"])
    told = events(service, "document:released")[0]
    assert (told["actor"], told["payload"]["entry"], told["payload"]["reason"]) == ("stella", gate, "the porter asks")
    words = ("--kb", "desk", "--classification", "internal", "--groups", "everyone", "--owner", "hr")
    done = service.inhouse("quarantine", "release", fence, *words, "--reason", "so does she")
    assert done.returncode == 0, done.stderr
    # No rule labels them to this day: what the person said holds, and a changed file does not lose it.
    (source / "gate.txt").write_text("Whoever asks of the gate finds it closed at ten now.", encoding="utf-8")
    again = run(service.data, "ingest", {"folder": str(source)})["run"]
    assert (again["removed"], again["changed"]) == (0, 1)
    assert {document(service, name)["kb"] for name in ("gate.txt", "fence.txt")} == {"desk"}
    assert document(service, "gate.txt")["version"] == 2
    # A rule that labels one later is kept beside the person's word, which holds.
    rule = '\n[[rule]]\nglob = "*.txt"\nkb = "elsewhere"\nclassification = "internal"\ngroups = ["everyone"]\nowner = "hr"\n'
    (source / "labels.toml").write_text(LABELS + rule, encoding="utf-8")
    (source / "gate.txt").write_text("Whoever asks of the gate finds it closed at eleven now.", encoding="utf-8")
    run(service.data, "ingest", {"folder": str(source)})
    assert {document(service, name)["kb"] for name in ("gate.txt", "fence.txt")} == {"desk"}
    (source / "labels.toml").write_text(LABELS, encoding="utf-8")
    for name in ("gate.txt", "fence.txt"):
        (source / name).unlink()
    run(service.data, "ingest", {"folder": str(source), "prune": True, "confirmed": True})


def test_while_a_run_is_on_its_progress_is_told_and_no_other_begins(
    service: Any, source: Path, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    lines = [json.dumps({"id": str(number), "text": f"Line {number} tells of room {number}. " * 9}) for number in range(3000)]
    (source / "lines.jsonl").write_text("\n".join(lines), encoding="utf-8")
    collection = '\n[[rule]]\nglob = "*.jsonl"\nkb = "desk"\nclassification = "internal"\ngroups = ["everyone"]\nowner = "hr"\n'
    mapping = '[[collection]]\nglob = "*.jsonl"\nid = "id"\ntext = ["text"]\n'
    (source / "labels.toml").write_text(LABELS + collection + mapping, encoding="utf-8")
    stop, told = threading.Event(), threading.Event()
    going = threading.Thread(
        target=run,
        args=(service.data, "ingest", {"folder": str(source)}),
        kwargs={"stop": stop, "emit": lambda event: told.set()},
    )
    going.start()
    try:
        assert told.wait(60)
        progress = stella.client.get("/web/documents/progress").json()
        assert progress["busy"] is True
        assert set(progress["progress"]) == {"files", "of", "passages", "share"}
        assert progress["run"] in stella.get("/documents/runs")
        again = stella.send("POST", "/web/documents/runs", {"run": progress["run"]})
        assert (again.status_code, again.json()["detail"]) == (400, "an ingest run is on already")
        assert browser("labella").client.get("/web/documents/progress").json()["run"] == progress["run"]
        assert stella.send("POST", "/web/documents/runs/stop", {"run": "run-x"}).status_code == 404
        assert stella.send("POST", "/web/documents/runs/stop", {"run": progress["run"]}).status_code == 202
        assert stella.settled() == ""
        assert run(service.data, "runs", {"id": progress["run"]})["runs"][0]["outcome"] == "stopped"
        assert "stopped by a person" in stella.get("/documents/runs")
        asked = events(service, "ingest:run:stopped")[0]
        assert (asked["actor"], asked["payload"]) == ("stella", {"run": progress["run"]})
        refused = service.inhouse("runs", progress["run"], "--stop")
        assert (refused.returncode, "is not under way" in refused.stderr) == (2, True)
    finally:
        stop.set()
        going.join(60)
        (source / "lines.jsonl").unlink()
        (source / "labels.toml").write_text(LABELS, encoding="utf-8")
    assert stella.client.get("/web/documents/progress").json()["progress"] is None


def test_a_note_is_there_only_for_who_knows_of_what_the_answer_rests_on(service: Any, browser: Callable[[str], Any]) -> None:
    asked = {}
    for person, question in (("ana", LEAVE), ("dora", MERGER)):
        one = browser(person)
        html = one.send("POST", "/web/ask", {"question": question}).text
        found = re.search(r'data-audit=\\"([^"\\]+)', html)
        assert found is not None
        asked[person] = found.group(1)
        note = {"question": found.group(1), "verdict": "wrong", "reason": f"{person} says so"}
        assert one.send("POST", "/web/feedback", note).status_code == 200
    repeated = {"question": asked["dora"], "verdict": "tell-owner", "reason": MERGER}
    assert browser("dora").send("POST", "/web/feedback", repeated).status_code == 200
    for_the_board = {"question": asked["dora"], "verdict": "tell-owner", "reason": "for the board alone", "kb": "board"}
    hidden = browser("dora").send("POST", "/web/feedback", for_the_board).json()["feedback"]
    stella = browser("stella")
    page = stella.get("/documents/notes")
    for shown in (LEAVE, "ana says so", asked["ana"]):
        assert shown in page
    for hers in ("Tannhof", "dora says so", "for the board alone", asked["dora"]):
        assert hers not in page
    assert stella.send("POST", f"/web/documents/notes/{hidden}", {"done": True}).status_code == 404
    article = next(one for one in page.split("<article")[1:] if "ana says so" in one)
    note = re.search(r'data-note="([^"]+)"', article)
    assert note is not None
    assert stella.send("POST", f"/web/documents/notes/{note.group(1)}", {"done": True}).status_code == 200
    page = browser("sten").get("/documents/notes")
    assert page.index("dora says so") < page.index("ana says so")
    stella.get("/documents/notes")
    assert events(service, "feedback:done")[0]["payload"] == {"feedback": note.group(1), "done": True}
    # That a colleague's question was shown is in the log; one that was not shown is not among them.
    read = events(service, "feedback:read")[0]
    assert (read["actor"], asked["ana"] in read["payload"]["questions"]) == ("stella", True)
    assert asked["dora"] not in read["payload"]["questions"]
    everything = browser("sten").get("/documents/notes")
    for shown in (LEAVE, MERGER, "for the board alone"):
        assert shown in everything
    assert 'data-done="no"' in page


def test_a_preview_tells_who_gains_and_loses_and_the_relabelling_is_recorded(
    service: Any, browser: Callable[[str], Any]
) -> None:
    stella = browser("stella")
    keys = document(service, "keys.md")["id"]
    words = {"kb": "elsewhere", "classification": "internal", "groups": "stella-only, directors", "owner": "hr"}
    query = "&".join(f"{name}={value}" for name, value in words.items())
    refused = stella.get(f"/documents/relabel?id={keys}&{query}")
    assert "you may not put documents into elsewhere" in refused
    assert "data-post" not in refused
    assert stella.send("POST", "/web/documents/relabel", {"ids": [keys], **words, "reason": "So"}).status_code == 403
    words |= {"classification": "public", "groups": "everyone"}
    run(service.data, "people.add", {"id": "pia", "name": "Pia", "clearance": "public", "roles": ["user"]})
    query = "&".join(f"{name}={value}" for name, value in words.items())
    preview = stella.get(f"/documents/relabel?id={keys}&{query}")
    effects = preview[preview.index('class="effects"') : preview.index("</table>")]
    assert "pia" in effects
    assert "ana" not in effects
    assert document(service, "keys.md")["kb"] == "desk"
    assert "needs a reason" in stella.send("POST", "/web/documents/relabel", {"ids": [keys], **words}).text
    words["reason"] = "Visitors ask for it"
    assert stella.send("POST", "/web/documents/relabel", {"ids": [keys], **words}).status_code == 200
    changed = document(service, "keys.md")
    assert (changed["kb"], changed["classification"], changed["id"]) == ("elsewhere", "public", keys)
    told = events(service, "document:relabelled")[0]
    assert (told["actor"], told["payload"]["document"]) == ("stella", keys)
    assert (told["payload"]["reason"], json.loads(told["payload"]["old"])["kb"]) == ("Visitors ask for it", "desk")
    shown = stella.get(f"/documents/{keys}")
    assert "a person, instead of the source" in shown
    assert "Visitors ask for it" in shown
    assert f"/documents/relabel?id={keys}&amp;clear=true" in shown
    assert "Back to the source&#39;s label" in shown
    assert 'name="clear" value="true"' in stella.get(f"/documents/relabel?id={keys}&clear=true")
    board = document(service, "board/merger.md")["id"]
    assert stella.client.get(f"/documents/relabel?id={board}").status_code == 404
    assert "no document is chosen" in stella.client.get("/documents/relabel").text
    assert stella.send("POST", "/web/documents/relabel", {"ids": [keys, board], **words}).status_code == 404
    back = {"ids": [keys], "clear": True, "reason": "The visitors have gone"}
    assert stella.send("POST", "/web/documents/relabel", back).status_code == 200
    assert (document(service, "keys.md")["kb"], document(service, "keys.md")["label_from"]) == ("desk", "rules")


def test_a_hold_is_put_on_a_document_and_lifted_on_its_page_with_a_reason(service: Any, browser: Callable[[str], Any]) -> None:
    stella = browser("stella")
    quokka, board = document(service, "quokka.md")["id"], document(service, "board/merger.md")["id"]
    wanted = {"ids": [quokka], "reason": "Case 17/2026", "held": True}

    def send(**said: Any) -> Any:
        return stella.send("POST", "/web/documents/hold", {**wanted, **said})

    before = stella.get(f"/documents/{quokka}")
    assert 'data-post="/web/documents/hold"' in before
    assert 'name="held" value="true"' in before
    for reason in ("", "  ", "x" * 1001):
        assert send(reason=reason).status_code == 400
    assert send(ids=[quokka, board]).status_code == 404
    assert not document(service, "quokka.md")["held"]
    told = send()
    assert (told.status_code, told.json()) == (200, {"next": f"/documents/{quokka}"})
    shown = stella.get(told.json()["next"])
    for there in ("This document is under legal hold", "Case 17/2026", 'name="held" value="false"'):
        assert there in shown
    assert f"/documents/remove?id={quokka}" not in shown
    refused = stella.send("POST", "/web/documents/remove", {"ids": [quokka]})
    assert (refused.status_code, document(service, "quokka.md")["held"]) == (409, True)
    # Once more changes nothing, and is no event.
    assert send(reason="Again").status_code == 200
    record = events(service, "hold:set")[0]
    assert record["actor"] == "stella"
    assert record["payload"] == {"document": quokka, "path": "quokka.md", "reason": "Case 17/2026"}
    assert send(reason="It is settled", held=False).status_code == 200
    record = events(service, "hold:lifted")[0]
    assert (record["actor"], record["payload"]["reason"]) == ("stella", "It is settled")
    assert f"/documents/remove?id={quokka}" in stella.get(f"/documents/{quokka}")


def test_a_steward_whom_policy_gives_no_right_to_hold_finds_no_hold_and_sets_none(
    workbench: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(repository / "policies" / "defaults", policies)
    stewards = (policies / "stewards.cedar").read_text()
    hold = stewards[stewards.index('@id("stewards-hold")') : stewards.index('@id("stewards-explain")')]
    (policies / "stewards.cedar").write_text(stewards.replace(hold, ""))
    bench = workbench(INHOUSE_ACCESS__POLICIES=str(policies))
    bench.ingest()
    leave = bench.document("leave.md")["id"]
    session = bench.installation.sessions.begin_for("sam", datetime.timedelta(hours=1))[1]
    headers = {"cookie": f"inhouse_session={session}", "x-csrf-token": csrf_token(session)}
    client = TestClient(create_site(bench.installation), base_url="http://localhost")
    shown = client.get(f"/documents/{leave}", headers=headers).text
    assert f"/documents/relabel?id={leave}" in shown
    assert "/web/documents/hold" not in shown
    for held in (True, False):
        said = {"ids": [leave], "reason": "So", "held": held}
        assert client.post("/web/documents/hold", json=said, headers=headers).status_code == 403
    assert not bench.document("leave.md")["held"]
    assert bench.events("hold:set", "hold:lifted") == []


def test_a_removal_is_previewed_recorded_and_of_all_or_none(service: Any, browser: Callable[[str], Any]) -> None:
    stella = browser("stella")
    quokka, board = document(service, "quokka.md")["id"], document(service, "board/merger.md")["id"]
    preview = stella.get(f"/documents/remove?id={quokka}")
    effects = preview[preview.index('class="effects"') : preview.index("</table>")]
    for person in ("ana", "dora", "stella"):
        assert person in effects
    assert "labella" not in effects
    assert stella.send("POST", "/web/documents/remove", {"ids": [quokka, board]}).status_code == 404
    assert document(service, "quokka.md")["id"] == quokka
    assert stella.send("POST", "/web/documents/remove", {"ids": [quokka]}).status_code == 200
    assert "quokka.md" not in stella.get("/documents")
    told = events(service, "document:removed")[0]
    assert (told["actor"], told["payload"]["document"]) == ("stella", quokka)


class Turned(HTMLParser):
    """Texts of a page that turn the direction of writing beside others in a line: neither kept apart in `bdi` nor alone in
    their block."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loose: list[str] = []
        self.kept = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "input", "br", "img"):
            self.open.append(dict(attributes).get("class") or tag if tag in ("div", "p") else tag)

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if {OVERRIDE, ALEPH} & set(data):
            self.kept += "bdi" in self.open
            if not {"bdi", "title", "h1", "passage", "excerpt"} & set(self.open):
                self.loose.append(data)


def test_a_title_or_path_that_turns_the_direction_of_writing_turns_nothing_beside_it(workbench: Callable[..., Any]) -> None:
    bench = workbench()
    name = f"{ALEPH}-lodge.md"
    (bench.folder / name).write_text(f"# Keys {OVERRIDE} of the lodge\n\nThe keys are there.", encoding="utf-8")
    bench.ingest()
    other = bench.folder.parent / f"other{ALEPH}"
    other.mkdir()
    (other / "labels.toml").write_text(LABELS, encoding="utf-8")
    (other / f"plan{OVERRIDE}.pdf").write_text("no PDF", encoding="utf-8")
    (other / f"gate{ALEPH}.txt").write_text("The gate is closed.", encoding="utf-8")
    bench("ingest", folder=str(other))
    document = bench.document(name)["id"]
    bench("documents.relabel", ids=[document], purpose="", owner="porter", reason=f"So {OVERRIDE} be it", as_person="sam")
    gate = next(one["id"] for one in bench("quarantine.list")["quarantine"] if one["path"].startswith("gate"))
    pages = {
        "/documents": 2,
        "/documents?search=keys": 4,
        f"/documents/{document}": 2,
        "/documents/runs": 4,
        "/documents/quarantine": 4,
        f"/documents/release?entry={gate}": 2,
        f"/documents/relabel?id={document}": 1,
        f"/documents/remove?id={document}": 1,
    }
    with TestClient(create_site(bench.installation), base_url="http://localhost") as client:
        code = bench("people.link", id="sam")["url"].partition("#")[2]
        assert client.post("/web/sign-in", json={"credential": code}).status_code == 200
        for path, least in pages.items():
            read = Turned()
            read.feed(client.get(path).text)
            assert read.loose == [], path
            assert read.kept >= least, path
