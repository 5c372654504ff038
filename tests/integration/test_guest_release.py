"""Join, roster and release over the wire: only the owner's item, only as committed, only once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
from tests.support.guest import ISOLATION, Client, LiveGuest, ScriptedWorkers, code_of, digest_field, file_of
from tests.support.manifests import World
from tests.support.memory_files import MemoryFiles
from tests.support.paced import Paced

from twocvm_guest import upload as uploads
from twocvm_guest.held import open_held
from twocvm_guest.runtime.items import Item
from twocvm_verifier import strictjson
from twocvm_verifier.errors import ComponentError, TwoCvmError
from twocvm_verifier.framing import sha256
from twocvm_verifier.logevents import EventType
from twocvm_verifier.manifest import Component
from twocvm_verifier.manifest.statements import Go
from twocvm_verifier.strictjson import Json

LARGE = os.urandom(900_000)
WORLD = World(contents={"records-a": LARGE})
ITEM, OWNER, OTHER, OWNER_OF_CODE = "records-a", "hospital-a", "hospital-b", "analytics"


@pytest.fixture(scope="module")
def collecting() -> Iterator[LiveGuest]:
    """Return a guest that collects; every test leaves it as it found it."""
    with LiveGuest(WORLD) as running:
        yield running.collecting()
        running.wait_for("collecting")


@pytest.fixture
def kept() -> MemoryFiles:
    """Return what the process comes to hold in memory files during a test."""
    return MemoryFiles()


def is_still_wanted(guest: LiveGuest, kept: MemoryFiles, name: str = ITEM) -> bool:
    """Return whether nothing of an item is in the guest: neither in the log nor in memory."""
    with guest.connect(OWNER) as client:
        admitted = [event.members["name"] for event in client.log() if event.type is EventType.ADMITTED]
    return name not in admitted and not kept.names()


def test_roster_grows_to_completeness() -> None:
    """The roster shows every go as it was signed, and says that it is complete exactly when it is."""
    with LiveGuest(WORLD) as guest:
        guest.lock()
        goes = []
        for name in WORLD.names:
            with guest.connect(name) as client:
                assert client.get("/v1/roster").json() == {"complete": False, "goes": goes}
                go = client.go()
                client.join(go)
                goes.append(go.to_json())
        with guest.connect(OWNER) as client:
            assert client.get("/v1/roster").content == strictjson.canonical({"complete": True, "goes": goes})
            types = [event.type for event in client.log()]
            assert types == [EventType.PLATFORM, EventType.LOCK, *[EventType.GO] * 3, EventType.ROSTER]
            assert client.log()[0].members["missing"] == " ".join(feature.name for feature in ISOLATION.missing)


def test_wrong_goes_are_refused() -> None:
    """A go of another, for another instance, key or manifest, or with other items opens nothing, and harms nobody."""
    with LiveGuest(WORLD) as guest:
        guest.lock()
        with guest.connect(OWNER) as client:
            proof = client.connection.certificate
            here = {"report_id": proof.report_id, "guest_spki_sha256": proof.spki_sha256}
            for go, code in (
                (WORLD.go(OTHER, **here), "NOT_YOURS"),
                (client.go(report_id=bytes(32)), "STATEMENT_OTHER_GUEST"),
                (client.go(guest_spki_sha256=bytes(32)), "STATEMENT_OTHER_GUEST"),
                (client.go(manifest_hash=bytes(32)), "STATEMENT_OTHER_MANIFEST"),
                (client.go(key=WORLD.party(OTHER).consent_key), "STATEMENT_KEY"),
                (client.go(items={}), "GO_ITEMS"),
                (client.go(items={**WORLD.commitments(OWNER), "records-b": bytes(32)}), "GO_ITEMS"),
            ):
                assert code_of(client.send("POST", "/v1/join", go.to_json())) == code
            withdrawal = WORLD.withdraw(OWNER, report_id=proof.report_id)
            assert code_of(client.send("POST", "/v1/join", withdrawal.to_json())) == "MALFORMED_STATEMENT"
            assert client.get("/v1/roster").json()["goes"] == []
            client.join()


def test_second_go_does_not_replace_the_first() -> None:
    """The first go stands: the same again is taken without effect, and another one is refused."""
    with LiveGuest(WORLD) as guest:
        guest.lock()
        with guest.connect(OWNER) as client:
            first = client.go()
            client.join(first)
            client.join(first)
            assert isinstance(first.body, Go)
            another = client.go(items={ITEM: bytes(32)})
            assert code_of(client.send("POST", "/v1/join", another.to_json())) == "GO_STANDS"
            assert client.get("/v1/roster").json()["goes"] == [first.to_json()]


def test_no_upload_before_the_roster(kept: MemoryFiles) -> None:
    """While one participant has not joined, the items of those who have are refused."""
    with LiveGuest(WORLD) as guest:
        guest.lock()
        with guest.connect(OWNER) as client:
            client.join()
            assert code_of(client.upload(ITEM)) == "ROSTER_INCOMPLETE"
        assert is_still_wanted(guest, kept)


@pytest.mark.parametrize(
    ("caller", "upload", "code"),
    [
        (OTHER, lambda client: client.upload(ITEM), "NOT_YOURS"),
        (OWNER, lambda client: client.put(ITEM, LARGE[:-1]), "ITEM_COMMITMENT_MISMATCH"),
        (OWNER, lambda client: client.put(ITEM, LARGE[:-1] + b"!"), "ITEM_DIGEST_MISMATCH"),
        (
            OWNER,
            lambda client: client.put(ITEM, b"other", headers={"Content-Digest": digest_field(b"other")}),
            "ITEM_COMMITMENT_MISMATCH",
        ),
        (OWNER, lambda client: client.put(ITEM, bytes(1_000_001)), "ITEM_TOO_LARGE"),
        (OWNER, lambda client: client.put(ITEM, LARGE, headers={"Item-Salt": None}), "MALFORMED_REQUEST"),
        (OWNER, lambda client: client.put(ITEM, LARGE, headers={"Item-Salt": "AA"}), "MALFORMED_REQUEST"),
        (
            OWNER,
            lambda client: client.put(ITEM, LARGE, headers={"Item-Salt": strictjson.base64url(bytes(32))}),
            "ITEM_COMMITMENT_MISMATCH",
        ),
        (OWNER, lambda client: client.put(ITEM, LARGE, headers={"Content-Digest": None}), "MALFORMED_REQUEST"),
        (
            OWNER,
            lambda client: client.put(ITEM, LARGE, headers={"Content-Digest": "md5=:AAAAAAAAAAAAAAAAAAAAAA==:"}),
            "MALFORMED_REQUEST",
        ),
        (
            OWNER,
            lambda client: client.put(
                ITEM, LARGE, headers={"Content-Digest": digest_field(LARGE) + ", sha-512=:AA==:"}
            ),
            "MALFORMED_REQUEST",
        ),
        (
            OWNER,
            lambda client: client.put(ITEM, LARGE, headers={"Content-Digest": "sha-256=:" + "A" * 42 + "B=:"}),
            "MALFORMED_REQUEST",
        ),
        (OWNER_OF_CODE, lambda client: client.put("step-0", b"other"), "ITEM_DIGEST_MISMATCH"),
        (
            OWNER_OF_CODE,
            lambda client: client.put("step-0", b"other", headers={"Content-Digest": digest_field(b"other")}),
            "ITEM_COMMITMENT_MISMATCH",
        ),
        (
            OWNER_OF_CODE,
            lambda client: client.put(
                "step-0", file_of(WORLD, "step-0"), headers={"Item-Salt": strictjson.base64url(bytes(32))}
            ),
            "MALFORMED_REQUEST",
        ),
    ],
)
def test_wrong_uploads_leave_nothing(
    collecting: LiveGuest, kept: MemoryFiles, caller: str, upload: Callable[[Client], requests.Response], code: str
) -> None:
    """An upload that is not the owner's item as committed is refused, nothing of it is kept, and it is still wanted."""
    with collecting.connect(caller) as client:
        assert code_of(upload(client)) == code
    assert is_still_wanted(collecting, kept)
    assert is_still_wanted(collecting, kept, "step-0")


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a payload, with the owner's item and a component in it."""
    for content in (LARGE, file_of(WORLD, "step-0")):
        (tmp_path / sha256(content).hex()).write_bytes(content)
    monkeypatch.setattr(uploads, "open_held", partial(open_held, folder=tmp_path))
    return tmp_path


