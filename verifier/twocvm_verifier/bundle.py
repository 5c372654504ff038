"""Evidence with everything that it was judged by, and what came out, in one file that is judged again years later.

A bundle holds a *case* (report, certificates, revocation list, manifest, policy, advisories and the time) and the
verdict on it. `judge` is a function of the case and the trust anchors alone: nothing is fetched, no clock is read, and
the attacks that are looked for are those of the bundle. So the same version gives the same bytes for ever, and
`rejudge` refuses a bundle whose verdict is another. A bundle is believed by nobody: its policy may be lax, and is shown
in the result by its digest; whoever has a policy of his own judges by that.

Spec: docs/spec/bundle.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from . import strictjson
from .advisories import Advisory, advisory_of_document, documents_of, require_unique
from .appraisal import appraise_examination
from .azure.verify import quoted_of
from .clock import format_time, parse_time
from .errors import BindingError, MalformedError
from .jsonfields import Fields
from .manifest.model import Manifest
from .manifest.parse import MAX_MANIFEST_BYTES, parse_manifest
from .policy import Policy, document_of, policy_of_document
from .result import Appraisal
from .snp.roots import Roots
from .strictjson import Json
from .verifier import SnpVerifier

SCHEMA: Final = "twocvm/bundle/v1"
# A manifest and a policy of their greatest sizes, and a result of a few hundred checks.
MAX_BUNDLE_BYTES: Final = 4 * MAX_MANIFEST_BYTES
_REQUIRED: Final = frozenset({"schema", "judged_at", "report", "vek", "policy", "advisories", "result"})
_OPTIONAL: Final = frozenset({"chain", "crl", "azure", "claims", "manifest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a verdict follows from, but for the trust anchors.

    Attributes:
        report: 1184 bytes, as the platform gave them.
        vek: DER of the key's certificate.
        chain: PEM of intermediate and root as the evidence brought them, or None where it brought none.
        crl: DER of the root's revocation list, or None where none was at hand.
        manifest: The manifest that the guest should have been under, or None where none is known.
        policy: What its owner accepted.
        advisories: The attacks that are looked for.
        judged_at: The time that is judged at (aware, UTC).
        azure: What a paravisor's vTPM says of the guest, where it speaks for it.
        claims: The claims that the vTPM's quote binds; there exactly if `azure` is.

    Raises:
        ValueError: One of the last two without the other.
    """

    report: bytes = field(repr=False)
    vek: bytes = field(repr=False)
    chain: bytes | None = field(repr=False)
    crl: bytes | None = field(repr=False)
    manifest: Manifest | None = field(repr=False)
    policy: Policy
    advisories: tuple[Advisory, ...] = field(repr=False)
    judged_at: datetime
    azure: bytes | None = field(repr=False, default=None)
    claims: bytes | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        if (self.azure is None) != (self.claims is None):
            raise ValueError("azure and claims stand together or not at all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A case and the verdict that somebody says it has.

    Attributes:
        case: What is judged.
        result: The canonical bytes of the result object.
    """

    case: Case
    result: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            ValueError: The policy cannot be written as a document.
        """
        case = self.case
        given = {"chain": case.chain, "crl": case.crl, "azure": case.azure, "claims": case.claims}
        optional: dict[str, Json] = {name: strictjson.base64url(raw) for name, raw in given.items() if raw is not None}
        if case.manifest is not None:
            optional["manifest"] = strictjson.parse(
                case.manifest.raw, document="manifest", max_bytes=MAX_MANIFEST_BYTES
            )
        return strictjson.canonical(
            {
                **optional,
                "schema": SCHEMA,
                "judged_at": format_time(case.judged_at),
                "report": strictjson.base64url(case.report),
                "vek": strictjson.base64url(case.vek),
                "policy": document_of(case.policy),
                "advisories": documents_of(case.advisories),
                "result": strictjson.parse(self.result, document="bundle", max_bytes=MAX_BUNDLE_BYTES),
            }
        )


def judge(case: Case, *, roots: Roots) -> Appraisal:
    """Return what a case comes to under these trust anchors.

    Raises:
        MalformedError: Something in it is not what it claims to be, so that no rule can be asked.
    """
    examination = SnpVerifier(roots=roots).examine(
        case.report,
        vek=case.vek,
        at=case.judged_at,
        chain=case.chain,
        crl=case.crl,
        quoted=quoted_of(case.azure, claims=case.claims),
    )
    return appraise_examination(
        examination,
        policy=case.policy,
        at=case.judged_at,
        simulated=roots.simulated,
        advisories=case.advisories,
        manifest=case.manifest,
    )


def bundle_of(case: Case, appraisal: Appraisal) -> Bundle:
    """Return a case together with what it came to."""
    return Bundle(case=case, result=strictjson.canonical(appraisal.to_json()))


def parse_bundle(raw: bytes) -> Bundle:
    """Return what a file holds, believed by nobody.

    Raises:
        MalformedError: Not canonical JSON of `docs/spec/bundle.md`, or a policy, manifest or advisory in it is none.
    """
    value = strictjson.parse_canonical(raw, document="bundle", max_bytes=MAX_BUNDLE_BYTES)
    members = Fields(value, document="bundle", pointer="", required=_REQUIRED, optional=_OPTIONAL)
    members.exactly("schema", SCHEMA)
    result = members.json("result")
    if not isinstance(result, Mapping):
        raise MalformedError("bundle", "/result", "not an object")
    if ("azure" in members) != ("claims" in members):
        raise MalformedError("bundle", "", "azure and claims stand together or not at all")
    advisories = tuple(map(advisory_of_document, members.array("advisories")))
    require_unique(advisories)
    case = Case(
        report=members.base64url("report"),
        vek=members.base64url("vek"),
        chain=members.base64url("chain") if "chain" in members else None,
        crl=members.base64url("crl") if "crl" in members else None,
        manifest=parse_manifest(strictjson.canonical(members.json("manifest"))) if "manifest" in members else None,
        policy=policy_of_document(members.json("policy")),
        advisories=advisories,
        judged_at=_time(members.text("judged_at")),
        azure=members.base64url("azure") if "azure" in members else None,
        claims=members.base64url("claims") if "claims" in members else None,
    )
    bundle = Bundle(case=case, result=strictjson.canonical(result))
    if bundle.encode() != raw:
        # What is left out would be filled in by whatever the reading version's default is.
        raise MalformedError("bundle", "", "a policy, manifest or advisory in it is not written in full")
    return bundle


def rejudge(bundle: Bundle, *, roots: Roots) -> Appraisal:
    """Judge a bundle's case again, and demand that its verdict is the one that the bundle says.

    Raises:
        MalformedError: As `judge`.
        BindingError: Another verdict follows.
    """
    appraisal = judge(bundle.case, roots=roots)
    if bundle_of(bundle.case, appraisal).result != bundle.result:
        said = f"got the verdict {_verdict(bundle.result)}, want {str(appraisal.verdict)!r}, or another record of it"
        raise BindingError("BUNDLE_VERDICT_DIFFERS", f"bundle: {said}")
    return appraisal


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise MalformedError("bundle", "/judged_at", str(error)) from error


def _verdict(result: bytes) -> str:
    value = strictjson.parse(result, document="bundle", max_bytes=MAX_BUNDLE_BYTES)
    verdict = value.get("verdict", "none") if isinstance(value, Mapping) else "none"
    return repr(verdict)[:40]
