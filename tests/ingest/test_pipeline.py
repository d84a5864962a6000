"""One run on a real store, with parsers and a log that the test holds in its hand."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.chunking import PassageParser
from ingest.parsing.types import Outcome, ParsedDocument, ParseFailure, ParseItem, ParseReason
from ingest.pipeline import Pipeline
from ingest.report import RunReport
from ingest.run_state import Event, IngestRequest, Listener
from ingest.runs import RunStore
from policies.audit.events import EventTag
from policies.errors import AuditUnavailable, ConfirmationRequired, NotFoundError, UsageError
from policies.labels import ANY_NAMES, AccessClass
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.store import Store
from vectorstore.types import Act, Document, DocumentDraft, DocumentId, Vectors

RULE = '[[rule]]\nglob = "{}"\nkb = "k"\nclassification = "{}"\ngroups = ["staff"]\nowner = "o"\n'
MAPPING = '[[collection]]\nglob = "*.jsonl"\nid = "id"\ntext = "text"\n'
OLD = 1_000_000_000


class ReadingParsers:
    """Reads files as text; `on` is called with each name after its file was read. "BAD" in a file makes it damaged."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.on: Callable[[str], None] = lambda name: None

    def parse(self, items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
        for item in items:
            self.read.append(item.name)
            text = item.path.read_text(encoding="utf-8")
            self.on(item.name)
            if "BAD" in text:
                yield item, ParseFailure(ParseReason.DAMAGED, "bad")
            else:
                yield item, ParsedDocument(text, (), item.name, "text/plain")


class Embedder(HashingEmbedder):
    """Calls `on` before each batch."""

    on: Callable[[], None] = staticmethod(lambda: None)

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> Vectors:
        self.on()
        return super().embed(texts, progress=progress)


class House:
    """A folder, a store, and a pipeline over them; what is recorded is kept in `events`."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "documents"
        self.folder.mkdir()
        self.parsers = ReadingParsers()
        self.embedder = Embedder()
        self.events: list[Event] = []
        self.waits = 0
        self.stop = threading.Event()
        self.listener: Listener = lambda progress: None
        Store.create(place / "data", self.embedder.fingerprint)
        self.store = Store.open(place / "data", self.embedder.fingerprint)
        self.runs = RunStore(place / "data" / "runs.db")
        self.labels(("*", "internal"))

    def labels(self, *rules: tuple[str, str], more: str = "") -> None:
        text = "".join(RULE.format(glob, classification) for glob, classification in rules) + more
        (self.folder / "labels.toml").write_text(text, encoding="utf-8")

    def write(self, name: str, text: str, *, old: bool = True) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if old:
            os.utime(path, (OLD, OLD))
        return path

    def record(self, events: Sequence[Event]) -> None:
        self.waits += 1
        self.events += events

    def run(self, **options: Any) -> RunReport:
        self.parsers.read.clear()
        self.events.clear()
        self.waits = 0
        pipeline = Pipeline(
            store=self.store,
            embedder=self.embedder,
            chunker=PassageParser(count=self.embedder.count),
            parsers=self.parsers,
            runs=self.runs,
            record=lambda events: self.record(events),
            actor="steward",
            names=ANY_NAMES,
            permitted=lambda access: True,
            classifications=("public", "internal", "secret"),
            prune_share=0.5,
        )
        return pipeline.run(IngestRequest(self.folder, **options), self.listener, self.stop)

    def known(self) -> dict[str, Document]:
        return self.store.known(str(self.folder.resolve()))

    def quarantine(self) -> dict[str, str]:
        return {one.path: one.reason for one in self.runs.quarantine()}

    def tags(self) -> Counter[EventTag]:
        return Counter(tag for tag, _ in self.events)

    def text(self, path: str) -> str:
        return self.store.catalog.text(self.known()[path].id)[0]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    """Passages in a batch."""
    monkeypatch.setattr("ingest.batching.BATCH_PASSAGES", 10)
    return 10


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()
    made.runs.close()


def files(report: RunReport) -> int:
    return report.added + report.changed + report.unchanged + report.relabelled + report.quarantined + report.collections


def line(identifier: str, text: str) -> str:
    return json.dumps({"id": identifier, "text": text}) + "\n"


def test_each_file_found_is_counted_in_exactly_one_place(house: House) -> None:
    house.labels(("*", "internal"), ("/moved/", "internal"), more=MAPPING)
    for name in ("same.txt", "other.txt", "moved/a.txt"):
        house.write(name, f"The text of {name}.")
    house.write("bad.txt", "BAD")
    house.write("lines.jsonl", line("1", "One.") + "no JSON\n")
    (house.folder / "link.txt").symlink_to("/etc/hostname")
    first = house.run()
    assert (first.found, first.added, first.quarantined, first.collections) == (6, 3, 2, 1)
    assert first.records == {"added": 1, "quarantined": 1}

    house.labels(("*", "internal"), ("/moved/", "secret"), ("/nobody/", "secret"), more=MAPPING)
    house.write("other.txt", "Another text, and a longer one.")
    house.write("new.txt", "New.")
    second = house.run()
    assert (second.found, second.added, second.changed, second.unchanged) == (7, 1, 1, 1)
    assert (second.relabelled, second.quarantined, second.collections) == (1, 2, 1)
    assert files(first) == first.found
    assert files(second) == second.found
    assert second.records == {"unchanged": 1, "quarantined": 1}


@pytest.mark.parametrize("hashed_twice", [2**20, 0], ids=["by-hash", "by-stat"])
def test_a_file_written_to_while_it_is_parsed_is_parsed_again(
    house: House, hashed_twice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.file_step._HASHED_TWICE", hashed_twice)
    path = house.write("a.txt", "First text.")

    def rewrite(name: str) -> None:
        house.parsers.on = lambda name: None
        path.write_text("Later text.", encoding="utf-8")
        os.utime(path, (OLD, OLD))

    # The parser has read the first text when the file gets another one of the same size and time.
    house.parsers.on = rewrite
    report = house.run()
    assert house.parsers.read == ["a.txt", "a.txt"]
    assert house.text("a.txt") == "Later text."
    assert report.added == 1
    assert house.run().unchanged == 1


def test_a_file_that_never_stands_still_keeps_its_last_version_and_is_read_by_the_next_run(house: House) -> None:
    path = house.write("a.txt", "A first text.")
    house.run()
    house.write("a.txt", "A second text.")
    turns = iter("abcdefgh")

    def rewrite(name: str) -> None:
        path.write_text(f"A text {next(turns)}.", encoding="utf-8")

    house.parsers.on = rewrite
    report = house.run()
    assert [(one["path"], one["reason"]) for one in report.refusals] == [("a.txt", "changed-while-read")]
    assert house.text("a.txt") == "A first text."
    assert files(report) == report.found
    house.parsers.on = lambda name: None
    assert house.run().changed == 1
    assert house.text("a.txt") == "A text b."
    assert house.quarantine() == {}


def test_a_file_as_young_as_the_run_is_looked_into_once_more(house: House) -> None:
    path = house.write("a.txt", "First text.", old=False)
    house.run()
    stat = path.stat()
    path.write_text("Other text.", encoding="utf-8")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    # Same size and same time, as within one tick of a coarse clock.
    assert house.run().changed == 1
    assert house.text("a.txt") == "Other text."


def test_what_a_failed_log_kept_out_is_not_counted(house: House) -> None:
    house.write("a.txt", "One text.")

    def record(events: Sequence[Event]) -> None:
        if any(tag is EventTag.DOCUMENT_ADDED for tag, _ in events):
            raise AuditUnavailable("the disk is full")

    house.record = record  # type: ignore[method-assign]
    with pytest.raises(AuditUnavailable):
        house.run()
    kept = house.runs.runs()[0]
    assert (kept.outcome, kept.added, kept.passages, kept.error) == ("failed", 0, 0, "the disk is full")
    assert house.known() == {}


def test_after_a_failed_commit_nothing_more_is_committed(
    house: House, small_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6 * small_batches):
        house.write(f"{number:05}.txt", f"Text {number}.")
    commit, calls = house.store.commit, []

    def failing(batch: Sequence[tuple[DocumentDraft, Vectors]], act: Act) -> list[Document]:
        calls.append(len(batch))
        if len(calls) == 2:
            raise OSError("no space left")
        return commit(batch, act)

    monkeypatch.setattr(house.store, "commit", failing)
    with pytest.raises(OSError, match="no space left"):
        house.run()
    assert len(calls) == 2
    assert house.runs.runs()[0].added == len(house.known()) == calls[0]


def test_a_stopped_run_counts_what_is_in_the_index(house: House, small_batches: int) -> None:
    for number in range(3 * small_batches):
        house.write(f"{number:05}.txt", f"Text {number}.")
    batches = []

    def on() -> None:
        batches.append(1)
        if len(batches) == 2:
            house.stop.set()

    house.embedder.on = on  # type: ignore[method-assign]
    report = house.run()
    assert report.outcome == "interrupted"
    assert report.added == report.passages == len(house.known()) == small_batches
    house.stop.clear()
    house.embedder.on = lambda: None  # type: ignore[method-assign]
    report = house.run()
    assert (report.unchanged, report.added) == (small_batches, 2 * small_batches)


def test_a_run_that_a_person_stops_keeps_what_is_committed_and_says_so(house: House, small_batches: int) -> None:
    for number in range(3 * small_batches):
        house.write(f"{number:05}.txt", f"Text {number}.")
    batches = []

    def on() -> None:
        batches.append(1)
        if len(batches) == 2:
            house.runs.stop(house.runs.runs(limit=1)[0].id)

    house.embedder.on = on  # type: ignore[method-assign]
    report = house.run()
    assert (report.outcome, report.added, len(house.known())) == ("stopped", small_batches, small_batches)
    with pytest.raises(UsageError, match="is not under way"):
        house.runs.stop(report.id)
    with pytest.raises(NotFoundError):
        house.runs.stop("run-x")


def test_a_record_of_a_document_names_it_by_the_id_that_it_has(house: House) -> None:
    def named() -> dict[str, str]:
        tags = (EventTag.DOCUMENT_ADDED, EventTag.DOCUMENT_CHANGED)
        return {payload["path"]: payload["document"] for tag, payload in house.events if tag in tags}

    for name in ("a.txt", "b.txt"):
        house.write(name, f"Text of {name}.")
    house.run()
    first = named()
    assert first == {path: one.id for path, one in house.known().items()}
    assert len(set(first.values())) == 2
    house.write("a.txt", "Another text.")
    house.run()
    assert named() == {"a.txt": first["a.txt"]}
    # What was taken out and comes back is the document that it was.
    house.store.remove([DocumentId(first["b.txt"])])
    house.run()
    assert named() == {"b.txt": first["b.txt"]}
    assert house.known()["b.txt"].id == first["b.txt"]


def test_the_records_of_a_batch_are_written_before_its_commit_and_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        house.write(f"{number}.txt", f"Text {number}.")
    commit = house.store.commit

    def checked(batch: Sequence[tuple[DocumentDraft, Vectors]], act: Act) -> list[Document]:
        assert house.tags()[EventTag.DOCUMENT_ADDED] == 20
        return commit(batch, act)

    monkeypatch.setattr(house.store, "commit", checked)
    house.run()
    assert len(house.known()) == 20
    assert house.waits == 3  # begun, added, finished


def test_a_dry_run_parses_nothing_and_writes_nothing(house: House, tmp_path: Path) -> None:
    house.labels(("*", "internal"), more=MAPPING)
    house.write("old.txt", "Old.")
    house.write("moved.txt", "Moved.")
    house.write("lines.jsonl", line("1", "One."))
    house.run()
    house.labels(("*", "internal"), ("/moved.txt", "secret"), ("/*.none", "secret"), more=MAPPING)
    house.write("new.txt", "New.")
    house.write("lines.jsonl", line("1", "One.") + line("2", "Two.") + "no JSON\n")
    (house.folder / "old.txt").unlink()
    before = (house.known(), house.quarantine(), [run.id for run in house.runs.runs()])
    report = house.run(dry_run=True, prune=True)
    assert (report.added, report.relabelled, report.collections, report.removed) == (1, 1, 1, 1)
    assert report.records == {"unchanged": 1, "added": 1, "quarantined": 1}
    assert house.parsers.read == []
    assert house.events == []
    assert (house.known(), house.quarantine(), [run.id for run in house.runs.runs()]) == before


def test_what_is_in_quarantine_is_not_recorded_anew_while_it_stays_as_it_is(house: House) -> None:
    house.labels(("*.txt", "internal"), ("*.jsonl", "internal"), more=MAPPING)
    house.write("bad.txt", "BAD")
    house.write("unlabelled.md", "Nobody said.")
    house.write("lines.jsonl", "no JSON\n")
    (house.folder / "link.txt").symlink_to("/etc/hostname")
    assert house.run().quarantined == 3
    assert house.tags()[EventTag.DOCUMENT_QUARANTINED] == 4
    report = house.run()
    assert report.quarantined == 3
    assert report.records == {"quarantined": 1}
    assert house.tags()[EventTag.DOCUMENT_QUARANTINED] == 0
    assert house.parsers.read == []
    assert {one.attempts for one in house.runs.quarantine()} == {1}
    house.run(retry=True)
    assert house.tags()[EventTag.DOCUMENT_QUARANTINED] == 4
    assert {one.attempts for one in house.runs.quarantine()} == {2}


def test_many_refusals_are_recorded_together(house: House) -> None:
    house.labels(("*.txt", "internal"))
    for number in range(50):
        house.write(f"{number}.md", "Nobody said.")
    house.run()
    assert house.tags()[EventTag.DOCUMENT_QUARANTINED] == 50
    assert house.waits == 3


def test_a_good_version_stays_and_takes_the_new_label_when_its_file_is_spoilt(house: House) -> None:
    house.write("a.txt", "A good text.")
    house.run()
    house.write("a.txt", "BAD now.")
    house.labels(("*", "secret"))
    report = house.run()
    assert (report.quarantined, report.relabelled, report.removed) == (1, 0, 0)
    assert house.known()["a.txt"].access == AccessClass("k", "secret", frozenset({"staff"}), "o")


def test_labels_count_before_anything_is_read(house: House) -> None:
    house.labels(("*", "internal"), more=MAPPING)
    house.write("lost.txt", "Lost.")
    house.write("moved.txt", "Moved.")
    house.write("lines.jsonl", line("1", "One."))
    house.write("gone.jsonl", line("1", "Gone."))
    house.run()
    house.labels(("/moved.txt", "secret"), ("/lines.jsonl", "secret"), ("/new.txt", "secret"), more=MAPPING)
    house.write("moved.txt", "Moved, and with another text.")
    house.write("new.txt", "New.")
    seen: dict[str, str] = {}

    def look(name: str) -> None:
        seen.update({path: one.access.classification for path, one in house.known().items()})

    house.parsers.on = look
    report = house.run()
    assert seen == {"moved.txt": "secret", "lines.jsonl#1": "secret"}
    assert (report.added, report.changed, report.removed, report.quarantined) == (1, 1, 2, 2)
    assert report.records == {"relabelled": 1}
    assert files(report) == report.found == 5


def test_a_file_that_becomes_a_collection_leaves_nothing_of_its_former_self(house: House) -> None:
    house.write("lines.jsonl", line("1", "One."))
    house.run()
    assert set(house.known()) == {"lines.jsonl"}
    house.labels(("*", "internal"), more=MAPPING)
    house.run()
    assert set(house.known()) == {"lines.jsonl#1"}
    house.labels(("*", "internal"))
    house.run()
    assert set(house.known()) == {"lines.jsonl"}


def test_a_line_that_was_removed_comes_back_and_one_that_was_mended_leaves_quarantine(house: House) -> None:
    house.labels(("*", "internal"), more=MAPPING)
    house.write("lines.jsonl", line("1", "One.") + "no JSON\n")
    house.run()
    assert house.quarantine() == {"lines.jsonl#line-2": "bad-record"}
    house.store.remove([DocumentId(house.known()["lines.jsonl#1"].id)])
    assert house.run().records == {"added": 1, "quarantined": 1}
    house.write("lines.jsonl", line("1", "One.") + line("2", "Two."))
    assert house.run().records == {"unchanged": 1, "added": 1}
    assert house.quarantine() == {}


def test_what_lies_in_a_folder_that_cannot_be_read_is_not_taken_for_gone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write("a.txt", "A.")
    house.write("b.txt", "B.")
    house.write("c.txt", "C.")
    house.write("locked/d.txt", "D.")
    house.run()
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("ingest.sources.folder.os.scandir", refusing)
    (house.folder / "c.txt").unlink()
    report = house.run(prune=True)
    assert report.removed == 1
    assert set(house.known()) == {"a.txt", "b.txt", "locked/d.txt"}


def test_a_prune_that_asks_removes_nothing_and_is_told_by_the_report(house: House) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        house.write(name, f"Text of {name}.")
    house.run()
    for name in ("a.txt", "b.txt"):
        (house.folder / name).unlink()
    with pytest.raises(ConfirmationRequired):
        house.run(prune=True)
    assert len(house.known()) == 3
    kept = house.runs.runs()[0]
    assert (kept.removed, kept.unchanged) == (0, 1)
    assert house.run(prune=True, confirmed=True).removed == 2


def test_runs_that_started_within_one_second_are_listed_newest_first(house: House) -> None:
    names = [f"run-{letter}" for letter in "dbaec"]
    for name in names:
        house.runs.save(RunReport(id=name, source="/", started="2026-11-25T00:00:00+00:00", dry_run=False))
    house.runs.save(RunReport(id=names[0], source="/", started="2026-11-25T00:00:00+00:00", dry_run=True))
    assert [report.id for report in house.runs.runs()] == names[::-1]


def test_a_file_that_came_in_before_a_crash_could_let_it_out_leaves_quarantine(house: House) -> None:
    house.write("a.txt", "BAD")
    house.run()
    house.parsers.parse = good  # type: ignore[method-assign]
    release, house.runs.release = house.runs.release, lambda source, paths: None  # type: ignore[method-assign]
    assert house.run(retry=True).added == 1
    house.runs.release = release  # type: ignore[method-assign]
    assert house.quarantine() == {"a.txt": "damaged"}
    assert house.run().unchanged == 1
    assert house.quarantine() == {}


def good(items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
    """Parsers that find nothing wrong."""
    for item in items:
        yield item, ParsedDocument("A text.", (), item.name, "text/plain")


def test_an_unreadable_file_costs_itself_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = house.write("a.txt", "A.")
    house.write("b.txt", "B.")
    house.run()
    os.utime(path, (OLD + 5, OLD + 5))
    opened = Path.open

    def refusing(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == path.resolve():
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    house.parsers.parse = unreadable  # type: ignore[method-assign]
    report = house.run()
    assert (report.unchanged, report.quarantined) == (1, 1)
    assert "a.txt" in house.known()


def unreadable(items: Iterable[ParseItem]) -> Iterator[tuple[ParseItem, Outcome]]:
    """Parsers that may read nothing."""
    for item in items:
        yield item, ParseFailure(ParseReason.UNREADABLE, "Permission denied")


def test_progress_tells_files_and_passages(house: House) -> None:
    told: list[Mapping[str, Any]] = []
    for number in range(3):
        house.write(f"{number}.txt", f"Text {number}.")
    pipeline = Pipeline(
        store=house.store,
        embedder=house.embedder,
        chunker=PassageParser(count=house.embedder.count),
        parsers=house.parsers,
        runs=house.runs,
        record=house.record,
        actor="steward",
        names=ANY_NAMES,
        permitted=lambda access: True,
        classifications=("public", "internal", "secret"),
        prune_share=0.5,
    )
    pipeline.run(IngestRequest(house.folder), told.append, house.stop)
    assert told[0]["of"] == 3
    assert told[0]["of_bytes"] == 21


def test_how_far_a_run_is_can_be_looked_up_while_it_is_on_and_no_longer(house: House) -> None:
    house.write("a.txt", "All about rooms.")
    told: list[tuple[Any, Any]] = []
    house.listener = lambda progress: told.append((progress, house.runs.progress))
    house.run()
    assert told
    assert all(heard == kept for heard, kept in told)
    assert house.runs.progress is None
