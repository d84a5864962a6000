"""What a document is: its label, and the part of the label that decides who may read it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

import rfc8785

AccessClassId = NewType("AccessClassId", str)


@dataclass(frozen=True, slots=True)
class AccessClass:
    """The part of a label from which access is computed; equal parts are one class, however many documents it has.

    `kb` is the knowledge base, `classification` a name of the ordered classifications in settings, `groups` the groups
    that may read (never empty; `everyone` stands for all), `owner` the id of the person or team that answers for it.
    `id` is a stable name: SHA-256 over the RFC 8785 form of the other fields, 128 bits of it in hex.
    """

    kb: str
    classification: str
    groups: frozenset[str]
    owner: str
    id: AccessClassId = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not (self.kb and self.classification and self.groups and self.owner and all(self.groups)):
            raise ValueError("a label needs kb, classification, at least one group, and owner, none of them empty")
        form = {"kb": self.kb, "classification": self.classification, "groups": sorted(self.groups), "owner": self.owner}
        digest = hashlib.sha256(rfc8785.dumps(form)).hexdigest()
        object.__setattr__(self, "id", AccessClassId("ac-" + digest[:32]))


class Origin(StrEnum):
    """What said a label: the folder's rules, a file beside the document, the owner, group and mode of its file, or a person."""

    OVERRIDE = "override"
    POSIX = "posix"
    RULES = "rules"
    SIDECAR = "sidecar"


@dataclass(frozen=True, slots=True)
class Label:
    """What is said of a document, and by what. Only `access` decides who may read it; `purpose` (what it is kept for) and
    `retention` (the class that says how long) stand beside it, empty where nothing is said. Labels that say the same are
    equal, whatever said them."""

    access: AccessClass
    purpose: str = ""
    retention: str = ""
    origin: Origin = field(default=Origin.RULES, compare=False)

    def as_text(self) -> str:
        """The label as RFC 8785 JSON: what the catalog's history and the audit log keep."""
        form = {
            "kb": self.access.kb,
            "classification": self.access.classification,
            "groups": sorted(self.access.groups),
            "owner": self.access.owner,
            "purpose": self.purpose,
            "retention": self.retention,
            "origin": str(self.origin),
        }
        return rfc8785.dumps(form).decode()

    @classmethod
    def from_text(cls, text: str) -> Label:
        """Reads what `as_text` wrote."""
        said = json.loads(text)
        access = AccessClass(said["kb"], said["classification"], frozenset(said["groups"]), said["owner"])
        return cls(access, said["purpose"], said["retention"], Origin(said["origin"]))


@dataclass(frozen=True, slots=True)
class LabelNames:
    """Which purposes and retention classes labels may name; None: any."""

    purposes: Collection[str] | None = None
    retention_classes: Collection[str] | None = None

    def problem(self, purpose: str, retention: str) -> str | None:
        """What is wrong with these names, or None; an empty one says nothing and is always good."""
        for what, name, known in (
            ("purpose", purpose, self.purposes),
            ("retention class", retention, self.retention_classes),
        ):
            if name and known is not None and name not in known:
                return f"unknown {what} {name!r}; the settings know {', '.join(known) or 'none'}"
        return None


ANY_NAMES = LabelNames()
"""The settings name no purposes and no retention classes."""
