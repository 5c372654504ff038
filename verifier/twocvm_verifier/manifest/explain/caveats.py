"""What is not protected: said for this manifest, with its names, and not in general where it can be said exactly.

Order: what is worst for somebody who is about to sign comes first.
"""

from __future__ import annotations

from collections.abc import Iterator

from twocvm_verifier.manifest.filters import Noise
from twocvm_verifier.manifest.model import ClockRule, Manifest
from twocvm_verifier.manifest.platform import EXTERNAL_OPERATOR
from twocvm_verifier.manifest.wording import listed, size

from .facts import Caveat
from .reach import Reach


def caveats(manifest: Manifest, reach: Reach) -> Iterator[Caveat]:
    """Yield everything that is not protected under this manifest."""
    yield from _of_the_host(manifest, reach)
    yield from _of_the_graph(reach)
    yield from _of_the_rules(manifest)
    yield from _of_every_run(manifest)


def _of_the_host(manifest: Manifest, reach: Reach) -> Iterator[Caveat]:
    if manifest.platform.simulated:
        yield Caveat(
            id="simulated",
            text="A simulated platform is accepted. It protects nothing: whoever runs the guest can read everything.",
        )
    operator = manifest.platform.operator
    for item in reach.items:
        written = sorted({code.component for code in reach.seeing[item.name] if code.owner == operator})
        if written and item.owner != operator:
            yield Caveat(
                id="author-has-host",
                text=f"{operator} controls the host and wrote what sees {item.name}: {listed(written)}. Such code can "
                "signal all that it sees to its author through page accesses and processor use, past every filter, "
                "limit and must_not_reach; nothing here stops it.",
            )
    whose = "" if operator == EXTERNAL_OPERATOR else f" Here that is {operator}."
    yield Caveat(
        id="host-sees-shape",
        text="The host sees the size of everything that is sent, who sends it and when, how long the run takes, and "
        f"which pages of memory are touched in what order.{whose}",
    )
    yield Caveat(
        id="code-from-host",
        text="The code of components is not secret from the host: traces of its page accesses recover much of it, and "
        "of whatever data decides which pages are touched. WebAssembly is not constant time.",
    )
    yield Caveat(
        id="hardware",
        text="Side channels of the hardware and devices put between its parts are not defended.",
    )


def _of_the_graph(reach: Reach) -> Iterator[Caveat]:
    told: set[str] = set()
    for code in reach.code:
        if code.joined_owners and code.worker not in told:
            told.add(code.worker)
            together = sorted({code.component, *code.joined})
            owners = sorted({code.owner, *code.joined_owners})
            yield Caveat(
                id="shared-store",
                text=f"{listed(together)} are joined by call: their owners {listed(owners)} share one store, so its "
                "fate and a timeline. If one of them fails, all do; each can slow or end the others, use up their "
                "memory and fuel, and see how long their calls take as far as it has a clock.",
            )
    ways = [way for way in reach.ways if way.items]
    if ways:
        yield Caveat(
            id="inside-channels",
            text="What an output says of the data behind it is up to the code that makes it, as far as filters and "
            "limits let it: " + "; ".join(f"{way.output}, {size(way.max_bytes)}" for way in ways) + ".",
        )
    seeing = sorted({code.component for code in reach.code if code.sees})
    if seeing:
        yield Caveat(
            id="outcome",
            text="Everybody sees whether the run completed, and how long it took. Each component that sees data can "
            f"make both depend on it, for participants too that its outputs never reach: {listed(seeing)}.",
        )


def _of_the_rules(manifest: Manifest) -> Iterator[Caveat]:
    rules = manifest.rules
    if rules.parallel:
        yield Caveat(
            id="parallel",
            text="Nodes may run at the same time, so a component can notice what others do to processor and caches.",
        )
    if rules.clock is ClockRule.COARSE:
        yield Caveat(
            id="clock",
            text="Components have a clock of whole seconds: they can measure others, and what they leave may depend "
            "on it.",
        )
    if rules.seed:
        yield Caveat(
            id="public-seed",
            text="The seed is in the manifest, so every participant can foresee the components' random numbers.",
        )
    if any(isinstance(each.kind, Noise) for each in manifest.filters):
        yield Caveat(
            id="noise",
            text="Noise covers the numbers that its filter names, and nothing else of the output: not other columns "
            "or members, not how many records there are, not whether a filter before it refuses. It is as strong as "
            "the sensitivity that the manifest states is true.",
        )


def _of_every_run(manifest: Manifest) -> Iterator[Caveat]:
    yield Caveat(
        id="again",
        text="Limits and budgets are those of one run. Everybody's go starts another under the same manifest, and it "
        "tells as much again.",
    )
    free = sorted(item.name for item in manifest.data if item.commitment is None)
    if free:
        yield Caveat(
            id="any-bytes",
            text=f"Owners may release any bytes as {listed(free)}; nothing here says that they are true.",
        )
    yield Caveat(
        id="recall",
        text="What was handed out cannot be recalled, and recipients can pass it on.",
    )
    yield Caveat(
        id="availability",
        text="Nobody is promised that the run takes place or ends, nor that all recipients are served: the host can "
        "cut some off after others have got theirs.",
    )
