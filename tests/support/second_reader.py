"""The tools of the second reader, written from `docs/spec` alone: hashlib, json, cbor2, cryptography and pyOpenSSL.

Nothing here imports the product, and nothing may: both ends of the product could make the same mistake and agree with
each other, and with this reader they would not. A test sees to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

Members = dict[str, list[Any]]


@contextmanager
def connected(address: tuple[str, int], *, key: Any = None, certificate: Any = None) -> Iterator[SSL.Connection]:
    """Open a TLS connection that verifies nothing by itself, with a client certificate where one is given."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if key is not None:
        context.use_certificate(certificate)
        context.use_privatekey(key)
    with socket.create_connection(address) as raw:
        connection = SSL.Connection(context, raw)
        connection.set_connect_state()
        connection.do_handshake()
        yield connection


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of data."""
    return hashlib.sha256(data).digest()


def jcs(value: Any) -> bytes:
    """Return RFC 8785 of what this project has: ASCII names, strings that need no escape, integers below 2^53."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64url(text: str) -> bytes:
    """Return what base64url without padding stands for."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def leaf_of(tls: SSL.Connection) -> tuple[x509.Certificate, bytes]:
    """Return the one certificate of a connection, and its SPKI (docs/spec/ratls.md, 2)."""
    (leaf,) = tls.get_peer_cert_chain(as_cryptography=True)
    return leaf, leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_hash(spki: bytes) -> bytes:
    """Return the value of `pubkey-hash` (docs/spec/claims.md, 1)."""
    return cbor2.dumps([1, sha256(spki)])


def binder(tls: SSL.Connection, nonce: bytes) -> bytes:
    """Return what binds evidence to a connection (docs/spec/claims.md, 1)."""
    return sha256(leaf_of(tls)[1] + tls.export_keying_material(b"Attestation", 32, nonce))


def check(members: Members, *, claims: dict[str, bytes]) -> bytes:
    """Check claims, REPORT_DATA and the report's signature, and return the report (docs/spec/claims.md, 3 and 4)."""
    report, raw_claims, vek = (members[name][1] for name in ("snp", "claims", "vek"))
    received = cbor2.loads(raw_claims)
    # From the wire come the log's position alone.
    expected = {**claims, "role": b"server", "log": received["log"], "events": received["events"]}
    assert raw_claims == cbor2.dumps(expected, canonical=True)
    assert len(report) == 1184
    assert report[0x50:0x70] == sha256(raw_claims)
    assert report[0x70:0x90] == claims["manifest"]
    # SNP ABI 56860, 7.3: R and S, little endian, 72 bytes each, over bytes 0..0x29F.
    r, s = (int.from_bytes(report[start : start + 72], "little") for start in (0x2A0, 0x2E8))
    key = x509.load_der_x509_certificate(vek).public_key()
    key.verify(encode_dss_signature(r, s), report[:0x2A0], ec.ECDSA(hashes.SHA384()))
    return report


def exchange(tls: SSL.Connection, method: str, path: str, body: bytes = b"") -> tuple[str, bytes]:
    """Send a request and return type and body of its answer, a 200 with a length (docs/spec/session.md, 3)."""
    ask(tls, method, path, body)
    return answer(tls)


def ask(tls: SSL.Connection, method: str, path: str, body: bytes = b"") -> None:
    """Send a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: any\r\nContent-Length: {len(body)}\r\n\r\n"
    tls.sendall(head.encode() + body)


def answer(tls: SSL.Connection) -> tuple[str, bytes]:
    """Return type and body of an answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += tls.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    assert status_line.startswith("HTTP/1.1 200"), (status_line, body)
    assert len(lines) == len(fields)
    while len(body) < int(fields["content-length"]):
        body += tls.recv(65536)
    assert len(body) == int(fields["content-length"])
    return fields["content-type"], body


def question(nonce: bytes) -> tuple[str, str, bytes]:
    """Return the request for channel evidence (docs/spec/ratls.md, 4)."""
    text = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
    return "POST", "/.well-known/2cvm/attest", jcs({"nonce": text})


def members_of(value: dict[str, list[str]]) -> Members:
    """Return the members of evidence as JSON has it (docs/spec/evidence.md, 3)."""
    return {name: [kind, b64url(text)] for name, (kind, text) in value.items()}


def evidence(given: tuple[str, bytes]) -> Members:
    """Return the members of an answer to a question."""
    kind, body = given
    assert kind == "application/cmw+json"
    assert len(body) <= 32768
    return members_of(json.loads(body))
