"""The demo behind `make demo`: indexes the example company, serves it, asks three people's questions, and stays up.

Needs nothing but the installed package. What it makes lies in `.demo/` of the checkout (INHOUSE_DATA_DIR names another place);
delete that folder to begin anew.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("INHOUSE_DATA_DIR") or HERE.parent / ".demo")
PORT = os.environ.get("INHOUSE_SERVER__PORT", "8080")
INHOUSE = [sys.executable, "-c", "from service.cli import main; main()"]
ASKED = (
    ("ana", "How many days of annual leave does an employee have in 2026?"),
    ("carla", "For how much does the board want to buy Tannhof Optics?"),
    ("eve", "For how much does the board want to buy Tannhof Optics?"),
)


def inhouse(*arguments: str, quiet: bool = False) -> str:
    """Runs one command; ends the demo with its error where it fails."""
    output = subprocess.PIPE if quiet else None
    done = subprocess.run([*INHOUSE, *arguments, "--data", str(DATA)], stdout=output, text=True)
    # 5: some files were refused, as a scan is where tesseract is not installed; the report above says which.
    if done.returncode not in (0, 5):
        sys.exit(done.returncode)
    return done.stdout or ""


def prepare() -> None:
    """The data directory, the people and the index; all of it only where it is not there yet."""
    if not (DATA / "people.db").is_file():
        inhouse("init")
    there = {one["id"] for one in json.loads(inhouse("people", "list", "--json", quiet=True))["people"]}
    for one in people():
        if one["id"] not in there:
            given = [part for group in one["groups"] for part in ("--group", group)]
            given += [part for role in one["roles"] for part in ("--role", role)]
            inhouse("people", "add", one["id"], "--name", one["name"], "--clearance", one["clearance"], *given, quiet=True)
    print("\n$ inhouse ingest examples/documents", flush=True)
    inhouse("ingest", str(HERE / "documents"))


def people() -> list[dict[str, Any]]:
    """The example company's people."""
    told = tomllib.loads((HERE / "people.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = told["person"]
    return found


def show_links() -> None:
    """A link for each person, which signs them in once."""
    print("\nOpen one of these in a browser; each lets its person in once, within an hour:\n")
    for one in people():
        url = json.loads(inhouse("people", "link", one["id"], "--json", quiet=True))["url"]
        print(f"  {one['name']} ({', '.join(one['roles'])}): {url}")


def show_how(url: str) -> None:
    """How to ask more, with a key that works for a week."""
    key = json.loads(inhouse("keys", "create", "ana", "--days", "7", "--json", quiet=True))["secret"]
    print(
        f"""
Or ask in another terminal:

  .venv/bin/inhouse ask "What does error code E7 mean?" --as ana --data {DATA}
  .venv/bin/inhouse search "battery of the HM-40" --as eve --data {DATA}
  .venv/bin/inhouse audit list --data {DATA}

  curl -s {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{"model": "inhouse", "messages": [{{"role": "user", "content": "How long is the probation period?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  print(client.chat.completions.create(model="inhouse", messages=[{{"role": "user", "content": "Who is the ombudswoman?"}}]))

The service stays up until Ctrl-C.""",
        flush=True,
    )


def main() -> None:
    """Runs the demo until Ctrl-C."""
    prepare()
    service = subprocess.Popen([*INHOUSE, "serve", "--port", PORT, "--data", str(DATA)], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    said = service.stdout.readline()
    if "http://" not in said:
        sys.exit(service.wait())
    print(f"\n{said.strip()}", flush=True)
    try:
        for person, question in ASKED:
            print(f'\n$ inhouse ask "{question}" --as {person}', flush=True)
            inhouse("ask", question, "--as", person)
        show_links()
        show_how(next(word for word in said.split() if word.startswith("http://")))
        service.wait()
    except KeyboardInterrupt:
        service.send_signal(signal.SIGINT)
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
