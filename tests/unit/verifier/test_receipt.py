"""What a receipt states, the envelope around it, and the answer that holds both."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import World

from twocvm_verifier import dsse
from twocvm_verifier.binding import LogPosition
from twocvm_verifier.errors import MalformedError, SignatureError
from twocvm_verifier.eventlog import Outcome
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.receipt import (
    ComponentDigest,
    InputCommitment,
    OwnOutput,
    Receipt,
    ReceiptBody,
    SealedOutput,
    build_receipt,
    parse_body,
    parse_receipt,
    receipt_from_json,
    verify_receipt_envelope,
)
from twocvm_verifier.strictjson import Json, canonical

KEY = ec.derive_private_key(7, ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
WORLD = World()
SEALED = {
    "model": SealedOutput(sha256=b"\x11" * 32, size_bytes=5),
    "evaluation": SealedOutput(sha256=b"\x12" * 32, size_bytes=10),
}
LOG = LogPosition(head=b"\x13" * 32, events=9)

HASHES = st.binary(min_size=32, max_size=32)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
INPUTS = st.builds(InputCommitment, name=NAMES, participant=NAMES, commitment=HASHES)
SEALED_OUTPUTS = st.builds(SealedOutput, sha256=HASHES, size_bytes=st.integers(0, 2**53 - 1))
BODIES = st.builds(
    ReceiptBody,
    participant=NAMES,
    report_id=HASHES,
    manifest_hash=HASHES,
    manifest_sha256=HASHES,
    guest_spki_sha256=HASHES,
    roster=st.none() | HASHES,
    components=st.lists(st.builds(ComponentDigest, name=NAMES, sha256=HASHES), max_size=3).map(tuple),
    inputs=st.lists(st.builds(InputCommitment, name=NAMES, participant=NAMES, commitment=HASHES), max_size=3).map(
        tuple
    ),
    outputs=st.lists(
        st.builds(OwnOutput, name=NAMES, sealed=SEALED_OUTPUTS, filters=st.lists(NAMES, max_size=2).map(tuple)),
        max_size=3,
    ).map(tuple),
    other_outputs=st.lists(NAMES, max_size=3).map(tuple),
    outcome=st.sampled_from(Outcome),
    log=st.builds(LogPosition, head=HASHES, events=st.integers(0, 32768)),
)


def _body(
    participant: str = "analytics", outcome: Outcome = Outcome.COMPLETED, *, roster: bytes | None = b"\x14" * 32
) -> ReceiptBody:
    return ReceiptBody.of_session(
        WORLD.manifest,
        participant=participant,
        report_id=b"\x15" * 32,
        guest_spki_sha256=hashlib.sha256(SPKI).digest(),
        roster=roster,
        commitments={name: WORLD.commitments(name) for name in WORLD.names},
        sealed=SEALED,
        outcome=outcome,
        log=LOG,
    )


def _receipt(body: ReceiptBody) -> Receipt:
    return Receipt(envelope=build_receipt(body, key=KEY), evidence=Evidence(report=b"r", claims=b"c", vek=b"v"))


def _changed(**members: object) -> bytes:
    """Return the statement with members of its predicate changed; None takes one out."""
    statement = json.loads(_body().payload())
    predicate = {**statement["predicate"], **members}
    statement["predicate"] = {name: value for name, value in predicate.items() if value is not None}
    return canonical(statement)


@given(BODIES)
def test_a_statement_is_read_as_it_was_written(body: ReceiptBody) -> None:
    """What a receipt states survives the way through its payload."""
    assert parse_body(body.payload()) == body


@given(st.binary(max_size=300))
def test_any_bytes_give_a_statement_or_malformed(raw: bytes) -> None:
    """Reading a statement is total, and a statement has one spelling."""
    try:
        body = parse_body(raw)
    except MalformedError:
        return
    assert body.payload() == raw


@given(st.binary(max_size=300))
def test_any_bytes_give_a_receipt_or_malformed(raw: bytes) -> None:
    """Reading a receipt is total, and a receipt has one spelling."""
    try:
        receipt = parse_receipt(raw)
    except MalformedError:
        return
    assert receipt.encode() == raw


JSON_VALUES = st.recursive(
    st.text(max_size=20) | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig", "snp"]), inner)
    ),
)


@given(JSON_VALUES, JSON_VALUES)
def test_any_json_gives_a_receipt_or_malformed(envelope: Json, collection: Json) -> None:
    """JSON of whatever shape is a receipt or malformed, never another error."""
    try:
        receipt = receipt_from_json(envelope, collection)
    except MalformedError:
        return
    assert receipt.to_json() == {"receipt": envelope, "evidence": collection}


def test_the_statement_is_the_one_of_the_specification() -> None:
    """The statement has exactly the members of the specification, in an in-toto statement of version 1."""
    assert json.loads(_body().payload()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "urn:2cvm:receipt:v1",
        "subject": [
            {"name": "manifest", "digest": {"sha256": hashlib.sha256(WORLD.manifest.raw).hexdigest()}},
            {"name": "output:model", "digest": {"sha256": "11" * 32}},
        ],
        "predicate": {
            "participant": "analytics",
            "report_id": "15" * 32,
            "manifest": WORLD.manifest.hash.hex(),
            "guest_spki_sha256": hashlib.sha256(SPKI).hexdigest(),
            "roster": "14" * 32,
            "components": [
                {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in ("step-0", "step-1")
            ],
            "inputs": [
                {
                    "name": f"records-{letter}",
                    "participant": f"hospital-{letter}",
                    "commitment": WORLD.commitment(f"records-{letter}").hex(),
                }
                for letter in "ab"
            ],
            "outputs": [{"name": "model", "sha256": "11" * 32, "bytes": 5, "filters": []}],
            "other_outputs": ["evaluation"],
            "outcome": "completed",
            "log": {"head": "13" * 32, "events": 9},
        },
    }


def test_nobody_learns_more_of_another_s_output_than_its_name() -> None:
    """Neither digest nor size of an output stand in the receipt of who does not get it."""
    payload = _body("hospital-a").payload()
    assert SEALED["evaluation"].sha256.hex().encode() in payload
    assert SEALED["model"].sha256.hex().encode() not in payload
    assert b'"model"' in payload


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.WITHDRAWN, Outcome.EXPIRED])
def test_a_session_that_was_not_completed_has_no_outputs(outcome: Outcome) -> None:
    """Without a completed run no receipt names an output."""
    body = _body(outcome=outcome)
    assert (body.outputs, body.other_outputs) == ((), ())


def test_a_session_without_a_roster_has_no_inputs() -> None:
    """Before the roster is complete nobody was going to release anything, and the statement has no roster at all."""
    body = _body(outcome=Outcome.WITHDRAWN, roster=None)
    assert body.inputs == ()
    assert "roster" not in json.loads(body.payload())["predicate"]


def test_a_receipt_is_for_a_participant_of_its_manifest() -> None:
    """There is no receipt for anybody else, and none without the digests that it must hold."""
    with pytest.raises(KeyError):
        _body("hospital-c")
    with pytest.raises(KeyError):
        ReceiptBody.of_session(
            WORLD.manifest,
            participant="analytics",
            report_id=bytes(32),
            guest_spki_sha256=bytes(32),
            roster=bytes(32),
            commitments={},
            sealed={},
            outcome=Outcome.COMPLETED,
            log=LOG,
        )


OUTPUT = {"name": "model", "sha256": "11" * 32, "bytes": 5, "filters": []}
MALFORMED = {
    "not JSON": b"x",
    "an array": b"[]",
    "no subject": canonical({**json.loads(_body().payload()), "subject": []}),
    "another type": _body().payload().replace(b"Statement/v1", b"Statement/v2"),
    "another predicate": _body().payload().replace(b"receipt:v1", b"receipt:v2"),
    "not canonical": _body().payload() + b"\n",
    "subject of another output": _body().payload().replace(b"output:model", b"output:other"),
    "subject with another digest": _body().payload().replace(b'{"sha256":"1111', b'{"sha256":"2211'),
    "further member": _changed(at="2026-01-01T00:00:00Z"),
    "missing member": _changed(outcome=None),
    "participant no name": _changed(participant="Hospital A"),
    "short hash": _changed(manifest="00"),
    "roster empty": _changed(roster=""),
    "unknown outcome": _changed(outcome="successful"),
    "output without a digest": _changed(outputs=[{"name": "model", "bytes": 5, "filters": []}]),
    "size a string": _changed(outputs=[{**OUTPUT, "bytes": "5"}]),
    "size negative": _changed(outputs=[{**OUTPUT, "bytes": -5}]),
    "outputs no array": _changed(outputs={}),
    "component no object": _changed(components=["step-0"]),
    "other outputs no names": _changed(other_outputs=["../x"]),
    "more events than a log has": _changed(log={"head": "13" * 32, "events": 32769}),
    "head of the log only": _changed(log={"head": "13" * 32}),
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_statement_is_malformed(payload: bytes) -> None:
    """Whatever is not the one spelling of a statement is refused with one code, even if the key signed it."""
    envelope = dsse.sign_envelope(payload, key=KEY)
    with pytest.raises(MalformedError) as caught:
        verify_receipt_envelope(envelope, spki_der=SPKI)
    assert caught.value.code == "MALFORMED_RECEIPT"


def test_the_envelope_is_the_one_of_dsse() -> None:
    """Payload and signature are standard base64, and what is signed is DSSE's own encoding."""
    body = _body()
    envelope = build_receipt(body, key=KEY)
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(body.payload()), body.payload())
    assert envelope.to_json() == {
        "payload": base64.b64encode(body.payload()).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [
            {"keyid": hashlib.sha256(SPKI).hexdigest(), "sig": base64.b64encode(envelope.signature).decode()}
        ],
    }
    assert envelope.statement == hashlib.sha256(signed).digest()
    assert verify_receipt_envelope(envelope, spki_der=SPKI) == body


