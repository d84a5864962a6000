"""What is stamped on an index, and who is turned away by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.errors import IndexMismatch
from vectorstore.catalog import Catalog
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.store import Store

FINGERPRINT = HashingEmbedder().fingerprint


def test_an_index_of_an_unknown_form_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Store.create(tmp_path, FINGERPRINT)
    catalog = Catalog(tmp_path / "catalog.db")
    with catalog.writing() as connection:
        catalog.set_property(connection, "form", "999")
    catalog.close()
    for use in (Store.open, Store.create):
        with pytest.raises(IndexMismatch, match="form 999") as caught:
            use(tmp_path, FINGERPRINT)
        assert "inhouse init --data NEW" in caught.value.hint


def test_making_an_index_again_keeps_its_stamp_and_another_embedders_is_refused(tmp_path: Path) -> None:
    def stamped() -> dict[str, str]:
        catalog = Catalog(tmp_path / "catalog.db")
        found = catalog.properties()
        catalog.close()
        return found

    Store.create(tmp_path, FINGERPRINT)
    first = stamped()
    assert first["fingerprint"] == FINGERPRINT.as_text()
    Store.create(tmp_path, FINGERPRINT)
    assert stamped() == first
    with pytest.raises(IndexMismatch, match="dimension=64"):
        Store.create(tmp_path, HashingEmbedder(32).fingerprint)
    assert stamped() == first
