"""Clients that mean no good, of all kinds: silent, slow, half open, no TLS, no HTTP, or without the right to ask."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from tests.support.attested_guest import certificate_of, tls_identity
from tests.support.guest import LiveGuest
from tests.support.raw_client import RawClient, request

from twocvm_sdk.channel import ATTEST_PATH
from twocvm_sdk.connection import TlsIdentity


@contextmanager
def hostile_clients(guest: LiveGuest, count: int) -> Iterator[None]:
    """Have so many hostile clients of all kinds connected for the length of a `with`."""
    address = "127.0.0.1", int(guest.url.rpartition(":")[2])
    with ExitStack() as stack:
        for number in range(count):
            _KINDS[number % len(_KINDS)](address, stack)
        yield


def _silent(address: tuple[str, int], stack: ExitStack) -> None:
    stack.enter_context(socket.create_connection(address))


def _garbage(address: tuple[str, int], stack: ExitStack) -> None:
    stack.enter_context(socket.create_connection(address)).sendall(secrets.token_bytes(400))


def _half_a_handshake(address: tuple[str, int], stack: ExitStack) -> None:
    memory = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    memory.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        memory.do_handshake()
    stack.enter_context(socket.create_connection(address)).sendall(memory.bio_read(1 << 16)[:100])


def _half_open(address: tuple[str, int], stack: ExitStack) -> None:
    client = stack.enter_context(RawClient(address)).handshake()
    client.raw.shutdown(socket.SHUT_WR)


def _saying(*pieces: bytes, identity: Callable[[], TlsIdentity] | None = None) -> Callable:
    def come(address: tuple[str, int], stack: ExitStack) -> None:
        shown = None if identity is None else identity()
        client = stack.enter_context(RawClient(address, identity=shown)).handshake()
        for piece in pieces:
            client.send(piece)

    return come


def _not_reading(address: tuple[str, int], stack: ExitStack) -> None:
    client = stack.enter_context(RawClient(address, receive_buffer_bytes=2048)).handshake()
    for _ in range(4):
        client.send(request("POST", ATTEST_PATH, body=_NONCE, length=len(_NONCE)))


def _stranger() -> TlsIdentity:
    key = ec.generate_private_key(ec.SECP256R1())
    return TlsIdentity(key=key, certificate=certificate_of(key, ca=False))


_NONCE = b'{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'
_KINDS: tuple[Callable[[tuple[str, int], ExitStack], None], ...] = (
    _silent,
    _garbage,
    _half_a_handshake,
    _half_open,
    _not_reading,
    _saying(),
    _saying(b"GET /v1/sess"),
    _saying(b"\x00\xff" * 100),
    _saying(request("POST", ATTEST_PATH, body=b'{"nonce":"short"}', length=17)),
    _saying(request("PUT", "/v1/manifest", body=b"{", length=1 << 20)),
    _saying(request("PUT", "/v1/artifacts/records-a", body=b"x", length=1 << 20)),
    _saying(request("GET", "/v1/manifest"), request("GET", "/v1/roster"), identity=_stranger),
    _saying(request("POST", "/v1/join", body=b"{}", length=2), identity=lambda: tls_identity("hospital-a", ca=True)),
)
