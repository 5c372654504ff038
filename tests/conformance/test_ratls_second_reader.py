"""A second reader of RA-TLS, written from `docs/spec` alone: it shares no code with the product that it reads.

It uses hashlib, cbor2, cryptography and pyOpenSSL, and talks to a live guest. Both ends of the product could make the
same mistake and still agree with each other; with this reader they would not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Iterator

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from tests.support.attested_guest import RunningGuest, Scene


@pytest.fixture(scope="module", params=[True, False], ids=["locked", "unlocked"])
def guest(request: pytest.FixtureRequest) -> Iterator[RunningGuest]:
    """A live guest, locked or not."""
    with Scene(locked=request.param).serve() as running:
        yield running


@pytest.fixture
def tls(guest: RunningGuest) -> Iterator[SSL.Connection]:
    """A TLS connection to it that verifies nothing by itself."""
    with socket.create_connection(guest.address) as raw:
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), raw)
        connection.set_connect_state()
        connection.do_handshake()
        yield connection


def leaf_of(tls: SSL.Connection) -> tuple[x509.Certificate, bytes]:
    """Return the one certificate of the connection, and its SPKI (docs/spec/ratls.md, 2)."""
    (leaf,) = tls.get_peer_cert_chain(as_cryptography=True)
    return leaf, leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def manifest_of(guest: RunningGuest) -> bytes:
    """Return what claims have to name: the hash of the manifest's canonical bytes (docs/spec/framing.md)."""
    if not guest.scene.locked:
        return bytes(32)
    return hashlib.sha256(b"2cvm.manifest.v1\x00" + guest.scene.world.raw).digest()


def check(members: dict[str, list], *, claims: dict[str, bytes]) -> bytes:
    """Check claims, REPORT_DATA and the report's signature, and return the report (docs/spec/claims.md)."""
    report, raw_claims, vek = (members[name][1] for name in ("snp", "claims", "vek"))
    received = cbor2.loads(raw_claims)
    # From the wire come the log's position alone.
    expected = {**claims, "role": b"server", "log": received["log"], "events": received["events"]}
    assert raw_claims == cbor2.dumps(expected, canonical=True)
    assert len(report) == 1184
    assert report[0x50:0x70] == hashlib.sha256(raw_claims).digest()
    assert report[0x70:0x90] == claims["manifest"]
    # SNP ABI 56860, 7.3: R and S, little endian, 72 bytes each, over bytes 0..0x29F.
    r, s = (int.from_bytes(report[start : start + 72], "little") for start in (0x2A0, 0x2E8))
    key = x509.load_der_x509_certificate(vek).public_key()
    key.verify(encode_dss_signature(r, s), report[:0x2A0], ec.ECDSA(hashes.SHA384()))
    return report


def ask(tls: SSL.Connection, nonce: bytes) -> dict[str, list]:
    """Ask for channel evidence and return its members (docs/spec/ratls.md, 4)."""
    question = json.dumps({"nonce": base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()}, separators=(",", ":"))
    tls.sendall(
        b"POST /.well-known/2cvm/attest HTTP/1.1\r\nHost: any\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(question), question.encode())
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += tls.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    assert status_line.startswith("HTTP/1.1 200")
    assert fields["content-type"] == "application/cmw+json"
    assert len(lines) == len(fields)
    while len(body) < int(fields["content-length"]):
        body += tls.recv(65536)
    assert len(body) == int(fields["content-length"]) <= 32768
    members = json.loads(body)
    return {name: [kind, base64.urlsafe_b64decode(text + "===")] for name, (kind, text) in members.items()}


def test_certificate_proves_key_and_manifest(guest: RunningGuest, tls: SSL.Connection) -> None:
    """The evidence in the certificate is over this key and this manifest, by the specification's words alone."""
    leaf, spki = leaf_of(tls)
    leaf.verify_directly_issued_by(leaf)
    extension = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35"))
    value = extension.value.value
    assert not extension.critical
    assert value[:2] == b"\x04\x82"
    assert int.from_bytes(value[2:4], "big") == len(value) - 4
    members = cbor2.loads(value[4:])
    assert cbor2.dumps(members, canonical=True) == value[4:]
    key_hash = cbor2.dumps([1, hashlib.sha256(spki).digest()])
    claims = {"ctx": b"2cvm/ratls-cert/v1", "pubkey-hash": key_hash, "manifest": manifest_of(guest)}
    check(members, claims=claims)


def test_channel_proves_this_very_connection(guest: RunningGuest, tls: SSL.Connection) -> None:
    """The evidence for the channel is over this nonce and this connection's exporter value, of the same launch."""
    leaf, spki = leaf_of(tls)
    value = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35")).value.value
    first = cbor2.loads(value[4:])["snp"][1]
    for nonce in (bytes(range(32)), b"\xff" * 32):
        exported = tls.export_keying_material(b"Attestation", 32, nonce)
        claims = {
            "ctx": b"2cvm/channel/v1",
            "pubkey-hash": cbor2.dumps([1, hashlib.sha256(spki).digest()]),
            "manifest": manifest_of(guest),
            "nonce": nonce,
            "binder": hashlib.sha256(spki + exported).digest(),
        }
        report = check(ask(tls, nonce), claims=claims)
        # POLICY, MEASUREMENT, HOST_DATA, REPORT_ID and CHIP_ID.
        for start, size in ((0x008, 8), (0x090, 48), (0x0C0, 32), (0x140, 32), (0x1A0, 64)):
            assert report[start : start + size] == first[start : start + size]
