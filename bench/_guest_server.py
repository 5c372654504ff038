"""The guest of `handshake` and `attest_many`, in a process of its own, and the plain end that it is compared with.

`python -m bench._guest_server guest|plain LATENCY_SECONDS` writes one JSON line, then one for every line that it reads:
how many reports the platform has made. It ends with its input.

`guest` is the guest's own service, locked to the world's manifest. `plain` is the same server whose certificate has no
evidence, and whose application nobody asks for anything.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace

from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.attested_guest import Scene, certificate_of, chip
from tests.support.guest import ISOLATION, ScriptedWorkers, SteeredClock
from tests.support.manifests import MEASUREMENT, World
from tests.support.slow_platform import SlowPlatform

from twocvm_guest.agent import AttestationAgent
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_guest.service.app import build_app
from twocvm_guest.tls import Connections, Limits, PeerConnection, run
from twocvm_verifier import strictjson


def serve(kind: str, latency_seconds: float) -> None:
    """Serve, and answer what comes on standard input."""
    simulated = SimulatedPlatform(chip(), host_data=bytes(32), measurement=MEASUREMENT, latency_seconds=latency_seconds)
    platform, clock = SlowPlatform(simulated), SteeredClock()
    agent = AttestationAgent(
        attester=platform,
        isolation=ISOLATION,
        start_workers=ScriptedWorkers().start,
        clock=clock,
        limits=Limits(),
    )
    _lock(agent)
    connections = agent.connections if kind == "guest" else _plain(agent)

    def on_ready(port: int) -> None:
        _say(port=port, root=simulated.root_pem.decode())
        threading.Thread(target=_tell, args=(platform,), daemon=True).start()

    run(build_app(agent, clock=clock), connections, host="127.0.0.1", port=0, on_ready=on_ready)  # type: ignore[arg-type]


def _lock(agent: AttestationAgent) -> None:
    world = World()
    manifest = strictjson.parse(world.raw, document="manifest", max_bytes=1 << 20)
    consents = [consent.to_json() for consent in world.consents()]
    anybody = PeerConnection(
        identity=agent.connections.identity,
        participant_spki_sha256=None,
        export=lambda _: bytes(32),
        close_after_response=lambda: None,
    )
    agent.lock(strictjson.canonical({"manifest": manifest, "consents": consents}), peer=anybody)


def _plain(agent: AttestationAgent) -> Connections:
    identity = agent.connections.identity
    certificate = certificate_of(identity.key, ca=None, name="2cvm guest")
    shown = replace(identity, certificate_der=certificate.public_bytes(Encoding.DER))
    return Connections(shown, limits=Scene().limits)


def _tell(platform: SlowPlatform) -> None:
    for _ in sys.stdin:
        _say(reports=len(platform.reports))
    sys.exit()


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
