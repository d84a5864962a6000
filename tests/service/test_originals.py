"""Uploaded originals while two stewards upload and remove under one name: the document that is there in the end has its file,
and what has gone has left none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import service.ingesting
from ingest.pipeline import Pipeline
from policies.labels import AccessClass
from service.operations.originals import original_file
from service.operations.uploads import uploaded

ACCESS = AccessClass("yard", "internal", frozenset(["everyone"]), "hr")
POND = b"The pond is two metres deep."


def upload(bench: Any, body: bytes) -> dict[str, Any]:
    """Uploads a file of the one name as sam."""
    installation = bench.installation
    with installation.runs.uploads.incoming(10_000) as coming:
        coming.write(body)
        return dict(uploaded(installation, installation.principal("sam"), coming, "pond.txt", ACCESS, threading.Event()))


def originals(bench: Any) -> list[bytes]:
    """The bytes of what is kept."""
    return [path.read_bytes() for path in (bench.installation.directory / "uploads").iterdir()]


def once(act: Callable[[], object]) -> Callable[[], None]:
    """Does it at the first call alone."""
    left = [act]

    def call() -> None:
        if left:
            left.pop()()

    return call


def test_what_is_uploaded_between_a_removal_and_its_end_keeps_its_original(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = workbench()
    first, store = upload(bench, POND)["document"], bench.installation.store
    meanwhile, remove = once(lambda: upload(bench, POND)), store.remove

    def removed(*given: Any, **more: Any) -> int:
        count: int = remove(*given, **more)
        meanwhile()
        return count

    monkeypatch.setattr(store, "remove", removed)
    assert bench("documents.remove", ids=[first], as_person="sam")["removed"] == 1
    document = bench.installation.store.catalog.documents(None)[0]
    kept = original_file(bench.installation.runs.uploads, document)
    assert kept is not None
    assert kept.read_bytes() == POND
    assert originals(bench) == [POND]


def test_what_is_being_taken_in_while_its_name_is_removed_keeps_its_original(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = workbench()
    first, run = upload(bench, POND)["document"], Pipeline.run
    meanwhile = once(lambda: bench("documents.remove", ids=[first], as_person="sam"))

    def running(*given: Any) -> Any:
        meanwhile()
        return run(*given)

    monkeypatch.setattr(Pipeline, "run", running)
    assert upload(bench, POND)["outcome"] == "indexed"
    assert len(bench.events("document:removed")) == 1
    assert len(bench.installation.store.catalog.documents(None)) == 1
    assert originals(bench) == [POND]


def test_a_version_that_came_in_while_its_document_was_removed_leaves_no_original(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = workbench()
    first, store = upload(bench, POND)["document"], bench.installation.store
    meanwhile, remove = once(lambda: upload(bench, POND + b" Or three.")), store.remove

    def removed(*given: Any, **more: Any) -> int:
        meanwhile()
        return int(remove(*given, **more))

    monkeypatch.setattr(store, "remove", removed)
    assert bench("documents.remove", ids=[first], as_person="sam")["removed"] == 1
    assert bench.installation.store.catalog.documents(None) == []
    assert originals(bench) == []


def test_a_file_that_was_uploaded_anew_while_another_try_waited_is_what_is_tried(
    workbench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = workbench()
    entry = upload(bench, b"\x00\xff" * 50)["entry"]
    opened = service.ingesting.open_pipeline
    meanwhile = once(lambda: upload(bench, POND))

    @contextmanager
    def waiting(*given: Any, **more: Any) -> Iterator[Pipeline]:
        meanwhile()
        with opened(*given, **more) as pipeline:
            yield pipeline

    monkeypatch.setattr(service.ingesting, "open_pipeline", waiting)
    told = bench("quarantine.retry", id=entry)
    assert (told["runs"][0]["unchanged"], told["left"]) == (1, [])
    assert originals(bench) == [POND]
