"""Makes a data directory, or what is missing in one."""

from __future__ import annotations

import datetime
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

_OFFER_LIFETIME = datetime.timedelta(hours=24)


def initialise(directory: Path, settings: Settings) -> dict[str, Any]:
    """Makes the directory (mode 0700), the embedding model, an empty stamped index and the local owner; records it. While
    nobody administers, it also makes a new one-time secret for the first administrator, and the one before it void.

    Does nothing else where all is there. Raises DataDirectoryError for a directory that holds other things or cannot be
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
        return {
            "data": str(directory),
            "made": made,
            "embedder": fingerprint.as_text(),
            "policy": policies,
            "first_administrator": _offered(installation),
        }


def _offered(installation: Installation) -> dict[str, str] | None:
    """A one-time secret for the first administrator, and the page that takes it; None where somebody administers. What
    follows the # of an address is sent to no server and kept in no log."""
    made = installation.first_administrator.offer(_OFFER_LIFETIME)
    if made is None:
        return None
    offer, secret = made
    try:
        told = {"offer": offer.id, "expires": offer.expires}
        installation.audit.append(EventTag.ADMINISTRATOR_OFFERED, LOCAL_OWNER_ID, told)
    except BaseException:
        installation.first_administrator.withdraw(offer.id)
        raise
    return {
        "secret": secret,
        "expires": offer.expires,
        "url": f"{installation.public_url}/first-administrator#{secret}",
    }


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
