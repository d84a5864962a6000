"""The example company, from its files to its answers, through the command line as people use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ingest.parsing.ocr import tessdata_folder
from policies.access.actions import Action
from policies.access.scope import UnsafeEverything
from service.operations.documents import scope_for
from service.settings import load_settings
from service.web.suggestions import suggestions
from service.wiring import Installation

Command = Callable[..., subprocess.CompletedProcess[str]]
SCANS = {"form-f014-scan.png"}


def inhouse(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from service.cli import main; main()", *arguments]
    environment = {**os.environ, "INHOUSE_DATA_DIR": str(data)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def examples(repository: Path) -> Path:
    return repository / "examples"


@pytest.fixture(scope="module")
def questions(examples: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((examples / "questions.toml").read_text(encoding="utf-8"))["question"]
    return found


@pytest.fixture(scope="module")
def data(examples: Path, tmp_path_factory: pytest.TempPathFactory, inhouse_within: Command) -> Path:
    """A data directory with the examples and their people."""
    made = tmp_path_factory.mktemp("examples") / "data"
    assert inhouse(made, "init").returncode == 0
    done = inhouse(made, "ingest", str(examples / "documents"), "--json")
    expected = 0 if tessdata_folder() else 5
    assert done.returncode == expected, done.stderr
    for one in tomllib.loads((examples / "people.toml").read_text(encoding="utf-8"))["person"]:
        given = [part for group in one["groups"] for part in ("--group", group)]
        given += [part for role in one["roles"] for part in ("--role", role)]
        arguments = ("people", "add", one["id"], "--name", one["name"], "--clearance", one["clearance"], *given)
        assert inhouse_within(made, *arguments).returncode == 0
    return made


def batch(
    command: Command, data: Path, verb: str, person: str, questions: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """What a person gets for many questions, by the question's id."""
    lines = [json.dumps({"id": one["id"], "text": one["text"]}) + "\n" for one in questions]
    path = folder / f"{verb}-{person}.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    done = command(data, verb, "--batch", str(path), "--as", person, "--json")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in answers] == [one["id"] for one in questions]
    return {one["id"]: one for one in answers}


@pytest.fixture(scope="module")
def answers(
    data: Path, questions: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, inhouse_within: Command
) -> Mapping[str, Any]:
    """Every person's answer to every question: of the first person from a process of its own, as people ask."""
    folder = tmp_path_factory.mktemp("batches")
    people = sorted({person for one in questions for person in (*one["may"], *one.get("may_not", ()))})
    commands = [inhouse, *(inhouse_within for _ in people[1:])]
    return {
        person: batch(command, data, "ask", person, questions, folder) for person, command in zip(people, commands, strict=True)
    }


def answerable(questions: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(person, one) for one in questions if not one.get("unanswerable") for person in one["may"]]


def test_there_are_enough_questions_of_each_kind(questions: list[dict[str, Any]]) -> None:
    without = [one for one in questions if one.get("unanswerable")]
    assert len(questions) - len(without) >= 80
    assert len(without) >= 16
    assert len({one["id"] for one in questions}) == len(questions)


def test_the_company_has_documents_of_every_form_department_and_level(data: Path, examples: Path) -> None:
    files = [path for path in (examples / "documents").rglob("*") if path.is_file() and path.name != "labels.toml"]
    forms = {path.suffix for path in files}
    assert len(files) >= 60
    assert forms == {".pdf", ".docx", ".pptx", ".xlsx", ".html", ".md", ".eml", ".csv", ".jsonl", ".png"}
    listed = json.loads(inhouse(data, "documents", "list", "--json").stdout)["documents"]
    levels: dict[str, set[str]] = {}
    for one in listed:
        levels.setdefault(one["kb"], set()).add(one["classification"])
    assert set(levels) == {"people", "engineering", "quality", "finance"}
    assert all(found == {"public", "internal", "confidential"} for found in levels.values()), levels


