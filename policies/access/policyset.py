"""Loads a directory of Cedar policies, and refuses any set that is empty, invalid, or that a careful reader would doubt."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

from policies.access.actions import Action
from policies.access.reading import concerns, literals, named_groups
from policies.errors import PolicyError

DEFAULTS = Path(__file__).parent.parent / "defaults"
"""The packaged policies; an organisation copies this directory, changes the copy and names it in its settings."""

_HINT = "Mend the policy or the schema; the service does not start on a set that does not pass."
_ILL_TYPED = {"kind": "when", "body": {"<": {"left": {"Value": 1}, "right": {"Value": "a"}}}}
_BUILT_IN = {"Bool", "Boolean", "Entity", "Long", "Record", "Set", "String", "datetime", "decimal", "duration", "ipaddr"}
_EAST_ASIAN = {"BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA"}


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One policy: its `@id` and `@description`, the file that holds it, and its effect, `permit` or `forbid`."""

    id: str
    description: str
    file: str
    effect: str


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A set that passed every check. `hash` is SHA-256 over file names and contents, `entries` are its policies by file.

    `policies` are those that can apply to each action: Cedar looks at every one that it is given, for every decision.
    `words` are the strings that conditions hold. `groups` are the person's groups that conditions name; None where a
    condition looks at a person's groups in another way than by name or for those of the label.
    """

    schema: str
    policies: Mapping[Action, str]
    hash: str
    entries: tuple[PolicyEntry, ...]
    words: frozenset[str]
    groups: frozenset[str] | None


def load(directory: Path) -> PolicyText:
    """Reads `*.cedar` and the one `*.cedarschema` of a directory.

    Raises PolicyError for a directory that cannot be read or has no policy, for a file that does not parse by itself,
    for a template, for a policy without an `@id` of its own, for a set that does not validate strictly against the
    schema, and for everything that Cedar would only warn of: a policy that can never apply, a schema that shadows a
    name, text that mixes scripts or hides characters.
    """
    files = _files(directory)
    policies, parsed = "", {}
    for name, text in files:
        if name.endswith(".cedar"):
            parsed[name] = _parsed(name, text)
            policies += text + "\n"
    schema = next(text for name, text in files if name.endswith(".cedarschema"))
    entries = _entries(parsed)
    _check_schema(schema)
    for name, found in parsed.items():
        _check_policies(name, found, schema)
    _validate("the policies together", policies, schema)
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    whole = [policy for found in parsed.values() for policy in found.values()]
    return PolicyText(schema, _by_action(whole, schema), digest, entries, literals(whole), named_groups(whole))


def _files(directory: Path) -> list[tuple[str, str]]:
    hint = f"Start from a copy of {DEFAULTS}."
    try:
        paths = sorted([*directory.glob("*.cedar"), *directory.glob("*.cedarschema")])
        files = [(path.name, path.read_text(encoding="utf-8")) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"cannot read the policies in {directory}: {error}", hint=hint) from None
    if not any(name.endswith(".cedar") for name, _ in files):
        raise PolicyError(f"there is no policy (*.cedar) in {directory}: nothing would be permitted", hint=hint)
    if sum(name.endswith(".cedarschema") for name, _ in files) != 1:
        raise PolicyError(f"there must be exactly one schema (*.cedarschema) in {directory}", hint=hint)
    return files


def _parsed(name: str, text: str) -> dict[str, Any]:
    """The file's policies in Cedar's JSON form, by the parser's own ids. Each file must stand alone, so that none can
    finish another one's sentence."""
    try:
        found = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise PolicyError(f"{name} does not parse: {error}", hint=_HINT) from None
    if found["templates"]:
        raise PolicyError(f"{name} holds a template: nothing here would fill its slots", hint=_HINT)
    policies = found["staticPolicies"]
    assert isinstance(policies, dict)
    return policies


