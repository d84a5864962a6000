"""Exports from databases: each line is a document by its id, and a line that is none is named and costs itself alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.labelling import CollectionMapping
from ingest.sources.collections import BadRecord, CollectionRecord, read_collection

MAPPING = CollectionMapping("id", "title", ("text",), ("price",))
LABELS = """
[[rule]]
glob = "*"
kb = "k"
classification = "internal"
groups = ["staff"]
owner = "o"

[[collection]]
glob = "*.jsonl"
id = "id"
title = "title"
text = ["text"]
keep = ["price"]

[[collection]]
glob = "*.csv"
id = "id"
title = "title"
text = ["text"]
"""
ROW = {"id": "1", "title": "One", "text": "First text.", "price": 12}


def read(path: Path, content: str | bytes, mapping: CollectionMapping = MAPPING) -> list[CollectionRecord | BadRecord]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_collection(path, mapping))


def good(found: list[CollectionRecord | BadRecord]) -> list[CollectionRecord]:
    return [one for one in found if isinstance(one, CollectionRecord)]


def bad(found: list[CollectionRecord | BadRecord]) -> list[tuple[int, str]]:
    return [(one.line, one.detail) for one in found if isinstance(one, BadRecord)]


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def test_a_line_becomes_a_document_with_what_is_kept(jsonl: Path) -> None:
    (record,) = good(read(jsonl, json.dumps(ROW)))
    assert (record.id, record.title, record.text, record.kept) == ("1", "One", "First text.", {"price": "12"})


def test_several_fields_make_one_text_and_a_title_may_be_missing(jsonl: Path) -> None:
    mapping = CollectionMapping("id", None, ("title", "text"), ())
    (record,) = good(read(jsonl, json.dumps(ROW), mapping))
    assert (record.title, record.text) == ("1", "One\n\nFirst text.")


def test_the_hash_is_over_what_is_mapped_alone(jsonl: Path) -> None:
    def digest(**changed: Any) -> str:
        return good(read(jsonl, json.dumps({**ROW, **changed})))[0].content_sha256

    assert digest(viewed=7) == digest()
    assert len({digest(), digest(text="Other."), digest(title="Other"), digest(price=13), digest(id="2")}) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not JSON", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"id": "2"}', "no field 'text'"),
        ('{"text": "no id"}', "no field 'id'"),
        ('{"id": "", "text": "x"}', "the id in 'id' is empty"),
        ('{"id": null, "text": "x"}', "the id in 'id' is empty"),
        ('{"id": "a\\nb", "text": "x"}', "not printable"),
        (json.dumps({"id": "x" * 501, "text": "x"}), "longer than 500"),
        ('{"id": "2", "text": "  "}', "its text is empty"),
        ('{"id": "1", "text": "again"}', "'1' was there before"),
    ],
)
def test_a_line_that_is_no_document_is_named_and_costs_itself_alone(jsonl: Path, line: str, said: str) -> None:
    found = read(jsonl, f'{json.dumps(ROW)}\n\n{line}\n{{"id": "9", "text": "after"}}\n')
    assert [one.id for one in good(found)] == ["1", "9"]
    ((number, detail),) = bad(found)
    assert number == 3
    assert said in detail


def test_a_line_without_end_is_passed_over_without_being_held(jsonl: Path) -> None:
    long = json.dumps({"id": "long", "text": "x" * (17 * 2**20)})
    found = read(jsonl, f"{long}\n{json.dumps(ROW)}\n{long}")
    assert [one.id for one in good(found)] == ["1"]
    assert bad(found) == [(1, "the line is longer than 16 MiB"), (3, "the line is longer than 16 MiB")]


def test_bytes_that_are_no_unicode_are_a_bad_line(jsonl: Path) -> None:
    found = read(jsonl, b'{"id": "1", "text": "\xff\xfe"}\n' + json.dumps(ROW).encode())
    assert [one.text for one in good(found)] == ["First text."]
    assert [number for number, _ in bad(found)] == [1]


@pytest.mark.parametrize(
    "content",
    [
        "id,title,text,price\n1,One,First text.,12\n",
        "\ufeffid,title,text,price\r\n1,One,First text.,12\r\n",
        "id;title;text;price\n1;One;First text.;12\n",
        "id\ttitle\ttext\tprice\n1\tOne\tFirst text.\t12\n",
        "id|title|text|price\n1|One|First text.|12\n",
        'id,title,text,price\n"1","One","First text.","12"\n',
    ],
)
def test_csv_of_every_sort_gives_the_same_record(csv: Path, content: str) -> None:
    (record,) = good(read(csv, content))
    assert (record.id, record.title, record.text, record.kept) == ("1", "One", "First text.", {"price": "12"})


def test_quotes_hold_line_ends_separators_and_quotes(csv: Path) -> None:
    found = read(csv, 'id,title,text,price\n1,One,"First, ""quoted""\nand second line.",\n2,Two,Plain.,5\n')
    assert [one.text for one in good(found)] == ['First, "quoted"\nand second line.', "Plain."]
    assert good(found)[0].kept == {}


def test_rows_longer_or_shorter_than_the_header_are_bad_lines(csv: Path) -> None:
    found = read(csv, "id,title,text,price\n1,One\n2,Two,Text.,5\n3,Three,Text.,5,6\n")
    assert [one.id for one in good(found)] == ["2"]
    assert [number for number, _ in bad(found)] == [2, 4]


def test_a_csv_in_the_encoding_of_windows_keeps_its_letters(csv: Path) -> None:
    (record,) = good(read(csv, "id;title;text;price\n1;Größe;Länge der Straße;5\n".encode("cp1252")))
    assert (record.title, record.text) == ("Größe", "Länge der Straße")


def test_one_wrong_byte_far_down_spoils_its_own_letter_alone(csv: Path) -> None:
    content = b"id;title;text;price\n" + b"".join(f"{row};Größe;Länge;5\n".encode() for row in range(90_000))
    assert len(content) > 2**20
    records = good(read(csv, content[:-8] + b"\xff" + content[-8:]))
    assert len(records) == 90_000
    assert {record.title for record in records} == {"Größe"}
    assert {record.text for record in records[:-1]} == {"Länge"}


def test_letters_that_come_late_are_told_all_the_same(csv: Path) -> None:
    content = "id;title;text;price\n" + "".join(f"{row};Size;Length of it;5\n" for row in range(60_000))
    assert len(content) > 2**20
    for encoding in ("utf-8", "cp1252"):
        records = good(read(csv, (content + "x;Größe;Länge;5\n").encode(encoding)))
        assert records[-1].title == "Größe"


def test_no_rows_are_no_records(csv: Path, jsonl: Path) -> None:
    assert read(csv, "") == read(csv, "id,title,text,price\n") == read(jsonl, "\n\n") == []


def ingest(command: Any, folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = command("ingest", str(folder), "--json", *arguments, code=code)
    return report


def paths(command: Any) -> set[str]:
    return {one["path"] for one in command("documents", "list", "--json")["documents"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "labels.toml").write_text(LABELS, encoding="utf-8")
    return made


def rows(*numbers: int) -> str:
    return "".join(json.dumps({**ROW, "id": str(number), "text": f"Text {number}."}) + "\n" for number in numbers)


def test_lines_are_documents_and_a_changed_one_changes_alone(command: Any, folder: Path) -> None:
    file = folder / "rows.jsonl"
    file.write_text(rows(1, 2, 3), encoding="utf-8")
    assert ingest(command, folder)["records"] == {"added": 3}
    assert ingest(command, folder)["records"] == {"unchanged": 3}
    file.write_text(rows(1, 2, 3, 4).replace("Text 2.", "Another text."), encoding="utf-8")
    assert ingest(command, folder)["records"] == {"added": 1, "changed": 1, "unchanged": 2}
    hits = command("search", "another text", "--json")["hits"]
    assert hits[0]["path"] == "rows.jsonl#2"
    assert "price: 12" in hits[0]["text"]


def test_a_line_that_is_gone_is_removed_by_a_prune_alone(command: Any, folder: Path) -> None:
    file = folder / "rows.jsonl"
    file.write_text(rows(*range(8)), encoding="utf-8")
    ingest(command, folder)
    file.write_text(rows(*range(1, 8)), encoding="utf-8")
    assert ingest(command, folder)["removed"] == 0
    assert "rows.jsonl#0" in paths(command)
    assert ingest(command, folder, "--prune")["removed"] == 1
    assert paths(command) == {f"rows.jsonl#{number}" for number in range(1, 8)}


def test_ids_may_hold_what_paths_may_not(command: Any, folder: Path) -> None:
    ids = ["a/b", "../up", "x#y", "#", "a#line-1", " spaced ", "Größe", "%2F", "line-2"]
    lines = [json.dumps({"id": one, "title": one, "text": f"The text of {number}."}) for number, one in enumerate(ids)]
    (folder / "rows.jsonl").write_text("\n".join([*lines, "not JSON"]), encoding="utf-8")
    assert ingest(command, folder, code=5)["records"] == {"added": len(ids), "quarantined": 1}
    assert paths(command) == {f"rows.jsonl#{one.strip()}" for one in ids}
    assert ingest(command, folder, "--prune", code=5)["records"] == {"unchanged": len(ids), "quarantined": 1}
    (folder / "rows.jsonl").write_text("\n".join([*lines, rows(77).strip()]), encoding="utf-8")
    assert ingest(command, folder, "--prune")["records"] == {"added": 1, "unchanged": len(ids)}
    assert command("quarantine", "list", "--json")["quarantine"] == []


def test_a_mapping_to_fields_that_are_not_there_refuses_each_line(command: Any, folder: Path) -> None:
    (folder / "rows.csv").write_text("number,words\n1,First.\n2,Second.\n", encoding="utf-8")
    report = ingest(command, folder, code=5)
    assert report["records"] == {"quarantined": 2}
    assert {one["reason"] for one in report["refusals"]} == {"bad-record"}
    assert "there is no field 'id'" in report["refusals"][0]["detail"]
    assert paths(command) == set()
    (folder / "labels.toml").write_text(LABELS.replace('glob = "*.csv"\nid = "id"', 'glob = "*.csv"\nid = "number"'), "utf-8")
    text = (folder / "labels.toml").read_text(encoding="utf-8").rpartition('title = "title"\ntext = ["text"]')
    (folder / "labels.toml").write_text(text[0] + 'text = ["words"]' + text[2], encoding="utf-8")
    assert ingest(command, folder)["records"] == {"added": 2}
    assert paths(command) == {"rows.csv#1", "rows.csv#2"}
    assert command("quarantine", "list", "--json")["quarantine"] == []


def test_a_file_of_rows_without_a_mapping_is_one_document(command: Any, folder: Path) -> None:
    (folder / "rows.tsv").write_text("id\ttext\n1\tFirst.\n", encoding="utf-8")
    assert ingest(command, folder)["added"] == 1
    assert paths(command) == {"rows.tsv"}
