"""What a document is: its label, and the part of the label that decides who may read it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Label:
    """What a rule says of a document. Only `access` decides who may read it."""

    access: AccessClass
