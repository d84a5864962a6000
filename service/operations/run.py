"""Runs an operation where the data is: in the service that owns the directory, else in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from policies.audit.acting import acting_by
from policies.egress.switches import keep_temporary_files_in
from policies.errors import DataDirectoryBusy, DataDirectoryError, UsageError
from policies.identity import LOCAL_OWNER_ID
from service.operations.registry import Emit, Result, operation
from service.ownership import SOCKET_NAME, owned


def run(
    directory: Path,
    name: str,
    request: Mapping[str, Any],
    *,
    config: Path | None = None,
    emit: Emit = lambda event: None,
    stop: threading.Event | None = None,
) -> Result:
    """Carries out one operation and returns its result; raises what the operation raises, wherever it ran.

    `config` counts only where this process opens the store itself: a running service has its own.
    """
    stop = stop or threading.Event()
    require_initialised(directory)
    remote = _service(directory)
    if remote is not None:
        return remote(name, request, emit, stop)
    if operation(name).shared:
        return _run_here(directory, config, name, request, emit, stop)
    try:
        with owned(directory, name):
            return _run_here(directory, config, name, request, emit, stop)
    except DataDirectoryBusy:
        # The service may have come up between the two looks.
        remote = _service(directory)
        if remote is None:
            raise
        return remote(name, request, emit, stop)


def run_in(installation: Any, name: str, request: Mapping[str, Any], emit: Emit, stop: threading.Event) -> Result:
    """Validates the request and runs the operation on an installation that this process has open."""
    from pydantic import ValidationError

    found = operation(name)
    try:
        validated = found.request.model_validate(dict(request))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {first['msg']}", hint=f"See `inhouse {name.split('.')[0]} --help`.") from None
    # Only who owns the data directory gets here: what they do as a person is recorded as both's.
    with acting_by(LOCAL_OWNER_ID if getattr(validated, "as_person", None) else None):
        return found.run(installation, validated, emit, stop)


def require_initialised(directory: Path) -> None:
    """Raises DataDirectoryError where `inhouse init` has not made the directory."""
    if not (directory / "people.db").is_file():
        raise DataDirectoryError(
            f"{directory} is not an inhouse data directory", hint=f"Make it: inhouse init --data {directory}"
        )


def _run_here(
    directory: Path, config: Path | None, name: str, request: Mapping[str, Any], emit: Emit, stop: threading.Event
) -> Result:
    from service.settings import load_settings
    from service.wiring import Installation

    keep_temporary_files_in(directory / "tmp")
    with Installation(directory, load_settings(directory, config)) as installation:
        return run_in(installation, name, request, emit, stop)


def _service(directory: Path) -> Callable[[str, Mapping[str, Any], Emit, threading.Event], Result] | None:
    if not (directory / SOCKET_NAME).exists():
        return None
    from service.control.client import ControlClient

    client = ControlClient(directory / SOCKET_NAME)
    return client.run if client.answers() else None
