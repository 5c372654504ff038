"""A receipt with all that is needed to judge it years later, in one file (`docs/spec/receipt.md`, sections 5 and 6).

Whoever judges brings the manifest (or its hash), the policy and the trust anchors; the file brings the rest, and what
it says of manifest and policy decides nothing. `verify_receipt_file` goes in this order, and anything missing refuses:

1. the file is whole, and its manifest is the one that the judge means;
2. the guest's key signed the statement;
3. a chip signed the evidence's report, and the claims are those that are rebuilt here: this key, this manifest, this
   log, this very statement;
4. every participant agreed to the manifest, and goes to exactly this guest;
5. the log leads from the report's REPORT_ID to the head and count in the claims, was locked by those consents, holds
   those goes and their roster, and ends;
6. the statement is, as a whole, the one that follows from manifest, goes and log;
7. the report has the rebuilt REPORT_DATA, and its guest is acceptable to manifest and policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final

from . import framing, strictjson
from .appraisal import JudgedReport, Question, Verifier
from .binding import receipt_claims
from .errors import BindingError, MalformedError
from .eventlog import Event, VerifiedLog, events_from_json, events_to_json, go_digest, verify_log
from .jsonfields import Fields
from .manifest.bodies import Consent, Go
from .manifest.model import Manifest
from .manifest.parse import MAX_MANIFEST_BYTES, parse_manifest
from .manifest.roster import parse_statements, verify_consents, verify_roster
from .manifest.statements import Statement, verify_go
from .receipt import MAX_RECEIPT_BYTES, Receipt, ReceiptBody, receipt_from_json, verify_receipt_envelope
from .receipt_body import OwnOutput
from .strictjson import Json

if TYPE_CHECKING:
    from .policy import Policy
    from .result import Appraisal

SCHEMA: Final = "twocvm/receipt-file/v1"
# The receipt, the manifest, the log, and a consent and a go of every participant.
MAX_FILE_BYTES: Final = MAX_RECEIPT_BYTES + 16 * MAX_MANIFEST_BYTES
_MEMBERS: Final = frozenset(
    {"schema", "receipt", "evidence", "guest_spki", "manifest", "consents", "goes", "log", "policy"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFile:
    """A receipt and what lies beside it; believed by nobody yet.

    Attributes:
        receipt: As the guest handed it out.
        guest_spki_der: SubjectPublicKeyInfo of the guest's TLS key, as seen on the connection.
        manifest: Its canonical bytes.
        consents: Every participant's, sorted by participant.
        goes: Those of the roster, sorted by participant; where it was never complete, those that were given.
        log: Every event, the end included.
        policy: The canonical form of the policy that the participant appraised by; for the record.
    """

    receipt: Receipt
    guest_spki_der: bytes
    manifest: bytes = field(repr=False)
    consents: tuple[Statement, ...]
    goes: tuple[Statement, ...]
    log: tuple[Event, ...] = field(repr=False)
    policy: Json = field(repr=False)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return strictjson.canonical(
            {
                "schema": SCHEMA,
                **self.receipt.to_json(),
                "guest_spki": strictjson.base64url(self.guest_spki_der),
                "manifest": strictjson.parse(self.manifest, document="manifest", max_bytes=MAX_MANIFEST_BYTES),
                "consents": [statement.to_json() for statement in self.consents],
                "goes": [statement.to_json() for statement in self.goes],
                "log": events_to_json(self.log),
                "policy": self.policy,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """A receipt that its guest's chip stands behind. Made only by `verify_receipt`.

    Attributes:
        body: What it states, every word of it verified.
        manifest: The manifest that was in force.
        log: The guest's whole life.
        verified: The receipt's own report: verified here, or vouched for by another verifier.
        appraisal: Of that report, already required to hold.
    """

    body: ReceiptBody
    manifest: Manifest
    log: VerifiedLog
    verified: JudgedReport
    appraisal: Appraisal

    def require_own(self, *, participant: str, report_id: bytes, guest_spki_sha256: bytes) -> None:
        """Refuse a receipt that is genuine and not of this participant, instance and run.

        Args:
            participant: The name of whoever the receipt is for.
            report_id: REPORT_ID that its own connection proved (32 bytes).
            guest_spki_sha256: The TLS key of that connection (32 bytes).

        Raises:
            BindingError: It is another's.
        """
        own = {"participant": participant, "report_id": report_id, "guest_spki_sha256": guest_spki_sha256}
        differing = sorted(name for name, value in own.items() if getattr(self.body, name) != value)
        if differing:
            raise BindingError("RECEIPT_OF_ANOTHER", f"receipt: got another {', '.join(differing)} than this session's")

    def output(self, name: str) -> OwnOutput:
        """Return what the receipt says of one of its participant's outputs; `KeyError` where it says nothing."""
        return {output.name: output for output in self.body.outputs}[name]


def parse_receipt_file(raw: bytes) -> ReceiptFile:
    """Return what a file holds, believed by nobody.

    The manifest is not read: that is for whoever knows which one to expect.

    Raises:
        MalformedError: Not canonical JSON of `docs/spec/receipt.md`, section 5.
    """
    value = strictjson.parse_canonical(raw, document="receipt-file", max_bytes=MAX_FILE_BYTES)
    members = Fields(value, document="receipt-file", pointer="", required=_MEMBERS)
    members.exactly("schema", SCHEMA)
    if not isinstance(members.json("policy"), Mapping):
        raise MalformedError("receipt-file", "/policy", "not an object")
    return ReceiptFile(
        receipt=receipt_from_json(members.json("receipt"), members.json("evidence")),
        guest_spki_der=members.base64url("guest_spki"),
        manifest=strictjson.canonical(members.json("manifest")),
        consents=parse_statements(Consent, members.json("consents"), pointer="/consents"),
        goes=parse_statements(Go, members.json("goes"), pointer="/goes"),
        log=events_from_json(members.json("log")),
        policy=members.json("policy"),
    )


