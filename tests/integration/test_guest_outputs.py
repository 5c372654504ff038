"""What comes out of a guest: outputs to their recipients alone, a receipt for everybody, and then nothing."""

from __future__ import annotations

import os
import threading

import pytest
import requests
from tests.support.attested_guest import policy
from tests.support.guest import Client, LiveGuest, ScriptedWorkers, SteeredClock, code_of, digest_field
from tests.support.manifests import AT, World
from tests.support.memory_files import MemoryFiles

from twocvm_guest.serve import TICK_SECONDS
from twocvm_guest.session.dues import RECEIPT_SECONDS
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.logevents import EventType, Outcome
from twocvm_verifier.manifest.statements import Consent, Go, parse_statement
from twocvm_verifier.receipt import parse_receipt
from twocvm_verifier.receipt_file import ReceiptFile, VerifiedReceipt, verify_receipt

WORLD = World()
RECIPIENT, OTHER, THIRD = "analytics", "hospital-a", "hospital-b"
MODEL = os.urandom(4096)
OUTPUTS = {"model": MODEL, "evaluation": b"good"}


def verified_receipt(client: Client) -> VerifiedReceipt:
    """Return a participant's receipt, verified as its owner would, with what the guest serves beside it.

    It is asked for last: once everybody has a receipt, the guest is wiped.
    """
    served, log = client.get("/v1/manifest").json(), client.log()
    goes = tuple(parse_statement(Go, one) for one in client.get("/v1/roster").json()["goes"])
    file = ReceiptFile(
        receipt=parse_receipt(client.get("/v1/receipt").content),
        guest_spki_der=client.connection.certificate.spki_der,
        manifest=WORLD.raw,
        consents=tuple(parse_statement(Consent, one) for one in served["consents"]),
        goes=goes,
        log=log,
        policy={},
    )
    receipt = verify_receipt(
        file,
        manifest=WORLD.manifest,
        policy=policy(),
        verifier=client.guest.expectation().verifier,
        at=AT,
    )
    proof = client.connection.certificate
    receipt.require_own(participant=client.name, report_id=proof.report_id, guest_spki_sha256=proof.spki_sha256)
    return receipt


@pytest.fixture
def kept() -> MemoryFiles:
    """Return what the process comes to hold in memory files during a test."""
    return MemoryFiles()


def test_outputs_go_to_their_recipients_alone() -> None:
    """Each recipient gets its output whole, with digest and receipt, and nobody gets another's."""
    with LiveGuest(WORLD, workers=ScriptedWorkers(outputs=OUTPUTS)) as guest:
        guest.released().wait_for("completed")
        for name, own, foreign in ((RECIPIENT, "model", "evaluation"), (OTHER, "evaluation", "model")):
            with guest.connect(name) as client:
                answer = client.get(f"/v1/outputs/{own}")
                assert answer.content == OUTPUTS[own]
                assert answer.headers["Content-Digest"] == digest_field(OUTPUTS[own])
                assert answer.headers["Content-Type"] == "application/octet-stream"
                for refused in (
                    client.get(f"/v1/outputs/{foreign}"),
                    client.send("POST", f"/v1/outputs/{foreign}/ack", {}),
                ):
                    assert (code_of(refused), refused.status_code) == ("NOT_YOURS", 403)
                body = verified_receipt(client).body
                assert body.outcome is Outcome.COMPLETED
                assert [output.name for output in body.outputs] == [own]
                assert body.other_outputs == (foreign,)


def test_items_are_gone_when_the_run_has_ended(kept: MemoryFiles) -> None:
    """A completed guest keeps outputs and no input."""
    with LiveGuest(WORLD) as guest:
        guest.released().wait_for("completed")
        assert kept.names() == ["evaluation", "model"]


