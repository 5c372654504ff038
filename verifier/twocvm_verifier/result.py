"""What judging evidence gives: checks, levels and a verdict, the same for people, programs and tests.

A `Check` is one question and its answer; every check that exists is listed, those that did not run with the reason.
An `Appraisal` has no truth value, so that no `if` can take a refusal for an acceptance: ask `.require()`.

Rules of the verdict, in order:
1. A failed check makes it `contraindicated`, or `error` where the check that decides says "cannot be judged".
2. Simulated roots, a warning, or a level that nothing proves make it `warning`.
3. Else it is `affirming`, and only then is `secure` true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NoReturn

from .clock import format_time
from .codes import CODES
from .codes.table import (
    CANNOT_JUDGE,
    LEDGER,
    MALFORMED,
    NOT_AUTHENTIC,
    NOT_AUTHORISED,
    REFUSED,
    UNSUPPORTED,
    WRONG_STATE,
)
from .errors import AppraisalError, BindingError, NotFoundError, StaleError, TwoCvmError, UnsupportedError
from .markup import card
from .strictjson import Json

SCHEMA: Final = "twocvm/appraisal/v1"

# Which of several failures decides (README, "Exit status").
_PRECEDENCE: Final = (MALFORMED, NOT_AUTHENTIC, CANNOT_JUDGE, REFUSED, LEDGER, UNSUPPORTED, WRONG_STATE, NOT_AUTHORISED)


class Status(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - a status, no password
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"


class Verdict(StrEnum):
    """What all checks together say."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"
    ERROR = "error"


class Level(StrEnum):
    """How far up evidence reaches (`docs/spec/appraisal.md`)."""

    AL1 = "AL1"  # the chip
    AL2 = "AL2"  # firmware and TCB
    AL3 = "AL3"  # the guest's kernel
    AL4 = "AL4"  # the guest's software, and the manifest in force


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelProof:
    """One level, and what proves it for this evidence.

    Attributes:
        level: The level.
        proved_by: The field or signature that proves it; empty where nothing does.
        detail: One sentence.
    """

    level: Level
    proved_by: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question that was asked of evidence, and its answer.

    Attributes:
        id: Stable name, such as `snp.tcb.reported`.
        status: How it ended.
        code: What a failure of it is called; a name in `codes.CODES`.
        level: Which level it is about.
        expected: What was wanted, as text; empty where the question has no such value.
        actual: What was found, as text.
        detail: One sentence without a stop; for `skip` and `warn` the reason.
    """

    id: str
    status: Status
    code: str
    level: Level
    expected: str
    actual: str
    detail: str

    @property
    def spec(self) -> str:
        """Where the rule stands."""
        return CODES[self.code].spec

    def to_json(self) -> dict[str, Json]:
        """Return the check as `docs/spec/appraisal.md` writes it."""
        return {
            "id": self.id,
            "status": str(self.status),
            "code": self.code,
            "level": str(self.level),
            "expected": self.expected,
            "actual": self.actual,
            "detail": self.detail,
            "spec": self.spec,
        }


class AdvisoryStatus(StrEnum):
    """What a report shows of a named attack."""

    CLOSED = "closed"
    OPEN = "open"
    CANNOT_BE_ATTESTED = "cannot_be_attested"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryResult:
    """One named attack, and whether the platform is shown to have closed it.

    Attributes:
        id: Stable name, such as `badram`.
        title: One line for people.
        status: What the report shows; only `closed` is an all-clear.
        detail: Why, in one sentence without a stop.
        source: Where the attack and its fix are described.
    """

    id: str
    title: str
    status: AdvisoryStatus
    detail: str
    source: str

    def to_json(self) -> dict[str, Json]:
        """Return the advisory as `docs/spec/appraisal.md` writes it."""
        return {
            "id": self.id,
            "title": self.title,
            "status": str(self.status),
            "detail": self.detail,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralUse:
    """One piece of collateral that the judgement rests on.

    Attributes:
        kind: `vcek`, `vlek`, `ask`, `asvk`, `ark`, `crl`.
        sha256: Of its DER (32 bytes).
        source: Where it came from: `evidence`, `store`, `shipped` or `simulated root`.
        not_after: Until when it is valid.
    """

    kind: str
    sha256: bytes
    source: str
    not_after: datetime

    def to_json(self) -> dict[str, Json]:
        """Return the piece as `docs/spec/appraisal.md` writes it."""
        return {
            "kind": self.kind,
            "sha256": self.sha256.hex(),
            "source": self.source,
            "not_after": format_time(self.not_after),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What was judged, by which policy, when, and what came out. Made only by `appraisal`.

    Attributes:
        platform: `snp` or `simulated`.
        checks: Every check, in the order in which people read them.
        levels: For each of the four levels what proves it.
        advisories: How each named attack stands; empty for what is not authentic or simulated.
        facts: What the evidence says, authenticated; for people and records, never to decide again.
        collateral: What the judgement rests on; empty where the evidence is not authentic.
        policy_sha256: Which policy judged (32 bytes).
        valid_until: When the first certificate of the chain ends.
        judged_at: The time that was judged at.
    """

    platform: str
    checks: tuple[Check, ...]
    levels: tuple[LevelProof, ...]
    advisories: tuple[AdvisoryResult, ...]
    facts: Mapping[str, Json]
    collateral: tuple[CollateralUse, ...]
    policy_sha256: bytes
    valid_until: datetime
    judged_at: datetime

    @property
    def findings(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status is Status.FAIL)

    @property
    def simulated(self) -> bool:
        """Whether the evidence is from a simulated platform, which promises nothing."""
        return self.platform == "simulated"

    @property
    def authentic(self) -> bool:
        """Whether a chip signed the evidence, so that `facts` are its word and not just anybody's."""
        return bool(self.collateral)

    @property
    def verdict(self) -> Verdict:
        """The verdict, by the rules of the module."""
        if self.findings:
            return Verdict.ERROR if self.exit_status in (CANNOT_JUDGE, UNSUPPORTED) else Verdict.CONTRAINDICATED
        warned = any(check.status is Status.WARN for check in self.checks)
        if warned or self.simulated or any(not proof.proved_by for proof in self.levels):
            return Verdict.WARNING
        return Verdict.AFFIRMING

    @property
    def secure(self) -> bool:
        """Whether AMD's roots and every level stand behind this, and nothing was found or warned of."""
        return self.verdict is Verdict.AFFIRMING

    @property
    def exit_status(self) -> int:
        """What the command line ends with: 0, or the status of the finding that decides."""
        return CODES[self._deciding.code].exit_status if self.findings else 0

    @property
    def _deciding(self) -> Check:
        return min(self.findings, key=_precedence)

    def __bool__(self) -> NoReturn:
        """Refuse: an appraisal in an `if` would always be taken for a yes."""
        raise TypeError("an appraisal has no truth value: use .require(), or read .verdict")

    def require(self) -> Appraisal:
        """Return this appraisal if nothing was found.

        Raises:
            BindingError: The finding that decides says: not authentic.
            NotFoundError: Collateral that the policy demands is missing.
            StaleError: It is there, and too old.
            AppraisalError: Authentic, and not acceptable; holds every finding.
            UnsupportedError: The manifest demands what this version cannot check.
        """
        if self.findings:
            raise _refusal(tuple(sorted(self.findings, key=_precedence)))
        return self

    def to_json(self) -> dict[str, Json]:
        """Return the result object of `docs/spec/appraisal.md`."""
        decided: dict[str, Json] = {"code": self._deciding.code} if self.findings else {}
        return {
            "schema": SCHEMA,
            "verdict": str(self.verdict),
            "secure": self.secure,
            **decided,
            "platform": self.platform,
            "checks": [check.to_json() for check in self.checks],
            "levels": [
                {"level": str(proof.level), "proved_by": proof.proved_by, "detail": proof.detail}
                for proof in self.levels
            ],
            "advisories": [advisory.to_json() for advisory in self.advisories],
            "facts": dict(self.facts),
            "policy": {"sha256": self.policy_sha256.hex()},
            "collateral": [piece.to_json() for piece in self.collateral],
            "valid_until": format_time(self.valid_until),
            "judged_at": format_time(self.judged_at),
        }

    def to_html(self) -> str:
        """Return the appraisal as a piece of a page: what was found and warned of, and all checks folded away."""
        simulated = "; SIMULATED PLATFORM, nothing is protected" if self.simulated else ""
        proved = ", ".join(str(proof.level) for proof in self.levels if proof.proved_by)
        rows = [
            *((check.code, f"{check.id}: {check.detail}. {CODES[check.code].meaning}") for check in self.findings),
            *((check.code, f"{check.id}: {check.detail}") for check in self.checks if check.status is Status.WARN),
            ("secure", "yes" if self.secure else "no"),
            ("levels proved", proved or "none"),
            ("rests on", "; ".join(f"{piece.kind} ({piece.source})" for piece in self.collateral) or "nothing"),
            ("policy", self.policy_sha256.hex()),
            ("judged at", f"{format_time(self.judged_at)}, valid until {format_time(self.valid_until)}"),
        ]
        return card(f"appraisal: {self.verdict}{simulated}", rows, folded=map(_folded, self.checks))

    def _repr_html_(self) -> str:
        # What notebooks ask for.
        return self.to_html()


