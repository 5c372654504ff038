"""The lock over the wire: once, by everybody's consent, in one step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from tests.support.guest import Client, LiveGuest, ScriptedWorkers, SteeredClock, code_of
from tests.support.manifests import World, broken_at
from tests.support.raw_client import RawClient, request

from twocvm_guest.agreement import MAX_PROPOSAL_BYTES
from twocvm_guest.locked import Workers
from twocvm_guest.service.pace import UNDISTURBED_SECONDS
from twocvm_verifier import strictjson
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.statements import Statement, sign_consent
from twocvm_verifier.ratls.proof import ManifestState

WORLD = World()
OTHER = World(participants=2)


@pytest.fixture
def guest() -> Iterator[LiveGuest]:
    """Return a guest that is not locked."""
    with LiveGuest(WORLD) as running:
        yield running


@pytest.fixture(scope="module")
def unlocked() -> Iterator[LiveGuest]:
    """Return a guest that no test locks; after all that was refused it still can be."""
    with LiveGuest(WORLD) as running:
        yield running
        running.lock()
        assert running.state == "locked"


def refused(guest: LiveGuest, ask: Callable[[Client], requests.Response]) -> str:
    """Return the code with which a guest refuses a lock, and demand that it stays unlocked."""
    with guest.connect(unlocked_ok=True) as client:
        code = code_of(ask(client))
    assert guest.state == "unlocked"
    return code


def without_first(consents: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Return the consents without one."""
    return consents[1:]


def doubled(consents: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Return the consents with one of them twice, in the place of another."""
    return (consents[0], consents[0], *consents[2:])


def reversed_order(consents: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Return the consents in another order than they travel in."""
    return tuple(reversed(consents))


def for_another_manifest(consents: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Return the consents, one of them to another manifest."""
    return (WORLD.consent(WORLD.names[0], manifest_hash=OTHER.manifest.hash), *consents[1:])


def by_another_key(consents: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Return the consents, one of them signed by another participant."""
    first, second = WORLD.names[:2]
    key = WORLD.party(second).consent_key
    return (sign_consent(key, manifest_hash=WORLD.manifest.hash, participant=first), *consents[1:])


def test_lock_changes_everything_at_once(guest: LiveGuest) -> None:
    """After the lock new connections prove the manifest under a new key, and the log counts the lock already."""
    with guest.connect(unlocked_ok=True) as before:
        assert before.connection.certificate.manifest_state is ManifestState.UNLOCKED
        before.accepted(before.put_manifest())
        old_key = before.connection.certificate.spki_sha256
    with guest.connect("hospital-a") as after:
        proof = after.connection.certificate
        assert proof.manifest_state is ManifestState.LOCKED
        assert proof.spki_sha256 != old_key
        assert proof.log.events == 2
        assert after.state() == "locked"
        assert strictjson.canonical(after.get("/v1/manifest").json()["manifest"]) == WORLD.raw


def test_connections_do_not_live_through_the_lock(guest: LiveGuest) -> None:
    """The connection that locked ends with its answer, and every other one is closed at once."""
    with guest.connect(unlocked_ok=True) as bystander, guest.connect(unlocked_ok=True) as locker:
        answer = locker.put_manifest()
        locker.accepted(answer)
        assert answer.headers["Connection"] == "close"
        for client in (locker, bystander):
            with pytest.raises((requests.RequestException, TwoCvmError)):
                client.get("/v1/session")


def test_same_manifest_again_is_no_second_lock(guest: LiveGuest) -> None:
    """The manifest in force is answered as if it had just locked, and nothing changes."""
    guest.lock()
    with guest.connect("hospital-a") as client:
        before = client.log()
        client.accepted(client.put_manifest())
        client.accepted(client.put_manifest(consents=()))
        assert client.log() == before


def test_second_lock_is_refused(guest: LiveGuest) -> None:
    """No other manifest is taken ever again, whoever has consented to it."""
    guest.lock()
    with guest.connect("hospital-a") as client:
        answer = client.put_manifest(raw=OTHER.raw, consents=OTHER.consents())
        assert code_of(answer) == "LOCKED_ALREADY"
        assert client.get("/v1/manifest").content == strictjson.canonical(client.get("/v1/manifest").json())
        assert client.state() == "locked"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (without_first, "CONSENTS_INCOMPLETE"),
        (doubled, "MALFORMED_STATEMENT"),
        (reversed_order, "MALFORMED_STATEMENT"),
        (for_another_manifest, "STATEMENT_OTHER_MANIFEST"),
        (by_another_key, "STATEMENT_KEY"),
    ],
)
def test_lock_needs_the_consent_of_everybody(
    unlocked: LiveGuest, change: Callable[[tuple[Statement, ...]], tuple[Statement, ...]], code: str
) -> None:
    """A lock without exactly one valid consent of each participant is refused, and the guest stays unlocked."""
    assert refused(unlocked, lambda client: client.put_manifest(consents=change(WORLD.consents()))) == code


