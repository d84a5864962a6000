"""A real browser on a real service, for what is tested through the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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


@dataclass
class Watched:
    """A page, everything it asked for, and everything it complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def until(self, expression: str, argument: Any = None) -> None:
        """Waits for an expression to be true. Playwright's own way to wait compiles a string in the page, which the policy
        of the pages forbids."""
        for _ in range(400):
            if self.page.evaluate(expression, argument):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"this did not come true: {expression}")

    def ask(self, question: str) -> Any:
        """Asks by keyboard and waits for the whole answer."""
        before = self.page.locator(".turn[data-number]").count()
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        self.until("count => document.querySelectorAll('.turn[data-number]').length > count", before)
        return self.page.locator(".turn").nth(before)


# NOTE: axe leaves the size of targets out unless it is asked for; WCAG 2.2 has it.
_AXE = """(part) => axe.run(part, { resultTypes: ["violations"], rules: { "target-size": { enabled: true } } })
  .then(({ violations }) => violations.map((one) => [one.id, ...one.nodes.map((node) => node.html)]))"""
_FITS = """() => [document.documentElement, document.querySelector("#main") ?? document.body]
  .every((one) => one.scrollWidth <= one.clientWidth) && document.documentElement.scrollHeight <= innerHeight"""


@pytest.fixture(scope="session")
def look_at() -> Callable[..., None]:
    """Looks at what a page shows now, at each width in light and in dark: axe finds no violation of WCAG 2.2 AA, and nothing
    hangs over the edge or makes the page scroll beside what scrolls in it. Of what lies over others name the part: what is
    covered is no target."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="needs the development packages")

    def look(page: Any, place: str, *, part: str = "html", height: int = 800) -> None:
        page.evaluate(axe.AXE_SCRIPT)
        for width in (320, 820, 1280):
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(_AXE, part) == [], (place, width, scheme)
            assert page.evaluate(_FITS), (place, width)

    return look


MODEL = """
[models.also.slow]
kind = "ollama"
model = "tiny"
url = "{url}"

[[models.rules]]
kb = "board"
use = "slow"

[[models.rules]]
kb = "handbook"
use = "slow"
chosen = true
"""


@pytest.fixture(scope="session")
def slow_model(model_double: ModuleType) -> Iterator[tuple[str, Any]]:
    """A model server, and its behaviour, which each test sets."""
    behaviour = model_double.Behaviour(text=["The board **plans** to buy Tannhof Optics for 48 million euros in June [1]."])
    with model_double.ollama_server(None, behaviour) as url:
        yield url, behaviour


@pytest.fixture(scope="session")
def site(
    make_indexed: Callable[[Path], tuple[Path, Path, dict[str, str]]],
    inhouse: Callable[..., Any],
    start_service: Callable[..., Any],
    slow_model: tuple[str, Any],
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A service over the usual documents, a PDF of several pages, and a hostile one. A model answers from `board`,
    and may be chosen for `handbook`."""
    data, folder, keys = make_indexed(tmp_path_factory.mktemp("w"))
    shutil.copy(repository / "examples" / "documents" / "people" / "travel-safety.pdf", folder / "travel-safety.pdf")
    (folder / "parking.md").write_text(HOSTILE, encoding="utf-8")
    assert inhouse(data, "ingest", str(folder)).returncode == 0
    (data / "inhouse.toml").write_text(MODEL.format(url=slow_model[0]), encoding="utf-8")
    with start_service(data, keys) as running:
        yield running


@pytest.fixture(scope="session")
def folder(site: Any) -> Path:
    """The folder of the site's documents, which a steward named `sten` looks after."""
    from service.operations.run import run

    named = {"id": "sten", "name": "Sten", "clearance": "confidential", "groups": ["directors"], "roles": ["user", "steward"]}
    run(site.data, "people.add", named)
    return Path(run(site.data, "runs", {"limit": 1000})["runs"][-1]["source"])


@pytest.fixture(scope="module")
def chromium(restore_temporary_files: Callable[[], None]) -> Iterator[Any]:
    """One browser for a module, since its event loop would be in the way of other modules' own; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright has no wheel for this platform")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: install your system's package `chromium`")
    # Its sockets lie there, and their path must be short.
    restore_temporary_files()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
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
        watched.until("document.activeElement.id === 'question'")
        return watched

    yield open_it
    for context, watched in opened:
        context.close()
        assert [url for url in watched.requests if not url.startswith((site.url, "blob:"))] == []
        assert watched.complaints == []
