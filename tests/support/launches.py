"""A launch of a machine brought into each state that a session has, and what is left of it after a reset.

held = reach(State.RUNNING, machine, tmp_path / "first")
machine.reset()
machine.serving()
require_new_launch(machine, held)         # empty, another key, another log; and what was held leads nowhere
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests
from tests.support.guest import Client, code_of
from tests.support.machine import PATIENCE_SECONDS, HostedMachine, Outsider, outsiders
from tests.support.manifests import AT

from twocvm_guest.session.machine import ENDED, State
from twocvm_sdk import Session
from twocvm_sdk.receipts import SessionReceipt
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.ratls.proof import CertificateProof, ManifestState, judge_certificate

FILL: Final = ("files /out/report 100000", "write /out/report/full 9999999999")
"""Makes as many files as there can be, and then writes until nothing can be written; that ends the component."""
ASKED: Final = "hospital-a"
_SCRIPTS: Final = {State.RUNNING: ("loop",), State.EXPIRED: ("loop",), State.FAILED: FILL}
_PARTICIPANTS_ROUTES: Final = ("manifest", "roster", "log", "failures", "outputs/evaluation", "receipt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What participants hold of a launch when its machine is reset under it.

    Attributes:
        state: Where its session was.
        everybody: The participants, with their ledgers.
        leaf: The guest's certificate, with its evidence.
        proof: What a connection had proven.
        goes: As the roster had them.
        line: A connection that is open.
        session: One participant's, over a connection of its own; none before the lock.
        receipt: That participant's, where there was one.
    """

    state: State
    everybody: dict[str, Outsider]
    leaf: bytes
    proof: CertificateProof
    goes: tuple[dict[str, Any], ...]
    line: Client
    session: Session | None
    receipt: SessionReceipt | None


def reach(state: State, machine: HostedMachine, folder: Path) -> Held:
    """Bring a launch that nobody has joined yet into a state, and return what its participants hold then.

    Args:
        state: Where to; to where nobody can be asked any more, by `finish`.
        machine: Serving.
        folder: New; for the participants' keys, files and ledgers.
    """
    everybody = outsiders(machine, folder, *_SCRIPTS.get(state, ()))
    if state is State.UNLOCKED:
        return _held(state, machine, everybody, session=None)
    everybody[ASKED].lock()
    session = everybody[ASKED].connect()
    if state is State.WITHDRAWN:
        session.join(everybody[ASKED].files)
        session.withdraw()
    elif state is State.COLLECTING:
        at_once(everybody, _join)
    elif state is not State.LOCKED:
        at_once(everybody, lambda side: side.release(wait_seconds=PATIENCE_SECONDS))
        # An end that was not meant is not waited for.
        assert machine.wait_state(state.value, *(ended.value for ended in ENDED)) == state.value
    return _held(state, machine, everybody, session=session)


def require_new_launch(machine: HostedMachine, held: Held) -> None:
    """Demand that the machine is empty and another, and that nothing that was held is good for anything in it.

    Leaves it locked to the same manifest, with nobody in it.
    """
    with machine.connect(unlocked_ok=True) as client:
        assert client.state() == "unlocked"
        assert {code_of(client.get(f"/v1/{route}")) for route in _PARTICIPANTS_ROUTES} == {"NOT_LOCKED"}
        new = client.connection.certificate
    assert new.manifest_state is ManifestState.UNLOCKED
    assert new.verified.report.measurement == held.proof.verified.report.measurement
    assert new.spki_sha256 != held.proof.spki_sha256
    assert new.report_id != held.proof.report_id
    assert new.log.events == 1
    assert new.log.head != held.proof.log.head
    assert lost(held.line) in {"CONNECTION_LOST", "CONNECTION_TIMEOUT"}
    _require_session_refused(held, "NOT_LOCKED")
    # Consents are for the manifest, so the host can lock the next launch with them.
    held.everybody[ASKED].lock()
    _require_session_refused(held, "GUEST_REPLACED")
    _require_empty(machine, held)
    _require_still_authentic(machine, held)
    held.line.connection.close()
    if held.session is not None:
        held.session.close()


