"""Rules that say what a document is: which knowledge base, how it is classified, who may read it, who answers for it."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from policies.errors import UsageError
from policies.labels import ANY_NAMES, AccessClass, Label, LabelNames

FILE_NAME = "labels.toml"
_ALWAYS = frozenset({"glob", "kb", "classification"})
_WHO = frozenset({"groups", "owner"})
_RULE_KEYS = _ALWAYS | _WHO | {"purpose", "retention", "sidecars", "posix"}
_COLLECTION_KEYS = frozenset({"glob", "id", "title", "text", "keep"})


@dataclass(frozen=True, slots=True)
class CollectionMapping:
    """How the lines of a JSON Lines or CSV file become documents: the fields that hold id, title and text, and those that
    are kept beside them."""

    id: str
    title: str | None
    text: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelRule:
    """What one rule says of the files that it labels. `access` is None where groups and owner are those of each file (`posix`);
    `sidecars` lets a file beside a document narrow its label."""

    glob: str
    kb: str
    classification: str
    access: AccessClass | None
    purpose: str = ""
    retention: str = ""
    sidecars: bool = False
    posix: bool = False

    @property
    def label(self) -> Label | None:
        """The label that the rule gives by itself."""
        return None if self.access is None else Label(self.access, self.purpose, self.retention)


class LabelRules:
    """The rules of one labels.toml: the last `[[rule]]` whose glob matches labels a file; no rule, no label.

    Globs are those of .gitignore files, relative to the folder: `*.pdf` matches at any depth, `/hr/` the folder at the
    root, `hr/**/*.docx` below it.
    """

    def __init__(
        self,
        rules: Sequence[LabelRule],
        collections: Sequence[tuple[str, CollectionMapping]],
        levels: Sequence[str],
        names: LabelNames,
    ) -> None:
        self._rules = [(GitIgnoreSpec.from_lines([rule.glob]), rule) for rule in rules]
        self._collections = [(GitIgnoreSpec.from_lines([glob]), mapping) for glob, mapping in collections]
        self.levels = tuple(levels)
        self.names = names
        form = [[one.glob, repr(replace(one, access=None)), _id(one)] for one in rules]
        mapped = [[glob, repr(mapping)] for glob, mapping in collections]
        self.hash = hashlib.sha256(json.dumps([form, mapped]).encode()).hexdigest()

    @classmethod
    def load(cls, path: Path, classifications: Iterable[str], names: LabelNames = ANY_NAMES) -> LabelRules:
        """Reads a file that may use these classifications, purposes and retention classes.

        Raises UsageError naming the file, the rule and the mend for anything that is not understood."""
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"there is no {path.name} in {path.parent}, and a document without a label is never indexed",
                hint=f"Write a first one to edit: inhouse ingest --init-labels {path.parent}",
            ) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"cannot read {path}: {error}", hint="It must be a readable TOML file in UTF-8.") from None
        unknown = set(said) - {"rule", "collection"}
        if unknown:
            raise _wrong(path, f"unknown table {sorted(unknown)[0]!r}", "Only [[rule]] and [[collection]] are known.")
        levels = tuple(classifications)
        rules = [_rule(path, number, one, levels, names) for number, one in enumerate(_tables(path, said, "rule"), 1)]
        collections = [_collection(path, number, one) for number, one in enumerate(_tables(path, said, "collection"), 1)]
        if not rules:
            raise _wrong(path, "there is no [[rule]]", "Without one every document would be quarantined.")
        return cls(rules, collections, levels, names)

    @classmethod
    def of_one(cls, access: AccessClass, classifications: Iterable[str]) -> LabelRules:
        """The rules of a source in which every file gets that access class."""
        rule = LabelRule("*", access.kb, access.classification, access)
        return cls([rule], [], tuple(classifications), ANY_NAMES)

    def classes(self) -> list[AccessClass]:
        """Every access class that a rule gives by itself; what files beside a document and the owners, groups and modes of
        files make of them is known only when those are looked at."""
        return list(dict.fromkeys(rule.access for _, rule in self._rules if rule.access is not None))

    def rule(self, relative: str) -> LabelRule | None:
        """The rule for a file by its path relative to the folder, or None where none matches."""
        found = None
        for spec, rule in self._rules:
            if spec.match_file(relative):
                found = rule
        return found

    def collection(self, relative: str) -> CollectionMapping | None:
        """How a file's lines become documents, or None for a file that is one document."""
        found = None
        for spec, mapping in self._collections:
            if spec.match_file(relative):
                found = mapping
        return found


