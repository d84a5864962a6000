"""The audit desk as a browser gets it: who may look, what a filter finds, and that every look is in the log."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from policies.audit.events import EventTag
from policies.audit.log import AuditLog
from policies.audit.pages import OUTCOMES
from policies.audit.query import record, records
from policies.audit.records import parsed
from service.web.audit_export import cell, exported
from service.web.audit_rows import visible

LEAVE = "How many days of annual leave do staff have?"
MERGER = "For how much does the board plan to buy Tannhof Optics?"
HOSTILE = '<script>document.title="owned"</script> \u202eyppah\x1b[31m =cmd|x <img src=x onerror=alert(1)>'


@pytest.fixture
def signed_in(service: Any, open_browser: Callable[..., Any]) -> Callable[[str], httpx2.Client]:
    """Makes clients that are signed in, and send the token of their session."""

    def make(person: str) -> httpx2.Client:
        browser = open_browser(service, service.keys[person])
        client: httpx2.Client = browser.client
        client.headers["x-csrf-token"] = browser.csrf
        return client

    return make


def ask(client: httpx2.Client, question: str) -> str:
    """Asks, and gives the audit id of the question."""
    answer = client.post("/web/ask", json={"question": question})
    found = re.search(r'data-audit=\\"([^"\\]+)\\"', answer.text)
    assert found is not None, answer.text
    return found.group(1)


def shown(client: httpx2.Client, path: str = "/audit", **filters: str) -> list[tuple[str, str, str]]:
    """Person, event and id of each row of a page, in its order."""
    page = client.get(path, params=filters or None)
    assert page.status_code == 200, page.text
    rows = re.findall(r'<bdi>([^<]*)</bdi></td>\s*<td role="cell"><a href="/audit/([^"]+)">([^<]+)</a>', page.text)
    return [(person, tag, identifier) for person, identifier, tag in rows]


def newest(service: Any) -> Any:
    return next(records(service.data / "audit", limit=1))


def test_for_who_may_not_read_the_log_the_desk_is_not_there(service: Any, signed_in: Callable[[str], httpx2.Client]) -> None:
    for person in ("ana", "root"):
        client = signed_in(person)
        absent = client.get("/audit-of-nothing")
        before = newest(service).id
        for method, path in (
            ("GET", "/audit"),
            ("GET", "/audit?event=none"),
            ("GET", f"/audit?person={'x' * 600}"),
            ("GET", "/audit/1"),
            ("GET", f"/audit/{before}"),
            ("GET", "/audit/no-such-record"),
            ("GET", "/audit/export?form=csv"),
            ("POST", "/audit/verify"),
        ):
            response = client.request(method, path)
            assert (response.status_code, response.content) == (404, absent.content), path
            assert {**response.headers, "date": ""} == {**absent.headers, "date": ""}
        # Not even the token of the session makes a difference.
        assert client.post("/audit/verify", headers={"x-csrf-token": "0"}).content == absent.content
        assert newest(service).id == before
        assert 'href="/audit"' not in client.get("/").text
    assert 'href="/audit"' in signed_in("audra").get("/").text
    stranger = httpx2.get(f"{service.url}/audit", trust_env=False, follow_redirects=False)
    assert stranger.status_code == 303, stranger.text
    assert (stranger.status_code, stranger.headers["location"]) == (303, "/sign-in")


def test_who_was_shown_a_document_and_what_a_person_was_shown(service: Any, signed_in: Callable[[str], httpx2.Client]) -> None:
    dora, audra = signed_in("dora"), signed_in("audra")
    question = ask(dora, MERGER)
    began = dora.get("/web/conversations").json()["conversations"][0]["id"]
    dora.get(f"/c/{began}")
    dora.get(f"/web/conversations/{began}/export?form=md")
    key = {"authorization": f"Bearer {service.keys['dora']}"}
    dora.post("/v1/search", json={"text": "Tannhof Optics"}, headers=key)
    answered = next(one for one in records(service.data / "audit", tag="question:answered", limit=1))
    assert answered.payload["question"] == question
    cited = str(answered.payload["citations"][0][0])
    assert answered.payload["paths"] == ["board/merger.md"]
    tags = ["search:run", "conversation:exported", "conversation:opened", "question:answered"]
    for name in (cited, "board/merger.md"):
        rows = shown(audra, event="shown", document=name)
        assert [tag for _, tag, _ in rows][:4] == tags
        assert {person for person, _, _ in rows[:4]} == {"dora"}
        # Others who may read it were shown it by other tests of this service; who may not was never.
        assert "ana" not in {person for person, _, _ in rows}
    assert [tag for _, tag, _ in shown(audra, event="shown", person="dora")][:4] == tags
    page = html.unescape(audra.get("/audit", params={"event": "shown", "person": "dora"}).text)
    assert MERGER in page
    assert "board/merger.md" in page
    # What the log does not have, an auditor who may not read the document does not get either.
    whole = html.unescape(audra.get(f"/audit/{answered.id}").text)
    assert cited in whole
    assert "48 million" not in page + whole
    assert not shown(audra, event="shown", document="board/merger")


def test_filters_hold_together_and_the_record_of_the_search_has_them(
    service: Any, signed_in: Callable[[str], httpx2.Client]
) -> None:
    ana, audra = signed_in("ana"), signed_in("audra")
    start = newest(service)
    asked = ask(ana, LEAVE)
    ask(ana, "What is the capital of Mongolia?")
    ask(signed_in("dora"), LEAVE)
    assert [tag for _, tag, _ in shown(audra, person="ana", outcome="refused")][:1] == ["question:refused"]
    mine = shown(audra, person="ana", event="question:asked", since=start.time)
    assert [(person, tag) for person, tag, _ in mine] == [("ana", "question:asked")] * 2
    assert mine[-1][2] == asked
    assert shown(audra, person="ana", until="2020-01-01") == []
    filters = {"since": "2026-01-02T03:04", "until": "2126-01-01", "person": "ana", "event": "shown", "document": "leave.md"}
    assert shown(audra, **filters, outcome="answered")
    read = newest(service)
    assert (read.tag, read.actor) == ("audit:read", "audra")
    assert read.payload == {
        "what": "list",
        "order": "newest-first",
        "limit": 50,
        "tag": "shown",
        "actor": "ana",
        "since": "2026-01-02T03:04:00.000000Z",
        "until": "2126-01-01T00:00:00.000000Z",
        "document": "leave.md",
        "outcome": "answered",
        "after": None,
    }
    before = newest(service).id
    for wrong in ({"event": "x:y"}, {"outcome": "well"}, {"since": "yesterday"}, {"person": "x" * 501}):
        refused = audra.get("/audit", params=wrong)
        assert refused.status_code == 400
        assert 'href="/audit"' in refused.text
    assert newest(service).id == before


def test_pages_follow_each_other_by_the_last_record_without_a_gap(
    service: Any, signed_in: Callable[[str], httpx2.Client]
) -> None:
    log = AuditLog(service.data / "audit")
    log.append_all([(EventTag.PERSON_DISABLED, "paging", {"person": f"p{number}"}) for number in range(120)])
    audra = signed_in("audra")
    path, found, pages = "/audit?person=paging", [], 0
    while path and pages < 9:
        pages += 1
        found += [int(identifier.partition("-")[0]) for _, _, identifier in shown(audra, path)]
        older = re.search(r'rel="next" href="([^"]+)"', audra.get(path).text)
        path = html.unescape(older.group(1)) if older else ""
    assert found == sorted(found, reverse=True)
    assert len(found) == len(set(found)) == 120
    # An id of another log is none of this one's.
    assert audra.get("/audit", params={"after": "1-000000000000"}).status_code == 404


def test_one_event_is_shown_with_its_neighbours_and_hashes(service: Any, signed_in: Callable[[str], httpx2.Client]) -> None:
    audra = signed_in("audra")
    number = newest(service).sequence - 8
    whole = record(service.data / "audit", str(number))
    page = audra.get(f"/audit/{whole.id}")
    for one in (whole.hash, whole.previous, whole.time):
        assert one in page.text
    around = shown(audra, f"/audit/{whole.id}")
    assert [int(identifier.partition("-")[0]) for _, _, identifier in around] == list(range(number + 5, number - 6, -1))
    assert newest(service).payload == {"what": "show", "record": whole.id}
    for wrong in (f"{number}-{'0' * 12}", "9999999", "nothing", "1" * 400):
        assert audra.get(f"/audit/{wrong}").status_code == 404


def test_the_chain_is_verified_when_it_is_asked_for_and_the_page_says_when(
    service: Any, signed_in: Callable[[str], httpx2.Client]
) -> None:
    audra = signed_in("audra")
    count = newest(service).sequence
    for token in ("", "0" * 64):
        assert audra.post("/audit/verify", headers={"x-csrf-token": token}).status_code == 403
    told = json.loads(audra.post("/audit/verify").text.partition("event: verified\ndata: ")[2])
    assert told["records"] == count
    checked = newest(service)
    assert checked.payload == {"what": "verify", "outcome": "verified", "records": count, "head": told["head"]}
    state_of_log = audra.get("/audit").text.partition('id="last-check"')[2].partition("</dl>")[0]
    assert checked.id in state_of_log
    assert "the chain held" in state_of_log
    # The last record that the page names is that of the visit itself, which whoever looks may keep.
    assert f"<code>{newest(service).id}</code>" in state_of_log


def test_an_export_has_every_record_as_it_is_stored_and_is_recorded(
    service: Any, signed_in: Callable[[str], httpx2.Client]
) -> None:
    ask(signed_in("ana"), LEAVE)
    audra = signed_in("audra")
    lines = audra.get("/audit/export", params={"form": "jsonl", "person": "ana"})
    assert re.fullmatch(r'attachment; filename="audit-\d+\.jsonl"', lines.headers["content-disposition"])
    read = newest(service)
    assert (read.payload["what"], read.payload["form"], read.payload["actor"]) == ("export", "jsonl", "ana")
    found = [parsed(line, "the export") for line in lines.content.splitlines(keepends=True)]
    assert found == list(records(service.data / "audit", actor="ana"))
    table = audra.get("/audit/export", params={"form": "csv", "person": "ana"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(one["id"], json.loads(one["payload"])) for one in rows] == [(one.id, one.payload) for one in found]
    assert audra.get("/audit/export", params={"form": "xlsx"}).status_code == 400


def test_what_a_person_writes_is_plain_text_on_every_page(service: Any, signed_in: Callable[[str], httpx2.Client]) -> None:
    asked = ask(signed_in("ana"), f"{HOSTILE} annual leave?")
    audra = signed_in("audra")
    for path in ("/audit?person=ana", f"/audit/{asked}", "/audit", f"/audit?event=shown&document={quote(HOSTILE)}"):
        text = audra.get(path).text
        body = text.partition("<body")[2]
        assert "<img" not in body
        assert not re.search(r"<script(?![^>]*application/json)", body), path
        # Only the field for another search has what was searched for as it is.
        assert not set(re.sub(r'<input name="document"[^>]*>', "", text)) & set("\u202e\x1b")
    assert "\\u202eyppah\\u001b[31m" in audra.get(f"/audit/{asked}").text
    assert html.escape("<img src=x onerror=alert(1)>") in audra.get(f"/audit/{asked}").text


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", " =1", '"=1', "\t=1", "a;=1", "a,@x", "a\n=1", "＝1", "x|=cmd", "\u202e=1", "'=1"]
)
def test_no_cell_of_an_export_begins_a_formula_however_it_is_separated(tmp_path: Path, text: str) -> None:
    log = AuditLog(tmp_path / "audit")
    made = log.append(EventTag.PERSON_DISABLED, text, {"person": text})
    _, pieces = exported([made], "csv")
    written = b"".join(pieces).decode()
    (row,) = csv.DictReader(io.StringIO(written))
    assert json.loads(row["payload"])["person"] == text
    assert cell(text) == row["person"]
    for separator in (",", ";", "\t", "|"):
        for one in csv.reader(io.StringIO(written), delimiter=separator):
            assert not [part for part in one if part.strip().lstrip("\"'").startswith(tuple("=+-@＝")) and part[0] not in "'\\"]


def test_every_outcome_that_can_be_filtered_for_is_one_that_events_have() -> None:
    assert {tag for tag in OUTCOMES.values() if tag} == {
        tag for tag in EventTag if tag.startswith("question:") and tag != EventTag.QUESTION_ASKED
    }


def test_what_cannot_be_seen_is_written_as_an_escape() -> None:
    assert visible("a\x1b\u202eb\u2028c\nd é ש") == "a\\u001b\\u202eb\\u2028c\nd é ש"


def test_who_may_read_the_log_and_not_export_it_is_shown_no_export_and_given_none(
    inhouse_within: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    from starlette.testclient import TestClient

    from service.settings import load_settings
    from service.web.application import create_site
    from service.wiring import Installation

    own, data = tmp_path / "policies", tmp_path / "data"
    shutil.copytree(repository / "policies" / "defaults", own)
    auditors = own / "auditors.cedar"
    given = '[Action::"audit.read", Action::"audit.export"]'
    assert given in auditors.read_text()
    inhouse_within(data, "init", INHOUSE_EMBEDDING__KIND="hashing")
    inhouse_within(data, "people", "add", "audra", "--name", "Audra", "--clearance", "public", "--role", "auditor")
    key = json.loads(inhouse_within(data, "keys", "create", "audra", "--json").stdout)["secret"]
    (data / "inhouse.toml").write_text(f'[access]\npolicies = "{own}"\n')
    for action, status in ((given, 200), ('[Action::"audit.read"]', 403)):
        auditors.write_text(auditors.read_text().replace(given, action))
        with Installation(data, load_settings(data)) as installation:
            client = TestClient(create_site(installation), base_url="http://localhost")
            assert client.post("/web/sign-in", json={"credential": key}).status_code == 200
            assert ("/audit/export" in client.get("/audit").text) == (status == 200)
            assert client.get("/audit/export", params={"form": "jsonl"}).status_code == status
