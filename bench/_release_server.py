"""The two servers of `release`, each in a process of its own: the guest's own service, over two kinds of TLS.

`python -m bench._release_server ratls|own FOLDER [BYTES]` writes one JSON line, and serves until it is killed. The
session has its roster, and waits for one item of `SIZE_BYTES`, or of that many, whose announced digest no content has:
so every upload is read, hashed and written to its end, is refused then, and can be repeated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench._upload_server import serve_own
from tests.support.attested_guest import chip
from tests.support.guest import ISOLATION, ScriptedWorkers, SteeredClock
from tests.support.manifests import MEASUREMENT, World

from twocvm_guest.agent import AttestationAgent
from twocvm_guest.heap import keep_freed_memory
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_guest.service.app import build_app
from twocvm_guest.tls import Limits, PeerConnection, run
from twocvm_verifier import framing, strictjson

SIZE_BYTES = 256 << 20
ITEM, OWNER = "records-a", "hospital-a"
SALT, DIGEST = bytes([1]) * 32, bytes([2]) * 32


def world(size_bytes: int = SIZE_BYTES) -> World:
    """Return the world of both servers."""

    def large(document: dict) -> None:
        document["data"][0]["max_bytes"] = size_bytes
        document["channels"][0]["max_bytes"] = size_bytes

    return World(edit=large)


def collecting(agent: AttestationAgent, size_bytes: int) -> PeerConnection:
    """Bring a guest to where it takes the item, and return a connection of its owner."""
    played = world(size_bytes)
    manifest = strictjson.parse(played.raw, document="manifest", max_bytes=1 << 20)
    consents = [consent.to_json() for consent in played.consents()]
    agent.lock(strictjson.canonical({"manifest": manifest, "consents": consents}), peer=connection(agent, played))
    peer = connection(agent, played)
    commitment = framing.item_commitment(salt=SALT, size_bytes=size_bytes, sha256=DIGEST)
    for name in played.names:
        items = played.commitments(name)
        go = played.go(
            name,
            report_id=agent.launch.report_id,
            guest_spki_sha256=peer.identity.spki_sha256,
            items={item: commitment if item == ITEM else other for item, other in items.items()},
        )
        agent.locked(peer).join(go, caller=name)
    return peer


def connection(agent: AttestationAgent, played: World) -> PeerConnection:
    """Return a connection of the owner's, as the TLS of the guest would give it."""
    return PeerConnection(
        identity=agent.connections.identity,
        participant_spki_sha256=played.party(OWNER).tls_spki_sha256,
        export=lambda _: bytes(32),
        close_after_response=lambda: None,
    )


def serve(kind: str, folder: Path, size_bytes: int) -> None:
    """Serve."""
    keep_freed_memory()
    platform = SimulatedPlatform(chip(), host_data=bytes(32), measurement=MEASUREMENT, latency_seconds=0.0)
    clock = SteeredClock()
    agent = AttestationAgent(
        attester=platform,
        isolation=ISOLATION,
        start_workers=ScriptedWorkers().start,
        clock=clock,
        limits=Limits(),
    )
    peer = collecting(agent, size_bytes)
    app = build_app(agent, clock=clock)
    if kind == "ratls":
        root = platform.root_pem.decode()
        run(
            app,  # type: ignore[arg-type]
            agent.connections,
            host="127.0.0.1",
            port=0,
            on_ready=lambda port: print(json.dumps({"port": port, "root": root}), flush=True),
        )
        return

    async def as_owner(scope, receive, send) -> None:
        async def pour(sink) -> None:
            more = True
            while more:
                message = await receive()
                sink(memoryview(message["body"]))
                more = message["more_body"]

        await app({**scope, "extensions": {"twocvm": peer, "twocvm.pour": pour}}, receive, send)

    serve_own(as_owner, folder)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else SIZE_BYTES)