def write_first_labels(folder: Path, classifications: Sequence[str]) -> Path:
    """Writes a labels.toml to edit, one strictest rule for each folder at the root; raises UsageError where there is one
    already or it cannot be written."""
    target = folder / FILE_NAME
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    lines = [
        "# Who may read what in this folder. The last rule that matches a file labels it; a file without a label is never",
        "# indexed. Globs are those of .gitignore. Edit groups and classification before you ingest.",
        f'# Classifications, lowest first: {", ".join(classifications)}. The group "everyone" means all people.',
        "",
    ]
    for name in names or [""]:
        lines += [
            "[[rule]]",
            f"glob = {json.dumps(f'/{name}/' if name else '*')}",
            f"kb = {json.dumps(name.lower() or 'documents')}",
            f"classification = {json.dumps(classifications[-1])}",
            f"groups = [{json.dumps(name.lower() or 'readers')}]",
            'owner = "EDIT: the person or team that answers for it"',
            "",
        ]
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines))
    except FileExistsError:
        raise UsageError(f"there is a {target} already", hint="Edit it, or move it away first.") from None
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}", hint="Use --labels with a file elsewhere.") from None
    return target


def _tables(path: Path, said: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = said.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _wrong(path, f"{name!r} is not an array of tables", f"Write [[{name}]].")
    return found


def _id(rule: LabelRule) -> str:
    return "" if rule.access is None else rule.access.id


def _rule(path: Path, number: int, said: dict[str, Any], levels: Sequence[str], names: LabelNames) -> LabelRule:
    where = f"[[rule]] number {number}"
    flags = {key: said.get(key, False) for key in ("sidecars", "posix")}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise _wrong(path, f"{where}: {key} must be true or false")
    posix = flags["posix"]
    if posix and (both := sorted(_WHO & set(said))):
        raise _wrong(path, f"{where}: posix = true takes {both[0]} from each file", f"Take {both[0]} out of the rule.")
    _check_keys(path, where, said, _ALWAYS if posix else _ALWAYS | _WHO, _RULE_KEYS)
    for key in ("glob", "kb", "classification", "owner", "purpose", "retention"):
        if key in said and (not isinstance(said[key], str) or not said[key].strip()):
            raise _wrong(path, f"{where}: {key} must be a text that is not empty")
    if said["classification"] not in levels:
        raise _wrong(path, f"{where}: unknown classification {said['classification']!r}", f"One of: {', '.join(levels)}.")
    purpose, retention = said.get("purpose", ""), said.get("retention", "")
    if problem := names.problem(purpose, retention):
        raise _wrong(path, f"{where}: {problem}")
    access = None if posix else _access(path, where, said)
    return LabelRule(said["glob"], said["kb"], said["classification"], access, purpose, retention, **flags)


def _access(path: Path, where: str, said: dict[str, Any]) -> AccessClass:
    if said["owner"].startswith("EDIT"):
        raise _wrong(path, f"{where}: owner has not been edited", "Name the person or team that answers for the documents.")
    groups = said["groups"]
    if not isinstance(groups, list) or not groups or not all(isinstance(one, str) and one.strip() for one in groups):
        raise _wrong(path, f"{where}: groups must name at least one group", 'groups = ["everyone"] means all people.')
    return AccessClass(said["kb"], said["classification"], frozenset(groups), said["owner"])


def _collection(path: Path, number: int, said: dict[str, Any]) -> tuple[str, CollectionMapping]:
    where = f"[[collection]] number {number}"
    _check_keys(path, where, said, frozenset({"glob", "id", "text"}), _COLLECTION_KEYS)
    text = [said["text"]] if isinstance(said["text"], str) else said["text"]
    keep = said.get("keep", [])
    for key, value in (("text", text), ("keep", keep)):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value) or (key == "text" and not value):
            raise _wrong(path, f"{where}: {key} must be a field name or a list of them")
    for key in ("glob", "id", "title"):
        if not isinstance(said.get(key, ""), str):
            raise _wrong(path, f"{where}: {key} must be a text")
    return said["glob"], CollectionMapping(said["id"], said.get("title"), tuple(text), tuple(keep))


def _check_keys(path: Path, where: str, said: dict[str, Any], needed: frozenset[str], known: frozenset[str]) -> None:
    for key in sorted(set(said) - known):
        raise _wrong(path, f"{where}: unknown key {key!r}", f"Known are: {', '.join(sorted(known))}.")
    for key in sorted(needed - set(said)):
        raise _wrong(path, f"{where}: {key} is missing", f"Needed are: {', '.join(sorted(needed))}.")


def _wrong(path: Path, what: str, hint: str = "") -> UsageError:
    return UsageError(f"{path}: {what}", hint=hint or "docs/reference/labels.md describes the file.")
