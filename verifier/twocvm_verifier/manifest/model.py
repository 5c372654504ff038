"""The Commitment Manifest as values: what all participants signed, and nothing that they did not.

Every value here is frozen and complete. A `Manifest` is made only by `parse.parse_manifest`, so whoever holds one
holds a valid one: every reference resolves, the graph has no cycle, and the `must_*` rules hold on all paths. The JSON
form of every member stands in `docs/spec/manifest.md`.

>>> str(PortRef(component="join", port="rows"))
'component:join.rows'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from twocvm_verifier.framing import manifest_hash

from .filters import Budget, Filter
from .platform import EXTERNAL_OPERATOR, Platform

# Words that stand for others in manifests and reports; no participant may be called so.
RESERVED_NAMES: Final = frozenset({EXTERNAL_OPERATOR, "host"})
MAX_ITEM_BYTES: Final = 2**40


class Profile(StrEnum):
    """What of WASI a component may import (`profiles.py`)."""

    PURE = "pure"
    FILES = "files"


class ChannelKind(StrEnum):
    """How a channel carries its data (`docs/runtime.md`)."""

    FILE = "file"
    WINDOW = "window"
    CALL = "call"


class ClockRule(StrEnum):
    """What a component sees of time."""

    FROZEN = "frozen"
    COARSE = "coarse"


class RandomRule(StrEnum):
    """Where a component's random numbers come from."""

    SEEDED = "seeded"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantEntry:
    """One organisation, known by its keys.

    Attributes:
        name: Unique among participants.
        tls: SHA-256 of the SPKI DER of each TLS client key (32 bytes each), at least one.
        consent: SHA-256 of the SPKI DER of the one key that signs statements (32 bytes).
        display: A label for people; empty where none is given. Proves nothing.
        external_id: An outside identifier, such as a DID; empty where none is given. Proves nothing.
    """

    name: str
    tls: tuple[bytes, ...]
    consent: bytes
    display: str
    external_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one node may use; every limit that is hit ends the node.

    Attributes:
        memory_bytes: Linear memories together.
        wall_seconds: Time from start to end.
        output_bytes: All ports together.
        fuel: Deterministic instruction budget, or None where instructions are not counted.
    """

    memory_bytes: int
    wall_seconds: int
    output_bytes: int
    fuel: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One WebAssembly component.

    Attributes:
        name: Unique among components and data together.
        owner: The participant that releases it.
        sha256: Of the exact file (32 bytes).
        profile: What of WASI it may import.
        entry: The export that is called; empty for a member of a `call` node that is only called by others.
        imports: Every import, as WIT names with versions, sorted.
        exports: Every export, likewise; holds `entry`.
        limits: What it may use; equal over all members of one node.
    """

    name: str
    owner: str
    sha256: bytes
    profile: Profile
    entry: str
    imports: tuple[str, ...]
    exports: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class DataItem:
    """One item of data.

    Attributes:
        name: Unique among components and data together.
        owner: The participant that releases it.
        media_type: A label, `type/subtype`; nothing is inferred from it.
        max_bytes: The most that is taken.
        commitment: What the released item must commit to (32 bytes), or None where the owner may release any bytes.
        must_pass: Filters that stand on every path from it to an output.
        must_not_reach: Participants that receive no output it can reach.
        budget: What all outputs it can reach may tell of it, each through noise; None where none is stated.
    """

    name: str
    owner: str
    media_type: str
    max_bytes: int
    commitment: bytes | None
    must_pass: tuple[str, ...]
    must_not_reach: tuple[str, ...]
    budget: Budget | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """One end of a channel: an item of data (`data:NAME`)."""

    name: str

    def __str__(self) -> str:
        return f"data:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRef:
    """One end of a channel: a component's port (`component:NAME.PORT`).

    Attributes:
        component: The component's name.
        port: A name, which is a folder under `/in` or `/out`; for `call` the WIT name of the interface.
    """

    component: str
    port: str

    def __str__(self) -> str:
        return f"component:{self.component}.{self.port}"


