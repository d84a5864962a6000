"""The GGUF files of a data directory: each with what was found when it was added, and believed only while that is so."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from policies.errors import DataDirectoryError, Interrupted, ModelRefused, NotFoundError, UsageError
from service.runtimes.gguf import read_header

_FORM = 1
_PIECE = 4 * 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ADDING = threading.Lock()

Progress = Callable[[int, int], None]
"""Takes the bytes that are done and those of the whole."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as it was when it was added. `context_tokens` is what it was trained for, None where it does not say."""

    name: str
    size: int
    sha256: str
    added: str
    architecture: str
    title: str
    context_tokens: int | None
    chat_template: bool


class ModelFolder:
    """`<data>/models/gguf`: NAME.gguf and, beside it, NAME.json. A file without its description does not count."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "models" / "gguf"

    def path(self, name: str) -> Path:
        """Where the model's file is. Raises NotFoundError for what cannot be a name."""
        if not _NAME.fullmatch(name):
            raise _unknown(name)
        return self._folder / f"{name}.gguf"

    def names(self) -> list[str]:
        """Every model that was added, in alphabetical order."""
        return sorted(path.stem for path in self._folder.glob("*.json") if _NAME.fullmatch(path.stem))

    def show(self, name: str) -> ModelFile:
        """What was found when the model was added. Raises NotFoundError, and ModelRefused where the description is of an
        unknown form."""
        path = self.path(name).with_suffix(".json")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if said.pop("form") != _FORM or said["name"] != name:
                raise ValueError
            return ModelFile(**said)
        except FileNotFoundError:
            raise _unknown(name) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelRefused(f"{path} is of an unknown form", hint=f"Add the model again: {_again(name)}") from None

    def verified(self, name: str) -> Path:
        """The path of the model's file, which is byte for byte the one that was added. Reads all of it. Raises NotFoundError,
        or ModelRefused for a file that is gone or is another."""
        known, path = self.show(name), self.path(name)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != known.size:
                    raise ModelRefused(f"{name} has {size} bytes and was added with {known.size}", hint=_again(name))
                read_header(file)
                digest = _digest(file)
        except OSError as error:
            raise ModelRefused(f"the file of {name} cannot be read: {error.strerror}", hint=_again(name)) from None
        if digest != known.sha256:
            raise ModelRefused(f"{name} is not what was added: its SHA-256 is {digest}", hint=_again(name))
        return path

    def add(self, source: Path, name: str, sha256: str | None, progress: Progress, stop: threading.Event) -> ModelFile:
        """Copies a file in, whole or not at all. Raises UsageError for a name that is taken or is none, a source that is no
        file, or a digest that is none; ModelRefused for a file that is no usable GGUF or has another SHA-256;
        DataDirectoryError where there is no room; Interrupted when `stop` is set."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a model's name", hint="Letters, digits, '.', '_' and '-': --name NAME.")
        expected = (sha256 or "").lower().removeprefix("sha256:")
        if sha256 is not None and not _DIGEST.fullmatch(expected):
            raise UsageError("that is no SHA-256", hint="It has 64 digits and letters from a to f: `sha256sum FILE`.")
        if not _ADDING.acquire(blocking=False):
            raise UsageError("another model is being added", hint="Wait until that has ended.")
        try:
            with _opened(source) as file:
                if name in self.names():
                    raise UsageError(f"there is a model {name} already", hint="Give another --name, or remove that one first.")
                return self._copied(file, name, expected, progress, stop)
        finally:
            _ADDING.release()

    def remove(self, name: str) -> ModelFile | None:
        """Removes a model; what was known of it, None where its description could not be read. Raises NotFoundError."""
        path = self.path(name)
        if name not in self.names():
            raise _unknown(name)
        known = None
        with suppress(ModelRefused):
            known = self.show(name)
        # The description first: a file without one does not count.
        path.with_suffix(".json").unlink()
        path.unlink(missing_ok=True)
        _flush(self._folder)
        return known

    def _copied(self, file: BinaryIO, name: str, expected: str, progress: Progress, stop: threading.Event) -> ModelFile:
        size = os.fstat(file.fileno()).st_size
        header = read_header(file)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._folder.glob(".part-*"):
                left.unlink()
            if shutil.disk_usage(self._folder).free < size:
                raise DataDirectoryError(f"there is no room for {size} bytes in {self._folder}", hint="Free some space.")
            handle, part = tempfile.mkstemp(prefix=".part-", dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as target:
                    digest = _digest(file, target, size, progress, stop)
                    target.flush()
                    os.fsync(target.fileno())
                if expected and digest != expected:
                    raise ModelRefused(f"its SHA-256 is {digest}, not the one given", hint="Take the file again.")
                added = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                known = ModelFile(name, size, digest, added, **asdict(header))
                os.replace(part, self.path(name))
            finally:
                Path(part).unlink(missing_ok=True)
            self._describe(known)
        except OSError as error:
            raise DataDirectoryError(f"cannot write in {self._folder}: {error.strerror}", hint="Free some space.") from None
        return known

    def _describe(self, known: ModelFile) -> None:
        handle, part = tempfile.mkstemp(prefix=".part-", dir=self._folder)
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            json.dump({"form": _FORM, **asdict(known)}, target, indent=1)
            target.flush()
            os.fsync(target.fileno())
        os.replace(part, self.path(known.name).with_suffix(".json"))
        _flush(self._folder)


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    """The source, where it is a plain file. Not blocking: a pipe would keep us waiting for its writer."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError(f"{source} is no file")
    with os.fdopen(handle, "rb") as file:
        yield file


def _digest(
    file: BinaryIO,
    target: BinaryIO | None = None,
    size: int = 0,
    progress: Progress = lambda done, whole: None,
    stop: threading.Event | None = None,
) -> str:
    """The SHA-256 of a whole file, which goes to `target` on the way."""
    digest = hashlib.sha256()
    done = 0
    file.seek(0)
    while piece := file.read(_PIECE):
        if stop is not None and stop.is_set():
            raise Interrupted("stopped before the model was there", hint="Nothing of it is left; add it again.")
        digest.update(piece)
        if target is not None:
            target.write(piece)
            done += len(piece)
            progress(done, size)
    if target is not None and done != size:
        raise ModelRefused("the file changed while it was copied", hint="Wait until it is complete, and add it again.")
    return digest.hexdigest()


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no model {name}", hint="See `inhouse models list`; add one: inhouse models add FILE.gguf")


def _again(name: str) -> str:
    return f"Remove it and add it again: inhouse models remove {name}, then inhouse models add FILE.gguf --name {name}."
