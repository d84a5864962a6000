"""Progress tells what part of the work is done, by the part that takes the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ingest import progress as module
from ingest.progress import Progress
from ingest.report import RunReport


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """Every account of a run's progress, none left out for coming too soon."""
    monkeypatch.setattr(module, "_SECONDS_BETWEEN", -1.0)
    return []


def progress(told: list[Mapping[str, Any]], total: int) -> Progress:
    return Progress(told.append, RunReport("run-1", "folder", "now"), total)


def test_files_that_are_read_and_not_embedded_are_not_done(told: list[Mapping[str, Any]]) -> None:
    run = progress(told, 100)
    run.made(10)
    run.done(100)
    assert told[-1]["share"] == 0.0
    run.embedded(4)
    assert told[-1]["share"] == pytest.approx(0.4)
    run.embedded(6)
    assert told[-1]["share"] == 1.0


def test_what_is_not_read_yet_is_taken_to_be_like_what_is(told: list[Mapping[str, Any]]) -> None:
    run = progress(told, 1000)
    run.made(10)
    run.done(250)
    run.embedded(10)
    assert told[-1]["share"] == pytest.approx(0.25)


def test_half_a_file_counts_as_half(told: list[Mapping[str, Any]]) -> None:
    run = progress(told, 200)
    run.reading(100)
    run.made(8)
    run.embedded(4)
    assert told[-1]["share"] == pytest.approx(0.25)
    run.done(200)
    assert told[-1]["share"] == pytest.approx(0.5)


def test_unchanged_files_are_done_when_they_are_looked_at(told: list[Mapping[str, Any]]) -> None:
    run = progress(told, 200)
    run.done(150)
    assert told[-1]["share"] == pytest.approx(0.75)


def test_a_folder_without_bytes_is_done(told: list[Mapping[str, Any]]) -> None:
    progress(told, 0).done(0)
    assert told[-1]["share"] == 1.0
