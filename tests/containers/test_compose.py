"""The compose file as it is, brought up by podman: that it answers, keeps what it has, and speaks TLS."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

LEAVE = "How many days of annual leave does an employee have in 2026?"
SENTENCE = "Every employee has 30 days of annual leave a year, whatever the length of service"


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
    stack.up(INHOUSE_SERVER__PUBLIC_URL=stack.url)
    link = stack.inhouse("people", "link", "ana")["url"]
    assert link.startswith(f"{stack.url}/sign-in#")
    code = link.partition("#")[2]
    with httpx2.Client(base_url=stack.url, trust_env=False) as client:
        assert client.post("/web/sign-in", json={"credential": code}).status_code < 300
        assert "Ana" in client.get("/").text


def test_a_killed_service_comes_back_with_nothing_lost_and_reads_no_document_again(stack: Any, key: str) -> None:
    stack.up()
    before, documents = stack.container("inhouse"), stack.inhouse("documents", "list")
    runs = [run["id"] for run in stack.runs()]
    asked = stack.ask(key, LEAVE)["inhouse"]
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    stack.until(lambda: stack.container("inhouse")["RestartCount"] == before["RestartCount"] + 1)
    stack.until(stack.ready)
    assert stack.container("inhouse")["Id"] == before["Id"]
    assert stack.inhouse("documents", "list") == documents
    assert [run["id"] for run in stack.runs()] == runs
    assert stack.ask(key, LEAVE)["inhouse"]["answer"] == asked["answer"]
    assert stack.inside("inhouse", "inhouse", "audit", "verify", "--expect", asked["audit_id"]).returncode == 0


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
