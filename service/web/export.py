"""A conversation as a file to keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.responses import Response

from service.conversations.store import Conversation, Turn
from service.web.rendering import texts
from service.web.turns import Standing

FORM = 1
"""The version of the JSON form."""


def exported(conversation: Conversation, turns: Sequence[Turn], now: Standing, form: str) -> Response:
    """The file, to be saved and not shown by the browser. The answers of the withheld turns are left out and said to be."""
    if form == "json":
        body, kind = json.dumps(_as_json(conversation, turns, now), ensure_ascii=False, indent=2), "application/json"
    else:
        body, kind = "\n".join(_as_markdown(conversation, turns, now)), "text/markdown; charset=utf-8"
    name = re.sub(r"[^a-z0-9]+", "-", conversation.title.lower()).strip("-")[:50] or "conversation"
    headers = {"content-disposition": f'attachment; filename="{name}.{form}"'}
    return Response(body, media_type=kind, headers=headers)


def _as_json(conversation: Conversation, turns: Sequence[Turn], now: Standing) -> dict[str, Any]:
    return {
        "version": FORM,
        "id": conversation.id,
        "title": conversation.title,
        "kb": conversation.kb,
        "classification": now.classification(turns),
        "created": conversation.created,
        "turns": [
            {
                "question": one.question,
                "asked": one.asked,
                "outcome": one.outcome,
                "withheld": one.number in now.withheld,
                "answer": None if one.number in now.withheld else one.answer,
            }
            for one in turns
        ],
    }


def _as_markdown(conversation: Conversation, turns: Sequence[Turn], now: Standing) -> Iterator[str]:
    yield f"# {conversation.title}"
    if classification := now.classification(turns):
        yield from ("", f"**{texts()['chat']['classified']}: {classification}**")
    for one in turns:
        yield from ("", f"## {' '.join(one.question.split())}", "", f"_{one.asked}_", "")
        if one.number in now.withheld:
            yield str(texts()["turn"]["withheld"])
            continue
        yield str(one.answer.get("answer") or texts()["turn"][one.outcome])
        for cited in one.answer.get("citations", ()):
            page = f", {texts()['source']['page']} {cited['page']}" if cited.get("page") else ""
            yield from ("", f"[{cited['number']}] {cited['title']}{page} ({cited['path']}, version {cited['version']}):", "")
            yield from (f"> {line}" for line in str(cited["quote"]).splitlines())
    yield ""
