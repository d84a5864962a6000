"""The audit desk in a real browser: what an auditor does there, by mouse and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEAVE = "How many days of annual leave do staff have?"
PARKING = "Where do visitors park?"


def test_an_auditor_finds_who_was_shown_a_document_looks_closer_verifies_and_exports(
    site: Any, open_page: Callable[..., Any]
) -> None:
    asked = open_page("ana")
    asked.ask(LEAVE)
    asked.ask(PARKING)
    watched = open_page("audra")
    page = watched.page
    page.get_by_role("link", name="Audit", exact=True).click()
    page.get_by_label("Who was shown this document?").fill("leave.md")
    page.keyboard.press("Enter")
    page.wait_for_url("**/audit?event=shown&document=leave.md")
    assert page.locator("h1").inner_text() == "Who was shown “leave.md”?"
    row = page.locator(".records tbody tr", has_text=LEAVE).first
    assert "ana" in row.inner_text()
    row.get_by_role("link").click()
    page.wait_for_selector("h1:has-text('question:answered')")
    assert page.locator(".records tr[aria-current]").count() == 1
    # The document's words are in no record, so an auditor who may not read it is not shown them.
    assert "30 days" not in page.locator("#main").inner_text()
    page.get_by_role("link", name="What was this person shown?").click()
    assert page.locator("h1").inner_text() == "What was ana shown?"
    hostile = page.locator(".records tbody tr", has_text=PARKING).first
    assert "parking.md" in hostile.inner_text()
    page.get_by_role("link", name="Show everything").click()
    page.get_by_label("Outcome").select_option("answered")
    page.get_by_label("Person", exact=True).fill("ana")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url("**outcome=answered**")
    assert {one.inner_text() for one in page.locator(".records tbody tr td:nth-child(3)").all()} == {"question:answered"}
    with page.expect_download() as saved:
        page.get_by_role("link", name="JSON Lines").click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["tag"] for line in lines} == {"question:answered"}
    with page.expect_navigation():
        page.get_by_role("button", name="Verify the chain now").click()
    assert "the chain held" in page.locator("#last-check").inner_text()
    listed = site.inhouse("audit", "list", "--tag", "audit:read", "--actor", "audra", "--json").stdout.splitlines()
    assert {"list", "show", "export", "verify"} <= {json.loads(line)["payload"]["what"] for line in listed}


def test_the_audit_desk_is_used_by_keyboard(open_page: Callable[..., Any]) -> None:
    page = open_page("audra").page
    keys = page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(80):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            keys.press("Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to(".top a[href='/audit']")
    keys.press("Enter")
    page.wait_for_selector("#verify")
    keys.press("Tab")
    assert page.evaluate("document.activeElement.matches('.skip')")
    keys.press("Enter")
    tab_to("#what-person")
    keys.type("audra")
    keys.press("Enter")
    page.wait_for_url("**person=audra")
    tab_to(".filters a.button")
    keys.press("Enter")
    page.wait_for_url("**/audit")
    tab_to(".records a")
    keys.press("Enter")
    page.wait_for_selector(".fields")


def test_axe_finds_no_violation_on_the_audit_desk(open_page: Callable[..., Any], look_at: Callable[..., None]) -> None:
    watched = open_page("audra")
    watched.ask(LEAVE)
    page = watched.page
    desk = page.url.split("/c/")[0] + "/audit"
    few = "?event=session:started&person=audra"
    for path in ("?event=shown&document=nothing", "?event=shown&person=audra", "/2", few):
        page.goto(desk + path)
        look_at(page, path)
    with page.expect_navigation():
        page.get_by_role("button", name="Verify the chain now").click()
    look_at(page, "verified")
    page.goto(desk + "/no-such-record")
    look_at(page, "problem")
    assert [one.split(":")[0] for one in watched.complaints] == ["Failed to load resource"]
    watched.complaints.clear()
