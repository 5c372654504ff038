"""`twocvm manifest new|check|hash|show|diff`: files, randomness and the terminal are here and nowhere below.

`twocvm manifest sign` needs a participant's keys and is in the SDK's command line.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

if TYPE_CHECKING:
    from .manifest import Manifest, ManifestError

app = typer.Typer(no_args_is_help=True)

STDIO: Final = Path("-")
# More than the largest manifest; the parser has its own, exact limit.
_MAX_FILE_BYTES: Final = 4 << 20


class OutputForm(StrEnum):
    """What `-o` takes."""

    TEXT = "text"
    JSON = "json"


def _file(text: str) -> Any:  # noqa: ANN401 - what typer's own function returns
    # Not exists=True: typer then takes the dash for a file's name.
    return typer.Argument(metavar="FILE", help=text)


Canonical: TypeAlias = Annotated[Path, _file("A canonical manifest; - is stdin.")]
Authored: TypeAlias = Annotated[Path, _file("An authored manifest, TOML or JSON; - is stdin.")]
Either: TypeAlias = Annotated[Path, _file("A canonical manifest, or an authored TOML document; - is stdin.")]
Out: TypeAlias = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it; - is stdout.")]
Form: TypeAlias = Annotated[OutputForm, typer.Option("-o", "--output", help="How the result is printed.")]


@app.callback()
def _group() -> None:
    """Write, check and read Commitment Manifests."""


@app.command("new")
def new_command(source: Authored, out: Out = STDIO) -> None:
    """Turn an authored TOML or JSON manifest into the canonical one: sets sorted, salt drawn where there is none.

    Exit status: 0 written, 20 it needs what this version has not got, 30 it is not valid.
    """
    manifest = _author(source)
    if out == STDIO:
        # Not one byte more: a line end would not be canonical.
        sys.stdout.buffer.write(manifest.raw)
        sys.stdout.buffer.flush()
    else:
        try:
            out.write_bytes(manifest.raw)
        except OSError as error:
            raise typer.BadParameter(f"{out}: {error.strerror}") from error
    typer.echo(f"{manifest.name} {manifest.hash.hex()}", err=True)


@app.command("check")
def check_command(manifest: Either, output: Form = OutputForm.TEXT) -> None:
    """List every problem of a manifest, each with its place.

    Exit status: 0 valid, 20 it needs what this version has not got, 30 it is not valid.
    """
    from .manifest import ManifestError

    raw = _read(manifest)
    try:
        parsed = _parse(raw) if _is_json(raw) else _author_raw(raw)
    except ManifestError as error:
        _write_problems(error, output)
        raise typer.Exit(error.exit_status) from error
    if output is OutputForm.JSON:
        _write_json({"valid": True, "hash": parsed.hash.hex(), "problems": []})
    else:
        typer.echo(f"{parsed.name} is valid")


@app.command("hash")
def hash_command(manifest: Canonical) -> None:
    """Print the hash that names a manifest: what participants sign and guests prove."""
    typer.echo(_parse(_read(manifest)).hash.hex())


@app.command("show")
def show_command(manifest: Canonical, output: Form = OutputForm.TEXT) -> None:
    """Show what a manifest permits: who reads what, and what can reach whom."""
    from .manifest.summary import summary

    parsed = _parse(_read(manifest))
    if output is OutputForm.JSON:
        _write_json({"hash": parsed.hash.hex(), "manifest": json.loads(parsed.raw)})
    else:
        typer.echo("\n".join(summary(parsed)))


@app.command("diff")
def diff_command(before: Canonical, after: Canonical, output: Form = OutputForm.TEXT) -> None:
    """Show where two manifests differ, by names; nothing where they are the same."""
    from .manifest.difference import differences

    found = differences(*(json.loads(_parse(_read(path)).raw) for path in (before, after)))
    if output is OutputForm.JSON:
        _write_json([{"place": one.place, "before": one.before, "after": one.after} for one in found])
    else:
        for one in found:
            typer.echo(str(one))


def _author(source: Path) -> Manifest:
    raw = _read(source)
    if _is_json(raw):
        import secrets

        from .manifest.author import from_json

        return from_json(raw, randomness=secrets.token_bytes)
    return _author_raw(raw)


def _author_raw(raw: bytes) -> Manifest:
    import secrets

    from .manifest import ManifestError, Problem
    from .manifest.author import from_toml
    from .manifest.problems import Rule

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError((Problem(rule=Rule.JSON, pointer="", detail="not UTF-8"),)) from error
    return from_toml(text, randomness=secrets.token_bytes)


def _parse(raw: bytes) -> Manifest:
    from .manifest import parse_manifest

    return parse_manifest(raw)


def _is_json(raw: bytes) -> bool:
    # No TOML document begins with a brace.
    return raw.lstrip().startswith(b"{")


def _read(path: Path) -> bytes:
    if path == STDIO:
        return sys.stdin.buffer.read(_MAX_FILE_BYTES)
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error


def _write_problems(error: ManifestError, output: OutputForm) -> None:
    if output is OutputForm.JSON:
        problems = [
            {"rule": problem.rule, "pointer": problem.pointer, "detail": problem.detail} for problem in error.problems
        ]
        _write_json({"valid": False, "code": error.code, "problems": problems})
        return
    for problem in error.problems:
        typer.echo(f"{problem} ({problem.rule})")


def _write_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True))
