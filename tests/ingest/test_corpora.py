"""Public collections of awkward files, through the command line: every file is indexed or refused for a reason that is right.

By default one small file of each kind is ingested from each collection. INHOUSE_TEST_CORPORA=1 ingests both whole, some
two minutes on two cores.
"""

from __future__ import annotations

import collections
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingest.parsing.ocr import tessdata_folder
from ingest.parsing.types import EXPLANATIONS, ParsedDocument, ParseItem

WHOLE = os.environ.get("INHOUSE_TEST_CORPORA") == "1"
COMMAND = [sys.executable, "-c", "from service.cli import main; main()"]
LABELS = '[[rule]]\nglob = "*"\nkb = "k"\nclassification = "internal"\ngroups = ["staff"]\nowner = "o"\n'
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"}
PASSWORDS = {
    "pages/sources/pages_password_protected.pages",
    "pdf_password/sources/2206.01062_pg3.pdf",
    "005-libreoffice-writer-password/libreoffice-writer-password.pdf",
}
DAMAGED = {"017-unreadable-meta-data/unreadablemetadata.pdf"}
UNSUPPORTED = {".itxt", ".boxnote", ".ebc", ".pages"}
"""Intermediate text of a test suite, Box notes, mainframe records, and Pages before 2013."""

UNREAD_CHARTS = {"pptx_chart.pptx", "drawingml.docx"}
"""Their words stand in charts, which nothing here reads."""


def visible_files(root: Path) -> list[Path]:
    """Every file that is not hidden nor in a hidden folder."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def smallest_of_each_kind(root: Path, into: Path) -> Path:
    """A folder with the smallest file of each suffix, and each file whose refusal is known by name."""
    chosen: dict[str, Path] = {}
    for path in sorted(visible_files(root), key=lambda one: one.stat().st_size):
        relative = path.relative_to(root).as_posix()
        chosen.setdefault(relative if relative in PASSWORDS | DAMAGED else path.suffix.lower(), path)
    for path in chosen.values():
        target = into / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return into


def inhouse(data: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> Any:
    environment = {**os.environ, "INHOUSE_DATA_DIR": str(data), "INHOUSE_EMBEDDING__KIND": "hashing"}
    done = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode in codes, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("collection", ["docs_docling", "docs_pypdf_samples"])
def test_every_file_is_indexed_or_refused_for_a_reason_that_is_right(test_data: Path, tmp_path: Path, collection: str) -> None:
    folder = test_data / collection
    if not WHOLE:
        folder = smallest_of_each_kind(folder, tmp_path / "chosen")
    labels, data = tmp_path / "labels.toml", tmp_path / "data"
    labels.write_text(LABELS, encoding="utf-8")
    inhouse(data, "init")
    report = inhouse(data, "ingest", str(folder), "--labels", str(labels), "--json", codes=(0, 5))

    files = {path.relative_to(folder).as_posix() for path in visible_files(folder)}
    assert len(files) > 10
    assert report["outcome"] == "finished"
    assert report["found"] == len(files)
    assert report["added"] + report["quarantined"] == len(files)
    indexed = {one["path"] for one in inhouse(data, "documents", "list", "--limit", "10000", "--json")["documents"]}
    quarantined = {one["path"]: one for one in inhouse(data, "quarantine", "list", "--json")["quarantine"]}
    assert len(indexed) == report["added"]
    assert indexed | set(quarantined) == files
    assert not indexed & set(quarantined)

    reasons = {path: one["reason"] for path, one in quarantined.items()}
    assert set(reasons.values()) <= set(EXPLANATIONS)
    assert {path for path, reason in reasons.items() if reason == "password-protected"} == PASSWORDS & files
    assert {path for path, reason in reasons.items() if reason == "damaged"} == DAMAGED & files
    assert {Path(path).suffix for path, reason in reasons.items() if reason == "unsupported-type"} <= UNSUPPORTED
    assert {Path(path).suffix for path, reason in reasons.items() if reason == "scan-without-ocr"} <= (
        set() if tessdata_folder() else PICTURES | {".pdf"}
    )
    # What is left are pictures of no text, and documents that hold nothing else.
    rest = {"password-protected", "damaged", "unsupported-type", "scan-without-ocr"}
    assert {Path(path).suffix for path, reason in reasons.items() if reason not in rest} <= PICTURES | {".pdf"}
    assert {reason for reason in reasons.values() if reason not in rest} <= {"no-text"}


def words(text: str) -> collections.Counter[str]:
    return collections.Counter(re.findall(r"\w{2,}", text.lower()))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hardly_a_word_of_the_true_text_is_lost(plant: Any, test_data: Path) -> None:
    """Against the texts that the collection's makers hold for right: Markdown of text, tables, and lists."""
    folder = test_data / "docs_docling"
    kinds = {".docx", ".pptx", ".xlsx", ".html", ".odt", ".odp", ".ods", ".doc", ".ppt", ".xls", ".md", ".asciidoc", ".vtt"}
    pairs = [line.split("\t")[:2] for line in (folder / "PAIRS.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    truths = {
        source: truth
        for source, truth in pairs
        if Path(source).suffix in kinds and (folder / source).is_file() and (folder / truth).is_file()
    }
    assert len(truths) > 60
    recall = {}
    for item, outcome in plant(None).pool.parse(ParseItem(folder / source, source) for source in truths):
        assert isinstance(outcome, ParsedDocument), (item.name, outcome)
        said = re.sub(r"<!--.*?-->|\(data:[^)]*\)", "", (folder / truths[item.name]).read_text(encoding="utf-8"))
        true, got = words(html.unescape(said).replace("\\_", "_")), words(outcome.text)
        if len(true) >= 10:
            recall[Path(item.name).name] = sum(min(count, got[word]) for word, count in true.items()) / true.total()
    worst = sorted(recall.items(), key=lambda one: one[1])[:10]
    assert sum(recall.values()) / len(recall) > 0.94, worst
    # Counts are what the makers repeat for each row and column that a cell spans, and comments beside the text.
    assert {name for name, share in recall.items() if share < 0.4} <= UNREAD_CHARTS, worst
