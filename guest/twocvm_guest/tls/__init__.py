"""RA-TLS, the guest's end: identities, connections, and the server that speaks HTTP/1.1 over them."""

from __future__ import annotations

from .connections import Connections
from .identity import PeerConnection, ServerIdentity, build_certificate
from .pour import Sink
from .serve import GuestServer, run
from .watch import Limits

__all__ = [
    "Connections",
    "GuestServer",
    "Limits",
    "PeerConnection",
    "ServerIdentity",
    "Sink",
    "build_certificate",
    "run",
]
