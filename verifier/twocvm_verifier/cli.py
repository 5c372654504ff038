"""`twocvm appraise`: evidence at rest, judged on this machine, offline.

The shell around `verifier` and `appraisal`: files, the clock and the terminal are here and nowhere below.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

if TYPE_CHECKING:
    from .policy import Policy
    from .result import Appraisal

app = typer.Typer(no_args_is_help=True)

BUILTIN: Final = "builtin"
STDIN: Final = Path("-")
# More than the largest document that is read here; the parsers have their own, exact limits.
_MAX_FILE_BYTES: Final = 1 << 20
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


class OutputForm(StrEnum):
    """What `-o` takes."""

    TEXT = "text"
    JSON = "json"


def _file(text: str) -> Any:  # noqa: ANN401 - what typer's own function returns
    return typer.Option(metavar="FILE", help=text)


Report: TypeAlias = Annotated[Path, _file("The report, 1184 bytes; - is stdin.")]
Vek: TypeAlias = Annotated[Path | None, _file("The VCEK or VLEK certificate of its key, DER or PEM.")]
Chain: TypeAlias = Annotated[Path | None, _file("ASK or ASVK and ARK in PEM, as evidence brings them; only compared.")]
PolicyFile: TypeAlias = Annotated[
    str, typer.Option("--policy", metavar="FILE", help="The appraisal policy, TOML; `builtin` is the strict default.")
]
SimulatedRoot: TypeAlias = Annotated[Path | None, _file("Accept this simulated platform; it promises nothing.")]
At: TypeAlias = Annotated[str, typer.Option("--at", metavar="RFC3339", help="Judge at this time instead of now.")]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Fetch nothing.")]
Form: TypeAlias = Annotated[OutputForm, typer.Option("-o", "--output", help="How the result is printed.")]
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

    judged_at = _time(at)
    try:
        appraisal = _appraise(
            report,
            vek=vek,
            chain=chain,
            policy=_policy(policy),
            simulated_root=simulated_root,
            judged_at=judged_at,
            offline=offline,
        )
    except TwoCvmError as error:
        if output is OutputForm.JSON:
            _write_json(error_json(error, judged_at=judged_at))
        raise
    if output is OutputForm.JSON:
        _write_json(appraisal.to_json())
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
    from .errors import NotFoundError
    from .snp.report import parse_report
    from .snp.roots import amd_roots, simulated_roots
    from .verifier import SnpVerifier

    roots = amd_roots() if simulated_root is None else simulated_roots(_read(simulated_root))
    raw = _read(report)
    if vek is None:
        parse_report(raw)
        why = "nothing is fetched offline" if offline else "this version fetches no collateral"
        raise NotFoundError("VEK_MISSING", f"vek: got none, want the certificate of the report's key; {why}")
    examination = SnpVerifier(roots=roots).examine(
        raw, vek=_certificate(_read(vek)), chain=None if chain is None else _read(chain), at=judged_at
    )
    return appraise_examination(examination, policy=policy, at=judged_at, simulated=roots.simulated)


def _policy(name: str) -> Policy:
    from .errors import MalformedError
    from .policy import Policy, parse_policy

    if name == BUILTIN:
        return Policy.builtin()
    try:
        return parse_policy(_read(Path(name)).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedError("policy", "", "not UTF-8") from error


def _certificate(raw: bytes) -> bytes:
    if not raw.lstrip().startswith(_PEM):
        return raw
    from .errors import MalformedError
    from .snp.roots import pem_certificates

    found = pem_certificates(raw)
    if len(found) != 1:
        raise MalformedError("vek", "pem", f"got {len(found)} certificates, want one")
    return found[0]


def _time(text: str) -> datetime:
    from .clock import SystemClock, parse_time

    if not text:
        return SystemClock().now()
    try:
        return parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def _read(path: Path) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read(_MAX_FILE_BYTES)
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise typer.BadParameter(f"{str(path)!r}: {error.strerror}") from error


def _write_json(result: object) -> None:
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _write_text(appraisal: Appraisal, *, quiet: bool, verbose: bool) -> None:
    from rich.console import Console

    from .presentation import appraisal_lines, verdict_line

    console = Console(highlight=False, soft_wrap=True)
    for line in (verdict_line(appraisal),) if quiet else appraisal_lines(appraisal, every_check=verbose):
        console.print(line)
