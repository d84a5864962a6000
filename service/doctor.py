"""Looks at an installation without changing it: each check says what it found and, where needed, how to mend it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from policies.errors import InhouseError
from service.ownership import SOCKET_NAME, holder
from service.settings import Settings, load_settings
from service.settings_groups import RuntimeSettings
from service.surroundings import foreign_start_files, network_file_system
from service.wiring import Installation, embedder_words

State = Literal["ok", "note", "wrong"]
_DEPENDENCIES = ("cedarpy", "chromadb", "fastapi", "kreuzberg", "llama-index-core", "onnxruntime", "sqlalchemy", "tantivy")
_LOW_DISK_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; `mend` is the next step, empty where all is well."""

    check: str
    state: State
    found: str
    mend: str = ""


def examine(directory: Path, config: Path | None) -> Iterator[Finding]:
    """Every finding, in an order in which a later one may depend on an earlier one. Raises nothing of its own."""
    yield Finding("python", "ok", sys.version.split()[0])
    yield _versions()
    yield _start_files()
    try:
        settings = load_settings(directory, config)
    except InhouseError as error:
        yield Finding("settings", "wrong", error.message, error.hint)
        return
    yield Finding("settings", "ok", "read")
    if not (directory / "people.db").is_file():
        yield Finding("data directory", "wrong", f"{directory} is not there", f"Make it: inhouse init --data {directory}")
        return
    yield from _directory(directory)
    for name, check in (("policies", _policies), ("audit log", _audit), ("embedding model", _model), ("runtime", _runtime)):
        yield _guarded(name, check, directory, settings)
    if settings.oidc.issuer is not None:
        yield _guarded("identity provider", _provider, directory, settings)
    yield _tesseract()
    yield _parser()


