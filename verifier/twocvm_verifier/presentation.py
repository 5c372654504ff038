"""A result for people: what was found first, then what was not checked and why, then what proves what.

Lines are built as styled text, never as markup, because parts of them come from evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.text import Text

from .clock import format_time
from .codes import CODES
from .result import AdvisoryStatus, Appraisal, Check, Status, Verdict

_VERDICT_STYLE = {
    Verdict.AFFIRMING: "bold green",
    Verdict.WARNING: "bold yellow",
    Verdict.CONTRAINDICATED: "bold red",
    Verdict.ERROR: "bold red",
}
_STATUS_STYLE = {Status.PASS: "green", Status.FAIL: "red", Status.WARN: "yellow", Status.SKIP: "dim"}
_ATTACK_STATUS = {
    AdvisoryStatus.OPEN: ("open", "red"),
    AdvisoryStatus.UNKNOWN: ("cannot decide", "yellow"),
    AdvisoryStatus.CANNOT_BE_ATTESTED: ("cannot be attested", "yellow"),
    AdvisoryStatus.CLOSED: ("closed", "green"),
}
LEVEL_NAMES = {"AL1": "chip", "AL2": "firmware and TCB", "AL3": "kernel", "AL4": "guest software and manifest"}
_SHOWN_FACTS = (
    "measurement",
    "report_data",
    "bound_data",
    "host_data",
    "chip_id",
    "policy",
    "platform_info",
    "vmpl",
    "reported_tcb",
)


def verdict_line(appraisal: Appraisal) -> Text:
    """Return the one line that says how it ended."""
    line = Text.assemble("verdict: ", (str(appraisal.verdict), _VERDICT_STYLE[appraisal.verdict]))
    if appraisal.simulated:
        line.append("   SIMULATED PLATFORM, nothing is protected", style="bold yellow")
    return line


def appraisal_lines(appraisal: Appraisal, *, every_check: bool) -> Iterator[Text]:
    """Return the whole result, line by line.

    Args:
        appraisal: What to show.
        every_check: Whether to list also what passed.
    """
    facts = appraisal.facts
    whose = f"{facts['product']} chip, report version {facts['version']}, {facts['signed_by']}"
    authentic = "authentic" if appraisal.authentic else "not authentic"
    yield Text(f"{whose}: {authentic}, judged at {format_time(appraisal.judged_at)}")
    yield verdict_line(appraisal)
    yield from _section("found", appraisal.findings, _finding)
    yield from _section("warned", _with(appraisal, Status.WARN), _reason)
    yield from _not_checked(_with(appraisal, Status.SKIP))
    yield from _levels(appraisal)
    yield from _attacks(appraisal, in_full=every_check)
    yield Text()
    yield Text("says" if appraisal.authentic else "claims, which nobody vouches for", style="bold")
    for name in (name for name in _SHOWN_FACTS if name in facts):
        yield Text(f"  {name:14} {_fact(facts[name])}")
    passed = _with(appraisal, Status.PASS)
    if every_check:
        yield from _section("passed", passed, _passed)
    else:
        yield Text()
        yield Text(f"{len(passed)} checks passed (-v lists them)", style="dim")


def _with(appraisal: Appraisal, status: Status) -> tuple[Check, ...]:
    return tuple(check for check in appraisal.checks if check.status is status)


def _section(title: str, checks: tuple[Check, ...], line: Callable[[Check], Iterator[Text]]) -> Iterator[Text]:
    if checks:
        yield Text()
        yield Text(title, style="bold")
        for check in checks:
            yield from line(check)


def _finding(check: Check) -> Iterator[Text]:
    style = _STATUS_STYLE[check.status]
    yield Text.assemble("  ", (check.code, style), f"   {check.id}: {check.detail}")
    if check.expected or check.actual:
        yield Text(f"    got {check.actual or 'nothing'}, want {check.expected}")
    yield Text(f"    {CODES[check.code].meaning} [{check.spec}]")


def _reason(check: Check) -> Iterator[Text]:
    yield Text.assemble("  ", (check.code, _STATUS_STYLE[check.status]), f"   {check.id}: {check.detail}")


def _passed(check: Check) -> Iterator[Text]:
    actual = f"   {check.actual}" if check.actual else ""
    yield Text.assemble("  ", (check.id, _STATUS_STYLE[check.status]), actual)


def _not_checked(checks: tuple[Check, ...]) -> Iterator[Text]:
    by_reason: dict[str, list[str]] = {}
    for check in checks:
        by_reason.setdefault(check.detail, []).append(check.id)
    if by_reason:
        yield Text()
        yield Text("not checked", style="bold")
    for reason, ids in by_reason.items():
        yield Text(f"  {reason}:")
        for group in _grouped(ids):
            yield Text(f"    {group}", style="dim")


def _grouped(ids: list[str]) -> Iterator[str]:
    families: dict[str, list[str]] = {}
    for identifier in ids:
        family, _, member = identifier.rpartition(".")
        families.setdefault(family, []).append(member)
    for family, members in families.items():
        yield f"{family}.{members[0]}" if len(members) == 1 else f"{family}: {', '.join(members)}"


def _levels(appraisal: Appraisal) -> Iterator[Text]:
    yield Text()
    yield Text("proved by", style="bold")
    for proof in appraisal.levels:
        by = (proof.proved_by, "green") if proof.proved_by else ("nothing", "yellow")
        name = f"{proof.level} {LEVEL_NAMES[proof.level]}"
        yield Text.assemble(f"  {name:32} ", by, f"   ({proof.detail})")


def _attacks(appraisal: Appraisal, *, in_full: bool) -> Iterator[Text]:
    if appraisal.advisories:
        yield Text()
        yield Text("known attacks", style="bold")
    for status, (title, style) in _ATTACK_STATUS.items():
        found = [advisory for advisory in appraisal.advisories if advisory.status is status]
        if found:
            yield Text.assemble("  ", (title, style), f": {', '.join(advisory.id for advisory in found)}")
        for advisory in found if in_full else ():
            yield Text(f"    {advisory.id}: {advisory.title}: {advisory.detail} [{advisory.source}]", style="dim")


def _fact(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items() if name != "raw")
    return str(value)
