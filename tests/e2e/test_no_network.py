"""The whole journey with no network but loopback, watched from outside: nothing is looked up, nobody is called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


def journey(tmp_path: Path, repository: Path, *before: str, isolated: bool = False) -> str:
    """Runs the journey under a command; returns what it printed."""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "INHOUSE_DATA_DIR": str(tmp_path / "data"),
        "DOCUMENTS": str(repository / "examples" / "documents"),
        "WORK": str(tmp_path),
        "ISOLATED": "yes" if isolated else "",
    }
    command = [*before, "sh", "-c", JOURNEY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def assert_answered(said: str) -> None:
    assert "30 days of annual leave" in said
    assert "16 years" in said
    assert "verify" in said


def test_it_works_where_there_is_no_network_but_loopback(tmp_path: Path, repository: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip, from util-linux and iproute2")
    enter = [unshare, "-n"] if os.geteuid() == 0 else [unshare, "-rn"]
    if subprocess.run([*enter, "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        pytest.skip("may not make a network namespace here")
    assert_answered(journey(tmp_path, repository, *enter, isolated=True))


def test_nothing_is_looked_up_and_nobody_is_called(tmp_path: Path, repository: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-f", "-e", "trace=none", "true"], capture_output=True).returncode:
        pytest.skip("needs strace, and the right to trace")
    trace = tmp_path / "trace"
    said = journey(tmp_path, repository, strace, "-f", "-qq", "-e", "trace=network", "-o", str(trace))
    assert_answered(said)
    calls = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    assert any('sin_addr=inet_addr("127.0.0.1")' in one and "connect(" in one for one in calls)
    addressed = [one for one in calls if re.search(r"\b(connect|sendto|sendmsg|sendmmsg)\(", one) and "sa_family" in one]
    inside = re.compile(r'AF_UNIX|AF_NETLINK|inet_addr\("127\.|"::1"|AF_UNSPEC')
    outside = [one for one in addressed if not inside.search(one)]
    assert outside == []
    # A look-up through a local resolver would be inside by its address.
    assert [one for one in addressed if "sin_port=htons(53)" in one or "nscd" in one or "resolve" in one] == []