def _entries(parsed: dict[str, dict[str, Any]]) -> tuple[PolicyEntry, ...]:
    entries: dict[str, PolicyEntry] = {}
    for name, policies in parsed.items():
        for policy in policies.values():
            annotations = policy.get("annotations", {})
            identifier = annotations.get("id")
            if not identifier:
                raise PolicyError(f"{name} holds a policy without an @id: no verdict could name it", hint=_HINT)
            if identifier in entries:
                raise PolicyError(f"{name}: there are two policies with @id {identifier!r}", hint=_HINT)
            description = annotations.get("description") or ""
            entries[identifier] = PolicyEntry(identifier, description, name, policy["effect"])
    if not entries:
        raise PolicyError("the policy set is empty: nothing would be permitted", hint=_HINT)
    return tuple(entries.values())


def _check_policies(name: str, policies: dict[str, Any], schema: str) -> None:
    for key, policy in policies.items():
        where = f"{name}, policy {policy['annotations']['id']!r}"
        # A description is for people and may say what it wants, in any script.
        shown = {**policy, "annotations": {"id": policy["annotations"]["id"]}}
        for text in _strings(shown):
            fault = _doubtful(text)
            if fault:
                raise PolicyError(f"{where}: {text!r} {fault}", hint=_HINT)
        _validate(where, _text(key, policy), schema)
        # NOTE: The bindings do not hand on Cedar's warnings. The type checker does not look behind a condition that can
        # never hold, so where an ill-typed condition at the end goes unnoticed, the policy can never apply.
        probe = {**policy, "conditions": [*policy["conditions"], _ILL_TYPED]}
        if cedarpy.validate_policies(_text(key, probe), schema).validation_passed:
            raise PolicyError(f"{where} can never apply: its conditions are false for every request", hint=_HINT)


def _text(key: str, policy: dict[str, Any]) -> str:
    whole = {"templates": {}, "staticPolicies": {key: policy}, "templateLinks": []}
    return cedarpy.policies_from_json_str(json.dumps(whole))


def _by_action(policies: Sequence[dict[str, Any]], schema: str) -> dict[Action, str]:
    # In an action that stands for others each policy may concern each of them.
    grouped = re.search(r"^action [^;{]*\bin\b", str(cedarpy.Schema.from_str(schema)), re.MULTILINE)
    known = () if grouped else frozenset(Action)
    texts = [_text(f"policy{number}", policy) for number, policy in enumerate(policies)]
    return {
        action: "\n".join(text for text, policy in zip(texts, policies, strict=True) if concerns(policy, action, known))
        for action in Action
    }


def _validate(where: str, policies: str, schema: str) -> None:
    try:
        result = cedarpy.validate_policies(policies, schema)
    except ValueError as error:
        raise PolicyError(f"{where}: cannot be validated: {error}", hint=_HINT) from None
    if not result.validation_passed:
        said = "; ".join(sorted({str(error.error) for error in result.errors}))
        raise PolicyError(f"{where}: does not validate: {said}", hint=_HINT)


def _check_schema(schema: str) -> None:
    try:
        normal = str(cedarpy.Schema.from_str(schema))
    except ValueError as error:
        raise PolicyError(f"the schema does not parse: {error}", hint=_HINT) from None
    fault = _doubtful(normal)
    if fault:
        raise PolicyError(f"the schema {fault}", hint=_HINT)
    types = set(re.findall(r"^\s*type (\w+)", normal, re.MULTILINE))
    entities = set(re.findall(r"^\s*entity (\w+)", normal, re.MULTILINE))
    shadowed = (types & entities) | ((types | entities) & _BUILT_IN)
    if shadowed:
        raise PolicyError(f"the schema gives two meanings to {', '.join(sorted(shadowed))}", hint=_HINT)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _doubtful(text: str) -> str:
    """What makes a text look like another one: characters that do not show, or letters of several scripts. Else empty."""
    if any(unicodedata.category(character) in {"Cf", "Co", "Cn"} for character in text):
        return "holds characters that do not show"
    scripts = set()
    for character in text:
        if character.isalpha():
            script = unicodedata.name(character, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]
            scripts.add("EAST ASIAN" if script in _EAST_ASIAN else script)
    if len(scripts) > 1:
        return f"mixes letters of {' and '.join(sorted(script.lower() for script in scripts))}"
    return ""