def test_first_caller_cannot_lock_alone(unlocked: LiveGuest) -> None:
    """Whoever reaches a guest first can lock it to nothing that others did not sign."""
    assert refused(unlocked, lambda client: client.put_manifest(consents=())) == "CONSENTS_INCOMPLETE"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MALFORMED_REQUEST"),
        (b"null", "MALFORMED_REQUEST"),
        (b'{"consents":[]}', "MALFORMED_REQUEST"),
        (b'{"consents":[],"manifest":[]}', "MALFORMED_REQUEST"),
        (b'{"consents":{},"manifest":{}}', "MALFORMED_REQUEST"),
        (b'{"consents":[],"manifest":{},"more":true}', "MALFORMED_REQUEST"),
        (b'{"consents":[],"consents":[],"manifest":{}}', "MALFORMED_REQUEST"),
        (b'{"consents": [],"manifest":{}}', "MALFORMED_REQUEST"),
        (b'{"consents":[],"manifest":{"version":1.0}}', "MALFORMED_REQUEST"),
        (b'{"consents":[],"manifest":{}}', "MALFORMED_MANIFEST"),
        (b'{"consents":[],"manifest":{"version":1}}', "MALFORMED_MANIFEST"),
        (b'{"consents":[' + b"[" * 100 + b"]" * 100 + b'],"manifest":{}}', "MALFORMED_REQUEST"),
    ],
)
def test_lock_takes_only_its_one_form(unlocked: LiveGuest, body: bytes, code: str) -> None:
    """Anything but the canonical bytes of a manifest and its consents is refused, and the guest stays unlocked."""
    assert refused(unlocked, lambda client: client.request("PUT", "/v1/manifest", data=body)) == code


def test_unknown_field_of_a_manifest_is_refused(unlocked: LiveGuest) -> None:
    """A field that this version does not know is refused and never dropped."""
    raw = broken_at(WORLD, "/surprise", value=True)
    assert refused(unlocked, lambda client: client.put_manifest(raw=raw)) == "MALFORMED_MANIFEST"


def test_large_body_is_refused_unread(unlocked: LiveGuest) -> None:
    """A body over the limit is refused by what it announces, before it has come."""
    body = bytes(MAX_PROPOSAL_BYTES + 1)
    assert refused(unlocked, lambda client: client.request("PUT", "/v1/manifest", data=body)) == "BODY_TOO_LARGE"


def test_guest_that_is_born_locked_takes_no_other_manifest() -> None:
    """With HOST_DATA from launch, another manifest is refused with whatever consents, and its own locks."""
    with LiveGuest(WORLD, host_data=WORLD.manifest.hash) as guest:
        with guest.connect(unlocked_ok=True) as client:
            assert client.connection.certificate.manifest_state is ManifestState.UNLOCKED
            assert client.state() == "unlocked"
            assert code_of(client.put_manifest(raw=OTHER.raw, consents=OTHER.consents())) == "BORN_LOCKED"
            assert code_of(client.put_manifest(consents=())) == "CONSENTS_INCOMPLETE"
        guest.lock()
        with guest.connect("hospital-a") as client:
            assert client.connection.certificate.verified.report.host_data == WORLD.manifest.hash


