"""Make the vectors of audit logs (`tests/vectors/audit/`), the same bytes every time.

    python -m tools.make_vectors_audit

A test compares what this makes with what lies there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.support.vectorfiles import ROOT, Vector

from twocvm_verifier.service.audit.checkpoint import Checkpoint, checkpoint_entry
from twocvm_verifier.service.audit.record import (
    NOTHING_BEFORE,
    Entry,
    Kind,
    Record,
    begin_entry,
    mended_entry,
    parse_record,
)
from twocvm_verifier.service.tokens import PrivateKeySigner
from twocvm_verifier.strictjson import Json, canonical

FOLDER: Final = "audit"
LOG: Final = bytes([1]) * 32
AT: Final = "2026-01-02T03:04:05Z"
_TORN: Final = b'{"at":"2026-01-0'
_KEY: Final = ec.derive_private_key(0x2C, ec.SECP256R1())


class _Repeatable:
    """A key whose signature is the same every time (RFC 6979)."""

    public_jwk: Mapping[str, Json] = PrivateKeySigner(_KEY).public_jwk

    def sign(self, message: bytes) -> bytes:
        """Return r and s."""
        r, s = decode_dss_signature(_KEY.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def made_up() -> Iterator[Vector]:
    """Return every vector."""
    lines = _lines()
    whole = b"".join(lines)
    kept = parse_record(lines[-1].removesuffix(b"\n")).position
    yield _vector("whole", "accept", "begins, is signed, tells a verdict, was torn and mended", whole)
    refused = {
        "changed": ("AUDIT_CHANGED", whole.replace(b"contraindicated", b"affirming")),
        "missing": ("AUDIT_MISSING", b"".join(lines[:2] + lines[3:])),
        "reordered": ("AUDIT_REORDERED", b"".join([*lines[:1], lines[2], lines[1], *lines[3:]])),
        "truncated": ("AUDIT_TRUNCATED", b"".join(lines[:3])),
        "forked": ("AUDIT_FORKED", whole.replace(b'"r-2"', b'"r-3"')),
        "another key": ("AUDIT_SIGNATURE", b"".join(_lines(another_key=True))),
    }
    for name, (code, raw) in refused.items():
        position = f"{kept.seq}:{kept.head.hex()}" if name in ("truncated", "forked") else ""
        yield _vector(f"refused-{name.replace(' ', '-')}", code, name, raw, **({"head": position} if position else {}))


def _lines(*, another_key: bool = False) -> list[bytes]:
    first = _record(None, begin_entry(log=LOG))
    signed = checkpoint_entry(Checkpoint(log=LOG, position=first.position), signer=_Repeatable())
    if another_key:
        said, _, _ = signed.members["jws"].rpartition(".")
        signed = Entry(kind=Kind.CHECKPOINT, members={"jws": f"{said}.{'A' * 86}"})
    records = [first]
    for entry in (signed, _verdict("r-1", "contraindicated", code="TCB_OUT_OF_DATE")):
        records.append(_record(records[-1], entry))
    torn = _TORN + b"\n"
    mended = _record(records[-1], mended_entry(torn=torn))
    last = _record(mended, _verdict("r-2", "affirming", manifest="07" * 32, jti="AAECAwQFBgcICQoLDA0ODw", kid="k"))
    return [*(record.encode() + b"\n" for record in records), torn + mended.encode() + b"\n", last.encode() + b"\n"]


def _verdict(request_id: str, verdict: str, **members: str) -> Entry:
    said = {"report": "05" * 32, "policy": "06" * 32, "purpose": "rest", "verdict": verdict}
    return Entry(kind=Kind.VERDICT, members={"request_id": request_id, **said, **members})


def _record(before: Record | None, entry: Entry) -> Record:
    if before is None:
        return Record(entry=entry, seq=0, previous=NOTHING_BEFORE, at=AT)
    return Record(entry=entry, seq=before.seq + 1, previous=before.position.head, at=AT)


def _vector(name: str, expect: str, comment: str, raw: bytes, **values: str) -> Vector:
    given = {"jwk": canonical(_Repeatable.public_jwk).decode(), **values}
    return Vector(
        name=f"{FOLDER}/{name}",
        expect=expect,
        spec="docs/spec/audit.md, 6",
        comment=comment,
        values=given,
        payload=raw,
        text=True,
    )


def main() -> None:
    """Write all of them."""
    for vector in made_up():
        path = ROOT / f"{vector.name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(vector.encode())


if __name__ == "__main__":
    main()
