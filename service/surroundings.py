"""What surrounds an installation and could undermine it: code that starts with every Python, file systems that do not keep
their word, and networks."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
import site
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
"""Where Linux tells what is mounted; other systems have no such file."""

_EXPECTED = {"inhouse", "setuptools"}
"""Distributions whose .pth files are known: an editable installation of this product, and setuptools' shim."""

_SYSTEMS_OWN = "43d81125d92376b1a69d53a71126a041cc9a18d8080e92dea0a2ae23be138b1e"
"""The SHA-256 of the `sitecustomize` that Debian and Ubuntu ship with every Python. It starts `_REPORTER` where that is
installed, which keeps what crashed, with what it held, to be sent off; else it does nothing."""

_REPORTER = "apport_python_hook"

_NETWORKED = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "orangefs",
    "smb3",
    "smbfs",
    "virtiofs",
}


def foreign_start_files() -> list[Path]:
    """Every .pth file, `sitecustomize` and `usercustomize` that this Python starts with and that neither this product nor
    setuptools nor Debian brought in just this form. Each of them runs code, or lets other folders' code in, before any
    program."""
    found = [path for folder in _site_folders() for path in sorted(folder.glob("*.pth")) if not _as_installed(path)]
    for name in ("sitecustomize", "usercustomize"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin and not _is_systems_own(Path(spec.origin)):
            found.append(Path(spec.origin))
    return found


def _is_systems_own(path: Path) -> bool:
    same = hashlib.sha256(path.read_bytes()).hexdigest() == _SYSTEMS_OWN
    return same and importlib.util.find_spec(_REPORTER) is None


def is_sealed() -> bool:
    """Whether the system keeps the service's own process from every network. It does so for parsers alone, so far."""
    return False


def network_file_system(directory: Path) -> str | None:
    """The type of the file system that a directory lies on, where it is a network's or one in user space, which may lead
    to one: there, locks and `fsync` may not mean what the log needs. None for others, and where the system does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = directory.resolve()
    # Of two mounts on one point the later one is what is seen.
    longest, found = -1, ""
    for point, kind in map(_mount, lines):
        if point is not None and place.is_relative_to(point) and len(point.parts) >= longest:
            longest, found = len(point.parts), kind
    return found if found in _NETWORKED or found.startswith("fuse.") else None


def _mount(line: str) -> tuple[Path | None, str]:
    before, _, after = line.partition(" - ")
    fields, kind = before.split(), after.split()
    if len(fields) < 5 or not kind:
        return None, ""
    # The kernel writes blanks and the like in a path as octal numbers.
    return Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), fields[4])), kind[0]


def _site_folders() -> Iterator[Path]:
    folders = [Path(folder) for folder in site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(Path(site.getusersitepackages()))
    yield from (folder for folder in dict.fromkeys(folders) if folder.is_dir())


def _as_installed(path: Path) -> bool:
    for one in distributions(path=[str(path.parent)]):
        if one.name.lower() not in _EXPECTED:
            continue
        for file in one.files or ():
            if file.name == path.name and file.hash is not None and len(file.parts) == 1:
                digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
                return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value
    return False
