"""Every connection that a guest has open, and the identity that new ones get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .identity import PeerConnection, ServerIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may cost a guest. Every value has a reason in `docs/spec/ratls.md`, 5."""

    connections: int = 512
    unlocked_connections: int = 32
    handshake_seconds: float = 10.0
    first_request_seconds: float = 10.0
    idle_seconds: float = 300.0
    head_bytes: int = 16384


class Connections:
    """The registry of open connections; from any thread."""

    def __init__(self, identity: ServerIdentity, *, limits: Limits) -> None:
        self._identity = identity
        self.limits = limits

    @property
    def identity(self) -> ServerIdentity:
        """What a connection that begins now is shown."""
        return self._identity

    def swap(self, identity: ServerIdentity, *, keep: PeerConnection | None) -> None:
        """Give new connections `identity` and close every open one but `keep`, which closes after its answer."""
        raise NotImplementedError
