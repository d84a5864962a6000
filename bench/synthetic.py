"""A store of any size for measuring search: real passages first, then made ones with like words and like vectors.

A made passage takes whole sentences of two real ones of the same set, so its words are distributed as in real text, and its
vector is the mean of theirs by the share taken, moved a little. Nothing but the real passages goes through the model.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencex
from datasets import data_folder, lines

from ingest.chunking import PassageParser
from policies.labels import AccessClass
from vectorstore.context import context_text
from vectorstore.embedders.interface import Embedder
from vectorstore.store import Store
from vectorstore.types import Document, DocumentDraft, PassageDraft, Vectors

SETS = {"squad2_dev": 1, "hotpotqa100": 1, "scifact": 2}
"""Each n-th document of a set is taken."""

PASSAGES_OF_A_DOCUMENT = 8
_NOISE = 0.5
"""Length of the random vector that is added: a made passage's cosine to what it was made from is about .8, as between
passages about one subject."""

_BATCH = 4000


@dataclass(frozen=True)
class Passages:
    """Texts with title, document number and one vector each. Passages of one document lie together."""

    titles: Sequence[str]
    texts: Sequence[str]
    documents: Sequence[int]
    sets: Sequence[int]
    vectors: Vectors


def real(work: Path, embedder: Embedder, every: int = 1) -> Passages:
    """The passages of the public sets, or of each `every`-th of their documents, as the product cuts and embeds them; vectors
    are kept in `work` for the next run."""
    parser = PassageParser(count=embedder.count)
    titles, texts, documents, sets = [], [], [], []
    for place, (name, step) in enumerate(SETS.items()):
        for one in lines(data_folder() / name / "corpus.jsonl")[:: step * every]:
            number = documents[-1] + 1 if documents else 0
            for draft in parser.drafts(str(one["text"]), ()):
                titles.append(str(one["title"]))
                texts.append(draft.text)
                documents.append(number)
                sets.append(place)
    embedded = [context_text(title, (), text) for title, text in zip(titles, texts, strict=True)]
    key = hashlib.sha256("\0".join([embedder.fingerprint.as_text(), *embedded]).encode()).hexdigest()[:16]
    kept = work / f"vectors-{key}.npy"
    if not kept.exists():
        np.save(kept, embedder.embed(embedded))
    return Passages(titles, texts, documents, sets, np.load(kept))


def passages(size: int, base: Passages, seed: int = 7, each: int = PASSAGES_OF_A_DOCUMENT) -> Passages:
    """That many passages: the real ones, as far as they are wanted, then made ones, so many to each document."""
    random = np.random.default_rng(seed)
    count = min(size, len(base.texts))
    titles, texts = list(base.titles[:count]), list(base.texts[:count])
    documents, sets = list(base.documents[:count]), list(base.sets[:count])
    sentences = [list(sentencex.segment("en", text)) for text in base.texts]
    of_set = [np.flatnonzero(np.asarray(base.sets) == place) for place in range(len(SETS))]
    vectors = np.empty((size, base.vectors.shape[1]), np.float32)
    vectors[:count] = base.vectors[:count]
    for row in range(count, size):
        first = int(random.integers(len(base.texts)))
        second = int(random.choice(of_set[base.sets[first]]))
        share = random.uniform(0.3, 0.9)
        titles.append(base.titles[first])
        texts.append(_mixed(sentences[first], sentences[second], share, random))
        documents.append(documents[count - 1] + 1 + (row - count) // each)
        sets.append(base.sets[first])
        noise = random.standard_normal(vectors.shape[1])
        vector = share * base.vectors[first] + (1 - share) * base.vectors[second] + _NOISE * noise / np.linalg.norm(noise)
        vectors[row] = vector / np.linalg.norm(vector)
    return Passages(titles, texts, documents, sets, vectors)


def _mixed(first: Sequence[str], second: Sequence[str], share: float, random: np.random.Generator) -> str:
    taken = [one.strip() for one in first if random.random() < share] or [first[0].strip()]
    taken += [one.strip() for one in second if random.random() > share]
    return " ".join(one for one in taken if one)


def equal_classes(count: int, documents: Sequence[int]) -> list[int]:
    """The class of each passage, one for a document, each with as many documents as any other."""
    return [one % count for one in documents]


def zipf_classes(count: int, documents: Sequence[int], exponent: float = 1.0, seed: int = 11) -> list[int]:
    """The class of each passage, one for a document: the k-th is 1 / k^exponent as large as the first, and none is empty.

    Raises ValueError where there are fewer documents than classes.
    """
    random = np.random.default_rng(seed)
    there = documents[-1] + 1
    weights = 1 / np.arange(1, count + 1) ** exponent
    drawn = random.choice(count, size=there - count, p=weights / weights.sum())
    of_document = random.permutation(np.concatenate([np.arange(count), drawn]))
    return [int(of_document[one]) for one in documents]


def access_class(number: int) -> AccessClass:
    """The access class that stands for a number."""
    return AccessClass("bench", "internal", frozenset({f"group-{number:04}"}), "bench")


def fill(store: Store, made: Passages, numbers: Sequence[int], source: str = "bench") -> list[Document]:
    """Commits everything, some thousands of passages at a time; the documents. A document's path is the row of its first
    passage."""
    done: list[Document] = []
    batch: list[tuple[DocumentDraft, Vectors]] = []
    rows = 0
    for first, last in _documents(made.documents):
        draft = _draft(made, first, last, access_class(numbers[first]), source)
        batch.append((draft, made.vectors[first:last]))
        rows += last - first
        if rows >= _BATCH:
            done += store.commit(batch)
            batch, rows = [], 0
    return done + (store.commit(batch) if batch else [])


def _documents(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(np.asarray(numbers))) + 1).tolist(), len(numbers)]
    yield from itertools.pairwise(edges)


def _draft(made: Passages, first: int, last: int, access: AccessClass, source: str) -> DocumentDraft:
    drafts, text = [], ""
    for row in range(first, last):
        start = len(text)
        text += made.texts[row] + "\n\n"
        drafts.append(PassageDraft(start, start + len(made.texts[row]), made.texts[row], None))
    return DocumentDraft(
        source=source,
        path=str(first),
        title=made.titles[first],
        media_type="text/plain",
        content_sha256=hashlib.sha256(text.encode()).hexdigest(),
        size=len(text),
        modified_ns=0,
        access=access,
        text=text,
        pages=(),
        passages=tuple(drafts),
    )