def _versions() -> Finding:
    found, missing = [], []
    for name in ("inhouse", *_DEPENDENCIES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", "wrong", f"missing: {', '.join(missing)}", "Install again from requirements.lock.")
    return Finding("packages", "ok", ", ".join(found))


def _start_files() -> Finding:
    foreign = foreign_start_files()
    if not foreign:
        return Finding("start files", "ok", "no foreign .pth file, sitecustomize or usercustomize")
    # A file that only names a folder lets code in when it is imported; one that imports runs at every start.
    runs = [path for path in foreign if path.suffix != ".pth" or _imports(path)]
    named = ", ".join(str(path) for path in (runs or foreign))
    if runs:
        mend = "Find out who put it there; if you do not know, take the machine off the network and install anew from the lock."
        return Finding("start files", "wrong", f"code that starts with every Python here: {named}", mend)
    return Finding(
        "start files", "note", f"let other folders' code in: {named}", "Remove what this installation does not need."
    )


def _imports(path: Path) -> bool:
    return any(line.startswith(("import ", "import\t")) for line in path.read_text("utf-8", errors="replace").splitlines())


def _directory(directory: Path) -> Iterator[Finding]:
    kind = network_file_system(directory / "audit" if (directory / "audit").is_dir() else directory)
    if kind is not None:
        mend = "Move the data directory to a local disk: elsewhere locks and fsync may not hold what the log needs."
        yield Finding("file system", "wrong", f"the audit log lies on a network or user-space file system ({kind})", mend)
    else:
        yield Finding("file system", "ok", "the audit log lies on a local file system, as far as this system tells")
    loose = [
        path
        for path in [directory, *sorted(directory.rglob("*"))]
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if loose:
        yield Finding(
            "file modes", "wrong", f"{len(loose)} can be read by others, first {loose[0]}", f"Run: chmod -R go-rwx {directory}"
        )
    else:
        yield Finding("file modes", "ok", f"{directory} is its owner's alone")
    free = shutil.disk_usage(directory).free
    low = free < _LOW_DISK_BYTES
    yield Finding("disk", "wrong" if low else "ok", f"{free / 2**30:.1f} GiB free", "Free some space." if low else "")
    if not os.access(directory, os.W_OK):
        yield Finding("writable", "wrong", f"{directory} is read-only for this user", "Mend its owner or its mount.")
    who = holder(directory)
    if who is not None and (directory / SOCKET_NAME).exists():
        yield Finding("service", "ok", f"process {who.process} runs since {who.since}")
    else:
        yield Finding("service", "note", "not running", "Start it: inhouse serve")


def _guarded(name: str, check: Callable[[Path, Settings], Finding], directory: Path, settings: Settings) -> Finding:
    try:
        return check(directory, settings)
    except InhouseError as error:
        return Finding(name, "wrong", error.message, error.hint)


def _policies(directory: Path, settings: Settings) -> Finding:
    engine = Installation(directory, settings).policies
    where = str(settings.access.policies or "the packaged defaults")
    return Finding("policies", "ok", f"{where}, hash {engine.hash[:16]}")


def _provider(directory: Path, settings: Settings) -> Finding:
    provider = Installation(directory, settings).provider
    assert provider is not None
    return Finding("identity provider", "ok", f"{settings.oidc.issuer}: {provider.check()}")


def _audit(directory: Path, settings: Settings) -> Finding:
    from policies.audit.verify import verify

    return Finding("audit log", "ok", f"{verify(directory / 'audit').records} records verify")


def _model(directory: Path, settings: Settings) -> Finding:
    model = Path(embedder_words(directory, settings)["model"])
    if settings.embedding.kind != "hashing" and not model.is_dir():
        return Finding("embedding model", "wrong", f"{model} is not there", f"Build it: inhouse init --data {directory}")
    return Finding("embedding model", "ok", f"{settings.embedding.kind} in {model}")


def _runtime(directory: Path, settings: Settings) -> Finding:
    found = [f"{name}: {_runtime_found(directory, chosen)}" for name, chosen in settings.runtimes().items()]
    return Finding("runtime", "ok", "; ".join(found))


def _runtime_found(directory: Path, chosen: RuntimeSettings) -> str:
    from service.runtimes import factory

    if chosen.kind == "extractive":
        return "extractive, which quotes and needs no model"
    if chosen.kind != "llamacpp":
        import asyncio

        card = asyncio.run(factory.make_served(chosen).card())
        return f"{card.name} ({card.digest[:19]}), window {card.context_tokens} tokens"
    from service.runtimes.model_files import ModelFolder

    factory.make_llamacpp(chosen, directory, 1)
    files, name = ModelFolder(directory), str(chosen.model)
    return f"{name} in {files.verified(name)}, its SHA-256 as when it was added ({files.show(name).sha256[:12]})"


def _tesseract() -> Finding:
    from ingest.parsing.ocr import tessdata_folder

    folder = tessdata_folder()
    if folder is None:
        mend = "Install tesseract's English data, e.g.: apt install tesseract-ocr-eng; or: brew install tesseract"
        return Finding("tesseract", "note", "no language data: scans and pictures of text go to quarantine", mend)
    return Finding("tesseract", "ok", str(folder))


def _parser() -> Finding:
    from ingest.parsing.pool import ParserPool
    from ingest.parsing.types import ParserLimits

    with ParserPool(ParserLimits(), 1) as pool:
        try:
            layers = pool.layers()
        except InhouseError as error:
            return Finding("parser", "wrong", error.message, "Install again from requirements.lock.")
    walls = {
        "an empty network namespace": layers.network,
        "Landlock (no other file, no program)": layers.files,
        "a filter of system calls (no socket, no process)": layers.calls,
    }
    missing = [name for name, holds in walls.items() if not holds]
    if missing:
        mend = (
            "Use Linux 5.13 or newer on x86-64 or ARM, and let processes make user namespaces; till then ingest trusted files."
        )
        return Finding("parser", "note", f"files are parsed without {', without '.join(missing)}", mend)
    return Finding("parser", "ok", f"files are parsed behind {', '.join(walls)}")
