"""What the service takes from a request: headers once and in one form, bodies within limit and time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from twocvm_guest.agent import AttestationAgent
from twocvm_guest.service.app import build_app
from twocvm_guest.service.requests import parse_nonce, parse_offer, read_body, read_json
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.errors import MalformedError, ReleaseError, TwoCvmError

DIGEST = b"sha-256=:" + b"A" * 43 + b"=:"
SALT = b"A" * 43


def request(*headers: tuple[bytes, bytes], body: bytes = b"", silent: bool = False) -> Request:
    """Return a request with these headers and this body, or one whose body never comes."""

    async def receive() -> dict[str, Any]:
        if silent:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "PUT", "path": "/", "query_string": b"", "headers": list(headers)}
    return Request(scope, receive)


def length(count: bytes) -> tuple[bytes, bytes]:
    """Return a Content-Length."""
    return (b"content-length", count)


def test_offer_is_what_the_headers_say() -> None:
    """Size, digest and salt come from their three headers, and the name from the path."""
    offer = parse_offer(request(length(b"5"), (b"content-digest", DIGEST), (b"item-salt", SALT)), "records")
    assert (offer.name, offer.size_bytes, offer.sha256, offer.salt) == ("records", 5, bytes(32), bytes(32))
    assert parse_offer(request(length(b"0"), (b"content-digest", DIGEST)), "records").salt is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-digest", DIGEST)],
        [(b"content-digest", DIGEST), (b"transfer-encoding", b"chunked")],
        [length(b"-1"), (b"content-digest", DIGEST)],
        [length(b"05"), (b"content-digest", DIGEST)],
        [length(b"+5"), (b"content-digest", DIGEST)],
        [length(b"1" * 17), (b"content-digest", DIGEST)],
        [length(b"5"), length(b"5"), (b"content-digest", DIGEST)],
        [length(b"5")],
        [length(b"5"), (b"content-digest", b"")],
        [length(b"5"), (b"content-digest", DIGEST), (b"content-digest", DIGEST)],
        [length(b"5"), (b"content-digest", DIGEST + b", " + DIGEST)],
        [length(b"5"), (b"content-digest", DIGEST.replace(b"256", b"512"))],
        [length(b"5"), (b"content-digest", b" " + DIGEST)],
        [length(b"5"), (b"content-digest", b"sha-256=:" + b"A" * 42 + b"B=:")],
        [length(b"5"), (b"content-digest", DIGEST), (b"item-salt", b"")],
        [length(b"5"), (b"content-digest", DIGEST), (b"item-salt", SALT + b"=")],
        [length(b"5"), (b"content-digest", DIGEST), (b"item-salt", b"A" * 42 + b"B")],
        [length(b"5"), (b"content-digest", DIGEST), (b"item-salt", b"A" * 44)],
        [length(b"5"), (b"content-digest", DIGEST), (b"item-salt", SALT), (b"item-salt", SALT)],
    ],
)
def test_offer_has_one_form(headers: list[tuple[bytes, bytes]]) -> None:
    """A header that is missing, doubled or written in another way is refused, and nothing is guessed."""
    with pytest.raises(MalformedError) as refused:
        parse_offer(request(*headers), "records")
    assert refused.value.code == "MALFORMED_REQUEST"


def test_body_is_read_within_its_limit() -> None:
    """A body is refused by its announced length, and one at the limit is read."""
    assert asyncio.run(read_body(request(length(b"4"), body=b"1234"), max_bytes=4)) == b"1234"
    with pytest.raises(ReleaseError) as refused:
        asyncio.run(read_body(request(length(b"5"), body=b"12345"), max_bytes=4))
    assert refused.value.code == "BODY_TOO_LARGE"


def test_body_without_a_length_is_refused() -> None:
    """A chunked body has no length to hold it to, so it is not read."""
    with pytest.raises(MalformedError):
        asyncio.run(read_body(request((b"transfer-encoding", b"chunked"), body=b"1"), max_bytes=4))


def test_body_that_does_not_come_is_given_up() -> None:
    """Who announces a body and does not send it is not waited for."""
    with pytest.raises(MalformedError):
        asyncio.run(read_body(request(length(b"4"), silent=True), max_bytes=4, seconds=0.05))


@pytest.mark.parametrize("body", [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1.0}', b'{"a":null}', b"\xff"])
def test_json_is_canonical(body: bytes) -> None:
    """A body that is not its own canonical form is refused, whatever it means."""
    with pytest.raises(TwoCvmError) as refused:
        asyncio.run(read_json(request(length(str(len(body)).encode()), body=body), max_bytes=100))
    assert refused.value.code == "MALFORMED_REQUEST"


def test_nonce_is_32_bytes() -> None:
    """A nonce is exactly 32 bytes in an object of its own."""
    assert parse_nonce({"nonce": SALT.decode()}) == bytes(32)
    for wrong in ({}, [], {"nonce": 1}, {"nonce": "AA"}, {"nonce": SALT.decode(), "more": 1}):
        with pytest.raises(MalformedError):
            parse_nonce(wrong)  # type: ignore[arg-type]


def test_nothing_is_told_to_whom_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FastAPI's telemetry does not even begin: it would complain of this protocol."""
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    class Stopped:
        def stop(self) -> None:
            """Be stopped with it."""

    with TestClient(build_app(cast(AttestationAgent, Stopped()), clock=SystemClock())) as client:
        assert client.get("/nowhere").status_code == 404
    assert [record.name for record in caplog.records if record.name.startswith("fastapi")] == []
