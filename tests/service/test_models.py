"""`inhouse models`: what is copied in and what is refused, and the models of every runtime in one list."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.errors import (
    AuditUnavailable,
    InhouseError,
    Interrupted,
    ModelRefused,
    ModelUnavailable,
    NotFoundError,
    SettingsError,
    UsageError,
)
from service.operations.run import run_in
from service.runtimes.model_files import ModelFolder
from service.settings import Settings, load_settings
from service.wiring import Installation

DIGEST = "5fc55c33de57a33aeadda5084b665ea7cfef81be6382d576b0537ec9c6c5911c"


class Desk:
    """An installation with these runtime settings, and what operations on it say."""

    def __init__(self, directory: Path, **runtime: Any) -> None:
        self.directory = directory
        settings = Settings.model_validate({"runtime": runtime, "embedding": {"kind": "hashing"}})
        directory.mkdir(exist_ok=True)
        self.installation = Installation(directory, settings)
        self.installation.people.add_local_owner(settings.access.classifications[-1])
        self.events: list[Mapping[str, Any]] = []
        self.stop = threading.Event()

    def __call__(self, verb: str, **request: Any) -> Any:
        return run_in(self.installation, f"models.{verb}", request, self.events.append, self.stop)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self("list")["models"]}

    def folder(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "models" / "gguf").glob("*"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "data")


def test_a_file_is_copied_whole_with_what_was_found_beside_it_and_for_its_owner_alone(desk: Desk, tiny_gguf: Path) -> None:
    found = desk("add", path=str(tiny_gguf), sha256=DIGEST.upper())["model"]
    assert (found["name"], found["size"], found["sha256"]) == ("stories260K", tiny_gguf.stat().st_size, DIGEST)
    assert desk.events[-1] == {"progress": {"bytes": found["size"], "of": found["size"]}}
    assert desk.folder() == ["stories260K.gguf", "stories260K.json"]
    copied = desk.directory / "models" / "gguf" / "stories260K.gguf"
    assert hashlib.sha256(copied.read_bytes()).hexdigest() == DIGEST
    assert {stat.S_IMODE(path.stat().st_mode) for path in copied.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(copied.parent.stat().st_mode) == 0o700
    assert json.loads(copied.with_suffix(".json").read_text())["sha256"] == DIGEST
    shown = desk("show", name="stories260K")["model"]
    assert (shown["architecture"], shown["context_tokens"], shown["chat_template"]) == ("llama", 8192, False)
    assert shown["path"] == str(copied)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"sha256": "ab" * 32}, ModelRefused, f"its SHA-256 is {DIGEST}"),
        ({"sha256": "md5"}, UsageError, "no SHA-256"),
        ({"name": "../x"}, UsageError, "cannot be a model's name"),
        ({"name": ".part-x"}, UsageError, "cannot be a model's name"),
        ({"path": "{folder}/nothing.gguf"}, UsageError, "cannot read"),
        ({"path": "{folder}"}, UsageError, "is no file"),
        ({"path": "{folder}/pipe"}, UsageError, "is no file"),
        ({"path": "{folder}/page.gguf"}, ModelRefused, "does not begin with GGUF"),
        ({"path": "{folder}/half.gguf"}, ModelRefused, "should have at least"),
        ({"path": "{folder}/spaced name.gguf"}, UsageError, "cannot be a model's name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_leaves_nothing_behind(
    desk: Desk, tiny_gguf: Path, tmp_path: Path, request_: dict[str, str], error: type[InhouseError], words: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "page.gguf").write_text("<html>")
    (tmp_path / "half.gguf").write_bytes(tiny_gguf.read_bytes()[:-1000])
    (tmp_path / "spaced name.gguf").write_bytes(tiny_gguf.read_bytes())
    path = request_.get("path", str(tiny_gguf)).replace("{folder}", str(tmp_path))
    with pytest.raises(error, match=words):
        desk("add", **{**request_, "path": path})
    assert desk.folder() == []


def test_who_stops_it_or_finds_no_room_has_nothing_left(desk: Desk, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.stop.set()
    with pytest.raises(Interrupted):
        desk("add", path=str(tiny_gguf))
    assert desk.folder() == []
    desk.stop.clear()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(InhouseError, match="no room"):
        desk("add", path=str(tiny_gguf))
    assert desk.folder() == []


def test_a_file_that_grows_while_it_is_copied_is_refused(desk: Desk, tiny_gguf: Path, tmp_path: Path) -> None:
    growing = tmp_path / "growing.gguf"
    growing.write_bytes(tiny_gguf.read_bytes() + b"\0" * 8 * 2**20)

    def grow(done: int, whole: int) -> None:
        if done < whole:
            with growing.open("ab") as file:
                file.write(b"more")

    with pytest.raises(ModelRefused, match="changed while it was copied"):
        ModelFolder(desk.directory).add(growing, "growing", None, grow, threading.Event())
    assert desk.folder() == []


def test_what_an_end_in_the_middle_left_does_not_count_and_goes(desk: Desk, tiny_gguf: Path) -> None:
    folder = desk.directory / "models" / "gguf"
    folder.mkdir(parents=True)
    (folder / ".part-x").write_bytes(b"half")
    (folder / "tiny.gguf").write_bytes(b"GGUF without a description")
    assert "tiny" not in desk.rows()
    with pytest.raises(NotFoundError):
        desk("remove", name="tiny")
    desk("add", path=str(tiny_gguf), name="tiny")
    assert desk.folder() == ["tiny.gguf", "tiny.json"]
    assert desk.rows()["tiny"]["sha256"] == DIGEST
    with pytest.raises(UsageError, match="already"):
        desk("add", path=str(tiny_gguf), name="tiny")


def test_one_is_added_at_a_time(desk: Desk, tiny_gguf: Path) -> None:
    def meanwhile(done: int, whole: int) -> None:
        with pytest.raises(UsageError, match="another model is being added"):
            desk("add", path=str(tiny_gguf), name="second")

    ModelFolder(desk.directory).add(tiny_gguf, "first", None, meanwhile, threading.Event())
    desk("add", path=str(tiny_gguf), name="second")
    assert {"first", "second"} <= set(desk.rows())


def test_a_model_is_removed_with_what_was_known_of_it_but_not_the_one_in_use(desk: Desk, tiny_gguf: Path) -> None:
    for name in ("one", "two"):
        desk("add", path=str(tiny_gguf), name=name)
    using = Desk(desk.directory, kind="llamacpp", model="one")
    assert [name for name, row in using.rows().items() if row["in_use"]] == ["hashing-embedder", "one"]
    with pytest.raises(UsageError, match="one is in use") as caught:
        using("remove", name="one")
    assert "settings of every runtime" in caught.value.hint
    assert using("remove", name="two") == {"removed": "two", "sha256": DIGEST}
    assert desk.folder() == ["one.gguf", "one.json"]
    for name in ("two", "../one", ""):
        with pytest.raises(NotFoundError):
            using("remove", name=name)
    for name in ("extractive", "hashing-embedder"):
        with pytest.raises(UsageError, match="no GGUF file"):
            using("remove", name=name)


def test_a_damaged_model_is_listed_as_one_and_can_be_removed(desk: Desk, tiny_gguf: Path) -> None:
    for name in ("short", "odd"):
        desk("add", path=str(tiny_gguf), name=name)
    folder = desk.directory / "models" / "gguf"
    (folder / "short.gguf").write_bytes(b"GGUF")
    (folder / "odd.json").write_text("{}")
    rows = desk.rows()
    assert "gone or has another size" in rows["short"]["state"]
    assert "unknown form" in rows["odd"]["state"]
    assert desk("remove", name="odd") == {"removed": "odd", "sha256": None}
    desk("remove", name="short")
    assert desk.folder() == []


def test_the_list_has_what_an_ollama_server_has_and_not_what_it_would_send_elsewhere(desk: Desk, model_double: Any) -> None:
    behaviour = model_double.Behaviour()
    with model_double.ollama_server(None, behaviour) as url:
        served = Desk(desk.directory, kind="ollama", model="tiny", url=url)
        row = {"name": "tiny:latest", "runtime": "ollama", "for": "answers", "in_use": True, "state": "ready"}
        assert served.rows()["tiny:latest"] == row
        assert not served.rows()["extractive"]["in_use"]
        card = served("show", name="tiny")["model"]
        assert (card["digest"], card["context_tokens"]) == ("sha256:" + "ab" * 32, 2048)
        other = Desk(desk.directory, kind="ollama", model="big", url=url).rows()
        assert not other["tiny:latest"]["in_use"]
        assert other["big"]["state"] == "the server does not have it"
        with pytest.raises(UsageError, match="no GGUF file"):
            served("remove", name="tiny")
        behaviour.remote_host = "https://example.invalid"
        assert "tiny:latest" not in served.rows()


def test_the_list_has_what_an_openai_server_has_or_why_it_does_not_say(desk: Desk, openai_double: Any) -> None:
    with openai_double.openai_server(openai_double.Behaviour()) as url:
        served = Desk(desk.directory, kind="openai", model="tiny", url=url)
        rows = served.rows()
        assert (rows["tiny"]["in_use"], rows["other"]["in_use"], rows["tiny"]["runtime"]) == (True, False, "openai")
        assert served("show", name="tiny")["model"]["context_tokens"] == 2048
    rows = served.rows()
    assert "no model server answers" in rows["tiny"]["state"]
    assert "Start it" in rows["tiny"]["state"]
    with pytest.raises(ModelUnavailable):
        served("show", name="tiny")


def test_extractive_answers_by_default_and_is_shown(desk: Desk) -> None:
    assert [name for name, row in desk.rows().items() if row["in_use"]] == ["hashing-embedder", "extractive"]
    assert desk("show", name="extractive")["model"]["state"] == "ready"
    assert desk("show", name="hashing-embedder")["model"]["for"] == "search"
    with pytest.raises(NotFoundError):
        desk("show", name="nothing")


def test_the_command_line_adds_lists_and_removes_through_a_running_service(service: Any, tiny_gguf: Path) -> None:
    added = service.inhouse("models", "add", str(tiny_gguf), "--name", "tiny")
    assert added.returncode == 0, added.stderr
    assert f"SHA-256 {DIGEST}" in added.stdout
    assert "llamacpp" in added.stderr
    listed = service.inhouse("models", "list").stdout.splitlines()
    assert any(line.split()[:5] == ["tiny", "llamacpp", "answers", "no", DIGEST[:12]] for line in listed)
    assert any(line.startswith("extractive") and " yes " in line for line in listed)
    assert service.inhouse("models", "remove", "tiny").stdout == "Removed tiny.\n"
    again = service.inhouse("models", "remove", "tiny")
    assert (again.returncode, again.stdout) == (4, "")


RULES = """
[models.also.small]
kind = "llamacpp"
model = "tiny"
context_tokens = 1024