def said_of(name: str, **changes: Json) -> dict[str, Json]:
    """What its owner says of an item that the machine brought, with changes; None takes a member away."""
    content = LARGE if name == ITEM else file_of(WORLD, name)
    said: dict[str, Json] = {"bytes": len(content), "sha256": sha256(content).hex()}
    if name == ITEM:
        said["salt"] = strictjson.base64url(WORLD.salt[ITEM])
    return {member: value for member, value in {**said, **changes}.items() if value is not None}


def test_item_that_the_machine_brought_is_named_and_not_sent(brought: Path) -> None:
    """Data and a component are admitted as if they had been sent, once, and the run gets the same bytes."""
    workers = ScriptedWorkers()
    with LiveGuest(WORLD, workers=workers) as guest:
        guest.collecting()
        for owner, name in ((OWNER, ITEM), (OWNER_OF_CODE, "step-0")):
            with guest.connect(owner) as client:
                client.accepted(client.send("POST", f"/v1/artifacts/{name}", said_of(name)))
                assert code_of(client.send("POST", f"/v1/artifacts/{name}", said_of(name))) == "ITEM_ADMITTED"
        for owner, name in ((OTHER, "records-b"), (OWNER_OF_CODE, "step-1")):
            with guest.connect(owner) as client:
                client.accepted(client.upload(name))
        guest.wait_for("completed")
        assert sha256(workers.seen[ITEM]) == sha256(LARGE)


