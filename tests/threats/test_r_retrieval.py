"""Retrieval: what a person may not read is absent, whatever they name, write or send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from policies.access.scope import AccessScope, UnsafeEverything
from policies.audit.query import record
from policies.credentials import KeyStore
from policies.errors import AuthenticationRequired, NotFoundError
from policies.labels import AccessClass
from policies.people import PeopleStore
from vectorstore.embedders.hashing import HashingEmbedder
from vectorstore.search import Search
from vectorstore.store import Store
from vectorstore.types import DocumentDraft, PassageDraft

SECRET_WORDS = ("Tannhof", "merger", "48 million", "board/")


@pytest.fixture(scope="module")
def secrets(service: Any) -> list[str]:
    """Every name under which the forbidden document is known somewhere."""
    headers = {"Authorization": f"Bearer {service.keys['dora']}"}
    listed = httpx2.get(f"{service.url}/v1/documents", headers=headers, trust_env=False).json()["documents"]
    secret = next(one for one in listed if one["path"] == "board/merger.md")
    access = AccessClass("board", "confidential", frozenset({"directors"}), "board")
    return [secret["id"], secret["sha256"], access.id, "board", "board/", "board/merger.md"]


FOREIGN = {
    "collection": "kb-00",
    "collection_name": "board",
    "class": 2,
    "access_class": "x",
    "scope": ["board"],
    "filter": {"kb": "board"},
    "where": {"kb": {"$ne": ""}},
    "groups": ["directors"],
    "clearance": "confidential",
    "as_person": "dora",
    "principal": {"id": "dora"},
    "user": "dora",
    "metadata": {"groups": ["directors"]},
    "index": "board",
}


@pytest.mark.parametrize("field", FOREIGN)
def test_r1_no_route_takes_a_collection_a_class_or_a_filter(service: Any, calls: Any, send: Any, field: str) -> None:
    for call in calls:
        one = call.about("handbook")
        mark = "&" if "?" in one.path else "?"
        path = f"{one.path}{mark}{field}={json.dumps(FOREIGN[field])}"
        body = {**one.body, field: FOREIGN[field]} if one.body is not None else None
        told = send(service, type(one)(one.method, one.route, path, body, one.key), service.keys["ana"])
        assert told.status_code in (200, 400, 403, 404)
        if told.status_code == 200 and one.route not in ("/docs", "/openapi.json"):
            assert not [word for word in SECRET_WORDS if word in told.text], (one, told.text)


OWN_RULES = """
[[rule]]
glob = "{glob}"
kb = "{kb}"
classification = "internal"
groups = ["everyone"]
owner = "{owner}"
"""


@pytest.mark.parametrize(
    ("glob", "owner"), [("*", "hr"), ("*", "stew"), ("/board/*", "stew"), ("/merger.md", "stew")], ids=lambda value: str(value)
)
def test_r2_labels_of_one_s_own_move_no_document_to_where_one_may_read_it(
    service: Any, indexed: Any, tmp_path: Path, glob: str, owner: str
) -> None:
    _, folder, _ = indexed
    if service.inhouse("people", "show", "stew").returncode:
        service.inhouse(
            *("people", "add", "stew", "--name", "Stew", "--clearance", "internal", "--role", "user", "--role", "steward")
        )

    def readable() -> Any:
        return json.loads(service.inhouse("documents", "list", "--as", "stew", "--json").stdout)["documents"]

    before = readable()
    assert {one["path"] for one in before} == {"leave.md", "travel.md"}
    (tmp_path / "own.toml").write_text(OWN_RULES.format(glob=glob, kb="handbook", owner=owner))
    done = service.inhouse("ingest", str(folder), "--labels", str(tmp_path / "own.toml"), "--as", "stew")
    assert done.returncode == 9, done.stdout + done.stderr
    assert readable() == before


def test_r2_no_sequence_of_requests_enlarges_what_one_may_read(
    service: Any, calls: Any, send: Any, client: httpx2.Client, secrets: list[str]
) -> None:
    headers = {"Authorization": f"Bearer {service.keys['ana']}"}

    def readable() -> Any:
        return client.get(f"{service.url}/v1/documents", headers=headers).json()

    before = readable()
    for name in secrets:
        for call in calls:
            send(service, call.about(name), service.keys["ana"])
            for method in ("PUT", "PATCH", "DELETE", "POST"):
                if (method, call.route) not in {(one.method, one.route) for one in calls}:
                    wider = {"kb": "handbook", "groups": ["everyone"]}
                    told = client.request(method, service.url + call.about(name).path, json=wider, headers=headers)
                    assert told.status_code in (404, 405)
    assert readable() == before


NASTY = [
    "' OR '1'='1",
    "'; DROP TABLE document; --",
    '" OR ""="',
    ") OR (1=1",
    "%",
    "_",
    "\\",
    "*",
    "?",
    "[a-z]",
    '{"$ne": null}',
    "$where: 1",
    "class:1 OR id:[0 TO 9]",
    "text:board^9 AND NOT x",
    "board~2",
    "+board -x",
    "../../board",
    "board\x00",
    "BOARD",
    "ｂｏａｒｄ",
    ":classes",
    "{0}{id}%s%d",
]


@pytest.mark.parametrize("text", NASTY)
def test_r5_quotes_and_operators_are_data_on_every_route(service: Any, calls: Any, send: Any, text: str) -> None:
    for call in calls:
        if (one := call.about(text)) == call:
            continue
        told = send(service, one, service.keys["ana"])
        assert told.status_code in (200, 400, 404), (one, told.text)
        assert not [word for word in SECRET_WORDS if word in told.text.replace(text, "")], (one, told.text)
        if told.status_code == 200 and "prefix" in one.path:
            assert told.json()["documents"] == []
    found = httpx2.post(
        f"{service.url}/v1/search",
        json={"text": text + " Tannhof", "limit": 100},
        headers={"Authorization": f"Bearer {service.keys['ana']}"},
        trust_env=False,
    )
    assert not [word for word in SECRET_WORDS if word in found.text]


@pytest.fixture(scope="module")
def nasty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Search]]:
    """A store whose every name, path, group, owner and text is an attack."""
    embedder = HashingEmbedder()
    directory = tmp_path_factory.mktemp("n")
    Store.create(directory, embedder.fingerprint)
    store = Store.open(directory, embedder.fingerprint)
    batch = []
    for text in NASTY:
        access = AccessClass(text, "internal", frozenset({text}), text)
        passage = PassageDraft(0, len(text) + 6, f"{text} board", None)
        draft = DocumentDraft(
            source=text,
            path=text,
            title=text,
            media_type="text/plain",
            content_sha256="0" * 64,
            size=1,
            modified_ns=1,
            access=access,
            text=passage.text,
            pages=(),
            passages=(passage,),
            metadata={text: text},
        )
        batch.append((draft, np.asarray(embedder.embed([passage.text]))))
    store.commit(batch)
    yield store, Search(store, embedder)
    store.close()


@pytest.mark.parametrize("text", NASTY)
def test_r5_quotes_and_operators_are_data_in_every_index(nasty_store: tuple[Store, Search], text: str) -> None:
    store, search = nasty_store
    everything = UnsafeEverything("the test compares with all that is there")
    own = AccessScope("x", frozenset({AccessClass(text, "internal", frozenset({text}), text).id}), "hash")
    assert [one.path for one in store.documents(own)] == [text]
    assert [one.path for one in store.documents(everything, kb=text)] == [text]
    assert [one.path for one in store.documents(everything, prefix=text)] == [one for one in NASTY if one.startswith(text)]
    assert list(store.known(text)) == [text]
    assert [hit.passage.path for hit in search.search(f"{text} board", own, limit=50).hits] == [text]
    assert [hit.passage.path for hit in search.search(f"{text} board", everything, limit=50, kb=text).hits] == [text]
    foreign = AccessScope("x", frozenset({AccessClass("none", "internal", frozenset({"none"}), "none").id}), "hash")
    assert search.search(text, foreign, limit=50).hits == []
    with pytest.raises(NotFoundError):
        store.document(everything, text)  # type: ignore[arg-type]
    assert len(store.documents(everything)) == len(NASTY)


@pytest.mark.parametrize("text", NASTY)
def test_r5_quotes_and_operators_are_data_among_people_keys_and_records(service: Any, text: str) -> None:
    people = PeopleStore(service.data / "people.db")
    try:
        with pytest.raises(NotFoundError):
            people.show(text)
        with pytest.raises(NotFoundError):
            KeyStore(people).show(text)
        with pytest.raises(AuthenticationRequired):
            KeyStore(people).authenticate("ih_" + text)
        with pytest.raises(NotFoundError):
            record(service.data / "audit", text)
        assert people.list()
    finally:
        people.close()