def error_json(error: TwoCvmError, *, judged_at: datetime) -> dict[str, Json]:
    """Return the result object where nothing could be judged: bytes are malformed, or collateral is missing.

    Args:
        error: Why.
        judged_at: The time that was to be judged at.
    """
    at = format_time(judged_at)
    return {
        "schema": SCHEMA,
        "verdict": str(Verdict.ERROR),
        "secure": False,
        "code": error.code,
        "detail": error.detail,
        "platform": "unknown",
        "checks": [],
        "levels": [],
        "advisories": [],
        "facts": {},
        "collateral": [],
        "valid_until": at,
        "judged_at": at,
    }


def _folded(check: Check) -> tuple[str, str]:
    got = f", got {check.actual or 'nothing'}" if check.actual or check.expected else ""
    want = f", want {check.expected}" if check.expected else ""
    detail = f": {check.detail}" if check.detail else ""
    return check.id, f"{check.status}{got}{want}{detail}"


def _precedence(check: Check) -> int:
    return _PRECEDENCE.index(CODES[check.code].exit_status)


def _refusal(findings: tuple[Check, ...]) -> TwoCvmError:
    check = findings[0]
    status = CODES[check.code].exit_status
    detail = f"{check.id}: {check.detail}"
    if status == NOT_AUTHENTIC:
        return BindingError(check.code, detail)
    if status == CANNOT_JUDGE:
        return (NotFoundError if check.code.endswith("_MISSING") else StaleError)(check.code, detail)
    if status == UNSUPPORTED:
        return UnsupportedError(check.code, detail)
    return AppraisalError(findings)
