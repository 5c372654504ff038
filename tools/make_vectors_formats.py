"""Make the vectors of claims, evidence, log and receipts (`tests/vectors/`), the same bytes every time.

Run from the repository's root:

    python -m tools.make_vectors_formats             writes what is made up
    python -m tools.make_vectors_formats --record    also records a new whole receipt file, which is another every time

A test compares what this makes with what lies there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.support.hostile_cbor import tricks
from tests.support.vectorfiles import ROOT, Vector
from tools.vectors_sessions import RECORDED, log_vectors, receipt_vectors, recorded
from tools.vectors_shared import BINDER, KEY, MANIFEST, NONCE, POSITION, ROOT_HASH, STATEMENT, slug, vector

from twocvm_verifier import binding, evidence, strictcbor
from twocvm_verifier.binding import Claims
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.strictjson import base64url, canonical

FOLDERS: Final = ("claims", "evidence", "log", "receipt")


def made_up() -> list[Vector]:
    """Return every vector that is made up, in no particular order."""
    return [*claims_vectors(), *evidence_vectors(), *log_vectors(), *receipt_vectors()]


def claims_vectors() -> Iterator[Vector]:
    """Return the vectors of claims."""
    shared = {"spki_sha256": KEY, "manifest": MANIFEST, "log": POSITION}
    channel = binding.channel_claims(**shared, nonce=NONCE, binder=BINDER)
    accepted = {
        "cert": ("claims of a certificate", binding.cert_claims(**shared)),
        "cert-unlocked": (
            "claims of a guest without a manifest",
            binding.cert_claims(spki_sha256=KEY, manifest=binding.NOT_LOCKED, log=POSITION),
        ),
        "channel": ("claims of one connection", channel),
        "batch": ("claims of many connections", binding.batch_claims(**shared, root=ROOT_HASH)),
        "receipt": ("claims of a receipt", binding.receipt_claims(**shared, statement=STATEMENT)),
    }
    for name, (comment, claims) in accepted.items():
        yield vector(f"claims/{name}", "accept", 3, comment, claims.encode(), **_claims_values(claims))
    members = strictcbor.parse(channel.encode(), document="claims", max_bytes=binding.MAX_CLAIMS_BYTES)
    if not isinstance(members, dict):
        raise TypeError("claims are a map")
    wrong = {
        "role client": {**members, "role": b"client"},
        "context of version 2": {**members, "ctx": b"2cvm/channel/v2"},
        "members of another context": {**members, "ctx": b"2cvm/ratls-cert/v1"},
        "other hash algorithm": {**members, "pubkey-hash": b"\x82\x02\x58\x20" + KEY},
        "key hash without its frame": {**members, "pubkey-hash": KEY},
        "short nonce": {**members, "nonce": NONCE[:-1]},
        "events in four bytes": {**members, "events": bytes(4)},
    }
    refused = tricks(dict(members)) | {name: strictcbor.encode(value) for name, value in wrong.items()}
    for name, raw in refused.items():
        yield vector(f"claims/refused-{slug(name)}", "MALFORMED_CLAIMS", 2, name, raw)


def _claims_values(claims: Claims) -> dict[str, str]:
    return {
        "context": claims.context.value,
        "spki_sha256": claims.spki_sha256.hex(),
        "manifest": claims.manifest.hex(),
        "log": claims.log.head.hex(),
        "events": str(claims.log.events),
        **{key: value.hex() for key, value in claims.own.items()},
        "report_data": claims.report_data().hex(),
    }


def evidence_vectors() -> Iterator[Vector]:
    """Return the vectors of the evidence container."""
    least = Evidence(report=b"r", claims=b"c", vek=b"v")
    whole = Evidence(report=b"report", claims=b"claims", vek=b"vek", chain=b"chain", crl=b"crl")
    batch = Evidence(report=b"report", claims=b"claims", vek=b"vek", path=b"\x00" + KEY + b"\x01" + MANIFEST)
    accepted = (
        ("bare", "the required members: the host has no VEK", Evidence(report=b"r", claims=b"c")),
        ("least", "the required members and the VEK", least),
        ("whole", "all but a path", whole),
    )
    accepted += (("azure", "a paravisor's vTPM speaks for the guest", replace(least, azure=b"azure")),)
    for name, comment, given in accepted:
        yield vector(f"evidence/certificate-{name}", "accept", 2, comment, evidence.encode_cbor(given), form="cbor")
        yield vector(f"evidence/answer-{name}", "accept", 3, comment, evidence.encode_json(given), form="json")
    yield vector("evidence/answer-batch", "accept", 3, "a path of two steps", evidence.encode_json(batch), form="json")
    members = strictcbor.parse(evidence.encode_cbor(least), document="evidence", max_bytes=evidence.MAX_CBOR_BYTES)
    if not isinstance(members, dict):
        raise TypeError("evidence is a map")
    wrong = {
        "path in a certificate": {**members, "path": ["application/octet-stream", bytes(33)]},
        "collection type": {**members, "__cmwc_t": "tag:example.org,2026:evidence"},
        "media type of another member": {**members, "snp": ["application/cbor", b"r"]},
        "three entries": {**members, "snp": ["application/octet-stream", b"r", b"r"]},
        "empty value": {**members, "snp": ["application/octet-stream", b""]},
        "empty optional value": {**members, "crl": ["application/pkix-crl", b""]},
    }
    refused = tricks(dict(members)) | {name: strictcbor.encode(value) for name, value in wrong.items()}
    for name, raw in refused.items():
        stem = f"evidence/refused-certificate-{slug(name)}"
        yield vector(stem, "MALFORMED_EVIDENCE", 2, name, raw, form="cbor")
    for name, raw in _refused_answers(evidence.encode_json(least), evidence.encode_json(batch)).items():
        yield vector(f"evidence/refused-answer-{slug(name)}", "MALFORMED_EVIDENCE", 3, name, raw, form="json")


def _refused_answers(least: bytes, batch: bytes) -> dict[str, bytes]:
    members, side, half = json.loads(least), b"\x02" + KEY, b"\x00" + KEY[1:]
    return {
        "trailing new line": least + b"\n",
        "white space": least.replace(b",", b", "),
        "duplicate key": least.replace(b"{", b'{"claims":["application/cbor","Yw"],', 1),
        "wrong order": b"{" + b",".join(reversed([canonical({name: members[name]})[1:-1] for name in members])) + b"}",
        "missing member": canonical({name: pair for name, pair in members.items() if name != "snp"}),
        "further member": canonical({**members, "gpu": ["application/octet-stream", "cg"]}),
        "padding": least.replace(b'"cg"', b'"cg=="'),
        "trailing bits": least.replace(b'"cg"', b'"ch"'),
        "other alphabet": least.replace(b'"cg"', b'"+/+/"'),
        "other media type": least.replace(b"octet-stream", b"cbor"),
        "empty value": least.replace(b'"cg"', b'""'),
        "path of half a step": _with_path(batch, half),
        "path with a third side": _with_path(batch, side),
        "path of 17 steps": _with_path(batch, bytes(33 * 17)),
    }


def _with_path(batch: bytes, path: bytes) -> bytes:
    return canonical({**json.loads(batch), "path": ["application/octet-stream", base64url(path)]})


def main() -> None:
    """Write the vectors, and remove made-up ones that are made no more."""
    parser = argparse.ArgumentParser(description="Make the vectors of claims, evidence, log and receipts.")
    parser.add_argument("--record", action="store_true", help="also record a new whole receipt file")
    wanted = {vector.name: vector.encode() for vector in made_up()}
    if parser.parse_args().record:
        wanted[RECORDED] = recorded().encode()
    for folder in FOLDERS:
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
        for path in (ROOT / folder).glob("*.txt"):
            if f"{folder}/{path.stem}" not in {*wanted, RECORDED}:
                path.unlink()
    for name, raw in wanted.items():
        (ROOT / f"{name}.txt").write_bytes(raw)


if __name__ == "__main__":
    main()
