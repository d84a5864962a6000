"""Walks folders: regular files inside them, in a fixed order, and nothing that leads out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from policies.errors import UsageError


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file under a root; `relative` has forward slashes."""

    path: Path
    relative: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Something under a root that is not read, and why."""

    relative: str
    detail: str


def resolved_root(folder: Path) -> Path:
    """The real path of a folder to ingest; raises UsageError where there is none."""
    try:
        root = folder.resolve(strict=True)
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}", hint="Check the path.") from None
    if not root.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="Name the folder that holds it; labels belong to folders.")
    return root


def walk(root: Path, *, skip: frozenset[str]) -> Iterator[FoundFile | Refused]:
    """Every entry under `root`, by name. Hidden files and folders and the names in `skip` at the root are passed over.

    A link is followed only while it stays inside the root; links out, FIFOs, sockets, devices, and names that are not text
    are refused. Hard links are files like any other: they cannot be told from them.
    """
    yield from _walk(root, root, skip)


def _walk(root: Path, folder: Path, skip: frozenset[str]) -> Iterator[FoundFile | Refused]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Refused(_relative(root, folder), f"the folder cannot be read: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith(".") or (folder == root and entry.name in skip):
            continue
        path = Path(entry.path)
        relative = _relative(root, path)
        if not entry.name.isprintable():
            yield Refused(relative, "its name holds control characters or is not text")
        elif entry.is_symlink():
            yield from _link(root, path, relative)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, skip)
        else:
            yield _file(path, relative)


def _link(root: Path, path: Path, relative: str) -> Iterator[FoundFile | Refused]:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        yield Refused(relative, "a link that leads nowhere")
        return
    if not target.is_relative_to(root):
        yield Refused(relative, "a link that leads out of the folder")
    elif target.is_dir():
        # What it leads to is walked where it lies; twice would be two documents, and a loop endless.
        yield Refused(relative, "a link to a folder that is read where it lies")
    else:
        yield _file(target, relative)


def _file(path: Path, relative: str) -> FoundFile | Refused:
    try:
        found = path.lstat()
    except OSError as error:
        return Refused(relative, f"it cannot be read: {error.strerror}")
    if not stat.S_ISREG(found.st_mode):
        return Refused(relative, "not a regular file")
    return FoundFile(path, relative, found.st_size, found.st_mtime_ns)


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
