"""`twocvm manifest new|check|hash|show|explain|diff`: files, randomness and the terminal are here and nowhere below.

`twocvm manifest sign` needs a participant's keys and is in the SDK's command line.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from .shell import STDIO, Form, OutputForm, command_group, read_file, read_manifest, write_file, write_json

if TYPE_CHECKING:
    from .manifest import Manifest, ManifestError

app = command_group()


def _file(text: str) -> Any:  # noqa: ANN401 - what typer's own function returns
    # Not exists=True: typer then takes the dash for a file's name.
    return typer.Argument(metavar="FILE", help=text)


Canonical: TypeAlias = Annotated[Path, _file("A canonical manifest; - is stdin.")]
Authored: TypeAlias = Annotated[Path, _file("An authored manifest, TOML or JSON; - is stdin.")]
Either: TypeAlias = Annotated[Path, _file("A canonical manifest, or an authored TOML document; - is stdin.")]
Out: TypeAlias = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it; - is stdout.")]
_HOST: Final = "host"


class ShownForm(StrEnum):
    """What `show --format` takes."""

    TEXT = "text"
    SVG = "svg"
    MERMAID = "mermaid"


@app.callback()
def _group() -> None:
    """Write, check and read Commitment Manifests."""


@app.command("new")
def new_command(source: Authored, out: Out = STDIO) -> None:
    """Turn an authored TOML or JSON manifest into the canonical one: sets sorted, salt drawn where there is none.

    Exit status: 0 written, 20 it needs what this version has not got, 30 it is not valid.
    """
    manifest = _author(source)
    # Not one byte more: a line end would not be canonical.
    write_file(out, manifest.raw, option="--out")
    typer.echo(f"{manifest.name} {manifest.hash.hex()}", err=True)


@app.command("check")
def check_command(manifest: Either, output: Form = OutputForm.TEXT) -> None:
    """List every problem of a manifest, each with its place.

    Exit status: 0 valid, 20 it needs what this version has not got, 30 it is not valid.
    """
    from .manifest import ManifestError, parse_manifest

    raw = read_file(manifest, option="FILE")
    try:
        parsed = parse_manifest(raw) if _is_json(raw) else _author_raw(raw)
    except ManifestError as error:
        _write_problems(error, output)
        raise typer.Exit(error.exit_status) from error
    if output is OutputForm.JSON:
        write_json({"valid": True, "hash": parsed.hash.hex(), "problems": []})
    else:
        typer.echo(f"{parsed.name} is valid")


@app.command("hash")
def hash_command(manifest: Canonical) -> None:
    """Print the hash that names a manifest: what participants sign and guests prove."""
    typer.echo(read_manifest(manifest, option="FILE").hash.hex())


@app.command("show")
def show_command(
    manifest: Canonical,
    output: Form = OutputForm.TEXT,
    shown: Annotated[ShownForm, typer.Option("--format", help="Lines, or a drawing of what may flow where.")] = (
        ShownForm.TEXT
    ),
    out: Out = STDIO,
) -> None:
    """Show what a manifest permits: who reads what, and what can reach whom."""
    parsed = read_manifest(manifest, option="FILE")
    if output is OutputForm.JSON:
        if shown is not ShownForm.TEXT or out != STDIO:
            raise typer.BadParameter("the JSON form takes neither --format nor --out", param_hint="-o")
        write_json({"hash": parsed.hash.hex(), "manifest": json.loads(parsed.raw)})
    else:
        write_file(out, _shown(parsed, shown).encode(), option="--out")


def _shown(manifest: Manifest, form: ShownForm) -> str:
    if form is ShownForm.TEXT:
        from .manifest.summary import summary

        return "\n".join(summary(manifest)) + "\n"
    from .manifest.drawing import TooLargeToDrawError, mermaid, picture, svg

    try:
        drawn = picture(manifest)
    except TooLargeToDrawError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from error
    return svg(drawn) if form is ShownForm.SVG else mermaid(drawn)


@app.command("explain")
def explain_command(
    manifest: Canonical,
    me: Annotated[str, typer.Option("--as", metavar="NAME", help="The participant who asks.")],
    companions: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="NAME", help="A participant taken to pool what it learns, or `host`; may be repeated."
        ),
    ] = None,
    output: Form = OutputForm.TEXT,
) -> None:
    """Explain a manifest before it is signed: who sees what, what a coalition can learn, what is not protected."""
    from .manifest.explain import explain, lines

    parsed = read_manifest(manifest, option="FILE")
    known = sorted(entry.name for entry in parsed.participants)
    _known_name(me, known, option="--as")
    others = set(companions or ())
    for name in sorted(others - {_HOST}):
        _known_name(name, [*known, _HOST], option="--with")
    explanation = explain(parsed, me=me, companions=others - {_HOST}, host=_HOST in others)
    if output is OutputForm.JSON:
        write_json(explanation.to_json())
    else:
        typer.echo("\n".join(lines(explanation)))


def _known_name(name: str, known: list[str], *, option: str) -> None:
    if name not in known:
        raise typer.BadParameter(f"no participant is called {name!r}, but {', '.join(known)}", param_hint=option)


@app.command("diff")
def diff_command(before: Canonical, after: Canonical, output: Form = OutputForm.TEXT) -> None:
    """Show where two manifests differ, by names; nothing where they are the same."""
    from .manifest.difference import differences

    found = differences(*(json.loads(read_manifest(path, option="FILE").raw) for path in (before, after)))
    if output is OutputForm.JSON:
        write_json([{"place": one.place, "before": one.before, "after": one.after} for one in found])
    else:
        for one in found:
            typer.echo(str(one))


def _author(source: Path) -> Manifest:
    raw = read_file(source, option="FILE")
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


def _is_json(raw: bytes) -> bool:
    # No TOML document begins with a brace.
    return raw.lstrip().startswith(b"{")


def _write_problems(error: ManifestError, output: OutputForm) -> None:
    if output is OutputForm.JSON:
        problems = [
            {"rule": problem.rule, "pointer": problem.pointer, "detail": problem.detail} for problem in error.problems
        ]
        write_json({"valid": False, "code": error.code, "problems": problems})
        return
    for problem in error.problems:
        typer.echo(f"{problem} ({problem.rule})")
