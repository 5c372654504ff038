"""Answers about a manifest, as values whose members are those of the JSON form (`docs/spec/explain.md`).

Names are those of the manifest. Sizes are bytes, and the most that a run can give; decimals are text, as manifests have
them.

>>> max(Knowledge.OUTPUTS, Knowledge.OUTCOME, key=KNOWLEDGE_ORDER.index)
<Knowledge.OUTPUTS: 'outputs'>
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

SCHEMA: Final = "twocvm/explain/v1"


class Knowledge(StrEnum):
    """How much of an item a coalition can come to know, from the least to the most."""

    OUTCOME = "outcome"
    TRACES = "traces"
    OUTPUTS = "outputs"
    UNLIMITED = "unlimited"
    OWN = "own"


KNOWLEDGE_ORDER: Final = tuple(Knowledge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One channel by which an item comes to a worker.

    Attributes:
        source: `data:NAME`, or the `component:NAME.PORT` whose content may tell of the item.
        max_bytes: What the channel carries.
    """

    source: str
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One item that a component sees, whole or in what others made of it.

    Attributes:
        item: Its name.
        owner: Whose it is.
        arrivals: Every channel by which it comes.
    """

    item: str
    owner: str
    arrivals: tuple[Arrival, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One component in one worker; a component that filters has one for every output that it filters.

    Attributes:
        component: Its name.
        owner: Who releases it.
        worker: The node that it is part of, or `OUTPUT/FILTER`.
        filters: The output that it filters, or empty.
        behind: The filters that the output has passed before it; none for a component that does not filter.
        joined: The other components of its store, joined by `call`.
        joined_owners: Who owns those, but for the owner itself.
        sees: Every item that can reach it.
        writes: Outputs whose bytes it writes itself.
        feeds: Outputs that other components make of what it leaves.
        recipients: Who gets any of those outputs.
        told: Who is told how it failed, because all data that reaches it is that participant's.
    """

    component: str
    owner: str
    worker: str
    filters: str
    behind: tuple[str, ...]
    joined: tuple[str, ...]
    joined_owners: tuple[str, ...]
    sees: tuple[Sight, ...]
    writes: tuple[str, ...]
    feeds: tuple[str, ...]
    recipients: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def outputs(self) -> frozenset[str]:
        """Every output that it has a part in."""
        return frozenset((*self.writes, *self.feeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One filter of an output.

    Attributes:
        name: Its name.
        owner: Who asks for it.
        does: What it does, in words.
    """

    name: str
    owner: str
    does: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One output: the only way by which data gets to anybody.

    Attributes:
        output: Its name.
        recipients: Who gets it.
        max_bytes: What it may hold behind its filters.
        filters: What it passes, in this order.
        items: What it may tell of.
        code: The components that have a part in it, those that filter it included.
    """

    output: str
    recipients: tuple[str, ...]
    max_bytes: int
    filters: tuple[Passed, ...]
    items: tuple[str, ...]
    code: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One participant that an item can reach.

    Attributes:
        participant: Its name.
        outputs: In which outputs.
        max_bytes: What these may hold together.
    """

    participant: str
    outputs: tuple[str, ...]
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """One participant that an item reaches on no path.

    Attributes:
        participant: Its name.
        demanded: Whether the item's `must_not_reach` says so; else it is so because nothing leads there.
    """

    participant: str
    demanded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Noised:
    """What noise promises of an item, as differential privacy counts it, in one run.

    Attributes:
        epsilon: The sum over all noise on outputs that the item reaches.
        delta: Likewise.
        budget_epsilon: The most that the item's owner allows; empty where it states no budget.
        budget_delta: Likewise.
        bare: Outputs that it reaches without any noise; with one of them the sums promise nothing.
    """

    epsilon: str
    delta: str
    budget_epsilon: str
    budget_delta: str
    bare: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One data item and where it can get.

    Attributes:
        name: Its name.
        owner: Who releases it.
        max_bytes: The most that is taken.
        fixed: Whether the manifest commits to its bytes; else the owner may release any.
        seen_by: Components that see it, on whatever path.
        reaches: Every participant that gets an output which it can reach, its owner included.
        never: Every other participant.
        must_pass: Filters that stand on every path from it to anybody, because its owner demands it.
        noised: What noise promises; None where no output that it reaches has any.
    """

    name: str
    owner: str
    max_bytes: int
    fixed: bool
    seen_by: tuple[str, ...]
    reaches: tuple[Reached, ...]
    never: tuple[Never, ...]
    must_pass: tuple[str, ...]
    noised: Noised | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What a coalition can come to know of one item.

    Attributes:
        item: Its name.
        owner: Whose it is.
        knowledge: `own`; `unlimited`; `outputs`: what the outputs hold; `traces`: what the host sees of code that sees
            the item; `outcome`: no more than what everybody sees.
        traced: Whether the coalition has the host, and so the traces, whatever else it has.
        outputs: Those that it can reach and that the coalition gets.
        max_bytes: What these may hold together.
        own_code: The coalition's components that see it.
        writes: Those of `outputs` that one of them writes itself, so that it chooses what they hold.
        feeds: Those that others make of what one of them leaves.
    """

    item: str
    owner: str
    knowledge: Knowledge
    traced: bool
    outputs: tuple[str, ...]
    max_bytes: int
    own_code: tuple[str, ...]
    writes: tuple[str, ...]
    feeds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeExposure:
    """What a coalition can come to know of somebody else's component, beside what its digest and imports say.

    Attributes:
        component: Its name.
        owner: Whose it is.
        outputs: Those that it has a part in and that the coalition gets.
        failures: Whether the coalition is told how it failed.
        recoverable: Whether the coalition has the host, which can recover much of a component that runs there.
    """

    component: str
    owner: str
    outputs: tuple[str, ...]
    failures: bool
    recoverable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a coalition can come to know, pooling all that its members get.

    Attributes:
        outputs: All outputs that a member gets.
        max_bytes: What those of them that can tell of others' items may hold together, in one run.
        items: One for each item of the manifest.
        code: One for each component that is no member's.
    """

    outputs: tuple[str, ...]
    max_bytes: int
    items: tuple[Exposure, ...]
    code: tuple[CodeExposure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where it may run.

    Attributes:
        products: Accepted products.
        measurements: Accepted MEASUREMENT values, hex.
        firmware_measurements: Those that cover a provider's firmware alone, hex.
        simulated: Whether a simulated platform is accepted, which protects nothing.
        operator: Who controls the host: a participant, or `external`.
        any_chip: Whether any chip of these products is accepted.
        without_floor: Products for which the manifest states no least TCB; each participant's own policy may.
        debug_forbidden: Whether the manifest itself forbids guests that can be debugged; else policies alone do.
        ledgers: Origins of the logs in which a measurement must stand.
    """

    products: tuple[str, ...]
    measurements: tuple[str, ...]
    firmware_measurements: tuple[str, ...]
    simulated: bool
    operator: str
    any_chip: bool
    without_floor: tuple[str, ...]
    debug_forbidden: bool
    ledgers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """Something that is not protected here.

    Attributes:
        id: A stable name (`docs/spec/explain.md`).
        text: One sentence or two.
    """

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A manifest as one participant, with those it is taken to work with, should see it.

    Attributes:
        manifest: The manifest's hash, hex.
        name: The manifest's name.
        purpose: The manifest's purpose, a stranger's text.
        participants: Everybody, sorted.
        me: Who asks.
        coalition: Who is taken to pool what they learn: `me` and its companions, sorted.
        host: Whether the host is one of them.
        items: Every data item.
        code: Every component in every worker, in the order in which they run.
        ways: Every output.
        learned: What the coalition can come to know.
        ground: Where it may run.
        unprotected: What is not protected.
    """

    manifest: str
    name: str
    purpose: str
    participants: tuple[str, ...]
    me: str
    coalition: tuple[str, ...]
    host: bool
    items: tuple[Item, ...]
    code: tuple[Code, ...]
    ways: tuple[Way, ...]
    learned: Learned
    ground: Ground
    unprotected: tuple[Caveat, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"schema": SCHEMA} | asdict(self)
