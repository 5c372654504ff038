"""Whatever bytes a peer sends, the readers of the attested connection give a value or a refusal of ours."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.attested_guest import Scene
from tests.support.hostile_guest import Forgery, framed
from tests.support.manifests import AT

from twocvm_guest.tls import build_certificate
from twocvm_sdk.httpwire import MAX_HEAD_BYTES, Head, read_head
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.evidence import encode_json
from twocvm_verifier.ratls.certificate import RatlsCertificate, parse_certificate
from twocvm_verifier.ratls.proof import CertificateProof, ChannelProof, judge_certificate, judge_channel

SCENE = Scene()
FORGERY = Forgery(scene=SCENE)
CERTIFICATE = build_certificate(FORGERY.key, FORGERY.certificate_evidence())
EXPECTATION = SCENE.expectation()
PROOF = judge_certificate(CERTIFICATE, expectation=EXPECTATION, at=AT)
ANSWER = encode_json(FORGERY.certificate_evidence())
HEAD = framed(b"", "X-Other: value")


def changes(size: int) -> st.SearchStrategy[list[tuple[int, bytes]]]:
    """Replacements of single bytes by others, or by nothing, or by more."""
    return st.lists(st.tuples(st.integers(0, size - 1), st.binary(max_size=3)), min_size=1, max_size=4)


def changed(raw: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """Return `raw` with the edits applied."""
    for position, replacement in edits:
        raw = raw[:position] + replacement + raw[position + 1 :]
    return raw


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), changes(len(CERTIFICATE)).map(lambda edits: changed(CERTIFICATE, edits))))
def test_certificates_are_read_or_refused(raw: bytes) -> None:
    """No certificate makes the reader or the judge raise anything but a refusal; and a changed one is refused."""
    for read in (parse_certificate, lambda der: judge_certificate(der, expectation=EXPECTATION, at=AT)):
        try:
            value = read(raw)
        except TwoCvmError:
            continue
        assert isinstance(value, RatlsCertificate | CertificateProof)
        assert raw == CERTIFICATE


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), changes(len(ANSWER)).map(lambda edits: changed(ANSWER, edits))))
def test_channel_answers_are_read_or_refused(raw: bytes) -> None:
    """No answer makes the judge raise anything but a refusal, and none of these proves a channel."""
    try:
        value = judge_channel(raw, previous=PROOF, nonce=b"n" * 32, exported=b"e" * 32, expectation=EXPECTATION, at=AT)
    except TwoCvmError:
        return
    assert isinstance(value, ChannelProof)
    raise AssertionError("evidence for a certificate proved a channel")


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        changes(len(HEAD)).map(lambda edits: changed(HEAD, edits)),
        st.binary(max_size=20).map(lambda piece: HEAD.replace(b"value", piece)),
    )
)
def test_heads_are_read_or_refused(raw: bytes) -> None:
    """No head makes the reader raise anything but a refusal; what it takes has one length and a final status."""
    stream = io.BufferedReader(io.BytesIO(raw))
    try:
        head = read_head(stream)
    except TwoCvmError:
        return
    assert isinstance(head, Head)
    assert 200 <= head.status < 600
    assert head.status // 100 != 3
    assert [name for name, _ in head.fields].count("content-length") == 1
    assert raw.endswith(b"\r\n\r\n") or stream.read() != b""


def test_head_of_the_greatest_length_is_read() -> None:
    """The limit is the limit: one byte more is refused."""
    room = MAX_HEAD_BYTES - len(framed(b"", "X-Long: "))
    read_head(io.BufferedReader(io.BytesIO(framed(b"", "X-Long: " + "a" * room))))
    with pytest.raises(TwoCvmError) as refusal:
        read_head(io.BufferedReader(io.BytesIO(framed(b"", "X-Long: " + "a" * (room + 1)))))
    assert refusal.value.code == "MALFORMED_HTTP"
