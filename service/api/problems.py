"""Errors as RFC 9457 problem documents, and in OpenAI's shape under /v1/chat and /v1/models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from policies.errors import AuthenticationRequired, InhouseError, ModelUnavailable

_OPENAI_PATHS = ("/v1/chat", "/v1/models")
_RETRY_SECONDS = "5"


def install(app: FastAPI) -> None:
    """Makes every error of the application a document that says what happened and what to do next."""

    @app.exception_handler(InhouseError)
    async def known(request: Request, error: InhouseError) -> JSONResponse:
        return answer(request.url.path, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return _response(request.url.path, 400, "usage", f"{where or 'body'}: {first['msg']}", "See /docs.")

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "usage")
        return _response(request.url.path, error.status_code, kind, str(error.detail), "See /docs.", error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        # Nobody hears it; it is no fault of the service, which an unexpected error would be.
        return _response(request.url.path, 400, "usage", "the request broke off", "Send it again.")

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # Its text might quote a document: the class is enough to find it in the service's own log.
        return _response(request.url.path, 500, "internal", f"unexpected {type(error).__name__}", "See the service's log.")


def answer(path: str, error: InhouseError) -> JSONResponse:
    """The response for a known error on a path."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthenticationRequired):
        scheme = "Basic" if path in {"/docs", "/openapi.json"} else "Bearer"
        headers["WWW-Authenticate"] = f'{scheme} realm="inhouse"'
    if isinstance(error, ModelUnavailable) and error.http_status == 503:
        headers["Retry-After"] = _RETRY_SECONDS
    return _response(path, error.http_status, error.kind, error.message, error.hint, headers)


def openai_error(message: str, kind: str, status: int) -> dict[str, Any]:
    """The body that OpenAI's clients turn into their own exceptions."""
    names = {401: "invalid_request_error", 403: "permission_error", 404: "invalid_request_error", 503: "server_error"}
    name = names.get(status, "invalid_request_error" if status < 500 else "server_error")
    code = {401: "invalid_api_key", 404: "model_not_found"}.get(status, kind)
    return {"error": {"message": message, "type": name, "param": None, "code": code}}


def _response(
    path: str, status: int, kind: str, detail: str, hint: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    if path.startswith(_OPENAI_PATHS):
        text = f"{detail}. {hint}" if hint else detail
        return JSONResponse(openai_error(text, kind, status), status, dict(headers or {}))
    body = {"type": f"urn:inhouse:problem:{kind}", "title": kind.replace("-", " "), "status": status, "detail": detail}
    if hint:
        body["hint"] = hint
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")