ENVELOPE: dict[str, Json] = dict(build_receipt(_body(), key=KEY).to_json())  # type: ignore[arg-type]
SIGNATURE = {"keyid": hashlib.sha256(SPKI).hexdigest(), "sig": base64.b64encode(bytes(64)).decode()}
ENVELOPES: dict[str, Json] = {
    "no object": [],
    "no payload": {name: member for name, member in ENVELOPE.items() if name != "payload"},
    "further member": {**ENVELOPE, "more": 1},
    "another payload type": {**ENVELOPE, "payloadType": "text/plain"},
    "no signature": {**ENVELOPE, "signatures": []},
    "two signatures": {**ENVELOPE, "signatures": [SIGNATURE, SIGNATURE]},
    "signature no object": {**ENVELOPE, "signatures": ["x"]},
    "signature with a certificate": {**ENVELOPE, "signatures": [{**SIGNATURE, "cert": "x"}]},
    "signature in DER": {**ENVELOPE, "signatures": [{**SIGNATURE, "sig": base64.b64encode(bytes(70)).decode()}]},
    "signature empty": {**ENVELOPE, "signatures": [{**SIGNATURE, "sig": ""}]},
    "keyid in capitals": {**ENVELOPE, "signatures": [{**SIGNATURE, "keyid": "AB" * 32}]},
    "payload unpadded": {**ENVELOPE, "payload": "eA"},
    "payload with trailing bits": {**ENVELOPE, "payload": "eB=="},
    "payload of the other alphabet": {**ENVELOPE, "payload": "-_-_"},
    "payload beyond ASCII": {**ENVELOPE, "payload": "é==="},
    "payload no string": {**ENVELOPE, "payload": 1},
}


