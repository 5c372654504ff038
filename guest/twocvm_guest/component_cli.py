"""`twocvm component new|build|inspect|check`: from nothing to a component that a guest admits, before one is there."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twocvm_verifier.shell import (
    STDIO,
    Form,
    OutputForm,
    command_group,
    read_manifest,
    unusable,
    write_file,
    write_json,
)

from .authoring.language import Language

if TYPE_CHECKING:
    from twocvm_verifier.manifest import Component, Manifest

    from .authoring.verdict import Refusal
    from .runtime.inspection import Description
    from .runtime.items import Item

app = command_group()
component = command_group("Begin, build and judge components.")
app.add_typer(component, name="component")

_CHUNK_BYTES: Final = 1 << 20
_MAX_FILE_BYTES: Final = 1 << 30


File = Annotated[Path, typer.Argument(metavar="FILE", help="A component (.wasm); - is stdin.")]
ManifestFile = Annotated[
    Path | None,
    typer.Option("--manifest", metavar="FILE", help="The canonical manifest; - is stdin. Without: any manifest."),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The component's folder.")]
Built = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Where to write it; else DIR/NAME.wasm, by the folder's name."),
]
Lang = Annotated[Language, typer.Option("--lang", help="What it is written in.")]
Name = Annotated[str, typer.Option("--component", metavar="NAME", help="Which component of the manifest it is.")]


@component.command("new")
def new_command(folder: Folder, language: Lang = Language.C) -> None:
    """Make a folder with a component that works: source, sample of data, manifest for local runs, test.

    Its last part is the component's name. Exit status: 0 made, 2 the name is none, or the folder is there already.
    """
    from twocvm_verifier.manifest.place import is_name

    from .authoring.template import new_component

    name = folder.resolve().name
    if not is_name(name):
        wanted = "want a lower case letter, then lower case letters, digits and -, at most 63 in all"
        raise typer.BadParameter(f"{name!r} is no name: {wanted}", param_hint="DIR")
    try:
        files = new_component(folder, name, language)
    except OSError as error:
        raise unusable(folder, error, option="DIR") from error
    typer.echo("\n".join(str(folder / file) for file in files))
    typer.echo(f"needs once: {language.setup}", err=True)


@component.command("build")
def build_command(folder: Folder, out: Built = None) -> None:
    """Build the component of a folder, whose main file is component.c, component.py or component.js.

    Exit status: 0 built, 20 its tool is not installed (and how to), 30 the source is refused.
    """
    from .authoring.build import build

    target = folder / f"{folder.resolve().name}.wasm" if out is None else out
    content = build(folder)
    write_file(target, content, option="--out")
    typer.echo(f"{target}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}", err=target == STDIO)


@component.command("inspect")
def inspect_command(file: File, output: Form = OutputForm.TEXT) -> None:
    """Show digest, imports and exports of a component, with their types.

    Exit status: 0 shown, 11 it takes too much to read, 30 it is no component.
    """
    from .runtime.inspection import inspect, profile_of
    from .runtime.isolation import probe

    item = _read(file)
    description = inspect(item, isolation=probe())
    profile = profile_of(description)
    result = {
        "sha256": item.sha256.hex(),
        "size_bytes": item.size_bytes,
        "profile": profile.value if profile else "",
        "imports": dict(sorted(description["imports"].items())),
        "exports": dict(sorted(description["exports"].items())),
    }
    if output is OutputForm.JSON:
        write_json(result)
        return
    typer.echo(f"sha256   {item.sha256.hex()}")
    typer.echo(f"size     {item.size_bytes} bytes")
    typer.echo(f"profile  {profile.value if profile else 'none: it imports what no profile allows'}")
    _show("imports", description)
    _show("exports", description)


@component.command("check")
def check_command(file: File, manifest: ManifestFile = None, name: Name = "", output: Form = OutputForm.TEXT) -> None:
    """Say whether a guest would admit a component, every reason why not, and what to change.

    Exit status: 0 it would, 2 the manifest has no such component, 11 it would not, 30 it is no component.
    """
    item = _read(file)
    label, found = _judge(item, None if manifest is None else read_manifest(manifest), name)
    if output is OutputForm.JSON:
        problems = [{"code": each.code, "detail": each.detail, "advice": each.advice} for each in found]
        write_json({"component": label, "admitted": not found, "problems": problems})
    elif found:
        for each in found:
            typer.echo(f"{each.code}: {each.detail}")
            if each.advice:
                typer.echo(f"  {each.advice}")
    else:
        typer.echo(f"{label}: a guest admits it")
    if found:
        from twocvm_verifier.codes import CODES

        raise typer.Exit(CODES[found[0].code].exit_status)


def _judge(item: Item, manifest: Manifest | None, name: str) -> tuple[str, tuple[Refusal, ...]]:
    """Return what the component is called, and every reason against it."""
    from .authoring.verdict import judge, judge_alone
    from .runtime.isolation import probe

    isolation = probe()
    if manifest is None:
        return item.name, judge_alone(item, isolation=isolation)
    entry = _entry(manifest, item, name)
    return entry.name, judge(item, entry, manifest, isolation=isolation)


def _entry(manifest: Manifest, item: Item, name: str) -> Component:
    for entry in manifest.components:
        if entry.name == name or (not name and entry.sha256 == item.sha256):
            return entry
    if name:
        raise typer.BadParameter(f"the manifest has no component {name!r}", param_hint="--component")
    names = ", ".join(entry.name for entry in manifest.components)
    raise typer.BadParameter(f"no component of the manifest has this digest; say which it is to be: {names}")


def _show(word: str, description: Description) -> None:
    typer.echo(f"{word}")
    for name, members in sorted(description[word].items()):
        typer.echo(f"  {name}")
        for member, kind in members.items():
            typer.echo(f"    {member}: {kind}" if member != name else f"    {kind}")


def _read(file: Path) -> Item:
    from .runtime.items import ItemWriter

    writer = ItemWriter(file.name, max_bytes=_MAX_FILE_BYTES)
    try:
        with sys.stdin.buffer if file == STDIO else file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                writer.write(chunk)
    except OSError as error:
        raise unusable(file, error, option="FILE") from error
    return writer.seal()
