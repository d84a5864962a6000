"""Reads out of the policies themselves which words they hold, and what of a person's groups can count in a decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

_PERSON_S = {".": {"left": {"Var": "principal"}, "attr": "groups"}}
_LABEL_S = {".": {"left": {"Var": "resource"}, "attr": "groups"}}


def literals(policies: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Every string that a condition of a policy (in Cedar's JSON form) holds as a value."""
    return frozenset(text for policy in policies for one in policy["conditions"] for text in _values(one["body"]))


def named_groups(policies: Iterable[Mapping[str, Any]]) -> frozenset[str] | None:
    """The groups that policies (in Cedar's JSON form) name. None where any of them looks at a person's groups in another
    way than by looking for named ones, or for those of the label: then every group may count in every decision."""
    names: set[str] = set()
    plain = all(_is_plain(one["body"], names) for policy in policies for one in policy["conditions"])
    return frozenset(names) if plain else None


def concerns(policy: Mapping[str, Any], action: str, actions: Collection[str]) -> bool:
    """Whether a policy (in Cedar's JSON form) can apply to an action; of `actions` none is a group of others. False only where
    its head names other ones alone."""
    head = policy["action"]
    named = head.get("entities") or ([head["entity"]] if "entity" in head else None)
    return named is None or any(one["id"] == action or one["id"] not in actions for one in named)


def _values(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for inner in node:
            yield from _values(inner)
    elif isinstance(node, dict):
        for key, inner in node.items():
            if key == "Value" and isinstance(inner, str):
                yield inner
            else:
                yield from _values(inner)


def _is_plain(node: Any, names: set[str]) -> bool:
    if isinstance(node, list):
        return all(_is_plain(inner, names) for inner in node)
    if not isinstance(node, dict) or "Value" in node:
        return True
    if "Record" in node:
        # Its keys are the author's, and may look like operators.
        return all(_is_plain(inner, names) for inner in node["Record"].values())
    for operator in ("contains", "containsAny", "containsAll"):
        if operator in node:
            left, right = node[operator]["left"], node[operator]["right"]
            if operator == "containsAny" and left == _LABEL_S:
                left, right = right, left
            if left == _PERSON_S:
                return (operator != "contains" and right == _LABEL_S) or _are_names(operator, right, names)
    # Whatever else has groups, an expression that turns out to be the person among them, counts as the person's.
    if "." in node and node["."]["attr"] == "groups" and node["."]["left"] != {"Var": "resource"}:
        return False
    return all(_is_plain(inner, names) for inner in node.values())


def _are_names(operator: str, right: Any, names: set[str]) -> bool:
    given = [right] if operator == "contains" else right.get("Set")
    if given is None or not all(set(one) == {"Value"} and isinstance(one["Value"], str) for one in given):
        return False
    names.update(one["Value"] for one in given)
    return True