@pytest.mark.parametrize("value", ENVELOPES.values(), ids=ENVELOPES)
def test_what_is_no_envelope_is_malformed(value: Json) -> None:
    """Whatever is not the one spelling of an envelope with one signature is refused with one code."""
    with pytest.raises(MalformedError) as caught:
        dsse.parse_envelope(value)
    assert caught.value.code == "MALFORMED_RECEIPT"


def _spki(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


OTHER_KEYS = {
    "P-256": _spki(ec.derive_private_key(8, ec.SECP256R1())),
    "P-384": _spki(ec.derive_private_key(7, ec.SECP384R1())),
    "Ed25519": _spki(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
    "X25519": _spki(x25519.X25519PrivateKey.from_private_bytes(bytes(32))),
    "no key": b"\x30\x00",
    "unknown algorithm": bytes.fromhex("300a300506032a0304030100"),
    "nothing": b"",
}


@pytest.mark.parametrize("spki", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_a_statement_of_another_key_is_refused(spki: bytes) -> None:
    """A key that did not sign, or that cannot, is refused, whether or not the keyid is its own."""
    envelope = build_receipt(_body(), key=KEY)
    for claimed in (envelope, replace(envelope, spki_sha256=hashlib.sha256(spki).digest())):
        with pytest.raises(SignatureError) as caught:
            verify_receipt_envelope(claimed, spki_der=spki)
        assert caught.value.code == "RECEIPT_SIGNATURE"


@given(st.data())
def test_any_bit_of_statement_or_signature_breaks_it(data: st.DataObject) -> None:
    """An envelope in which any bit was turned is refused."""
    envelope = build_receipt(_body(), key=KEY)
    field = data.draw(st.sampled_from(["payload", "signature"]))
    raw = bytearray(getattr(envelope, field))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SignatureError):
        verify_receipt_envelope(replace(envelope, **{field: bytes(raw)}), spki_der=SPKI)


def test_the_answer_is_envelope_and_evidence() -> None:
    """The answer has two members, survives the way through bytes, and is canonical."""
    receipt = _receipt(_body())
    assert parse_receipt(receipt.encode()) == receipt
    assert json.loads(receipt.encode()).keys() == {"receipt", "evidence"}
    with pytest.raises(MalformedError):
        parse_receipt(receipt.encode() + b"\n")


def test_a_receipt_shares_its_report_with_nobody() -> None:
    """Evidence with the path of a batch makes no receipt."""
    shared = replace(_receipt(_body()), evidence=Evidence(report=b"r", claims=b"c", vek=b"v", path=b""))
    with pytest.raises(MalformedError) as caught:
        parse_receipt(shared.encode())
    assert caught.value.code == "MALFORMED_RECEIPT"
