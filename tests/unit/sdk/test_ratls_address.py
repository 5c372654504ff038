"""Addresses of guests as they are read; those that are refused are in `tests/attack/test_ratls_session.py`."""

from __future__ import annotations

import pytest

from twocvm_sdk.address import parse_address


@pytest.mark.parametrize(
    ("url", "base_url", "server_name"),
    [
        ("https://guest.example", "https://guest.example:443", b"guest.example"),
        ("https://GUEST.example:8443/", "https://guest.example:8443", b"guest.example"),
        ("https://127.0.0.1:1", "https://127.0.0.1:1", None),
        ("https://[::1]:8443", "https://[::1]:8443", None),
    ],
)
def test_address_has_one_spelling(url: str, base_url: str, server_name: bytes | None) -> None:
    """Host in lower case, port written out, and only names are told to TLS."""
    address = parse_address(url)
    assert (address.base_url, address.server_name) == (base_url, server_name)
    assert parse_address(address.base_url) == address
