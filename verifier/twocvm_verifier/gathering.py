"""Evidence and collateral as commands gather them: files, a host's table, the local store and, where allowed, sources.

For each piece in order: what was named on the command line; what the host's table holds; the store; mirrors and KDS.
Only a missing VEK sends anything over a network, and then the revocation list of its product is looked for as well. A
list that was named must be of use; of those that were merely found the newest is taken, and judged like any other.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from .shell import certificate, file_option, read_file, sent_evidence

if TYPE_CHECKING:
    from .collateral import Collateral, Fetcher, Source
    from .snp.certtable import CertTable
    from .snp.report import Report
    from .snp.roots import Roots
    from .snp.vek import Vek

KDS_URL: Final = "https://kdsintf.amd.com"
# Long enough for a turn at KDS behind a few others.
PATIENCE_SECONDS: Final = 90.0
# A list that is at hand is used at rest until it ends; who releases something says what is too old.
_ANY_AGE_SECONDS: Final = 3650.0 * 86_400.0

CertTableFile: TypeAlias = Annotated[
    Path | None, file_option("The certificate table that the host gave with the report.", "--cert-table")
]
StoreFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option("--store", envvar="TWOCVM_STORE", metavar="DIR", help="Where collateral is kept on this machine."),
]
Mirrors: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--mirror", envvar="TWOCVM_MIRROR", metavar="URL", help="A service that answers as AMD's KDS does."),
]
Kds: TypeAlias = Annotated[str, typer.Option("--kds", envvar="TWOCVM_KDS", metavar="URL", help="AMD's KDS.")]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Fetch nothing.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where collateral is looked for.

    Attributes:
        store: The store's folder; None is the usual one of this user.
        mirrors: Services that are asked before KDS, in order.
        kds: The KDS.
        offline: Whether nothing is fetched.
    """

    store: Path | None
    mirrors: Sequence[str]
    kds: str
    offline: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Evidence at rest with its collateral, not yet believed.

    Attributes:
        report: The report, as the platform gave it.
        vek: DER of its key's certificate.
        chain: PEM of intermediate and root, or None where none came along.
        crl: DER of the newest revocation list at hand, or None.
        azure: What a paravisor's vTPM says of the guest, where the evidence is one's.
        claims: The claims that it binds, likewise.
    """

    report: bytes = field(repr=False)
    vek: bytes = field(repr=False)
    chain: bytes | None = field(repr=False)
    crl: bytes | None = field(repr=False)
    azure: bytes | None = field(repr=False, default=None)
    claims: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceOptions:
    """The files that a person named: of these only the report is always needed, or evidence as a guest sends it."""

    report: Path
    vek: Path | None
    chain: Path | None
    crl: Path | None
    cert_table: Path | None


def gather(options: EvidenceOptions, *, places: Places, roots: Roots, at: datetime) -> Gathered:
    """Return evidence with what is needed to judge it.

    Args:
        options: What was named.
        places: Where the rest is looked for.
        roots: The trust anchors; what is found under others is as if it were not there.
        at: The time that is judged at.

    Raises:
        MalformedError: A file is not what it should be.
        CollateralError: The VEK is nowhere, or the list that was named cannot be used.
        VerificationError: The list that was named is not authentic.
        UnsupportedError: Fetching is needed, and its library is missing.
    """
    from .snp.certtable import parse_cert_table
    from .snp.report import parse_report
    from .snp.vek import parse_vek

    raw = read_file(options.report, option="--report")
    brought = sent_evidence(raw)
    raw = raw if brought is None else brought.report
    report, table = parse_report(raw), None
    if options.cert_table is not None:
        table = parse_cert_table(read_file(options.cert_table, option="--cert-table"))
    given = None if brought is None else brought.vek
    der, collateral = _vek(options, report, table, given, places=places, roots=roots, at=at)
    chain = table.chain if table is not None else None
    chain = chain if brought is None or brought.chain is None else brought.chain
    if options.chain is not None:
        chain = read_file(options.chain, option="--chain")
    vek = parse_vek(der).vek
    if options.crl is None:
        listed = None if table is None else table.blobs.get("crl")
        crl = _newest_crl(vek, listed if brought is None or brought.crl is None else brought.crl, collateral, at=at)
    else:
        crl = read_file(options.crl, option="--crl")
        _require_usable(crl, vek, roots=roots, at=at)
    bound = brought is not None and brought.azure is not None
    return Gathered(
        report=raw,
        vek=der,
        chain=chain,
        crl=crl,
        azure=brought.azure if brought is not None else None,
        claims=brought.claims if brought is not None and bound else None,
    )


def open_collateral(
    places: Places,
    *,
    roots: Roots,
    fetching: bool,
    patience_seconds: float = PATIENCE_SECONDS,
    around: Callable[[Fetcher], Fetcher] = lambda fetcher: fetcher,
) -> Collateral:
    """Return what finds collateral in these places.

    Args:
        places: Where.
        roots: What everything is verified under.
        fetching: Whether sources are asked at all.
        patience_seconds: How long a caller waits for one piece.
        around: What stands around the fetcher: counts what it is asked, say.

    Raises:
        UnsupportedError: They are, and the library for it is missing.
    """
    from .clock import SystemClock
    from .collateral import Collateral, Store

    return Collateral(
        store=Store(places.store or _usual_store(), roots=roots),
        sources=tuple(_sources(places, around)) if fetching else (),
        clock=SystemClock(),
        patience_seconds=patience_seconds,
    )


def _sources(places: Places, around: Callable[[Fetcher], Fetcher]) -> Iterator[Source]:
    from .clock import SystemClock
    from .collateral import Pace, Source
    from .collateral.sources import KDS_INTERVAL_SECONDS, REQUEST_SECONDS
    from .errors import UnsupportedError

    try:
        from .collateral.http import HttpFetcher
    except ModuleNotFoundError as error:
        raise UnsupportedError("FETCHER_MISSING", f"collateral: fetching needs {error.name}") from error
    clock = SystemClock()
    fetcher = around(HttpFetcher(clock=clock))
    for name, url in (*(("mirror", url) for url in places.mirrors), ("kds", places.kds)):
        # AMD's own service is known to bear so much; another one says it itself, with 429.
        interval_seconds = KDS_INTERVAL_SECONDS if url == KDS_URL else 0.0
        pace = Pace(clock=clock, interval_seconds=interval_seconds, pause=time.sleep)
        try:
            yield Source(
                name=name,
                base_url=url.rstrip("/"),
                fetcher=fetcher,
                pace=pace,
                clock=clock,
                request_seconds=REQUEST_SECONDS,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=f"--{name}") from error


def _vek(
    options: EvidenceOptions,
    report: Report,
    table: CertTable | None,
    given: bytes | None,
    *,
    places: Places,
    roots: Roots,
    at: datetime,
) -> tuple[bytes, Collateral]:
    """Return the VEK, and what finds collateral: over a network only where the VEK had to be found so."""
    from .errors import NotFoundError

    near = open_collateral(places, roots=roots, fetching=False)
    if options.vek is not None:
        return certificate(read_file(options.vek, option="--vek")), near
    if given is not None:
        return given, near
    if table is not None:
        with suppress(NotFoundError):
            return certificate(table.vek_of(report)), near
    try:
        return near.vek_of(report, at=at).der, near
    except NotFoundError as error:
        if places.offline or error.code == "VEK_MISSING":
            why = "nothing is fetched offline" if places.offline else error.detail
            raise NotFoundError(
                "VEK_MISSING", f"vek: got none, want the certificate of the report's key; {why}"
            ) from error
    far = open_collateral(places, roots=roots, fetching=True)
    found = far.vek_of(report, at=at)
    sys.stderr.write(f"the VEK is from {found.source}, and kept in {far.store.folder}\n")
    return found.der, far


def _newest_crl(vek: Vek, given: bytes | None, collateral: Collateral, *, at: datetime) -> bytes | None:
    """Return the newest list at hand, or one that is none where nothing else is: the judgement says what is wrong."""
    from .collateral import CrlName
    from .errors import CollateralError, TwoCvmError
    from .snp.crl import parse_crl, verify_crl

    name = CrlName(product=vek.product, kind=vek.kind)
    with suppress(CollateralError):
        # Where sources are asked, what they send is in the store afterwards.
        collateral.crl(name, at=at, max_age_seconds=_ANY_AGE_SECONDS)
    stored = collateral.store.crl(name)
    if stored is None or given is None:
        return given if stored is None else stored.der
    try:
        theirs = verify_crl(parse_crl(given), roots=collateral.store.roots).crl
    except TwoCvmError:
        return stored.der
    return given if theirs.number > parse_crl(stored.der).number else stored.der


def _require_usable(crl: bytes, vek: Vek, *, roots: Roots, at: datetime) -> None:
    """Refuse a list that a person named and that says nothing about this evidence."""
    from .snp.revocation import CrlMode, Crls, CrlStore, NoCrl

    issuer = roots.issuers.get(vek.issuer)
    if issuer is not None:
        use = Crls(mode=CrlMode.REQUIRE, held=(crl,))
        judged = CrlStore(roots=roots, use=use).judge(issuer, at=at, brought=None)
        if isinstance(judged, NoCrl):
            raise judged.problem


def _usual_store() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "twocvm" / "collateral"
