"""What a receipt states, and its form as an in-toto statement (`docs/spec/receipt.md`, section 2).

The guest and the judge make a statement by the same `ReceiptBody.of_session`, from the manifest and the goes, so the
judge rebuilds it and compares the whole. Of the outputs it says exactly what its participant may know: name, digest and
size of its own, the names of the others'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from . import framing, strictjson
from .binding import Claims, LogPosition, receipt_claims
from .errors import MalformedError
from .jsonfields import Fields
from .logevents import MAX_EVENTS, Outcome
from .manifest.model import Manifest
from .strictjson import MAX_INTEGER, Json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:2cvm:receipt:v1"
# Names and digests of every component, input and output of a manifest of 1 MiB take less.
MAX_STATEMENT_BYTES: Final = 8 * 1024 * 1024

_OPTIONAL: Final = frozenset({"roster"})
_PREDICATE: Final = frozenset(
    {
        *("participant", "report_id", "manifest", "guest_spki_sha256", "components", "inputs"),
        *("outputs", "other_outputs", "outcome", "log"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedOutput:
    """What is known of an output once it is sealed.

    Attributes:
        sha256: Of its bytes, after the filters (32 bytes).
        size_bytes: Its length.
    """

    sha256: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOutput:
    """One output that the receipt's participant gets.

    Attributes:
        name: As in the manifest.
        sealed: Its digest and size.
        filters: The filters that it passed, in their order.
    """

    name: str
    sealed: SealedOutput
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentDigest:
    """One component that the manifest names: `name`, and SHA-256 of its file (32 bytes)."""

    name: str
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCommitment:
    """One item of data that a go of the roster commits to: `name`, its owner, and `framing.item_commitment`."""

    name: str
    participant: str
    commitment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBody:
    """What a receipt states.

    Attributes:
        participant: Whose receipt it is.
        report_id: REPORT_ID of the launch (32 bytes).
        manifest_hash: The manifest that was in force (32 bytes).
        manifest_sha256: Plain SHA-256 of the manifest's canonical bytes, for tools that know no other (32 bytes).
        guest_spki_sha256: The guest's TLS key (32 bytes).
        roster: The roster's digest (32 bytes), or None where the session ended before it was complete.
        components: Those of the manifest, by name.
        inputs: What the goes of the roster commit to, by name; none without a roster.
        outputs: The participant's own, by name; none unless the run was completed.
        other_outputs: Names of everybody else's; none unless the run was completed.
        outcome: How the session ended.
        log: The event log with its end.
    """

    participant: str
    report_id: bytes
    manifest_hash: bytes
    manifest_sha256: bytes
    guest_spki_sha256: bytes
    roster: bytes | None
    components: tuple[ComponentDigest, ...]
    inputs: tuple[InputCommitment, ...]
    outputs: tuple[OwnOutput, ...]
    other_outputs: tuple[str, ...]
    outcome: Outcome
    log: LogPosition

    @classmethod
    def of_session(
        cls,
        manifest: Manifest,
        *,
        participant: str,
        report_id: bytes,
        guest_spki_sha256: bytes,
        roster: bytes | None,
        commitments: Mapping[str, Mapping[str, bytes]],
        sealed: Mapping[str, SealedOutput],
        outcome: Outcome,
        log: LogPosition,
    ) -> ReceiptBody:
        """Return what the receipt of `participant` states about one session.

        Args:
            manifest: The manifest in force.
            participant: A name in it.
            report_id: REPORT_ID of the launch (32 bytes).
            guest_spki_sha256: The guest's TLS key (32 bytes).
            roster: The roster's digest, or None where it was never complete.
            commitments: For each participant of the roster, item name to commitment; unused without a roster.
            sealed: At least the participant's own outputs, where the outcome is `completed`; else unused.
            outcome: How the session ended.
            log: The event log with its end.

        Raises:
            KeyError: The manifest has no such participant, or `commitments` or `sealed` lacks something.
        """
        completed = outcome is Outcome.COMPLETED
        own = {output.name: output for output in manifest.outputs_of(manifest.participant(participant).name)}
        others = {output.name for output in manifest.outputs} - own.keys()
        inputs = manifest.data if roster is not None else ()
        return cls(
            participant=participant,
            report_id=report_id,
            manifest_hash=manifest.hash,
            manifest_sha256=framing.sha256(manifest.raw),
            guest_spki_sha256=guest_spki_sha256,
            roster=roster,
            components=tuple(
                ComponentDigest(name=component.name, sha256=component.sha256)
                for component in sorted(manifest.components, key=lambda component: component.name)
            ),
            inputs=tuple(
                InputCommitment(name=item.name, participant=item.owner, commitment=commitments[item.owner][item.name])
                for item in sorted(inputs, key=lambda item: item.name)
            ),
            outputs=tuple(
                OwnOutput(name=name, sealed=sealed[name], filters=own[name].filters)
                for name in sorted(own)
                if completed
            ),
            other_outputs=tuple(sorted(others)) if completed else (),
            outcome=outcome,
            log=log,
        )

    def claims(self, statement: bytes) -> Claims:
        """Return the claims of this receipt's evidence; `statement` is the envelope's (32 bytes)."""
        return receipt_claims(
            spki_sha256=self.guest_spki_sha256, manifest=self.manifest_hash, log=self.log, statement=statement
        )

    def payload(self) -> bytes:
        """Return the statement: the canonical bytes that the envelope carries."""
        subjects: list[Json] = [{"name": "manifest", "digest": {"sha256": self.manifest_sha256.hex()}}]
        subjects.extend(
            {"name": f"output:{output.name}", "digest": {"sha256": output.sealed.sha256.hex()}}
            for output in self.outputs
        )
        return strictjson.canonical(
            {
                "_type": STATEMENT_TYPE,
                "predicateType": PREDICATE_TYPE,
                "subject": subjects,
                "predicate": self._predicate(),
            }
        )

    def _predicate(self) -> Json:
        return {
            "participant": self.participant,
            "report_id": self.report_id.hex(),
            "manifest": self.manifest_hash.hex(),
            "guest_spki_sha256": self.guest_spki_sha256.hex(),
            **({} if self.roster is None else {"roster": self.roster.hex()}),
            "components": [{"name": component.name, "sha256": component.sha256.hex()} for component in self.components],
            "inputs": [
                {"name": item.name, "participant": item.participant, "commitment": item.commitment.hex()}
                for item in self.inputs
            ],
            "outputs": [
                {
                    "name": output.name,
                    "sha256": output.sealed.sha256.hex(),
                    "bytes": output.sealed.size_bytes,
                    "filters": output.filters,
                }
                for output in self.outputs
            ],
            "other_outputs": self.other_outputs,
            "outcome": self.outcome.value,
            "log": {"head": self.log.head.hex(), "events": self.log.events},
        }


def parse_body(payload: bytes) -> ReceiptBody:
    """Return what a statement says; nothing in it is true because it stands there.

    Raises:
        MalformedError: Not, byte for byte, a statement that `ReceiptBody.payload` gives.
    """
    value = strictjson.parse(payload, document="receipt", max_bytes=MAX_STATEMENT_BYTES)
    statement = Fields(
        value, document="receipt", pointer="", required={"_type", "predicateType", "subject", "predicate"}
    )
    body = _body(
        statement.fields("predicate", required=_PREDICATE, optional=_OPTIONAL),
        manifest_sha256=_manifest_sha256(statement),
    )
    # Rebuilding covers what is not read: fixed strings, the outputs' subjects, canonical form.
    if body.payload() != payload:
        raise MalformedError("receipt", "", "not the one form of what it says")
    return body


def _manifest_sha256(statement: Fields) -> bytes:
    subjects = statement.array("subject")
    if not subjects:
        raise MalformedError("receipt", "/subject", "empty")
    first = Fields(subjects[0], document="receipt", pointer="/subject/0", required={"name", "digest"})
    return first.fields("digest", required={"sha256"}).hash("sha256")


def _body(predicate: Fields, *, manifest_sha256: bytes) -> ReceiptBody:
    log = predicate.fields("log", required={"head", "events"})
    return ReceiptBody(
        participant=predicate.name("participant"),
        report_id=predicate.hash("report_id"),
        manifest_hash=predicate.hash("manifest"),
        manifest_sha256=manifest_sha256,
        guest_spki_sha256=predicate.hash("guest_spki_sha256"),
        roster=predicate.hash("roster") if "roster" in predicate else None,
        components=tuple(
            ComponentDigest(name=component.name("name"), sha256=component.hash("sha256"))
            for component in predicate.objects("components", required={"name", "sha256"})
        ),
        inputs=tuple(
            InputCommitment(
                name=item.name("name"), participant=item.name("participant"), commitment=item.hash("commitment")
            )
            for item in predicate.objects("inputs", required={"name", "participant", "commitment"})
        ),
        outputs=tuple(
            _output(output) for output in predicate.objects("outputs", required={"name", "sha256", "bytes", "filters"})
        ),
        other_outputs=predicate.names("other_outputs"),
        outcome=_outcome(predicate.text("outcome")),
        log=LogPosition(head=log.hash("head"), events=log.integer("events", maximum=MAX_EVENTS)),
    )


def _output(output: Fields) -> OwnOutput:
    return OwnOutput(
        name=output.name("name"),
        sealed=SealedOutput(sha256=output.hash("sha256"), size_bytes=output.integer("bytes", maximum=MAX_INTEGER)),
        filters=output.names("filters"),
    )


def _outcome(text: str) -> Outcome:
    try:
        return Outcome(text)
    except ValueError as error:
        raise MalformedError("receipt", "/predicate/outcome", "not an outcome of this version") from error
