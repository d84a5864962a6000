"""What labels a file beside its rule: a file next to it, which can only narrow, and its own owner, group and mode."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest import label_sources
from ingest.label_sources import LabelRefused, LabelSources
from ingest.labelling import FILE_NAME, LabelRules
from ingest.sources.folder import FoundFile
from policies.errors import UsageError
from policies.labels import AccessClass, Label, LabelNames, Origin

LEVELS = ("public", "internal", "confidential")
RULE = 'glob = "*"\nkb = "k"\nclassification = "internal"\n'
WHO = 'groups = ["staff", "legal"]\nowner = "hr"\n'
NAMES = LabelNames(("law", "service"), ("short", "long"))
POSIX = RULE + "posix = true\n"
Make = Callable[..., Label | None]


@pytest.fixture
def labelled(tmp_path: Path) -> Make:
    """The label of `a.md` under one rule, with this text in the file beside it."""

    def make(
        rule: str, beside: str | None = None, permitted: Callable[[AccessClass], bool] = lambda access: True
    ) -> Label | None:
        (tmp_path / FILE_NAME).write_text("[[rule]]\n" + rule, encoding="utf-8")
        (tmp_path / "a.md").touch()
        if beside is not None:
            (tmp_path / "a.md.label.toml").write_text(beside, encoding="utf-8")
        sources = LabelSources(LabelRules.load(tmp_path / FILE_NAME, LEVELS, NAMES), tmp_path, permitted)
        return sources.label(FoundFile(tmp_path / "a.md", "a.md", 0, 0))

    return make


def test_a_file_beside_narrows_each_part_that_it_names(labelled: Make) -> None:
    rule = RULE + WHO + 'sidecars = true\npurpose = "service"\n'
    said = 'classification = "confidential"\ngroups = ["legal"]\npurpose = "law"\nretention = "long"\n'
    label = labelled(rule, said)
    assert label == Label(AccessClass("k", "confidential", frozenset({"legal"}), "hr"), "law", "long")
    assert label is not None
    assert label.origin is Origin.SIDECAR
    assert labelled(rule, 'retention = "short"') == Label(
        AccessClass("k", "internal", frozenset({"staff", "legal"}), "hr"), "service", "short"
    )
    everyone = labelled(RULE + 'groups = ["everyone"]\nowner = "hr"\nsidecars = true\n', 'groups = ["board"]')
    assert everyone is not None
    assert everyone.access.groups == {"board"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('classification = "public"', "lower the classification"),
        ('classification = "secret"', "unknown classification"),
        ('groups = ["staff", "board"]', "names a group"),
        ('groups = ["everyone"]', "names a group"),
        ("groups = []", "must be a list of groups"),
        ('groups = "staff"', "must be a list of groups"),
        ("groups = [1]", "must be a list of groups"),
        ("classification = 1", "must be a text"),
        ('owner = "me"', "unknown key 'owner'"),
        ('kb = "board"', "unknown key 'kb'"),
        ('purpose = "fun"', "unknown purpose"),
        ('retention = "for ever"', "unknown retention class"),
        ("", "it says nothing"),
        ("[[", "cannot read"),
        ("# " + "x" * 70_000, "too large"),
    ],
)
def test_a_file_beside_that_widens_or_is_not_understood_leaves_its_document_without_a_label(
    labelled: Make, said: str, why: str
) -> None:
    with pytest.raises(LabelRefused, match=why):
        labelled(RULE + WHO + "sidecars = true\n", said)


def test_a_file_beside_counts_only_where_the_rule_lets_it_and_the_ingest_may_give_what_it_says(
    labelled: Make, tmp_path: Path
) -> None:
    with pytest.raises(LabelRefused, match="sidecars = true"):
        labelled(RULE + WHO, 'groups = ["legal"]')
    with pytest.raises(LabelRefused, match="may not put documents"):
        labelled(RULE + WHO + "sidecars = true\n", 'groups = ["legal"]', lambda access: "staff" in access.groups)
    (tmp_path / "a.md.label.toml").unlink()
    (tmp_path / "a.md.label.toml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(LabelRefused, match="not a regular file"):
        labelled(RULE + WHO + "sidecars = true\n")


OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


@pytest.mark.parametrize(
    ("file", "folder", "groups"),
    [
        (0o640, 0o750, {GROUP}),
        (0o644, 0o755, {GROUP, "everyone"}),
        (0o644, 0o750, {GROUP}),
        (0o644, 0o745, None),
        (0o644, 0o700, None),
        (0o604, 0o755, None),
        (0o600, 0o755, None),
    ],
)
def test_who_may_read_a_file_is_its_group_and_everyone_as_its_mode_and_every_folder_above_let_them(
    labelled: Make, tmp_path: Path, file: int, folder: int, groups: set[str] | None
) -> None:
    os.chown(tmp_path, -1, os.getgid())
    tmp_path.chmod(folder)
    (tmp_path / "a.md").touch()
    os.chown(tmp_path / "a.md", -1, os.getgid())
    (tmp_path / "a.md").chmod(file)
    if groups is None:
        with pytest.raises(LabelRefused, match="its group may not read it"):
            labelled(POSIX)
        return
    label = labelled(POSIX + 'purpose = "law"\n')
    assert label == Label(AccessClass("k", "internal", frozenset(groups), OWNER), "law")
    assert label is not None
    assert label.origin is Origin.POSIX


def test_an_owner_without_a_name_a_group_called_everyone_and_an_access_control_list_are_no_label(
    labelled: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    assert labelled(POSIX) is not None
    (tmp_path / "a.md").chmod(0o644)

    def unknown(number: int) -> Any:
        raise KeyError(number)

    for module, name in ((pwd, "getpwuid"), (grp, "getgrgid")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, unknown)
            with pytest.raises(LabelRefused, match="has no name"):
                labelled(POSIX)
    with monkeypatch.context() as patched:
        patched.setattr(grp, "getgrgid", lambda number: grp.struct_group(("everyone", "x", number, [])))
        with pytest.raises(LabelRefused, match="which means all people here"):
            labelled(POSIX)
    monkeypatch.setattr(label_sources.os, "listxattr", lambda path: ["system.posix_acl_access"])
    with pytest.raises(LabelRefused, match="access control list"):
        labelled(POSIX)


@pytest.mark.parametrize("said", ['groups = ["a"]\n', 'owner = "a"\n'])
def test_a_rule_does_not_say_in_two_ways_who_may_read(labelled: Make, said: str) -> None:
    with pytest.raises(UsageError, match="posix = true takes"):
        labelled(POSIX + said)
    with pytest.raises(UsageError, match="must be true or false"):
        labelled(RULE + WHO + 'sidecars = "yes"\n')


def test_in_a_run_a_file_beside_is_no_document_and_what_it_cannot_label_leaves_the_index(workbench: Callable[..., Any]) -> None:
    bench = workbench()
    labels = bench.folder / "labels.toml"
    labels.write_text(labels.read_text().replace('owner = "hr"', 'owner = "hr"\nsidecars = true', 1))
    beside = bench.folder / "leave.md.label.toml"
    beside.write_text('groups = ["directors"]\n')
    report = bench.ingest()
    assert (report["found"], report["added"], report["quarantined"]) == (3, 3, 0)
    assert bench.document("leave.md")["groups"] == ["directors"]
    assert bench.document("leave.md")["label_from"] == "sidecar"
    beside.write_text('classification = "public"\n')
    report = bench.ingest()
    assert (report["removed"], [one["reason"] for one in report["refusals"]]) == (1, ["bad-label"])
    # By sam, who is no director: the file goes into quarantine, the others come in.
    beside.write_text('groups = ["directors"]\n')
    (bench.folder / "board" / "merger.md").unlink()
    bench("documents.remove", ids=[bench.document("board/merger.md")["id"]])
    labels.write_text(labels.read_text().partition('\n[[rule]]\nglob = "board/*"')[0])
    report = bench.ingest(as_person="sam")
    assert [(one["path"], one["reason"]) for one in report["refusals"]] == [("leave.md", "bad-label")]
    beside.unlink()
    report = bench.ingest(as_person="sam")
    assert (report["added"], report["quarantined"]) == (1, 0)
    assert bench.document("leave.md")["label_from"] == "rules"
    (bench.folder / "nothing.md.label.toml").write_text('groups = ["directors"]\n')
    assert [one["detail"] for one in bench.ingest()["refusals"]] == ["there is no file that it would label"]
