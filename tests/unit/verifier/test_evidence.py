"""The container of evidence, in both its forms."""

from __future__ import annotations

import base64

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hostile_cbor import tricks

from twocvm_verifier import evidence as container
from twocvm_verifier import strictcbor
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.evidence import MEDIA_TYPES, Evidence
from twocvm_verifier.strictjson import canonical

PART = st.binary(min_size=1, max_size=300)
STEP = st.tuples(st.sampled_from([b"\x00", b"\x01"]), st.binary(min_size=32, max_size=32)).map(b"".join)
PATH = st.lists(STEP, max_size=16).map(b"".join)
IN_CERTIFICATES = st.builds(
    Evidence, report=PART, claims=PART, vek=PART, chain=st.none() | PART, crl=st.none() | PART, path=st.none()
)
IN_ANSWERS = st.builds(
    Evidence, report=PART, claims=PART, vek=PART, chain=st.none() | PART, crl=st.none() | PART, path=st.none() | PATH
)

FULL = Evidence(report=b"r" * 1184, claims=b"c" * 300, vek=b"v" * 1350, chain=b"-----BEGIN", crl=b"0")
MEMBERS: dict[str, strictcbor.Cbor] = dict(cbor2.loads(container.encode_cbor(FULL)))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(**changed: object) -> bytes:
    """Return the answer form of `FULL` with members changed; None takes one out."""
    members = {name: [media_type, _text(data)] for name, (media_type, data) in MEMBERS.items()} | changed  # type: ignore[misc]
    return canonical({name: value for name, value in members.items() if value is not None})  # type: ignore[misc]


def _cbor(**changed: object) -> bytes:
    return cbor2.dumps({**MEMBERS, **changed}, canonical=True)


@given(IN_CERTIFICATES)
def test_the_certificate_form_is_read_as_it_was_written(evidence: Evidence) -> None:
    """Evidence survives the way through a certificate."""
    assert container.parse_cbor(container.encode_cbor(evidence)) == evidence


@given(IN_ANSWERS)
def test_the_answer_form_is_read_as_it_was_written(evidence: Evidence) -> None:
    """Evidence survives the way through an answer, with a path or without."""
    assert container.parse_json(container.encode_json(evidence)) == evidence


@given(st.binary(max_size=300))
def test_any_bytes_give_evidence_or_malformed(raw: bytes) -> None:
    """Both readers are total, and each form has one spelling."""
    for parse, encode in (
        (container.parse_cbor, container.encode_cbor),
        (container.parse_json, container.encode_json),
    ):
        try:
            evidence = parse(raw)
        except MalformedError:
            continue
        assert encode(evidence) == raw


JSON_LEAVES = st.text(max_size=20) | st.integers() | st.booleans()
JSON_VALUES = st.recursive(
    JSON_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*MEDIA_TYPES]), inner)
)


@given(JSON_VALUES)
def test_any_json_gives_evidence_or_malformed(value: container.Json) -> None:
    """A JSON value of whatever shape is evidence or malformed, never another error."""
    try:
        evidence = container.from_json(value)
    except MalformedError:
        return
    assert container.to_json(evidence) == value


def test_a_general_decoder_reads_the_table_of_the_specification() -> None:
    """Each member is an array of its media type and its bytes; absent ones are absent."""
    assert cbor2.loads(container.encode_cbor(FULL)) == {
        "snp": ["application/octet-stream", FULL.report],
        "claims": ["application/cbor", FULL.claims],
        "vek": ["application/pkix-cert", FULL.vek],
        "chain": ["application/pem-certificate-chain", FULL.chain],
        "crl": ["application/pkix-crl", FULL.crl],
    }
    assert cbor2.loads(container.encode_cbor(Evidence(report=b"r", claims=b"c", vek=b"v"))).keys() == {
        "snp",
        "claims",
        "vek",
    }


SHAPES: dict[str, dict[str, object]] = {
    "unknown member": {"gpu": ["application/octet-stream", b"x"]},
    "collection type": {"__cmwc_t": "tag:example.org,2026:x"},
    "other media type": {"snp": ["application/eat+cwt", b"x"]},
    "media type of another member": {"vek": ["application/cbor", b"x"]},
    "media type in capitals": {"snp": ["Application/Octet-Stream", b"x"]},
    "media type as bytes": {"snp": [b"application/octet-stream", b"x"]},
    "one more entry": {"snp": ["application/octet-stream", b"x", b"y"]},
    "one entry": {"snp": ["application/octet-stream"]},
    "no entry": {"snp": []},
    "no array": {"snp": b"x"},
    "map for an array": {"snp": {"0": "application/octet-stream", "1": b"x"}},
    "empty value": {"snp": ["application/octet-stream", b""]},
    "empty optional value": {"crl": ["application/pkix-crl", b""]},
    "array for a value": {"snp": ["application/octet-stream", [b"x"]]},
}
REQUIRED = ("snp", "claims")
CBOR_TRICKS = (
    # Its first member in order is the optional `crl`, which may indeed be missing.
    {name: raw for name, raw in tricks(MEMBERS).items() if name != "missing member"}
    | {name: _cbor(**changed) for name, changed in SHAPES.items()}
    | {f"no {name}": strictcbor.encode({k: v for k, v in MEMBERS.items() if k != name}) for name in REQUIRED}
    | {
        "text for a value": _cbor(snp=["application/octet-stream", "x"]),
        "conceptual message wrapper indicator": _cbor(snp=["application/octet-stream", b"x", 4]),
        "path": _cbor(path=["application/octet-stream", bytes(33)]),
        "oversize": _cbor(chain=["application/pem-certificate-chain", bytes(16384)]),
    }
)