def verify_receipt_file(
    raw: bytes, *, manifest: Manifest | bytes, policy: Policy, verifier: Verifier, at: datetime
) -> VerifiedReceipt:
    """Judge a receipt offline, from its file and what the judge brings.

    Args:
        raw: The file.
        manifest: The judge's own manifest, or its hash (32 bytes).
        policy: What the judge accepts.
        verifier: Holds the judge's trust anchors, or asks who does.
        at: When the chain must be valid (aware, UTC).

    Returns:
        The receipt, verified; for whom it is stands in its body.

    Raises:
        MalformedError: Something in the file is not what it should be.
        VerificationError: Something is not authentic, or does not belong together.
        AppraisalError: The guest was authentic, and is not acceptable.

    Spec: docs/spec/receipt.md, section 6.
    """
    return verify_receipt(parse_receipt_file(raw), manifest=manifest, policy=policy, verifier=verifier, at=at)


def verify_receipt(
    file: ReceiptFile, *, manifest: Manifest | bytes, policy: Policy, verifier: Verifier, at: datetime
) -> VerifiedReceipt:
    """Judge a receipt with what lies beside it; as `verify_receipt_file`."""
    in_force = _manifest(file, manifest)
    body = verify_receipt_envelope(file.receipt.envelope, spki_der=file.guest_spki_der)
    judged = verifier.judge(_question(file, body, manifest=in_force, policy=policy), at=at)
    report_id = judged.verified.report.report_id
    consents = verify_consents(file.consents, in_force)
    log = verify_log(
        file.log,
        report_id=report_id,
        seen=(body.log,),
        manifest_hash=in_force.hash,
        consents_digest=consents.digest,
    )
    rebuilt = _rebuilt(file, body, log, manifest=in_force, report_id=report_id)
    _require_whole(body, rebuilt)
    appraisal = judged.appraisal.require()
    return VerifiedReceipt(body=body, manifest=in_force, log=log, verified=judged.verified, appraisal=appraisal)


def _manifest(file: ReceiptFile, expected: Manifest | bytes) -> Manifest:
    wanted = expected.hash if isinstance(expected, Manifest) else expected
    if len(wanted) != framing.HASH_BYTES:
        raise ValueError(f"manifest: got a hash of {len(wanted)} bytes, want {framing.HASH_BYTES}")
    got = framing.manifest_hash(file.manifest)
    if got != wanted:
        raise BindingError("RECEIPT_OF_ANOTHER", f"manifest: got {got.hex()}, want {wanted.hex()}")
    return expected if isinstance(expected, Manifest) else parse_manifest(file.manifest)


def _question(file: ReceiptFile, body: ReceiptBody, *, manifest: Manifest, policy: Policy) -> Question:
    claims = receipt_claims(
        spki_sha256=framing.sha256(file.guest_spki_der),
        manifest=manifest.hash,
        log=body.log,
        statement=file.receipt.envelope.statement,
    )
    claims.require_equal(file.receipt.evidence.claims)
    return Question(evidence=file.receipt.evidence, report_data=claims.report_data(), manifest=manifest, policy=policy)


def _verify_goes(
    file: ReceiptFile, log: VerifiedLog, *, manifest: Manifest, report_id: bytes
) -> Mapping[str, Mapping[str, bytes]]:
    """Return what each go of the complete roster commits to; nothing where the roster was never complete."""
    guest_spki_sha256 = framing.sha256(file.guest_spki_der)
    digests = {go.body.participant: go_digest(go.object) for go in file.goes}
    if log.roster is None:
        for go in file.goes:
            verify_go(go, manifest=manifest, report_id=report_id, guest_spki_sha256=guest_spki_sha256)
        log.require_goes(digests)
        return {}
    roster = verify_roster(file.goes, manifest=manifest, report_id=report_id, guest_spki_sha256=guest_spki_sha256)
    log.require_roster(digest=roster.digest, goes=digests)
    return {participant: roster.go_of(participant).items for participant in digests}


def _rebuilt(
    file: ReceiptFile, body: ReceiptBody, log: VerifiedLog, *, manifest: Manifest, report_id: bytes
) -> ReceiptBody:
    """Return what the statement must say, given who it is for and what it says its outputs are."""
    commitments = _verify_goes(file, log, manifest=manifest, report_id=report_id)
    if log.outcome is None:
        raise BindingError("RECEIPT_MISMATCH", "log: got no end, want the one that the receipt was made after")
    try:
        return ReceiptBody.of_session(
            manifest,
            participant=body.participant,
            report_id=report_id,
            guest_spki_sha256=framing.sha256(file.guest_spki_der),
            roster=log.roster,
            commitments=commitments,
            sealed={output.name: output.sealed for output in body.outputs},
            outcome=log.outcome,
            log=log.position,
        )
    except KeyError as error:
        raise BindingError(
            "RECEIPT_MISMATCH", f"receipt: participant or output {error.args[0]!r} is not as in the manifest"
        ) from error


def _require_whole(body: ReceiptBody, rebuilt: ReceiptBody) -> None:
    differing = [each.name for each in fields(body) if getattr(body, each.name) != getattr(rebuilt, each.name)]
    if differing:
        raise BindingError("RECEIPT_MISMATCH", f"receipt: {differing} are not what manifest, goes and log say")
