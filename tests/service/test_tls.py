"""TLS: the service's own, and that of a proxy before it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

HASHING = {"INHOUSE_EMBEDDING__KIND": "hashing"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate: install your system's package `openssl`")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="module")
def data(inhouse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data directory with one person, and her key."""
    made = tmp_path_factory.mktemp("d")
    assert inhouse(made, "init", **HASHING).returncode == 0
    inhouse(made, "people", "add", "ana", "--name", "Ana", "--clearance", "public", **HASHING)
    told = json.loads(inhouse(made, "keys", "create", "ana", "--json", **HASHING).stdout)
    return made, told["secret"]


def test_with_a_certificate_the_service_speaks_tls_alone_and_its_cookie_is_for_tls(
    certificate: tuple[Path, Path], data: tuple[Path, str], start_service: Any
) -> None:
    directory, key = data
    files = {"INHOUSE_SERVER__TLS_CERTIFICATE": str(certificate[0]), "INHOUSE_SERVER__TLS_KEY": str(certificate[1])}
    with start_service(directory, {}, **HASHING, **files) as running:
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        with httpx2.Client(base_url=running.url, verify=trusting, trust_env=False) as client:
            said = client.post("/web/sign-in", json={"credential": key}).headers["set-cookie"]
            assert said.startswith("__Host-inhouse_session=")
            assert "secure" in said.lower()
            assert client.get("/").status_code == 200
        with pytest.raises(httpx2.TransportError):
            httpx2.get(running.url.replace("https", "http"), trust_env=False)
        link = running.inhouse("people", "link", "ana").stdout
        assert link.startswith(f"{running.url}/sign-in#")


def test_a_proxy_is_believed_only_where_it_is_named(data: tuple[Path, str], start_service: Any) -> None:
    directory, key = data
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"}
    for named, cookie in ((True, "__Host-inhouse_session="), (False, "inhouse_session=")):
        settings = {"INHOUSE_SERVER__FORWARDED_ALLOW_IPS": "127.0.0.1"} if named else {}
        with start_service(directory, {}, **HASHING, **settings) as running:
            response = httpx2.post(f"{running.url}/web/sign-in", json={"credential": key}, headers=forwarded, trust_env=False)
            assert response.headers["set-cookie"].startswith(cookie)


def test_a_certificate_that_cannot_be_used_is_said_before_anything_listens(
    certificate: tuple[Path, Path], data: tuple[Path, str], inhouse: Callable[..., Any], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for options in (
        ("--tls-cert", str(certificate[0])),
        ("--tls-cert", str(broken), "--tls-key", str(certificate[1])),
        ("--tls-cert", str(tmp_path / "missing.pem"), "--tls-key", str(certificate[1])),
    ):
        done = inhouse(data[0], "serve", "--port", "0", *options, **HASHING)
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr


def test_behind_a_proxy_a_link_begins_with_where_people_reach_it(
    data: tuple[Path, str], inhouse_within: Callable[..., Any]
) -> None:
    outside = {"INHOUSE_SERVER__PUBLIC_URL": "https://ask.corp.example/"}
    assert inhouse_within(data[0], "people", "link", "ana", **HASHING, **outside).stdout.startswith(
        "https://ask.corp.example/sign-in#"
    )


@pytest.mark.parametrize(
    "url", ["ask.corp.example", "https://ask.corp.example/chat", "https://me@ask.corp.example", "ftp://a.example"]
)
def test_what_is_no_address_of_a_service_is_refused(
    data: tuple[Path, str], inhouse_within: Callable[..., Any], url: str
) -> None:
    done = inhouse_within(data[0], "people", "list", **HASHING, INHOUSE_SERVER__PUBLIC_URL=url)
    assert done.returncode == 3
    assert "server.public_url" in done.stderr
