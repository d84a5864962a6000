"""The chat page in a real browser: what a newcomer does, by mouse and by keyboard, and what a hostile document cannot do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LEAVE = "How many days of annual leave do staff have?"
MERGER = "For how much does the board plan to buy Tannhof Optics?"
INSURER = "Who is the insurer for business trips?"


def test_a_newcomer_asks_reads_the_source_asks_on_and_signs_out(site: Any, open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    assert "ihl_" not in page.url
    turn = watched.ask(LEAVE)
    assert "30 days" in turn.inner_text()
    turn.locator(".cite").first.click()
    page.wait_for_selector("#source mark")
    assert page.locator("#source mark").inner_text() == "Staff have 30 days of annual leave."
    page.keyboard.press("Escape")
    assert page.locator("#source").is_hidden()
    assert "1 March" in watched.ask("And by when do requests for it go to the line manager?").inner_text()
    address = page.url
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto(address)
    assert page.url.endswith("/sign-in")


def test_the_page_of_a_pdf_is_shown_as_a_picture_with_the_words_marked(open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    turn = watched.ask(INSURER)
    # Two sentences of it are cited, and it is listed once.
    assert turn.locator(".cite").count() == 2
    assert turn.locator("a.source:visible").count() == 1
    with page.expect_response(lambda response: "/picture?" in response.url) as drawn:
        turn.locator(".cite").last.click()
    assert drawn.value.status == 200
    assert int(drawn.value.headers["x-marked-words"]) >= 5
    watched.until("document.querySelector('#page-picture').naturalWidth > 500")


def test_a_model_s_words_are_markdown_and_its_answer_can_be_stopped(
    site: Any, slow_model: tuple[str, Any], open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = open_page("dora")
    page = watched.page

    def wait_for_event(tag: str) -> None:
        for _ in range(100):
            if tag in (last := site.inhouse("audit", "list", "--actor", "dora", "--limit", "1").stdout):
                return
            page.wait_for_timeout(50)
        raise AssertionError(f"{tag} did not come: {last}")

    page.select_option("#kb", "board")
    turn = watched.ask(MERGER)
    assert turn.locator(".text strong").inner_text() == "plans"
    assert "confidential" in turn.locator(".facts").inner_text()
    assert page.locator("#classification").inner_text() == "confidential"
    monkeypatch.setattr(slow_model[1], "slow_load", 8)
    page.fill("#question", "When does the board buy it?")
    page.press("#question", "Enter")
    wait_for_event("question:asked")
    page.locator("#stop").click()
    page.wait_for_selector("text=Stopped before the answer was complete.")
    wait_for_event("question:cancelled")
    page.reload()
    assert page.locator(".turn.stopped").count() == 1
    monkeypatch.setattr(slow_model[1], "slow_load", 0)
    assert "48 million" in watched.ask("Which price does the board plan to pay for Tannhof Optics?").inner_text()


def test_a_model_is_chosen_and_the_page_says_what_is_running(
    slow_model: tuple[str, Any], open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = open_page("dora")
    page = watched.page
    assert page.locator(".running").inner_text() == "Answered by extractive or tiny, on this server, not sealed"
    page.select_option("#model", "slow")
    assert page.locator(".running").inner_text() == "Answered by tiny, on this server, not sealed"
    page.select_option("#kb", "handbook")
    monkeypatch.setattr(slow_model[1], "text", ["Staff have 30 days of annual leave [1]."])
    facts = watched.ask(LEAVE).locator(".facts").inner_text()
    assert re.search(r"tiny:latest\s+\d passages read\s+\d retrieved passages did not fit the model's window", facts), facts
    page.reload()
    assert page.locator("#model").input_value() == "slow"
    page.select_option("#kb", "")
    # A rule lets it be chosen for the handbook alone.
    facts = watched.ask(LEAVE).locator(".facts").inner_text()
    assert "slow was chosen; it may not be sent all of what was found" in facts
    assert re.search(r"extractive\s.*\d passages read, none left out", facts, re.DOTALL), facts


ENDS_LEFT = """selector => {
  const shown = document.querySelector(selector);
  shown.textContent = "שלום לכולם (gate B)?";
  const left = (place) => {
    const range = document.createRange();
    range.setStart(shown.firstChild, place);
    range.setEnd(shown.firstChild, place + 1);
    return range.getBoundingClientRect().left;
  };
  return left(shown.firstChild.length - 1) < left(0);
}"""


def test_what_is_written_from_the_right_begins_there(open_page: Callable[..., Any]) -> None:
    watched = open_page()
    watched.ask(LEAVE)
    for selector in ("#title", "#conversations a", ".question", ".answer .text p"):
        assert watched.page.evaluate(ENDS_LEFT, selector), selector
    # A line that has no direction of its own goes as the page does.
    assert not watched.page.evaluate(ENDS_LEFT, "#running-place")


SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifts.push(one.value);
}).observe({ type: "layout-shift", buffered: true });
"""