Source: TypeAlias = DataRef | PortRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way that data may take. What no channel allows does not happen.

    Attributes:
        source: Where it comes from; for `call` the component that exports the interface.
        target: Where it goes; for `call` the component that imports it.
        kind: How it is carried.
        max_bytes: The most that is carried; 0 for `call`, whose values are typed and not counted.
    """

    source: Source
    target: PortRef
    kind: ChannelKind
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One result and who gets it.

    Attributes:
        name: Unique among outputs.
        source: The port that it is taken from.
        recipients: The participants that get it, at least one, sorted.
        max_bytes: A longer output is a failure of the run, before, between and after its filters.
        filters: Names of filters, applied in this order.
    """

    name: str
    source: PortRef
    recipients: tuple[str, ...]
    max_bytes: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the run goes.

    Attributes:
        deadline_seconds: From the lock to the end of the run; housekeeping, no promise rests on it.
        parallel: Whether nodes may run at the same time.
        clock: What components see of time.
        random: Where their random numbers come from.
        seed: The fixed seed of `seeded` (32 bytes), or empty where it is a secret drawn inside.
    """

    deadline_seconds: int
    parallel: bool
    clock: ClockRule
    random: RandomRule
    seed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One valid manifest. Made only by `parse_manifest`.

    Attributes:
        raw: The canonical bytes that were parsed, and that are hashed and sent.
        name: A name, for people and file names.
        purpose: What the computation is for, in words.
        salt: 16 random bytes, so that a published hash reveals nothing.
        not_before: Participants take part from this time on, each by its own clock.
        not_after: And no longer than to this time.
        participants: In the order of the document, as all tuples here.
        platform: Which guests are accepted.
        components: The code.
        data: The items.
        channels: The edges of the graph.
        filters: What outputs may be made to pass.
        outputs: The results.
        rules: How the run goes.
        references: Strings for outside systems; they mean nothing here.
    """

    raw: bytes = field(repr=False)
    name: str
    purpose: str
    salt: bytes
    not_before: datetime
    not_after: datetime
    participants: tuple[ParticipantEntry, ...]
    platform: Platform
    components: tuple[Component, ...]
    data: tuple[DataItem, ...]
    channels: tuple[Channel, ...]
    filters: tuple[Filter, ...]
    outputs: tuple[Output, ...]
    rules: Rules
    references: tuple[str, ...]

    @property
    def hash(self) -> bytes:
        """The 32 bytes that name this manifest: in HOST_DATA, in REPORT_DATA, in every statement."""
        return manifest_hash(self.raw)

    def participant(self, name: str) -> ParticipantEntry:
        """Return the participant of that name; `KeyError` where there is none."""
        return _named(self.participants, name)

    def component(self, name: str) -> Component:
        """Return the component of that name; `KeyError` where there is none."""
        return _named(self.components, name)

    def item(self, name: str) -> DataItem:
        """Return the data item of that name; `KeyError` where there is none."""
        return _named(self.data, name)

    def output(self, name: str) -> Output:
        """Return the output of that name; `KeyError` where there is none."""
        return _named(self.outputs, name)

    def filter(self, name: str) -> Filter:
        """Return the filter of that name; `KeyError` where there is none."""
        return _named(self.filters, name)

    def items_of(self, owner: str) -> tuple[DataItem, ...]:
        """Return the data items that `owner` releases, which are exactly those its go commits to."""
        return tuple(item for item in self.data if item.owner == owner)

    def components_of(self, owner: str) -> tuple[Component, ...]:
        """Return the components that `owner` releases."""
        return tuple(component for component in self.components if component.owner == owner)

    def outputs_of(self, recipient: str) -> tuple[Output, ...]:
        """Return the outputs that `recipient` gets."""
        return tuple(output for output in self.outputs if recipient in output.recipients)

    def participant_of_tls_key(self, spki_sha256: bytes) -> ParticipantEntry:
        """Return whose TLS key has this hash; `KeyError` where it is nobody's."""
        for entry in self.participants:
            if spki_sha256 in entry.tls:
                return entry
        raise KeyError(spki_sha256.hex())


_Named = TypeVar("_Named", ParticipantEntry, Component, DataItem, Output, Filter)


def _named(values: tuple[_Named, ...], name: str) -> _Named:
    for value in values:
        if value.name == name:
            return value
    raise KeyError(name)
