"""Runs llamaindex_filter.py on the passages of a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from synthetic import Passages

PEERS = Path(__file__).resolve().parent


def ask_filter(
    work: Path, made: Passages, numbers: Sequence[int], requests: Sequence[tuple[str, frozenset[int] | None]]
) -> tuple[list[float], list[list[int]]]:
    """Milliseconds and rows found for each request, a question with the classes that are permitted."""
    python = PEERS.parent.parent / ".venv-peers" / "bin" / "python"
    if not python.exists():
        sys.exit("The peers are not installed. Run: bench/peers/install.sh")
    paths = {name: work / f"filter-{name}" for name in ("passages", "vectors", "requests", "out")}
    with paths["passages"].open("w", encoding="utf-8") as file:
        for row, (text, number) in enumerate(zip(made.texts, numbers, strict=True)):
            file.write(json.dumps({"id": str(row), "text": text, "class": f"class-{number}"}) + "\n")
    with paths["vectors"].open("wb") as target:
        np.save(target, made.vectors)
    said = [
        {"text": text, "permitted": None if allowed is None else [f"class-{one}" for one in sorted(allowed)]}
        for text, allowed in requests
    ]
    paths["requests"].write_text(json.dumps(said), encoding="utf-8")
    command = [str(python), str(PEERS / "llamaindex_filter.py")]
    for name, path in paths.items():
        command += [f"--{name}", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = json.loads(paths["out"].read_text(encoding="utf-8"))
    for path in paths.values():
        path.unlink()
    print(f"{result['peer']}: {result['load_seconds']:.0f} s to load, {result['versions']}", file=sys.stderr, flush=True)
    return result["milliseconds"], [[int(one) for one in hits] for hits in result["found"]]
