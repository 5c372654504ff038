"""`twocvm appraise`: evidence at rest, judged on this machine, offline.

The shell around `verifier` and `appraisal`; files and the clock are in `shell`, the terminal is here.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from .shell import (
    BUILTIN,
    At,
    Chain,
    Form,
    OutputForm,
    SimulatedRoot,
    Vek,
    file_option,
    read_evidence,
    read_policy,
    roots_of,
    time_of,
    write_json,
)

if TYPE_CHECKING:
    from .policy import Policy
    from .result import Appraisal

app = typer.Typer(no_args_is_help=True)

Report: TypeAlias = Annotated[Path, file_option("The report, 1184 bytes; - is stdin.")]
PolicyFile: TypeAlias = Annotated[
    str, typer.Option("--policy", metavar="FILE", help="The appraisal policy, TOML; `builtin` is the strict default.")
]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Fetch nothing.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("-q", "--quiet", help="Print the verdict only.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("-v", "--verbose", help="Print every check.")]


@app.callback()
def _group() -> None:
    """Judge evidence."""


@app.command("appraise")
def appraise_command(
    report: Report,
    vek: Vek = None,
    chain: Chain = None,
    policy: PolicyFile = BUILTIN,
    simulated_root: SimulatedRoot = None,
    at: At = "",
    offline: Offline = False,  # noqa: FBT002 - a flag of the command line
    output: Form = OutputForm.TEXT,
    quiet: Quiet = False,  # noqa: FBT002 - a flag of the command line
    verbose: Verbose = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Judge evidence at rest: a report and the certificate of its key.

    Exit status: 0 accepted, 10 not authentic, 11 authentic and refused by policy, 30 malformed, 40 cannot be judged.
    """
    from .errors import TwoCvmError
    from .result import error_json

    judged_at = time_of(at)
    try:
        appraisal = _appraise(
            report,
            vek=vek,
            chain=chain,
            policy=read_policy(policy),
            simulated_root=simulated_root,
            judged_at=judged_at,
            offline=offline,
        )
    except TwoCvmError as error:
        if output is OutputForm.JSON:
            write_json(error_json(error, judged_at=judged_at))
        raise
    if output is OutputForm.JSON:
        write_json(appraisal.to_json())
    else:
        _write_text(appraisal, quiet=quiet, verbose=verbose)
    appraisal.require()


def _appraise(
    report: Path,
    *,
    vek: Path | None,
    chain: Path | None,
    policy: Policy,
    simulated_root: Path | None,
    judged_at: datetime,
    offline: bool,
) -> Appraisal:
    from .appraisal import appraise_examination
    from .verifier import SnpVerifier

    roots = roots_of(simulated_root)
    why = "nothing is fetched offline" if offline else "this version fetches no collateral"
    evidence = read_evidence(report, vek=vek, chain=chain, without_vek=why)
    examination = SnpVerifier(roots=roots).examine(
        evidence.report, vek=evidence.vek, chain=evidence.chain, at=judged_at
    )
    return appraise_examination(examination, policy=policy, at=judged_at, simulated=roots.simulated)


def _write_text(appraisal: Appraisal, *, quiet: bool, verbose: bool) -> None:
    from rich.console import Console

    from .presentation import appraisal_lines, verdict_line

    console = Console(highlight=False, soft_wrap=True)
    for line in (verdict_line(appraisal),) if quiet else appraisal_lines(appraisal, every_check=verbose):
        console.print(line)
