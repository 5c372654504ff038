"""A second reader of RA-TLS, written from `docs/spec` alone: it shares no code with the product that it reads.

It uses hashlib, cbor2, cryptography and pyOpenSSL (`tests/support/second_reader.py`), and talks to a live guest. What a
session leaves behind, its log and receipts, is read in `test_session_second_reader`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from OpenSSL import SSL
from tests.support import second_reader
from tests.support.attested_guest import RunningGuest, Scene
from tests.support.second_reader import (
    binder,
    check,
    connected,
    evidence,
    exchange,
    key_hash,
    leaf_of,
    question,
    sha256,
)


@pytest.fixture(scope="module", params=[True, False], ids=["locked", "unlocked"])
def guest(request: pytest.FixtureRequest) -> Iterator[RunningGuest]:
    """A live guest, locked or not."""
    with Scene(locked=request.param).serve() as running:
        yield running


@pytest.fixture
def tls(guest: RunningGuest) -> Iterator[SSL.Connection]:
    """A TLS connection to it that verifies nothing by itself."""
    with connected(guest.address) as connection:
        yield connection


def manifest_of(guest: RunningGuest) -> bytes:
    """Return what claims have to name: the hash of the manifest's canonical bytes (docs/spec/framing.md)."""
    return sha256(b"2cvm.manifest.v1\x00" + guest.scene.world.raw) if guest.scene.locked else bytes(32)


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
    claims = {"ctx": b"2cvm/ratls-cert/v1", "pubkey-hash": key_hash(spki), "manifest": manifest_of(guest)}
    check(members, claims=claims)


def test_channel_proves_this_very_connection(guest: RunningGuest, tls: SSL.Connection) -> None:
    """The evidence for the channel is over this nonce and this connection's exporter value, of the same launch."""
    leaf, spki = leaf_of(tls)
    value = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35")).value.value
    first = cbor2.loads(value[4:])["snp"][1]
    for nonce in (bytes(range(32)), b"\xff" * 32):
        claims = {
            "ctx": b"2cvm/channel/v1",
            "pubkey-hash": key_hash(spki),
            "manifest": manifest_of(guest),
            "nonce": nonce,
            "binder": binder(tls, nonce),
        }
        report = check(evidence(exchange(tls, *question(nonce))), claims=claims)
        # POLICY, MEASUREMENT, HOST_DATA, REPORT_ID and CHIP_ID.
        for start, size in ((0x008, 8), (0x090, 48), (0x0C0, 32), (0x140, 32), (0x1A0, 64)):
            assert report[start : start + size] == first[start : start + size]


def test_reader_shares_no_code_with_the_product() -> None:
    """The second reader imports nothing of what it reads."""
    text = Path(second_reader.__file__).read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) (twocvm|tests)", text, re.MULTILINE)
