"""The documents desk in a real browser: a steward goes through it, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

LEAVE = "How many days of annual leave do staff have?"


def run_again(watched: Any, folder: Path) -> str:
    """Ingests the folder again by its button, waits for the new report, and returns it."""
    watched.page.goto(watched.page.url.split("/documents")[0].rstrip("/") + "/documents/runs")
    newest = "document.querySelector('.report')?.textContent"
    before = watched.page.evaluate(newest)
    watched.page.get_by_role("button", name=f"Ingest again: {folder}").click()
    watched.until(f"before => {newest} !== before && !document.querySelector('.again').disabled", before)
    return str(watched.page.locator(".report").first.inner_text())


def test_a_steward_finds_a_document_and_sees_its_passages_beside_the_original(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page("sten").page
    page.get_by_role("link", name="Documents").click()
    page.locator("#chosen tbody tr").first.wait_for()
    assert "Merger" in page.locator("#chosen").inner_text()
    page.get_by_label("Knowledge base").select_option("handbook")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**kb=handbook**")
    assert "Merger" not in page.locator("#chosen").inner_text()
    page.get_by_label("Search titles, paths and text").fill("hotels taxis")
    page.keyboard.press("Enter")
    page.locator(".hits a").first.click()
    page.wait_for_url("**/documents/doc-*")
    assert "Hotels are paid up to 140 euros a night." in page.locator("mark").inner_text()
    assert "Travel" in page.locator(".pair .passage").first.inner_text()


def test_a_hostile_document_is_plain_text_on_the_desk_too(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page("sten").page
    page.goto(page.url + "documents?search=visitors+park")
    page.locator(".hits a").first.click()
    page.wait_for_url("**/documents/doc-*")
    assert "<script>" in page.locator("mark").first.inner_text()
    assert page.locator("#main img, #main script, #main [style], .passage :not(mark)").count() == 0
    assert "owned" not in page.title()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_source_is_ingested_again_and_the_quarantine_tells_why_and_tries_again(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    watched = open_page("sten")
    page = watched.page
    broken = folder / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4 nothing of it")
    try:
        assert "in quarantine 1" in run_again(watched, folder)
        page.get_by_role("link", name="Quarantine").click()
        page.wait_for_url("**/quarantine")
        assert "not a whole file of its kind" in page.locator("#changing").inner_text()
    finally:
        broken.unlink()
    page.get_by_role("button", name="Try again: broken.pdf").click()
    watched.until("!(document.querySelector('#changing')?.textContent ?? '').includes('broken.pdf')")
    assert page.locator("#problem").inner_text() == ""


def test_what_is_relabelled_and_removed_is_previewed_and_comes_back_with_its_label(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    watched = open_page("sten")
    page = watched.page
    page.goto(page.url + "documents")
    page.get_by_role("button", name="Relabel").click()
    assert "Choose documents" in page.locator("#problem").inner_text()
    page.get_by_label("Choose Travel", exact=True).check()
    page.get_by_role("button", name="Relabel").click()
    page.get_by_label("Groups, parted by commas").fill("directors")
    page.get_by_role("button", name="Show who gains or loses").click()
    page.wait_for_url("**groups=directors**")
    assert page.locator(".effects tr", has_text="ana").locator("td").last.inner_text() == "1"
    page.get_by_label("Reason, kept in the history of the label and in the audit log").fill("Directors travel differently")
    page.locator("form.change button").click()
    page.wait_for_url("**/documents")
    assert "directors" in page.locator("#chosen tr", has_text="travel.md").inner_text()
    page.get_by_label("Choose Travel", exact=True).check()
    page.get_by_role("button", name="Remove").click()
    page.wait_for_url("**/remove?**")
    assert page.locator(".effects tr", has_text="ana").count() == 0
    page.locator("form.change button").click()
    page.wait_for_url("**/documents")
    assert "travel.md" not in page.locator("#chosen").inner_text()
    assert "added 1" in run_again(watched, folder)
    page.goto(page.url.rpartition("/")[0])
    assert "directors" in page.locator("#chosen tr", has_text="travel.md").inner_text()
    page.get_by_role("link", name="Travel", exact=True).click()
    page.get_by_role("link", name="Back to the source's label").click()
    page.get_by_label("Reason, kept in the history of the label and in the audit log").fill("All travel alike again")
    page.locator("form.change button").click()
    page.wait_for_url("**/documents")
    assert "everyone" in page.locator("#chosen tr", has_text="travel.md").inner_text()


def test_a_document_is_held_and_let_go_on_its_page(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page("sten").page
    page.goto(page.url + "documents")
    page.get_by_role("link", name="Annual leave", exact=True).click()
    page.locator(".holding summary").click()
    reason = page.locator(".holding input[name=reason]")
    page.get_by_role("button", name="Hold", exact=True).click()
    # The browser itself asks for a reason first.
    assert reason.evaluate("field => field.matches(':invalid') && document.activeElement === field")
    reason.fill("Case 17/2026")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=This document is under legal hold")
    assert page.get_by_role("link", name="Remove").count() == 0
    assert "Case 17/2026" in page.locator(".history").text_content()
    page.locator(".holding summary", has_text="Lift the legal hold").click()
    page.locator(".holding input[name=reason]").fill("It is settled")
    page.get_by_role("button", name="Lift", exact=True).click()
    page.locator(".holding summary", has_text="Put under legal hold").wait_for()
    assert page.get_by_role("link", name="Remove").count() == 1


def test_the_desk_is_used_by_keyboard_and_a_note_is_marked_as_done(folder: Path, open_page: Callable[..., Any]) -> None:
    watched = open_page("sten")
    page = watched.page
    keys = page.keyboard

    def tab_to(selector: str, *, back: bool = False) -> None:
        for _ in range(60):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            keys.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    turn = watched.ask(LEAVE)
    turn.get_by_role("button", name="Wrong").click()
    page.locator("dialog textarea").fill("It is 31.")
    page.locator("dialog .primary").click()
    page.wait_for_selector('.judge[aria-pressed="true"]')
    tab_to('.top a[href="/documents"]', back=True)
    keys.press("Enter")
    page.wait_for_url("**/documents")
    tab_to(".skip")
    keys.press("Enter")
    tab_to('.places a[href="/documents/notes"]')
    keys.press("Enter")
    page.wait_for_url("**/notes")
    note = page.locator(".report", has_text="It is 31.").first
    assert LEAVE in note.inner_text()
    identifier = note.get_attribute("id")
    tab_to(f"#{identifier} .settle")
    keys.press("Enter")
    page.wait_for_selector(f"#{identifier}.done")
    # Where a person was, they are still.
    watched.until("note => document.activeElement.dataset.note === note", identifier)


def test_axe_finds_no_violation_on_the_desk(
    site: Any, folder: Path, open_page: Callable[..., Any], look_at: Callable[..., None]
) -> None:
    watched = open_page("sten")
    page = watched.page
    start = page.url + "documents"

    def check(path: str) -> None:
        page.goto(start + path)
        page.locator("#main details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        look_at(page, path)

    watched.ask(LEAVE).get_by_role("button", name="Something is missing").click()
    page.locator("dialog .primary").click()
    page.wait_for_selector('.judge[aria-pressed="true"]')
    check("?search=travel")
    document = page.locator("#chosen input").first.get_attribute("value")
    label = "kb=handbook&classification=internal&groups=directors&owner=hr"
    page.goto(f"{start}/{document}")
    for folded in page.locator("#main summary").all():
        folded.click()
    assert page.locator("form.change:visible").count() == 1
    look_at(page, "a document")
    for path in ("/{}/explain?person=ana", "/notes", "/remove?id={}", "/relabel?id={}&" + label):
        check(path.format(document))
    check(f"/relabel?id={document}&{label.replace('internal', 'none-of-these')}")
    assert page.locator("p.problem:visible").count() == 1
    check("?search=nothing-of-the-kind")
    progress = {"busy": True, "run": "run-1", "problem": "", "progress": {"share": 0.4, "files": 4, "of": 10, "passages": 31}}
    page.route("**/web/documents/progress", lambda route: route.fulfill(json=progress))
    page.goto(start + "/runs")
    page.locator(".again").first.click()
    page.wait_for_selector("#stop:visible")
    look_at(page, "a run")
    check("/doc-0")
    assert [one.split(":")[0] for one in watched.complaints] == ["Failed to load resource"]
    watched.complaints.clear()