@pytest.mark.parametrize("raw", CBOR_TRICKS.values(), ids=CBOR_TRICKS)
def test_no_trick_is_taken_for_a_certificate_s_evidence(raw: bytes) -> None:
    """Whatever is not the one spelling of the collection is refused with one code."""
    with pytest.raises(MalformedError) as caught:
        container.parse_cbor(raw)
    assert caught.value.code == "MALFORMED_EVIDENCE"


def _as_json(value: object) -> object:
    if isinstance(value, dict):
        return {name: _as_json(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_json(member) for member in value]
    return _text(value) if isinstance(value, bytes) else value


SNP = "application/octet-stream"
JSON_TRICKS = {name: _json(**_as_json(changed)) for name, changed in SHAPES.items()} | {  # type: ignore[arg-type]
    **{f"no {name}": _json(**{name: None}) for name in REQUIRED},
    "padded": _json(snp=[SNP, "eA=="]),
    "other alphabet": _json(snp=[SNP, "+/+/"]),
    "trailing bits": _json(snp=[SNP, "eB"]),
    "one character": _json(snp=[SNP, "e"]),
    "white space inside": _json(snp=[SNP, "eH h4"]),
    "integer for a value": _json(snp=[SNP, 1]),
    "array at the top": b"[]",
    "string at the top": b'"x"',
    "empty": b"",
    "trailing byte": _json() + b"\n",
    "leading space": b" " + _json(),
    "second document": _json() + _json(),
    "duplicate key": _json().replace(b"{", b'{"claims":["application/cbor","eA"],', 1),
    "not canonical": _json().replace(b",", b", ", 1),
    "escaped": _json().replace(b"snp", b"\\u0073np", 1),
    "not UTF-8": b"\xff",
    "nested deep": b"[" * 5000,
    "oversize": _json(chain=["application/pem-certificate-chain", _text(bytes(30000))]),
    "path of half a step": _json(path=[SNP, _text(bytes(32))]),
    "path of 17 steps": _json(path=[SNP, _text(bytes(33 * 17))]),
    "path with a third side": _json(path=[SNP, _text(b"\x02" + bytes(32))]),
}


@pytest.mark.parametrize("raw", JSON_TRICKS.values(), ids=JSON_TRICKS)
def test_no_trick_is_taken_for_an_answer_s_evidence(raw: bytes) -> None:
    """Whatever is not the one spelling of the JSON form is refused with one code."""
    with pytest.raises(MalformedError) as caught:
        container.parse_json(raw)
    assert caught.value.code == "MALFORMED_EVIDENCE"


def test_a_single_leaf_has_an_empty_path() -> None:
    """An empty path is there, and is not the same as none."""
    alone = Evidence(report=b"r", claims=b"c", vek=b"v", path=b"")
    assert container.parse_json(container.encode_json(alone)).path == b""
    assert container.parse_json(container.encode_json(Evidence(report=b"r", claims=b"c", vek=b"v"))).path is None


@pytest.mark.parametrize("member", ["report", "claims", "vek", "chain", "crl"])
def test_a_member_that_is_there_is_not_empty(member: str) -> None:
    """Evidence of our own making cannot have an empty member either."""
    with pytest.raises(ValueError, match=member):
        Evidence(**{"report": b"r", "claims": b"c", "vek": b"v", member: b""})


def test_a_path_of_our_own_is_whole_steps() -> None:
    """Evidence of our own making cannot have half a step or a third side."""
    for path in (bytes(32), bytes(33 * 17), b"\x02" + bytes(32)):
        with pytest.raises(ValueError, match="path"):
            Evidence(report=b"r", claims=b"c", vek=b"v", path=path)


def test_what_would_be_refused_is_not_written() -> None:
    """Neither form is written longer than it is read, and no certificate is given a path."""
    large = Evidence(report=b"r", claims=b"c", vek=b"v", chain=bytes(30000))
    for encode in (container.encode_cbor, container.encode_json):
        with pytest.raises(ValueError, match="at most"):
            encode(large)
    with pytest.raises(ValueError, match="path"):
        container.encode_cbor(Evidence(report=b"r", claims=b"c", vek=b"v", path=b""))


def test_the_largest_evidence_fits_its_extension() -> None:
    """Evidence of exactly the limit is written, read, and with its OCTET STRING header 16384 bytes long."""
    shorter = len(container.encode_cbor(Evidence(report=b"r", claims=b"c", vek=b"v", chain=bytes(1000))))
    largest = Evidence(report=b"r", claims=b"c", vek=b"v", chain=bytes(1000 + container.MAX_CBOR_BYTES - shorter))
    raw = container.encode_cbor(largest)
    assert len(b"\x04\x82" + len(raw).to_bytes(2, "big") + raw) == container.MAX_EXTENSION_BYTES
    assert container.parse_cbor(raw) == largest


@given(IN_ANSWERS)
def test_answer_is_spelled_as_everybody_would(evidence: Evidence) -> None:
    """The bytes of an answer are the RFC 8785 form of its members, which a general writer makes too."""
    assert container.encode_json(evidence) == canonical(container.to_json(evidence))
