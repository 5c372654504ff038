"""The participant's side: connect to a guest that proves itself, release to it, take outputs and receipts.

The names below are the whole of it for most callers; each is imported when it is first used.

    me = Identity.load(folder)
    lock(url, manifest=manifest, consents=consents, policy=policy, identity=me)
    with Participant.connect(url, manifest=manifest, policy=policy, identity=me) as session:
        session.release({"records-a": path})
        session.output("model").save(path)

    with Endpoint(url, manifest=manifest, policy=policy, identity=me).requests() as client:
        client.get(url + "/v1/session")

`docs/sdk.md` has the whole story as a program that runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .identity import Identity
    from .locking import lock
    from .outputs import Output, unpad
    from .participant import Participant, Session
    from .ratls import RatlsConnection
    from .receipts import SessionReceipt
    from .verifierhttps import Service
    from .verifierkeys import DiscoveredKeys, PinnedKeys
    from .verifiers import Quorum, RemoteVerifier, local_verifier

__all__ = [
    "DiscoveredKeys",
    "Endpoint",
    "Identity",
    "Output",
    "Participant",
    "PinnedKeys",
    "Quorum",
    "RatlsConnection",
    "RemoteVerifier",
    "Service",
    "Session",
    "SessionReceipt",
    "local_verifier",
    "lock",
    "unpad",
]

_HOMES = {
    "DiscoveredKeys": ".verifierkeys",
    "Endpoint": ".endpoint",
    "Identity": ".identity",
    "Output": ".outputs",
    "Participant": ".participant",
    "PinnedKeys": ".verifierkeys",
    "Quorum": ".verifiers",
    "RatlsConnection": ".ratls",
    "RemoteVerifier": ".verifiers",
    "Service": ".verifierhttps",
    "Session": ".participant",
    "SessionReceipt": ".receipts",
    "local_verifier": ".verifiers",
    "lock": ".locking",
    "unpad": ".outputs",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
