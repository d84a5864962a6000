"""The pages as a browser gets them: who is signed in, what comes along with each page, and whose conversation it is."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from policies.errors import NotFoundError
from policies.identity import Principal, Role
from policies.sessions import Session
from service.choosing import highest_classification
from service.conversations.store import Turn
from service.web.rendering import problem_page, rendered, texts
from service.web.turns import Standing, answer_html, turn_html
from service.web.visiting import Visitor

LEAVE = "How many days of annual leave do staff have?"
MERGER = "For how much does the board plan to buy Tannhof Optics?"


@pytest.fixture
def browser(service: Any, open_browser: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a browser, signed in by the key of a person where one is named."""
    return lambda person=None: open_browser(service, person and service.keys[person])


def test_who_is_not_signed_in_is_sent_to_the_sign_in(browser: Callable[..., Any]) -> None:
    stranger = browser()
    for path in ("/", "/c/conv-1"):
        response = stranger.client.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert stranger.client.get("/sign-in").status_code == 200
    for path in ("/web/conversations", "/web/sources/doc-1?version=1&start=0&end=1"):
        assert stranger.client.get(path).status_code == 401


def test_a_link_made_on_the_command_line_signs_its_person_in_once(service: Any, browser: Callable[..., Any]) -> None:
    url = service.inhouse("people", "link", "ana").stdout.strip()
    address, _, code = url.partition("#")
    assert address == f"{service.url}/sign-in"
    first, second = browser(), browser()
    assert first.sign_in(code).status_code == 200
    assert "Ana" in first.client.get("/").text
    refused = second.sign_in(code)
    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers


def test_the_session_cookie_is_for_this_site_alone_and_for_no_script(service: Any, browser: Callable[..., Any]) -> None:
    said = browser().sign_in(service.keys["ana"]).headers["set-cookie"].lower()
    for part in ("httponly", "samesite=strict", "path=/", "max-age=43200"):
        assert part in said
    # Over plain HTTP a browser would not send a cookie that is for TLS alone.
    assert "secure" not in said


@pytest.mark.parametrize("path", ["/", "/sign-in"])
def test_every_page_has_the_headers_that_hold_scripts_and_frames_out(path: str, browser: Callable[..., Any]) -> None:
    response = browser("ana").client.get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    # The policy lets nothing of this run; a page that needed it would be broken.
    assert not re.search(
        r"<script(?![^>]*(?:src=\"/static/|application/json))|<style|\son\w+=|style=|javascript:", response.text
    )


def test_what_changes_something_needs_the_token_of_the_session(service: Any, browser: Callable[..., Any]) -> None:
    ana, dora = browser("ana"), browser("dora")
    began = ana.ask(LEAVE)["begin"]["conversation"]
    for method, path, body in (
        ("POST", "/web/ask", {"question": LEAVE}),
        ("PATCH", f"/web/conversations/{began}", {"title": "Other"}),
        ("DELETE", f"/web/conversations/{began}", None),
        ("POST", "/web/feedback", {"question": "x", "verdict": "right"}),
        ("POST", "/web/sign-out", None),
    ):
        for token in ("", "0" * 64, dora.csrf):
            response = ana.client.request(method, path, json=body, headers={"x-csrf-token": token})
            assert response.status_code == 403, (method, path)
        elsewhere = {"x-csrf-token": ana.csrf, "sec-fetch-site": "cross-site"}
        assert ana.client.request(method, path, json=body, headers=elsewhere).status_code == 403
    assert began in ana.client.get("/web/conversations").text
    foreign = {"sec-fetch-site": "cross-site"}
    assert ana.client.post("/web/sign-in", json={"credential": service.keys["ana"]}, headers=foreign).status_code == 403


def test_two_session_cookies_are_none(browser: Callable[..., Any]) -> None:
    ana = browser("ana")
    secret = ana.client.cookies["inhouse_session"]
    ana.client.cookies.clear()
    twice = {"cookie": f"inhouse_session={secret}; inhouse_session={secret}"}
    assert ana.client.get("/web/conversations", headers=twice).status_code == 401
    assert ana.client.get("/web/conversations", headers={"cookie": f"inhouse_session={secret}"}).status_code == 200


def test_a_session_opens_no_route_of_the_api_and_a_key_no_page(service: Any, browser: Callable[..., Any]) -> None:
    assert browser("ana").client.get("/v1/documents").status_code == 401
    key = {"authorization": f"Bearer {service.keys['ana']}"}
    assert browser().client.get("/web/conversations", headers=key).status_code == 401


