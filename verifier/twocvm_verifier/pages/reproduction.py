"""How to come to the same judgement again: one command, and what has to lie in the files that it names.

The files have names of our own, for what somebody called his says nothing and may say too much. What a service was
asked beyond that (a challenge, a key, a release) no command at rest can ask again, and that is said.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import Final

from twocvm_verifier.bundle import Case
from twocvm_verifier.clock import format_time
from twocvm_verifier.evidence import Evidence, encode_json
from twocvm_verifier.policy import Policy
from twocvm_verifier.strictjson import Json

_RELEASE: Final = (
    "This was judged as before a release: also which levels are proved, and how old the revocation list is. The "
    "command judges evidence at rest."
)
_BOUND: Final = (
    "The checks that begin with binding compared the report with what the caller sent along. Whoever has that can ask "
    "again; the command leaves them out."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of evidence beyond what evidence at rest is asked.

    Attributes:
        release: Whether it was judged as before a release.
        bound: Whether it was compared with claims, a challenge or REPORT_DATA.
        bundle: The bytes of the bundle that it was judged from, or None where it came in files.
    """

    release: bool
    bound: bool
    bundle: bytes | None


AT_REST: Final = Asked(release=False, bound=False, bundle=None)


def reproduction_of(case: Case, *, simulated: bool, asked: Asked) -> dict[str, Json]:
    """Return the command, its files with their digests, and what the command does not ask.

    Args:
        case: What was judged.
        simulated: Whether the trust anchors are a simulated platform's.
        asked: What else was asked.
    """
    given: list[tuple[str, str, bytes]] = []
    if asked.bundle is None:
        files = (
            ("--report", *_report(case)),
            ("--vek", "vek.der", case.vek),
            ("--chain", "chain.pem", case.chain),
            ("--crl", "crl.der", case.crl),
            ("--manifest", "manifest.json", None if case.manifest is None else case.manifest.raw),
        )
        given = [(option, name, raw) for option, name, raw in files if raw is not None]
    else:
        given = [("--bundle", "bundle.json", asked.bundle)]
    builtin = case.policy == Policy.builtin()
    command = ["twocvm", "appraise", *(word for option, name, _ in given for word in (option, name))]
    command += ["--policy", "builtin" if builtin else "policy.toml"]
    if simulated:
        command += ["--simulated-root", "root.pem"]
    command += ["--at", format_time(case.judged_at)]
    if asked.bundle is None:
        command.append("--offline")
    notes = [note for holds, note in ((asked.release, _RELEASE), (asked.bound, _BOUND)) if holds]
    return {
        "command": shlex.join(command),
        "files": [[name, str(len(raw)), hashlib.sha256(raw).hexdigest()] for _, name, raw in given],
        "builtin": builtin,
        "simulated": simulated,
        "notes": list(notes),
    }


def _report(case: Case) -> tuple[str, bytes]:
    """Return what stands for the report: evidence as a guest sends it, where a vTPM speaks for the guest."""
    if case.azure is None or case.claims is None:
        return "report.bin", case.report
    return "evidence.json", encode_json(
        Evidence(report=case.report, claims=case.claims, vek=case.vek, azure=case.azure)
    )