@pytest.mark.parametrize(
    ("caller", "said", "code"),
    [
        (OTHER, said_of(ITEM), "NOT_YOURS"),
        (OWNER, said_of(ITEM, salt=strictjson.base64url(bytes(32))), "ITEM_COMMITMENT_MISMATCH"),
        (OWNER, said_of(ITEM, bytes=1), "ITEM_COMMITMENT_MISMATCH"),
        (OWNER, said_of(ITEM, sha256="00" * 32), "ITEM_COMMITMENT_MISMATCH"),
        (OWNER, said_of(ITEM, sha256="../../etc/passwd"), "MALFORMED_REQUEST"),
        (OWNER, said_of(ITEM, salt=None), "MALFORMED_REQUEST"),
        (OWNER, said_of(ITEM, salt="AA"), "MALFORMED_REQUEST"),
        (OWNER, said_of(ITEM, bytes=-1), "MALFORMED_REQUEST"),
        (OWNER, said_of(ITEM, path="/run"), "MALFORMED_REQUEST"),
        (OWNER_OF_CODE, said_of("step-1"), "ITEM_NOT_HELD"),
        (OWNER_OF_CODE, said_of("step-0", bytes=1), "ITEM_TOO_LARGE"),
        (OWNER_OF_CODE, said_of("step-0", bytes=7), "ITEM_DIGEST_MISMATCH"),
    ],
)
@pytest.mark.usefixtures("brought")
def test_what_is_wrongly_named_leaves_nothing(
    collecting: LiveGuest, kept: MemoryFiles, caller: str, said: dict[str, Json], code: str
) -> None:
    """What is not the owner's, not committed to or not in the payload is refused, and is still wanted."""
    name = next((each for each in ("step-0", "step-1") if said["sha256"] == sha256(file_of(WORLD, each)).hex()), ITEM)
    with collecting.connect(caller) as client:
        assert code_of(client.send("POST", f"/v1/artifacts/{name}", said)) == code
    assert is_still_wanted(collecting, kept, name)


def test_payload_that_lies_is_found_out(collecting: LiveGuest, kept: MemoryFiles, brought: Path) -> None:
    """Other bytes under the right name, and a link in its place, are not the item."""
    file = brought / sha256(LARGE).hex()
    file.write_bytes(LARGE[:-1] + b"!")
    with collecting.connect(OWNER) as client:
        assert code_of(client.send("POST", f"/v1/artifacts/{ITEM}", said_of(ITEM))) == "ITEM_DIGEST_MISMATCH"
    (brought / "elsewhere").write_bytes(LARGE)
    file.unlink()
    file.symlink_to(brought / "elsewhere")
    with collecting.connect(OWNER) as client:
        assert code_of(client.send("POST", f"/v1/artifacts/{ITEM}", said_of(ITEM))) == "ITEM_NOT_HELD"
    assert is_still_wanted(collecting, kept)


def test_broken_upload_leaves_nothing_and_may_be_repeated(kept: MemoryFiles) -> None:
    """A connection that ends in the middle of an upload leaves nothing, and the same item is taken afterwards."""
    with LiveGuest(WORLD) as guest:
        guest.collecting()
        with guest.connect(OWNER) as client, pytest.raises(ConnectionAbortedError):
            client.put(ITEM, Paced(LARGE, breaks=True))
        with guest.connect(OWNER) as client:
            while kept.names():
                client.state()
            assert is_still_wanted(guest, kept)
            client.accepted(client.upload(ITEM))
            assert code_of(client.upload(ITEM)) == "ITEM_ADMITTED"


def test_of_two_uploads_of_one_item_one_wins(collecting: LiveGuest) -> None:
    """A second upload of an item that is on its way is refused at once, and the first is not disturbed."""
    body = Paced(LARGE[:-1] + b"!", breaks=False)
    codes: list[str] = []
    with collecting.connect(OWNER) as first, collecting.connect(OWNER) as second:
        sender = threading.Thread(target=lambda: codes.append(code_of(first.put(ITEM, body))), daemon=True)
        sender.start()
        assert body.half_sent.wait(10)
        while code_of(refusal := second.put(ITEM, b"")) != "ITEM_IN_TRANSIT":
            assert code_of(refusal) == "ITEM_COMMITMENT_MISMATCH"
        body.may_go_on.set()
        sender.join(20)
    # It was the wrong content after all: so this guest can be used by the other tests.
    assert codes == ["ITEM_DIGEST_MISMATCH"]


