"""Make the vectors of RA-TLS (`tests/vectors/ratls/`), the same bytes every time.

Run from the repository's root: `python -m tools.make_vectors_ratls`. A test compares what this makes with what lies
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.hostile_guest import octet_string
from tests.support.vectorfiles import ROOT, Vector
from tools.vectors_shared import NONCE, POSITION, slug, vector

from twocvm_guest.batch import tree_of
from twocvm_verifier import framing
from twocvm_verifier.binding import cert_claims
from twocvm_verifier.evidence import Evidence, encode_cbor
from twocvm_verifier.ratls.batch import root_of
from twocvm_verifier.ratls.certificate import EVIDENCE_OID, spki_of

FOLDER: Final = "ratls"
EXPORTED: Final = bytes([8]) * 32

# Keys that everybody knows, and that are therefore good for nothing else. The first is the group's generator.
_KEY: Final = ec.derive_private_key(1, ec.SECP256R1())
_OTHER_KEY: Final = ec.derive_private_key(2, ec.SECP256R1())
_P384_KEY: Final = ec.derive_private_key(1, ec.SECP384R1())
_HEAD: Final = "HTTP/1.1 200 OK\r\ncontent-type: application/cmw+json\r\ncontent-length: 2\r\n"


def made_up() -> list[Vector]:
    """Return every vector, in no particular order."""
    return [*binding_vectors(), *batch_vectors(), *certificate_vectors(), *head_vectors()]


def binding_vectors() -> Iterator[Vector]:
    """Return the vectors from SPKI, nonce and exporter value to binder, leaf and root."""
    spki_der = spki_of(_KEY.public_key())
    binder = framing.binder(spki_der=spki_der, exported=EXPORTED)
    leaf = framing.batch_leaf(nonce=NONCE, binder=binder)
    values = {"nonce": NONCE.hex(), "exported": EXPORTED.hex(), "binder": binder.hex(), "leaf": leaf.hex()}
    paths = {
        "alone": ("a batch of one", b""),
        "left": ("the sibling is right", b"\x01" + bytes([9]) * 32),
        "right": ("the sibling is left", b"\x00" + bytes([9]) * 32),
        "deep": ("sixteen steps", b"".join(bytes([step % 2]) + bytes([step]) * 32 for step in range(16))),
    }
    for name, (comment, path) in paths.items():
        root = root_of(leaf=leaf, path=path)
        named = f"{FOLDER}/binding-{name}"
        yield vector(named, "accept", 4, comment, spki_der, **values, path=path.hex(), root=root.hex())


def batch_vectors() -> Iterator[Vector]:
    """Return the vectors from the leaves of a batch, one after the other, to its root and to the path of each leaf."""
    for size in (1, 2, 3, 5, 8):
        leaves = [framing.sha256(bytes([number])) for number in range(size)]
        root, paths = tree_of(leaves)
        values = {f"path-{number}": path.hex() for number, path in enumerate(paths)}
        named = f"{FOLDER}/batch-{size}"
        yield vector(named, "accept", 4, f"a batch of {size}", b"".join(leaves), **values, root=root.hex())


def certificate_vectors() -> Iterator[Vector]:
    """Return the vectors of certificates."""
    claims = cert_claims(spki_sha256=framing.sha256(spki_of(_KEY.public_key())), manifest=bytes(32), log=POSITION)
    evidence = Evidence(report=bytes(1184), claims=claims.encode(), vek=b"vek", chain=b"chain")
    right = octet_string(encode_cbor(evidence))
    values = {
        "spki_sha256": claims.spki_sha256.hex(),
        "snp": evidence.report.hex(),
        "claims": evidence.claims.hex(),
        "vek": evidence.vek.hex(),
    }
    yield vector(f"{FOLDER}/certificate", "accept", 2, "a leaf with its evidence", _certificate(right), **values)
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    further = _certificate(right, extensions=((constraints, True),))
    yield vector(f"{FOLDER}/certificate-further", "accept", 2, "a further extension that is known", further, **values)
    for name, (code, der) in _refused_certificates(right).items():
        yield vector(f"{FOLDER}/refused-certificate-{slug(name)}", code, 2, name, der)


def _refused_certificates(right: bytes) -> dict[str, tuple[str, bytes]]:
    malformed, cbor = "MALFORMED_RATLS_CERTIFICATE", right[4:]
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    return {
        "no evidence": ("NO_EVIDENCE", _certificate(None)),
        "another signer": ("CERTIFICATE_SIGNATURE", _certificate(right, signer=_OTHER_KEY)),
        "another issuer": ("CERTIFICATE_SIGNATURE", _certificate(right, issuer="authority")),
        "P-384 key": (malformed, _certificate(right, key=_P384_KEY, signer=_P384_KEY)),
        "SHA-384": (malformed, _certificate(right, digest=SHA384())),
        "critical": (malformed, _certificate(right, critical=True)),
        "unknown critical": (malformed, _certificate(right, extensions=((unknown, True),))),
        "trailing byte": (malformed, _certificate(right) + b"\x00"),
        "value trailing byte": (malformed, _certificate(right + b"\x00")),
        "value cut": (malformed, _certificate(right[:-1])),
        "value length not minimal": (malformed, _certificate(b"\x04\x83" + len(cbor).to_bytes(3, "big") + cbor)),
        "value indefinite": (malformed, _certificate(b"\x24\x80" + right + b"\x00\x00")),
        "value without OCTET STRING": (malformed, _certificate(cbor)),
        "value too long": (malformed, _certificate(octet_string(bytes(16381)))),
        "evidence not canonical": ("MALFORMED_EVIDENCE", _certificate(octet_string(cbor + b"\x00"))),
    }


def _certificate(
    value: bytes | None,
    *,
    key: ec.EllipticCurvePrivateKey = _KEY,
    signer: ec.EllipticCurvePrivateKey = _KEY,
    issuer: str = "2cvm guest",
    digest: SHA256 | SHA384 | None = None,
    critical: bool = False,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> bytes:
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name("2cvm guest"),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(1970, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    )
    if value is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(EVIDENCE_OID, value), critical=critical)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer, digest or SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def head_vectors() -> Iterator[Vector]:
    """Return the vectors of answers' heads."""
    accepted = {
        "least": ("status line and length", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        "whole": ("as a guest answers", _HEAD + "\r\n"),
        "refusal": ("a refusal", "HTTP/1.1 409 Conflict\r\ncontent-length: 7\r\n\r\n"),
        "no-reason": ("a status without a reason", "HTTP/1.1 200 \r\ncontent-length: 7\r\n\r\n"),
        "spaces": ("white space around a value", "HTTP/1.1 200 OK\r\ncontent-length: \t 7 \t\r\n\r\n"),
    }
    for name, (comment, head) in accepted.items():
        yield vector(f"{FOLDER}/head-{name}", "accept", 4, comment, head.encode("latin-1"))
    for name, change in _REFUSED_HEADS.items():
        payload = change(_HEAD + "\r\n").encode("latin-1")
        yield vector(f"{FOLDER}/refused-head-{slug(name)}", "MALFORMED_HTTP", 4, name, payload)


def _and(line: str) -> Callable[[str], str]:
    return lambda head: head.removesuffix("\r\n") + line + "\r\n\r\n"


_REFUSED_HEADS: Final[dict[str, Callable[[str], str]]] = {
    "transfer encoding": _and("Transfer-Encoding: chunked"),
    "transfer encoding identity": _and("transfer-encoding: identity"),
    "content encoding": _and("Content-Encoding: gzip"),
    "second length": _and("Content-Length: 2"),
    "folded line": _and("X-Folded: a\r\n b"),
    "space before colon": _and("X-Space : a"),
    "no colon": _and("nothing"),
    "no name": _and(": a"),
    "control character": _and("X-Null: a\x00b"),
    "not ASCII": _and("X-Letter: \u00e9"),
    "too long": _and("X-Long: " + "a" * 16384),
    "no length": lambda head: head.replace("content-length: 2\r\n", ""),
    "length with sign": lambda head: head.replace(": 2", ": +2"),
    "length with leading zero": lambda head: head.replace(": 2", ": 02"),
    "length in hex": lambda head: head.replace(": 2", ": 0x2"),
    "list of lengths": lambda head: head.replace(": 2", ": 2, 2"),
    "empty length": lambda head: head.replace(": 2", ":"),
    "line feed alone": lambda head: head.replace("\r\n", "\n"),
    "HTTP 1.0": lambda head: head.replace("HTTP/1.1", "HTTP/1.0"),
    "HTTP 2": lambda head: head.replace("HTTP/1.1", "HTTP/2"),
    "interim": lambda head: head.replace("200 OK", "100 Continue"),
    "switching": lambda head: head.replace("200 OK", "101 Switching Protocols"),
    "redirection": lambda head: head.replace("200 OK", "307 Temporary Redirect"),
    "status of four digits": lambda head: head.replace("200 OK", "2000 OK"),
    "status of two digits": lambda head: head.replace("200 OK", "20 OK"),
    "leading line": lambda head: "\r\n" + head,
}


def main() -> None:
    """Write the vectors, and remove those that are made no more."""
    wanted = {made.name: made.encode() for made in made_up()}
    (ROOT / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in (ROOT / FOLDER).glob("*.txt"):
        if f"{FOLDER}/{path.stem}" not in wanted:
            path.unlink()
    for name, raw in wanted.items():
        (ROOT / f"{name}.txt").write_bytes(raw)


if __name__ == "__main__":
    main()
