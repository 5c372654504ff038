"""The agent without a server: which connection may ask for what, and that evidence is never a mixture."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.support.attested_guest import chip
from tests.support.guest import ISOLATION, ScriptedWorkers, SteeredClock
from tests.support.manifests import MEASUREMENT, World
from tests.support.session_core import data_offer

from twocvm_guest.agent import AttestationAgent
from twocvm_guest.platforms.simulated import SimulatedPlatform
from twocvm_guest.session.machine import State
from twocvm_guest.tls import Limits, PeerConnection
from twocvm_verifier import framing, strictjson
from twocvm_verifier.binding import NOT_LOCKED, channel_claims, parse_claims
from twocvm_verifier.errors import LockError, ReleaseError
from twocvm_verifier.evidence import Evidence
from twocvm_verifier.manifest.consentkeys import spki_der
from twocvm_verifier.snp.report import parse_report

WORLD = World()
NONCE, EXPORTED = bytes([1]) * 32, bytes([2]) * 32


@pytest.fixture
def agent() -> AttestationAgent:
    """Return an agent that is not locked."""
    return AttestationAgent(
        attester=SimulatedPlatform(chip(), host_data=bytes(32), measurement=MEASUREMENT, latency_seconds=0.0),
        isolation=ISOLATION,
        start_workers=ScriptedWorkers().start,
        clock=SteeredClock(),
        limits=Limits(),
    )


def peer_of(agent: AttestationAgent, name: str = "hospital-a") -> PeerConnection:
    """Return a connection of a participant as it would be made now."""
    return PeerConnection(
        identity=agent.connections.identity,
        participant_spki_sha256=WORLD.party(name).tls_spki_sha256,
        export=lambda _: EXPORTED,
        close_after_response=lambda: None,
    )


def body() -> bytes:
    """Return what locks a guest to the world's manifest."""
    manifest = strictjson.parse(WORLD.raw, document="manifest", max_bytes=1 << 20)
    return strictjson.canonical({"manifest": manifest, "consents": [one.to_json() for one in WORLD.consents()]})


def attest(agent: AttestationAgent, peer: PeerConnection) -> Evidence:
    """Return evidence for a connection."""
    return agent.attest(peer=peer, nonce=NONCE, exported=EXPORTED).result(10)


@pytest.mark.parametrize(
    "call",
    [
        attest,
        lambda agent, peer: agent.locked(peer),
    ],
)
def test_connection_that_lived_through_the_lock_is_retired(
    agent: AttestationAgent, call: Callable[[AttestationAgent, PeerConnection], object]
) -> None:
    """A connection of before the lock gets no evidence and reaches no session afterwards, whoever is behind it."""
    old = peer_of(agent)
    agent.lock(body(), peer=peer_of(agent))
    with pytest.raises(ReleaseError) as refused:
        call(agent, old)
    assert refused.value.code == "CONNECTION_RETIRED"
    call(agent, peer_of(agent))


def test_evidence_is_of_the_connections_own_identity(agent: AttestationAgent) -> None:
    """Evidence names exactly the key, manifest, log, nonce and binder of its connection: rebuilt, it is equal."""
    before = peer_of(agent)
    early = attest(agent, before)
    agent.lock(body(), peer=before)
    after = peer_of(agent)
    late = attest(agent, after)
    for evidence, peer, manifest, events in ((early, before, NOT_LOCKED, 1), (late, after, WORLD.manifest.hash, 2)):
        claims = parse_claims(evidence.claims)
        assert (claims.manifest, claims.log.events) == (manifest, events)
        rebuilt = channel_claims(
            spki_sha256=peer.identity.spki_sha256,
            manifest=manifest,
            log=claims.log,
            nonce=NONCE,
            binder=framing.binder(spki_der=spki_der(peer.identity.key), exported=EXPORTED),
        )
        assert rebuilt.encode() == evidence.claims
        assert parse_report(evidence.report).report_data == rebuilt.report_data()
    assert before.identity.spki_sha256 != after.identity.spki_sha256


def test_report_over_zero_bytes_is_shown_to_nobody(agent: AttestationAgent) -> None:
    """The first report, which an agent takes to learn its REPORT_ID, is in none of its evidence."""
    shown = parse_report(attest(agent, peer_of(agent)).report)
    assert shown.report_id == agent.launch.report_id
    assert shown.report_data != bytes(64)


def test_halted_agent_locks_no_more(agent: AttestationAgent) -> None:
    """An agent that was told to stop before any lock is wiped, and takes no manifest."""
    agent.halt()
    agent.halt()
    assert agent.state is State.WIPED
    assert agent.advance() is State.WIPED
    with pytest.raises(LockError) as refused:
        agent.lock(body(), peer=peer_of(agent))
    assert refused.value.code == "LOCKED_ALREADY"


def test_manifest_in_force_is_refused_once_wiped(agent: AttestationAgent) -> None:
    """The manifest in force, again, is no sign of life of a guest that is wiped."""
    agent.lock(body(), peer=peer_of(agent))
    agent.halt()
    with pytest.raises(ReleaseError) as refused:
        agent.lock(body(), peer=peer_of(agent))
    assert refused.value.code == "SESSION_ENDED"


def test_nobody_is_known_before_the_lock(agent: AttestationAgent) -> None:
    """A participant's key is known exactly from the lock on, and a stranger's never."""
    peer = peer_of(agent)
    assert not agent.knows(peer)
    agent.lock(body(), peer=peer)
    assert agent.knows(peer_of(agent))
    stranger = PeerConnection(
        identity=agent.connections.identity,
        participant_spki_sha256=bytes(32),
        export=peer.export,
        close_after_response=peer.close_after_response,
    )
    assert not agent.knows(stranger)


def test_upload_that_could_not_begin_may_be_repeated(agent: AttestationAgent) -> None:
    """Where the guest has no descriptor left for an upload, the item is not on its way, and can be sent later."""
    agent.lock(body(), peer=peer_of(agent))
    peer = peer_of(agent)
    guest = agent.locked(peer)
    for name in WORLD.names:
        go = WORLD.go(name, report_id=agent.launch.report_id, guest_spki_sha256=peer.identity.spki_sha256)
        guest.join(go, caller=name)
    offer = data_offer(WORLD, "records-a")
    with no_descriptors(), pytest.raises(OSError, match="open files"):
        guest.begin_item(offer, caller="hospital-a")
    upload = guest.begin_item(offer, caller="hospital-a")
    upload.write(WORLD.content["records-a"])
    upload.finish()
    upload.close()
    agent.halt()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing more, for the length of a `with`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