def test_several_participants_release_at_once() -> None:
    """Uploads of different participants go on side by side, and the run begins when the last has ended."""
    contents = {"records-a": LARGE, "records-b": LARGE[::-1]}
    world = World(contents=contents)
    workers = ScriptedWorkers()
    with LiveGuest(world, workers=workers) as guest:
        guest.collecting()
        bodies = {name: Paced(content, breaks=False) for name, content in contents.items()}
        threads = [
            threading.Thread(target=_send, args=(guest, owner, name, bodies[name]), daemon=True)
            for owner, name in ((OWNER, "records-a"), (OTHER, "records-b"))
        ]
        for thread in threads:
            thread.start()
        assert all(body.half_sent.wait(10) for body in bodies.values())
        with guest.connect(OWNER_OF_CODE) as client:
            client.upload_all()
            assert client.state() == "collecting"
        for body in bodies.values():
            body.may_go_on.set()
        for thread in threads:
            thread.join(20)
        guest.wait_for("completed")
        assert {name: sha256(content) for name, content in workers.seen.items()} == {
            name: sha256(content) for name, content in contents.items()
        }
        assert workers.runs == 1


def test_component_that_is_not_admitted_leaves_nothing(kept: MemoryFiles) -> None:
    """A component that the runtime refuses is answered with its code, is not admitted, and may be sent again."""
    refusals = ["COMPONENT_IMPORTS"]

    def admit(component: Component, item: Item) -> None:
        assert item.open().read() == file_of(WORLD, component.name)
        if refusals:
            raise ComponentError("MALFORMED_COMPONENT", "what it is: a secret of its owner")

    with LiveGuest(WORLD, workers=ScriptedWorkers(admit=admit)) as guest:
        guest.collecting()
        with guest.connect(OWNER_OF_CODE) as client:
            answer = client.upload("step-0")
            assert code_of(answer) == "MALFORMED_COMPONENT"
            assert b"secret" not in answer.content
            assert is_still_wanted(guest, kept, "step-0")
            refusals.clear()
            client.accepted(client.upload("step-0"))


def test_withdrawal_ends_everything_at_once(kept: MemoryFiles) -> None:
    """When the withdrawal is answered, items and uploads are gone; everybody sees it, and everybody gets a receipt."""
    workers = ScriptedWorkers()
    with LiveGuest(WORLD, workers=workers) as guest:
        guest.collecting()
        body = Paced(LARGE, breaks=False)
        codes: list[str] = []
        with guest.connect(OTHER) as other, guest.connect(OWNER) as owner:
            other.upload_all()
            sender = threading.Thread(target=lambda: codes.append(_code_or_end(owner, body)), daemon=True)
            sender.start()
            assert body.half_sent.wait(10)
            other.accepted(other.withdraw())
            assert kept.names() == []
            assert workers.wiped.is_set()
            assert other.state() == "withdrawn"
            body.may_go_on.set()
            sender.join(20)
            assert codes == ["SESSION_ENDED"]
            other.accepted(other.withdraw())
            assert [event.type for event in other.log()][-2:] == [EventType.WITHDRAW, EventType.END]
        for name in WORLD.names:
            with guest.connect(name) as client:
                assert code_of(client.get("/v1/outputs/model")) in {"NOT_YOURS", "SESSION_ENDED"}
                assert client.get("/v1/receipt").status_code == 200
        assert workers.runs == 0
        assert guest.ended()


def test_withdrawal_of_another_or_replayed_is_refused(collecting: LiveGuest) -> None:
    """A withdrawal counts from its own participant and for its own instance, so that none can be replayed."""
    with collecting.connect(OWNER) as client:
        assert code_of(client.withdraw(report_id=bytes(32))) == "STATEMENT_OTHER_GUEST"
        report_id = client.connection.certificate.report_id
        foreign = WORLD.withdraw(OTHER, report_id=report_id).to_json()
        assert code_of(client.send("POST", "/v1/withdraw", foreign)) == "NOT_YOURS"
        go = client.go().to_json()
        assert code_of(client.send("POST", "/v1/withdraw", go)) == "MALFORMED_STATEMENT"
    assert collecting.state == "collecting"


def _send(guest: LiveGuest, owner: str, name: str, body: Paced) -> None:
    with guest.connect(owner) as client:
        client.accepted(client.put(name, body))


def _code_or_end(client: Client, body: Paced) -> str:
    try:
        return code_of(client.put(ITEM, body))
    except (requests.RequestException, TwoCvmError) as error:
        return type(error).__name__
