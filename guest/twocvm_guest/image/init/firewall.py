"""What packets may come and go: those of connections that others opened to the one port, and nothing else.

Both chains drop by default. In comes TCP to the port; out goes TCP from it, unless it would open a connection. No state
is kept, so that no stranger can fill a table. Nothing is forwarded. Address resolution is no packet of IP and is not
touched; ICMP is dropped both ways, and TCP finds the path's size by itself (`sysctls.py`).

Spec: linux/netfilter/nf_tables.h; docs/adr/0024-the-image.md.
"""

from __future__ import annotations

import struct
from typing import Final

from .netlink import ACKNOWLEDGE, CREATE, attribute, exchange, message, nested

NETLINK_NETFILTER: Final = 12
_INET: Final = 1  # NFPROTO_INET: IPv4 and IPv6 alike
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_NEW_TABLE: Final = _SUBSYSTEM << 8 | 0
_NEW_CHAIN: Final = _SUBSYSTEM << 8 | 3
_NEW_RULE: Final = _SUBSYSTEM << 8 | 6
_APPEND: Final = 0x800

_IN: Final = 1  # NF_INET_LOCAL_IN
_FORWARD: Final = 2
_OUT: Final = 3
_DROP: Final = 0
_ACCEPT: Final = 1
_VERDICT: Final = 0  # NFT_REG_VERDICT
_REGISTER: Final = 1
_EQUAL: Final = 0
_NOT_EQUAL: Final = 1
_L4PROTO: Final = 16  # NFT_META_L4PROTO
_TRANSPORT: Final = 2  # NFT_PAYLOAD_TRANSPORT_HEADER
_TCP: Final = 6
_SOURCE_PORT: Final = 0
_DESTINATION_PORT: Final = 2
_FLAGS: Final = 13
_SYN: Final = 0x02
_SYN_ACK: Final = 0x12
_TABLE: Final = b"twocvm\0"


def close_to_all_but(port: int) -> None:
    """Have the kernel drop every packet but those of connections to `port`; for the machine's whole life.

    Raises:
        OSError: The kernel refused.
    """
    exchange(NETLINK_NETFILTER, ruleset(port), acknowledgements=6)


def ruleset(port: int) -> bytes:
    """Return the messages of the whole rule set, which the kernel takes whole or not at all."""
    to_port = [*_is_tcp(), *_is(_DESTINATION_PORT, port.to_bytes(2, "big")), _accept()]
    from_port = [
        *_is_tcp(),
        *_is(_SOURCE_PORT, port.to_bytes(2, "big")),
        _load(_FLAGS, 1),
        _masked(_SYN_ACK),
        _compare(_NOT_EQUAL, bytes((_SYN,))),
        _accept(),
    ]
    return b"".join(
        (
            message(_BATCH_BEGIN, 0, 0, struct.pack("=BBH", 0, 0, _SUBSYSTEM << 8)),
            message(_NEW_TABLE, CREATE | ACKNOWLEDGE, 1, _inet(attribute(1, _TABLE))),
            _chain(2, b"in\0", _IN),
            _chain(3, b"forward\0", _FORWARD),
            _chain(4, b"out\0", _OUT),
            _rule(5, b"in\0", to_port),
            _rule(6, b"out\0", from_port),
            message(_BATCH_END, 0, 7, struct.pack("=BBH", 0, 0, _SUBSYSTEM << 8)),
        )
    )


def _inet(body: bytes) -> bytes:
    return struct.pack("=BBH", _INET, 0, 0) + body


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _chain(number: int, name: bytes, hook: int) -> bytes:
    body = (
        attribute(1, _TABLE),
        attribute(3, name),
        nested(4, attribute(1, _number(hook)), attribute(2, _number(0))),
        attribute(5, _number(_DROP)),
        attribute(7, b"filter\0"),
    )
    return message(_NEW_CHAIN, CREATE | ACKNOWLEDGE, number, _inet(b"".join(body)))


def _rule(number: int, chain: bytes, expressions: list[bytes]) -> bytes:
    body = attribute(1, _TABLE) + attribute(2, chain) + nested(4, *expressions)
    return message(_NEW_RULE, CREATE | _APPEND | ACKNOWLEDGE, number, _inet(body))


def _expression(name: bytes, *data: bytes) -> bytes:
    return nested(1, attribute(1, name), nested(2, *data))


def _is_tcp() -> list[bytes]:
    loaded = _expression(b"meta\0", attribute(1, _number(_REGISTER)), attribute(2, _number(_L4PROTO)))
    return [loaded, _compare(_EQUAL, bytes((_TCP,)))]


def _is(offset: int, value: bytes) -> list[bytes]:
    return [_load(offset, len(value)), _compare(_EQUAL, value)]


def _load(offset: int, size: int) -> bytes:
    numbers = (_REGISTER, _TRANSPORT, offset, size)
    return _expression(b"payload\0", *(attribute(kind, _number(value)) for kind, value in enumerate(numbers, 1)))


def _masked(mask: int) -> bytes:
    registers = (attribute(kind, _number(value)) for kind, value in ((1, _REGISTER), (2, _REGISTER), (3, 1)))
    return _expression(
        b"bitwise\0", *registers, nested(4, attribute(1, bytes((mask,)))), nested(5, attribute(1, bytes(1)))
    )


def _compare(how: int, value: bytes) -> bytes:
    return _expression(
        b"cmp\0", attribute(1, _number(_REGISTER)), attribute(2, _number(how)), nested(3, attribute(1, value))
    )


def _accept() -> bytes:
    verdict = nested(2, attribute(1, _number(_ACCEPT)))
    return _expression(b"immediate\0", attribute(1, _number(_VERDICT)), nested(2, verdict))
