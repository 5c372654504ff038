"""Tells how long it takes to another address and back: python -I -S round_trip.py TIMES ADDRESS...

Nobody listens there, and the kernel refuses the connection at once, so that no process is waited for. A list of
milliseconds is written as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import suppress
from typing import Final

# RFC 863, which nobody offers here.
_DISCARD: Final = 9
_SECONDS: Final = 5


def milliseconds(to: str) -> float:
    """Return how long it takes to be refused."""
    began = time.monotonic()
    with suppress(ConnectionRefusedError):
        socket.create_connection((to, _DISCARD), _SECONDS).close()
    return (time.monotonic() - began) * 1e3


if __name__ == "__main__":
    print(json.dumps([milliseconds(to) for to in sys.argv[2:] for _ in range(int(sys.argv[1]))]))
