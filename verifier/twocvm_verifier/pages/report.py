"""The document of a page about one appraisal: everything that stands on it, in the order in which people read.

Nothing is decided here. What was asked, found and left out is the appraisal's; what was demanded is the policy's and
the manifest's; and where the dates are from is said beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from twocvm_verifier.bundle import Case
from twocvm_verifier.clock import format_time
from twocvm_verifier.codes import CODES
from twocvm_verifier.errors import TwoCvmError
from twocvm_verifier.policy import open_fields
from twocvm_verifier.policy.writing import policy_toml
from twocvm_verifier.presentation import LEVEL_NAMES
from twocvm_verifier.result import AdvisoryStatus, Appraisal, Check, Status, Verdict
from twocvm_verifier.snp.roots import Roots
from twocvm_verifier.strictjson import Json, canonical

from .anchors import chain_of
from .levels import tcb_of
from .reproduction import Asked, reproduction_of

SCHEMA: Final = "twocvm/page/v1"

_HEADLINES: Final[Mapping[Verdict, str]] = {
    Verdict.AFFIRMING: "Genuine, and everything that was asked is as it should be.",
    Verdict.WARNING: "Genuine and not refused, but not everything that matters is proved.",
    Verdict.CONTRAINDICATED: "Refused. Release nothing to this guest.",
    Verdict.ERROR: "This could not be judged. That is neither an acceptance nor a refusal.",
}
_FORGED: Final = "Not authentic. Whatever this evidence says is nobody's word."
_SIMULATED: Final = "A simulated platform. It proves nothing, and nothing on it is protected."
# Checks by who asks; the order is that of the page.
_GROUPS: Final = (
    ("snp.", "Authenticity", "Did a genuine chip sign this report, and is its certificate AMD's and in force?"),
    ("azure.", "Paravisor", "Does the vTPM that speaks for the guest belong to this report, and what is trusted then?"),
    ("binding.", "Binding", "Is the report bound to what the caller has in hand: key, challenge, event log, manifest?"),
    ("manifest.", "Manifest", "Is the guest what the Commitment Manifest demands?"),
    ("policy.", "Policy", "Is the guest what the appraisal policy demands?"),
)
_ATTACKS: Final = (
    (AdvisoryStatus.OPEN, "open"),
    (AdvisoryStatus.UNKNOWN, "cannot be decided"),
    (AdvisoryStatus.CANNOT_BE_ATTESTED, "cannot be attested"),
    (AdvisoryStatus.CLOSED, "closed"),
)
_FACTS: Final = (
    "measurement",
    "report_data",
    "host_data",
    "chip_id",
    "report_id",
    "family_id",
    "image_id",
    "id_key_digest",
    "author_key_digest",
    "policy",
    "platform_info",
    "vmpl",
    "guest_svn",
    "current_version",
    "committed_version",
    "launch_mit_vector",
    "current_mit_vector",
)


def report_document(case: Case, appraisal: Appraisal, *, roots: Roots, asked: Asked) -> dict[str, Json]:
    """Return the document of an appraisal's page.

    Args:
        case: What was judged.
        appraisal: What came out.
        roots: The trust anchors that it was judged under.
        asked: What was asked beyond what evidence at rest is asked.
    """
    facts = appraisal.facts
    return {
        "schema": SCHEMA,
        "verdict": str(appraisal.verdict),
        "headline": _headline(appraisal),
        "simulated": appraisal.simulated,
        "authentic": appraisal.authentic,
        "judged_at": format_time(appraisal.judged_at),
        "valid_until": format_time(appraisal.valid_until) if appraisal.authentic else "",
        "about": [
            ["Chip", str(facts["product"])],
            ["Report", f"version {facts['version']}"],
            ["Signed by", f"{facts['signed_by']} of {facts['csp_id']}" if facts["csp_id"] else str(facts["signed_by"])],
            ["Policy", case.policy.name],
        ],
        "error": {},
        "counts": _counts(appraisal.checks),
        "findings": [_finding(check) for check in appraisal.findings],
        "warnings": [_finding(check) for check in _with(appraisal.checks, Status.WARN)],
        "levels": [
            [str(proof.level), LEVEL_NAMES[proof.level], proof.proved_by, proof.detail] for proof in appraisal.levels
        ],
        "chain": chain_of(case, appraisal, roots=roots),
        "tcb": tcb_of(case, appraisal),
        "attacks": _attacks(appraisal),
        "skipped": _skipped(appraisal.checks),
        "open": _open(case),
        "groups": _groups(appraisal.checks),
        "facts": [*([name, str(facts[name])] for name in _FACTS), *_paravisor(facts.get("paravisor"))],
        "reproduction": reproduction_of(case, simulated=roots.simulated, asked=asked),
        "policy_toml": policy_toml(case.policy).splitlines(),
        "policy_sha256": case.policy.sha256.hex(),
        "manifest_sha256": "" if case.manifest is None else case.manifest.hash.hex(),
    }


def error_document(error: TwoCvmError, *, judged_at: datetime) -> dict[str, Json]:
    """Return the document of a page that says why nothing could be judged.

    Args:
        error: Why.
        judged_at: The time that was to be judged at.
    """
    return {
        "schema": SCHEMA,
        "verdict": str(Verdict.ERROR),
        "headline": _HEADLINES[Verdict.ERROR],
        "simulated": False,
        "authentic": False,
        "judged_at": format_time(judged_at),
        "valid_until": "",
        "about": [],
        "error": {
            "code": error.code,
            "detail": error.detail,
            "meaning": CODES[error.code].meaning,
            "spec": CODES[error.code].spec,
        },
    }


def _headline(appraisal: Appraisal) -> str:
    if appraisal.findings:
        return _HEADLINES[appraisal.verdict] if appraisal.authentic else _FORGED
    return _SIMULATED if appraisal.simulated else _HEADLINES[appraisal.verdict]


def _with(checks: Iterable[Check], status: Status) -> list[Check]:
    return [check for check in checks if check.status is status]


def _check(check: Check) -> dict[str, Json]:
    return {
        "id": check.id,
        "status": str(check.status),
        "code": check.code if check.status in (Status.FAIL, Status.WARN) else "",
        "level": str(check.level),
        "expected": check.expected,
        "actual": check.actual,
        "detail": check.detail,
        "spec": check.spec,
    }


def _finding(check: Check) -> dict[str, Json]:
    return {**_check(check), "meaning": CODES[check.code].meaning}


def _groups(checks: tuple[Check, ...]) -> list[Json]:
    groups: list[Json] = []
    for prefix, title, question in _GROUPS:
        members = [check for check in checks if check.id.startswith(prefix)]
        if members:
            listed: list[Json] = [_check(check) for check in members]
            groups.append({"title": title, "question": question, "counts": _counts(members), "checks": listed})
    return groups


def _counts(checks: Iterable[Check]) -> list[Json]:
    counts = Counter(str(check.status) for check in checks)
    return [[str(status), counts[status]] for status in Status if counts[status]]


def _skipped(checks: tuple[Check, ...]) -> list[Json]:
    """Return what was not asked, by reason."""
    by_reason: dict[str, list[Json]] = {}
    for check in _with(checks, Status.SKIP):
        by_reason.setdefault(check.detail, []).append(check.id)
    return [{"reason": reason, "ids": ids} for reason, ids in by_reason.items()]


def _open(case: Case) -> list[Json]:
    """Return what the policy's author left open on purpose; what the built-in one leaves open is among the skipped."""
    return [[each.field, each.reason] for each in open_fields(case.policy) if not each.by_default]


def _paravisor(said: Json | None) -> Iterator[Json]:
    """Return what a paravisor and its vTPM say, name by name; nothing where there is none."""
    for name, value in said.items() if isinstance(said, Mapping) else ():
        members = value.items() if isinstance(value, Mapping) else [("", value)]
        yield from ([f"paravisor {name} {member}".rstrip(), _text(found)] for member, found in members)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def _attacks(appraisal: Appraisal) -> list[Json]:
    return [
        {
            "status": str(status),
            "title": title,
            "members": [
                {"id": each.id, "title": each.title, "detail": each.detail, "source": each.source}
                for each in appraisal.advisories
                if each.status is status
            ],
        }
        for status, title in _ATTACKS
        if any(each.status is status for each in appraisal.advisories)
    ]
