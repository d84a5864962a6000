"""The compose file, brought up as it is: its own image over a bootstrapped base, stand-ins under the names of the others.

Everything that podman writes lies in one folder and goes with it. The folder is the tests' own, and so is the namespace of
mounts in which all commands of podman run: where the machine mixes both versions of control groups, podman's runtime refuses
the mix, and there the newer one is out of its sight.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

NEEDED = ("podman", "buildah", "unshare", "nsenter", "mmdebstrap")
SUBNET = "10.231.77"
IMAGE = "localhost/inhouse:0.1.0"
CONTAINERS_CONF = """
[containers]
# Without the right to raise them, the limits that podman would ask for are refused.
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
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
INGRESS = "apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy wget >/dev/null"


@dataclass(frozen=True)
class Engine:
    """Podman with a store of its own, in a namespace of mounts of its own."""

    folder: Path
    holder: int
    environment: Mapping[str, str]

    def run(
        self, *command: str, given: str | None = None, check: bool = True, seconds: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command in that namespace."""
        whole = ["nsenter", "-t", str(self.holder), "-m", f"--wd={self.folder}", "--", *command]
        variables = {**os.environ, **self.environment, **environment}
        done = subprocess.run(whole, env=variables, input=given, capture_output=True, text=True, timeout=seconds)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def build(self, context: Path, base: str, tag: str, pip: tuple[str, ...]) -> None:
        """An image from the Dockerfile of a folder."""
        self.run(
            *("buildah", "bud", "--format", "docker", "--network", "host", "--build-arg", f"BASE_IMAGE={base}"),
            *(*pip, "-t", tag, str(context)),
            seconds=600,
        )


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Podman, or a skip that says what this machine lacks."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root, and the programs {', '.join(NEEDED)}; missing: {', '.join(missing) or 'root'}")
    folder = Path(tempfile.mkdtemp(prefix="inhouse-containers-"))
    (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
    (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
    environment = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    waits = "umount /sys/fs/cgroup/unified 2>/dev/null; touch ready; exec sleep infinity"
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", waits]
    holder = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    made = Engine(folder, holder.pid, environment)
    try:
        wait_for(lambda: (folder / "ready").exists() or holder.poll() is not None)
        tried = made.run("podman", "info", check=False) if holder.poll() is None else None
        if tried is None or tried.returncode != 0:
            pytest.skip(f"this machine cannot run containers: {tried.stderr[-300:] if tried else 'unshare is forbidden'}")
        yield made
    finally:
        if holder.poll() is None:
            made.run("podman", "system", "reset", "--force", check=False)
        holder.kill()
        holder.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The image to build on: BASE_IMAGE where that is set, else a Debian of its own, so that no registry is needed."""
    if os.environ.get("BASE_IMAGE"):
        return os.environ["BASE_IMAGE"]
    packages = "python3,python3-venv,ca-certificates,tesseract-ocr,tesseract-ocr-eng"
    engine.run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", "base.tar", seconds=600)
    engine.run("podman", "import", "--quiet", "base.tar", "localhost/base:1")
    (engine.folder / "base.tar").unlink()
    tried = engine.run("podman", "run", "--rm", "--network", "none", "localhost/base:1", "true", check=False)
    if tried.returncode != 0:
        pytest.skip(f"this machine cannot run containers: {tried.stderr[-300:]}")
    return "localhost/base:1"


@pytest.fixture(scope="session")
def pip(engine: Engine) -> tuple[str, ...]:
    """The options that tell a build where packages come from, as this machine's own environment says."""
    lines, options = ["[global]"], []
    certificates = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if certificates:
        lines.append("cert = /run/secrets/certificates")
        options = ["--secret", f"id=certificates,src={certificates}"]
    if os.environ.get("PIP_INDEX_URL"):
        lines.append(f"index-url = {os.environ['PIP_INDEX_URL']}")
    (engine.folder / "pip.conf").write_text("\n".join(lines) + "\n")
    return (*options, "--secret", f"id=pip.conf,src={engine.folder / 'pip.conf'}")


@pytest.fixture(scope="session")
def image(engine: Engine, base: str, pip: tuple[str, ...], repository: Path) -> str:
    """The project's image, from its Dockerfile."""
    engine.build(repository, base, IMAGE, pip)
    return IMAGE


@dataclass
class Stack:
    """The compose file's services."""

    engine: Engine
    repository: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    _now: Any = None

    @property
    def url(self) -> str:
        """Where the ingress is published."""
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, given: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGUMENTS`, by podman."""
        own = {"LISTEN_ON": f"127.0.0.1:{self.port}", "INSIDE_NETWORK": SUBNET, **self.settings}
        files = ("-f", str(self.repository / "docker-compose.yml"))
        command = ("podman-compose", "--no-ansi", *files, *self.options, *arguments)
        return self.engine.run(*command, given=given, check=check, **own)

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


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def wait_for(true: Callable[[], bool], seconds: float = 150) -> None:
    """Looks until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def stack(engine: Engine, image: str, base: str, repository: Path) -> Iterator[Stack]:
    """The services, with nothing set: inhouse and the ingress, the examples as the documents. They ingest before it is handed
    over, and other tests bring it up otherwise: `up()` brings it back."""
    if engine.run("sh", "-c", "command -v podman-compose", check=False).returncode != 0:
        pytest.skip("needs podman-compose: pip install podman-compose")
    made = engine.run("buildah", "from", "--pull-never", base).stdout.strip()
    engine.run("buildah", "run", "--network", "host", made, "--", "sh", "-ec", INGRESS)
    engine.run("buildah", "commit", "--quiet", made, named_image(repository, "ingress"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    services = Stack(engine, repository, port)
    try:
        services.up()
        wait_for(lambda: any(run["outcome"] == "finished" for run in services.runs()))
        yield services
    finally:
        services.compose("down", "--volumes", check=False)


@pytest.fixture(scope="session")
def key(stack: Stack) -> str:
    """The key of Ana, an engineer, made as the guide says."""
    stack.up()
    stack.inside(
        "inhouse", "inhouse", "people", "add", "ana", "--name", "Ana", "--group", "engineering", "--clearance", "internal"
    )
    made: str = stack.inhouse("keys", "create", "ana")["secret"]
    return made


def named_image(repository: Path, service: str) -> str:
    """The image that the compose file names for a service."""
    text = (repository / "docker-compose.yml").read_text(encoding="utf-8")
    found = re.search(rf"^  {service}:\n(?:    .*\n)*?    image: (\S+)", text, re.MULTILINE)
    assert found is not None
    return found.group(1)


def reached(url: str) -> bool:
    """Whether this machine gets an answer from there."""
    try:
        return httpx2.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx2.TransportError:
        return False
