"""Pages of the log: what is asked for and nothing else, at a cost that the size of the log does not set."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.audit import log as log_module
from policies.audit.events import EventTag
from policies.audit.lines import backwards, first_where, forwards
from policies.audit.log import AuditLog
from policies.audit.pages import SHOWN, Wanted, every, page
from policies.audit.query import moment, record, records
from policies.audit.records import Record, files

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def written(directory: Path, monkeypatch: pytest.MonkeyPatch, count: int, *, hours: int = 1) -> list[Record]:
    """A log of several files, with a record every so many hours, whose people and events take turns."""
    log = AuditLog(directory, file_bytes=9000)
    made = []
    for number in range(count):
        when = START + datetime.timedelta(hours=hours * number)
        monkeypatch.setattr(log_module, "_now", lambda when=when: moment(when))
        actor = ("anna", "bert", "cleo")[number % 3]
        viewed = {"document": f"doc-{number % 5}", "version": 1, "path": f"p{number % 5}", "text": True}
        cited = {"question": "1-0", "citations": [[f"doc-{number % 5}", 1, 0, 9]], "citations_dropped": 0, "characters": 9}
        events = ((EventTag.DOCUMENT_VIEWED, viewed), (EventTag.QUESTION_ANSWERED, cited))
        tag, payload = events[number % 2] if number % 7 else (EventTag.PERSON_DISABLED, {"person": f"doc-{number % 5}"})
        made.append(log.append(tag, actor, payload))
    assert len(files(directory)) > 2
    return made


def numbers(found: list[Record]) -> list[int]:
    return [one.sequence for one in found]


def test_pages_together_are_what_all_filters_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = written(tmp_path, monkeypatch, 150)[::-1]
    expected = {
        Wanted(): made,
        Wanted(actor="anna"): [one for one in made if one.actor == "anna"],
        Wanted(tags=SHOWN): [one for one in made if one.tag != "person:disabled"],
        Wanted(outcome="answered"): [one for one in made if one.tag == "question:answered"],
        # That a person is named like a document does not make them one.
        Wanted(document="doc-3"): [one for one in made if one.sequence % 5 == 4 and one.tag != "person:disabled"],
        Wanted(document="p3"): [one for one in made if one.sequence % 5 == 4 and one.tag == "document:viewed"],
        Wanted(since=moment("2026-01-03"), until=moment("2026-01-04"), actor="bert"): [
            one for one in made if one.time.startswith("2026-01-03") and one.actor == "bert"
        ],
        Wanted(document="doc"): [],
    }
    for wanted, all_of_them in expected.items():
        found: list[Record] = []
        before: int | None = None
        while True:
            part = page(tmp_path, wanted, before=before, limit=4, look=11)
            assert len(part.records) <= 4
            assert part.looked <= 11
            found += part.records
            before = part.rest
            if before is None:
                break
        assert numbers(found) == numbers(all_of_them)
        assert numbers(list(every(tmp_path, wanted))) == numbers(all_of_them)


def test_what_stands_before_a_place_and_outside_a_time_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = written(tmp_path, monkeypatch, 400, hours=24)
    read: list[bytes] = []
    monkeypatch.setattr("policies.audit.query.parsed", lambda line, where: read.append(line) or made[0])
    record_times = {"since": moment("2026-06-01"), "until": moment("2026-06-04")}
    part = page(tmp_path, Wanted(**record_times))  # type: ignore[arg-type]
    assert [one.time[:10] for one in part.records] == ["2026-06-03", "2026-06-02", "2026-06-01"]
    # From a day before the three days to the end of the day after them.
    assert part.looked == 6
    # A place in the log is found without the records before it, in either direction.
    for newest_first in (True, False):
        read.clear()
        next(records(tmp_path, after=200, newest_first=newest_first))
        assert [line in (made[198].line(), made[200].line()) for line in read] == [True]


def test_a_record_whose_clock_was_hours_off_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path)
    for hour in (1, 2, 3, 22, 4, 5, 6):
        monkeypatch.setattr(log_module, "_now", lambda hour=hour: moment(START + datetime.timedelta(hours=hour)))
        log.append(EventTag.PERSON_DISABLED, "anna", {"person": "bert"})
    wanted = Wanted(since=moment("2026-01-01T20:00"), until=moment("2026-01-01T23:00"))
    assert numbers(page(tmp_path, wanted).records) == [4]
    early = Wanted(since=moment("2026-01-01T03:30"), until=moment("2026-01-01T05:30"))
    assert numbers(page(tmp_path, early).records) == [6, 5]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=30), st.integers(0, 32), st.binary(max_size=5))
def test_the_middle_of_a_file_is_found_as_by_reading_all_of_it(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], number: int, torn: bytes
) -> None:
    directory = tmp_path_factory.mktemp("audit")
    AuditLog(directory).append_all([(EventTag.PERSON_DISABLED, "x" * length, {"person": "p"}) for length in lengths])
    (path,) = files(directory)
    with path.open("ab") as file:
        file.write(torn.replace(b"\n", b""))
    lines = list(forwards(path))
    place = first_where(path, lambda end: end.sequence >= number)
    assert place == sum(len(line) for line in lines[: max(0, number - 1)])
    assert list(forwards(path, place)) == lines[max(0, number - 1) :]
    assert list(backwards(path, place)) == lines[: max(0, number - 1)][::-1]


def test_a_record_is_found_by_its_number_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in written(tmp_path, monkeypatch, 120):
        assert record(tmp_path, one.id) == record(tmp_path, str(one.sequence)) == one
