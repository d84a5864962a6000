"""The compose file, brought up as it is: its own image over a bootstrapped base, stand-ins under the names of the others.

Podman runs in namespaces of its own, of mounts, processes and the network, which end with the tests, however those end: with
them go all containers, bridges, rules and locks. What is on the disk lies in one folder, and goes too, or at the next run.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

HERE = Path(__file__).resolve().parent
NEEDED = ("podman", "buildah", "crun", "iptables", "ip", "unshare", "nsenter", "setpriv", "mmdebstrap")
PREFIX = "inhouse-containers-"
OUTSIDE, BESIDE = "198.51.100.2", "198.51.100.1"
"""Two addresses that belong to nobody: of the namespace that plays the world outside, and of podman's end of the line to it."""

APT = ("Acquire::http", "Acquire::https", "Acquire::Check-Date", "Acquire::Check-Valid-Until")
IMAGE, BASE = "localhost/inhouse:0.1.0", "localhost/base:1"
CONTAINERS_CONF = """
[containers]
log_driver = "k8s-file"
# Without the right to raise them, the limits that podman would ask for are refused.
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
NAMESPACES = """
set -e
# Podman's runtime refuses a machine that mixes both versions of control groups; here the newer one is out of its sight.
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t tmpfs tmpfs /dev/shm
names=$(realpath /etc/resolv.conf)
mount -t tmpfs tmpfs /run
mkdir -p "$(dirname "$names")" && touch "$names"
mount --bind resolv.conf "$names"
ip link set lo up
touch ready
exec "$0" -c '
import os, time
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.1)
'
"""
"""What the first process does; then it waits for those whose parents have ended."""

ONLINE = """mount --bind online.conf "$(realpath /etc/resolv.conf)" && exec "$@" """
PROBE = """
set -e
mkdir probe && cd probe
set --
for name in bin lib lib64 sbin usr; do
    if [ -L /$name ]; then cp -P /$name .; elif [ -e /$name ]; then mkdir $name; set -- "$@" -v /$name:/$name:ro; fi
