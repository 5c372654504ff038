"""Make the vectors of statements: every kind under every kind of key, and each refusal by its code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.support.manifests import GUEST_SPKI_SHA256, NAMED, REPORT_ID, World
from tests.support.vectorfiles import Vector
from tools.vectors_shared import slug

from twocvm_verifier import framing
from twocvm_verifier.manifest.consentkeys import ConsentPrivateKey, spki_der
from twocvm_verifier.manifest.statements import Consent, Go, Statement, Withdraw, signed_bytes
from twocvm_verifier.strictjson import Json, canonical

THREE: Final = World()
# SP 800-186: the orders of P-256 and P-384.
_ORDERS: Final = {
    256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    384: int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
}

Body = Consent | Go | Withdraw


def statement_vectors() -> Iterator[Vector]:
    """Return statements of every kind and key, and wrong ones with the code of each refusal."""
    for name in NAMED:
        for kind, body in _bodies(name).items():
            signed = _sign(THREE.party(name).consent_key, body)
            private = _private(THREE.party(name).consent_key)
            extra = {"private": private, "signed": signed_bytes(body).hex()}
            comment = f"a {kind} of {name}, whose key is {signed.key_spki_der.hex()}"
            yield _statement(f"{kind}-{name}", "accept", kind, comment, signed.to_json(), **extra)
    for name, (expect, kind, value) in _refused_statements().items():
        yield _statement(f"refused-{slug(name)}", expect, kind, name, value)


def _bodies(name: str) -> dict[str, Body]:
    manifest = THREE.manifest.hash
    go = THREE.go(name).body
    return {
        "consent": Consent(manifest=manifest, participant=name),
        "go": go,
        "withdraw": Withdraw(manifest=manifest, participant=name, report_id=REPORT_ID),
    }


def _refused_statements() -> dict[str, tuple[str, str, Json]]:
    key = THREE.party("hospital-a").consent_key
    bodies = _bodies("hospital-a")
    consent, go = _sign(key, bodies["consent"]), _sign(key, bodies["go"])
    members: Any = go.to_json()
    return {
        "further member": ("MALFORMED_STATEMENT", "go", {**members, "note": "x"}),
        "missing member": ("MALFORMED_STATEMENT", "go", {k: v for k, v in members.items() if k != "at"}),
        "padded signature": ("MALFORMED_STATEMENT", "go", {**members, "signature": members["signature"] + "=="}),
        "key of small order": ("MALFORMED_STATEMENT", "consent", _with_key(consent, bytes([1]) + bytes(31))),
        "consent offered as a withdrawal": ("MALFORMED_STATEMENT", "withdraw", consent.to_json()),
        "signature of another object": (
            "STATEMENT_SIGNATURE",
            "go",
            {**members, "signature": dict(_json(consent))["signature"]},
        ),
        "label of another kind": ("STATEMENT_SIGNATURE", "consent", _under_label(framing.GO, bodies["consent"])),
        "high s": ("STATEMENT_SIGNATURE", "consent", _high_s()),
        "key of somebody else": (
            "STATEMENT_KEY",
            "consent",
            _json(_sign(THREE.party("hospital-b").consent_key, bodies["consent"])),
        ),
        "another manifest": (
            "STATEMENT_OTHER_MANIFEST",
            "consent",
            _json(_sign(key, Consent(manifest=bytes(32), participant="hospital-a"))),
        ),
        "somebody unknown": (
            "STATEMENT_PARTICIPANT",
            "consent",
            _json(_sign(key, Consent(manifest=THREE.manifest.hash, participant="stranger"))),
        ),
        "another launch": ("STATEMENT_OTHER_GUEST", "go", _json(_sign(key, _changed_go(report_id=bytes(32))))),
        "another key of the guest": (
            "STATEMENT_OTHER_GUEST",
            "go",
            _json(_sign(key, _changed_go(guest_spki_sha256=bytes(32)))),
        ),
        "an item left out": ("GO_ITEMS", "go", _json(_sign(key, _changed_go(items={})))),
        "an item of somebody else": (
            "GO_ITEMS",
            "go",
            _json(_sign(key, _changed_go(items=THREE.commitments("hospital-a") | {"records-b": bytes(32)}))),
        ),
    }


def _changed_go(**changes: Any) -> Go:  # noqa: ANN401 - the members of Go
    body = _bodies("hospital-a")["go"]
    if not isinstance(body, Go):
        raise TypeError("not a go")
    return replace(body, **changes)


def _high_s() -> Json:
    """Return a consent whose ECDSA signature verifies in every library and has the other s."""
    statement = _sign(THREE.party("hospital-b").consent_key, _bodies("hospital-b")["consent"])
    s = int.from_bytes(statement.signature[32:], "big")
    return _json(replace(statement, signature=statement.signature[:32] + (_ORDERS[256] - s).to_bytes(32, "big")))


def _under_label(label: str, body: Body) -> Json:
    key = THREE.party("hospital-a").consent_key
    signature = _raw_sign(key, framing.tagged(label, canonical(body.to_json())))
    return _json(Statement(body=body, key_spki_der=spki_der(key), signature=signature))


def _with_key(statement: Statement, ed25519: bytes) -> Json:
    return _json(replace(statement, key_spki_der=bytes.fromhex("302a300506032b6570032100") + ed25519))


def _sign(key: ConsentPrivateKey, body: Body) -> Statement:
    return Statement(body=body, key_spki_der=spki_der(key), signature=_raw_sign(key, signed_bytes(body)))


def _raw_sign(key: ConsentPrivateKey, data: bytes) -> bytes:
    """Sign with nonces made from the message (RFC 6979), so that the files are the same every time."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    algorithm = ec.ECDSA(hashes.SHA256() if key.key_size == 256 else hashes.SHA384(), deterministic_signing=True)
    r, s = decode_dss_signature(key.sign(data, algorithm))
    width = key.key_size // 8
    return r.to_bytes(width, "big") + min(s, _ORDERS[key.key_size] - s).to_bytes(width, "big")


def _private(key: ConsentPrivateKey) -> str:
    if isinstance(key, Ed25519PrivateKey):
        return key.private_bytes_raw().hex()
    return key.private_numbers().private_value.to_bytes(key.key_size // 8, "big").hex()


def _json(statement: Statement) -> Json:
    return statement.to_json()


def _statement(name: str, expect: str, kind: str, comment: str, value: Json, **values: str) -> Vector:
    context = {
        "kind": kind,
        "manifest": "manifest/valid-three",
        "report_id": REPORT_ID.hex(),
        "guest_spki_sha256": GUEST_SPKI_SHA256.hex(),
    }
    return Vector(
        name=f"statements/{name}",
        expect=expect,
        spec="docs/spec/statements.md, Verifying",
        comment=comment,
        values=context | values,
        payload=canonical(value),
        text=True,
    )
