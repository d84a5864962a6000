"""The log: no act without its record, no reading of it without one either, and nothing that is written in it is obeyed."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import rfc8785
from filelock import FileLock

from policies.access.policyset import DEFAULTS
from policies.audit.events import EventTag
from policies.audit.log import AuditLog
from policies.audit.query import records
from policies.audit.verify import verify
from policies.errors import AuditBroken
from service.operations import registry
from service.ownership import owned

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}
SILENT: tuple[str, ...] = ()


def tags_since(data: Path, number: int) -> list[str]:
    return [one.tag for one in records(data / "audit", after=number, newest_first=False)]


def last(data: Path) -> int:
    return next(records(data / "audit", limit=1)).sequence


def test_l1_every_command_leaves_its_record(service: Any, tmp_path: Path, small_gguf: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "canteen.md").write_text("# Canteen\n\nLunch is from noon.\n")
    (folder / "unlabelled.md").write_text("# Nobody labels this.\n")
    rule = '[[rule]]\nglob = "canteen.md"\nkb = "handbook"\nclassification = "{}"\ngroups = ["everyone"]\nowner = "hr"\n'
    (folder / "labels.toml").write_text(rule.format("internal"))
    found: dict[str, Any] = {}

    def act(operation: str, *arguments: str, code: int = 0) -> list[str]:
        before = last(service.data)
        done = service.inhouse(*arguments, "--json")
        assert done.returncode == code, done.stderr
        found[operation] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else None
        told[operation] = tags_since(service.data, before)
        return told[operation]

    told: dict[str, list[str]] = {}
    run = ["ingest:run:started", "ingest:run:finished"]
    added = act("ingest", "ingest", str(folder), code=5)
    assert sorted(added) == sorted([*run, "document:added", "document:quarantined"])
    assert added[0] == run[0]
    assert added[-1] == run[1]
    (folder / "canteen.md").write_text("# Canteen\n\nLunch is from one.\n")
    assert "document:changed" in act("ingest", "ingest", str(folder), code=5)
    (folder / "labels.toml").write_text(rule.format("public"))
    assert "document:relabelled" in act("ingest", "ingest", str(folder), code=5)
    act("documents.list", "documents", "list", "--prefix", "canteen")
    document = found["documents.list"]["documents"][0]["id"]
    act("documents.show", "documents", "show", document)
    act("search", "search", "lunch")
    act("ask", "ask", "When is lunch in the canteen?")
    assert act("refused", "ask", "Who won the regatta of 1987 at Zanzibar?") == ["question:asked", "question:refused"]
    act("documents.relabel", "documents", "relabel", document, "--purpose", "meals", "--reason", "why not")
    act("documents.hold", "documents", "hold", document, "--reason", "a lawsuit")
    assert act("kept", "documents", "remove", document, "--yes", code=17) == ["hold:refused"]
    act("documents.release", "documents", "release", document, "--reason", "it is settled")
    act("documents.labels", "documents", "labels", document)
    act("documents.remove", "documents", "remove", document, "--yes")
    act("people.add", "people", "add", "lea", "--name", "Lea", "--clearance", "public")
    act("people.list", "people", "list")
    act("people.show", "people", "show", "lea")
    act("keys.create", "keys", "create", "lea")
    act("keys.list", "keys", "list")
    act("keys.revoke", "keys", "revoke", found["keys.create"]["key"]["id"])
    act("people.link", "people", "link", "lea")
    act("people.release", "people", "release", "lea")
    act("people.disable", "people", "disable", "lea")
    act("models.add", "models", "add", str(small_gguf))
    act("models.list", "models", "list")
    act("models.show", "models", "show", "small")
    act("models.remove", "models", "remove", "small")
    act("policy.check", "policy", "check")
    act("policy.explain", "policy", "explain", "--principal", "ana", "--action", "audit.read")
    act("policy.simulate", "policy", "simulate", "--policy", str(DEFAULTS))
    (tmp_path / "table.toml").write_text('[[expect]]\nwho = "ana"\naction = "audit.read"\nallowed = false\n')
    act("policy.test", "policy", "test", str(tmp_path / "table.toml"))
    act("quarantine.list", "quarantine", "list")
    act("quarantine.show", "quarantine", "show", found["quarantine.list"]["quarantine"][0]["id"])
    assert run[0] in act("quarantine.retry", "quarantine", "retry", code=5)
    entry = found["quarantine.list"]["quarantine"][0]["id"]
    label = ("--kb", "handbook", "--classification", "internal", "--groups", "everyone", "--owner", "hr")
    let_out = act("quarantine.release", "quarantine", "release", entry, *label, "--reason", "it is harmless")
    assert let_out == ["document:released", run[0], "document:added", run[1]]
    act("runs", "runs")
    # One that has ended: that one is ended while it is on, and recorded, is shown where runs are.
    act("runs.stop", "runs", found["runs"]["runs"][0]["id"], "--stop", code=2)
    act("status", "status")
    act("audit.list", "audit", "list")
    act("audit.show", "audit", "show", "1")
    act("audit.verify", "audit", "verify")
    assert set(told) - {"refused", "kept"} == set(registry.names())
    expected: Mapping[str, list[str]] = {
        "ask": ["question:asked", "question:answered"],
        "audit.list": ["audit:read"],
        "audit.show": ["audit:read"],
        "audit.verify": ["audit:read"],
        "documents.hold": ["hold:set"],
        "documents.relabel": ["document:relabelled"],
        "documents.release": ["hold:lifted"],
        "documents.remove": ["document:removed"],
        "documents.show": ["document:viewed"],
        "keys.create": ["key:created"],
        "keys.revoke": ["key:revoked"],
        "models.add": ["model:added"],
        "models.remove": ["model:removed"],
        "people.add": ["person:added"],
        "people.disable": ["person:disabled"],
        "people.link": ["link:created"],
        "people.release": ["person:released"],
        "policy.check": ["policy:checked"],
        "policy.explain": ["policy:explained"],
        "policy.simulate": ["policy:simulated"],
        "policy.test": ["policy:tested"],
        "search": ["search:run"],
    }
    assert {name: tags for name, tags in told.items() if name in expected} == expected
    # What shows names and numbers but no text of a document leaves no record.
    silent = {
        "documents.labels",
        "documents.list",
        "keys.list",
        "models.list",
        "models.show",
        "people.list",
        "people.show",
        "quarantine.list",
        "quarantine.show",
        "runs",
        "runs.stop",
        "status",
    }
    assert {name for name, tags in told.items() if not tags} == silent
    assert silent | set(expected) | {"ingest", "quarantine.release", "quarantine.retry", "refused", "kept"} == set(told)


def test_l1_what_is_asked_over_http_leaves_its_record_too(service: Any, calls: Any, send: Any) -> None:
    headers = {"Authorization": f"Bearer {service.keys['dora']}"}
    listed = httpx2.get(f"{service.url}/v1/documents", headers=headers, trust_env=False).json()["documents"]
    document = next(one for one in listed if one["path"] == "board/merger.md")
    seen: dict[str, set[str]] = {}
    for call in calls:
        before = last(service.data)
        send(service, call.about(document["id"]), service.keys["dora"])
        seen.setdefault(call.route, set()).update(tags_since(service.data, before))
    assert {route: tags for route, tags in seen.items() if tags} == {
        "/v1/chat/completions": {"question:asked", "question:answered"},
        "/v1/search": {"search:run"},
        "/v1/documents/{document}": {"document:viewed"},
    }
    viewed = list(records(service.data / "audit", tag="document:viewed", limit=2))
    assert {(one.actor, one.payload["document"], one.payload["text"]) for one in viewed} == {
        ("dora", document["id"], True),
        ("dora", document["id"], False),
    }


def test_l1_every_event_that_ends_or_breaks_a_question_is_recorded(
    model_service: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, behaviour = model_service
    question = "How many days of annual leave do staff have?"
    monkeypatch.setattr(behaviour, "text", ["Staff ", "have 30 days [1]."])
    monkeypatch.setattr(behaviour, "error_after", 1)
    before = last(service.data)
    assert ask(service, question).status_code == 503
    assert tags_since(service.data, before) == ["question:asked", "question:failed"]
    monkeypatch.setattr(behaviour, "error_after", None)
    release = threading.Event()

    class Waiting(list[str]):
        """Says one word, and the next only when the listener has left."""

        def __iter__(self) -> Any:
            yield "Staff have 30 days [1]. "
            release.wait(60)
            yield from itertools.repeat("And ")

    monkeypatch.setattr(behaviour, "text", Waiting())
    before = last(service.data)
    body = {"model": "inhouse", "messages": [{"role": "user", "content": question}], "stream": True}
    headers = {"Authorization": f"Bearer {service.keys['ana']}"}
    url = f"{service.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, headers=headers, trust_env=False, timeout=60) as stream:
        assert any("30 days" in line for line in stream.iter_lines())
    release.set()
    for _ in range(600):
        if len(tags_since(service.data, before)) == 2:
            break
        threading.Event().wait(0.1)
    assert tags_since(service.data, before) == ["question:asked", "question:cancelled"]
    # The model was told to stop too; the double must forget it for the tests that follow.
    assert behaviour.cancelled.wait(30)
    behaviour.cancelled.clear()


IMPATIENT = """
import sys
from policies.audit.log import AuditLog
AuditLog.__init__.__kwdefaults__["wait_seconds"] = 2
program = sys.argv[3]
del sys.argv[1:4]
exec(program)
"""
"""Before a service's command, `python -c PROGRAM …`: the same program, which gives the log two seconds instead of ten."""


