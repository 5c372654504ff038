"""The vectors of claims, evidence, log and receipts: made as they lie there, read as they say, recomputed by others.

Nothing of the product recomputes what an accepted vector says: only hashlib, a general CBOR decoder and json.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.simulated import lenient_policy
from tests.support.vectorfiles import ROOT, Vector, folder
from tools import make_vectors_formats
from tools.vectors_sessions import RECORDED

from twocvm_verifier import SnpVerifier, Unchecked, evidence, simulated_roots
from twocvm_verifier.binding import LogPosition, parse_claims
from twocvm_verifier.clock import parse_time
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.eventlog import parse_log, verify_log
from twocvm_verifier.receipt import parse_body, parse_receipt, verify_receipt_envelope
from twocvm_verifier.receipt_file import parse_receipt_file, verify_receipt_file

SPEC = Path(__file__).parents[3] / "docs" / "spec"
CLAIMS, EVIDENCE, LOG, RECEIPT = (folder(name) for name in make_vectors_formats.FOLDERS)
ALL = [*CLAIMS, *EVIDENCE, *LOG, *RECEIPT]
NAMES = {vector.name: vector for vector in ALL}


def _accepted(vectors: list[Vector], *, without: str = "-") -> list[object]:
    return [
        pytest.param(vector, id=vector.name)
        for vector in vectors
        if vector.expect == "accept" and not vector.name.startswith(without)
    ]


def _read(vector: Vector) -> None:
    """Read a vector in the way of its folder, and whatever of it can be verified."""
    kind, _, name = vector.name.partition("/")
    values = vector.values
    if kind == "claims":
        parse_claims(vector.payload)
    elif kind == "evidence":
        (evidence.parse_cbor if values["form"] == "cbor" else evidence.parse_json)(vector.payload)
    elif kind == "log":
        events = parse_log(vector.payload)
        position = LogPosition(head=bytes.fromhex(values["head"]), events=int(values["events"]))
        known = {key: bytes.fromhex(values[key]) for key in ("report_id", "manifest", "consents")}
        verify_log(
            events,
            report_id=known["report_id"],
            seen=(position,),
            manifest_hash=known["manifest"],
            consents_digest=known["consents"],
        )
    elif name.startswith(("statement", "refused-statement")):
        parse_body(vector.payload)
    elif vector.name == RECORDED:
        _judge_recorded(vector)
    else:
        verify_receipt_envelope(parse_receipt(vector.payload).envelope, spki_der=bytes.fromhex(values["spki"]))


def _judge_recorded(vector: Vector) -> None:
    chain = parse_receipt_file(vector.payload).receipt.evidence.chain
    verified = verify_receipt_file(
        vector.payload,
        manifest=bytes.fromhex(vector.values["manifest"]),
        policy=lenient_policy(),
        verifier=SnpVerifier(roots=simulated_roots(chain or b""), crls=Unchecked("simulated roots revoke nothing")),
        at=parse_time(vector.values["at"]),
    )
    assert verified.body.participant == vector.values["participant"]


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector.name) for vector in ALL])
def test_every_vector_is_read_as_it_says(vector: Vector) -> None:
    """An accepted vector is accepted, and a refused one is refused with its one code."""
    if vector.expect == "accept":
        _read(vector)
        return
    with pytest.raises(TwoCvmError) as caught:
        _read(vector)
    assert caught.value.code == vector.expect


def test_the_script_makes_what_lies_there() -> None:
    """What is made up is made again, byte for byte, and nothing else lies there but what was recorded."""
    made = {vector.name: vector.encode() for vector in make_vectors_formats.made_up()}
    lying = {name: (ROOT / f"{name}.txt").read_bytes() for name in NAMES if name != RECORDED}
    assert made == lying
    assert NAMES[RECORDED].encode() == (ROOT / f"{RECORDED}.txt").read_bytes()


@pytest.mark.parametrize("vector", _accepted(CLAIMS))
def test_claims_are_recomputed_by_others(vector: Vector) -> None:
    """A general CBOR encoder and SHA-256 come to the same claims and REPORT_DATA from the vector's values."""
    values = dict(vector.values)
    report_data = values.pop("report_data")
    members = {
        "ctx": values.pop("context").encode(),
        "pubkey-hash": cbor2.dumps([1, bytes.fromhex(values.pop("spki_sha256"))]),
        "role": b"server",
        "events": int(values.pop("events")).to_bytes(8, "big"),
        **{key: bytes.fromhex(value) for key, value in values.items()},
    }
    assert cbor2.dumps(members, canonical=True) == vector.payload
    assert hashlib.sha256(vector.payload).hexdigest() + values["manifest"] == report_data


