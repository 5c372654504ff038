"""`twocvm appraise`: evidence at rest, judged on this machine, offline, and again from a bundle years later.

The shell around `verifier` and `appraisal`; files and the clock are in `shell`, the terminal is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from .gathering import (
    KDS_URL,
    CertTableFile,
    EvidenceOptions,
    Kds,
    Mirrors,
    Offline,
    Places,
    StoreFolder,
    gather,
)
from .shell import (
    BUILTIN,
    STDIO,
    At,
    Chain,
    CorimKeys,
    Form,
    LeaveOpen,
    OutputForm,
    Quiet,
    ReferenceFiles,
    SimulatedRoot,
    Vek,
    Verbose,
    command_group,
    file_option,
    read_file,
    read_manifest,
    read_policy,
    roots_of,
    time_of,
    with_reference_files,
    write_file,
    write_json,
)

if TYPE_CHECKING:
    from .bundle import Case
    from .errors import TwoCvmError
    from .policy import Policy
    from .result import Appraisal
    from .snp.roots import Roots
    from .strictjson import Json

app = command_group()

Report: TypeAlias = Annotated[
    Path | None, file_option("The report, 1184 bytes, or evidence as a guest sends it; - is stdin.")
]
Crl: TypeAlias = Annotated[Path | None, file_option("The root's revocation list, DER; it must be of use.")]
ManifestFile: TypeAlias = Annotated[
    Path | None, file_option("The manifest that the guest should be under.", "--manifest")
]
PolicyFile: TypeAlias = Annotated[
    str,
    typer.Option(
        "--policy", metavar="FILE", help="The appraisal policy, TOML; the strict `builtin`, or the bundle's own."
    ),
]
BundleFile: TypeAlias = Annotated[
    Path | None, file_option("Judge a bundle again, by its own policy and time unless others are given.", "--bundle")
]
BundleOut: TypeAlias = Annotated[
    Path | None, file_option("Keep evidence, policy and verdict in one file, to be judged again.", "--bundle-out")
]
HtmlOut: TypeAlias = Annotated[
    Path | None, file_option("Write the judgement as a page for people, which needs nothing else.", "--html")
]


@app.callback()
def _group() -> None:
    """Judge evidence."""


@app.command("appraise")
def appraise_command(
    report: Report = None,
    vek: Vek = None,
    chain: Chain = None,
    crl: Crl = None,
    cert_table: CertTableFile = None,
    manifest: ManifestFile = None,
    policy: PolicyFile = "",
    reference_values: ReferenceFiles = None,
    corim_key: CorimKeys = None,
    leave_open: LeaveOpen = "",
    bundle: BundleFile = None,
    bundle_out: BundleOut = None,
    html: HtmlOut = None,
    simulated_root: SimulatedRoot = None,
    at: At = "",
    store: StoreFolder = None,
    mirror: Mirrors = None,
    kds: Kds = KDS_URL,
    offline: Offline = False,  # noqa: FBT002 - a flag of the command line
    output: Form = OutputForm.TEXT,
    quiet: Quiet = False,  # noqa: FBT002 - a flag of the command line
    verbose: Verbose = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Judge evidence at rest: a report and the certificate of its key, or a bundle that holds both.

    A certificate that is not given is looked for in the host's table, in the store, and at AMD.

    Exit status: 0 accepted, 10 not authentic, 11 authentic and refused by policy, 30 malformed, 40 cannot be judged.
    """
    from .errors import TwoCvmError
    from .result import error_json

    judged_at = time_of(at)
    evidence = _Evidence(report=report, vek=vek, chain=chain, crl=crl, cert_table=cert_table, manifest=manifest)
    places = Places(store=store, mirrors=mirror or (), kds=kds, offline=offline)
    evidence.require_one(bundle)
    if bundle is not None and reference_values:
        raise typer.BadParameter("a bundle has its own policy: add them to one", param_hint="--reference-values")
    page = None if html is None else _Page(html)
    try:
        roots = roots_of(simulated_root)
        if bundle is not None:
            judged = _judge_bundle(bundle, roots=roots, policy=policy, at=judged_at if at else None)
        else:
            asked = with_reference_files(
                read_policy(policy or BUILTIN),
                reference_values or (),
                keys=corim_key or (),
                leave_open=leave_open,
                at=judged_at,
            )
            case = evidence.case(policy=asked, judged_at=judged_at, places=places, roots=roots)
            judged = _judge_case(case, roots=roots, bundle_out=bundle_out)
    except TwoCvmError as error:
        if output is OutputForm.JSON:
            write_json(error_json(error, judged_at=judged_at))
        if page is not None:
            page.write_error(error, judged_at=judged_at)
        raise
    appraisal = judged.appraisal
    if page is not None:
        page.write(judged, roots=roots)
    if output is OutputForm.JSON:
        write_json(appraisal.to_json())
    else:
        _write_text(appraisal, quiet=quiet, verbose=verbose)
    appraisal.require()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """The files that evidence at rest is in."""

    report: Path | None
    vek: Path | None
    chain: Path | None
    crl: Path | None
    cert_table: Path | None
    manifest: Path | None

    def require_one(self, bundle: Path | None) -> None:
        """Refuse evidence beside a bundle, and neither of both."""
        given = [each.name.replace("_", "-") for each in fields(self) if getattr(self, each.name) is not None]
        if bundle is not None and given:
            raise typer.BadParameter(f"a bundle has its own: leave out --{given[0]}", param_hint="--bundle")
        if bundle is None and self.report is None:
            raise typer.BadParameter("want a report, or a bundle", param_hint="--report")

    def case(self, *, policy: Policy, judged_at: datetime, places: Places, roots: Roots) -> Case:
        """Return what is judged: the files, and what is found for those that were not given."""
        from .advisories import shipped_advisories
        from .bundle import Case

        options = EvidenceOptions(
            report=self.report or STDIO, vek=self.vek, chain=self.chain, crl=self.crl, cert_table=self.cert_table
        )
        found = gather(options, places=places, roots=roots, at=judged_at)
        return Case(
            report=found.report,
            vek=found.vek,
            chain=found.chain,
            crl=found.crl,
            manifest=None if self.manifest is None else read_manifest(self.manifest),
            policy=policy,
            advisories=shipped_advisories(),
            judged_at=judged_at,
            azure=found.azure,
            claims=found.claims,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What was judged, from which bundle if from one, and what came out."""

    case: Case
    bundle: bytes | None
    appraisal: Appraisal


class _Page:
    """The page that is asked for with --html; what makes it is looked for before anything is judged."""

    def __init__(self, file: Path) -> None:
        from .errors import UnsupportedError

        try:
            from .pages import rendering
        except ModuleNotFoundError as error:
            raise UnsupportedError("EXTRA_MISSING", f"{error.name}: not installed; install twocvm[service]") from error
        self._file = file
        self._rendering = rendering

    def write(self, judged: _Judged, *, roots: Roots) -> None:
        """Write the page of a judgement."""
        from .pages.report import report_document
        from .pages.reproduction import Asked

        asked = Asked(release=False, bound=False, bundle=judged.bundle)
        self._write(report_document(judged.case, judged.appraisal, roots=roots, asked=asked))

    def write_error(self, error: TwoCvmError, *, judged_at: datetime) -> None:
        """Write the page that says why nothing was judged."""
        from .pages.report import error_document

        self._write(error_document(error, judged_at=judged_at))

    def _write(self, document: Mapping[str, Json]) -> None:
        origin = self._rendering.Origin(maker=self._rendering.maker(), service="", until="")
        write_file(self._file, self._rendering.report_page(document, origin).encode(), option="--html")


def _judge_case(case: Case, *, roots: Roots, bundle_out: Path | None) -> _Judged:
    from .bundle import bundle_of, judge

    appraisal = judge(case, roots=roots)
    if bundle_out is not None:
        write_file(bundle_out, bundle_of(case, appraisal).encode(), option="--bundle-out")
    return _Judged(case=case, bundle=None, appraisal=appraisal)


def _judge_bundle(path: Path, *, roots: Roots, policy: str, at: datetime | None) -> _Judged:
    """Judge as the bundle was judged, and demand the same verdict; or by a policy or time of the caller's own."""
    from .bundle import judge, parse_bundle, rejudge

    raw = read_file(path, option="--bundle")
    bundle = parse_bundle(raw)
    if not policy and at is None:
        return _Judged(case=bundle.case, bundle=raw, appraisal=rejudge(bundle, roots=roots))
    case = replace(bundle.case, policy=read_policy(policy)) if policy else bundle.case
    case = case if at is None else replace(case, judged_at=at)
    return _Judged(case=case, bundle=raw, appraisal=judge(case, roots=roots))


def _write_text(appraisal: Appraisal, *, quiet: bool, verbose: bool) -> None:
    from rich.console import Console

    from .presentation import appraisal_lines, verdict_line

    console = Console(highlight=False, soft_wrap=True)
    for line in (verdict_line(appraisal),) if quiet else appraisal_lines(appraisal, every_check=verbose):
        console.print(line)
