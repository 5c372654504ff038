"""`twocvm collateral fetch|list|export|import`: certificates and revocation lists, fetched once, carried anywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from .gathering import KDS_URL, Kds, Mirrors, Places, StoreFolder, open_collateral
from .shell import At, Form, OutputForm, command_group, read_file, roots_of, time_of, write_file, write_json

if TYPE_CHECKING:
    from .collateral import Fetched, Store
    from .collateral.store import Stored
    from .errors import CollateralError

app = command_group()

Reports: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[REPORT]...", help="Reports whose VCEK is wanted; without any, every product's lists."),
]
OutFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; - is stdout.")]
InFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="An export; - is stdin.")]

_SCHEMA: Final = "twocvm/collateral-list/v1"


@app.callback()
def _group() -> None:
    """Fetch, list and carry the collateral that evidence is judged with."""


@app.command("fetch")
def fetch_command(
    reports: Reports = None,
    store: StoreFolder = None,
    mirror: Mirrors = None,
    kds: Kds = KDS_URL,
    at: At = "",
    output: Form = OutputForm.TEXT,
) -> None:
    """Fetch the VCEKs of reports that are not in the store, and the revocation lists of their products anew.

    Exit status: 0 everything is in the store, 30 a report is malformed, 40 something could not be fetched.
    """
    from .collateral import CrlName
    from .collateral.names import HARDWARE
    from .snp.names import VekKind
    from .snp.report import parse_report

    parsed = [parse_report(read_file(path, option="REPORT")) for path in reports or ()]
    places = Places(store=store, mirrors=mirror or (), kds=kds, offline=False)
    collateral = open_collateral(places, roots=roots_of(None), fetching=True)
    needed_at = time_of(at)
    found, problems = _try_each([partial(collateral.vek_of, report, at=needed_at) for report in parsed])
    lists = [CrlName(product=piece.name.product, kind=VekKind.VCEK) for piece in (each.piece for each in found)]
    if not parsed:
        lists = [CrlName(product=product, kind=kind) for product in HARDWARE for kind in VekKind]
    found_lists, list_problems = _try_each(
        [partial(collateral.crl, name, at=needed_at, max_age_seconds=0) for name in dict.fromkeys(lists)]
    )
    problems += list_problems
    _tell(found + found_lists, problems, output)


@app.command("list")
def list_command(store: StoreFolder = None, output: Form = OutputForm.TEXT) -> None:
    """List every piece of the store that is genuine, and until when it counts."""
    from .collateral import Fetched

    _tell([Fetched(piece=piece, source="store") for piece in _store(store).pieces()], [], output)


@app.command("export")
def export_command(file: OutFile, store: StoreFolder = None) -> None:
    """Write the whole store into one file, for a site that reaches nothing."""
    from .collateral.archive import encode_archive

    pieces = tuple(_store(store).pieces())
    write_file(file, encode_archive(pieces), option="FILE")
    sys.stderr.write(f"{len(pieces)} pieces\n")


@app.command("import")
def import_command(file: InFile, store: StoreFolder = None, output: Form = OutputForm.TEXT) -> None:
    """Verify every piece of an export, and take all of them into the store, or none.

    Exit status: 0 everything genuine and new enough is in the store, 30 something in the file is not genuine.
    """
    from .collateral import Fetched
    from .collateral.archive import import_pieces, parse_archive

    into = _store(store)
    kept, older = import_pieces(parse_archive(read_file(file, option="FILE"), roots=into.roots), store=into)
    # That the store knows newer lists is no problem, and worth a line.
    _complain(older)
    _tell([Fetched(piece=piece, source="import") for piece in kept], [], output)


def _store(folder: Path | None) -> Store:
    places = Places(store=folder, mirrors=(), kds=KDS_URL, offline=True)
    return open_collateral(places, roots=roots_of(None), fetching=False).store


def _try_each(tasks: Sequence[Callable[[], Fetched]]) -> tuple[list[Fetched], list[CollateralError]]:
    from .errors import CollateralError

    found: list[Fetched] = []
    problems: list[CollateralError] = []
    for task in tasks:
        try:
            found.append(task())
        except CollateralError as problem:
            problems.append(problem)
    return found, problems


def _tell(found: list[Fetched], problems: Sequence[CollateralError], output: OutputForm) -> None:
    """Print what is there and every problem, and end with the first problem, if any."""
    _complain(problems[1:])
    _print(found, output)
    if problems:
        raise problems[0]


def _complain(problems: Sequence[CollateralError]) -> None:
    for problem in problems:
        sys.stderr.write(f"{problem.code}: {problem.detail}\n")


def _print(found: list[Fetched], output: OutputForm) -> None:
    if output is OutputForm.JSON:
        write_json({"schema": _SCHEMA, "pieces": [{**_row(each.piece), "source": each.source} for each in found]})
        return
    for each in found:
        row = _row(each.piece)
        sys.stdout.write(f"{row['name']}, until {row['not_after']}   {each.source}\n")


def _row(piece: Stored) -> dict[str, str]:
    from .clock import format_time
    from .framing import sha256

    return {
        "name": str(piece.name),
        "file": piece.name.file_name,
        "sha256": sha256(piece.der).hex(),
        "not_before": format_time(piece.not_before),
        "not_after": format_time(piece.not_after),
    }