def test_an_answer_comes_in_pieces_and_is_kept_with_its_sources(browser: Callable[..., Any]) -> None:
    ana = browser("ana")
    events = ana.ask(LEAVE)
    assert "30 days" in events["text"]["text"]
    html = events["done"]["html"]
    assert 'class="cite"' in html
    assert "internal" in html
    page = ana.client.get(f"/c/{events['begin']['conversation']}").text
    assert "Staff have 30 days of annual leave." in page
    cited = events["done"]["citations"][0]
    query = f"version={cited['version']}&start={cited['start']}&end={cited['end']}"
    source = ana.client.get(f"/web/sources/{cited['document']}?{query}").text
    assert "<mark>Staff have 30 days of annual leave.</mark> Requests go" in source


def test_a_follow_up_is_understood_from_the_conversation(browser: Callable[..., Any]) -> None:
    ana = browser("ana")
    began = ana.ask("What is paid for hotels?")["begin"]["conversation"]
    assert "140 euros" in ana.ask("And how much is it a night?", conversation=began)["text"]["text"]
    edited = ana.ask("Do taxis need a receipt?", conversation=began, after=0)
    assert edited["done"]["number"] == 1
    assert "140 euros" not in ana.client.get(f"/c/{began}").text


def test_a_conversation_is_renamed_found_exported_and_deleted(browser: Callable[..., Any]) -> None:
    ana = browser("ana")
    began = ana.ask(LEAVE)["begin"]["conversation"]
    assert ana.send("PATCH", f"/web/conversations/{began}", {"title": "Quokka holidays"}).json() == {"title": "Quokka holidays"}
    found = ana.client.get("/web/conversations", params={"search": "quokka"}).json()["conversations"]
    assert [one["id"] for one in found] == [began]
    markdown = ana.client.get(f"/web/conversations/{began}/export?form=md")
    assert markdown.headers["content-disposition"] == 'attachment; filename="quokka-holidays.md"'
    assert "> Staff have 30 days of annual leave." in markdown.text
    assert "**Classification: internal**" in markdown.text
    whole = ana.client.get(f"/web/conversations/{began}/export?form=json").json()
    assert whole["turns"][0]["answer"]["citations"][0]["path"] == "leave.md"
    assert whole["classification"] == "internal"
    assert ana.send("DELETE", f"/web/conversations/{began}").status_code == 200
    assert ana.client.get(f"/c/{began}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/c/{id}", None),
        ("GET", "/web/conversations/{id}/export?form=md", None),
        ("GET", "/web/conversations/{id}/export?form=json", None),
        ("PATCH", "/web/conversations/{id}", {"title": "Mine now"}),
        ("DELETE", "/web/conversations/{id}", None),
        ("POST", "/web/ask", {"question": LEAVE, "conversation": "{id}"}),
    ],
)
def test_somebody_else_s_conversation_is_as_absent_on_each_route(
    browser: Callable[..., Any], method: str, path: str, body: Any
) -> None:
    dora, ana = browser("dora"), browser("ana")
    foreign = dora.ask(MERGER)["begin"]["conversation"]
    told = []
    for name in (foreign, "conv-0123456789abcdef"):
        sent = {key: value.replace("{id}", name) for key, value in body.items()} if body else None
        response = ana.send(method, path.replace("{id}", name), sent)
        headers = {key: value for key, value in response.headers.items() if key != "date"}
        told.append((response.status_code, headers, response.text.replace(name, "")))
    assert told[0] == told[1]
    assert told[0][0] == 404
    assert "48 million" in dora.client.get(f"/c/{foreign}").text


@pytest.mark.parametrize("route", ["", "/original", "/picture"])
def test_a_forbidden_document_is_as_absent_on_each_route_to_its_text(
    service: Any, browser: Callable[..., Any], route: str
) -> None:
    listed = json.loads(service.inhouse("documents", "list", "--json").stdout)["documents"]
    board = next(one["id"] for one in listed if one["path"] == "board/merger.md")
    ana = browser("ana")
    told = []
    for name in (board, "doc-0123456789abcdef"):
        response = ana.client.get(f"/web/sources/{name}{route}?version=1&start=0&end=5")
        told.append((response.status_code, response.text.replace(name, "")))
    assert told[0] == told[1]
    assert told[0][0] == 404


