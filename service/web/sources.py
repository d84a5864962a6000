"""What a number in an answer leads to: the passage in its document, the page as a picture, the original file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from ingest.uploads import Uploads
from policies.access.actions import Action
from policies.audit.events import EventTag
from policies.errors import NotFoundError
from policies.identity import Principal
from service.api.state import Shared
from service.operations.documents import LastLook, scope_for
from service.operations.originals import original_file
from service.web.rendering import fragment
from service.web.visiting import Visiting
from service.wiring import Installation
from vectorstore.types import Document, DocumentId, Page

router = APIRouter(tags=["pages"], include_in_schema=False)
AROUND = 1500
"""Characters shown before and after what is cited."""

Place = Annotated[int, Query(ge=0)]


@router.get("/web/sources/{document}")
async def source(document: str, visitor: Visiting, shared: Shared, version: int, start: Place, end: Place) -> Response:
    """The cited words in their document, marked. Whoever may retrieve the document and not open it sees the passages that
    hold them; a document that is forbidden looks like one that is absent."""
    told = await anyio.to_thread.run_sync(
        _told, shared.installation, visitor.principal, DocumentId(document), version, (start, end)
    )
    return HTMLResponse(fragment("source.html", **told))


def _told(
    installation: Installation, principal: Principal, document: DocumentId, version: int, cited: tuple[int, int]
) -> dict[str, Any]:
    look = LastLook(installation, principal)
    readable = scope_for(installation, principal, Action.RETRIEVE)
    found = installation.store.document(readable, document)
    openable = found.access.id in scope_for(installation, principal, Action.OPEN).classes
    passages = installation.store.passages(readable, document)
    start, end = cited
    passage = next((one for one in passages if one.start <= start < one.end), None)
    page, heading = (passage.page, passage.heading) if passage is not None else (None, ())
    if found.version != version or passage is None:
        before, marked, after = "", "", ""
    elif openable:
        text, pages = installation.store.document_text(readable, document)
        before, marked, after = _around(text, pages, start, end)
    else:
        ends = max(passage.end, *(one.end for one in passages if one.start < end))
        held = "".join(one.text for one in passages if passage.start <= one.start < ends)
        before, marked, after = held[: start - passage.start], held[start - passage.start : end - passage.start], ""
    installation.audit.append(
        EventTag.DOCUMENT_VIEWED,
        principal.id,
        {"document": found.id, "version": found.version, "path": found.path, "text": bool(marked)},
    )
    look.require(Action.OPEN if openable else Action.RETRIEVE, found.id)
    return {
        "document": found,
        "page": page,
        "heading": heading,
        "changed": found.version != version,
        "openable": openable,
        "pictured": openable and found.media_type == "application/pdf" and page is not None and found.version == version,
        "cited": cited,
        "passage": Markup("{}<mark>{}</mark>{}").format(before, marked, after) if marked else None,
    }


def _around(text: str, pages: Sequence[Page], start: int, end: int) -> tuple[str, str, str]:
    """What stands before, in and after the cited span: on its page where there are pages, else as far as AROUND."""
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    on = next((page for page in pages if page.start <= start < page.end), None)
    if on is not None:
        first, last = max(first, on.start), max(end, min(last, on.end))
    return text[first:start], text[start:end], text[end:last]


@router.get("/web/sources/{document}/original")
async def original(document: str, visitor: Visiting, shared: Shared, version: int) -> Response:
    """The file that was indexed, to be saved and not shown: a page of somebody else's would else run as one of ours. Raises
    NotFoundError where it is no longer there or has changed since."""

    def read() -> Response:
        installation, principal = shared.installation, visitor.principal
        look = LastLook(installation, principal)
        found = openable_document(installation, principal, DocumentId(document))
        body = unchanged(found, version, installation.runs.uploads).read_bytes()
        told = {"document": found.id, "version": found.version, "path": found.path}
        installation.audit.append(EventTag.DOCUMENT_DOWNLOADED, principal.id, told)
        look.require(Action.OPEN, found.id)
        name = quote(Path(found.path).name)
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(body, media_type="application/octet-stream", headers=headers)

    return await anyio.to_thread.run_sync(read)


@router.get("/web/sources/{document}/picture")
async def picture(document: str, visitor: Visiting, shared: Shared, version: int, start: Place, end: Place) -> Response:
    """The page of a PDF that holds the cited words, as a PNG with the words marked. Raises NotFoundError where there is no
    such page, or the file has changed since, and PictureRefused where it cannot be drawn."""

    def draw() -> Response:
        installation, principal = shared.installation, visitor.principal
        look = LastLook(installation, principal)
        found = openable_document(installation, principal, DocumentId(document))
        text, pages = installation.store.document_text(scope_for(installation, principal, Action.OPEN), found.id)
        on = next((page for page in pages if page.start <= start < page.end), None)
        if on is None or found.media_type != "application/pdf":
            raise NotFoundError("there is no picture of this page", hint="Its text is shown beside the answer.")
        path = unchanged(found, version, installation.runs.uploads)
        words = text[start : min(end, on.end)]
        before = text[on.start : start].count(words)
        drawn = installation.pictures.render(path, on.number, words, before=before)
        told = {"document": found.id, "version": found.version, "path": found.path, "page": on.number}
        installation.audit.append(EventTag.DOCUMENT_DOWNLOADED, principal.id, told)
        look.require(Action.OPEN, found.id)
        return Response(drawn.png, media_type="image/png", headers={"x-marked-words": str(drawn.marked)})

    return await anyio.to_thread.run_sync(draw)


def unchanged(document: Document, version: int, uploads: Uploads) -> Path:
    """The file that a version of a document was made from; raises NotFoundError where it is gone or has changed since."""
    gone = NotFoundError("the original is no longer there as it was indexed", hint="Its text is still shown beside the answer.")
    path = original_file(uploads, document)
    if document.version != version or path is None:
        raise gone
    try:
        state = path.stat()
        same = _sha256(path, state.st_ino, state.st_size, state.st_mtime_ns) == document.content_sha256
    except OSError:
        raise gone from None
    if not same:
        raise gone
    return path


@lru_cache(maxsize=512)
def _sha256(path: Path, inode: int, size: int, modified_ns: int) -> str:
    """Of a file that is in that state: a reader who turns many pages of a large one has it read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def openable_document(installation: Installation, principal: Principal, document: DocumentId) -> Document:
    """A document that the principal may open; raises NotFoundError for absent and forbidden alike."""
    try:
        return installation.store.document(scope_for(installation, principal, Action.OPEN), document)
    except NotFoundError:
        raise NotFoundError(f"there is no document {document!r}", hint="It may have been removed.") from None