def _held(state: State, machine: HostedMachine, everybody: dict[str, Outsider], *, session: Session | None) -> Held:
    receipt = session.receipt() if session is not None and state in ENDED else None
    goes: tuple[dict[str, Any], ...] = ()
    if session is not None:
        with machine.connect(ASKED) as client:
            goes = tuple(client.get("/v1/roster").json()["goes"])
    line = machine.connect(unlocked_ok=state is State.UNLOCKED)
    return Held(
        state=state,
        everybody=everybody,
        leaf=_leaf_of(machine.url),
        proof=line.connection.certificate,
        goes=goes,
        line=line,
        session=session,
        receipt=receipt,
    )


def finish(machine: HostedMachine, held: Held) -> None:
    """Have everybody fetch everything of a completed session, so that its guest is wiped and its machine is off."""
    machine.host.do("set-action", shutdown="pause")
    for name, side in held.everybody.items():
        with side.connect() as session:
            for output in machine.world.manifest.outputs_of(name):
                assert session.output(output.name).read()
                session.ack(output.name)
            assert session.receipt().outcome == "completed"
    machine.host.wait_for("SHUTDOWN")


def at_once(everybody: dict[str, Outsider], act: Callable[[Outsider], None]) -> None:
    """Have everybody do something at the same time, and raise the first failure."""
    with ThreadPoolExecutor(len(everybody)) as pool:
        for done in [pool.submit(act, side) for side in everybody.values()]:
            done.result()


def _join(side: Outsider) -> None:
    with side.connect() as session:
        session.join(side.files)


def lost(line: Client) -> str:
    """Ask over a connection that gives no answer any more, and return the code that says so."""
    # The library in between has its own name for what the connection said.
    with pytest.raises((TwoCvmError, requests.RequestException)) as refused:
        line.get("/v1/session")
    error: BaseException | None = refused.value
    while error is not None and not isinstance(error, TwoCvmError):
        error = error.__cause__ or error.__context__
    assert error is not None
    return error.code


def _require_session_refused(held: Held, code: str) -> None:
    if held.session is None:
        return
    with pytest.raises(TwoCvmError) as refused:
        held.session.status()
    assert refused.value.code == code


def _require_empty(machine: HostedMachine, held: Held) -> None:
    for go in held.goes:
        with machine.connect(go["participant"]) as client:
            assert client.send("POST", "/v1/join", go).json()["code"] == "STATEMENT_OTHER_GUEST"
    with machine.connect(ASKED) as client:
        assert client.state() == "locked"
        assert client.get("/v1/roster").json() == {"complete": False, "goes": []}
        assert [event.type.value for event in client.log()] == ["platform", "lock"]
        assert code_of(client.get("/v1/outputs/evaluation")) == "OUTPUTS_NOT_READY"
        assert code_of(client.get("/v1/receipt")) == "RECEIPT_NOT_READY"
        assert code_of(client.upload("records-a")) == "ROSTER_INCOMPLETE"
    if held.goes:
        side = held.everybody[ASKED]
        with side.connect() as session, pytest.raises(TwoCvmError) as refused:
            session.join(side.files)
        assert refused.value.code == "GO_ALREADY_GIVEN"


def _require_still_authentic(machine: HostedMachine, held: Held) -> None:
    expectation = machine.expectation(unlocked_ok=held.state is State.UNLOCKED)
    assert judge_certificate(held.leaf, expectation=expectation, at=AT).report_id == held.proof.report_id
    if held.receipt is not None:
        assert held.receipt.verify().verified.report.report_id == held.proof.report_id


def _leaf_of(url: str) -> bytes:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    pem = ssl.get_server_certificate((address.hostname, address.port), timeout=PATIENCE_SECONDS)
    return ssl.PEM_cert_to_DER_cert(pem)