def test_an_original_is_a_file_to_save_that_runs_nowhere(service: Any, browser: Callable[..., Any]) -> None:
    ana = browser("ana")
    cited = ana.ask(LEAVE)["done"]["citations"][0]
    response = ana.client.get(f"/web/sources/{cited['document']}/original?version={cited['version']}")
    assert "Staff have 30 days" in response.text
    assert response.headers["content-disposition"].startswith("attachment;")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert ana.client.get(f"/web/sources/{cited['document']}/original?version=9").status_code == 404
    logged = service.inhouse("audit", "list", "--tag", "document:downloaded", "--limit", "1", "--json").stdout
    assert json.loads(logged)["payload"]["path"] == "leave.md"


def test_the_log_tells_sessions_views_and_feedback(service: Any, browser: Callable[..., Any]) -> None:
    ana = browser("ana")
    events = ana.ask(LEAVE)
    ana.client.get(f"/c/{events['begin']['conversation']}")
    answered = re.search(r'data-audit="([^"]+)"', events["done"]["html"])
    assert answered is not None
    judged = {"question": answered.group(1), "verdict": "wrong", "reason": "It is 31."}
    assert ana.send("POST", "/web/feedback", judged).status_code == 200
    ana.send("POST", "/web/sign-out")
    assert ana.client.get("/web/conversations").status_code == 401
    lines = service.inhouse("audit", "list", "--actor", "ana", "--limit", "20", "--json").stdout.splitlines()
    listed = [json.loads(line) for line in lines]
    tags = [one["tag"] for one in listed]
    assert tags[:3] == ["session:ended", "feedback:given", "conversation:opened"]
    assert "session:started" in tags
    assert listed[2]["payload"]["questions"] == [answered.group(1)]


CITED: Mapping[str, Any] = {"number": 1, "title": "T", "path": "p", "document": "d", "version": 1, "start": 0, "end": 1}


@pytest.mark.parametrize(
    ("roles", "asked", "back"),
    [
        ([Role.STEWARD], "/documents/doc-0", '<a href="/documents">Back to the documents</a>'),
        ([Role.STEWARD], "/documents?kb=none", '<a href="/documents">Back to the documents</a>'),
        ([Role.AUDITOR], "/audit/no-such-record", '<a href="/audit">Back to the log</a>'),
        # What failed is no way back, nor is a desk that is not there for this person.
        ([Role.STEWARD], "/documents", '<a href="/">Back to the questions</a>'),
        ([Role.AUDITOR], "/documents/doc-0/explain", '<a href="/">Back to the questions</a>'),
        ([Role.STEWARD], "/c/conv-0", '<a href="/">Back to the questions</a>'),
        (None, "/sign-in/provider", '<a href="/sign-in">Back to the sign-in</a>'),
    ],
)
def test_a_problem_leads_back_to_the_desk_that_was_asked(roles: list[Role] | None, asked: str, back: str) -> None:
    path, _, query = asked.partition("?")
    request = Request({"type": "http", "path": path, "query_string": query.encode(), "headers": [], "server": ("here", 80)})
    person = Principal("eve", "Eve", frozenset(), "public", frozenset(roles or ()))
    visitor = None if roles is None else Visitor(person, Session("s", "eve", "", None), "", may_audit=Role.AUDITOR in roles)
    error = NotFoundError("there is no <b>such</b> thing", hint="`inhouse documents list` shows what there is.")
    page = bytes(problem_page(error, request, visitor).body).decode()
    assert re.findall("<a .*</a>", page) == [back]
    assert ">there is no &lt;b&gt;such&lt;/b&gt; thing</p>" in page
    assert "<p><code>inhouse documents list</code> shows what there is.</p>" in page


def test_quotes_are_plain_text_and_only_a_model_s_words_are_markdown() -> None:
    hostile = "<b>*x*</b> [1] javascript:alert(1)"
    quoted = answer_html(hostile, "quotes", [{**CITED}])
    assert "&lt;b&gt;*x*&lt;/b&gt;" in quoted
    assert quoted.count('class="cite"') == 1
    assert "<em>x</em>" in answer_html("*x*", "markdown", [])


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](http://elsewhere.example/p.png)",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](/web/sign-out)",
        "[x](//elsewhere.example/)",
        '<a href="/" class="cite" data-citation="0">1</a>',
        '<p style="background:url(http://elsewhere.example/)">x</p>',
        "[x]: javascript:alert(1)\n\n[x]",
    ],
)
def test_nothing_in_a_model_s_words_runs_loads_or_leads_into_this_site(text: str) -> None:
    html = rendered(text)
    assert not re.search(r"<(?:script|img|style|iframe|svg|form)|<[^>]*(?:\son\w+=|style=|class=|data-)", html)
    assert not re.search(r'<[^>]*href="(?!https?://|mailto:)', html)


