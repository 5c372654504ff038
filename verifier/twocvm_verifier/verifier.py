"""The facade for evidence: trust anchors and a cache behind one call.

`SnpVerifier.verify` is the door from bytes to `VerifiedReport`; what the report says is for `appraise`. A verified VEK
is kept under the SHA-256 of its DER, so that the next report of the same chip costs one P-384 verification. The last
few reports are kept too, for every connection to a guest begins with the one in its certificate. What time or a
revocation list may change is asked every time.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime
from typing import Final

from cachetools import LRUCache

from .appraisal import Judgement, Question, VekSource, appraise_guest, completed, no_veks
from .azure.examination import examine_azure
from .azure.verify import Quoted, quoted_of, verify_azure
from .clock import require_utc
from .snp.chain import VerifiedVek, vek_case, verify_vek
from .snp.examination import Examination, examine_report
from .snp.report import parse_report
from .snp.revocation import PREFER, CrlStore, CrlUse
from .snp.roots import Roots
from .snp.vek import parse_vek
from .snp.verify import VerifiedReport, verify_report

# A verified VEK takes some 3 KB.
MAX_CACHED_VEKS: Final = 4096
# Each connection adds one that nobody sees again, and uses one again that every connection to that guest sees.
MAX_KNOWN_REPORTS: Final = 16


class SnpVerifier:
    """Verifies SNP reports under one set of trust anchors. May be shared between threads.

    Args:
        roots: The trust anchors: `amd_roots()`, or `simulated_roots(pem)` where a simulated platform is meant.
        crls: How revocation is asked about: `Crls(mode=..., held=...)`, or `Unchecked(reason)` where it is not.
        veks: Where a VEK is found that a guest has not got; by default nowhere. What it finds is verified like any.
    """

    def __init__(self, *, roots: Roots, crls: CrlUse = PREFER, veks: VekSource = no_veks) -> None:
        self.roots = roots
        self.crls = crls
        self._find_vek = veks
        self._crls = CrlStore(roots=roots, use=crls)
        self._veks: LRUCache[bytes, VerifiedVek] = LRUCache(maxsize=MAX_CACHED_VEKS)
        self._reports: LRUCache[bytes, VerifiedReport] = LRUCache(maxsize=MAX_KNOWN_REPORTS)
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """How this verifier is called among others."""
        return "this machine"

    def judge(self, question: Question, /, *, at: datetime) -> Judgement:
        """Judge a guest's evidence here, in full.

        Args:
            question: The evidence, and what is expected of it.
            at: When the chain must be valid (aware, UTC).

        Raises:
            TwoCvmError: As `verify`; VEK_MISSING where the evidence has none and none is found.
        """
        whole = completed(question, veks=self._find_vek, at=at)
        evidence = whole.evidence
        quoted = quoted_of(evidence.azure, claims=evidence.claims)
        verified = self.verify(
            evidence.report, vek=whole.vek, chain=evidence.chain, crl=evidence.crl, at=at, quoted=quoted
        )
        appraisal = appraise_guest(
            verified,
            policy=question.policy,
            platform=question.manifest.platform,
            manifest_hash=question.manifest.hash,
            report_data=question.report_data,
            at=at,
        )
        return Judgement(verified=verified, appraisal=appraisal)

    def verify(
        self,
        report: bytes,
        *,
        vek: bytes,
        at: datetime,
        chain: bytes | None = None,
        crl: bytes | None = None,
        quoted: Quoted | None = None,
    ) -> VerifiedReport:
        """Verify that an AMD chip signed `report`.

        Args:
            report: 1184 bytes, as the platform gave them.
            vek: DER of the VCEK or VLEK.
            at: When the chain must be valid (aware, UTC).
            chain: PEM of ASK or ASVK and ARK, where the evidence brings them; compared with the roots, never trusted.
            crl: DER of the root's revocation list, where the evidence brings one; kept where it is authentic.
            quoted: What a paravisor's vTPM says of the guest, where REPORT_DATA is the paravisor's.

        Raises:
            TwoCvmError: For every other input; `MalformedError` where bytes are not what they claim, a
                `VerificationError` where they are not authentic, and a `CollateralError` where a revocation list is
                required and none can be used.
        """
        parsed = parse_report(report)
        verified = self._verified_vek(vek, chain)
        revocation = self._crls.judge(verified.issuer, at=require_utc(at), brought=crl)
        with self._lock:
            known = self._reports.get(parsed.raw)
        authentic = verify_report(parsed, vek=verified, at=at, revocation=revocation, known=known)
        with self._lock:
            self._reports[parsed.raw] = authentic
        return authentic if quoted is None else verify_azure(authentic, quoted)

    def examine(
        self,
        report: bytes,
        *,
        vek: bytes,
        at: datetime,
        chain: bytes | None = None,
        crl: bytes | None = None,
        quoted: Quoted | None = None,
    ) -> Examination:
        """Ask every rule, so that all that is wrong is seen; slower, and without the cache.

        Args:
            report: As `verify`.
            vek: As `verify`.
            at: As `verify`.
            chain: As `verify`.
            crl: As `verify`.
            quoted: As `verify`.

        Raises:
            MalformedError: Bytes are not what they claim, so that no rule can be asked.
        """
        case = vek_case(parse_vek(vek), roots=self.roots, chain=chain)
        examination = examine_report(parse_report(report), case=case, at=at, crls=self._crls, crl=crl)
        return examination if quoted is None else examine_azure(examination, quoted)

    def _verified_vek(self, vek: bytes, chain: bytes | None) -> VerifiedVek:
        # The chain is part of the key: it can only make a verification fail, and must do so every time.
        key = hashlib.sha256(vek).digest() + (b"" if chain is None else hashlib.sha256(chain).digest())
        with self._lock:
            known = self._veks.get(key)
        if known is None:
            known = verify_vek(vek_case(parse_vek(vek), roots=self.roots, chain=chain))
            with self._lock:
                self._veks[key] = known
        return known
