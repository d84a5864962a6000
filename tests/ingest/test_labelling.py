"""Labels say who may read what; a file that they do not understand is named, with the mend, before anything is read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ingest.labelling import FILE_NAME, LabelRules, write_first_labels
from policies.errors import UsageError

LEVELS = ("public", "internal", "confidential")
RULE = {"glob": "*", "kb": "k", "classification": "internal", "groups": ["staff"], "owner": "hr"}


def written(path: Path, text: str) -> LabelRules:
    path.write_text(text, encoding="utf-8")
    return LabelRules.load(path, LEVELS)


def rule(**changed: Any) -> str:
    lines = [f"{key} = {value!r}" for key, value in {**RULE, **changed}.items() if value is not None]
    return "[[rule]]\n" + "\n".join(lines) + "\n"


def rules(path: Path, *globs: str) -> LabelRules:
    """Rules whose knowledge base is named after their number."""
    return written(path, "".join(rule(glob=glob, kb=str(number)) for number, glob in enumerate(globs)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def test_the_last_rule_that_matches_labels_a_file(file: Path) -> None:
    found = rules(file, "*", "hr/*", "*.pdf")
    labelled = {path: found.rule(path) for path in ("a.md", "hr/a.md", "hr/a.pdf", "it/deep/down/a.pdf")}
    assert {path: one.kb for path, one in labelled.items() if one} == {
        "a.md": "0",
        "hr/a.md": "1",
        "hr/a.pdf": "2",
        "it/deep/down/a.pdf": "2",
    }


@pytest.mark.parametrize(
    ("glob", "matched", "not_matched"),
    [
        ("*.pdf", ["a.pdf", "x/y/a.pdf"], ["a.pdf.txt", "pdf"]),
        ("/hr/", ["hr/a.md", "hr/x/a.md"], ["it/hr/a.md", "hr"]),
        ("hr/", ["hr/a.md", "it/hr/a.md"], ["hr.md"]),
        ("/*.md", ["a.md"], ["x/a.md"]),
        ("hr/**/*.docx", ["hr/a.docx", "hr/x/y/a.docx"], ["a.docx", "it/hr/a.docx"]),
        ("plan-?.txt", ["plan-1.txt"], ["plan-10.txt"]),
        ("[ab].txt", ["a.txt"], ["c.txt"]),
        ("offer #3*.txt", ["offer #3.txt"], ["offer 3.txt"]),
        ("Straße/*", ["Straße/a.md"], ["Strasse/a.md"]),
    ],
)
def test_globs_are_those_of_gitignore(file: Path, glob: str, matched: list[str], not_matched: list[str]) -> None:
    found = rules(file, glob)
    assert [path for path in matched if found.rule(path) is None] == []
    assert [path for path in not_matched if found.rule(path) is not None] == []


def test_no_rule_is_no_label(file: Path) -> None:
    assert rules(file, "*.md").rule("a.txt") is None


def test_a_label_says_all_that_its_rule_does(file: Path) -> None:
    found = written(file, rule(kb="hr", classification="confidential", groups=["a", "b"], owner="Ana")).rule("x")
    assert found is not None
    access = found.access
    assert access is not None
    assert (access.kb, access.classification, access.groups, access.owner) == ("hr", "confidential", {"a", "b"}, "Ana")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[rule]]"),
        ("rule = 5", "not an array of tables"),
        ("[rule]\nglob = '*'", "not an array of tables"),
        ("[[rules]]\nglob = '*'\n" + rule(), "'rules'"),
        (rule(gruops=["staff"]), "unknown key 'gruops'"),
        (rule() + rule(owner=None), "[[rule]] number 2: owner is missing"),
        (rule(glob=None), "glob is missing"),
        (rule(owner="EDIT: the person"), "owner has not been edited"),
        (rule(owner="  "), "owner must be a text"),
        (rule(kb=5), "kb must be a text"),
        (rule(classification="secret"), "unknown classification 'secret'"),
        (rule(groups=[]), "at least one group"),
        (rule(groups="staff"), "at least one group"),
        (rule(groups=[""]), "at least one group"),
        (rule() + "[[collection]]\nglob = '*.csv'\nid = 'id'\n", "text is missing"),
        (rule() + "[[collection]]\nglob = '*.csv'\nid = 'id'\ntext = []\n", "text must be a field name"),
        (rule() + "[[collection]]\nglob = '*.csv'\nid = 1\ntext = 'a'\n", "id must be a text"),
        (rule() + "[[collection]]\nglob = '*.csv'\nid = 'id'\ntext = 'a'\nfields = []\n", "unknown key 'fields'"),
        ("[[rule]\n", "cannot read"),
    ],
)
def test_what_is_not_understood_is_named_with_its_mend(file: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        written(file, text)
    assert said in raised.value.message
    assert str(file) in raised.value.message
    assert raised.value.hint


def test_labels_that_are_not_text_or_not_there_are_named(file: Path) -> None:
    with pytest.raises(UsageError, match=r"no labels\.toml") as raised:
        LabelRules.load(file, LEVELS)
    assert "--init-labels" in raised.value.hint
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot read"):
        LabelRules.load(file, LEVELS)


def test_the_hash_tells_rules_apart_and_comments_not(file: Path) -> None:
    first = written(file, rule()).hash
    assert written(file, "# a remark\n" + rule()).hash == first
    assert written(file, rule(owner="it")).hash != first
    assert written(file, rule() + "[[collection]]\nglob = '*.csv'\nid = 'id'\ntext = 'a'\n").hash != first


def test_first_labels_are_strict_load_only_after_edits_and_are_never_overwritten(tmp_path: Path) -> None:
    for name in ("HR", "it", ".hidden", 'od"d'):
        (tmp_path / name).mkdir()
    target = write_first_labels(tmp_path, LEVELS)
    with pytest.raises(UsageError, match="owner has not been edited"):
        LabelRules.load(target, LEVELS)
    text = target.read_text(encoding="utf-8")
    assert {one["classification"] for one in tomllib.loads(text)["rule"]} == {"confidential"}
    target.write_text(text.replace("EDIT: the person or team that answers for it", "hr"), encoding="utf-8")
    found = LabelRules.load(target, LEVELS)
    kbs = {path: one.kb for path in ("HR/a.md", "it/x/a.md", 'od"d/a.md') if (one := found.rule(path)) is not None}
    assert kbs == {"HR/a.md": "hr", "it/x/a.md": "it", 'od"d/a.md': 'od"d'}
    assert found.rule("at-the-root.md") is None
    with pytest.raises(UsageError, match="there is a"):
        write_first_labels(tmp_path, LEVELS)
    assert "EDIT" not in target.read_text(encoding="utf-8")


def test_first_labels_of_a_folder_without_folders_cover_its_files(tmp_path: Path) -> None:
    target = write_first_labels(tmp_path, LEVELS)
    target.write_text(target.read_text(encoding="utf-8").replace("EDIT", "the team"), encoding="utf-8")
    assert LabelRules.load(target, LEVELS).rule("a.md") is not None


def test_the_command_writes_first_labels_and_stops(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    (folder / "hr").mkdir(parents=True)
    (folder / "hr" / "a.md").write_text("# A\n\nText.", encoding="utf-8")
    assert "Wrote" in command("ingest", "--init-labels", str(folder))
    assert command("documents", "list", "--json")["documents"] == []
    assert "owner has not been edited" in command("ingest", str(folder), code=2)
    assert "there is a" in command("ingest", "--init-labels", str(folder), code=2)
    assert "one folder" in command("ingest", "--init-labels", str(folder), str(folder), code=2)


def test_labels_elsewhere_go_before_those_in_the_folder(command: Any, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "documents", tmp_path / "elsewhere.toml"
    folder.mkdir()
    (folder / "a.md").write_text("# A\n\nText.", encoding="utf-8")
    (folder / FILE_NAME).write_text(rule(kb="inside"), encoding="utf-8")
    elsewhere.write_text(rule(kb="outside"), encoding="utf-8")
    command("ingest", str(folder), "--labels", str(elsewhere))
    (listed,) = command("documents", "list", "--json")["documents"]
    assert (listed["path"], listed["kb"]) == ("a.md", "outside")
    assert "nowhere.toml" in command("ingest", str(folder), "--labels", str(tmp_path / "nowhere.toml"), code=2)
