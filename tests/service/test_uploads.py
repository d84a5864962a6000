"""Uploads on the documents desk: who may, what becomes of a file, what its name can do, and what is left of it."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import anyio
import httpx2
import pytest

from policies.sessions import csrf_token
from service.operations.run import run
from service.web.application import create_site

LABEL = {"kb": "uploaded", "classification": "internal", "groups": "everyone", "owner": "hr"}
NAMES = ["..", "../../../escaped.md", "/etc/passwd", "C:\\up\\CON", "a\x00b\nc.md", "cod\u202e.fdp", "NUL.md", "~", "n" * 900]


@dataclass
class Uploader:
    """A signed-in steward without a window."""

    client: httpx2.Client
    csrf: str

    def send(self, name: str, body: Any, **label: str) -> httpx2.Response:
        query = {**LABEL, **label, "name": name}
        headers = {"x-csrf-token": self.csrf}
        return self.client.post("/web/documents/uploads?" + urlencode(query), content=body, headers=headers)


@pytest.fixture(scope="module")
def uploader(service: Any, signed_in: Callable[[str], Any]) -> Iterator[Callable[[str], Uploader]]:
    """Signs a person in; what was uploaded is removed at the end."""
    for person, clearance, roles in (("ursa", "internal", ["user", "steward"]), ("upton", "internal", ["user"])):
        asked = {"id": person, "name": person.title(), "clearance": clearance, "groups": [], "roles": roles}
        run(service.data, "people.add", asked)
    yield lambda person: Uploader(signed_in(person).client, signed_in(person).csrf)
    there = documents(service)
    if there:
        run(service.data, "documents.remove", {"ids": [one["id"] for one in there]})
    assert not [path for path in kept(service) if b"uploaded" in path.read_bytes()]


def documents(service: Any) -> list[dict[str, Any]]:
    """What is in the index of the uploads."""
    found: list[dict[str, Any]] = run(service.data, "documents.list", {"kb": "uploaded"})["documents"]
    return found


def kept(service: Any) -> set[Path]:
    """The originals that are kept."""
    folder = service.data / "uploads"
    return set(folder.iterdir()) if folder.is_dir() else set()


def events(service: Any, tag: str) -> list[dict[str, Any]]:
    """The newest records of an event, newest first."""
    found: list[dict[str, Any]] = []
    run(service.data, "audit.list", {"tag": tag, "limit": 10}, emit=lambda event: found.append(dict(event["record"])))
    return found


def test_an_uploaded_file_is_found_downloaded_replaced_and_removed(
    service: Any, uploader: Callable[[str], Uploader], tmp_path: Path
) -> None:
    ursa = uploader("ursa")
    first = b"# Bicycles\n\nBicycles that are uploaded stand in the north yard.\n"
    told = ursa.send("bicycles.md", first).json()
    assert (told["outcome"], told["version"]) == ("indexed", 1)
    found = next(one for one in documents(service) if one["id"] == told["document"])
    assert (found["path"], found["title"], found["groups"], found["owner"]) == ("bicycles.md", "Bicycles", ["everyone"], "hr")
    sent = events(service, "document:uploaded")[0]
    assert (sent["actor"], sent["payload"]["path"], sent["payload"]["size"]) == ("ursa", "bicycles.md", len(first))
    assert sent["payload"]["sha256"] == hashlib.sha256(first).hexdigest()
    added = events(service, "document:added")[0]
    assert (added["actor"], added["payload"]["document"]) == ("ursa", told["document"])
    original = f"/web/sources/{told['document']}/original?version="
    assert ursa.client.get(original + "1").content == first
    # Who has nothing but uploads sees their runs, under a name for people.
    page = ursa.client.get("/documents/runs").text
    assert "Uploaded to uploaded, internal" in page
    assert "upload:" not in page
    assert added["payload"]["run"] in page
    # A prune of another folder leaves it, and so does its own run, which no page begins again.
    folder = tmp_path / "other"
    folder.mkdir()
    rule = '[[rule]]\nglob = "*"\nkb = "uploaded"\nclassification = "internal"\ngroups = ["everyone"]\nowner = "hr"\n'
    (folder / "labels.toml").write_text(rule, encoding="utf-8")
    run(service.data, "ingest", {"folder": str(folder), "prune": True, "confirmed": True})
    assert told["document"] in {one["id"] for one in documents(service)}
    again = ursa.client.post("/web/documents/runs", json={"run": added["payload"]["run"]}, headers={"x-csrf-token": ursa.csrf})
    assert (again.status_code, again.json()["detail"]) == (400, "what was uploaded is not ingested again")
    second = first.replace(b"north", b"south")
    told = ursa.send("bicycles.md", second).json()
    assert (told["outcome"], told["document"], told["version"]) == ("indexed", found["id"], 2)
    assert ursa.client.get(original + "2").content == second
    assert first not in {path.read_bytes() for path in kept(service)}
    gone = {"ids": [found["id"]]}
    assert ursa.client.post("/web/documents/remove", json=gone, headers={"x-csrf-token": ursa.csrf}).status_code == 200
    assert second not in {path.read_bytes() for path in kept(service)}


def test_a_file_that_cannot_be_read_is_quarantined_with_its_reason_and_the_version_before_it_stays(
    service: Any, uploader: Callable[[str], Uploader]
) -> None:
    ursa = uploader("ursa")
    good = b"The lift of the uploaded house is tested in May."
    version = ursa.send("lift.txt", good).json()
    broken = ursa.send("plan.pdf", b"%PDF-1.4 nothing uploaded").json()
    page = ursa.client.get("/documents/quarantine").text
    assert "Uploaded to uploaded, internal" in page
    assert "upload:" not in page
    assert (broken["outcome"], broken["reason"]) == ("quarantined", "damaged")
    assert "not a whole file of its kind" in broken["meaning"]
    page = ursa.client.get("/documents/quarantine").text
    assert "plan.pdf" in page
    assert "No label makes it readable" in page
    refused = service.inhouse(
        *("quarantine", "release", broken["entry"], "--kb", "uploaded", "--classification", "internal"),
        *("--groups", "everyone", "--owner", "hr", "--reason", "it is fine"),
    )
    assert refused.returncode == 2
    assert "cannot be released" in refused.stderr
    worse = ursa.send("lift.txt", b"\x00\xff" * 50).json()
    assert worse["outcome"] == "quarantined"
    original = f"/web/sources/{version['document']}/original?version=1"
    assert ursa.client.get(original).content == good
    retried = service.inhouse("quarantine", "retry", worse["entry"])
    assert retried.returncode == 5, retried.stderr
    assert ursa.send("lift.txt", good + b" And in October.").json()["outcome"] == "indexed"
    assert "lift.txt" not in ursa.client.get("/documents/quarantine").text
    mended = ursa.send("plan.pdf", b"%PDF-1.4 nothing uploaded, again").json()
    assert mended["entry"] == broken["entry"]
    assert len([one for one in kept(service) if one.read_bytes().startswith(b"%PDF-1.4 nothing")]) == 1
    for _ in range(2):
        discarded = ursa.client.post(
            "/web/documents/quarantine/discard", json={"entry": broken["entry"]}, headers={"x-csrf-token": ursa.csrf}
        )
    assert discarded.status_code == 404
    assert events(service, "document:discarded")[0]["payload"]["path"] == "plan.pdf"
    assert not [one for one in kept(service) if one.read_bytes().startswith(b"%PDF-1.4 nothing")]


def test_u2_whatever_a_file_is_called_its_name_is_data(service: Any, uploader: Callable[[str], Uploader]) -> None:
    ursa = uploader("ursa")
    around = {path for path in service.data.parent.rglob("*") if "uploads" not in path.parts and path.suffix in (".md", ".fdp")}
    for number, name in enumerate(NAMES):
        told = ursa.send(name, f"Sentence {number} of an uploaded file.\n".encode()).json()
        assert told["outcome"] in ("indexed", "quarantined"), (name, told)
        assert told["name"].isprintable()
        assert not set(told["name"]) & set("/\\\u202e")
        assert 0 < len(told["name"]) <= 200
        page = ursa.client.get("/documents?kb=uploaded").text
        assert "\u202e" not in page
        if told["outcome"] == "indexed":
            original = ursa.client.get(f"/web/sources/{told['document']}/original?version={told['version']}")
            assert f"Sentence {number} ".encode() in original.content
        else:
            body = {"entry": told["entry"]}
            sent = ursa.client.post("/web/documents/quarantine/discard", json=body, headers={"x-csrf-token": ursa.csrf})
            assert sent.status_code == 200
    assert all(re.fullmatch(r"u-[0-9a-f]{32}", path.name) for path in kept(service))
    now = {path for path in service.data.parent.rglob("*") if "uploads" not in path.parts and path.suffix in (".md", ".fdp")}
    assert now == around


def test_nothing_is_taken_from_who_may_not_put_documents_there(service: Any, uploader: Callable[[str], Uploader]) -> None:
    ursa, before = uploader("ursa"), kept(service)
    secret = {"kb": "board", "classification": "confidential", "groups": "directors", "owner": "board"}
    assert ursa.send("a.md", b"text", **secret).status_code == 403
    assert ursa.send("a.md", b"text", classification="none").status_code == 400
    assert ursa.send("a.md", b"text", groups=" , ").status_code == 400
    assert uploader("upton").send("a.md", b"text").status_code == 404
    assert Uploader(ursa.client, uploader("upton").csrf).send("a.md", b"text").status_code == 403
    with httpx2.Client(base_url=service.url, trust_env=False) as stranger:
        assert Uploader(stranger, "").send("a.md", b"text").status_code == 401
    page = ursa.client.get("/documents/upload?" + urlencode(secret)).text
    assert "you may not put documents into board" in page
    assert 'type="file"' not in page
    assert 'type="file"' not in ursa.client.get("/documents/upload").text
    assert 'type="file"' in ursa.client.get("/documents/upload?" + urlencode(LABEL)).text
    assert kept(service) == before


def test_an_upload_may_be_larger_than_other_requests_and_one_that_breaks_off_leaves_nothing(
    service: Any, uploader: Callable[[str], Uploader]
) -> None:
    ursa = uploader("ursa")
    large = b"A line of a large uploaded file.\n" * 2000
    assert ursa.client.post("/web/documents/remove", content=large).status_code == 413
    assert ursa.send("large.txt", large).json()["outcome"] == "indexed"
    place = "/web/documents/uploads?" + urlencode({**LABEL, "name": "huge.txt"})
    before, indexed = kept(service), {one["path"] for one in documents(service)}
    cookies = "; ".join(f"{name}={value}" for name, value in ursa.client.cookies.items())
    parts = urlsplit(service.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=30) as connection:
        head = f"POST {place} HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: {cookies}\r\nx-csrf-token: {ursa.csrf}\r\n"
        connection.sendall(head.encode() + f"Content-Length: {2**40}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(4096).partition(b"\r\n")[0]
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=30) as connection:
        connection.sendall(head.encode() + b"Content-Length: 100000\r\n\r\n" + b"half of it " * 2000)
        for _ in range(600):
            if kept(service) != before:
                break
            ursa.client.get("/healthz")
        assert kept(service) != before
    for _ in range(600):
        if kept(service) == before:
            break
        ursa.client.get("/healthz")
    assert kept(service) == before
    assert {one["path"] for one in documents(service)} == indexed


def test_no_more_files_come_in_at_once_than_the_setting_says_and_a_place_is_free_again_at_the_end(
    workbench: Callable[..., Any],
) -> None:
    bench = workbench(INHOUSE_INGEST__UPLOAD_FILES="1")
    code = bench("people.link", id="sam")["url"].partition("#")[2]

    async def sent() -> list[httpx2.Response]:
        under_way, rest = anyio.Event(), anyio.Event()
        answers: list[httpx2.Response] = []

        async def slow() -> AsyncIterator[bytes]:
            yield b"The pond is "
            under_way.set()
            await rest.wait()
            yield b"two metres deep."

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(create_site(bench.installation))) as client:

            async def send(name: str, body: Any) -> None:
                place = "http://localhost/web/documents/uploads?" + urlencode({**LABEL, "name": name})
                headers = {"x-csrf-token": csrf_token(client.cookies["inhouse_session"])}
                answers.append(await client.post(place, content=body, headers=headers))

            await client.post("http://localhost/web/sign-in", json={"credential": code})
            async with anyio.create_task_group() as group:
                group.start_soon(send, "first.txt", slow())
                await under_way.wait()
                await send("second.txt", b"The lake is deeper.")
                rest.set()
            await send("second.txt", b"The lake is deeper.")
        return answers

    refused, first, second = anyio.run(sent)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:inhouse:problem:too-many-uploads")
    assert "Upload it again" in refused.json()["hint"]
    assert [one.json()["outcome"] for one in (first, second)] == ["indexed", "indexed"]
    assert len(list((bench.installation.directory / "uploads").iterdir())) == 2


def test_an_upload_that_breaks_off_is_no_fault_of_the_service(workbench: Callable[..., Any]) -> None:
    bench = workbench()
    code = bench("people.link", id="sam")["url"].partition("#")[2]
    site = create_site(bench.installation)
    coming: list[Any] = [{"type": "http.request", "body": b"half of it", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def broken_off() -> None:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(site)) as client:
            await client.post("http://localhost/web/sign-in", json={"credential": code})
            cookie = client.cookies["inhouse_session"]
        query = urlencode({**LABEL, "name": "half.txt"})
        request = httpx2.Request(
            "POST",
            "http://localhost/web/documents/uploads?" + query,
            headers={"cookie": f"inhouse_session={cookie}", "x-csrf-token": csrf_token(cookie), "content-length": "100"},
        )
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/web/documents/uploads"}
        scope |= {"query_string": query.encode(), "headers": headers, "client": ("127.0.0.1", 1), "server": ("localhost", 80)}
        # What a server takes for a fault is raised here, whatever was answered.
        await site(scope, receive, send)

    anyio.run(broken_off)
    assert sent[0]["status"] == 400
    assert b"broke off" in sent[1]["body"]
    assert not list((bench.installation.directory / "uploads").iterdir())
