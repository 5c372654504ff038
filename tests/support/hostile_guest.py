"""What an attacker can put at the other end: forged certificates, and a TLS server that does whatever a test says.

    forgery = Forgery(scene)                                  # everything right: then one thing is made wrong
    with HostileGuest(forgery.context()) as hostile:          # completes handshakes and says nothing
        with pytest.raises(HandshakeError):
            scene.connect(hostile.url)
    assert hostile.shown == [] and hostile.heard == b""       # no client certificate and no byte came

A script is called with each completed connection: `HostileGuest(context, script=lambda talk: talk.say(b"..."))`. What
is heard is remembered whatever the script does with it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from tests.support.attested_guest import AFTER_LOCK, Scene, chip
from tests.support.manifests import NOT_AFTER, NOT_BEFORE

from twocvm_guest.platforms.simulated import sign_report
from twocvm_verifier import framing, strictjson
from twocvm_verifier.binding import Claims, LogPosition, cert_claims, channel_claims
from twocvm_verifier.evidence import Evidence, encode_cbor, encode_json
from twocvm_verifier.ratls.certificate import EVIDENCE_OID

# SNP ABI 56860 r1.58, 7.3, table 23: where fields lie in a report, and how long they are.
FIELDS: Final[Mapping[str, tuple[int, int]]] = {
    "policy": (0x008, 8),
    "vmpl": (0x030, 4),
    "report_data": (0x050, 64),
    "measurement": (0x090, 48),
    "host_data": (0x0C0, 32),
    "report_id": (0x140, 32),
    "chip_id": (0x1A0, 64),
}
BODY_BYTES: Final = 0x2A0
_WAIT_SECONDS: Final = 5.0


@dataclass(kw_only=True)
class Forgery:
    """A guest's certificate and channel evidence, with any part of them wrong.

    Attributes:
        scene: The honest world around.
        key: The TLS key.
        signer: Who signs the certificate: the key itself.
        issuer: The name in the place of the issuer's; the subject's is `guest`.
        hash: What is signed: SHA-256.
        fields: Fields of every report to overwrite; the chip signs what comes out.
        claims: What the certificate's evidence claims, instead of the right claims.
        report: The certificate's report, instead of one over the claims.
        value: The extension's whole value, instead of an OCTET STRING with the evidence.
        extensions: Further extensions, with whether they are critical.
        critical: Whether the evidence is critical.
        log: What claims say of the log.
    """

    scene: Scene
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    signer: Any = None
    issuer: str = "guest"
    hash: Any = field(default_factory=SHA256)
    fields: dict[str, bytes] = field(default_factory=dict)
    claims: Claims | bytes | None = None
    report: bytes | None = None
    evidence: Evidence | None = None
    value: bytes | None = None
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    critical: bool = False
    carries_evidence: bool = True
    log: LogPosition = AFTER_LOCK

    @property
    def spki_der(self) -> bytes:
        """The key's SPKI."""
        der: bytes = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return der

    @property
    def spki_sha256(self) -> bytes:
        """The hash of the key's SPKI."""
        return framing.sha256(self.spki_der)

    @property
    def manifest(self) -> bytes:
        """The hash of the manifest that participants expect."""
        return self.scene.world.manifest.hash

    def report_over(self, claims: Claims, **fields: bytes) -> bytes:
        """Return a report over `claims`, signed by the chip with `self.fields` and `fields` overwritten."""
        body = bytearray(self.scene.platform.report(claims.report_data())[:BODY_BYTES])
        for name, value in {**self.fields, **fields}.items():
            start, size = FIELDS[name]
            if len(value) != size:
                raise ValueError(f"{name}: want {size} bytes")
            body[start : start + size] = value
        return sign_report(bytes(body), key=chip().certificates.vcek_key)

    def evidence_for(self, claims: Claims, **fields: bytes) -> Evidence:
        """Return evidence over `claims`."""
        platform = self.scene.platform
        return Evidence(
            report=self.report_over(claims, **fields),
            claims=claims.encode(),
            vek=platform.vek(),
            chain=platform.chain(),
        )

    def certificate_evidence(self) -> Evidence:
        """Return the evidence in the certificate."""
        if self.evidence is not None:
            return self.evidence
        right = cert_claims(spki_sha256=self.spki_sha256, manifest=self.manifest, log=self.log)
        claims = right if self.claims is None else self.claims
        over = claims if isinstance(claims, Claims) else right
        return Evidence(
            report=self.report_over(over) if self.report is None else self.report,
            claims=claims.encode() if isinstance(claims, Claims) else claims,
            vek=self.scene.platform.vek(),
            chain=self.scene.platform.chain(),
        )

    def certificate(self) -> x509.Certificate:
        """Return the leaf."""
        builder = x509.CertificateBuilder(
            issuer_name=_name(self.issuer),
            subject_name=_name("guest"),
            public_key=self.key.public_key(),
            serial_number=1,
            not_valid_before=NOT_BEFORE.replace(tzinfo=None),
            not_valid_after=NOT_AFTER.replace(tzinfo=None),
        )
        if self.carries_evidence:
            value = octet_string(encode_cbor(self.certificate_evidence())) if self.value is None else self.value
            builder = builder.add_extension(x509.UnrecognizedExtension(EVIDENCE_OID, value), critical=self.critical)
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.signer or self.key, self.hash)

    def channel_evidence(self, talk: Talk, nonce: bytes, /, **changes: Any) -> Evidence:
        """Return channel evidence for the attacker's own connection `talk`, with `changes` to claims or report."""
        exported = talk.tls.export_keying_material(b"Attestation", 32, nonce)
        claims = {
            "spki_sha256": self.spki_sha256,
            "manifest": self.manifest,
            "log": self.log,
            "nonce": nonce,
            "binder": framing.binder(spki_der=self.spki_der, exported=exported),
        }
        wrong_claims = {name: value for name, value in changes.items() if name in claims}
        wrong_fields = {name: value for name, value in changes.items() if name in FIELDS}
        return self.evidence_for(channel_claims(**{**claims, **wrong_claims}), **wrong_fields)

    def context(self, certificate: x509.Certificate | None = None) -> SSL.Context:
        """Return a TLS 1.3 context that shows the certificate."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(certificate or self.certificate())
        context.use_privatekey(self.key)
        return context


@dataclass
class Talk:
    """One completed connection to a hostile guest.

    Attributes:
        tls: The connection.
        heard: What came over it.
    """

    tls: SSL.Connection
    heard: bytearray = field(default_factory=bytearray)

    def hear(self) -> bytes:
        """Wait for the next bytes and return them; empty at the end."""
        try:
            data = self.tls.recv(1 << 16)
        except SSL.Error:
            return b""
        self.heard += data
        return data

    def question(self) -> bytes:
        """Wait for a request for evidence and return its nonce."""
        request = b""
        while b"\r\n\r\n" not in request or not request.endswith(b"}"):
            piece = self.hear()
            if not piece:
                raise EOFError("the client went away")
            request += piece
        return strictjson.parse_base64url(json.loads(request.partition(b"\r\n\r\n")[2])["nonce"])

    def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.tls.sendall(data)

    def answer(self, body: bytes, *fields: str, status: str = "200 OK", length: str | None = None) -> None:
        """Send an answer that is framed as a guest's, with further fields."""
        self.say(framed(body, *fields, status=status, length=length))

    def prove(self, forgery: Forgery, **changes: Any) -> None:
        """Answer one request for evidence, with `changes` as `Forgery.channel_evidence` takes them."""
        self.answer(encode_json(forgery.channel_evidence(self, self.question(), **changes)))


