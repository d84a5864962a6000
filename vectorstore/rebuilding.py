"""What is derived from the catalog and the vectors, made anew where it is not there or not of this state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from vectorstore.catalog import Catalog
from vectorstore.catalog_rows import DEAD, LIVE
from vectorstore.dense.chroma import ChromaVectors
from vectorstore.dense.exact import ExactVectors
from vectorstore.lexical.postings import PostingsIndex

_REBUILT = 5_000
"""Passages whose words are counted at a time when they are counted anew."""


def rebuild_words(catalog: Catalog, lexical: PostingsIndex) -> None:
    """Counts the words of everything that is live or not yet dropped."""
    entries = catalog.entries([LIVE, DEAD])
    while some := list(itertools.islice(entries, _REBUILT)):
        lexical.add([(entry.id, entry.class_number, entry.text) for entry in some])
        lexical.commit()


def rebuild_exact(catalog: Catalog, vectors: ChromaVectors, exact: ExactVectors, kbs: Sequence[str]) -> None:
    """Reads the vectors of everything that is live or not yet dropped into the matrix."""
    number_of = {entry.id: entry.class_number for entry in catalog.entries([LIVE, DEAD])}
    for kb in kbs:
        for ids, found in vectors.all(kb):
            kept = [row for row, one in enumerate(ids) if one in number_of]
            exact.add([ids[row] for row in kept], [number_of[ids[row]] for row in kept], found[kept])