def content(path: Path) -> object:
    """What a binary document holds, however it was compressed: libraries of other systems compress differently."""
    if path.suffix == ".pdf":
        streams = re.findall(rb"stream\n(.*?)\nendstream", path.read_bytes(), re.DOTALL)
        return [zlib.decompress(stream) for stream in streams]
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.tobytes()
    with zipfile.ZipFile(path) as parts:
        return {name: parts.read(name) for name in parts.namelist()}


def test_the_program_writes_the_binary_documents_as_they_are(examples: Path, tmp_path: Path) -> None:
    spare = tmp_path / "examples"
    (spare / "documents").mkdir(parents=True)
    (spare / "sources").symlink_to(examples / "sources")
    (spare / "generate.py").write_bytes((examples / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(spare / "generate.py")], check=True, capture_output=True, timeout=120)
    made = [path.relative_to(spare / "documents") for path in (spare / "documents").rglob("*") if path.is_file()]
    assert len(made) == len(list((examples / "sources").rglob("*.txt")))
    differing = [path for path in made if content(spare / "documents" / path) != content(examples / "documents" / path)]
    assert differing == []


def test_every_file_is_indexed_and_the_counts_add_up(data: Path, examples: Path) -> None:
    report = json.loads(inhouse(data, "runs", "--json").stdout)["runs"][0]
    files = [path for path in (examples / "documents").rglob("*") if path.is_file() and path.name != "labels.toml"]
    listed = json.loads(inhouse(data, "documents", "list", "--json").stdout)["documents"]
    found = {one["path"].partition("#")[0] for one in listed}
    missing = {path.name for path in files if str(path.relative_to(examples / "documents")) not in found}
    assert missing <= (set() if tessdata_folder() else SCANS)
    assert report["outcome"] in ("finished", "partial")


def test_the_right_document_is_cited(answers: Mapping[str, Any], questions: list[dict[str, Any]]) -> None:
    wrong = [
        (person, one["id"])
        for person, one in answerable(questions)
        if one["document"] not in [cited["path"] for cited in answers[person][one["id"]]["citations"]]
    ]
    assert len(wrong) <= 0.05 * len(answerable(questions)), wrong


def test_the_right_page_is_cited(answers: Mapping[str, Any], questions: list[dict[str, Any]]) -> None:
    paged = [(person, one) for person, one in answerable(questions) if "page" in one]
    wrong = [
        (person, one["id"])
        for person, one in paged
        if (one["document"], one["page"])
        not in [(cited["path"], cited["page"]) for cited in answers[person][one["id"]]["citations"]]
    ]
    assert len(paged) >= 30
    assert len(wrong) <= 0.05 * len(paged), wrong


def test_the_answer_holds_the_facts(answers: Mapping[str, Any], questions: list[dict[str, Any]]) -> None:
    lacking = [
        (person, one["id"], answers[person][one["id"]]["answer"])
        for person, one in answerable(questions)
        if not all(fact in answers[person][one["id"]]["answer"] for fact in one["facts"])
    ]
    assert len(lacking) <= 0.1 * len(answerable(questions)), lacking


def test_each_quote_is_what_the_document_says(data: Path, answers: Mapping[str, Any]) -> None:
    cited = [one for mine in answers.values() for answer in mine.values() for one in answer["citations"]]
    # One process for all of them: a command for each document would take minutes.
    with Installation(data, load_settings(data)) as installation:
        scope = UnsafeEverything("the test compares quotations with the whole text")
        texts = {one: installation.store.document_text(scope, one)[0] for one in {one["document"] for one in cited}}
    assert [one for one in cited if texts[one["document"]][one["start"] : one["end"]] != one["quote"]] == []
    assert len(texts) > 45