@pytest.mark.parametrize("vector", _accepted(EVIDENCE))
def test_evidence_is_decoded_by_others(vector: Vector) -> None:
    """A general decoder finds in either form the members that ours finds."""
    if vector.values["form"] == "cbor":
        ours, theirs = evidence.parse_cbor(vector.payload), cbor2.loads(vector.payload)
        decoded = {name: data for name, (_, data) in theirs.items()}
    else:
        ours, theirs = evidence.parse_json(vector.payload), json.loads(vector.payload)
        decoded = {name: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for name, (_, text) in theirs.items()}
    assert {name: media_type for name, (media_type, _) in theirs.items()}.items() <= evidence.MEDIA_TYPES.items()
    assert [decoded.get(name) for name in ("snp", "claims", "vek", "chain", "crl", "path")] == [
        *(ours.report, ours.claims, ours.vek, ours.chain, ours.crl, ours.path)
    ]


@pytest.mark.parametrize("vector", _accepted(LOG))
def test_a_log_is_replayed_by_others(vector: Vector) -> None:
    """SHA-256 and plain JSON come to the vector's head."""
    head = hashlib.sha256(b"2cvm.log.v1\x00" + bytes.fromhex(vector.values["report_id"])).digest()
    events = json.loads(vector.payload)["events"]
    for event in events:
        jcs = json.dumps(event, sort_keys=True, separators=(",", ":")).encode()
        head = hashlib.sha256(b"2cvm.log.v1\x00" + head + jcs).digest()
    assert (head.hex(), str(len(events))) == (vector.values["head"], vector.values["events"])


@pytest.mark.parametrize("name", ["receipt/answer-completed", "receipt/answer-withdrawn"])
def test_a_receipt_is_verified_by_others(name: str) -> None:
    """Plain JSON, base64 and the library's ECDSA verify the envelope, and find its hash in the claims of the report."""
    vector = NAMES[name]
    answer = json.loads(vector.payload)
    payload = base64.b64decode(answer["receipt"]["payload"])
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    assert payload == NAMES[name.replace("answer", "statement")].payload
    assert hashlib.sha256(signed).hexdigest() == vector.values["statement"]
    spki = bytes.fromhex(vector.values["spki"])
    signature = answer["receipt"]["signatures"][0]
    assert signature["keyid"] == hashlib.sha256(spki).hexdigest()
    raw = base64.b64decode(signature["sig"])
    key = load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    claims, report = (base64.urlsafe_b64decode(answer["evidence"][member][1] + "===") for member in ("claims", "snp"))
    assert cbor2.loads(claims)["statement"].hex() == vector.values["statement"]
    assert report[0x50:0x70] == hashlib.sha256(claims).digest()


@pytest.mark.parametrize(
    ("page", "quoted"),
    [
        ("claims", NAMES["claims/cert"].values["report_data"][:64]),
        ("evidence", NAMES["evidence/answer-least"].payload.decode()),
        ("log", "7721ffb1281787d73ba61fcaeff3077101f9d66e093196461a776097464f83be"),
        ("receipt", "4842cb1ba6fed6e460d8a0d56f6b64ccf1f1e11f7714a7f282080d5780251b63"),
    ],
)
def test_the_pages_quote_what_is_true(page: str, quoted: str) -> None:
    """The value that each page shows in full stands there, and is recomputed here."""
    first = b'{"missing":"","platform":"simulated","seq":0,"type":"platform"}'
    head_0 = hashlib.sha256(b"2cvm.log.v1\x00" + b"\x01" * 32)
    true = {
        "log": hashlib.sha256(b"2cvm.log.v1\x00" + head_0.digest() + first).hexdigest(),
        "receipt": hashlib.sha256(b"DSSEv1 28 application/vnd.in-toto+json 2 {}").hexdigest(),
    }
    text = (SPEC / f"{page}.md").read_text()
    assert quoted in text
    assert true.get(page, quoted) == quoted
    assert page != "log" or (head_0.hexdigest() in text and first.decode() in text)
