"""Arrays on the disk that are a copy of what the catalog and the vectors say: used where they are whole and current, else made
again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_STAMP = "stamp.json"


def write(directory: Path, form: int, generation: str, arrays: Mapping[str, Any]) -> None:
    """Writes the arrays and their stamp; the stamp comes last, so a file cut short is never taken for whole."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = directory / _STAMP
    stamp.unlink(missing_ok=True)
    for name, array in arrays.items():
        temporary = directory / f"{name}.part"
        with temporary.open("wb") as file:
            np.save(file, array)
        os.replace(temporary, directory / f"{name}.npy")
    said = {"form": form, "generation": generation, "shapes": {name: list(array.shape) for name, array in arrays.items()}}
    stamp.write_text(json.dumps(said), encoding="utf-8")


def read(directory: Path, form: int, generation: str, names: Sequence[str]) -> dict[str, Any] | None:
    """The arrays as they lie on the disk, mapped and not to be written to; None unless all are there, whole, and of this form
    and generation."""
    try:
        stamp = json.loads((directory / _STAMP).read_text(encoding="utf-8"))
        if not isinstance(stamp, dict) or (stamp.get("form"), stamp.get("generation")) != (form, generation):
            return None
        # Plain views of the mapped files: numpy's own class for these runs Python code whenever a piece is taken.
        arrays = {name: np.asarray(np.load(directory / f"{name}.npy", mmap_mode="r")) for name in names}
    except (OSError, ValueError, EOFError):  # numpy says EOFError of an empty file
        return None
    if stamp.get("shapes") != {name: list(array.shape) for name, array in arrays.items()}:
        return None
    return arrays
