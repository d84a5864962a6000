"""What could not be indexed is listed with its reason, shown with its mend, and tried again when it was mended."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LABELS = '[[rule]]\nglob = "*.md"\nkb = "k"\nclassification = "internal"\ngroups = ["staff"]\nowner = "o"\n'
COLLECTION = '[[collection]]\nglob = "*.jsonl"\nid = "id"\ntitle = "title"\ntext = "text"\n'
Command = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "labels.toml").write_text(LABELS.replace("*.md", "*"), encoding="utf-8")
    (made / "good.md").write_text("# Good\n\nIt is read.\n", encoding="utf-8")
    return made


def broken(path: Path) -> Path:
    path.write_bytes(b"PK\x03\x04 half a file")
    return path


def mend(path: Path) -> None:
    """A small whole OpenDocument text."""
    space = "urn:oasis:names:tc:opendocument:xmlns"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        body = "<office:body><office:text><text:p>It was mended.</text:p></office:text></office:body>"
        spaces = f'xmlns:office="{space}:office:1.0" xmlns:text="{space}:text:1.0"'
        archive.writestr("content.xml", f"<office:document-content {spaces}>{body}</office:document-content>")
    path.write_bytes(made.getvalue())


def entries(command: Command) -> dict[str, dict[str, Any]]:
    return {one["path"]: one for one in command("quarantine", "list", "--json")["quarantine"]}


def documents(command: Command) -> set[str]:
    return {one["path"] for one in command("documents", "list", "--json")["documents"]}


def test_list_and_show_say_why_and_what_to_do(command: Command, folder: Path) -> None:
    broken(folder / "a.odt")
    assert "a.odt: damaged" in command("ingest", str(folder), code=5)
    text = command("quarantine", "list")
    assert "a.odt" in text
    assert "damaged" in text
    (entry,) = entries(command).values()
    assert (entry["reason"], entry["attempts"], entry["source"]) == ("damaged", 1, str(folder))
    assert "Get it again from its source" in command("quarantine", "show", entry["id"])
    assert command("quarantine", "show", entry["id"], "--json")["entry"]["meaning"].startswith("The file is not a whole file")
    assert "nothing in quarantine" in command("quarantine", "show", "q-000000000000", code=4)
    assert "nothing in quarantine" in command("quarantine", "retry", "q-000000000000", code=4)


def test_every_reason_has_a_meaning() -> None:
    from ingest.parsing.types import ParseReason
    from ingest.refusing import BAD_LABEL, BAD_RECORD, LEGAL_HOLD, REFUSED, UNLABELLED
    from service.operations.quarantine import meaning

    for reason in (*ParseReason, BAD_LABEL, BAD_RECORD, LEGAL_HOLD, REFUSED, UNLABELLED):
        assert meaning(reason).endswith(".")


def test_a_mended_file_comes_in_and_what_is_still_broken_stays(command: Command, folder: Path) -> None:
    mend_me, other = broken(folder / "a.odt"), broken(folder / "b.odt")
    command("ingest", str(folder), code=5)
    mend(mend_me)
    told = command("quarantine", "retry", "--json", code=5)
    assert [one["path"] for one in told["left"]] == [other.name]
    assert [run_report["added"] for run_report in told["runs"]] == [1]
    assert documents(command) == {"good.md", "a.odt"}
    assert entries(command)["b.odt"]["attempts"] == 2
    mend(other)
    assert "Nothing that was tried is in quarantine any more." in command("quarantine", "retry")
    assert entries(command) == {}


def test_one_entry_is_tried_alone(command: Command, folder: Path) -> None:
    for name in ("a.odt", "b.odt"):
        broken(folder / name)
    command("ingest", str(folder), code=5)
    for name in ("a.odt", "b.odt"):
        mend(folder / name)
    command("quarantine", "retry", entries(command)["a.odt"]["id"])
    assert set(entries(command)) == {"b.odt"}
    assert documents(command) == {"good.md", "a.odt"}


def test_without_a_retry_an_unchanged_file_is_not_parsed_again(command: Command, folder: Path) -> None:
    broken(folder / "a.odt")
    command("ingest", str(folder), code=5)
    report = command("ingest", str(folder), "--json", code=5)
    assert report["quarantined"] == 1
    assert entries(command)["a.odt"]["attempts"] == 1


def test_a_file_whose_name_holds_a_number_sign_is_found_again(command: Command, folder: Path) -> None:
    names = ("offer #3.odt", "a#line-7.odt")
    for name in names:
        broken(folder / name)
    command("ingest", str(folder), code=5)
    for name in names:
        mend(folder / name)
    command("quarantine", "retry")
    assert documents(command) == {"good.md", *names}
    assert entries(command) == {}


def test_a_line_of_a_collection_is_tried_with_its_file(command: Command, folder: Path) -> None:
    (folder / "labels.toml").write_text(LABELS.replace("*.md", "*") + COLLECTION, encoding="utf-8")
    lines = ['{"id": "1", "title": "One", "text": "First."}', "not JSON", '{"id": "3", "title": "Three"}']
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command("ingest", str(folder), code=5)
    assert {path: one["reason"] for path, one in entries(command).items()} == {
        "rows.jsonl#line-2": "bad-record",
        "rows.jsonl#line-3": "bad-record",
    }
    told = command("quarantine", "retry", entries(command)["rows.jsonl#line-2"]["id"], "--json", code=5)
    assert {one["path"] for one in told["left"]} == {"rows.jsonl#line-2", "rows.jsonl#line-3"}
    lines[1:] = ['{"id": "2", "title": "Two", "text": "Second."}', '{"id": "3", "title": "Three", "text": "Third."}']
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command("quarantine", "retry", entries(command)["rows.jsonl#line-2"]["id"])
    assert entries(command) == {}
    assert documents(command) == {"good.md", *(f"rows.jsonl#{number}" for number in "123")}


def test_a_file_without_a_label_comes_in_when_a_rule_was_added(command: Command, folder: Path) -> None:
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    (folder / "note.txt").write_text("A note.", encoding="utf-8")
    command("ingest", str(folder), code=5)
    (entry,) = entries(command).values()
    assert entry["reason"] == "no-label"
    assert [one["path"] for one in command("quarantine", "retry", entry["id"], "--json", code=5)["left"]] == ["note.txt"]
    (folder / "labels.toml").write_text(LABELS.replace("*.md", "*"), encoding="utf-8")
    command("quarantine", "retry", entry["id"])
    assert documents(command) == {"good.md", "note.txt"}


def test_labels_that_lie_elsewhere_are_named_again(command: Command, folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "elsewhere.toml"
    (folder / "labels.toml").rename(labels)
    broken(folder / "a.odt")
    command("ingest", str(folder), "--labels", str(labels), code=5)
    mend(folder / "a.odt")
    assert "no labels.toml" in command("quarantine", "retry", code=2)
    command("quarantine", "retry", "--labels", str(labels))
    assert documents(command) == {"good.md", "a.odt"}


def test_a_file_that_is_gone_leaves_the_quarantine_and_is_said_to_be(command: Command, folder: Path) -> None:
    broken(folder / "a.odt")
    broken(folder / "b.odt")
    command("ingest", str(folder), code=5)
    (folder / "a.odt").unlink()
    told = command("quarantine", "retry", "--json", code=5)
    assert [one["path"] for one in told["gone"]] == ["a.odt"]
    assert [one["path"] for one in told["left"]] == ["b.odt"]
    assert set(entries(command)) == {"b.odt"}


def test_a_folder_that_is_not_there_empties_nothing(command: Command, folder: Path, tmp_path: Path) -> None:
    broken(folder / "a.odt")
    command("ingest", str(folder), code=5)
    shutil.move(folder, tmp_path / "unmounted")
    assert "cannot read" in command("quarantine", "retry", code=2)
    assert set(entries(command)) == {"a.odt"}


def test_a_file_that_was_good_and_is_broken_now_keeps_its_last_good_version(command: Command, folder: Path) -> None:
    mend(folder / "a.odt")
    command("ingest", str(folder))
    broken(folder / "a.odt")
    command("ingest", str(folder), code=5)
    assert documents(command) == {"good.md", "a.odt"}
    assert "It was mended." in str(command("search", "mended", "--json"))
    assert set(entries(command)) == {"a.odt"}


def test_links_pipes_and_files_without_permission_are_refused_for_that(command: Command, folder: Path) -> None:
    (folder / "out.md").symlink_to("/etc/hostname")
    report = command("ingest", str(folder), "--json", code=5)
    assert [(one["path"], one["reason"]) for one in report["refusals"]] == [("out.md", "not-a-plain-file")]
    (folder / "out.md").unlink()
    (folder / "out.md").write_text("# Now a file\n\nWith text.", encoding="utf-8")
    command("quarantine", "retry")
    assert documents(command) == {"good.md", "out.md"}