@pytest.fixture
def impatient(make_indexed: Any, start_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A service over the usual documents that does not wait long for the log."""
    monkeypatch.setenv("INHOUSE_EMBEDDING__KIND", "hashing")
    data, _, keys = make_indexed(tmp_path)
    with start_service(data, keys, sys.executable, "-c", IMPATIENT) as running:
        yield running


def test_l1_while_the_log_hangs_nothing_is_answered_and_the_service_still_lives(
    impatient: Any, calls: Any, send: Any, client: httpx2.Client
) -> None:
    service = impatient
    headers = {"Authorization": f"Bearer {service.keys['dora']}"}
    listed = client.get(f"{service.url}/v1/documents", headers=headers).json()["documents"]
    document = next(one["id"] for one in listed if one["path"] == "board/merger.md")
    recorded = {"/v1/chat/completions", "/v1/search", "/v1/documents/{document}"}
    answers: list[httpx2.Response] = []

    def ask(call: Any) -> None:
        answers.append(send(service, call, service.keys["dora"]))

    asked = [call for call in (one.about(document) for one in calls) if call.route in recorded and "/ac" not in call.path]
    asked = [call for call in asked if call.body is None or "inhouse/" not in call.body.get("model", "")]
    before = last(service.data)
    with FileLock(service.data / "audit" / "lock"):
        threads = [threading.Thread(target=ask, args=(call,)) for call in asked]
        for thread in threads:
            thread.start()
        healthy = []
        while any(thread.is_alive() for thread in threads):
            healthy.append(client.get(f"{service.url}/healthz", timeout=5).status_code)
            threads[0].join(0.05)
        ready = client.get(f"{service.url}/readyz")
    assert len(healthy) > 10
    assert set(healthy) == {200}
    assert ready.status_code == 503
    assert len(answers) == len(asked) >= 4
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert "Tannhof" not in answer.text
    assert tags_since(service.data, before) == []
    assert send(service, asked[0], service.keys["dora"]).status_code == 200


def test_l1_without_a_log_the_service_does_not_start(tmp_path: Path, inhouse: Any, inhouse_within: Any) -> None:
    data = tmp_path / "d"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    shutil.rmtree(data / "audit")
    (data / "audit").write_text("not a directory")
    done = inhouse(data, "serve", "--port", "0", **HASHING)
    assert done.returncode == 10
    assert "Serving" not in done.stdout
    assert inhouse_within(data, "ask", "anything", **HASHING).returncode == 10


@pytest.fixture(scope="module")
def plain_directory(tmp_path_factory: pytest.TempPathFactory, inhouse_within: Any) -> Path:
    """A data directory with an auditor and a user, and no documents."""
    data = tmp_path_factory.mktemp("l") / "d"
    assert inhouse_within(data, "init", **HASHING).returncode == 0
    for person, role in (("audra", "auditor"), ("ana", "user")):
        inhouse_within(data, "people", "add", person, "--name", person, "--clearance", "public", "--role", role, **HASHING)
    return data


def test_l1_reading_the_log_is_recorded_with_its_filter_and_does_not_show_itself(
    plain_directory: Path, inhouse_within: Any
) -> None:
    filters = ("--tag", "person:added", "--since", "2026-01-01", "--limit", "7", "--oldest-first")
    listed = inhouse_within(plain_directory, "audit", "list", *filters, "--as", "audra", "--json", **HASHING)
    assert [json.loads(line)["payload"]["person"] for line in listed.stdout.splitlines()] == ["audra", "ana"]
    read = next(records(plain_directory / "audit", limit=1))
    assert (read.tag, read.actor) == ("audit:read", "audra")
    assert read.payload == {
        "what": "list",
        "order": "oldest-first",
        "limit": 7,
        "tag": "person:added",
        "actor": None,
        "since": "2026-01-01T00:00:00.000000Z",
        "until": None,
        "by": "local-owner",
    }
    whole = inhouse_within(plain_directory, "audit", "list", "--json", **HASHING).stdout.splitlines()
    assert json.loads(whole[0])["id"] == read.id
    shown = json.loads(inhouse_within(plain_directory, "audit", "show", read.id, "--json", **HASHING).stdout)
    assert shown["hash"] == read.hash
    assert next(records(plain_directory / "audit", limit=1)).payload == {"what": "show", "record": read.id}


def test_l1_who_may_not_read_the_log_reads_nothing_of_it(plain_directory: Path, inhouse_within: Any) -> None:
    before = last(plain_directory)
    for arguments in (("list",), ("show", "1"), ("show", "99999"), ("verify",)):
        done = inhouse_within(plain_directory, "audit", *arguments, "--as", "ana", **HASHING)
        assert done.returncode == 9, done.stdout
        assert done.stdout == ""
    assert last(plain_directory) == before


def test_l1_an_auditor_need_not_wait_for_who_owns_the_directory(plain_directory: Path, inhouse_within: Any) -> None:
    with owned(plain_directory, "ingest"):
        assert inhouse_within(plain_directory, "status", **HASHING).returncode == 8
        assert inhouse_within(plain_directory, "audit", "list", "--as", "audra", **HASHING).returncode == 0
        assert inhouse_within(plain_directory, "audit", "verify", "--as", "audra", **HASHING).returncode == 0


def test_l2_a_log_that_was_cut_or_written_anew_lacks_an_id_that_someone_kept(
    plain_directory: Path, inhouse_within: Any, tmp_path: Path
) -> None:
    kept = [one.id for one in records(plain_directory / "audit", limit=2)]
    copy = tmp_path / "d"
    shutil.copytree(plain_directory, copy)
    assert inhouse_within(copy, "audit", "verify", *(f"--expect={one}" for one in kept), **HASHING).returncode == 0
    shutil.rmtree(copy / "audit")
    log = AuditLog(copy / "audit")
    for _ in range(20):
        log.append(EventTag.PERSON_DISABLED, "ana", {"person": "ana"})
    done = inhouse_within(copy, "audit", "verify", f"--expect={kept[0]}", **HASHING)
    assert done.returncode == 11
    assert kept[0] in done.stderr


def accepted_by_another_implementation(data: bytes, head: str) -> bool:
    """The chain as docs/reference/audit-events.md has it, written a second time: every line canonical, every hash right,
    every number and link in order, and the end the one that is expected."""
    previous = "0" * 64
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        try:
            said = json.loads(line)
            if rfc8785.dumps(said) + b"\n" != line or said["form"] != 1:
                return False
            digest = said.pop("hash")
            right = hashlib.sha256(rfc8785.dumps(said)).hexdigest() == digest
            if not right or said["sequence"] != number or said["previous"] != previous:
                return False
        except (ValueError, KeyError, TypeError, AttributeError, rfc8785.CanonicalizationError):
            return False
        previous = digest
    return previous == head


def test_l3_no_forged_log_verifies_and_a_second_implementation_agrees(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    for number in range(4):
        log.append(EventTag.PERSON_DISABLED, "ana", {"person": f"p{number}"})
    (path,) = (tmp_path / "audit").glob("audit-*.jsonl")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    head = verify(tmp_path / "audit").head
    forged = {whole[:place] + bytes([new]) + whole[place + 1 :] for place in range(len(whole)) for new in (48, 97, 34)}
    forged |= {whole[:place] + whole[place + 1 :] for place in range(0, len(whole), 3)}
    forged |= {whole[:place] for place in range(len(whole))}
    forged |= {b"".join(lines[:a] + lines[b:]) for a in range(5) for b in range(5)}
    forged |= {b"".join([*lines[:a], lines[b], *lines[a:]]) for a in range(5) for b in range(4)}
    forged |= {b"".join(order) for order in itertools.permutations(lines)}
    forged |= {_rewritten(lines, place) for place in range(4)}
    forged.discard(whole)
    assert len(forged) > 3000

    def accepted(data: bytes) -> bool:
        path.write_bytes(data)
        try:
            return verify(tmp_path / "audit", expected=[head]).unfinished_bytes == 0
        except AuditBroken:
            return False

    assert accepted(whole)
    assert accepted_by_another_implementation(whole, head)
    # Only the end of the last line may be missing: that record counts as written.
    assert [data for data in forged if accepted(data)] == [whole[:-1]]
    assert not [data for data in forged if accepted_by_another_implementation(data, head)]


def _rewritten(lines: list[bytes], place: int) -> bytes:
    """A record changed with its hash made right, and everything behind it left as it was."""
    said = json.loads(lines[place])
    said["actor"] = "eve"
    said.pop("hash")
    said["hash"] = hashlib.sha256(rfc8785.dumps(said)).hexdigest()
    return b"".join([*lines[:place], rfc8785.dumps(said) + b"\n", *lines[place + 1 :]])


def test_l3_a_changed_record_is_named_by_the_command_and_that_it_was_asked_is_recorded(
    plain_directory: Path, inhouse_within: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "d"
    shutil.copytree(plain_directory, copy)
    path = next((copy / "audit").glob("audit-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"audra", b"andra"), *lines[3:]]))
    done = inhouse_within(copy, "audit", "verify", **HASHING)
    assert done.returncode == 11
    assert "record 3" in done.stderr
    assert json.loads(path.read_bytes().splitlines()[-1])["payload"] == {"what": "verify", "outcome": "broken"}
    # With its end broken it cannot be written any more, and the first bad record is named all the same.
    path.write_bytes(path.read_bytes()[:-3] + b"x}\n")
    assert "record 3" in inhouse_within(copy, "audit", "verify", **HASHING).stderr


def test_l4_no_route_and_no_operation_says_where_the_log_goes(service: Any, calls: Any, send: Any, tmp_path: Path) -> None:
    before = {path.name for path in (service.data / "audit").iterdir()}
    target = tmp_path / "target"
    for name in ("audit", "log", "target", "path", "file", "directory", "config", "settings", "audit.file_mb"):
        for call in calls:
            body = {**call.body, name: str(target)} if call.body is not None else None
            mark = "&" if "?" in call.path else "?"
            one = type(call)(call.method, call.route, f"{call.path}{mark}{name}={target}", body, call.key)
            send(service, one.about("handbook"), service.keys["root"])
    assert not target.exists()
    assert {path.name for path in (service.data / "audit").iterdir()} == before
    assert not [name for name in registry.names() if "settings" in name or "config" in name]
    for name in ("audit.list", "audit.show", "audit.verify"):
        fields = set(registry.operation(name).request.model_fields)
        assert fields <= {"actor", "as_person", "expected", "id", "limit", "oldest_first", "since", "tag", "until"}


HOSTILE = "lunch\nforged: yes\r\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2028=cmd|' /C calc'!A1\x7f"


def test_l5_what_a_stranger_writes_begins_no_line_and_commands_no_terminal(service: Any, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    rows = [{"id": "soup", "title": HOSTILE, "text": f"Soup {HOSTILE} is served."}, {"id": HOSTILE, "title": "x", "text": "y"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "bad\n\x1b[31mname.md").write_text("# x\n")
    (folder / "labels.toml").write_text(
        '[[rule]]\nglob = "*"\nkb = "handbook"\nclassification = "public"\ngroups = ["everyone"]\nowner = "hr"\n'
        '[[collection]]\nglob = "*.jsonl"\nid = "id"\ntitle = "title"\ntext = ["text"]\n'
    )
    outputs = {"ingest": service.inhouse("ingest", str(folder))}
    outputs["list"] = service.inhouse("documents", "list")
    documents = json.loads(service.inhouse("documents", "list", "--json").stdout)["documents"]
    hostile = next(one for one in documents if one["title"].startswith("lunch"))
    outputs["show"] = service.inhouse("documents", "show", hostile["id"])
    outputs["quarantine"] = service.inhouse("quarantine", "list")
    outputs["search"] = service.inhouse("search", f"soup {HOSTILE}")
    outputs["ask"] = service.inhouse("ask", f"Where is soup served? {HOSTILE}")
    outputs["audit"] = service.inhouse("audit", "list")
    asked = json.loads(service.inhouse("audit", "list", "--tag", "question:asked", "--limit", "1", "--json").stdout)
    outputs["record"] = service.inhouse("audit", "show", asked["id"])
    outputs["error"] = service.inhouse("documents", "show", f"doc{HOSTILE}".replace("\x00", ""))
    for name in ("documents list", "quarantine list", "search soup", "audit list"):
        outputs[name] = service.inhouse(*name.split(), "--json")
    for name, done in outputs.items():
        for text in (done.stdout, done.stderr):
            assert not set(text) & set("\x1b\x07\x9b\r\x7f\u202e\u2028"), (name, text)
            assert not [line for line in text.splitlines() if line.startswith(("forged", "=cmd"))], (name, text)
        assert "forged" in "".join(one.stdout + one.stderr for one in outputs.values())
    # A program that reads the JSON still gets every character.
    assert asked["payload"]["text"].endswith(HOSTILE.strip())
    assert verify(service.data / "audit").records == last(service.data)
    service.inhouse("documents", "remove", hostile["id"], "--yes")
