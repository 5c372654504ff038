"""One request judged: what it leaves out is found, the judgement is the same as everywhere, and nothing is signed here.

Rules, in order:
1. The policy is the caller's own, one that the owner holds, or the owner's default; reference values of the owner's may
   be added to it, so that it demands more; an empty one by value is refused.
2. A certificate that did not come along is looked for in the store and at its sources, and so is a revocation list.
3. What is not authentic is asked every rule, so that all that is wrong is seen.
4. With a manifest and the 64 bytes that the caller rebuilt it is judged as before a release, else as evidence at rest.
5. Claims and a challenge that came along are asked in any case.
6. What nobody can judge now is an error, never a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from twocvm_verifier import framing
from twocvm_verifier.advisories import shipped_advisories
from twocvm_verifier.appraisal import appraise, appraise_examination, appraise_guest
from twocvm_verifier.appraisal.bindings import Bindings, with_bindings
from twocvm_verifier.bundle import Case
from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral import Collateral, CrlName
from twocvm_verifier.corim import Unsigned
from twocvm_verifier.errors import VerificationError
from twocvm_verifier.manifest.model import Manifest
from twocvm_verifier.policy import Policy, decides_nothing
from twocvm_verifier.result import Appraisal, Verdict
from twocvm_verifier.snp.report import SIGNED_BYTES, Report, parse_report
from twocvm_verifier.snp.vek import Vek, parse_vek
from twocvm_verifier.snp.verify import VerifiedReport
from twocvm_verifier.verifier import SnpVerifier

from .evidence_forms import Presented
from .library import Library
from .lists import Lists, WouldWaitError
from .problems import ServiceError
from .requests import AppraisalRequest, AskedPolicy, OwnPolicy, PolicyDigest
from .state.documents import Kind
from .state.documents_memory import MemoryDocuments

_Document = TypeVar("_Document")


class Purpose(StrEnum):
    """How strictly evidence was judged."""

    RELEASE = "release"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request came to; its verdict is affirming, warning or contraindicated.

    Attributes:
        appraisal: The judgement.
        report_sha256: Of the bytes of the report that its chip signs (32 bytes).
        manifest: The manifest that it was judged by, where one was given.
        spki_sha256: Of the guest's TLS key (32 bytes), where REPORT_DATA binds it.
        owners_policy: Whether the policy is one that the service's owner holds.
        purpose: How strictly it was judged.
        drawn: Whether it was to answer a challenge that this service drew.
        case: Everything that was judged, as it was found.
    """

    appraisal: Appraisal
    report_sha256: bytes
    manifest: Manifest | None = field(repr=False)
    spki_sha256: bytes | None
    owners_policy: bool
    purpose: Purpose
    drawn: bool
    case: Case = field(repr=False)


