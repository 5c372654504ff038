"""The vectors of RA-TLS: made as they lie there, read as they say, recomputed by others.

Nothing of the product recomputes what an accepted vector says: hashlib and cryptography do.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from tests.support.vectorfiles import ROOT, Vector, folder
from tools import make_vectors_ratls

from twocvm_sdk.httpwire import read_head
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.ratls.certificate import parse_certificate

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "ratls.md"
ALL = folder(make_vectors_ratls.FOLDER)


def _of(kind: str) -> list[object]:
    return [pytest.param(vector, id=vector.name) for vector in ALL if vector.name.startswith(f"ratls/{kind}")]


@pytest.mark.parametrize("vector", [*_of("certificate"), *_of("head"), *_of("refused")])
def test_every_ratls_vector_is_read_as_it_says(vector: Vector) -> None:
    """An accepted vector is accepted, and a refused one is refused with its one code."""
    read = parse_certificate if "certificate" in vector.name else _read_head
    if vector.expect == "accept":
        read(vector.payload)
        return
    with pytest.raises(TwoCvmError) as refusal:
        read(vector.payload)
    assert refusal.value.code == vector.expect


def _read_head(raw: bytes) -> object:
    return read_head(io.BufferedReader(io.BytesIO(raw)))


def test_the_script_makes_what_lies_in_ratls() -> None:
    """What is made up is made again, byte for byte, and nothing else lies there."""
    made = {vector.name: vector.encode() for vector in make_vectors_ratls.made_up()}
    assert made == {vector.name: (ROOT / f"{vector.name}.txt").read_bytes() for vector in ALL}


@pytest.mark.parametrize("vector", _of("binding"))
def test_bindings_are_recomputed_by_others(vector: Vector) -> None:
    """SHA-256 alone comes from SPKI, nonce and exporter value to binder, leaf and root."""
    value = {name: bytes.fromhex(text) for name, text in vector.values.items()}
    assert value["binder"] == hashlib.sha256(vector.payload + value["exported"]).digest()
    node = hashlib.sha256(b"\x00" + value["nonce"] + value["binder"]).digest()
    assert node == value["leaf"]
    for start in range(0, len(value["path"]), 33):
        side, sibling = value["path"][start], value["path"][start + 1 : start + 33]
        pair = node + sibling if side == 1 else sibling + node
        node = hashlib.sha256(b"\x01" + pair).digest()
    assert node == value["root"]


@pytest.mark.parametrize("vector", _of("batch"))
def test_batches_are_recomputed_by_others(vector: Vector) -> None:
    """SHA-256 alone comes from each leaf by its path to the root, and level by level to the same root."""
    level = [vector.payload[start : start + 32] for start in range(0, len(vector.payload), 32)]
    root = bytes.fromhex(vector.values["root"])
    for number, leaf in enumerate(level):
        node, path = leaf, bytes.fromhex(vector.values[f"path-{number}"])
        for start in range(0, len(path), 33):
            sibling = path[start + 1 : start + 33]
            pair = node + sibling if path[start] == 1 else sibling + node
            node = hashlib.sha256(b"\x01" + pair).digest()
        assert node == root
    while len(level) > 1:
        pairs = [level[start : start + 2] for start in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\x01" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    assert level == [root]


@pytest.mark.parametrize("vector", _of("certificate"))
def test_certificates_are_decoded_by_others(vector: Vector) -> None:
    """A general X.509 reader and a general CBOR decoder find the evidence that ours finds."""
    certificate = x509.load_der_x509_certificate(vector.payload)
    oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.35")
    extension = certificate.extensions.get_extension_for_oid(oid)
    value = extension.value.value
    assert (extension.critical, value[:2], int.from_bytes(value[2:4], "big")) == (False, b"\x04\x82", len(value) - 4)
    members = cbor2.loads(value[4:])
    for name in ("snp", "claims", "vek"):
        assert members[name][1].hex() == vector.values[name]
    certificate.verify_directly_issued_by(certificate)
    assert cbor2.loads(members["claims"][1])["pubkey-hash"].hex().endswith(vector.values["spki_sha256"])


def test_the_page_quotes_what_is_true() -> None:
    """The binding that the page shows in full is that of the vector."""
    text = SPEC.read_text()
    alone = next(vector for vector in ALL if vector.name == "ratls/binding-alone")
    assert alone.payload.hex() in text.replace("\n", "")
    assert f"binder   {alone.values['binder']}\nleaf     {alone.values['leaf']}\n" in text
