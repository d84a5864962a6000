"""Verifying a long log: how far it is, that it can be stopped, and what the command line and a page tell of it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from policies.audit.events import EventTag
from policies.audit.query import records
from policies.errors import Interrupted
from policies.identity import Principal, Role
from service.cli.meter import meter
from service.operations.run import run_in
from service.settings import Settings
from service.web.audit import verifying
from service.wiring import Installation

COUNT = 9_000
AUDRA = Principal("audra", "Audra", frozenset(), "public", frozenset({Role.AUDITOR}))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One whose log has some nine thousand records in several files."""
    settings = Settings.model_validate({"embedding": {"kind": "hashing"}, "audit": {"file_mb": 1}})
    made = Installation(tmp_path_factory.mktemp("long"), settings)
    made.people.add("audra", "Audra", frozenset(), "public", frozenset({Role.AUDITOR}))
    made.audit.append_all([(EventTag.KEY_REVOKED, "system", {"key": f"key-{number}"}) for number in range(COUNT)])
    yield made
    made.close()


def last(installation: Installation) -> Any:
    return next(records(installation.directory / "audit", limit=1))


def test_how_much_of_the_log_is_read_is_told_and_only_grows(installation: Installation) -> None:
    told: list[Any] = []
    found = run_in(installation, "audit.verify", {"as_person": "audra"}, told.append, threading.Event())
    assert found["verification"]["records"] >= COUNT
    shares = [one["progress"]["share"] for one in told]
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5 < shares[-1] <= 1


def test_a_verification_that_is_stopped_says_so_and_records_no_verdict(installation: Installation) -> None:
    stop, before = threading.Event(), last(installation)

    def stop_at_once(event: Any) -> None:
        stop.set()

    with pytest.raises(Interrupted, match="before the end of the log"):
        run_in(installation, "audit.verify", {"as_person": "audra"}, stop_at_once, stop)
    assert last(installation).sequence == before.sequence


async def listened(installation: Installation, *, leave_at: str = "") -> list[tuple[str, Any]]:
    """The events of the page's stream, up to the first one of the name `leave_at`."""
    found = []
    async with aclosing(verifying(installation, AUDRA)) as stream:
        async for one in stream:
            name, _, data = one.removeprefix("event: ").partition("\ndata: ")
            found.append((name, json.loads(data)))
            if name == leave_at:
                break
    return found


def test_a_page_hears_how_far_it_is_and_then_the_verdict(installation: Installation) -> None:
    heard = anyio.run(listened, installation)
    assert [name for name, _ in heard[:-1]] == ["progress"] * (len(heard) - 1)
    assert len(heard) > 3
    name, verdict = heard[-1]
    assert name == "verified"
    assert verdict["records"] >= COUNT
    assert last(installation).payload["head"] == verdict["head"]


def test_who_leaves_the_page_ends_the_verification(installation: Installation) -> None:
    before = last(installation)
    assert [name for name, _ in anyio.run(partial(listened, installation, leave_at="progress"))] == ["progress"]
    assert last(installation).sequence == before.sequence


def test_a_page_hears_where_the_log_is_broken(installation: Installation, tmp_path: Path) -> None:
    settings = Settings.model_validate({"embedding": {"kind": "hashing"}})
    broken = Installation(tmp_path / "data", settings)
    broken.audit.append_all([(EventTag.KEY_REVOKED, "system", {"key": f"key-{number}"}) for number in range(5)])
    path = next((tmp_path / "data" / "audit").glob("audit-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"key-3", b"key-9"))
    heard = anyio.run(listened, broken)
    assert heard[-1][0] == "failed"
    assert "record 4" in heard[-1][1]["error"]
    broken.close()


def test_off_a_terminal_a_meter_says_something_now_and_then_and_nothing_where_json_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr("service.cli.meter.time.monotonic", lambda: next(clock))
    with meter(lambda progress: f"at {progress['share']}", shown=True) as take:
        for share in (1, 2, 3):
            take({"progress": {"share": share}})
        take({"record": {}})
    assert capsys.readouterr().err == "at 2\n"
    monkeypatch.undo()
    with meter(lambda progress: "never", shown=False) as take:
        take({"progress": {}})
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_meter_draws_over_itself_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with meter(lambda progress: f"at {progress['share']}\x07", shown=True) as take:
        take({"progress": {"share": 1}})
        take({"progress": {"share": 2}})
    assert capsys.readouterr().err == "\r\x1b[Kat 1\r\x1b[Kat 2\r\x1b[K"
