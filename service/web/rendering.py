"""Pages out of templates and texts, and answers out of Markdown: nothing in them loads or runs by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ingest.uploads import is_upload, label_in
from policies.errors import InhouseError
from policies.identity import Role
from service.web.visiting import Visitor

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types inhouse"
)
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
_TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong"),
    *("table", "tbody", "td", "th", "thead", "tr", "ul"),
}


def page(template: str, /, status: int = 200, **values: Any) -> HTMLResponse:
    """One page, with the headers that a page needs."""
    html = _environment().get_template(template).render(texts=texts(), **values)
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "permissions-policy": _PERMISSIONS}
    return HTMLResponse(html, status, headers)


def desk_page(template: str, desk: str, visitor: Visitor, /, **values: Any) -> HTMLResponse:
    """A page with the head that every desk has: the desks that the visitor's roles open, and the way out."""
    desks = [(path, texts()["nav"][name]) for path, name in _desks(visitor)]
    return page(template, visitor=visitor, desk=desk, desks=desks, **values)


def problem_page(error: InhouseError, request: Request, visitor: Visitor | None) -> HTMLResponse:
    """What went wrong, and a way back: to the visitor's desk that the request was for, to the questions from elsewhere and
    where the desk itself is what failed, and to the sign-in for who is not signed in."""
    back = ("/", "chat") if visitor else ("/sign-in", "sign_in")
    for path, name in _desks(visitor)[1:] if visitor else ():
        if request.url.path.startswith(f"{path}/") or (request.url.path == path and request.url.query):
            back = (path, name)
    return page("problem.html", error.http_status, message=error.message, hint=error.hint, back=back)


def _desks(visitor: Visitor) -> list[tuple[str, str]]:
    """The paths and names of the desks that are there for the visitor."""
    steward = Role.STEWARD in visitor.principal.roles
    open_to = ((True, "/", "chat"), (steward, "/documents", "documents"), (visitor.may_audit, "/audit", "audit"))
    return [(path, name) for is_open, path, name in open_to if is_open]


def fragment(template: str, /, **values: Any) -> str:
    """A part of a page."""
    return _environment().get_template(template).render(texts=texts(), **values)


def rendered(text: str) -> str:
    """HTML of an answer's Markdown: no raw HTML, no images; a link shows where it leads and names no page of ours."""
    import nh3

    html: str = nh3.clean(
        _markdown().render(text),
        tags=_TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return html


@cache
def texts(language: str = "en") -> Mapping[str, Any]:
    """Every text of the pages, from the catalogue of that language."""
    found: dict[str, Any] = json.loads((files("service.web") / "texts" / f"{language}.json").read_text(encoding="utf-8"))
    return found


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("service.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["data"] = _data
    made.filters["source_name"] = _source_name
    return made


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    # NOTE: Raw HTML would be cleaned below as well; off, it is shown as the text that it is.
    made = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").enable("strikethrough").disable("image")
    # A relative address would lead into these pages, with the reader's rights.
    made.validateLink = lambda url: url.lower().startswith(("http://", "https://", "mailto:"))  # type: ignore[method-assign]
    made.core.ruler.push("destinations", _show_destinations)
    return made


def _show_destinations(state: Any) -> None:
    """Writes behind each link where it leads."""
    from markdown_it.token import Token

    for block in state.tokens:
        shown, leads = [], []
        for token in block.children or ():
            shown.append(token)
            if token.type == "link_open":
                leads.append(str(token.attrs["href"]))
            elif token.type == "link_close":
                shown.append(Token("text", "", 0, content=f" ({leads.pop()})"))
        if block.children:
            block.children = shown


def _source_name(source: str) -> str:
    """A source as people call it: uploads, which have no folder, by the label that they came under."""
    if not is_upload(source):
        return source
    kb, classification = label_in(source)
    return str(texts()["documents"]["uploaded_to"]).format(kb=kb, classification=classification)


def _data(value: Any) -> Markup:
    """JSON for a data block of a page: it can hold no end of that block."""
    said = json.dumps(value, ensure_ascii=False)
    return Markup(said.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 -- escaped here
