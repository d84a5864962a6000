"""The label of one file: its rule's, made from the file's owner, group and mode where the rule says so, and narrowed by a file
beside it where the rule lets that."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingest.labelling import LabelRule, LabelRules
from ingest.sources.folder import FoundFile
from policies.identity import EVERYONE
from policies.labels import AccessClass, Label, Origin

SIDECAR = ".label.toml"
"""What is put behind a document's file name to name the file that narrows its label."""

_SIDECAR_BYTES = 65_536
_SIDECAR_KEYS = frozenset({"classification", "groups", "purpose", "retention"})
_ACL = "system.posix_acl_access"


class LabelRefused(Exception):
    """A file has no label that can be relied upon; the text says why."""


class LabelSources:
    """Gives the files of one folder their labels. `permitted` says whether who runs the ingest may put documents into an
    access class that no rule gives by itself."""

    def __init__(self, rules: LabelRules, root: Path, permitted: Callable[[AccessClass], bool]) -> None:
        self._rules = rules
        self._root = root
        self._permitted = permitted

    def label(self, file: FoundFile) -> Label | None:
        """The label of a file, or None where no rule matches it. Raises LabelRefused for one that lies beside its document
        unasked, widens its rule's, is not understood, or cannot be made of the file's owner and mode: what was meant to be
        less readable is then not indexed, instead of indexed as the rule has it."""
        rule = self._rules.rule(file.relative)
        if rule is None:
            return None
        label = rule.label or self._posix(rule, file)
        beside = self._root / (file.relative + SIDECAR)
        if os.path.lexists(beside):
            if not rule.sidecars:
                raise LabelRefused(f"{beside.name} lies beside it, and its rule does not say sidecars = true")
            label = self._narrowed(label, beside)
        if label.origin is not Origin.RULES and not self._permitted(label.access):
            raise LabelRefused("who runs the ingest may not put documents under the label that it would get")
        return label

    def _narrowed(self, label: Label, path: Path) -> Label:
        said = _read(path)
        access, levels = label.access, self._rules.levels
        classification = said.get("classification", access.classification)
        groups = frozenset(said.get("groups", access.groups))
        if classification not in levels:
            raise LabelRefused(f"{path.name}: unknown classification {classification!r}")
        if levels.index(classification) < levels.index(access.classification):
            raise LabelRefused(f"{path.name} would lower the classification that the rule gives")
        if not groups <= access.groups and EVERYONE not in access.groups:
            raise LabelRefused(f"{path.name} names a group that the rule does not")
        purpose, retention = said.get("purpose", label.purpose), said.get("retention", label.retention)
        if problem := self._rules.names.problem(purpose, retention):
            raise LabelRefused(f"{path.name}: {problem}")
        return Label(AccessClass(access.kb, classification, groups, access.owner), purpose, retention, Origin.SIDECAR)

    def _posix(self, rule: LabelRule, file: FoundFile) -> Label:
        try:
            groups, owner = _readers(self._root, file.path)
            access = AccessClass(rule.kb, rule.classification, groups, owner)
        except OSError as error:
            raise LabelRefused(f"its owner and mode cannot be read: {error.strerror}") from None
        return Label(access, rule.purpose, rule.retention, Origin.POSIX)


def _readers(root: Path, path: Path) -> tuple[frozenset[str], str]:
    """The groups that may read a file through every folder from the root on, and its owner's name."""
    found = path.stat()
    _refuse_list(path)
    group = bool(found.st_mode & stat.S_IRGRP)
    others = group and bool(found.st_mode & stat.S_IROTH)
    for folder in path.parents:
        above = folder.stat()
        _refuse_list(folder)
        others = others and bool(above.st_mode & stat.S_IXOTH) and bool(above.st_mode & stat.S_IXGRP)
        through = stat.S_IXGRP if above.st_gid == found.st_gid else stat.S_IXOTH
        group = group and bool(above.st_mode & through)
        if folder == root:
            break
    if not group:
        raise LabelRefused("its group may not read it, and there is no label for its owner alone")
    try:
        owner, name = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        raise LabelRefused("its owner or its group has no name on this machine") from None
    if name == EVERYONE:
        raise LabelRefused(f"its group is called {EVERYONE}, which means all people here")
    return frozenset({name, EVERYONE} if others else {name}), owner


def _refuse_list(path: Path) -> None:
    """NOTE: With an access control list the mode's group bits are its mask, and say nothing of the group."""
    try:
        listed = os.listxattr(path)
    except OSError:
        return
    if _ACL in listed:
        raise LabelRefused("an access control list says who may read it, which its mode does not")


def _read(path: Path) -> dict[str, Any]:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise LabelRefused(f"{path.name} is not a regular file")
        with path.open("rb") as file:
            text = file.read(_SIDECAR_BYTES + 1)
        if len(text) > _SIDECAR_BYTES:
            raise LabelRefused(f"{path.name} is too large for a label")
        said = tomllib.loads(text.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise LabelRefused(f"cannot read {path.name}: {error}") from None
    unknown = sorted(set(said) - _SIDECAR_KEYS)
    if unknown or not said:
        what = f"unknown key {unknown[0]!r}" if unknown else "it says nothing"
        raise LabelRefused(f"{path.name}: {what}; known are {', '.join(sorted(_SIDECAR_KEYS))}")
    for key, value in said.items():
        values = value if key == "groups" and isinstance(value, list) and value else [value]
        if (key == "groups" and values is not value) or not all(isinstance(one, str) and one.strip() for one in values):
            raise LabelRefused(f"{path.name}: {key} must be {'a list of groups' if key == 'groups' else 'a text'}")
    return said
