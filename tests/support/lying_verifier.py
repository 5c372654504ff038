"""A verifier service over real HTTPS that really judges, with this project's verifier, and that tests can have lie.

    with VerifierService(roots=roots) as service:
        verifier = service.verifier()                       # a `RemoteVerifier` that has pinned its key
        service.twist = lambda claims: claims | {"aud": "somebody else"}

It is what `docs/spec/remote.md` writes, and no more of the service than that.
"""

from __future__ import annotations

import atexit
import json
import secrets
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws
from joserfc.jwk import ECKey
from tests.support.attested_guest import NO_CRL
from tests.support.manifests import AT

from twocvm_sdk.ear import POLICY_PREFIX, PROFILE
from twocvm_sdk.verifierhttps import Service
from twocvm_sdk.verifierkeys import KeySource, PinnedKeys
from twocvm_sdk.verifiers import RemoteVerifier
from twocvm_verifier import strictjson
from twocvm_verifier.appraisal import Question
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.evidence import parse_json
from twocvm_verifier.framing import sha256
from twocvm_verifier.manifest.parse import parse_manifest
from twocvm_verifier.policy.document import policy_of_document
from twocvm_verifier.snp.report import SIGNED_BYTES
from twocvm_verifier.snp.roots import Roots
from twocvm_verifier.verifier import SnpVerifier

Claims = dict[str, Any]
AUDIENCE = "2cvm"


