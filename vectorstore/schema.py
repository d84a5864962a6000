"""What is stamped on an index, and the refusal of one with another stamp."""

from __future__ import annotations

import secrets
from pathlib import Path

from policies.errors import IndexMismatch
from vectorstore.catalog import Catalog
from vectorstore.types import IndexFingerprint

FORM = "2"
"""The version of how catalog, vectors and words lie together; an unknown one is refused."""


def stamp(catalog: Catalog, fingerprint: IndexFingerprint, directory: Path) -> None:
    """Stamps a new catalog; raises IndexMismatch for one that carries another stamp."""
    if catalog.properties():
        check(catalog, fingerprint, directory)
        return
    with catalog.writing() as connection:
        catalog.set_property(connection, "form", FORM)
        catalog.set_property(connection, "fingerprint", fingerprint.as_text())
        catalog.set_property(connection, "generation", secrets.token_hex(8))


def check(catalog: Catalog, fingerprint: IndexFingerprint, directory: Path) -> None:
    """Raises IndexMismatch unless the catalog carries this form and this embedder's fingerprint."""
    said = catalog.properties()
    if said.get("form") != FORM:
        raise IndexMismatch(
            f"the index in {directory} has the form {said.get('form')}, and this version knows form {FORM}",
            hint="Use the version that wrote it, or index again into a new directory: "
            "inhouse init --data NEW && inhouse ingest FOLDER --data NEW",
        )
    if said.get("fingerprint") != fingerprint.as_text():
        raise IndexMismatch(
            f"the index in {directory} holds vectors of {said.get('fingerprint')}, not of {fingerprint.as_text()}",
            hint="Set the embedder back, or index again into a new directory: "
            "inhouse init --data NEW && inhouse ingest FOLDER --data NEW",
        )
