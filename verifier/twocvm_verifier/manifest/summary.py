"""What a manifest permits, in lines for people who are about to sign it.

Everything that a name could be mistaken for is spelled out: who reads what, what can reach whom, and through which
filters. Text of strangers (purpose, labels, identifiers) stands in quotes; a parsed manifest has no control or
bidirectional characters, so it cannot rearrange a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twocvm_verifier.clock import format_time

from .filter_words import describe
from .graph import Flow, Node
from .model import Channel, DataItem, DataRef, Manifest, Output, ParticipantEntry
from .platform import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, BitDemand, Platform
from .wording import listed, quoted, size


def summary(manifest: Manifest) -> tuple[str, ...]:
    """Return the lines that show a manifest."""
    flow = Flow(manifest)
    return (
        manifest.name,
        f"  {quoted(manifest.purpose)}",
        f"  hash {manifest.hash.hex()}",
        f"  from {format_time(manifest.not_before)} to {format_time(manifest.not_after)}",
        *_section("Participants", (_participant(entry) for entry in manifest.participants)),
        *_section("Platform", (_platform(manifest.platform),)),
        *_section("Data", (_item(item, manifest, flow) for item in manifest.data)),
        *_section("Code, in the order it runs", (_node(node, flow) for node in flow.nodes)),
        *_section("Outputs", (_output(output, flow) for output in manifest.outputs)),
        *_section("Rules", (_rules(manifest),)),
    )


def _section(title: str, parts: Iterable[Iterator[str]]) -> Iterator[str]:
    lines = [f"  {line}" for part in parts for line in part]
    if lines:
        yield ""
        yield title
        yield from lines


def _participant(entry: ParticipantEntry) -> Iterator[str]:
    yield entry.name
    if entry.display:
        yield f"  calls itself {quoted(entry.display)}, which proves nothing"
    if entry.external_id:
        yield f"  goes by {quoted(entry.external_id)}, which proves nothing"
    yield f"  signs with key {entry.consent.hex()}"
    for key in entry.tls:
        yield f"  connects with key {key.hex()}"


def _platform(platform: Platform) -> Iterator[str]:
    if platform.simulated:
        yield "SIMULATED platforms are accepted: they protect nothing"
    yield f"on {listed(platform.products)}, the host run by {platform.operator}"
    for measurement in platform.measurements:
        yield f"measurement {measurement.hex()}"
    for measurement in platform.firmware_measurements:
        yield f"measurement {measurement.hex()} of a provider's firmware alone, which proves nothing of what it starts"
    for kind, digests in (("id key", platform.id_key_digests), ("author key", platform.author_key_digests)):
        for digest in digests:
            yield f"{kind} {digest.hex()}"
    for product, floor in platform.minimum_tcb.items():
        yield f"{product} at least " + listed(f"{part} {least}" for part, least in floor.items())
    yield from _bits("guest policy", platform.guest_policy, GUEST_POLICY_BITS.items())
    yield from _bits("platform info", platform.platform_info, PLATFORM_INFO_BITS.items())
    for kind, mask in (("launch", platform.mitigations.launch), ("current", platform.mitigations.current)):
        if mask:
            yield f"{kind} mitigation bits " + listed(str(bit) for bit in range(64) if mask >> bit & 1)
    yield f"VMPL {platform.vmpl}"
    for chip_id in platform.chip_ids:
        yield f"chip {chip_id.hex()}"
    for ledger in platform.ledgers:
        yield f"measurements stand in the ledger {quoted(ledger.origin)}, seen by {ledger.quorum} witnesses"


def _bits(kind: str, demand: BitDemand, names: Iterable[tuple[str, int]]) -> Iterator[str]:
    for verb, mask in (("with", demand.required), ("without", demand.forbidden)):
        if mask:
            yield f"{kind} {verb} " + listed(name for name, bit in names if mask >> bit & 1)


def _item(item: DataItem, manifest: Manifest, flow: Flow) -> Iterator[str]:
    content = f"only what commits to {item.commitment.hex()}" if item.commitment else f"whatever {item.owner} releases"
    yield f"{item.name}, of {item.owner}: {item.media_type}, {size(item.max_bytes)}, {content}"
    yield "  read by " + listed(
        str(channel.target).partition(":")[2]
        for channel in manifest.channels
        if isinstance(channel.source, DataRef) and channel.source.name == item.name
    )
    reached = flow.outputs_reached_by(item.name)
    yield "  can reach " + listed(sorted({name for output in reached for name in output.recipients}), none="nobody")
    if item.must_pass:
        yield "  only through the filters " + listed(item.must_pass)
    if item.must_not_reach:
        yield "  and never " + listed(item.must_not_reach)


def _node(node: Node, flow: Flow) -> Iterator[str]:
    if len(node.members) > 1:
        yield f"{node.name}, one node with " + listed(
            member.name for member in node.members if member.name != node.name
        )
    for member in node.members:
        yield f"{member.name}, of {member.owner}: profile {member.profile}, sha256 {member.sha256.hex()}"
    for channel in node.inputs:
        yield f"  reads {_channel(channel)}"
    yield "  sees " + listed(item.name for item in flow.items_reaching(node.name))
    limits = node.limits
    fuel = "" if limits.fuel is None else f", {limits.fuel:,} fuel"
    yield (
        f"  within {limits.memory_bytes:,} bytes of memory, {limits.wall_seconds} s, "
        f"{limits.output_bytes:,} bytes of output{fuel}"
    )


def _channel(channel: Channel) -> str:
    source = str(channel.source).partition(":")[2]
    return f"{source} at port {channel.target.port} ({channel.kind}, {size(channel.max_bytes)})"


def _output(output: Output, flow: Flow) -> Iterator[str]:
    yield f"{output.name}, for {listed(output.recipients)}: {size(output.max_bytes)}, from {output.source}"
    node = next(node for node in flow.nodes if output in node.outputs)
    yield "  may tell of " + listed(item.name for item in flow.items_reaching(node.name))
    if output.filters:
        yield "  through the filters " + listed(output.filters)


def _rules(manifest: Manifest) -> Iterator[str]:
    rules = manifest.rules
    yield f"deadline {rules.deadline_seconds} s, {'nodes in parallel' if rules.parallel else 'one node at a time'}"
    seed = f", seed {rules.seed.hex()}" if rules.seed else ""
    yield f"clock {rules.clock}, random {rules.random}{seed}"
    for found in manifest.filters:
        yield f"filter {found.name}, of {found.owner}: {describe(found.kind)}"
    for reference in manifest.references:
        yield f"refers to {quoted(reference)}, which means nothing here"
