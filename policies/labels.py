"""What a document is: its label, and the part of the label that decides who may read it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NewType

import rfc8785

AccessClassId = NewType("AccessClassId", str)


@dataclass(frozen=True, slots=True)
class AccessClass:
    """The part of a label from which access is computed; equal parts are one class, however many documents it has.

    `kb` is the knowledge base, `classification` a name of the ordered classifications in settings, `groups` the groups
    that may read (never empty; `everyone` stands for all), `owner` the id of the person or team that answers for it.
    """

    kb: str
    classification: str
    groups: frozenset[str]
    owner: str

    def __post_init__(self) -> None:
        if not (self.kb and self.classification and self.groups and self.owner and all(self.groups)):
            raise ValueError("a label needs kb, classification, at least one group, and owner, none of them empty")

    @property
    def id(self) -> AccessClassId:
        """A stable name: SHA-256 over the RFC 8785 form of the fields, 128 bits of it in hex."""
        form = {"kb": self.kb, "classification": self.classification, "groups": sorted(self.groups), "owner": self.owner}
        return AccessClassId("ac-" + hashlib.sha256(rfc8785.dumps(form)).hexdigest()[:32])


@dataclass(frozen=True, slots=True)
class Label:
    """What a rule says of a document. Only `access` decides who may read it."""

    access: AccessClass
