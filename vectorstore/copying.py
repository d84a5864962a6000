"""A live document as a draft under another label, with the vectors that it has."""

from __future__ import annotations

import numpy as np

from policies.labels import Label
from vectorstore.catalog import Catalog
from vectorstore.dense.chroma import ChromaVectors
from vectorstore.types import Document, DocumentDraft, PassageDraft, Vectors


def copied(
    catalog: Catalog, vectors: ChromaVectors, found: Document, label: Label, dimension: int
) -> tuple[DocumentDraft, Vectors]:
    """The document as it would be put in anew under that label; nothing is parsed or embedded."""
    text, pages = catalog.text(found.id)
    passages = catalog.passages_of(found.id)
    kept = vectors.get(found.access.kb, [one.id for one in passages])
    draft = DocumentDraft(
        source=found.source,
        path=found.path,
        title=found.title,
        media_type=found.media_type,
        content_sha256=found.content_sha256,
        size=found.size,
        modified_ns=found.modified_ns,
        access=label.access,
        text=text,
        pages=pages,
        passages=tuple(PassageDraft(one.start, one.end, one.text, one.page, one.heading) for one in passages),
        metadata=found.metadata,
        purpose=label.purpose,
        retention=label.retention,
        origin=label.origin,
    )
    rows = [kept[one.id] for one in passages]
    return draft, np.stack(rows) if rows else np.empty((0, dimension), np.float32)
