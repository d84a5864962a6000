"""How fast a permission ends: for searches, and for an answer that is under way.

    python bench/revocation.py [PASSAGES]

A document is relabelled while another thread searches for it again and again, and while an answer quotes it; a key is revoked
while an answer is given to whoever came with it. Time counts from the return of the call on.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets  # noqa: F401 -- puts this folder behind the packages, whose names its modules share
from installations import initialised, opened

from policies.errors import AuthenticationRequired, SourcesChanged
from policies.identity import Principal
from service.auth.carriers import API, Carried
from service.operations.run import run_in
from service.operations.search import found
from service.runtimes.interface import End, Text
from service.runtimes.scripted import Pause, ScriptedRuntime
from service.wiring import Installation

ROUNDS = 30
DOCUMENT_PASSAGES = 10
QUESTION = "Which pump does the plant in Tannhof run?"
LABELS = """
[[rule]]
glob = "*"
kb = "plant"
classification = "internal"
groups = ["everyone"]
owner = "plant"

[[collection]]
glob = "others.jsonl"
id = "id"
text = "text"
"""


def prepared(root: Path, passages: int) -> Installation:
    """An index of one document of ten passages, and as many others of one passage as were asked for; the reader ana."""
    data, folder = initialised(root / "data"), root / "folder"
    (data / "inhouse.toml").write_text("[answer]\nthreshold = 0.0\n", encoding="utf-8")
    folder.mkdir()
    (folder / "labels.toml").write_text(LABELS, encoding="utf-8")
    paragraph = "The plant in Tannhof runs the pump of type P-{0}, which is looked after on the first day of each month. "
    parts = "\n\n".join(f"# Part {number}\n\n{paragraph.format(number) * 8}" for number in range(DOCUMENT_PASSAGES))
    (folder / "pump.md").write_text(parts, encoding="utf-8")
    texts = (f"Valve {number} of hall {number % 97} is shut." for number in range(passages))
    lines = (json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts))
    (folder / "others.jsonl").write_text("\n".join(lines), encoding="utf-8")
    installation = opened(data)
    run(installation, "ingest", folder=str(folder))
    run(installation, "people.add", id="ana", name="Ana", clearance="internal", roles=["user"])
    return installation


def run(installation: Installation, operation: str, **request: Any) -> dict[str, Any]:
    """One operation."""
    return run_in(installation, operation, request, lambda event: None, threading.Event())


def relabel(installation: Installation, document: str, groups: list[str]) -> float:
    """Gives the document to these groups; the moment of the return."""
    run(installation, "documents.relabel", ids=[document], groups=groups, reason="measured")
    return time.perf_counter()


def until_unseen(installation: Installation, document: str) -> tuple[float, float]:
    """Seconds from the call to the return, and from the call to the first search, asked again and again meanwhile by another
    thread, that no longer finds the document."""
    ana, unseen = installation.people.principal("ana"), threading.Event()
    at: list[float] = []

    def asking() -> None:
        while not unseen.is_set():
            if document not in {one["document"] for one in found(installation, ana, QUESTION, None, 10)}:
                at.append(time.perf_counter())
                unseen.set()

    asker = threading.Thread(target=asking)
    asker.start()
    time.sleep(0.05)
    began = time.perf_counter()
    returned = relabel(installation, document, ["nobody"])
    asker.join()
    return returned - began, at[0] - began


def with_key(installation: Installation) -> tuple[Principal, str]:
    """Ana, who comes with a new key, and the id of that."""
    key, secret = installation.keys.create("ana", datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1))
    return installation.carriers.recognise(Carried(f"Bearer {secret}"), API).principal, key.id


def revoke(installation: Installation, key: str) -> float:
    """Revokes the key; the moment of the return."""
    run(installation, "keys.revoke", id=key)
    return time.perf_counter()


def until_cut(installation: Installation, principal: Principal, end: Callable[[], float]) -> tuple[float, int]:
    """Seconds from the return of `end`, which takes the right away, to the end of an answer that says a piece each five
    milliseconds, and how many pieces left after the return."""
    pieces: list[Any] = []
    for _ in range(2_000):
        pieces += [Text("The plant in Tannhof runs the pump [1]. "), Pause(0.005)]
    installation.__dict__["runtimes"] = {"default": ScriptedRuntime([*pieces, End("stop", 1, 1)])}
    returned: list[float] = []
    late = 0

    async def main() -> float:
        nonlocal late
        seen = 0
        changing = None
        try:
            async for _ in installation.engine.answer(QUESTION, principal):
                seen += 1
                late += bool(returned)
                if seen == 5:
                    changing = asyncio.create_task(asyncio.to_thread(lambda: returned.append(end())))
        except (SourcesChanged, AuthenticationRequired):
            ended = time.perf_counter()
            assert changing is not None
            await changing
            return ended
        raise AssertionError("the answer was not ended")

    ended = asyncio.run(main())
    return ended - returned[0], late


def main() -> None:
    """Prints the medians and the worst of each."""
    passages = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as root, prepared(Path(root), passages) as installation:
        listed = run(installation, "documents.list", limit=10_000)["documents"]
        document = next(one["id"] for one in listed if one["path"] == "pump.md")
        calls, unseen, cuts, revoked, late = [], [], [], [], 0
        for _ in range(ROUNDS):
            call, search = until_unseen(installation, document)
            calls.append(call)
            unseen.append(search - call)
            relabel(installation, document, ["everyone"])
        for _ in range(ROUNDS):
            ana, key = with_key(installation)
            cut, after = until_cut(installation, ana, lambda: relabel(installation, document, ["nobody"]))
            cuts.append(cut)
            late += after
            relabel(installation, document, ["everyone"])
            cut, after = until_cut(installation, ana, partial(revoke, installation, key))
            revoked.append(cut)
            late += after
        print(f"{passages} passages of others, a document of {DOCUMENT_PASSAGES}; {ROUNDS} rounds, milliseconds")
        for name, values in (
            ("the call", calls),
            ("to the first search without it", unseen),
            ("to the end of the answer", cuts),
            ("to the end of the answer, the key revoked", revoked),
        ):
            print(f"{name}: median {statistics.median(values) * 1000:.1f}, worst {max(values) * 1000:.1f}")
        print(f"pieces that left after a return: {late}")


if __name__ == "__main__":
    main()