class Appraiser:
    """Judges requests. May be shared between threads; a call may wait for sources of collateral.

    Args:
        verifier: Holds the trust anchors and the cache.
        collateral: Where certificates and revocation lists are found.
        default: The policy for requests that name none.
        policies: Further policies of the owner's, to be named by their digests.
        library: Stored policies and reference values, to be named by their digests.
        default_name: The name of a stored policy that is the default in the place of `default`; empty where none is.
        clock: Says what time it is.
    """

    def __init__(
        self,
        *,
        verifier: SnpVerifier,
        collateral: Collateral,
        default: Policy,
        policies: tuple[Policy, ...],
        clock: Clock,
        library: Library | None = None,
        default_name: str = "",
    ) -> None:
        self.verifier = verifier
        self.clock = clock
        self.default = default
        self._collateral = collateral
        self._lists = Lists(collateral, clock=clock)
        self._library = library or Library(MemoryDocuments(), trust=Unsigned(), clock=clock)
        self._default_name = default_name
        self._policies: Mapping[bytes, Policy] = {policy.sha256: policy for policy in (default, *policies)}

    def appraise(self, request: AppraisalRequest, *, patient: bool = True) -> Outcome:
        """Judge one request, now.

        Args:
            request: As it was read.
            patient: Whether it may wait for a disk or for somebody else; where not, the judgement only computes.

        Raises:
            WouldWaitError: Something is not in memory, and `patient` is false.
            MalformedError: A part of it is not what it claims to be.
            ServiceError: POLICY_UNKNOWN or POLICY_EMPTY.
            UnsupportedError: This version cannot do what a manifest demands.
            CollateralError: It cannot be judged now.
        """
        if not (patient or self.remembers(request)):
            raise WouldWaitError
        at = self.clock.now().replace(microsecond=0)
        policy, owners = self._policy(request, at=at)
        report = parse_report(request.evidence.report)
        vek = self._vek(request.evidence, report, at=at)
        crl = self._crl(request.evidence, parse_vek(vek).vek, at=at, patient=patient)
        appraisal, purpose = self._judge(request, vek=vek, crl=crl, policy=policy, at=at)
        if appraisal.verdict is Verdict.ERROR:
            appraisal.require()
        claims = request.evidence.claims
        bound = appraisal.authentic and claims is not None and not _failed(appraisal, "binding.claims")
        return Outcome(
            appraisal=appraisal,
            report_sha256=framing.sha256(report.raw[:SIGNED_BYTES]),
            manifest=request.manifest,
            spki_sha256=claims.spki_sha256 if claims is not None and bound else None,
            owners_policy=owners,
            purpose=purpose,
            drawn=request.drawn,
            case=Case(
                report=request.evidence.report,
                vek=vek,
                chain=request.evidence.chain,
                azure=request.evidence.azure,
                claims=None if claims is None or request.evidence.azure is None else claims.encode(),
                crl=crl,
                manifest=request.manifest,
                policy=policy,
                advisories=shipped_advisories(),
                judged_at=at,
            ),
        )

    def with_stored(self, request: AppraisalRequest) -> AppraisalRequest:
        """Return the request with the certificate that it left out, where the store has it.

        Raises:
            MalformedError: The report is none.
            NotFoundError: Its certificate cannot be asked for.
        """
        report, at = parse_report(request.evidence.report), self.clock.now().replace(microsecond=0)
        found = self._collateral.stored_vek_of(report, at=at)
        return request if found is None else replace(request, evidence=replace(request.evidence, vek=found.der))

    @property
    def fetches(self) -> bool:
        """Whether a certificate that nobody here has is asked for elsewhere."""
        return self._collateral.fetches

    def remembers(self, request: AppraisalRequest) -> bool:
        """Return whether certificate and policy are in memory; the store of documents may be anywhere."""
        asked = request.policy
        if request.evidence.vek is None or request.reference_values:
            return False
        if isinstance(asked, OwnPolicy):
            return not self._default_name
        # Whether one by value is the owner's word, too, the store says.
        return isinstance(asked, PolicyDigest) and asked.sha256 in self._policies

    def _policy(self, request: AppraisalRequest, *, at: datetime) -> tuple[Policy, bool]:
        """Return the policy to judge by, and whether it is the owner's word."""
        policy, owners = self._asked(request.policy)
        for sha256 in request.reference_values:
            values = _held(self._library.reference_values, sha256)
            policy = values.on(policy, at=at)
            # What the owner no longer points to may have been found too weak.
            owners = owners and self._library.is_current(Kind.REFERENCE_VALUES, sha256)
        # A manifest names the guests that are meant; without one the policy has to.
        if request.manifest is None and not owners and decides_nothing(policy):
            raise ServiceError("POLICY_EMPTY", "policy: got no reference value, want one, or a reason for having none")
        return policy, owners

    def _asked(self, asked: AskedPolicy) -> tuple[Policy, bool]:
        if isinstance(asked, OwnPolicy):
            return self.default_policy(), True
        if isinstance(asked, Policy):
            return asked, asked.sha256 in self._policies or self._library.is_current(Kind.POLICY, asked.sha256)
        if (fixed := self._policies.get(asked.sha256)) is not None:
            return fixed, True
        held = _held(self._library.policy, asked.sha256)
        return held, self._library.is_current(Kind.POLICY, asked.sha256)

    def default_policy(self) -> Policy:
        """Return the policy for requests that name none, which may be one that is stored under a name.

        Raises:
            ServiceError: DEFAULT_POLICY_MISSING, DOCUMENTS_UNREACHABLE, or DOCUMENT_DAMAGED.
        """
        if not self._default_name:
            return self.default
        sha256 = self._library.pointer(Kind.POLICY, self._default_name)
        if not sha256:
            # Never another one in its place, which may accept more.
            raise ServiceError("DEFAULT_POLICY_MISSING", "policy: the default's name points to none")
        return _held(self._library.policy, sha256, missing="DOCUMENTS_UNREACHABLE")

    def _vek(self, evidence: Presented, report: Report, *, at: datetime) -> bytes:
        return self._collateral.vek_of(report, at=at).der if evidence.vek is None else evidence.vek

    def _crl(self, evidence: Presented, vek: Vek, *, at: datetime, patient: bool) -> bytes | None:
        if evidence.crl is not None or vek.simulated:
            return evidence.crl
        return self._lists.newest(CrlName(product=vek.product, kind=vek.kind), at=at, patient=patient)

    def _judge(
        self, request: AppraisalRequest, *, vek: bytes, crl: bytes | None, policy: Policy, at: datetime
    ) -> tuple[Appraisal, Purpose]:
        evidence, manifest, expected = request.evidence, request.manifest, request.expected_report_data
        purpose = Purpose.REST if manifest is None or expected is None else Purpose.RELEASE
        try:
            verified = self.verifier.verify(
                evidence.report, vek=vek, at=at, chain=evidence.chain, crl=crl, quoted=evidence.quoted
            )
        except VerificationError:
            examination = self.verifier.examine(
                evidence.report, vek=vek, at=at, chain=evidence.chain, crl=crl, quoted=evidence.quoted
            )
            simulated = self.verifier.roots.simulated
            return appraise_examination(
                examination, policy=policy, at=at, simulated=simulated, manifest=manifest
            ), purpose
        if manifest is None or expected is None:
            appraisal = appraise(verified, policy=policy, at=at, manifest=manifest)
        else:
            appraisal, expected = _for_release(verified, policy, manifest, expected, at=at), None
        bindings = Bindings(report_data=expected, claims=evidence.claims, nonce=request.nonce)
        return with_bindings(appraisal, verified.bound_data, bindings), purpose


def _for_release(
    verified: VerifiedReport, policy: Policy, manifest: Manifest, expected: bytes, *, at: datetime
) -> Appraisal:
    return appraise_guest(
        verified,
        policy=policy,
        platform=manifest.platform,
        manifest_hash=manifest.hash,
        report_data=expected,
        at=at,
    )


def _held(find: Callable[[bytes], _Document], sha256: bytes, *, missing: str = "POLICY_UNKNOWN") -> _Document:
    try:
        return find(sha256)
    except ServiceError as error:
        if error.code != "DOCUMENT_UNKNOWN":
            raise
        raise ServiceError(missing, "policy: none of this digest is held") from error


def _failed(appraisal: Appraisal, identifier: str) -> bool:
    return any(finding.id == identifier for finding in appraisal.findings)
