"""The chat page in a real browser: what a newcomer does, by mouse and by keyboard, and what a hostile document cannot do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright has no wheel for this platform")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: install your system's package `chromium`")

LEAVE = "How many days of annual leave do staff have?"
INSURER = "Who is the insurer for business trips?"
HOSTILE = (
    """# Parking rules

Visitors park on level three <script>document.title = "owned"</script> behind the barrier.

The parking fee is four euros <img src="http://elsewhere.invalid/pixel.png" onerror="document.title='owned'"> a day.

Contractors park at ![gate](http://elsewhere.invalid/gate.png) the north gate [9], see [the plan](javascript:alert(1)) and
<a href="data:text/html,<script>alert(1)</script>">the map</a> <div style="background: url(http://elsewhere.invalid/css)">.

Bicycles stand \u202eyppah\u202c near the canteen.

"""
    + "unbroken" * 4000
)


def until(page: Any, expression: str, argument: Any = None) -> None:
    """Waits for an expression to be true. Playwright's own way to wait compiles a string in the page, which the policy of
    the pages forbids."""
    for _ in range(400):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"this did not come true: {expression}")


@dataclass
class Watched:
    """A page, everything it asked for, and everything it complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def site(
    make_indexed: Callable[[Path], tuple[Path, Path, dict[str, str]]],
    inhouse: Callable[..., Any],
    start_service: Callable[..., Any],
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A service over the usual documents, a PDF of several pages, and a hostile one."""
    data, folder, keys = make_indexed(tmp_path_factory.mktemp("w"))
    shutil.copy(repository / "examples" / "documents" / "people" / "travel-safety.pdf", folder / "travel-safety.pdf")
    (folder / "parking.md").write_text(HOSTILE, encoding="utf-8")
    assert inhouse(data, "ingest", str(folder)).returncode == 0
    with start_service(data, keys) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the module."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(site: Any, chromium: Any) -> Iterator[Callable[..., Watched]]:
    """Opens a page of somebody who has just signed in by a link; at the end nothing may have been asked of another host."""
    opened: list[tuple[Any, Watched]] = []

    def open_it(person: str = "ana", **options: Any) -> Watched:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        watched = Watched(context.new_page())
        watched.page.set_default_timeout(20_000)
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        watched.page.on("console", lambda said: watched.complaints.append(said.text) if said.type == "error" else None)
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        opened.append((context, watched))
        watched.page.goto(site.inhouse("people", "link", person).stdout.strip())
        watched.page.get_by_role("button", name="Sign in with this link").click()
        watched.page.wait_for_selector("#question")
        # The last thing that the page's script does.
        until(watched.page, "document.activeElement.id === 'question'")
        return watched

    yield open_it
    for context, watched in opened:
        context.close()
        assert [url for url in watched.requests if not url.startswith((site.url, "blob:"))] == []
        assert watched.complaints == []


def ask(page: Any, question: str) -> Any:
    """Asks by keyboard and waits for the whole answer."""
    before = page.locator(".turn[data-number]").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    until(page, "count => document.querySelectorAll('.turn[data-number]').length > count", before)
    return page.locator(".turn").nth(before)


def test_a_newcomer_asks_reads_the_source_asks_on_and_signs_out(site: Any, open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    assert "ihl_" not in page.url
    turn = ask(page, LEAVE)
    assert "30 days" in turn.inner_text()
    turn.locator(".cite").first.click()
    page.wait_for_selector("#source mark")
    assert page.locator("#source mark").inner_text() == "Staff have 30 days of annual leave."
    page.keyboard.press("Escape")
    assert page.locator("#source").is_hidden()
    assert "1 March" in ask(page, "And by when do requests for it go to the line manager?").inner_text()
    address = page.url
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto(address)
    assert page.url.endswith("/sign-in")


def test_the_page_of_a_pdf_is_shown_as_a_picture_with_the_words_marked(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    turn = ask(page, INSURER)
    assert "page 2" in turn.inner_text()
    with page.expect_response(lambda response: "/picture?" in response.url) as drawn:
        turn.locator("a.source").last.click()
    assert drawn.value.status == 200
    assert int(drawn.value.headers["x-marked-words"]) >= 5
    until(page, "document.querySelector('#page-picture').naturalWidth > 500")


def test_a_conversation_is_renamed_exported_found_and_deleted(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    ask(page, LEAVE)
    page.locator("#more summary").click()
    page.get_by_role("button", name="Rename").click()
    page.locator("dialog input").fill("Quokka holidays")
    page.locator("dialog .primary").click()
    until(page, "document.querySelector('#title').textContent === 'Quokka holidays'")
    page.locator("#more summary").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Export as Markdown").click()
    assert "30 days" in Path(saved.value.path()).read_text(encoding="utf-8")
    page.fill("#search", "quokka")
    until(page, "document.querySelectorAll('#conversations li').length === 1")
    if page.locator("#more").get_attribute("open") is None:
        page.locator("#more summary").click()
    page.locator("#delete").click()
    page.locator("dialog .primary").click()
    page.wait_for_url(re.compile(r"/$"))
    assert "Quokka" not in page.locator("#side").inner_text()


def test_feedback_and_a_refusal_s_notice_reach_the_log(site: Any, open_page: Callable[..., Watched]) -> None:
    page = open_page().page
    refused = ask(page, "What is the capital of Mongolia?")
    assert "do not say" in refused.inner_text()
    refused.get_by_role("button", name="Tell the owner").click()
    page.wait_for_selector("text=The owner will see your question")
    turn = ask(page, LEAVE)
    turn.get_by_role("button", name="Wrong").click()
    page.locator("dialog textarea").fill("It is 31.")
    page.locator("dialog .primary").click()
    page.wait_for_selector('.judge[aria-pressed="true"]')
    listed = site.inhouse("audit", "list", "--tag", "feedback:given", "--json").stdout
    assert '"tell-owner"' in listed
    assert '"wrong"' in listed


def test_a_hostile_document_is_plain_text_and_loads_nothing(site: Any, open_page: Callable[..., Watched]) -> None:
    watched = open_page()
    page = watched.page
    for question, shown in (
        ("Where do visitors park?", '<script>document.title = "owned"</script>'),
        ("How much is the parking fee a day?", "onerror="),
        ("Where do contractors park?", "javascript:alert(1)"),
        ("Where do bicycles stand?", "yppah"),
    ):
        turn = ask(page, question)
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


def test_everything_can_be_done_by_keyboard(open_page: Callable[..., Watched]) -> None:
    page = open_page().page
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
    assert page.evaluate("document.activeElement.matches('a.source')")
    tab_to("#more summary", back=True)
    keys.press("Enter")
    tab_to("#rename")
    keys.press("Enter")
    keys.press("Control+A")
    keys.type("By keyboard")
    keys.press("Enter")
    until(page, "document.querySelector('#title').textContent === 'By keyboard'")
    tab_to("#conversations a", back=True)
    tab_to("#sign-out", back=True)
    keys.press("Enter")
    page.wait_for_url("**/sign-in")


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (820, "light"), (1280, "dark")])
def test_axe_finds_no_violation_and_nothing_hangs_over_the_edge(
    open_page: Callable[..., Watched], width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the development packages").Axe()
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme).page

    def check(place: str) -> None:
        violations = axe.run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == [], place
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place

    check("empty")
    turn = ask(page, INSURER)
    ask(page, "What is the capital of Mongolia?")
    check("answers")
    turn.locator("a.source").first.click()
    page.wait_for_selector("#source mark")
    check("source")
    page.keyboard.press("Escape")
    page.locator("#more summary").click()
    page.locator("#delete").click()
    check("dialog")
    page.keyboard.press("Escape")
    page.goto(page.url.split("/c/")[0] + "/sign-in")
    check("sign-in")
