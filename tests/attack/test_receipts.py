"""Receipts that are forged, moved, cut or put together from others. Each is refused, and says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.manifests import World
from tests.support.sessions import PaperSession
from tests.support.simulated import launch

from twocvm_verifier import binding, eventlog, framing
from twocvm_verifier.binding import LogPosition
from twocvm_verifier.dsse import sign_envelope
from twocvm_verifier.errors import BindingError, TwoCvmError
from twocvm_verifier.eventlog import EventLog, Outcome
from twocvm_verifier.receipt import Receipt, ReceiptBody, SealedOutput, build_receipt
from twocvm_verifier.receipt_file import ReceiptFile

WORLD = World()
OTHER_WORLD = World(edit=lambda document: document.update(purpose="Another study"))
SESSION = PaperSession(WORLD)
AGAIN = PaperSession(WORLD)
"""The same participants under the same manifest, on another launch."""
FILE = SESSION.file("analytics")
REPORT_OFFSETS = {"MEASUREMENT": 0x90, "HOST_DATA": 0xC0, "REPORT_ID": 0x140, "CHIP_ID": 0x1A0, "REPORT_DATA": 0x50}


def _refused(file: ReceiptFile, *, session: PaperSession = SESSION) -> str:
    with pytest.raises(TwoCvmError) as caught:
        session.judge(file)
    return caught.value.code


def _signed_with_the_tls_key(body: ReceiptBody) -> Receipt:
    """Return what a thief of the TLS key can make: a new statement beside the old report."""
    return replace(FILE.receipt, envelope=build_receipt(body, key=SESSION.key))


def _attested(body: ReceiptBody) -> ReceiptFile:
    """Return what only a lying guest could make: a statement with a report of its own."""
    return replace(FILE, receipt=SESSION.receipt(body))


def test_a_receipt_of_another_recipient_is_refused() -> None:
    """A genuine receipt handed to somebody else is not theirs."""
    verified = SESSION.judge(SESSION.file("hospital-a"))
    with pytest.raises(BindingError) as caught:
        verified.require_own(
            participant="hospital-b", report_id=SESSION.report_id, guest_spki_sha256=SESSION.spki_sha256
        )
    assert caught.value.code == "RECEIPT_OF_ANOTHER"


def test_a_receipt_rewritten_for_another_recipient_is_refused() -> None:
    """Another name in the statement is another statement, which neither key nor report stand behind."""
    renamed = SESSION.body("hospital-a")
    assert _refused(replace(FILE, receipt=_signed_with_the_tls_key(renamed))) == "CLAIMS_MISMATCH"
    payload = FILE.receipt.envelope.payload.replace(b'"analytics"', b'"hospital-a"')
    unsigned = replace(FILE.receipt.envelope, payload=payload)
    assert _refused(replace(FILE, receipt=replace(FILE.receipt, envelope=unsigned))) == "RECEIPT_SIGNATURE"


def test_a_receipt_of_another_instance_is_refused() -> None:
    """A genuine receipt of another launch under the same manifest is not this session's."""
    verified = AGAIN.judge(AGAIN.file("analytics"))
    for report_id, spki in ((SESSION.report_id, AGAIN.spki_sha256), (AGAIN.report_id, SESSION.spki_sha256)):
        with pytest.raises(BindingError) as caught:
            verified.require_own(participant="analytics", report_id=report_id, guest_spki_sha256=spki)
        assert caught.value.code == "RECEIPT_OF_ANOTHER"


@pytest.mark.parametrize("part", ["receipt", "guest_spki_der", "goes", "log"])
def test_a_part_of_another_instance_s_file_is_refused(part: str) -> None:
    """Two genuine files of two launches do not make a third."""
    other = AGAIN.file("analytics")
    assert _refused(replace(FILE, **{part: getattr(other, part)}))
    assert _refused(replace(other, **{part: getattr(FILE, part)}), session=AGAIN)


