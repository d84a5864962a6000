"""Makes a data directory, or what is missing in one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from policies.audit.events import EventTag
from policies.egress.switches import keep_temporary_files_in
from policies.errors import DataDirectoryError
from policies.identity import LOCAL_OWNER_ID
from service.ownership import owned
from service.settings import Settings
from service.wiring import Installation, embedder_words


def initialise(directory: Path, settings: Settings) -> dict[str, Any]:
    """Makes the directory (mode 0700), the embedding model, an empty stamped index and the local owner; records it.

    Does nothing where all is there. Raises DataDirectoryError for a directory that holds other things or cannot be
    written, and what the parts raise.
    """
    from vectorstore.store import Store

    _make(directory)
    keep_temporary_files_in(directory / "tmp")
    with owned(directory, "init"), Installation(directory, settings) as installation:
        made = not (directory / "catalog.db").is_file()
        if settings.embedding.kind == "onnx":
            from vectorstore.embedders.onnx import prepare

            prepare(Path(embedder_words(directory, settings)["model"]))
        fingerprint = installation.embedder.fingerprint
        policies = installation.policies.hash
        Store.create(directory, fingerprint)
        installation.people.add_local_owner(settings.access.classifications[-1])
        if made:
            installation.audit.append(
                EventTag.DATA_INITIALISED, LOCAL_OWNER_ID, {"embedder": fingerprint.as_text(), "policy": policies}
            )
        return {"data": str(directory), "made": made, "embedder": fingerprint.as_text(), "policy": policies}


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(directory))
    except OSError as error:
        raise DataDirectoryError(
            f"cannot make {directory}: {error.strerror or error}", hint="Name a directory that you may write: --data DIR"
        ) from None
    if names and not names & {"catalog.db", "people.db", "lock", "inhouse.toml", "models"}:
        raise DataDirectoryError(
            f"{directory} holds other things", hint="Name a directory that is empty or not there yet: --data DIR"
        )