done
podman network create probe >/dev/null
podman run --rm --network probe "$@" --rootfs "$PWD" true
podman network rm probe >/dev/null
"""
"""Runs `true` of this machine in a container with an address, with nothing of the project in it."""

OLLAMA_FILE = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN python3 -m venv /opt/python
COPY requirements.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=certificates \
    /opt/python/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements.txt
COPY ollama_double.py ollama_server.py tiny.gguf /opt/
CMD ["/opt/python/bin/python", "/opt/ollama_double.py"]
"""
NAME_SERVER = """
import pathlib, socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
asked = pathlib.Path(sys.argv[2])
asked.touch()
while True:
    query, peer = server.recvfrom(2048)
    labels, place = [], 12
    while query[place]:
        labels.append(query[place + 1 : place + 1 + query[place]].decode())
        place += 1 + query[place]
    with asked.open("a") as log:
        log.write(".".join(labels) + "\\n")
    end = place + 5
    address = socket.inet_aton(sys.argv[1]) if query[end - 3] == 1 else b""
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + address if address else b""
    server.sendto(query[:2] + b"\\x81\\x80\\0\\1" + bytes([0, 1 if answer else 0]) + bytes(4) + query[12:end] + answer, peer)
"""
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Engine:
    """Podman with a store of its own, in namespaces of its own; `first` is the first process in them."""

    folder: Path
    first: int
    environment: Mapping[str, str]

    def enter(self, *command: str, online: bool = False) -> list[str]:
        """The command line that runs a command there; `online` with the network and the name servers of this machine."""
        entered = ["nsenter", "-t", str(self.first), "-m", "-p", f"--wd={self.folder}"]
        if online:
            return [*entered, "--", "unshare", "-m", "--propagation", "private", "sh", "-ec", ONLINE, "sh", *command]
        return [*entered, "-n", "--", *command]

    def run(
        self, *command: str, given: str | None = None, check: bool = True, online: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command there."""
        variables = {**os.environ, **self.environment, **environment}
        whole = self.enter(*command, online=online)
        done = subprocess.run(whole, env=variables, input=given, capture_output=True, text=True, timeout=600)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def build(self, context: Path, tag: str, pip: tuple[str, ...], base: str) -> None:
        """An image from the Dockerfile of a folder."""
        options = ("--format", "docker", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", *pip)
        self.run("buildah", "bud", *options, "-t", tag, str(context), online=True)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Within it, this thread and what it starts are in podman's network, where the ingress is published."""
        with open("/proc/thread-self/ns/net") as here, open(f"/proc/{self.first}/ns/net") as there:
            _enter_network(there.fileno())
            try:
                yield
            finally:
                _enter_network(here.fileno())


def _enter_network(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "this thread cannot enter a network namespace")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that nobody else removes while this lives; those that killed runs have left are removed."""
    root = os.open(tempfile.gettempdir(), os.O_RDONLY)
    # Held over both, so that nobody takes a folder that is just being made for one that was left.
    fcntl.flock(root, fcntl.LOCK_EX)
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        one = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(one)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    own = os.open(folder, os.O_RDONLY)
    fcntl.flock(own, fcntl.LOCK_EX)
    os.close(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(own)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Podman, or a skip that says what this machine lacks: a container with nothing of the project's in it must run."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"no containers: needs root and {', '.join(NEEDED)}; missing: {', '.join(missing) or 'root'}")
    with own_folder() as folder:
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
        (folder / "resolv.conf").write_text(f"nameserver {OUTSIDE}\n")
        shutil.copy("/etc/resolv.conf", folder / "online.conf")
        environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        namespaces = ("unshare", "-m", "-n", "-p", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private")
        # If this process is killed, the kernel ends them.
        command = ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-c", NAMESPACES, sys.executable]
        holder = subprocess.Popen(command, cwd=folder, stderr=(folder / "errors").open("w"))
        try:
            wait_for(lambda: (folder / "ready").exists() or holder.poll() is not None)
            if holder.poll() is not None:
                pytest.skip(f"no containers: this machine grants no namespaces: {(folder / 'errors').read_text()[-300:]}")
            made = Engine(folder, int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text()), environment)
            tried = made.run("sh", "-c", PROBE, check=False)
            if tried.returncode != 0:
                pytest.skip(f"no containers: podman runs none on this machine: {tried.stderr[-300:]}")
            yield made
            holder.kill()
            wait_for(lambda: not Path(f"/proc/{made.first}").exists())
        finally:
            holder.kill()
            holder.wait()


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The image to build on: BASE_IMAGE where that is set, else a Debian of its own, so that no registry is needed.

    That one is also in the place of the ingress, whose own image is pulled with BASE_IMAGE."""
    if os.environ.get("BASE_IMAGE"):
        engine.run("podman", "pull", "--quiet", named_image("ingress"), online=True)
        return os.environ["BASE_IMAGE"]
    packages = "python3,python3-venv,ca-certificates,tesseract-ocr,tesseract-ocr-eng,haproxy,wget"
    apt = engine.folder / "apt.conf"
    apt.write_text(said_by("apt-config", "dump", "--format", '%f "%v";%n', *APT))
    mirrors = said_by("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages", "Origin: Debian")
    sources = [f"deb {line} main" for line in sorted(set(mirrors.splitlines())) if line.split()[1].startswith("bookworm")]
    options = ("--quiet", "--variant=minbase", f"--include={packages}", f"--aptopt={apt}")
    engine.run("mmdebstrap", *options, "bookworm", "base.tar", *sources, online=True)
    engine.run("podman", "import", "--quiet", "base.tar", BASE)
    (engine.folder / "base.tar").unlink()
    engine.run("podman", "tag", BASE, named_image("ingress"))
    return BASE


@pytest.fixture(scope="session")
def pip(engine: Engine) -> tuple[str, ...]:
    """The options that tell a build where packages come from, as pip's own settings on this machine say."""
    told = said_by(sys.executable, "-m", "pip", "config", "list")
    # In the order of pip's own list, which begins with the environment: that has the last word.
    settings = dict(reversed(re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", told, re.MULTILINE)))
    lines, options = ["[global]", "retries = 8"], []
    if settings.get("cert"):
        lines.append("cert = /run/secrets/certificates")
        options = ["--secret", f"id=certificates,src={settings['cert']}"]
    for name in ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout"):
        # Folders of this machine are not in the image.
        values = [one for one in settings.get(name, "").replace("\\n", " ").split() if not one.startswith(("file:", "/"))]
        lines += [f"{name} = {' '.join(values)}"] * bool(values)
    (engine.folder / "pip.conf").write_text("\n".join(lines) + "\n")
    return (*options, "--secret", f"id=pip.conf,src={engine.folder / 'pip.conf'}")


@pytest.fixture(scope="session")
def image(engine: Engine, base: str, pip: tuple[str, ...], repository: Path) -> str:
    """The project's image, from its Dockerfile."""
    engine.build(repository, IMAGE, pip, base)
    return IMAGE


@dataclass(frozen=True)
class Outside:
    """The world outside: a web server, and a name server that answers every name and writes down what it was asked."""

    url: str
    asked: Path


@pytest.fixture(scope="session")
def outside(engine: Engine) -> Outside:
    """A second network namespace with both servers, which podman's can reach."""
    for change in (
        "netns add outside",
        "link add inner type veth peer name outer netns outside",
        f"address add {BESIDE}/30 dev inner",
        "link set inner up",
        f"-n outside address add {OUTSIDE}/30 dev outer",
        "-n outside link set outer up",
    ):
        engine.run("ip", *change.split())
    (engine.folder / "web").mkdir()
    within = ("ip", "netns", "exec", "outside", sys.executable)
    web = ("-m", "http.server", "8000", "--bind", OUTSIDE, "--directory", str(engine.folder / "web"))
    told = Outside(f"http://{OUTSIDE}:8000/", engine.folder / "asked")
    for program in (web, ("-c", NAME_SERVER, OUTSIDE, str(told.asked))):
        subprocess.Popen(engine.enter(*within, *program), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with engine.network():
        wait_for(lambda: told.asked.exists() and reached(told.url))
    return told


@dataclass
class Stack:
    """The compose file's services."""

    engine: Engine
    repository: Path
    url: str = "http://127.0.0.1:8080"
    settings: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    _now: Any = None

    def compose(self, *arguments: str, given: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGUMENTS`, by podman."""
        files = ("-f", str(self.repository / "docker-compose.yml"))
        command = ("podman-compose", "--no-ansi", *files, *self.options, *arguments)
        return self.engine.run(*command, given=given, check=check, **self.settings)

    def up(self, *options: str, ready: Callable[[], bool] | None = None, **settings: str) -> None:
        """Brings it up with these options and settings; what is up so already is left alone. `ready` says whether it is
        ready, where plain HTTP would not tell."""
        if self._now == (options, settings):
            return
        self._now, self.options, self.settings = None, options, settings
        self.compose("up", "-d")
        self.until(ready or self.ready)
        self._now = (options, settings)

    def until(self, true: Callable[[], bool]) -> None:
        """Waits for something to come true."""
        with self.engine.network():
            wait_for(true)

    def ready(self) -> bool:
        """Whether the ingress has somebody behind it who is ready."""
        return reached(f"{self.url}/readyz")

    def container(self, service: str) -> dict[str, Any]:
        """What podman tells of a service's container."""
        found = self.engine.run("podman", "ps", "-aq", "--filter", f"label=com.docker.compose.service={service}").stdout.split()
        assert len(found) == 1, (service, found)
        told: dict[str, Any] = json.loads(self.engine.run("podman", "inspect", found[0]).stdout)[0]
        return told

    def inside(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in a service's container."""
        return self.engine.run("podman", "exec", self.container(service)["Id"], *command, check=check)

    def inhouse(self, *arguments: str) -> Any:
        """A command line beside the service, and its JSON."""
        return json.loads(self.inside("inhouse", "inhouse", *arguments, "--json").stdout)

    def runs(self) -> list[dict[str, Any]]:
        """The runs of ingest, newest first."""
        found: list[dict[str, Any]] = self.inhouse("runs")["runs"]
        return found

    def ask(self, key: str, question: str, **more: Any) -> Any:
        """An answer, through the ingress."""
        body = {"model": "inhouse", "messages": [{"role": "user", "content": question}], **more}
        response = httpx2.post(f"{self.url}/v1/chat/completions", json=body, headers=bearer(key), trust_env=False, timeout=120)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="session")
def stack(engine: Engine, image: str, outside: Outside, repository: Path) -> Stack:
    """The services, with nothing set: inhouse and the ingress, the examples as the documents. They ingest before it is handed
    over, and other tests bring it up otherwise: `up()` brings it back."""
    services = Stack(engine, repository)
    services.up()
    wait_for(lambda: any(run["outcome"] == "finished" for run in services.runs()))
    return services


@pytest.fixture(autouse=True)
def _in_its_network(engine: Engine) -> Iterator[None]:
    """Each test is where the ingress is published."""
    with engine.network():
        yield


@pytest.fixture(scope="session")
def key(stack: Stack) -> str:
    """The key of Ana, an engineer, made as the guide says."""
    stack.up()
    stack.inside(
        "inhouse", "inhouse", "people", "add", "ana", "--name", "Ana", "--group", "engineering", "--clearance", "internal"
    )
    made: str = stack.inhouse("keys", "create", "ana")["secret"]
    return made


@pytest.fixture(scope="session")
def ollama(
    engine: Engine, stack: Stack, base: str, pip: tuple[str, ...], repository: Path, tiny_gguf: Path
) -> Callable[[], None]:
    """Brings the profile `ollama` up, with the double in place of Ollama's image."""
    context = engine.folder / "ollama"
    context.mkdir()
    (context / "Dockerfile").write_text(OLLAMA_FILE)
    lock = (repository / "requirements-development.lock").read_text(encoding="utf-8")
    entry = re.search(r"^xllamacpp==\S+(?: \\\n\s+--hash=\S+)+", lock, re.MULTILINE)
    assert entry is not None
    (context / "requirements.txt").write_text(entry.group() + "\n")
    shutil.copy(tiny_gguf, context / "tiny.gguf")
    shutil.copy(HERE / "ollama_double.py", context)
    shutil.copy(repository / "tests" / "service" / "ollama_server.py", context)
    engine.build(context, named_image("ollama"), pip, base)
    settings = {"INHOUSE_RUNTIME__KIND": "ollama", "INHOUSE_RUNTIME__MODEL": "tiny:latest"}
    return lambda: stack.up("--profile", "ollama", **settings)


def named_image(service: str) -> str:
    """The image that the compose file names for a service."""
    text = (HERE.parents[1] / "docker-compose.yml").read_text(encoding="utf-8")
    found = re.search(rf"^  {service}:\n(?:    .*\n)*?    image: (\S+)", text, re.MULTILINE)
    assert found is not None
    return found.group(1)


def said_by(*command: str) -> str:
    """What a command prints; nothing where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def wait_for(true: Callable[[], bool], seconds: float = 150) -> None:
    """Looks until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.2)


def reached(url: str) -> bool:
    """Whether this machine gets an answer from there."""
    try:
        return httpx2.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx2.TransportError:
        return False
