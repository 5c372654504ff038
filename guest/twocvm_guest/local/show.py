"""What a local run comes to, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twocvm_verifier.codes import CODES

from .run import LocalRun, NodeStory
from .watched import Testimony

_MIB: Final = 1 << 20


def lines(ran: LocalRun) -> Iterator[str]:
    """Yield the run for people, each node with what it said."""
    for node in ran.nodes:
        yield from _node_lines(node)
    for name, code in ran.refused.items():
        yield f"filter {name}: refused{_meaning(code)}"
    for name, item in ran.outputs.items():
        yield f"output {name}: {item.size_bytes} bytes, SHA-256 {item.sha256.hex()}"
    yield f"failed: {ran.code}" if ran.code else "completed"


def as_json(ran: LocalRun) -> dict[str, object]:
    """Return the run for programs."""
    return {
        "schema": "twocvm/local-run/v1",
        "outcome": "failed" if ran.code else "completed",
        "code": ran.code,
        "nodes": [_node_json(node) for node in ran.nodes],
        "refused": dict(ran.refused),
        "outputs": {
            name: {"bytes": item.size_bytes, "sha256": item.sha256.hex()} for name, item in ran.outputs.items()
        },
    }


def _node_lines(node: NodeStory) -> Iterator[str]:
    told = node.told
    if told is None:
        yield f"{node.name}: {'failed' if node.code else 'not run'}{_meaning(node.code)}"
        return
    yield f"{node.name}: {'failed' if node.code else 'ended well'}{_meaning(node.code)}"
    if told.has_ended:
        fuel = f", {told.fuel} of {node.fuel_limit} fuel" if node.fuel_limit else ""
        yield (
            f"  {told.seconds:.3f} s, {told.memory_bytes / _MIB:.1f} of {node.memory_limit_bytes / _MIB:.1f} MiB{fuel}"
        )
    if told.exit_code >= 0:
        yield f"  exit status {told.exit_code}"
    elif told.cause:
        yield from (f"  {plain(line)}" for line in told.cause.splitlines())
    yield from (f"  | {plain(line)}" for line in told.said.splitlines())
    if told.dropped_bytes:
        yield f"  | ... and {told.dropped_bytes} bytes more"


def _meaning(code: str) -> str:
    return f", {code}: {CODES[code].meaning}" if code else ""


def _node_json(node: NodeStory) -> dict[str, object]:
    told = node.told or Testimony(said="")
    return {
        "name": node.name,
        "started": node.told is not None,
        "code": node.code,
        "meaning": CODES[node.code].meaning if node.code else "",
        "said": told.said,
        "dropped_bytes": told.dropped_bytes,
        "measured": told.has_ended,
        "seconds": told.seconds,
        "memory_bytes": told.memory_bytes,
        "memory_limit_bytes": node.memory_limit_bytes,
        "fuel": told.fuel,
        "fuel_limit": node.fuel_limit,
        "exit_code": told.exit_code,
        "cause": told.cause,
    }


def plain(text: str) -> str:
    """Return text of a component's as a terminal may have it: what is not printable is spelled out."""
    return "".join(each if each.isprintable() or each == "\t" else f"\\x{ord(each):02x}" for each in text)