def test_what_the_documents_do_not_say_is_not_answered(answers: Mapping[str, Any], questions: list[dict[str, Any]]) -> None:
    answered = [
        (person, one["id"], answers[person][one["id"]]["answer"])
        for one in questions
        if one.get("unanswerable")
        for person in one["may"]
        if not answers[person][one["id"]]["refused"]
    ]
    assert answered == []


def test_nobody_is_served_what_they_may_not_read(
    data: Path, answers: Mapping[str, Any], questions: list[dict[str, Any]], tmp_path: Path, inhouse_within: Command
) -> None:
    forbidden: dict[str, set[str]] = {}
    for one in questions:
        for person in one.get("may_not", ()):
            forbidden.setdefault(person, set()).add(one["document"])
    assert set(forbidden) >= {"ana", "bo", "carla", "dev", "eve"}
    for person, documents in forbidden.items():
        found = batch(inhouse_within, data, "search", person, questions, tmp_path)
        shown = {hit["path"] for one in found.values() for hit in one["hits"]}
        shown |= {cited["path"] for one in answers[person].values() for cited in one["citations"]}
        shown |= {near["path"] for one in answers[person].values() for near in one["nearest"]}
        assert not shown & documents, person
        assert shown


def test_the_log_tells_all_of_it(data: Path, answers: Mapping[str, Any]) -> None:
    asked = {answer["audit_id"]: person for person, mine in answers.items() for answer in mine.values()}
    listed = inhouse(data, "audit", "list", "--tag", "question:asked", "--limit", "10000", "--json")
    told = {record["id"]: record for record in map(json.loads, listed.stdout.splitlines())}
    assert {identifier: told[identifier]["actor"] for identifier in asked} == asked
    assert inhouse(data, "audit", "verify").returncode == 0


def test_each_person_is_suggested_questions_that_their_own_documents_answer(
    data: Path, inhouse_within: Command, tmp_path: Path
) -> None:
    suggested = {}
    with Installation(data, load_settings(data)) as installation:
        for person in ("ana", "carla", "eve"):
            principal = installation.people.principal(person)
            suggested[person] = suggestions(installation, principal)
            # Made for a permission once, and the same again.
            assert suggestions(installation, principal) == suggested[person]
        assert suggestions(installation, installation.people.principal("finn")) == []
        titles = {}
        for person in suggested:
            scope = scope_for(installation, installation.people.principal(person), Action.RETRIEVE)
            titles[person] = {one.title for one in installation.store.documents(scope, limit=1000)}
    for person, questions in suggested.items():
        # Eve may read hardly more than what is on the web.
        assert len(questions) == len(set(questions)) == (2 if person == "eve" else 3)
        for one in questions:
            title = re.search("“([^”]+)” say", one)
            assert title is None or title.group(1) in titles[person]
        asked = [{"id": str(place), "text": one} for place, one in enumerate(questions)]
        told = batch(inhouse_within, data, "ask", person, asked, tmp_path)
        assert sum(not one["refused"] for one in told.values()) >= 2, (person, questions)


def test_the_policy_commands_of_the_docs_say_what_the_docs_show(
    data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inhouse_within: Command
) -> None:
    page = (repository / "docs" / "how-to" / "policies.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository / "policies" / "defaults", tmp_path / "new")
    files = re.findall(r"`(new/[\w.]+|expected\.toml)`:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")
    shown = re.findall(r"```console\n\$ inhouse (.*?)\n(.*?)```", page, re.DOTALL)
    assert len(files) == 3
    assert {command.split()[1] for command, _ in shown} == {"explain", "simulate", "test"}
    for command, output in shown:
        done = inhouse_within(data, *command.split())
        # Ids of documents are made of where their folder lies, and the hash of a set is of every character of it.
        said, printed = (re.sub(r"doc-\w{16}|\b[0-9a-f]{64}\b", "…", one) for one in (output, done.stdout + done.stderr))
        assert printed == said, command
    assert inhouse_within(data, "policy", "check", "new").returncode == 0
