"""The first exchange on every connection: evidence for this connection, asked for with a nonce and judged.

Spec: docs/spec/ratls.md, 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from twocvm_verifier import strictjson
from twocvm_verifier.errors import FetchError, MalformedError
from twocvm_verifier.evidence import JSON_MEDIA_TYPE, MAX_JSON_BYTES
from twocvm_verifier.ratls.proof import EXPORTED_BYTES, EXPORTER_LABEL, NONCE_BYTES, ChannelProof, judge_channel

if TYPE_CHECKING:
    from datetime import datetime

    from twocvm_verifier.ratls.proof import Expectation, Proof

    from .exchange import Exchanges
    from .httpwire import Body, Head

ATTEST_PATH: Final = "/.well-known/2cvm/attest"

Randomness: TypeAlias = Callable[[int], bytes]
"""Gives as many random bytes as asked; `secrets.token_bytes` outside tests."""

_OK: Final = 200


def prove_channel(
    exchanges: Exchanges,
    *,
    previous: Proof,
    expectation: Expectation,
    at: datetime,
    randomness: Randomness,
    seconds: float,
) -> ChannelProof:
    """Ask the guest for evidence for this connection, and judge it.

    Args:
        exchanges: The connection.
        previous: The proof before this one on it.
        expectation: What is expected of the guest.
        at: The time to judge at.
        randomness: Where the nonce comes from.
        seconds: From sending the nonce to the last byte of the answer.

    Raises:
        TwoCvmError: No answer, not an answer, or not the guest; the connection has ended then.
    """
    with exchanges.ending_on_failure():
        nonce = randomness(NONCE_BYTES)
        if len(nonce) != NONCE_BYTES or (isinstance(previous, ChannelProof) and nonce == previous.nonce):
            raise ValueError(f"randomness: not {NONCE_BYTES} fresh bytes")
        exported = exchanges.tls.tls.export_keying_material(EXPORTER_LABEL, EXPORTED_BYTES, nonce)
        with exchanges.tls.within(seconds):
            raw = _ask(exchanges, nonce)
        return judge_channel(raw, previous=previous, nonce=nonce, exported=exported, expectation=expectation, at=at)


def _ask(exchanges: Exchanges, nonce: bytes) -> bytes:
    question = strictjson.canonical({"nonce": strictjson.base64url(nonce)})
    head, body = exchanges.request(
        "POST",
        ATTEST_PATH,
        fields=(("Content-Type", "application/json"),),
        body=(question,),
        content_length=len(question),
    )
    return _evidence(head, body, exchanges)


def _evidence(head: Head, body: Body, exchanges: Exchanges) -> bytes:
    if head.status != _OK:
        raise FetchError("ATTESTATION_REFUSED", f"guest: answered {head.status} to the request for evidence")
    if head.content_length > MAX_JSON_BYTES:
        raise MalformedError("http", "content-length", f"got {head.content_length}, want at most {MAX_JSON_BYTES}")
    types = [value for name, value in head.fields if name == "content-type"]
    if types != [JSON_MEDIA_TYPE]:
        raise MalformedError("http", "content-type", f"got {types!r:.80}, want {JSON_MEDIA_TYPE}")
    raw = body.read()
    exchanges.require_silence()
    return raw
