"""Runs whole graphs of components written for a test: any parts, joined by any channels.

parts = {"main": Part(wasm=..., imports=..., exports=(RUN,), entry=RUN, profile="files"), "adder": Part(wasm=...)}
manifest = graph(parts, [("call", "adder.test:math/adder@1.0.0", "main.test:math/adder@1.0.0")], ["main.report"])
ran = run_graph(manifest, parts, {"table": b"..."})
ran.failures, ran.outputs["main.report"]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.support.actor import isolation, item
from tests.support.manifests import Document, World

from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.manifest import Manifest

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component of a graph."""

    wasm: bytes
    exports: tuple[str, ...]
    imports: tuple[str, ...] = ()
    entry: str = ""
    profile: str = "pure"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRan:
    """How a run of a graph ended."""

    failures: Mapping[str, str]
    outputs: Mapping[str, bytes]


def graph(
    parts: Mapping[str, Part],
    channels: Sequence[tuple[str, str, str]],
    outputs: Sequence[str],
    *,
    max_bytes: int = MEBIBYTE,
    memory_bytes: int = 64 * MEBIBYTE,
    wall_seconds: int = 20,
    fuel: int = 0,
    **rules: Any,
) -> Manifest:
    """Return a manifest of these parts.

    Args:
        parts: By name.
        channels: Kind, source (`table` for data, `main.port` for a port) and target of each.
        outputs: Ports.
        max_bytes: Of every item, channel and output.
        memory_bytes: Of every component.
        wall_seconds: Of every component.
        fuel: Likewise, or 0.
        rules: Members of `rules`.
    """

    def edit(document: Document) -> None:
        owner, other = (entry["name"] for entry in document["participants"])
        limits = {"memory_bytes": memory_bytes, "wall_seconds": wall_seconds, "output_bytes": max_bytes * 64}
        limits |= {"fuel": fuel} if fuel else {}
        document["components"] = [_component(name, part, owner, limits) for name, part in parts.items()]
        items = sorted({source for _, source, _ in channels if "." not in source})
        document["data"] = [
            {"name": name, "owner": other, "media_type": "text/plain", "max_bytes": max_bytes} for name in items
        ]
        document["channels"] = [_channel(kind, source, target, max_bytes) for kind, source, target in channels]
        document["outputs"] = [
            {"name": _name(port), "from": f"component:{port}", "recipients": [owner], "max_bytes": max_bytes}
            for port in outputs
        ]
        document["rules"] |= rules
        for name in ("data", "channels"):
            if not document[name]:
                del document[name]

    return World(participants=2, items=1, components=1, edit=edit).manifest


def admitted(manifest: Manifest, parts: Mapping[str, Part]) -> Runtime:
    """Return a runtime that has admitted all parts; the caller wipes it, here only where one is refused."""
    runtime = Runtime(manifest, isolation=isolation())
    try:
        for component in manifest.components:
            with closing(item(component.name, parts[component.name].wasm)) as own:
                runtime.admit(component, own)
    except BaseException:
        runtime.wipe()
        raise
    return runtime


def run_admitted(runtime: Runtime, manifest: Manifest, data: Mapping[str, bytes]) -> GraphRan:
    """Run what was admitted."""
    inputs = {name: item(name, content) for name, content in data.items()}
    result = runtime.run(inputs)
    names = {output.name: str(output.source).removeprefix("component:") for output in manifest.outputs}
    outputs = {names[name]: each.open().read() for name, each in result.outputs.items()}
    for each in (*result.outputs.values(), *inputs.values()):
        each.close()
    return GraphRan(failures=dict(result.failures), outputs=outputs)


def run_graph(manifest: Manifest, parts: Mapping[str, Part], data: Mapping[str, bytes]) -> GraphRan:
    """Admit all parts, run the graph, and take everything away again."""
    runtime = admitted(manifest, parts)
    try:
        return run_admitted(runtime, manifest, data)
    finally:
        runtime.wipe()


def _component(name: str, part: Part, owner: str, limits: Mapping[str, int]) -> Document:
    document = {
        "name": name,
        "owner": owner,
        "sha256": hashlib.sha256(part.wasm).hexdigest(),
        "profile": part.profile,
        "entry": part.entry,
        "imports": list(part.imports),
        "exports": list(part.exports),
        "limits": dict(limits),
    }
    return {key: member for key, member in document.items() if member not in ("", [])}


def _channel(kind: str, source: str, target: str, max_bytes: int) -> Document:
    start = f"component:{source}" if "." in source else f"data:{source}"
    channel = {"from": start, "to": f"component:{target}", "kind": kind}
    return channel if kind == "call" else channel | {"max_bytes": max_bytes}


def _name(port: str) -> str:
    return port.replace(".", "-")
