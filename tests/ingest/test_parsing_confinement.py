"""What a parser that was taken over can do from where it runs: a planted one tries, and the effect is looked at."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from ingest.parsing.confinement import Layers
from ingest.parsing.pool import ParserPool
from ingest.parsing.types import ParsedDocument
from policies.errors import InhouseError

REPORT = """
told = {{}}
def attempt(name, do):
    try:
        told[name] = [True, repr(do())]
    except BaseException as error:
        told[name] = [False, f"{{type(error).__name__}}: {{error}}"]
{attempts}
return ParsedDocument(json.dumps(told), (), "t", "text/plain")
"""


def attempts(plant: Any, **tried: str) -> dict[str, tuple[bool, str]]:
    """Has a planted parser evaluate each expression; whether it came through, and what it gave or raised."""
    lines = "\n".join(f"attempt({name!r}, lambda: {expression})" for name, expression in tried.items())
    outcome = plant(REPORT.format(attempts=lines)).outcomes(bad=b"the bytes to parse")["bad"]
    assert isinstance(outcome, ParsedDocument), outcome
    return {name: (bool(came_through), said) for name, (came_through, said) in json.loads(outcome.text).items()}


def needs(plant: Any, layer: str) -> None:
    if not getattr(plant(None).pool.layers(), layer):
        pytest.skip(f"this kernel does not give the layer that this test looks at: {layer}")


def came_through(told: dict[str, tuple[bool, str]]) -> dict[str, str]:
    return {name: said for name, (through, said) in told.items() if through}


def test_all_three_layers_hold_where_the_kernel_has_them(plant: Any) -> None:
    if sys.platform != "linux":
        pytest.skip("Linux alone has these layers")
    layers = plant(None).pool.layers()
    assert layers.files is (_landlock_version() > 0)
    assert layers.calls is (platform.machine() in ("x86_64", "aarch64"))
    assert layers.network is _may_have_its_own_network()


def test_it_reaches_nobody_over_the_network(plant: Any) -> None:
    needs(plant, "network")
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        port, other = listening.getsockname()[1], datagrams.getsockname()[1]
        told = attempts(
            plant,
            tcp=f"socket.create_connection(('127.0.0.1', {port}), 2)",
            udp=f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'secret', ('127.0.0.1', {other}))",
            names="socket.getaddrinfo('localhost.example', 80)",
            natively=f"1 / (0 > ctypes.CDLL(None).socket(2, 1, 0)) and {port}",
        )
        for waiting in (listening, datagrams):
            waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()
        with pytest.raises(TimeoutError):
            datagrams.recv(10)
    assert set(came_through(told)) <= {"natively"}
    needs(plant, "calls")
    assert told["natively"][1] in ("1.0", f"{port}")


def test_its_network_namespace_is_its_own(plant: Any) -> None:
    """The filter refuses sockets before the namespace is asked, so this looks from outside."""
    needs(plant, "network")
    body = """
    with open(os.environ["TMPDIR"] + "/process", "w") as file:
        file.write(str(os.getpid()) + ".")
    while not os.path.exists(os.environ["TMPDIR"] + "/seen"):
        time.sleep(0.02)
    return ParsedDocument("seen", (), "t", "text/plain")
    """
    parser = plant(body)
    seen: list[str] = []

    def look() -> None:
        while not (files := list(parser.scratch.glob("*/process"))) or not files[0].read_text().endswith("."):
            time.sleep(0.02)
        seen.append(os.readlink(f"/proc/{files[0].read_text().strip('.')}/ns/net"))
        (files[0].parent / "seen").touch()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    parser.outcomes(bad=b"x")
    thread.join(10)
    assert seen
    assert seen[0] != os.readlink("/proc/self/ns/net")


def test_it_reaches_no_service_by_a_socket_in_the_file_system(plant: Any, tmp_path: Path) -> None:
    needs(plant, "calls")
    place, letters = tmp_path / "inhouse.sock", tmp_path / "letters.sock"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as post:
        listening.bind(str(place))
        listening.listen()
        post.bind(str(letters))
        told = attempts(
            plant,
            stream=f"socket.socket(socket.AF_UNIX).connect({str(place)!r})",
            letter=f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'secret', {str(letters)!r})",
            abstract="socket.socket(socket.AF_UNIX).connect('\\0somebody')",
        )
        listening.settimeout(0.2)
        post.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()
        with pytest.raises(TimeoutError):
            post.recv(10)
    assert came_through(told) == {}


def test_it_runs_no_program_and_makes_no_process(plant: Any, tmp_path: Path) -> None:
    needs(plant, "calls")
    marker = tmp_path / "ran"
    native = "ctypes.CDLL(None)"
    told = attempts(
        plant,
        fork="os.fork()",
        spawn=f"os.posix_spawn('/bin/touch', ['touch', {str(marker)!r}], {{}})",
        subprocess=f"__import__('subprocess').run(['/bin/touch', {str(marker)!r}], check=True)",
        shell=f"1 // (os.system('touch {marker}') == 0)",
        replace=f"os.execv('/bin/touch', ['touch', {str(marker)!r}])",
        natively=f"1 // ({native}.execv(b'/bin/touch', (ctypes.c_char_p * 3)(b'touch', {str(marker).encode()!r}, None)) == 0)",
        from_memory="os.execve(os.memfd_create('m'), ['m'], {})",
        debug=f"1 // ({native}.ptrace(16, os.getppid(), 0, 0) == 0)",
        namespace=f"1 // ({native}.unshare(0x10000000) == 0)",
    )
    assert came_through(told) == {}
    assert not marker.exists()


def test_it_writes_nowhere_but_in_its_private_folder_which_goes_with_it(plant: Any, tmp_path: Path) -> None:
    needs(plant, "files")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept", encoding="utf-8")
    shared = Path(tempfile.gettempdir()) / f"written-by-a-planted-parser-{uuid.uuid4()}"
    told = attempts(
        plant,
        inside="open(os.environ['TMPDIR'] + '/own', 'w').write('text of the document')",
        new=f"open({str(outside / 'new')!r}, 'w')",
        change=f"open({str(outside / 'kept.txt')!r}, 'a')",
        truncate=f"os.truncate({str(outside / 'kept.txt')!r}, 0)",
        delete=f"os.unlink({str(outside / 'kept.txt')!r})",
        rename=f"os.rename(os.environ['TMPDIR'] + '/own', {str(outside / 'moved')!r})",
        link=f"os.symlink('/etc', {str(outside / 'link')!r})",
        folder=f"os.mkdir({str(outside / 'made')!r})",
        system=f"open({str(shared)!r}, 'w')",
        own_code="open(json.__file__, 'a')",
        the_file=f"open({str(tmp_path / 'files' / 'bad.txt')!r}, 'a')",
    )
    assert set(came_through(told)) == {"inside"}
    assert [path.name for path in outside.iterdir()] == ["kept.txt"]
    assert (outside / "kept.txt").read_text(encoding="utf-8") == "kept"
    assert not shared.exists()


def test_nothing_that_it_wrote_is_left_when_it_ends(plant: Any) -> None:
    parser = plant("open(os.environ['TMPDIR'] + '/own', 'w').write('text')\nreturn ParsedDocument('t', (), 't', 't/t')")
    assert isinstance(parser.outcomes(bad=b"x")["bad"], ParsedDocument)
    assert list(parser.scratch.iterdir()) == []


def test_it_reads_no_other_document_no_secret_and_no_process(plant: Any, tmp_path: Path) -> None:
    needs(plant, "files")
    (tmp_path / "files").mkdir(exist_ok=True)
    neighbour = tmp_path / "files" / "board-minutes.txt"
    neighbour.write_text("confidential", encoding="utf-8")
    told = attempts(
        plant,
        neighbour=f"open({str(neighbour)!r}).read()",
        folder=f"os.listdir({str(tmp_path / 'files')!r})",
        users="open('/etc/passwd').read()",
        home="os.listdir('/root')",
        processes="os.listdir('/proc')",
        parent="open(f'/proc/{os.getppid()}/environ', 'rb').read()",
        root="os.listdir('/')",
    )
    assert came_through(told) == {}


def test_it_ends_nobody_and_has_no_powers_over_the_machine(plant: Any) -> None:
    needs(plant, "files")
    needs(plant, "network")
    told = attempts(
        plant,
        signal="os.kill(os.getppid(), 0)",
        name=f"socket.sethostname({socket.gethostname()!r})",
        priority="os.setpriority(os.PRIO_PROCESS, 0, -5)",
        user="os.setuid(1)",
        clock="time.clock_settime(time.CLOCK_REALTIME, time.time())",
    )
    # Signals stay inside from version 6 of Landlock; before, the kernel lets the same user through.
    assert set(came_through(told)) <= ({"signal"} if _landlock_version() < 6 else set())


def test_a_process_with_a_second_thread_is_refused_because_that_thread_would_stay_free(plant: Any) -> None:
    if sys.platform != "linux":
        pytest.skip("Linux alone has these layers")
    parser = plant("")
    planted = parser.folder.parent / "planted.py"
    start = "import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nwork("
    planted.write_text(planted.read_text(encoding="utf-8").replace("work(", start), encoding="utf-8")
    with pytest.raises(InhouseError, match="more than one thread"):
        parser.outcomes(bad=b"x")


@pytest.mark.parametrize("missing", ["network", "files", "calls"])
def test_the_doctor_says_which_wall_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    from service.doctor import examine
    from service.initialise import initialise
    from service.settings import Settings
    from service.settings_groups import EmbeddingSettings

    initialise(tmp_path / "data", Settings(embedding=EmbeddingSettings(kind="hashing")))
    holding = {"network": True, "files": True, "calls": True}

    def said() -> tuple[str, str]:
        (found,) = (one for one in examine(tmp_path / "data", None) if one.check == "parser")
        return found.state, found.found

    words = {"network": "an empty network namespace", "files": "Landlock", "calls": "a filter of system calls"}[missing]
    monkeypatch.setattr(ParserPool, "layers", lambda pool: Layers(**holding))
    assert said()[0] == "ok"
    monkeypatch.setattr(ParserPool, "layers", lambda pool: Layers(**{**holding, missing: False}))
    state, text = said()
    assert state == "note"
    assert text.startswith(f"files are parsed without {words}")


def _may_have_its_own_network() -> bool:
    program = "import ctypes, sys; l = ctypes.CDLL(None); sys.exit(l.unshare(0x50000000) != 0 and l.unshare(0x40000000) != 0)"
    return subprocess.run([sys.executable, "-I", "-c", program], check=False).returncode == 0


def _landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1))