@dataclass(kw_only=True)
class VerifierService:
    """A verifier service on this machine.

    Attributes:
        roots: Its trust anchors.
        at: Its clock.
        twist: What becomes of the claims before they are signed.
        header: What becomes of the header.
        answer: What becomes of the token: the body that is sent.
        discovery: What becomes of the document that says where the keys are.
        status: Of its answers.
        fields: Further header fields of its answers.
        pause_seconds: How long it waits before it answers.
        drip_seconds: How long it waits between two bytes of an answer.
        key: What it signs with.
        shown: The keys that it shows.
        questions: What was asked of it, in order.
        fetched: The paths that were fetched of it.
    """

    roots: Roots
    at: datetime = AT
    twist: Callable[[Claims], Claims] = lambda claims: claims
    header: Callable[[Claims], Claims] = lambda header: header
    answer: Callable[[str], bytes] = lambda token: json.dumps({"token": token, "appraisal": {}}).encode()
    discovery: Callable[[Claims], Claims] = lambda found: found
    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    pause_seconds: float = 0.0
    drip_seconds: float = 0.0
    key: Any = field(default_factory=lambda: ECKey.generate_key("P-256"))
    shown: list[Any] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.shown = self.shown or [self.key]
        self._verifier = SnpVerifier(roots=self.roots, crls=NO_CRL)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_files() / "server.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    @property
    def jwks(self) -> bytes:
        """The keys that it shows."""
        return json.dumps({"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.shown]}).encode()

    def service(self, *, seconds: float = 5.0) -> Service:
        """Return how it is reached."""
        return Service(url=self.url, ca=ca_file(), seconds=seconds)

    def verifier(
        self, *, keys: KeySource | None = None, allow_simulated: bool = True, seconds: float = 5.0
    ) -> RemoteVerifier:
        """Return who asks it, with its keys pinned unless told otherwise."""
        return RemoteVerifier(
            self.service(seconds=seconds),
            keys=keys or PinnedKeys(self.jwks),
            audience=AUDIENCE,
            allow_simulated=allow_simulated,
        )

    def appraise(self, body: bytes) -> str:
        """Judge what is asked, and return the token."""
        request = strictjson.parse_canonical(body, document="verifier keys", max_bytes=2 << 20)
        assert isinstance(request, dict)
        self.questions.append(request)
        evidence = parse_json(strictjson.canonical(request["evidence"]["cmw"]))
        question = Question(
            evidence=evidence,
            report_data=bytes.fromhex(request["expected_report_data"]),
            manifest=parse_manifest(strictjson.canonical(request["manifest"])),
            policy=policy_of_document(request["policy"]),
        )
        return self.sign(self.twist(self._claims(question, request["audience"])))

    def sign(self, claims: Claims) -> str:
        """Return a token with these claims."""
        header = self.header({"alg": "ES256", "kid": self.key.thumbprint(), "typ": "JWT"})
        signed = ".".join(strictjson.base64url(json.dumps(part).encode()) for part in (header, claims))
        # The algorithm itself: the library's front door refuses headers that a liar writes.
        signature = jws.JWSRegistry.algorithms[header["alg"]].sign(signed.encode(), self.key)
        return f"{signed}.{strictjson.base64url(signature)}"

    def _claims(self, question: Question, audience: str) -> Claims:
        verdict, code, authentic = self._verdict(question)
        now = int(self.at.timestamp())
        part = {"ear.status": verdict, "ear.appraisal-policy-id": POLICY_PREFIX + question.policy.sha256.hex()}
        bound = {"2cvm.report_data": question.report_data.hex()} if authentic else {}
        chip = {"2cvm.report": sha256(question.evidence.report[:SIGNED_BYTES]).hex(), **bound}
        return {
            "eat_profile": PROFILE,
            "iss": self.url,
            "aud": audience,
            "sub": f"2cvm:{verdict}",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": secrets.token_urlsafe(16),
            "2cvm.verdict": verdict,
            "2cvm.purpose": "release",
            **({"2cvm.code": code} if code else {}),
            "submods": {"cpu0": part | chip, "workload": part | {"2cvm.manifest": question.manifest.hash.hex()}},
        }

    def _verdict(self, question: Question) -> tuple[str, str, bool]:
        try:
            judgement = self._verifier.judge(question, at=self.at)
        except TwoCvmError as error:
            return "contraindicated", error.code, False
        found = judgement.appraisal.findings
        return str(judgement.appraisal.verdict), found[0].code if found else "", True


class _Server(ThreadingHTTPServer):
    service: VerifierService
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Show the keys, and where they are."""
        service = self.server.service
        service.fetched.append(self.path)
        if self.path == "/.well-known/openid-configuration":
            found = {"issuer": service.url, "jwks_uri": f"{service.url}/.well-known/jwks.json"}
            self._send(json.dumps(service.discovery(found)).encode())
        else:
            self._send(service.jwks)

    def do_POST(self) -> None:
        """Judge."""
        service = self.server.service
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(service.pause_seconds)
        self._send(service.answer(service.appraise(body)))

    def _send(self, body: bytes) -> None:
        service = self.server.service
        self.send_response(service.status)
        for name, value in {"Content-Type": "application/json", **service.fields}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not service.drip_seconds:
            self.wfile.write(body)
            return
        for byte in body:
            self.wfile.write(bytes([byte]))
            time.sleep(service.drip_seconds)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


def ca_file() -> Path:
    """Return the CA that vouches for every service of these tests, as a file."""
    return _files() / "ca.pem"


def stranger_ca_file() -> Path:
    """Return a CA that vouches for none of them."""
    return _files() / "stranger.pem"


@cache
def _files() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="twocvm-verifier-")
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    ca_key, key, stranger_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = _certificate("CA of the tests", ca_key, issuer=None, signer=ca_key)
    leaf = _certificate("verifier", key, issuer=ca, signer=ca_key)
    stranger = _certificate("CA of a stranger", stranger_key, issuer=None, signer=stranger_key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (path / "server.pem").write_bytes(private + leaf.public_bytes(Encoding.PEM))
    (path / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (path / "stranger.pem").write_bytes(stranger.public_bytes(Encoding.PEM))
    return path


def _certificate(name: str, key: Any, *, issuer: x509.Certificate | None, signer: Any) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=subject if issuer is None else issuer.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=datetime(2020, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2100, 1, 1, tzinfo=UTC),
    )
    extensions = [
        x509.BasicConstraints(ca=issuer is None, path_length=None),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
    ]
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, SHA256())
