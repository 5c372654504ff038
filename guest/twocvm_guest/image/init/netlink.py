"""Netlink as far as one address, one route and one packet filter need it: messages out, acknowledgements in.

Spec: netlink(7); linux/netlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

REQUEST: Final = 0x1
ACKNOWLEDGE: Final = 0x4
CREATE: Final = 0x400
EXCLUSIVE: Final = 0x200

_HEADER: Final = struct.Struct("=IHHII")
_NLMSG_ERROR: Final = 2
_NESTED: Final = 0x8000
_MOST_BYTES: Final = 1 << 16
_SECONDS: Final = 10.0


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *values: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(values))


def message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    """Return one message with its header; `number` comes back with the acknowledgement."""
    return _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | flags, number, 0) + body


def failures(answer: bytes) -> Iterable[int]:
    """Yield the error number of each acknowledgement in one datagram; 0 for what was done.

    Raises:
        OSError: It is cut short.
    """
    position = 0
    while position < len(answer):
        if len(answer) - position < _HEADER.size + 4:
            raise OSError("netlink: an answer is cut short")
        length, kind, *_ = _HEADER.unpack_from(answer, position)
        if kind == _NLMSG_ERROR:
            yield -int.from_bytes(answer[position + 16 : position + 20], "little", signed=True)
        position += max(_HEADER.size, length + -length % 4)


def exchange(family: int, messages: bytes, *, acknowledgements: int) -> None:
    """Send messages in one datagram, and return when the kernel has acknowledged that many.

    Raises:
        OSError: It refused one, or did not answer.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as link:
        link.settimeout(_SECONDS)
        link.bind((0, 0))
        link.send(messages)
        while acknowledgements > 0:
            for number in failures(link.recv(_MOST_BYTES)):
                if number:
                    raise OSError(number, f"netlink: {os.strerror(number)}")
                acknowledgements -= 1
