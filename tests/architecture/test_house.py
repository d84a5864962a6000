"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("policies", "vectorstore", "ingest", "service")
HEAVY = (
    "torch",
    "sentence_transformers",
    "chromadb",
    "llama_index",
    "onnxruntime",
    "sqlalchemy",
    "kreuzberg",
    "pypdfium2",
    "tantivy",
)
LIGHT = ("service.cli.application", "service.settings", "policies.audit.log", "service.runtimes.interface")
_LONGEST_MODULE = 400
_LONGEST_FUNCTION = 50


def modules(repository: Path) -> Iterator[Path]:
    for package in PACKAGES:
        # A migration is a list of tables: as long as they are, and never changed again.
        yield from (path for path in sorted((repository / package).rglob("*.py")) if "versions" not in path.parts)


def test_modules_and_functions_stay_short(repository: Path) -> None:
    long = set()
    for path in modules(repository):
        name = str(path.relative_to(repository))
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > _LONGEST_MODULE:
            long.add(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > _LONGEST_FUNCTION:
                    long.add(f"{name}:{node.name}")
    assert not long


def test_every_module_says_what_it_is_for(repository: Path) -> None:
    silent = [path for path in modules(repository) if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []


def test_only_its_own_door_imports_torch(repository: Path) -> None:
    """Everything but that door, imported together in a new process, leaves torch out."""
    names = []
    for path in modules(repository):
        name = ".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__")
        if "migrations" not in name and name != "vectorstore.embedders.sentence_transformers":
            names.append(name)
    program = f"""
from policies.egress.switches import set_switches
set_switches()
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
print(*[name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_environment_is_read_in_two_places_alone(repository: Path) -> None:
    allowed = {"service/settings.py", "policies/egress/switches.py"}
    readers = {
        str(path.relative_to(repository))
        for path in modules(repository)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= allowed | {"ingest/parsing/worker.py", "ingest/parsing/pool.py"}


def test_each_engine_has_one_door(repository: Path) -> None:
    doors = {"chromadb": 1, "tantivy": 1, "kreuzberg": 1, "pypdfium2": 1, "cedarpy": 2, "xllamacpp": 1}
    for engine, most in doors.items():
        importing = [
            path
            for path in modules(repository)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if (isinstance(node, ast.Import) and any(one.name.split(".")[0] == engine for one in node.names))
            or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == engine and node.level == 0)
        ]
        assert 1 <= len(set(importing)) <= most, (engine, set(importing))


def test_no_package_hides_among_the_tests(repository: Path) -> None:
    assert not list((repository / "tests").rglob("__init__.py"))
