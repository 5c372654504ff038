"""`twocvm run --local`: a manifest on this machine, on one's own data, with everything told."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twocvm_verifier.shell import Form, OutputForm, command_group, read_file, unusable, write_json

if TYPE_CHECKING:
    from twocvm_verifier.manifest import Manifest
    from twocvm_verifier.strictjson import Json

    from .runtime.isolation import IsolationReport
    from .runtime.items import Item

app = command_group()

_CHUNK_BYTES: Final = 1 << 20
_MAX_COMPONENT_BYTES: Final = 1 << 30

ManifestFile = Annotated[
    Path,
    typer.Option("--local", metavar="FILE", help="A manifest, TOML or JSON; what only a session needs may be missing."),
]
Data = Annotated[list[str], typer.Option("--data", metavar="NAME=FILE", help="A data item; each once.")]
Components = Annotated[
    list[str],
    typer.Option("--component", metavar="NAME=FILE", help="A component; else NAME.wasm beside the manifest."),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where outputs are written, each by its name.")]


@app.command("run")
def run_command(
    manifest: ManifestFile,
    data: Data = [],  # noqa: B006 - typer's own form of an option that may be given often, and nobody changes it
    component: Components = [],  # noqa: B006
    out: Out = None,
    output: Form = OutputForm.TEXT,
) -> None:
    """Run a manifest here, on data that is all one's own, as a guest would, and tell everything about it.

    No platform, no participants, no signatures. A guest tells nobody what a component says, or what it used.

    Exit status: 0 completed, 2 a file is missing, 11 a component is refused or failed, 20 the manifest needs what this
    version has not got, 30 it is not valid.
    """
    from .local.run import run_local
    from .local.show import as_json, lines
    from .runtime.isolation import probe

    isolation = probe()
    with ExitStack() as held:
        parsed, components = _manifest(manifest, _pairs(component, "--component"), held, isolation)
        items = _data(parsed, _pairs(data, "--data"), held)
        ran = run_local(parsed, components=components, data=items, isolation=isolation)
        for each in ran.outputs.values():
            held.enter_context(closing(each))
        if out is not None:
            _write(ran.outputs, out, declared=[each.name for each in parsed.outputs])
        if output is OutputForm.JSON:
            write_json(as_json(ran))
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines(ran))
    if ran.code:
        from twocvm_verifier.codes import CODES

        raise typer.Exit(CODES[ran.code].exit_status)


def _manifest(
    path: Path, given: Mapping[str, Path], held: ExitStack, isolation: IsolationReport
) -> tuple[Manifest, dict[str, Item]]:
    """Return the manifest of a file, completed, and the file of each of its components."""
    import secrets

    from twocvm_verifier.clock import SystemClock
    from twocvm_verifier.manifest.author import read_json, read_toml

    from .local.draft import Built, complete
    from .runtime.inspection import inspect

    raw = read_file(path, option="--local")
    document = read_json(raw) if raw.lstrip().startswith(b"{") else read_toml(raw.decode("utf-8", errors="replace"))
    items, built = {}, {}
    for name, is_draft in _components(document, given):
        file = given.get(name, path.parent / f"{name}.wasm")
        items[name] = _item(name, file, _MAX_COMPONENT_BYTES, f"--component {name}=FILE", held)
        if is_draft:
            built[name] = Built(sha256=items[name].sha256, description=inspect(items[name], isolation=isolation))
    return complete(document, built, at=SystemClock().now(), randomness=secrets.token_bytes), items


def _components(document: Json, given: Mapping[str, Path]) -> Iterator[tuple[str, bool]]:
    """Yield the name of each component that a document has, whatever it is, and whether any file may be that one."""
    from twocvm_verifier.manifest.place import is_name

    members = document.get("components") if isinstance(document, Mapping) else None
    tables = [each for each in members if isinstance(each, Mapping)] if isinstance(members, list) else []
    names = {each["name"]: "sha256" not in each for each in tables if isinstance(each.get("name"), str)}
    if unknown := sorted(given.keys() - names.keys()):
        raise typer.BadParameter(f"the manifest has no component {unknown[0]!r}", param_hint="--component")
    yield from ((name, is_draft) for name, is_draft in names.items() if is_name(name))


def _data(manifest: Manifest, given: Mapping[str, Path], held: ExitStack) -> dict[str, Item]:
    wanted = {item.name for item in manifest.data}
    for name in sorted(wanted ^ given.keys()):
        problem = "is not given" if name in wanted else "is not in the manifest"
        raise typer.BadParameter(f"data item {name!r} {problem}", param_hint="--data")
    return {item.name: _item(item.name, given[item.name], item.max_bytes, "--data", held) for item in manifest.data}


def _item(name: str, file: Path, max_bytes: int, option: str, held: ExitStack) -> Item:
    from .runtime.items import ItemWriter

    writer = ItemWriter(name, max_bytes=max_bytes)
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                writer.write(chunk)
    except OSError as error:
        raise unusable(file, error, option=option) from error
    return held.enter_context(closing(writer.seal()))


def _pairs(values: list[str], option: str) -> dict[str, Path]:
    pairs: dict[str, Path] = {}
    for value in values:
        name, equals, file = value.partition("=")
        if not (equals and name and file) or name in pairs:
            raise typer.BadParameter(f"{value!r}: want NAME=FILE, each name once", param_hint=option)
        pairs[name] = Path(file)
    return pairs


def _write(outputs: Mapping[str, Item], folder: Path, *, declared: Iterable[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What an earlier run left must not pass for what this one did not make.
        for name in declared:
            (folder / name).unlink(missing_ok=True)
        for name, item in outputs.items():
            with item.open() as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
    except OSError as error:
        raise unusable(folder, error, option="--out") from error
