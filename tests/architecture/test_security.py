"""The security page names the tests that prove it, and every test of a threat is on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = {
    *(f"U{number}" for number in range(1, 8)),
    *(f"R{number}" for number in range(1, 6)),
    *("A1", "A2", "A3", "A4", "A5", "C1", "C2", "C3", "C4", "C5", "C6", "L1", "L2", "L3", "L4", "L5"),
    "E4",
    *("M1", "M2", "M3", "S1", "S2", "S3", "O2", "O3"),
}
"""The rows whose face the product has now; a new face brings its rows."""


def cases_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def page(repository: Path) -> str:
    return (repository / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_security_page_names_is_there(repository: Path) -> None:
    named = NAMED.findall(page(repository))
    assert len(named) > 60
    missing = [(file, name) for file, name in named if name not in cases_in(repository / file)]
    assert missing == []


def test_every_test_of_a_threat_is_on_the_security_page(repository: Path) -> None:
    named = set(NAMED.findall(page(repository)))
    folder = repository / "tests" / "threats"
    there = {(f"tests/threats/{path.name}", name) for path in folder.glob("test_*.py") for name in cases_in(path)}
    assert there
    assert there - named == set()


def test_each_row_has_its_line_and_each_line_a_test_of_its_own(repository: Path) -> None:
    lines = re.findall(r"^\| ([A-Z]\d+) .*$", page(repository), re.MULTILINE)
    assert sorted(lines) == sorted(ROWS)
    for line in page(repository).splitlines():
        if re.match(r"\| [A-Z]\d+ ", line):
            assert NAMED.search(line), line


def test_each_test_of_a_threat_is_named_after_its_row(repository: Path) -> None:
    for path in (repository / "tests" / "threats").glob("test_*.py"):
        letter = path.name.split("_")[1]
        for name in cases_in(path):
            assert re.match(rf"test_{letter}\d+_", name), name
