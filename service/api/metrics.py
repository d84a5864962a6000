"""Counters and durations in Prometheus' text form. They hold no names, paths or words of anyone."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The measures of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("inhouse_requests", "Requests.", ["route", "status"], registry=self._registry)
        self.seconds = Histogram("inhouse_request_seconds", "Time to the first byte.", ["route"], registry=self._registry)
        self.answers = Counter("inhouse_answers", "Answers by outcome.", ["outcome"], registry=self._registry)
        self.questions = Gauge("inhouse_questions_in_progress", "Answered or waiting.", registry=self._registry)

    def text(self) -> bytes:
        """All measures as Prometheus reads them."""
        return generate_latest(self._registry)


class Measured:
    """Counts requests by the route's pattern, never by the path that a person chose."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unknown")
                self._metrics.requests.labels(route, str(message["status"])).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, sending)
