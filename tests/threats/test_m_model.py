"""The model server and the vector library: only what an answer needs is asked of them, and a changed one is refused."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

QUESTION = "How many days of annual leave do staff have?"


def test_m1_of_the_model_server_s_paths_only_those_of_an_answer_are_called(
    model_service: Any, ask: Any, calls: Any, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, behaviour = model_service
    monkeypatch.setattr(behaviour, "text", ["Staff have 30 days [1]."])
    names = ["../../api/delete", "api/pull", "inhouse/../../api/create", "%2e%2e/api/push", "http://x/api/blobs", "tiny"]
    for name in names:
        for call in calls:
            send(service, call.about(name), service.keys["root"])
        assert ask(service, QUESTION, model=name).status_code == 404
    for path in ("/api/delete", "/api/create", "/api/pull", "/api/push", "/api/copy", "/api/blobs/sha256:0", "/api/tags"):
        for method in ("GET", "POST", "DELETE", "HEAD"):
            told = send(service, type(calls[0])(method, path, path, {"model": "tiny"}), service.keys["root"])
            assert told.status_code == 404
    assert ask(service, QUESTION).status_code == 200
    assert {path for path, _ in behaviour.requests} == {"/api/chat", "/api/show", "/api/status", "/api/tags"}


def test_m2_a_model_with_another_digest_than_the_pinned_one_answers_nothing(
    model_service: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, behaviour = model_service
    monkeypatch.setattr(behaviour, "text", ["Staff have 30 days [1]."])
    assert ask(service, QUESTION).status_code == 200
    before = len([path for path, _ in behaviour.requests if path == "/api/chat"])
    monkeypatch.setattr(behaviour, "digest", "sha256:" + "ab" * 31 + "ac")
    for stream in (False, True):
        told = ask(service, QUESTION, stream=stream)
        assert told.status_code in (403, 503)
        assert "30 days" not in told.text
    # The prompt, with what it quotes, did not reach it either.
    assert len([path for path, _ in behaviour.requests if path == "/api/chat"]) == before


PROGRAM = """
import sys
from pathlib import Path
from policies.errors import InhouseError
from vectorstore.dense.chroma import ChromaVectors
import numpy as np
vectors = ChromaVectors(Path(sys.argv[1]))
try:
    if sys.argv[2] == "write":
        vectors.add("kb", [1], np.eye(1, 8, dtype=np.float32))
    print(len(vectors.nearest("kb", np.eye(1, 8, dtype=np.float32), 1)))
except InhouseError as error:
    print(type(error).__name__)
print(*sorted(name for name in ("sentence_transformers", "torch", "poison", "openai", "onnxruntime") if name in sys.modules))
"""


@pytest.mark.parametrize(
    "poison",
    [
        {"type": "known", "name": "sentence_transformer", "config": {"model_name": "x", "device": "cpu", "kwargs": {}}},
        {"type": "known", "name": "default", "config": {}},
        {"type": "known", "name": "poison", "config": {"module": "poison"}},
    ],
    ids=lambda poison: str(poison.get("name")),
)
def test_m3_a_collection_that_names_a_model_to_run_is_refused_and_nothing_is_imported(
    tmp_path: Path, poison: dict[str, Any]
) -> None:
    (tmp_path / "poison.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    def run(what: str) -> list[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "chroma"), what]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    # An honest collection is read, and even that imports no model.
    assert run("write") == ["1", ""]
    with sqlite3.connect(tmp_path / "chroma" / "chroma.sqlite3") as database:
        (schema,) = database.execute("SELECT schema_str FROM collections").fetchone()
        poisoned = json.dumps(json.loads(schema, object_hook=lambda one: _poisoned(one, poison)))
        assert poisoned != schema
        old = json.dumps({"embedding_function": poison})
        database.execute("UPDATE collections SET schema_str = ?, config_json_str = ?", (poisoned, old))
    database.close()
    assert run("read") == ["IndexMismatch", ""]
    assert not (tmp_path / "ran").exists()


def _poisoned(one: dict[str, Any], poison: dict[str, Any]) -> dict[str, Any]:
    """The same object, naming the poison where an honest one says that there is no embedding function."""
    return {**one, "embedding_function": poison} if one.get("embedding_function") == {"type": "legacy"} else one