def test_nothing_that_is_being_read_moves_while_an_answer_comes(
    slow_model: tuple[str, Any], open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shifts that Chromium counts: of what is in sight, and not within half a second of somebody's own doing."""
    watched = open_page("dora")
    page = watched.page
    page.add_init_script(SHIFTS)
    page.reload()
    page.select_option("#kb", "board")
    watched.ask(MERGER)
    sentence = "The board **plans** to buy Tannhof Optics for 48 million euros in June [1]."
    monkeypatch.setattr(slow_model[1], "text", [part for _ in range(6) for part in (f"{sentence}\n\n", f"- {sentence}\n\n")])
    monkeypatch.setattr(slow_model[1], "pause", 0.25)
    before = page.evaluate("performance.now()")
    turn = watched.ask("When does the board buy Tannhof Optics, and for how much?")
    assert turn.locator(".text li").count() == 6
    assert page.evaluate("performance.now()") - before > 2000
    page.wait_for_timeout(300)
    assert sum(page.evaluate("window.shifts")) == 0
    # A shift would have been counted.
    page.evaluate("document.querySelector('.turn:last-child .text').style.marginLeft = '90px'")
    watched.until("window.shifts.length > 0")


def test_who_signs_out_elsewhere_while_an_answer_comes_is_led_to_the_sign_in(
    slow_model: tuple[str, Any], open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page("dora").page
    other = page.context.new_page()
    other.goto(page.url)
    sentence = "The board **plans** to buy Tannhof Optics for 48 million euros in June [1].\n\n"
    monkeypatch.setattr(slow_model[1], "text", [sentence] * 200)
    monkeypatch.setattr(slow_model[1], "pause", 0.25)
    page.select_option("#kb", "board")
    page.fill("#question", "When does the board buy Tannhof Optics, and for how much?")
    page.press("#question", "Enter")
    page.wait_for_selector(".coming")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/sign-in")
    page.wait_for_url("**/sign-in")
    assert "48 million" not in page.content()


def test_a_conversation_is_renamed_exported_found_and_deleted(open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    watched.ask(LEAVE)
    page.locator("#more summary").click()
    page.get_by_role("button", name="Rename").click()
    page.locator("dialog input").fill("Quokka holidays")
    page.locator("dialog .primary").click()
    watched.until("document.querySelector('#title').textContent === 'Quokka holidays'")
    page.locator("#more summary").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Export as Markdown").click()
    assert "30 days" in Path(saved.value.path()).read_text(encoding="utf-8")
    page.fill("#search", "quokka")
    watched.until("document.querySelectorAll('#conversations li').length === 1")
    if page.locator("#more").get_attribute("open") is None:
        page.locator("#more summary").click()
    page.locator("#delete").click()
    page.locator("dialog .primary").click()
    page.wait_for_url(re.compile(r"/$"))
    assert "Quokka" not in page.locator("#side").inner_text()


def test_feedback_and_a_refusal_s_notice_reach_the_log(site: Any, open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    refused = watched.ask("What is the capital of Mongolia?")
    assert "do not say" in refused.inner_text()
    nearest = refused.locator(".nearest a").first
    named = nearest.inner_text()
    nearest.click()
    page.wait_for_selector("#source mark")
    assert named in page.locator("#source").inner_text()
    page.locator("#close-source").click()
    page.wait_for_selector("#source", state="hidden")
    refused.get_by_role("button", name="Tell the owner").click()
    page.wait_for_selector("text=The owner will see your question")
    turn = watched.ask(LEAVE)
    turn.get_by_role("button", name="Wrong").click()
    page.locator("dialog textarea").fill("It is 31.")
    page.locator("dialog .primary").click()
    page.wait_for_selector('.judge[aria-pressed="true"]')
    listed = site.inhouse("audit", "list", "--tag", "feedback:given", "--json").stdout
    assert '"tell-owner"' in listed
    assert '"wrong"' in listed


def test_a_hostile_document_is_plain_text_and_loads_nothing(site: Any, open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    for question, shown in (
        ("Where do visitors park?", '<script>document.title = "owned"</script>'),
        ("How much is the parking fee a day?", "onerror="),
        ("Where do contractors park?", "javascript:alert(1)"),
        ("Where do bicycles stand?", "yppah"),
    ):
        turn = watched.ask(question)
        assert shown in turn.locator(".text").inner_text()
        turn.locator(".cite").first.click()
        page.wait_for_selector("#source mark")
        assert page.locator("#source .passage :not(mark)").count() == 0
        page.keyboard.press("Escape")
    assert "owned" not in page.title()
    assert page.locator("#turns img, #turns script, #turns [style], #turns a:not(.cite):not(.source)").count() == 0
    # The document's own [9] is no citation of ours.
    assert "[9]" not in page.locator("#turns").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    assert page.locator(".turn").count() == 4
    assert page.locator("#turns img, #turns script").count() == 0
    assert all(url.startswith(site.url) for url in watched.requests)


def test_everything_can_be_done_by_keyboard(open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    keys = page.keyboard

    def tab_to(selector: str, *, back: bool = False) -> None:
        for _ in range(60):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            keys.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    keys.type(LEAVE)
    keys.press("Enter")
    page.wait_for_selector(".turn.answered")
    tab_to(".cite", back=True)
    keys.press("Enter")
    page.wait_for_selector("#source mark")
    assert page.evaluate("document.activeElement.id") == "source"
    keys.press("Escape")
    assert page.evaluate("document.activeElement.matches('.cite')")
    tab_to("#more summary", back=True)
    keys.press("Enter")
    tab_to("#rename")
    keys.press("Enter")
    keys.press("Control+A")
    keys.type("By keyboard")
    keys.press("Enter")
    watched.until("document.querySelector('#title').textContent === 'By keyboard'")
    tab_to("#conversations a", back=True)
    tab_to("#sign-out", back=True)
    keys.press("Enter")
    page.wait_for_url("**/sign-in")


def test_axe_finds_no_violation_and_nothing_hangs_over_the_edge(
    slow_model: tuple[str, Any], open_page: Callable[..., Any], look_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = open_page("dora")
    page = watched.page
    page.set_viewport_size({"width": 320, "height": 480})
    page.reload()
    watched.until("document.activeElement.id === 'question'")
    assert page.evaluate("document.querySelector('#main').scrollTop") == 0
    look_at(page, "empty")
    turn = watched.ask(INSURER)
    watched.ask("What is the capital of Mongolia?")
    watched.ask(LEAVE)
    # Where all of it fits nothing is under the form.
    look_at(page, "answers", height=3000)
    turn.locator("a.source").first.click()
    page.wait_for_selector("#source mark")
    look_at(page, "source", height=3000)
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 800})
    page.locator("#menu").click()
    page.wait_for_selector("#side.open")
    look_at(page, "conversations", part="#side")
    page.keyboard.press("Escape")
    page.locator("#more summary").click()
    look_at(page, "menu", part="#heading")
    page.locator("#delete").click()
    look_at(page, "dialog")
    page.keyboard.press("Escape")
    monkeypatch.setattr(slow_model[1], "pause", 9.0)
    page.select_option("#kb", "board")
    page.fill("#question", MERGER)
    page.press("#question", "Enter")
    page.wait_for_selector("#stop:visible")
    look_at(page, "streaming", height=3000)
    page.locator("#stop").click()
    page.goto(page.url.split("/c/")[0] + "/c/conv-0")
    look_at(page, "problem")
    assert [one.split(":")[0] for one in watched.complaints] == ["Failed to load resource"]
    watched.complaints.clear()
