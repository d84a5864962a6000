"""Uploads in a real browser: a steward drops files, sees what becomes of each, and lets a file out of quarantine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.operations.run import run

LABEL = "kb=yard&classification=internal&groups=everyone&owner=hr"
DROP = """files => {
  const data = new DataTransfer();
  for (const [name, text] of files) data.items.add(new File([text], name));
  const drop = document.querySelector(".drop");
  for (const kind of ["dragenter", "dragover", "drop"])
    drop.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_a_steward_drops_files_under_a_label_and_asks_of_what_came_in(folder: Path, open_page: Callable[..., Any]) -> None:
    watched = open_page("sten")
    page = watched.page
    page.get_by_role("link", name="Documents").click()
    page.get_by_role("link", name="Upload").click()
    page.wait_for_url("**/documents/upload")
    assert page.locator("#files").count() == 0
    page.get_by_label("Knowledge base").fill("yard")
    page.get_by_label("Classification").select_option("internal")
    page.get_by_label("Groups, parted by commas").fill("everyone")
    page.get_by_label("Owner").fill("hr")
    page.keyboard.press("Enter")
    page.locator("#files").wait_for()
    held = []
    page.route("**/web/documents/uploads?*", lambda route: (held.append(route.request.url), route.continue_()))
    page.evaluate(DROP, [["pond.md", "# Pond\n\nThe pond behind the canteen is two metres deep."], ["plan.pdf", "%PDF-1.4 no"]])
    assert page.locator("#uploads li").count() == 2
    assert page.locator("#uploads progress").count() > 0
    watched.until("document.querySelectorAll('#uploads li[data-outcome]').length === 2")
    assert "Indexed" in page.locator('#uploads li[data-outcome="indexed"]').inner_text()
    assert "not a whole file of its kind" in page.locator('#uploads li[data-outcome="quarantined"]').inner_text()
    assert len(held) == 2
    page.locator('#uploads li[data-outcome="quarantined"] a').click()
    page.wait_for_url("**/quarantine")
    page.get_by_role("button", name="Discard: plan.pdf").click()
    watched.until("!document.querySelector('#changing').textContent.includes('plan.pdf')")
    page.goto(page.url.split("/documents")[0])
    page.wait_for_selector("#question")
    assert "two metres deep" in watched.ask("How deep is the pond behind the canteen?").inner_text()


def test_a_file_is_chosen_by_the_field_and_what_is_too_much_is_said(folder: Path, open_page: Callable[..., Any]) -> None:
    watched = open_page("sten")
    page = watched.page
    page.goto(page.url + "documents/upload?" + LABEL)
    page.locator("#files").focus()
    files = [{"name": f"{number}.md", "mimeType": "text/plain", "buffer": b"x"} for number in range(21)]
    page.locator("#files").set_input_files(files)
    assert "at most 20 together" in page.locator("#problem").inner_text()
    assert page.locator("#uploads li").count() == 0
    page.locator("#files").set_input_files(
        [{"name": "shed.txt", "mimeType": "text/plain", "buffer": b"The key of the shed hangs behind the door of the lodge."}]
    )
    page.locator('#uploads li[data-outcome="indexed"] a').click()
    page.wait_for_url("**/documents/doc-*")
    assert "key of the shed" in page.locator("mark").first.inner_text()


def without_a_label(site: Any, folder: Path, name: str) -> None:
    """Puts a file into quarantine that a label lets out. The site's folder labels each of its files; another's does not."""
    other = folder.parent / "half-labelled"
    other.mkdir(exist_ok=True)
    rule = '[[rule]]\nglob = "*.md"\nkb = "yard"\nclassification = "internal"\ngroups = ["everyone"]\nowner = "hr"\n'
    (other / "labels.toml").write_text(rule, encoding="utf-8")
    (other / name).write_text("The gate of the yard is closed at nine.", encoding="utf-8")
    run(site.data, "ingest", {"folder": str(other)})


def test_a_file_without_a_label_is_released_with_one(site: Any, folder: Path, open_page: Callable[..., Any]) -> None:
    without_a_label(site, folder, "gate.txt")
    watched = open_page("sten")
    page = watched.page
    page.goto(page.url + "documents/quarantine")
    page.get_by_role("link", name="gate.txt").click()
    page.wait_for_url("**/release?**")
    page.get_by_label("Knowledge base").fill("yard")
    page.get_by_label("Classification").select_option("internal")
    page.get_by_label("Groups, parted by commas").fill("everyone")
    page.get_by_label("Owner").fill("hr")
    page.get_by_label("Reason, kept in the history of the label and in the audit log").fill("the porter asks for it")
    page.get_by_role("button", name="Release and index").click()
    page.wait_for_url("**/quarantine")
    watched.until("!document.querySelector('#changing').textContent.includes('gate.txt')")
    page.goto(page.url.replace("/quarantine", "?kb=yard"))
    page.locator("#chosen tr", has_text="gate.txt").get_by_role("link").click()
    page.locator(".history summary").click()
    assert "the porter asks for it" in page.locator(".history").inner_text()
    assert "the porter asks for it" in site.inhouse("audit", "list", "--actor", "sten", "--json").stdout


def test_axe_finds_no_violation_where_files_come_in(
    site: Any, folder: Path, open_page: Callable[..., Any], look_at: Callable[..., None]
) -> None:
    watched = open_page("sten")
    page, start = watched.page, watched.page.url + "documents/"
    page.goto(start + "upload")
    look_at(page, "label")
    page.goto(start + "upload?" + LABEL)
    files = [["a long name of a file that is dropped here by a steward.md", "Rain falls."], ["plan.pdf", "%PDF-1.4 no"]]
    page.evaluate(DROP, files)
    watched.until("document.querySelectorAll('#uploads li[data-outcome]').length === 2")
    page.evaluate(DROP, [["too-many.md", "x"]] * 21)
    look_at(page, "results, and too many files")
    without_a_label(site, folder, "shed-without-a-label.txt")
    page.goto(start + "quarantine")
    look_at(page, "quarantine")
    entries = {one["path"]: one["id"] for one in run(site.data, "quarantine.list", {})["quarantine"]}
    for path in ("plan.pdf", "shed-without-a-label.txt"):
        page.goto(start + f"release?entry={entries[path]}")
        look_at(page, path)
    assert page.get_by_role("button", name="Release and index").count() == 1
