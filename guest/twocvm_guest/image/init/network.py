"""The network card: one, with the address, the prefix and the gateway that the measured command line says.

Spec: rtnetlink(7); linux/rtnetlink.h, linux/if_addr.h.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Final

from twocvm_guest.image.command_line import Network

from .netlink import ACKNOWLEDGE, CREATE, EXCLUSIVE, attribute, exchange, message

NETLINK_ROUTE: Final = 0
CARDS: Final = Path("/sys/class/net")
CARD: Final = "eth0"
_NEW_LINK: Final = 16
_NEW_ADDRESS: Final = 20
_NEW_ROUTE: Final = 24
_UP: Final = 0x1  # IFF_UP
_LOCAL: Final = 2  # IFA_LOCAL
_ADDRESS: Final = 1  # IFA_ADDRESS
_GATEWAY: Final = 5  # RTA_GATEWAY
_OUT_CARD: Final = 4  # RTA_OIF
_MAIN_TABLE: Final = 254
_STATIC: Final = 4  # RTPROT_STATIC
_UNICAST: Final = 1
# The driver was loaded a moment ago.
_WAIT_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.02


def connect(network: Network) -> None:
    """Give the first card its address and the way out, and switch it on; other cards stay off.

    Raises:
        OSError: There is no card, or the kernel refused.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (CARDS / CARD).exists() and time.monotonic() < deadline:
        time.sleep(_STEP_SECONDS)
    index = socket.if_nametoindex(CARD)
    exchange(NETLINK_ROUTE, b"".join(configuration(network, index)), acknowledgements=3)


def configuration(network: Network, index: int) -> tuple[bytes, bytes, bytes]:
    """Return the messages that set the address, switch the card on and set the route.

    Args:
        network: What is to be set.
        index: The card's number in the kernel.
    """
    address = network.address.ip.packed
    new_address = struct.pack("=BBBBI", socket.AF_INET, network.address.network.prefixlen, 0, 0, index)
    new_link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _UP, _UP)
    new_route = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _MAIN_TABLE, _STATIC, 0, _UNICAST, 0)
    return (
        message(
            _NEW_ADDRESS,
            CREATE | EXCLUSIVE | ACKNOWLEDGE,
            1,
            new_address + attribute(_LOCAL, address) + attribute(_ADDRESS, address),
        ),
        message(_NEW_LINK, ACKNOWLEDGE, 2, new_link),
        message(
            _NEW_ROUTE,
            CREATE | EXCLUSIVE | ACKNOWLEDGE,
            3,
            new_route + attribute(_GATEWAY, network.gateway.packed) + attribute(_OUT_CARD, struct.pack("=I", index)),
        ),
    )