[models.also.server]
kind = "openai"
model = "tiny"
url = "http://127.0.0.1:9"

[[models.rules]]
kb = "board"
use = "default"

[[models.rules]]
classification = "internal"
use = "server"

[[models.rules]]
kb = "handbook"
classification = "confidential"
use = "small"
"""


@pytest.mark.parametrize(
    ("kb", "classification", "name"),
    [
        ("board", "public", "default"),
        ("handbook", "public", "server"),
        ("handbook", "internal", "server"),
        ("handbook", "confidential", "small"),
        ("travel", "confidential", "default"),
        (None, "internal", "server"),
        (None, "confidential", "default"),
    ],
)
def test_the_first_rule_that_holds_names_the_runtime(tmp_path: Path, kb: str | None, classification: str, name: str) -> None:
    (tmp_path / "inhouse.toml").write_text(RULES)
    assert load_settings(tmp_path, None, {}).runtimes_for(kb, classification) == (name,)


OFFERED = """
[[models.rules]]
use = "server"
classification = "internal"
chosen = true

[[models.rules]]
kb = "board"
use = "default"

[[models.rules]]
use = "small"
chosen = true

[[models.rules]]
kb = "travel"
use = "small"

[models.also.small]
kind = "extractive"

[models.also.server]
kind = "extractive"
"""


@pytest.mark.parametrize(
    ("kb", "classification", "names"),
    [
        ("board", "confidential", ("default",)),
        ("board", "internal", ("default", "server")),
        ("handbook", "public", ("default", "server", "small")),
        ("handbook", "confidential", ("default", "small")),
        ("travel", "internal", ("small", "server")),
        (None, "confidential", ("default", "small")),
    ],
)
def test_a_runtime_can_be_chosen_where_a_rule_says_so_before_another_has_decided(
    tmp_path: Path, kb: str | None, classification: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "inhouse.toml").write_text(OFFERED)
    assert load_settings(tmp_path, None, {}).runtimes_for(kb, classification) == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('[[models.rules]]\nuse = "nobody"', "no runtime 'nobody'"),
        ('[[models.rules]]\nuse = "default"\nclassification = "secret"', "'secret' is not among access.classifications"),
        ("[[models.rules]]\nkb = 'a'", "models.rules.0.use"),
        ('[models.also.default]\nkind = "extractive"', "the one under"),
        ('[models.also.small]\nkind = "llamacpp"', "needs runtime.model"),
        ('[models.also.small]\nmodle = "x"', "models.also.small.modle"),
    ],
)
def test_rules_that_name_nothing_are_refused(tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "inhouse.toml").write_text(words)
    with pytest.raises(SettingsError, match=said):
        load_settings(tmp_path, None, {})


def test_every_runtime_of_the_settings_is_made_and_listed_and_none_of_them_is_removed(desk: Desk, tiny_gguf: Path) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    desk("add", path=str(tiny_gguf), name="tiny")
    (desk.directory / "inhouse.toml").write_text(RULES + "[embedding]\nkind = 'hashing'\n")
    settings = load_settings(desk.directory, None, {})
    with Installation(desk.directory, settings) as installation:
        assert list(installation.runtimes) == ["default", "small", "server"]
        assert installation.runtime is installation.runtimes["default"]
        assert asyncio.run(installation.runtimes["small"].card()).context_tokens == 1024
        desk.installation = installation
        rows = [one for one in desk("list")["models"] if one["in_use"]]
        assert [(one["name"], one["runtime"]) for one in rows] == [
            *(("hashing-embedder", "hashing"), ("extractive", "extractive")),
            *(("tiny", "llamacpp"), ("tiny", "openai")),
        ]
        with pytest.raises(UsageError, match="in use"):
            desk("remove", name="tiny")
    assert list((desk.directory / "llama").iterdir()) == []


def test_a_model_that_the_log_does_not_know_is_not_there(desk: Desk, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> None:
        raise AuditUnavailable("the disk is full")

    monkeypatch.setattr(desk.installation.audit, "append", failing)
    with pytest.raises(AuditUnavailable):
        desk("add", path=str(tiny_gguf))
    assert desk.folder() == []
    monkeypatch.undo()
    desk("add", path=str(tiny_gguf))
    monkeypatch.setattr(desk.installation.audit, "append", failing)
    with pytest.raises(AuditUnavailable):
        desk("remove", name="stories260K")
    assert "stories260K.gguf" in desk.folder()
