"""`twocvm policy new|check|explain|add`: appraisal policies, written and read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from .shell import (
    STDIO,
    At,
    Chain,
    CorimKeys,
    Form,
    LeaveOpen,
    OutputForm,
    ReferenceFiles,
    SimulatedRoot,
    Vek,
    command_group,
    file_option,
    read_evidence,
    read_policy,
    roots_of,
    time_of,
    with_reference_files,
    write_file,
    write_json,
)

if TYPE_CHECKING:
    from .policy import Policy
    from .snp.verify import VerifiedReport

app = command_group()

PolicyFile: TypeAlias = Annotated[
    str, typer.Argument(metavar="FILE", help="The policy, TOML; - is stdin, `builtin` is the strict default.")
]
Evidence: TypeAlias = Annotated[
    Path,
    file_option("The report that it demands the values of, or evidence as a guest sends it.", "--from-evidence"),
]
Out: TypeAlias = Annotated[Path, file_option("Where to write it; - is stdout.", "--out")]
Name: TypeAlias = Annotated[str, typer.Option("--name", help="The policy's name, for people.")]

_CHECK_SCHEMA: Final = "twocvm/policy-check/v1"


@app.callback()
def _group() -> None:
    """Write, check and read appraisal policies."""


@app.command("new")
def new_command(
    from_evidence: Evidence,
    vek: Vek = None,
    chain: Chain = None,
    simulated_root: SimulatedRoot = None,
    at: At = "",
    name: Name = "drafted from one report",
    out: Out = STDIO,
) -> None:
    """Write a policy that demands what an authentic report shows. Read it before it decides anything.

    Exit status: 0 written, 10 the report is not authentic, 30 malformed, 40 without its certificate.
    """
    from .appraisal import appraise
    from .policy import parse_policy, policy_of_evidence, policy_toml
    from .verifier import SnpVerifier

    judged_at = time_of(at)
    files = read_evidence(
        from_evidence,
        option="--from-evidence",
        vek=vek,
        chain=chain,
        without_vek="only an authentic report is a reference for anything",
    )
    verified = SnpVerifier(roots=roots_of(simulated_root)).verify(
        files.report, vek=files.vek, chain=files.chain, at=judged_at, quoted=files.quoted
    )
    text = policy_toml(policy_of_evidence(verified, name=name), about=_about(verified))
    write_file(out, text.encode("utf-8"), option="--out")
    for finding in appraise(verified, policy=parse_policy(text), at=judged_at).findings:
        sys.stderr.write(f"the report itself does not meet it: {finding.code}: {finding.detail}\n")


@app.command("check")
def check_command(policy: PolicyFile, output: Form = OutputForm.TEXT) -> None:
    """Say what a policy leaves open, and refuse one that decides nothing.

    Exit status: 0 sound, 11 it names no reference value and gives no reason of its own, 30 it is not a policy.
    """
    from .errors import TwoCvmError
    from .policy import decides_nothing, open_fields

    parsed = read_policy(policy, option="FILE")
    left, empty = open_fields(parsed), decides_nothing(parsed)
    if output is OutputForm.JSON:
        write_json(
            {
                "schema": _CHECK_SCHEMA,
                "sha256": parsed.sha256.hex(),
                "sound": not empty,
                "open": [{"field": each.field, "reason": each.reason, "by_default": each.by_default} for each in left],
            }
        )
    else:
        _write_check(parsed)
    if empty:
        raise TwoCvmError(
            "POLICY_EMPTY", "policy: got no reference value, want one, or a reason of its author's for having none"
        )


@app.command("explain")
def explain_command(policy: PolicyFile, output: Form = OutputForm.TEXT) -> None:
    """Say in words what a policy demands, field by field."""
    from .policy import explain

    parsed = read_policy(policy, option="FILE")
    rows = tuple(explain(parsed))
    if output is OutputForm.JSON:
        write_json([{"field": field, "about": about, "demands": demands} for field, about, demands in rows])
        return
    typer.echo(f"{parsed.name}   sha256 {parsed.sha256.hex()}")
    for field, about, demands in rows[1:]:
        typer.echo(f"\n{field}: {about}\n  {demands}")


@app.command("add")
def add_command(
    policy: PolicyFile,
    reference_values: ReferenceFiles = None,
    corim_key: CorimKeys = None,
    leave_open: LeaveOpen = "",
    at: At = "",
    out: Out = STDIO,
) -> None:
    """Write a policy that demands the reference values of files beside its own.

    It has the digest that the verifier service says of the same policy with the same reference values.

    Exit status: 0 written, 10 a CoRIM is signed by nobody who is trusted, 20 it cannot be added as it is, 30 malformed,
    40 it does not count at that time.
    """
    from .policy import policy_toml

    if not reference_values:
        raise typer.BadParameter("want at least one", param_hint="--reference-values")
    joined = with_reference_files(
        read_policy(policy, option="FILE"),
        reference_values,
        keys=corim_key or (),
        leave_open=leave_open,
        at=time_of(at),
    )
    write_file(out, policy_toml(joined).encode("utf-8"), option="--out")


def _write_check(policy: Policy) -> None:
    from .policy import open_fields

    typer.echo(f"{policy.name}   sha256 {policy.sha256.hex()}")
    by_reason: dict[tuple[bool, str], list[str]] = {}
    for each in open_fields(policy):
        by_reason.setdefault((each.by_default, each.reason), []).append(each.field)
    for (by_default, reason), names in sorted(by_reason.items()):
        said = "nothing is said, and" if by_default else "open on purpose:"
        typer.echo(f"\n{', '.join(names)}\n  {said} {reason}")


def _about(verified: VerifiedReport) -> tuple[str, ...]:
    report = verified.report
    start = (
        "PCRs are of one start: an update of the guest changes some of them.",
        "None of them is the chip's word; the paravisor says what they are, and MEASUREMENT is the paravisor's.",
    )
    return (
        f"Drafted from one {verified.product} report, REPORT_ID {report.report_id.hex()}.",
        "It demands what that report shows, which says that it is so, and not that it is good:",
        "read it, and compare MEASUREMENT with the digest that you computed yourself (`twocvm measure`).",
        *(start if verified.paravisor else ()),
    )
