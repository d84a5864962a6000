"""The whole journey with no network but loopback, watched from outside: nothing is looked up, nobody is called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

JOURNEY = """
set -eu
inhouse() { "$PYTHON" -c 'from service.cli import main; main()' "$@"; }
if [ "${ISOLATED:-}" = yes ]; then ip link set lo up; fi
inhouse init
inhouse ingest "$DOCUMENTS" || [ $? = 5 ]
inhouse people add ana --name Ana --group engineering --clearance internal
inhouse keys create ana --json > "$WORK/key.json"
inhouse ask 'How many days of annual leave does an employee have in 2026?' --as ana
"$PYTHON" -c 'from service.cli import main; main()' serve --port 0 > "$WORK/serve.log" &
service=$!
for _ in $(seq 150); do grep -q http "$WORK/serve.log" && break; sleep 0.2; done
"$PYTHON" - "$WORK" <<'PROGRAM'
import json, pathlib, re, sys
import httpx2
work = pathlib.Path(sys.argv[1])
url = re.search(r"http://[^ ]+", (work / "serve.log").read_text()).group()
key = json.loads((work / "key.json").read_text())["secret"]
question = [{"role": "user", "content": "How long does the battery of the HM-40 last?"}]
body = {"model": "inhouse", "messages": question}
headers = {"Authorization": f"Bearer {key}"}
answer = httpx2.post(url + "/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
print(answer.json()["choices"][0]["message"]["content"])
PROGRAM
inhouse ingest "$DOCUMENTS" || [ $? = 5 ]
kill -TERM $service
wait $service
inhouse audit verify
"""


@dataclass(frozen=True)
class Journey:
    """What the journey printed, how it ended, and its calls of the network where they were written down."""

    said: str
    errors: str
    code: int
    calls: list[str]

    def assert_answered(self) -> None:
        """It came to its end, with answers on the way."""
        assert self.code == 0, self.said[-2000:] + self.errors[-2000:]
        assert "30 days of annual leave" in self.said
        assert "16 years" in self.said
        assert "verify" in self.said


def allowed(*command: str) -> bool:
    """Whether this machine runs the command."""
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def namespace() -> tuple[str, ...]:
    """What runs a command in a network namespace of its own; empty where this machine does not."""
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None:
        return ()
    enter = (unshare, "-n") if os.geteuid() == 0 else (unshare, "-rn")
    return enter if allowed(*enter, "ip", "link", "set", "lo", "up") else ()


@pytest.fixture(scope="module")
def journey(
    namespace: tuple[str, ...], strace: tuple[str, ...], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Journey]:
    """Makes the journey with no network but loopback, or watched: both at once, and once for all tests, where this machine
    can do both at once."""
    together = bool(namespace and strace) and allowed(*namespace, *strace, "-e", "trace=network", "true")

    @cache
    def make(isolated: bool, watched: bool) -> Journey:
        folder = tmp_path_factory.mktemp("journey")
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "INHOUSE_DATA_DIR": str(folder / "data"),
            "DOCUMENTS": str(repository / "examples" / "documents"),
            "WORK": str(folder),
            "ISOLATED": "yes" if isolated else "",
        }
        trace = folder / "trace"
        watching = (*strace, "-e", "trace=network", "-o", str(trace)) if watched else ()
        command = [*(namespace if isolated else ()), *watching, "sh", "-c", JOURNEY]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        calls = trace.read_text(encoding="utf-8", errors="replace").splitlines() if watched else []
        return Journey(done.stdout, done.stderr, done.returncode, calls)

    return lambda *, isolated=False, watched=False: make(isolated or together, watched or together)


def test_it_works_where_there_is_no_network_but_loopback(namespace: tuple[str, ...], journey: Callable[..., Journey]) -> None:
    if not namespace:
        pytest.skip("needs unshare and ip, from util-linux and iproute2, and the right to make a network namespace")
    journey(isolated=True).assert_answered()


def test_nothing_is_looked_up_and_nobody_is_called(strace: tuple[str, ...], journey: Callable[..., Journey]) -> None:
    if not strace:
        pytest.skip("needs strace, and the right to trace")
    made = journey(watched=True)
    made.assert_answered()
    assert any('sin_addr=inet_addr("127.0.0.1")' in one and "connect(" in one for one in made.calls)
    addressed = [one for one in made.calls if re.search(r"\b(connect|sendto|sendmsg|sendmmsg)\(", one) and "sa_family" in one]
    inside = re.compile(r'AF_UNIX|AF_NETLINK|inet_addr\("127\.|"::1"|AF_UNSPEC')
    outside = [one for one in addressed if not inside.search(one)]
    assert outside == []
    # A look-up through a local resolver would be inside by its address.
    assert [one for one in addressed if "sin_port=htons(53)" in one or "nscd" in one or "resolve" in one] == []
