"""`twocvm component inspect|check`: what a guest would say of a component, before anything is sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twocvm_verifier.shell import STDIO, Form, OutputForm, command_group, read_manifest, unusable, write_json

if TYPE_CHECKING:
    from twocvm_verifier.manifest import Component, Manifest

    from .runtime.inspection import Description, Difference
    from .runtime.items import Item

app = command_group()
component = command_group("Look at components as a guest does.")
app.add_typer(component, name="component")

_CHUNK_BYTES: Final = 1 << 20
_MAX_FILE_BYTES: Final = 1 << 30


File = Annotated[Path, typer.Argument(metavar="FILE", help="A component (.wasm); - is stdin.")]
ManifestFile = Annotated[Path, typer.Option("--manifest", metavar="FILE", help="The canonical manifest; - is stdin.")]
Name = Annotated[str, typer.Option("--component", metavar="NAME", help="Which component of the manifest it is.")]


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
def check_command(file: File, manifest: ManifestFile, name: Name = "", output: Form = OutputForm.TEXT) -> None:
    """Say whether a guest would admit a component under a manifest, and every reason why not.

    Exit status: 0 it would, 2 the manifest has no such component, 11 it would not, 30 it is no component.
    """
    item = _read(file)
    entry = _entry(read_manifest(manifest), item, name)
    found = _differences(entry, item)
    if output is OutputForm.JSON:
        problems = [{"code": each.code, "detail": each.detail} for each in found]
        write_json({"component": entry.name, "admitted": not found, "problems": problems})
    elif found:
        for each in found:
            typer.echo(f"{each.code}: {each.detail}")
    else:
        typer.echo(f"{entry.name}: a guest admits it")
    if found:
        from twocvm_verifier.codes import CODES

        raise typer.Exit(CODES[found[0].code].exit_status)


def _differences(entry: Component, item: Item) -> tuple[Difference, ...]:
    from twocvm_verifier.errors import ComponentError

    from .runtime import gate
    from .runtime.inspection import Difference, differences, inspect
    from .runtime.isolation import probe
    from .runtime.live import Live

    isolation = probe()
    description = inspect(item, isolation=isolation)
    found = differences(description, imports=entry.imports, exports=entry.exports, entry=entry.entry)
    if item.sha256 != entry.sha256:
        detail = f"has SHA-256 {item.sha256.hex()}, the manifest {entry.sha256.hex()}"
        return (Difference(code="COMPONENT_DIGEST", detail=detail), *found)
    if found:
        return found
    try:
        gate.admit(entry, item, live=Live(), isolation=isolation).close()
    except ComponentError as error:
        return (Difference(code=error.code, detail=error.row.meaning),)
    return ()


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
