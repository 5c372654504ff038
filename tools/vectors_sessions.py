"""Vectors of the event log and of receipts (`docs/spec/log.md`, `docs/spec/receipt.md`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.manifests import AT, World
from tests.support.sessions import PaperSession
from tests.support.vectorfiles import Vector
from tools.vectors_shared import CONSENTS, KEY, MANIFEST, POSITION, REPORT_ID, ROSTER, slug, vector

from twocvm_verifier import eventlog, framing
from twocvm_verifier.binding import LogPosition
from twocvm_verifier.clock import format_time
from twocvm_verifier.dsse import Envelope, pae
from twocvm_verifier.eventlog import Event, EventLog, Outcome
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.receipt import (
    ComponentDigest,
    InputCommitment,
    OwnOutput,
    Receipt,
    ReceiptBody,
    SealedOutput,
)
from twocvm_verifier.strictjson import canonical

RECORDED: Final = "receipt/recorded-file"
# A group's order, to take the low s; the signing key is this vector's own and fit for nothing else.
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TLS_KEY: Final = ec.derive_private_key(0x2C, ec.SECP256R1())
SPKI: Final = TLS_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def recorded() -> Vector:
    """Return a whole receipt file of a session on paper, on a simulated chip made for it."""
    session = PaperSession(World())
    return Vector(
        name=RECORDED,
        expect="accept",
        spec="docs/spec/receipt.md, 6",
        comment="recorded, not made up: another at each recording; the root to trust is its own chain, for tests alone",
        values={"manifest": session.world.manifest.hash.hex(), "at": format_time(AT), "participant": "analytics"},
        payload=session.file("analytics").encode(),
        text=True,
    )


def log_vectors() -> Iterator[Vector]:
    """Return the vectors of the event log."""
    start = eventlog.platform_event(platform="simulated", missing=("seccomp", "user-namespace"))
    lock = eventlog.lock_event(manifest_hash=MANIFEST, consents_digest=CONSENTS)
    goes = [eventlog.go_event(participant=f"clinic-{name}", sha256=KEY) for name in "ab"]
    roster, item = eventlog.roster_event(digest=ROSTER), eventlog.admitted_event(name="records-a")
    run, withdraw = eventlog.run_event(), eventlog.withdraw_event(participant="clinic-a")
    completed, failed, withdrawn, expired = (eventlog.end_event(outcome=outcome) for outcome in Outcome)
    collecting = [start, lock, *goes, roster, item]
    accepted = {
        "locked": [start, lock],
        "collecting": collecting,
        "completed": [*collecting, run, completed],
        "failed": [*collecting, run, failed],
        "withdrawn": [*collecting, withdraw, withdrawn],
        "expired": [start, lock, expired],
    }
    for name, events in accepted.items():
        yield _log_vector(name, "accept", 4, f"a session that is {name}", events)
    out_of_order = {
        "second lock": [start, lock, lock],
        "second go of one participant": [start, lock, goes[0], goes[0]],
        "item before the roster": [start, lock, goes[0], item],
        "withdrawal after the run": [*collecting, run, withdraw],
        "second run": [*collecting, run, run],
        "completed without a run": [*collecting, completed],
        "something after the end": [*collecting, run, failed, failed],
    }
    for name, events in out_of_order.items():
        yield _log_vector(f"refused-{slug(name)}", "LOG_ORDER", 3, name, events)
    other = eventlog.lock_event(manifest_hash=KEY, consents_digest=CONSENTS)
    yield _log_vector("refused-another-lock", "LOG_LOCK_MISMATCH", 4, "locked to another manifest", [start, other])
    yield _log_vector("refused-no-lock", "LOG_LOCK_MISMATCH", 4, "not locked", [start])
    whole = _written([*collecting, run, completed])
    truncated = _written(collecting).encode()
    yield vector("log/refused-truncated", "LOG_HEAD_MISMATCH", 4, "cut", truncated, **_log_values(whole.position))
    position = LogPosition(head=whole.position.head, events=5)
    yield vector(
        "log/refused-miscounted", "LOG_HEAD_MISMATCH", 4, "miscounted", whole.encode(), **_log_values(position)
    )
    good = _written([start]).encode()
    malformed = {
        "no events": b"{}",
        "further member": canonical({**json.loads(good), "more": 1}),
        "an event with a time": good.replace(b'"seq":0', b'"at":"2026-01-01T00:00:00Z","seq":0').replace(
            b'{"at', b'{"at'
        ),
        "seq from one": good.replace(b'"seq":0', b'"seq":1'),
        "unknown type": good.replace(b'"type":"platform"', b'"type":"reset"'),
        "not canonical": good.replace(b",", b", "),
        "trailing new line": good + b"\n",
    }
    for name, raw in malformed.items():
        yield vector(f"log/refused-{slug(name)}", "MALFORMED_LOG", 2, name, raw)


def _log_vector(name: str, expect: str, section: int, comment: str, events: list[Event]) -> Vector:
    log = _written(events)
    return vector(f"log/{name}", expect, section, comment, log.encode(), **_log_values(log.position))


def _written(events: list[Event]) -> EventLog:
    log = EventLog(report_id=REPORT_ID)
    for event in events:
        log.append(event)
    return log


def _log_values(position: LogPosition) -> dict[str, str]:
    return {
        "report_id": REPORT_ID.hex(),
        "manifest": MANIFEST.hex(),
        "consents": CONSENTS.hex(),
        "head": position.head.hex(),
        "events": str(position.events),
    }


def receipt_vectors() -> Iterator[Vector]:
    """Return the vectors of receipts that are made up."""
    completed, withdrawn = _body(Outcome.COMPLETED), _body(Outcome.WITHDRAWN)
    for name, body in (("completed", completed), ("withdrawn", withdrawn)):
        receipt = _signed(body)
        values = {"spki": SPKI.hex(), "statement": receipt.envelope.statement.hex()}
        yield vector(f"receipt/statement-{name}", "accept", 2, f"a session that was {name}", body.payload())
        yield vector(
            f"receipt/answer-{name}",
            "accept",
            4,
            "envelope and claims are genuine; the report is zero but for REPORT_DATA and REPORT_ID",
            receipt.encode(),
            **values,
        )
    payload = completed.payload()
    statements = {
        "subject with another digest": payload.replace(b'{"sha256":"2121', b'{"sha256":"2221', 1),
        "subject of no output": payload.replace(b"output:model", b"output:other"),
        "another predicate type": payload.replace(b"receipt:v1", b"receipt:v2"),
        "further member": payload.replace(b'"log":', b'"at":"2026-01-01T00:00:00Z","log":'),
        "unknown outcome": payload.replace(b'"completed"', b'"successful"'),
        "not canonical": payload.replace(b",", b", "),
    }
    for name, raw in statements.items():
        yield vector(f"receipt/refused-statement-{slug(name)}", "MALFORMED_RECEIPT", 2, name, raw)
    receipt = _signed(completed)
    high = receipt.envelope.signature[:32] + (
        P256_ORDER - int.from_bytes(receipt.envelope.signature[32:], "big")
    ).to_bytes(32, "big")
    forged = {
        "high s": Envelope(payload=payload, spki_sha256=framing.sha256(SPKI), signature=high),
        "keyid of another key": Envelope(payload=payload, spki_sha256=KEY, signature=receipt.envelope.signature),
        "signature of another session": Envelope(
            payload=withdrawn.payload(), spki_sha256=framing.sha256(SPKI), signature=receipt.envelope.signature
        ),
    }
    for name, envelope in forged.items():
        raw = Receipt(envelope=envelope, evidence=receipt.evidence).encode()
        yield vector(f"receipt/refused-answer-{slug(name)}", "RECEIPT_SIGNATURE", 3, name, raw, spki=SPKI.hex())


def _body(outcome: Outcome) -> ReceiptBody:
    completed = outcome is Outcome.COMPLETED
    records = InputCommitment(name="records-a", participant="clinic-a", commitment=b"\x24" * 32)
    model = OwnOutput(name="model", sealed=SealedOutput(sha256=b"\x21" * 32, size_bytes=1234), filters=("at-most-4k",))
    return ReceiptBody(
        participant="company",
        report_id=REPORT_ID,
        manifest_hash=MANIFEST,
        manifest_sha256=b"\x22" * 32,
        guest_spki_sha256=framing.sha256(SPKI),
        roster=ROSTER if completed else None,
        components=(ComponentDigest(name="fit", sha256=b"\x23" * 32),),
        inputs=(records,) if completed else (),
        outputs=(model,) if completed else (),
        other_outputs=("evaluation",) if completed else (),
        outcome=outcome,
        log=POSITION,
    )


def _signed(body: ReceiptBody) -> Receipt:
    # RFC 6979, so that the signature is the same every time.
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = decode_dss_signature(TLS_KEY.sign(pae(body.payload()), algorithm))
    signature = r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")
    envelope = Envelope(payload=body.payload(), spki_sha256=framing.sha256(SPKI), signature=signature)
    claims = body.claims(envelope.statement)
    report = bytes(0x50) + claims.report_data() + bytes(0xB0) + REPORT_ID + bytes(0x340)
    return Receipt(envelope=envelope, evidence=Evidence(report=report, claims=claims.encode(), vek=b"vek"))
