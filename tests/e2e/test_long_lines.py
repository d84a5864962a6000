"""Documents of lines of a megabyte, and names that turn the direction of what follows them, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

LENGTH = 1_000_000
TURNED = "Bicycles \u202eand more"
LONG = {
    "parking.md": "# Parking\n\nVisitors park on level three behind the barrier " + "unbroken" * (LENGTH // 8) + "\n",
    "canteen.md": "# Canteen " + "menu " * (LENGTH // 5) + "\n\nThe canteen opens at noon.\n",
    "auditorium.md": "# Auditorium\n\nThe auditorium seats ninety people " + "\u202e[1] <b>" * (LENGTH // 8) + "\n",
    "bicycles.md": f"# {TURNED}\n\nBicycles stand near the canteen.\n",
}
BOUND = 4000
"""Characters of a passage, at most: some 200 pieces of words, of letters that are a piece each."""


@pytest.fixture(scope="module")
def site(
    inhouse_within: Callable[..., Any],
    start_service: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A service over these documents, in the place of the usual ones."""
    # No meaning is looked for here, and thousands of passages of nothing are embedded.
    hashing = {"INHOUSE_EMBEDDING__KIND": "hashing"}
    data, folder = (root := tmp_path_factory.mktemp("y")) / "data", root / "documents"
    folder.mkdir()
    for name, text in LONG.items():
        (folder / name).write_text(text, encoding="utf-8")
    label = '[[rule]]\nglob = "*"\nkb = "handbook"\nclassification = "internal"\ngroups = ["everyone"]\nowner = "hr"\n'
    (folder / "labels.toml").write_text(label, encoding="utf-8")
    person = ("people", "add", "ana", "--name", "Ana", "--clearance", "internal")
    for arguments in (("init",), ("ingest", str(folder)), person):
        done = inhouse_within(data, *arguments, **hashing)
        assert done.returncode == 0, done.stderr
    with start_service(data, {}, **hashing) as running:
        yield running


LEFT_TO_RIGHT = """
([selector, words]) => {
  const element = document.querySelector(selector);
  const found = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (found.nextNode()) {
    const at = found.currentNode.data.indexOf(words);
    if (at < 0) continue;
    const left = (place) => {
      const range = document.createRange();
      range.setStart(found.currentNode, place);
      range.setEnd(found.currentNode, place + 1);
      return range.getBoundingClientRect().left;
    };
    return left(at) < left(at + words.length - 1);
  }
  throw new Error(`${words} is not in ${element?.textContent}`);
}
"""


def test_a_line_of_a_megabyte_is_quoted_within_bounds_and_leaves_the_page_usable(open_page: Callable[..., Any]) -> None:
    watched = open_page(viewport={"width": 390, "height": 800})
    page = watched.page
    for question, shown in (
        ("Where do visitors park?", "Visitors park on level three"),
        ("When does the canteen open?", "The canteen opens at noon."),
        ("How many people does the auditorium seat?", "The auditorium seats ninety people"),
    ):
        turn = watched.ask(question)
        assert shown in turn.locator(".text").inner_text()
        assert len(turn.inner_text()) < BOUND
        # What a document writes is no citation and no element.
        assert turn.locator(".text b").count() == 0
        assert turn.locator(".cite").count() == 1
        turn.locator(".cite").click()
        page.wait_for_selector("#source mark")
        assert len(page.locator("#source").inner_text()) < 2 * BOUND
        assert page.locator("#source .passage :not(mark)").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Escape")
    page.reload()
    assert page.locator(".turn.answered").count() == 3
    assert page.evaluate("document.documentElement.outerHTML.length") < 100_000
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_title_turns_the_direction_of_nothing_but_itself(open_page: Callable[..., Any]) -> None:
    watched = open_page()
    page = watched.page
    watched.ask("Where do bicycles stand?").locator(".cite").first.click()
    page.wait_for_selector("#source mark")
    assert TURNED in page.locator("#source h2").inner_text()
    assert page.evaluate(LEFT_TO_RIGHT, ["#source > p.muted", "bicycles.md"])
    page.keyboard.press("Escape")
    near = watched.ask("For how many bicycles is there a roof in Mongolia?").locator(".nearest li", has_text="bicycles.md")
    assert TURNED in near.inner_text()
    near.evaluate("element => { element.id = 'near'; }")
    assert page.evaluate(LEFT_TO_RIGHT, ["#near", "bicycles.md"])