def test_a_report_of_another_instance_is_refused() -> None:
    """The statement of one launch with a report of another, over the very same claims, is refused."""
    claims = SESSION.body("analytics").claims(FILE.receipt.envelope.statement)
    moved = replace(FILE.receipt, evidence=AGAIN.evidence(claims))
    assert _refused(replace(FILE, receipt=moved)) == "LOG_HEAD_MISMATCH"


def test_a_receipt_of_another_manifest_is_refused() -> None:
    """A genuine receipt of another study is not of the manifest that the judge means."""
    other = PaperSession(OTHER_WORLD)
    assert _refused(other.file("analytics")) == "RECEIPT_OF_ANOTHER"
    assert _refused(replace(FILE, manifest=OTHER_WORLD.manifest.raw)) == "RECEIPT_OF_ANOTHER"


@pytest.mark.parametrize(
    "lie",
    [
        {"outcome": Outcome.FAILED},
        {"participant": "hospital-a"},
        {"participant": "hospital-c"},
        {"report_id": bytes(32)},
        {"guest_spki_sha256": bytes(32)},
        {"manifest_hash": bytes(32)},
        {"manifest_sha256": bytes(32)},
        {"roster": bytes(32)},
        {"roster": None},
        {"components": ()},
        {"inputs": ()},
        {"outputs": ()},
        {"other_outputs": ()},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_statement_that_does_not_follow_from_what_lies_beside_it_is_refused(lie: dict[str, object]) -> None:
    """A statement with one member changed is refused even with signature and report of its own."""
    body = replace(SESSION.body("analytics"), **lie)
    assert _refused(_attested(body)) in {"RECEIPT_MISMATCH", "CLAIMS_MISMATCH"}


def test_a_receipt_signed_again_with_the_tls_key_is_refused() -> None:
    """The TLS key alone makes no receipt: the report is bound to the statement that the guest made."""
    body = SESSION.body("analytics")
    better = replace(body.outputs[0], sealed=SealedOutput(sha256=bytes(32), size_bytes=1))
    forged = _signed_with_the_tls_key(replace(body, outputs=(better,)))
    assert _refused(replace(FILE, receipt=forged)) == "CLAIMS_MISMATCH"


def test_a_receipt_signed_with_a_key_of_one_s_own_is_refused() -> None:
    """Somebody else's key, named in the file and signing everything, is not the one in the claims."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = replace(SESSION.body("analytics"), guest_spki_sha256=framing.sha256(spki))
    forged = replace(FILE.receipt, envelope=build_receipt(body, key=key))
    assert _refused(replace(FILE, receipt=forged, guest_spki_der=spki)) == "CLAIMS_MISMATCH"


@pytest.mark.parametrize("context", ["cert", "channel", "batch"])
def test_evidence_of_another_context_makes_no_receipt(context: str) -> None:
    """A report that the guest gave for a connection is not one for a receipt."""
    statement = FILE.receipt.envelope.statement
    known = {"spki_sha256": SESSION.spki_sha256, "manifest": WORLD.manifest.hash, "log": SESSION.log.position}
    claims = {
        "cert": lambda: binding.cert_claims(**known),
        "channel": lambda: binding.channel_claims(**known, nonce=statement, binder=statement),
        "batch": lambda: binding.batch_claims(**known, root=statement),
    }[context]()
    moved = replace(FILE.receipt, evidence=SESSION.evidence(claims))
    assert _refused(replace(FILE, receipt=moved)) == "CLAIMS_MISMATCH"


def test_claims_that_the_report_does_not_hold_are_refused() -> None:
    """The right claims beside a genuine report over other data are refused by REPORT_DATA."""
    evidence = replace(FILE.receipt.evidence, report=SESSION.platform.report(bytes(64)))
    assert _refused(replace(FILE, receipt=replace(FILE.receipt, evidence=evidence))) == "REPORT_DATA_MISMATCH"


def test_report_data_whose_halves_disagree_is_refused() -> None:
    """The hash of the right claims beside another manifest in clear is refused."""
    right = SESSION.body("analytics").claims(FILE.receipt.envelope.statement).report_data()
    evidence = replace(FILE.receipt.evidence, report=SESSION.platform.report(right[:32] + bytes(32)))
    assert _refused(replace(FILE, receipt=replace(FILE.receipt, evidence=evidence))) == "REPORT_DATA_MISMATCH"


@pytest.mark.parametrize("offset", REPORT_OFFSETS.values(), ids=REPORT_OFFSETS)
def test_a_report_in_which_one_bit_was_turned_is_refused(offset: int) -> None:
    """Nothing in the report can be changed after the chip has signed it."""
    report = bytearray(FILE.receipt.evidence.report)
    report[offset] ^= 1
    evidence = replace(FILE.receipt.evidence, report=bytes(report))
    assert _refused(replace(FILE, receipt=replace(FILE.receipt, evidence=evidence))) in {
        "REPORT_SIGNATURE",
        "CHIP_ID_MISMATCH",
    }


def test_a_guest_on_another_root_is_refused() -> None:
    """A session on a simulated chip that the judge does not trust is not authentic, whatever it says of itself."""
    foreign = PaperSession(
        WORLD, platform=launch(host_data=bytes(32), measurement=WORLD.manifest.platform.measurements[0], on=1)
    )
    assert _refused(foreign.file("analytics"), session=SESSION) == "CHAIN_ROOT_UNKNOWN"


def test_a_guest_with_other_software_is_refused() -> None:
    """A receipt of a guest whose measurement the manifest does not accept is authentic, and not acceptable."""
    other = PaperSession(WORLD, platform=launch(host_data=bytes(32), measurement=bytes(48)))
    with pytest.raises(TwoCvmError) as caught:
        other.judge(other.file("analytics"))
    assert caught.value.exit_status == 11


def test_a_guest_born_for_another_manifest_is_refused() -> None:
    """HOST_DATA that is neither zero nor the manifest's hash is refused."""
    platform = launch(host_data=bytes([1]) * 32, measurement=WORLD.manifest.platform.measurements[0])
    other = PaperSession(WORLD, platform=platform)
    assert _refused(other.file("analytics"), session=other) == "HOST_DATA_MISMATCH"


def _with_log(log: EventLog) -> ReceiptFile:
    """Return a file whose statement and claims fit another log than the session's own."""
    return replace(_attested(replace(SESSION.body("analytics"), log=log.position)), log=log.events)


def test_a_truncated_log_is_refused() -> None:
    """A log without its end does not lead to the head in the claims."""
    assert _refused(replace(FILE, log=FILE.log[:-1])) == "LOG_HEAD_MISMATCH"
    assert _refused(replace(FILE, log=())) == "LOG_HEAD_MISMATCH"


def test_a_log_that_goes_on_is_refused() -> None:
    """A log with events after the head in the claims is not the one of the receipt."""
    log = EventLog(report_id=SESSION.report_id)
    for event in FILE.log[:-1]:
        log.append(event)
    early = replace(_attested(replace(SESSION.body("analytics"), log=log.position)), log=FILE.log)
    assert _refused(early) == "RECEIPT_MISMATCH"


def test_a_receipt_made_before_the_end_is_refused() -> None:
    """A log that does not end has no outcome, so there is no receipt yet."""
    log = EventLog(report_id=SESSION.report_id)
    for event in FILE.log[:-1]:
        log.append(event)
    assert _refused(_with_log(log)) == "RECEIPT_MISMATCH"


def test_a_forked_log_is_refused() -> None:
    """A log in which one event is another leads to another head."""
    forged = (*FILE.log[:-2], eventlog.run_event(), eventlog.end_event(outcome=Outcome.FAILED))
    assert _refused(replace(FILE, log=forged)) == "LOG_HEAD_MISMATCH"


def test_a_foreign_log_is_refused() -> None:
    """The log of another launch does not begin with this REPORT_ID."""
    assert _refused(replace(FILE, log=AGAIN.log.events)) == "LOG_HEAD_MISMATCH"


def test_a_position_beyond_the_log_is_refused() -> None:
    """A statement that counts more events than there are is refused."""
    position = LogPosition(head=SESSION.log.position.head, events=SESSION.log.position.events + 1)
    assert _refused(_attested(replace(SESSION.body("analytics"), log=position))) == "LOG_HEAD_MISMATCH"


def test_missing_consent_is_refused() -> None:
    """Without every participant's consent there was no lock."""
    assert _refused(replace(FILE, consents=FILE.consents[:-1])) == "CONSENTS_INCOMPLETE"


def test_consents_other_than_those_of_the_lock_are_refused() -> None:
    """Consents that verify, but are not those that the log says the guest was locked with, are refused."""
    # ECDSA is not deterministic, so a P-256 or P-384 participant can sign the same consent again.
    again = tuple(WORLD.consent(name) for name in WORLD.names)
    assert again != FILE.consents
    assert _refused(replace(FILE, consents=again)) == "LOG_LOCK_MISMATCH"


def test_a_short_roster_is_refused() -> None:
    """A go that is missing is refused."""
    assert _refused(replace(FILE, goes=FILE.goes[:-1])) == "ROSTER_MISMATCH"


def test_goes_for_another_instance_are_refused() -> None:
    """Genuine goes of the same participants for another launch are refused."""
    assert _refused(replace(FILE, goes=AGAIN.goes)) == "STATEMENT_OTHER_GUEST"


def test_a_go_other_than_the_logged_one_is_refused() -> None:
    """A participant that signs a second go with other items cannot put it in the place of the first."""
    name = "hospital-a"
    second = WORLD.go(
        name,
        report_id=SESSION.report_id,
        guest_spki_sha256=SESSION.spki_sha256,
        items={item: bytes(32) for item in WORLD.commitments(name)},
    )
    goes = tuple(second if go.body.participant == name else go for go in FILE.goes)
    assert _refused(replace(FILE, goes=goes)) == "LOG_ROSTER_MISMATCH"


def test_goes_of_a_session_without_a_roster_are_those_of_its_log() -> None:
    """Where the roster was never complete, goes that the log does not hold, or fewer, are refused."""
    withdrawn = PaperSession(WORLD, outcome=Outcome.WITHDRAWN)
    file = withdrawn.file("analytics")
    everybody = WORLD.goes(report_id=withdrawn.report_id, guest_spki_sha256=withdrawn.spki_sha256)
    assert _refused(replace(file, goes=everybody), session=withdrawn) == "LOG_ROSTER_MISMATCH"
    assert _refused(replace(file, goes=()), session=withdrawn) == "LOG_ROSTER_MISMATCH"
    assert _refused(replace(file, goes=AGAIN.goes[:1]), session=withdrawn) == "STATEMENT_OTHER_GUEST"


def test_a_session_that_failed_is_not_made_one_that_was_completed() -> None:
    """The outcome stands in the log, so outputs cannot be claimed of a run that gave none."""
    failed = PaperSession(WORLD, outcome=Outcome.FAILED)
    body = replace(
        SESSION.body("analytics"),
        report_id=failed.report_id,
        guest_spki_sha256=failed.spki_sha256,
        roster=failed.roster.digest,
        log=failed.log.position,
    )
    forged = replace(failed.file("analytics"), receipt=failed.receipt(body))
    assert _refused(forged, session=failed) == "RECEIPT_MISMATCH"


def test_a_signed_payload_that_is_no_statement_is_refused() -> None:
    """The guest's key under something else than a receipt's statement is malformed, report or not."""
    envelope = sign_envelope(b"{}", key=SESSION.key)
    claims = binding.receipt_claims(
        spki_sha256=SESSION.spki_sha256,
        manifest=WORLD.manifest.hash,
        log=SESSION.log.position,
        statement=envelope.statement,
    )
    receipt = Receipt(envelope=envelope, evidence=SESSION.evidence(claims))
    assert _refused(replace(FILE, receipt=receipt)) == "MALFORMED_RECEIPT"