class HostileGuest:
    """A TLS server on this machine, in threads; use as a context manager.

    Args:
        context: What it shows.
        script: What it does on each connection once the handshake is complete; by default it only listens.

    Attributes:
        shown: The client certificates that it got to see, as DER.
        talks: The connections whose handshake was completed.
    """

    def __init__(self, context: SSL.Context, script: Callable[[Talk], None] = lambda talk: None) -> None:
        self.shown: list[bytes] = []
        self.talks: list[Talk] = []
        self._context = context
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        context.set_verify(SSL.VERIFY_PEER, self._on_client)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def heard(self) -> bytes:
        """All that came over all its connections."""
        return b"".join(bytes(talk.heard) for talk in self.talks)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(2 * _WAIT_SECONDS)

    def _on_client(self, _connection: Any, certificate: Any, _error: int, _depth: int, _ok: int) -> bool:
        self.shown.append(certificate.to_cryptography().public_bytes(Encoding.DER))
        return True

    def _listen(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(accepted,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        # Blocking for OpenSSL, and yet never for ever.
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(_WAIT_SECONDS))
        tls = SSL.Connection(self._context, accepted)
        tls.set_accept_state()
        with accepted, contextlib.suppress(SSL.Error, OSError, EOFError):
            tls.do_handshake()
            talk = Talk(tls)
            self.talks.append(talk)
            self._script(talk)
            while talk.hear():
                pass


def framed(body: bytes, *fields: str, status: str = "200 OK", length: str | None = None) -> bytes:
    """Return an answer with the content type of evidence and one Content-Length, and further fields."""
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: application/cmw+json",
        f"content-length: {len(body) if length is None else length}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def octet_string(content: bytes) -> bytes:
    """Return the DER OCTET STRING of a content from 256 to 65535 bytes."""
    return b"\x04\x82" + len(content).to_bytes(2, "big") + content


def with_second_copy(forgery: Forgery) -> x509.Certificate:
    """Return the leaf with the evidence extension twice, which no builder makes: the second gets its OID by surgery."""
    other = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.36")
    forgery.extensions = ((x509.UnrecognizedExtension(other, b"\x04\x01\x00"), False),)
    tbs = forgery.certificate().tbs_certificate_bytes
    oid, copied = bytes.fromhex("06082b06010505070124"), bytes.fromhex("06082b06010505070123")
    if tbs.count(oid) != 1:
        raise ValueError("the other OID is not where it should be")
    return resigned(tbs.replace(oid, copied), forgery.key)


def resigned(tbs: bytes, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the certificate of a TBSCertificate as it is, signed by `key`."""
    signature = key.sign(tbs, ec.ECDSA(SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    body = tbs + algorithm + b"\x03" + bytes([len(signature) + 1]) + b"\x00" + signature
    return x509.load_der_x509_certificate(b"\x30\x82" + len(body).to_bytes(2, "big") + body)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _timeval(seconds: float) -> bytes:
    return int(seconds).to_bytes(8, "little") + int(seconds % 1 * 1e6).to_bytes(8, "little")
