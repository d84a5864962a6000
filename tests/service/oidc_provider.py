"""An identity provider on loopback that signs whatever a test wants, also what no honest one would."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from joserfc.jws import JWSRegistry

CLIENT, AUDIENCE, SECRET = "inhouse-pages", "inhouse-api", "secret:of the client/%"


@cache
def rsa_key(id: str) -> RSAKey:
    """A key of that id; to make one takes a moment."""
    return RSAKey.generate_key(2048, parameters={"kid": id, "use": "sig", "alg": "RS256"})


@cache
def ec_key(id: str) -> ECKey:
    """A key of that id."""
    return ECKey.generate_key("P-256", parameters={"kid": id, "use": "sig", "alg": "ES256"})


def encoded(part: Any) -> str:
    """A part of a token."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass
class Provider:
    """What it publishes, signs with and answers; each test changes it."""

    issuer: str = ""
    keys: list[Key] = field(default_factory=lambda: [rsa_key("one"), ec_key("two")])
    signing: Key = field(default_factory=lambda: rsa_key("one"))
    account: dict[str, Any] = field(default_factory=lambda: {"sub": "1", "preferred_username": "ana", "name": "Ana"})
    spoils: dict[str, Any] = field(default_factory=dict)
    """Claims of the next ID tokens that are not what they should be."""
    document: dict[str, Any] = field(default_factory=dict)
    """What its discovery document says otherwise."""
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """What a path is answered with in place of what it should be: status, headers, body."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def claims(self, **said: Any) -> dict[str, Any]:
        """Claims of an access token of the account, for an hour; None leaves one out."""
        now = int(time.time())
        whole = {"iss": self.issuer, "aud": AUDIENCE, "exp": now + 3600, "iat": now, **self.account, **said}
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, key: Key | None = None, **said: Any) -> str:
        """An access token, signed."""
        key = key or self.signing
        whole = {"alg": key.alg or "HS256", "kid": key.kid, "typ": "at+jwt", **(header or {})}
        whole = {name: value for name, value in whole.items() if value is not None}
        registry = JWSRegistry(algorithms=[whole["alg"]], strict_check_header=False)
        return jwt.encode(whole, self.claims(**said), key, registry=registry)

    def signed_by_hand(self, header: dict[str, Any], signature: bytes = b"") -> str:
        """A token of any header, with whatever stands where its signature should be."""
        return f"{encoded(header)}.{encoded(self.claims())}.{encoded(signature)}"

    def confused(self, algorithm: str = "HS256") -> str:
        """A token whose shared secret is the published key: who takes the algorithm from the header believes it."""
        public = self.signing.as_pem(private=False)  # type: ignore[union-attr]
        signed = f"{encoded({'alg': algorithm, 'kid': self.signing.kid, 'typ': 'at+jwt'})}.{encoded(self.claims())}"
        return f"{signed}.{encoded(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"

    def authorize(self, query: dict[str, str]) -> str:
        """The account agrees: where the browser is sent back to."""
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return query["redirect_uri"] + "?" + urlencode({"code": code, "state": query["state"], "iss": self.issuer})

    def redeem(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The tokens for a code, once, for who can show what its challenge was made of."""
        self.forms.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or asked["code_challenge"] != encoded(digest)
            or asked["code_challenge_method"] != "S256"
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant", "error_description": "planted by the provider"}
        said = {"aud": CLIENT, "nonce": asked["nonce"], **self.spoils}
        header = {"typ": "JWT"}
        return 200, {"id_token": self.token(header, **said), "access_token": self.token(), "token_type": "Bearer"}


def certificate(folder: Path, name: str = "localhost") -> tuple[Path, ssl.SSLContext]:
    """A certificate for that name which signs itself, and what serves with it."""
    key, called = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    written, secret = folder / f"{name}.pem", folder / f"{name}.key"
    written.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(written, secret)
    return written, context


@contextmanager
def oidc_provider(tls: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """The provider, listening on a free port of loopback; with TLS as `localhost` where there is a context for it."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            if parts.path in provider.answers:
                self.reply(*provider.answers[parts.path])
            elif parts.path == "/.well-known/openid-configuration":
                endpoints = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
                endpoints |= {"end_session_endpoint": "/leave"}
                found = {name: provider.issuer + path for name, path in endpoints.items()}
                found |= {"issuer": provider.issuer, "authorization_response_iss_parameter_supported": True}
                self.json(200, {**found, **provider.document})
            elif parts.path == "/keys":
                self.json(200, {"keys": [key.as_dict(private=False) for key in provider.keys]})
            elif parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.reply(302, {"location": provider.authorize(query)}, b"")
            else:
                self.json(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            provider.asked.append(self.path)
            provider.authorizations.append(self.headers["authorization"])
            if self.path in provider.answers:
                self.reply(*provider.answers[self.path])
            else:
                self.json(*provider.redeem({name: values[0] for name, values in parse_qs(body).items()}))

        def json(self, status: int, said: Any) -> None:
            self.reply(status, {"content-type": "application/json"}, json.dumps(said).encode())

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    provider.issuer = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