def test_nothing_is_served_before_everything_is_sealed() -> None:
    """While the run goes on there is no output and no receipt, and nobody can start it again or withdraw."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LiveGuest(WORLD, workers=workers) as guest:
        guest.released()
        assert workers.running.wait(10)
        with guest.connect(RECIPIENT) as client:
            assert client.state() == "running"
            assert code_of(client.get("/v1/outputs/model")) == "OUTPUTS_NOT_READY"
            assert code_of(client.send("POST", "/v1/outputs/model/ack", {})) == "OUTPUTS_NOT_READY"
            assert code_of(client.get("/v1/receipt")) == "RECEIPT_NOT_READY"
            assert code_of(client.withdraw()) == "TOO_LATE"
            assert code_of(client.upload("step-0")) == "ITEM_ADMITTED"
            workers.may_end.set()
            guest.wait_for("completed")
            assert client.get("/v1/outputs/model").content == b"model"
        assert workers.runs == 1


def test_guest_ends_when_nobody_is_owed_anything(kept: MemoryFiles) -> None:
    """After the last acknowledgement outputs are gone, and after the last receipt the guest is wiped and ends."""
    with LiveGuest(WORLD) as guest:
        guest.released().wait_for("completed")
        for name, output in ((RECIPIENT, "model"), (OTHER, "evaluation"), (THIRD, "evaluation")):
            with guest.connect(name) as client:
                assert client.get("/v1/receipt").status_code == 200
                assert client.get(f"/v1/outputs/{output}").status_code == 200
                assert guest.state == "completed"
                client.accepted(client.send("POST", f"/v1/outputs/{output}/ack", {}))
                if name != THIRD:
                    client.accepted(client.send("POST", f"/v1/outputs/{output}/ack", {}))
        assert guest.ended()
        assert guest.state == "wiped"
        assert kept.names() == []


def test_outputs_are_wiped_when_all_have_acknowledged(kept: MemoryFiles) -> None:
    """Who asks for an output after everybody has acknowledged is told that it is gone; its receipt is still there."""
    with LiveGuest(WORLD) as guest:
        guest.released().wait_for("completed")
        for name, output in ((OTHER, "evaluation"), (THIRD, "evaluation"), (RECIPIENT, "model")):
            with guest.connect(name) as client:
                client.accepted(client.send("POST", f"/v1/outputs/{output}/ack", {}))
        with guest.connect(RECIPIENT) as client:
            assert code_of(client.get("/v1/outputs/model")) == "OUTPUT_WIPED"
            assert kept.names() == []
            assert verified_receipt(client).body.outcome is Outcome.COMPLETED


def test_receipt_is_the_same_each_time() -> None:
    """A receipt that is asked for again is byte for byte the one before."""
    with LiveGuest(WORLD) as guest:
        guest.released().wait_for("completed")
        with guest.connect(OTHER) as client:
            assert client.get("/v1/receipt").content == client.get("/v1/receipt").content


@pytest.mark.parametrize(
    "workers",
    [
        ScriptedWorkers(failures={"step-0": "a secret of the run"}),
        ScriptedWorkers(crash=True),
        ScriptedWorkers(outputs={"model": bytes(4097)}),
    ],
    ids=["a node fails", "the runtime breaks", "an output is longer than the manifest allows"],
)
def test_failed_run_tells_that_it_failed_and_nothing_else(
    kept: MemoryFiles, workers: ScriptedWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    """However a run fails, everybody sees the one word, has a verified receipt of it, and gets no output."""
    with LiveGuest(WORLD, workers=workers) as guest:
        guest.released().wait_for("failed")
        assert kept.names() == []
        for name in WORLD.names:
            with guest.connect(name) as client:
                assert client.get("/v1/session").content == b'{"state":"failed"}'
                own = WORLD.manifest.outputs_of(name)[0].name
                refusal = client.get(f"/v1/outputs/{own}")
                assert code_of(refusal) == "SESSION_ENDED"
                assert client.log()[-1].members == {"outcome": "failed"}
                for path in ("/v1/session", "/v1/log", "/v1/roster"):
                    assert b"secret" not in client.get(path).content
                body = verified_receipt(client).body
                assert (body.outcome, body.outputs, body.other_outputs) == (Outcome.FAILED, (), ())
                assert b"secret" not in body.payload()
        assert guest.ended()
    assert "secret" not in caplog.text


def test_deadline_ends_a_run_that_goes_on(kept: MemoryFiles) -> None:
    """At the deadline workers and items are gone, the session is expired, and everybody has a receipt of it."""
    clock, workers = SteeredClock(), ScriptedWorkers()
    workers.may_end.clear()
    with LiveGuest(WORLD, workers=workers, clock=clock) as guest:
        guest.released()
        assert workers.running.wait(10)
        clock.ahead_seconds += WORLD.manifest.rules.deadline_seconds
        guest.wait_for("expired")
        assert workers.wiped.wait(10)
        with guest.connect(OTHER) as client:
            assert verified_receipt(client).body.outcome is Outcome.EXPIRED
            assert [event.type for event in client.log()][-2:] == [EventType.RUN, EventType.END]
        while kept.names():
            guest.wait_for("expired")


def test_guest_waits_for_receipts_ten_minutes() -> None:
    """Participants that do not come for their receipts keep a guest for ten minutes, and no longer."""
    clock = SteeredClock()
    with LiveGuest(WORLD, clock=clock) as guest:
        guest.collecting()
        with guest.connect(OTHER) as client:
            client.accepted(client.withdraw())
            client.accepted(client.withdraw())
        # The ten minutes begin when the guest's own time passes for the first time without data.
        threading.Event().wait(2 * TICK_SECONDS)
        clock.ahead_seconds += RECEIPT_SECONDS - 60
        with guest.connect(THIRD) as client:
            assert verified_receipt(client).body.outcome is Outcome.WITHDRAWN
        assert guest.state == "withdrawn"
        clock.ahead_seconds += 120
        assert guest.ended()


def test_download_that_outlives_its_output_is_cut_off(kept: MemoryFiles) -> None:
    """A recipient that reads slowly past the deadline gets less than was announced, and never takes it for whole."""
    clock = SteeredClock()
    large = os.urandom(32 << 20)

    def large_model(document: dict[str, object]) -> None:
        outputs = document["outputs"]
        assert isinstance(outputs, list)
        outputs[0]["max_bytes"] = len(large)
        components = document["components"]
        assert isinstance(components, list)
        for component in components:
            component["limits"]["output_bytes"] = 2 * len(large)

    world = World(edit=large_model)
    with LiveGuest(world, workers=ScriptedWorkers(outputs={"model": large}), clock=clock) as guest:
        guest.released().wait_for("completed")
        with guest.connect(RECIPIENT) as client:
            answer = client.request("GET", "/v1/outputs/model", stream=True)
            chunks = answer.iter_content(65536)
            assert next(chunks) == large[:65536]
            clock.ahead_seconds += world.manifest.rules.deadline_seconds
            while kept.names():
                threading.Event().wait(0.01)
            with pytest.raises((requests.RequestException, TwoCvmError)):
                b"".join(chunks)


def test_stopping_guest_leaves_nothing(kept: MemoryFiles) -> None:
    """A guest that is told to stop in the middle of a run kills it and keeps nothing."""
    workers = ScriptedWorkers()
    workers.may_end.clear()
    with LiveGuest(WORLD, workers=workers) as guest:
        guest.released()
        assert workers.running.wait(10)
        guest.stop()
        assert workers.wiped.is_set()
        assert guest.state == "wiped"
        assert kept.names() == []
