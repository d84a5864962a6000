"""A browser without a window, for what the pages answer over HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2
import pytest

from service.operations.run import run


@dataclass
class Browser:
    """It keeps the cookie of its session, and knows the token of its pages."""

    client: httpx2.Client
    csrf: str = ""

    def sign_in(self, credential: str) -> httpx2.Response:
        """By a key, or the code of a link."""
        response = self.client.post("/web/sign-in", json={"credential": credential})
        if response.status_code == 200:
            found = re.search(r'name="csrf" content="([0-9a-f]+)"', self.client.get("/").text)
            assert found is not None
            self.csrf = found.group(1)
        return response

    def get(self, path: str) -> str:
        """A page that is there."""
        response = self.client.get(path)
        assert response.status_code == 200, (path, response.text)
        return response.text

    def send(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """A request with the token, as the scripts of a page send it."""
        return self.client.request(method, path, json=body, headers={"x-csrf-token": self.csrf})

    def ask(self, question: str, **more: Any) -> dict[str, dict[str, Any]]:
        """The events of an answer by name; the text of all pieces is under `text`."""
        response = self.send("POST", "/web/ask", {"question": question, **more})
        assert response.status_code == 200, response.text
        events: dict[str, dict[str, Any]] = {"text": {"text": ""}}
        for block in response.text.strip().split("\n\n"):
            name, data = (line.partition(": ")[2] for line in block.split("\n"))
            value = json.loads(data)
            events[name] = value
            if name == "delta":
                events["text"]["text"] += value["text"]
        return events

    def settled(self) -> str:
        """Waits until no run is on; what went wrong with what this person began."""
        for _ in range(600):
            told = self.client.get("/web/documents/progress").json()
            if not told["busy"]:
                return str(told["problem"])
            time.sleep(0.05)
        raise AssertionError("the run does not end")


@pytest.fixture(scope="module")
def open_browser() -> Iterator[Callable[..., Browser]]:
    """Opens browsers on a service, signed in where a key or the code of a link is given; they are closed with the module."""
    opened: list[httpx2.Client] = []

    def open_it(service: Any, credential: str | None = None) -> Browser:
        client = httpx2.Client(base_url=service.url, trust_env=False, timeout=60, follow_redirects=False)
        opened.append(client)
        made = Browser(client)
        if credential is not None:
            assert made.sign_in(credential).status_code == 200
        return made

    yield open_it
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def signed_in(service: Any, open_browser: Callable[..., Browser]) -> Callable[[str], Browser]:
    """The browser of a person on the shared service, whom a link has signed in: one for each person of a module."""

    @cache
    def make(person: str) -> Browser:
        return open_browser(service, run(service.data, "people.link", {"id": person})["url"].partition("#")[2])

    return make