def test_a_link_shows_where_it_leads() -> None:
    html = rendered("[the handbook](https://elsewhere.example/path)")
    assert "the handbook" in html
    assert "(https://elsewhere.example/path)" in html
    assert 'rel="noopener noreferrer nofollow"' in html


def test_numbers_become_links_only_outside_code_and_only_where_something_is_cited() -> None:
    html = answer_html("One [1]. Two [1, 2]. `x[1]` [3]", "markdown", [{**CITED}, {**CITED}, {**CITED, "number": 2}])
    assert re.findall(r'data-citation="(\d)"', html) == ["0", "1", "2"]
    assert "<code>x[1]</code>" in html
    assert "3]" not in html.replace("[3]", "")


def test_the_highest_classification_is_shown_and_an_unknown_one_counts_as_the_highest() -> None:
    levels = ("public", "internal", "confidential")
    assert highest_classification(["internal", "public", "internal"], levels) == "internal"
    assert highest_classification(["public", "of old"], levels) == "confidential"
    assert highest_classification([], levels) is None


def test_a_withheld_turn_shows_its_question_and_nothing_of_the_answer() -> None:
    answer = {"answer": "48 million [1]", "citations": [{**CITED, "quote": "48 million"}], "nearest": [], "form": "quotes"}
    html = turn_html(Turn(1, "How much?", "answered", answer, "now"), Standing(frozenset({1}), {}, ("public",)))
    assert "How much?" in html
    assert "48 million" not in html
    assert texts()["turn"]["withheld"] in html


def test_a_conversation_is_classified_as_the_highest_of_what_may_still_be_shown_by_the_labels_of_now() -> None:
    def turn(number: int, *documents: str) -> Turn:
        cited = [{**CITED, "document": one, "classification": "public"} for one in documents]
        return Turn(number, "How much?", "answered", {"citations": cited}, "now")

    turns = [turn(1, "leave"), turn(2, "travel", "leave"), turn(3, "merger"), turn(4)]
    levels = ("public", "internal", "confidential")
    labels = {"leave": "public", "travel": "internal", "merger": "confidential"}
    assert Standing(frozenset(), labels, levels).classification(turns) == "confidential"
    assert Standing(frozenset({3}), labels, levels).classification(turns) == "internal"
    assert Standing(frozenset({2, 3}), labels, levels).classification(turns) == "public"
    assert Standing(frozenset({1, 2, 3}), {}, levels).classification(turns) is None


def test_a_conversation_written_before_a_document_went_is_withheld(
    make_indexed: Callable[[Path], tuple[Path, Path, dict[str, str]]],
    start_service: Any,
    open_browser: Callable[..., Any],
    tmp_path: Path,
) -> None:
    data, _, keys = make_indexed(tmp_path)
    with start_service(data, keys) as running:
        dora = open_browser(running, keys["dora"])
        client = dora.client
        began = dora.ask(MERGER)["begin"]["conversation"]
        assert "48 million" in client.get(f"/c/{began}").text
        running.inhouse("people", "disable", "ana")
        documents = json.loads(running.inhouse("documents", "list", "--json").stdout)["documents"]
        board = next(one["id"] for one in documents if one["path"] == "board/merger.md")
        assert running.inhouse("documents", "remove", board, "--yes").returncode == 0
        for path in (
            f"/c/{began}",
            f"/web/conversations/{began}/export?form=md",
            f"/web/conversations/{began}/export?form=json",
        ):
            assert "48 million" not in client.get(path).text
        follow_up = dora.ask("And when is it?", conversation=began)
        assert "June" not in follow_up["text"]["text"]
        assert running.inhouse("people", "disable", "dora").returncode == 0
        assert client.get("/web/conversations").status_code == 401
    with sqlite3.connect(data / "conversations.db") as database:
        assert database.execute("SELECT count(*) FROM turn").fetchone() == (2,)
    database.close()
