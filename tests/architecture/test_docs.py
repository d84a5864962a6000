"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from service.cli.application import COMMANDS


def pages_of(repository: Path) -> list[Path]:
    return [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]


def reference(repository: Path) -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("reference_for_tests", repository / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, str] = module.pages()
    return found


def test_the_reference_is_what_the_code_says(repository: Path) -> None:
    folder = repository / "docs" / "reference"
    pages = reference(repository)
    assert {path.name for path in folder.glob("*.md")} == set(pages)
    for name, text in pages.items():
        assert (folder / name).read_text(encoding="utf-8") == text, f"{name}: run python scripts/reference.py"


def test_every_link_leads_somewhere(repository: Path) -> None:
    broken = [
        (page.name, link)
        for page in pages_of(repository)
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
        if not link.startswith("http") and not (page.parent / link).exists()
    ]
    assert broken == []


def test_every_file_that_the_architecture_names_is_there(repository: Path) -> None:
    text = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:service|ingest|vectorstore|policies)/[\w/]+\.py)`", text)
    assert len(named) > 15
    assert [name for name in named if not (repository / name).is_file()] == []


def commands_in(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [part.partition("#")[0].strip() for block in blocks for line in block.splitlines() for part in line.split("&&")]
    return [line for line in lines if line.startswith("inhouse ")]


def test_every_command_that_the_docs_show_is_one(repository: Path) -> None:
    shown = [(page.name, line) for page in pages_of(repository) for line in commands_in(page.read_text(encoding="utf-8"))]
    assert len(shown) > 10
    for page, line in shown:
        _, verb, *rest = shlex.split(line)
        command: Any = typer.main.get_command(importlib.import_module(COMMANDS[verb][0]).app)
        if hasattr(command, "commands") and rest:
            command, rest = command.commands[rest[0]], rest[1:]
        known = {option for one in command.params for option in one.opts}
        unknown = [part for part in rest if part.startswith("--") and part not in known]
        assert not unknown, (page, line)


@pytest.mark.parametrize("target", ["demo", "test", "lint"])
def test_the_readme_s_commands_are_in_the_makefile(repository: Path, target: str) -> None:
    assert re.search(rf"^{target}:", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
