"""A proxy on this machine, so that any tool can talk to a verified guest.

Tools speak plain HTTP to a loopback port or a socket file; the proxy speaks to the guest over connections of its own,
each proven first, and again when its proof is older than a minute. Whoever can reach the proxy acts with its identity,
so it decides strictly whom it listens to (`gate`), where (`listener`), and what it passes on (`relay`).
"""

from __future__ import annotations

from .gate import Gate
from .listener import Listener, open_listener
from .server import Proxy

__all__ = ["Gate", "Listener", "Proxy", "open_listener"]
