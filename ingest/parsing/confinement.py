"""Takes from the process that parses what parsing does not need: the network, other processes, files, further rights."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_DIE_WITH_PARENT, _SET_SECCOMP, _NO_NEW_PRIVILEGES = 1, 22, 38

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of Landlock's system calls, the same on every architecture."""

_READ_FILE, _READ_FOLDER, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_READ = _READ_FILE | _READ_FOLDER
_SCRATCH = _READ | _WRITE_FILE | _TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8
"""In the private folder besides: remove files and folders, make folders and regular files. Nothing is ever run."""

_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of Landlock knows; a right that is named and not granted is refused."""

_NETWORK_RIGHTS = 0b11
_SCOPES = 0b11
"""Binding and connecting over TCP (from version 4); abstract sockets and signals to outside (from version 6)."""

_FORBIDDEN_CALLS = {
    # In this order: socket, connect, execve, execveat, ptrace, process_vm_readv, process_vm_writev, pidfd_open,
    # pidfd_getfd, setns, unshare, mount, umount2, open_by_handle_at, add_key, keyctl, bpf, perf_event_open, userfaultfd,
    # io_uring_setup, io_uring_register, and where they exist fork and vfork.
    "x86_64": (
        0xC000003E,
        56,
        53,
        [41, 42, 59, 322, 101, 310, 311, 434, 438, 308, 272, 165, 166, 304, 248, 250, 321, 298, 323, 425, 427, 57, 58],
    ),
    "aarch64": (
        0xC00000B7,
        220,
        199,
        [198, 203, 221, 281, 117, 270, 271, 434, 438, 268, 97, 40, 39, 265, 217, 219, 280, 241, 282, 425, 427],
    ),
}
"""For each machine: the number of its architecture, those of clone and socketpair, and the calls that are
refused.

The network namespace and Landlock leave open what these close: Unix sockets by path, the service's own among them; UDP where
there is no namespace; and programs run from memory."""

_CLONE3 = 435
_CLONE_THREAD = 0x10000
_STREAM = 1
_FOREIGN_CALLS = 0x40000000


@dataclass(frozen=True, slots=True)
class Layers:
    """Which walls hold: `network` an empty network namespace, `files` Landlock, `calls` a filter that refuses sockets,
    new processes and programs."""

    network: bool
    files: bool
    calls: bool


def confine(readable: Iterable[Path], scratch: Path) -> Layers:
    """Confines this process, for good, to reading under `readable` and writing under `scratch`. Says which layers hold; a
    kernel without one is no error. Raises RuntimeError where there is a second thread: it would stay free."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return Layers(network=False, files=False, calls=False)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("a process with more than one thread cannot be confined")
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # The user namespace comes with it even for root, whose powers over the machine end there.
    network = library.unshare(_NEW_USER | _NEW_NETWORK) == 0 or library.unshare(_NEW_NETWORK) == 0
    files = _landlock(library, readable, scratch)
    return Layers(network=network, files=files, calls=_filter_calls(library))


def readable_places(data: Sequence[Path] = ()) -> list[Path]:
    """What Python and the parser's libraries read: their own folders, the system's libraries, and `data`."""
    packages = [Path(__file__).resolve().parents[2] / name for name in ("ingest", "vectorstore", "policies")]
    installed = [Path(one).resolve() for one in sys.path if one.endswith(("site-packages", "dist-packages"))]
    python = [Path(sys.prefix, "lib"), Path(sys.prefix, "pyvenv.cfg"), Path(sys.base_prefix, "lib")]
    system = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/usr/share/locale"]
    system += ["/usr/share/fonts", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/dev/null", "/dev/zero", "/dev/urandom"]
    return [*packages, *installed, *python, *map(Path, system), *data]


def _landlock(library: ctypes.CDLL, readable: Iterable[Path], scratch: Path) -> bool:
    version = _call(library, _CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    form = struct.pack("=QQQ", handled, _NETWORK_RIGHTS if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call(library, _CREATE_RULESET, form, size, 0)
    if rules < 0:
        return False
    try:
        for path, rights in [*((one, _READ) for one in readable), (scratch, _SCRATCH)]:
            _allow(library, rules, path, rights & handled)
        return _call(library, _RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= _READ_FILE
        _call(library, _ADD_RULE, rules, 1, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(library: ctypes.CDLL, number: int, *arguments: int | bytes | None) -> int:
    """A system call whose numbers are passed as wide as the kernel reads them; -1 where it refuses."""
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return int(library.syscall(ctypes.c_long(number), *wide))


def _filter_calls(library: ctypes.CDLL) -> bool:
    known = _FORBIDDEN_CALLS.get(platform.machine())
    if known is None:
        return False
    architecture, clone, pair, forbidden = known
    program = b"".join(_statements(architecture, clone, pair, forbidden))
    buffer = ctypes.create_string_buffer(program, len(program))
    form = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    return bool(library.prctl(_SET_SECCOMP, 2, form, 0, 0) == 0)


def _statements(architecture: int, clone: int, pair: int, forbidden: Sequence[int]) -> list[bytes]:
    """A classic BPF program over (call, architecture, instruction, arguments): refuses with EACCES, and clone3 with ENOSYS,
    which makes the C library use clone, whose flags can be looked at. Pairs of streams stay, which libraries wake their
    threads with; pairs of datagram sockets could send to any path."""

    def statement(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_so, if_not, value)

    load, equal, at_least, any_set, both, answer = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
    allow, refuse, unknown = statement(answer, 0x7FFF0000), statement(answer, 0x0005000D), statement(answer, 0x00050026)
    lines = [
        statement(load, 4),
        *(statement(equal, architecture, 1, 0), refuse),
        statement(load, 0),
        *(statement(at_least, _FOREIGN_CALLS, 0, 1), refuse),
        *(statement(equal, _CLONE3, 0, 1), unknown),
    ]
    for number in forbidden:
        lines += [statement(equal, number, 0, 1), refuse]
    lines += [statement(equal, clone, 0, 4), statement(load, 16), statement(any_set, _CLONE_THREAD, 1, 0), refuse, allow]
    lines += [statement(equal, pair, 0, 4), statement(load, 24), statement(both, 0xF), statement(equal, _STREAM, 1, 0), refuse]
    return [*lines, allow]