def test_failure_before_the_step_leaves_the_guest_unlocked() -> None:
    """Whatever breaks while a lock is prepared, the guest is as before and can be locked."""
    workers = ScriptedWorkers()
    broken = [OSError("no memory left")]

    def start(manifest: Manifest) -> Workers:
        if broken:
            raise broken.pop()
        return workers.start(manifest)

    with LiveGuest(WORLD, start_workers=start) as guest:
        assert refused(guest, lambda client: client.put_manifest()) == "INTERNAL"
        guest.lock()
        assert guest.state == "locked"


def test_of_two_locks_at_once_one_wins() -> None:
    """Two manifests that arrive together leave a guest locked to exactly one of them."""
    worlds = (WORLD, OTHER)
    answers: list[Any] = [None, None]
    with LiveGuest(WORLD) as guest, ExitStack() as stack:
        clients = [stack.enter_context(guest.connect(unlocked_ok=True)) for _ in worlds]
        together = threading.Barrier(len(worlds))

        def ask(index: int) -> None:
            together.wait(10)
            world = worlds[index]
            try:
                answers[index] = clients[index].put_manifest(raw=world.raw, consents=world.consents()).status_code
            except (requests.RequestException, TwoCvmError) as error:
                # The other one's lock closed this connection.
                answers[index] = error

        threads = [threading.Thread(target=ask, args=(index,), daemon=True) for index in range(len(worlds))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert answers.count(200) == 1
        assert guest.guest.agent.connections.identity.manifest == worlds[answers.index(200)].manifest.hash


def test_lock_that_is_being_judged_is_the_only_one() -> None:
    """While one lock is judged another one is not even read, and once that failed it can be tried again."""
    judging, may_fail = threading.Event(), threading.Event()
    workers = ScriptedWorkers()

    def start(manifest: Manifest) -> Workers:
        if not may_fail.is_set():
            judging.set()
            may_fail.wait(20)
            raise OSError("no memory left")
        return workers.start(manifest)

    codes: list[str] = []
    with LiveGuest(WORLD, start_workers=start) as guest, guest.connect(unlocked_ok=True) as first:
        asking = threading.Thread(target=lambda: codes.append(code_of(first.put_manifest())), daemon=True)
        asking.start()
        assert judging.wait(10)
        with guest.connect(unlocked_ok=True) as second:
            assert code_of(second.put_manifest()) == "TOO_MANY_REQUESTS"
            assert second.state() == "unlocked"
        may_fail.set()
        asking.join(20)
        assert codes == ["INTERNAL"]
        guest.lock()
        assert guest.state == "locked"


def test_body_that_drips_gives_way_to_the_next_lock() -> None:
    """A stranger who sends a body byte by byte holds the lock up for a while, and then loses it to whoever comes."""
    clock = SteeredClock()
    with LiveGuest(WORLD, clock=clock) as guest, guest.connect(unlocked_ok=True) as honest:
        address = "127.0.0.1", int(guest.url.rpartition(":")[2])
        with RawClient(address) as dripping, RawClient(address) as later:
            for client in (dripping, later):
                client.handshake()
            dripping.send(request("PUT", "/v1/manifest", body=b"{", length=MAX_PROPOSAL_BYTES))
            refused_as_busy(honest)
            clock.ahead_seconds += UNDISTURBED_SECONDS
            later.send(request("PUT", "/v1/manifest", body=b"{", length=MAX_PROPOSAL_BYTES))
            assert b'"MALFORMED_REQUEST"' in dripping.answer()
            refused_as_busy(honest)
            clock.ahead_seconds += UNDISTURBED_SECONDS
            honest.accepted(honest.put_manifest())
            assert b'"MALFORMED_REQUEST"' in later.answer()
        assert guest.state == "locked"


def refused_as_busy(client: Client) -> None:
    """Demand that a lock is refused because another one is read, as soon as that is so."""
    for _ in range(100):
        answer = client.send("PUT", "/v1/manifest", {})
        if code_of(answer) == "TOO_MANY_REQUESTS":
            return
        time.sleep(0.01)
    raise AssertionError("nobody's lock is being read")
