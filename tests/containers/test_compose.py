"""The compose file as it is, brought up by podman: what it promises is looked at from outside and from within."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

LEAVE = "How many days of annual leave does an employee have in 2026?"
SENTENCE = "Every employee has 30 days of annual leave a year, whatever the length of service"
SERVICES = ("inhouse", "ingress", "ollama")
NO_CAPABILITY = "0" * 16


def test_the_image_is_small_has_neither_torch_nor_a_compiler_and_is_nobody_s_root(image: str, engine: Any) -> None:
    told = json.loads(engine.run("podman", "inspect", image).stdout)[0]
    assert told["Size"] < 1_200_000_000
    assert told["User"] == "10001:10001"
    look = "ls /opt/inhouse/lib/python3*/site-packages; for name in gcc cc c++ clang make pip; do command -v $name; done; true"
    there = engine.run("podman", "run", "--rm", "--network", "none", image, "sh", "-c", look).stdout.split()
    assert "chromadb" in there
    assert not {"torch", "sentence_transformers", "pip"} & set(there)
    assert not [name for name in there if name.startswith("/")]


def test_a_question_is_answered_through_the_ingress_without_a_model(stack: Any, key: str) -> None:
    stack.up()
    answer = stack.ask(key, LEAVE)["inhouse"]
    assert answer["runtime"] == "extractive"
    assert SENTENCE in answer["answer"]
    refused = httpx2.get(stack.url + "/healthz", headers={"host": "elsewhere.example"}, trust_env=False)
    assert refused.status_code == 421


def test_the_pages_are_there_and_a_link_leads_to_the_ingress(stack: Any, key: str) -> None:
    stack.up()
    address, _, code = stack.inhouse("people", "link", "ana")["url"].partition("/sign-in#")
    with httpx2.Client(base_url=address, trust_env=False) as client:
        assert client.post("/web/sign-in", json={"credential": code}).status_code < 300
        assert "Ana" in client.get("/").text


def test_no_service_that_holds_data_reaches_an_address_or_a_name_outside(
    outside: Any, stack: Any, engine: Any, image: str, key: str, ollama: Callable[[], None]
) -> None:
    ollama()
    fetch = ("python3", "-c", "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)")
    # From the network of the ingress it is reached: what the others are refused is there to be had.
    stack.inside("ingress", "wget", "-q", "-O", "/dev/null", "--timeout=5", "--tries=1", outside.url)
    engine.run("podman", "run", "--rm", "--network", "inhouse_edge", image, *fetch, "http://from-edge.example:8000/")
    for service, name in (("inhouse", "from-inhouse.example"), ("ollama", "from-ollama.example")):
        for url, error in ((outside.url, "Network is unreachable"), (f"http://{name}:8000/", "name resolution")):
            done = stack.inside(service, *fetch, url, check=False)
            assert done.returncode != 0, (service, url)
            assert error in done.stderr, (service, url, done.stderr)
    stack.inside("ingress", "wget", "-q", "-O", "/dev/null", "--tries=1", "http://from-ingress.example:8000/", check=False)
    assert stack.ask(key, LEAVE)["inhouse"]["runtime"] == "ollama"
    # Nor does anybody ask for a name to answer a question.
    assert set(outside.asked.read_text(encoding="utf-8").split()) == {"from-edge.example"}


def test_killed_services_come_back_with_nothing_lost_and_read_no_document_again(
    stack: Any, engine: Any, key: str, ollama: Callable[[], None]
) -> None:
    ollama()
    before = {service: stack.container(service) for service in SERVICES}
    documents, runs = stack.inhouse("documents", "list"), [run["id"] for run in stack.runs()]
    asked = stack.ask(key, LEAVE)["inhouse"]
    engine.run("kill", "-KILL", *(str(container["State"]["Pid"]) for container in before.values()))
    for service, container in before.items():
        stack.until(lambda service=service, container=container: back(stack, service, container))
        assert stack.container(service)["Id"] == container["Id"]
    stack.until(stack.ready)
    assert stack.inhouse("documents", "list") == documents
    assert [run["id"] for run in stack.runs()] == runs
    assert stack.ask(key, LEAVE)["inhouse"]["runtime"] == "ollama"
    assert stack.inside("inhouse", "inhouse", "audit", "verify", "--expect", asked["audit_id"]).returncode == 0


def back(stack: Any, service: str, before: dict[str, Any]) -> bool:
    """Whether a container has been started once more and runs."""
    now = stack.container(service)
    return bool(now["RestartCount"] == before["RestartCount"] + 1 and now["State"]["Running"])


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_no_powers_nothing_to_write_to_but_its_volume_and_limits(
    stack: Any, ollama: Callable[[], None], service: str
) -> None:
    ollama()
    state = stack.inside(service, "cat", "/proc/1/status").stdout
    lines = dict(line.split(":", 1) for line in state.splitlines())
    assert lines["Uid"].split() == ["10001"] * 4
    assert lines["CapEff"].strip() == lines["CapBnd"].strip() == NO_CAPABILITY
    assert lines["NoNewPrivs"].strip() == "1"
    mounts = [line.split() for line in stack.inside(service, "cat", "/proc/1/mounts").stdout.splitlines()]
    # Of the file systems that hold files, only these can be written to.
    disks = {
        where: rights.split(",")[0] for _, where, kind, rights, *_ in mounts if kind in ("overlay", "ext4", "xfs", "btrfs")
    }
    assert disks["/"] == "ro"
    ours = {where: right for where, right in disks.items() if where.startswith(("/data", "/documents", "/var", "/etc/hap"))}
    expected = {
        "inhouse": {"/data": "rw", "/documents": "ro"},
        "ingress": {"/etc/haproxy.cfg": "ro"},
        "ollama": {"/var/tmp": "rw"},
    }
    assert ours == expected[service]
    limits = stack.container(service)["HostConfig"]
    assert limits["Memory"] > 0
    assert limits["PidsLimit"] > 0
    assert limits["RestartPolicy"]["Name"] == "unless-stopped"
    healthy = stack.engine.run("podman", "healthcheck", "run", stack.container(service)["Id"], check=False)
    assert service == "ollama" or healthy.returncode == 0, healthy.stdout


def test_a_model_answers_through_the_ingress_and_what_it_says_comes_while_it_speaks(
    stack: Any, key: str, ollama: Callable[[], None]
) -> None:
    ollama()
    spoken = stack.ask(key, LEAVE)["inhouse"]
    assert (spoken["runtime"], spoken["model"]) == ("ollama", "tiny:latest")
    # A model of this size says nothing that a source supports, and it does say something.
    assert spoken["refused"]
    assert spoken["unsupported"]
    numbers = "".join(f"[{number}]" for number in range(1, 4))
    said = f"{SENTENCE} {numbers}. \nNothing else is known of it {numbers}.\n"
    stack.engine.run("podman", "exec", "-i", stack.container("ollama")["Id"], "sh", "-c", "cat > /tmp/said", given=said)
    body = {"model": "inhouse", "stream": True, "messages": [{"role": "user", "content": LEAVE}]}
    request = {"json": body, "headers": {"Authorization": f"Bearer {key}"}, "timeout": 60}
    with httpx2.Client(trust_env=False) as client, client.stream("POST", f"{stack.url}/v1/chat/completions", **request) as got:
        lines = got.iter_lines()
        # The model goes on only after this has come through.
        assert any(SENTENCE in line for line in lines)
        stack.inside("ollama", "touch", "/tmp/go")
        *_, last, end = (line.removeprefix("data: ") for line in lines if line)
    assert end == "[DONE]"
    answer = json.loads(last)["inhouse"]
    assert answer["runtime"] == "ollama"
    assert SENTENCE in answer["answer"]
    assert "people/leave-policy-2026.md" in {one["path"] for one in answer["citations"]}
    assert any("Nothing else" in sentence for sentence in answer["unsupported"])


def test_with_a_certificate_as_a_secret_the_ingress_speaks_tls_alone(
    stack: Any, engine: Any, key: str, repository: Path
) -> None:
    made = engine.folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(engine.folder / "key.pem"), "-out", str(engine.folder / "chain.pem")]
    subprocess.run(command, check=True, capture_output=True)
    made.write_text((engine.folder / "chain.pem").read_text() + (engine.folder / "key.pem").read_text())
    made.chmod(0o600)
    os.chown(made, 10001, 10001)
    address = stack.url.replace("http", "https")
    trusting = ssl.create_default_context(cafile=str(engine.folder / "chain.pem"))
    with httpx2.Client(base_url=address, verify=trusting, trust_env=False) as client:

        def ready() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx2.TransportError:
                return False

        stack.up("-f", str(repository / "deploy" / "tls.yml"), ready=ready, CERTIFICATE_FILE=str(made))
        said = client.post("/web/sign-in", json={"credential": key}).headers["set-cookie"]
        assert said.startswith("__Host-inhouse_session=")
        with pytest.raises(httpx2.TransportError):
            httpx2.get(stack.url + "/healthz", trust_env=False)
