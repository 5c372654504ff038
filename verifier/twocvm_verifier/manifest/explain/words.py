"""An explanation in lines for people who are about to sign.

Names are of few characters, by the form of manifests; any other text of strangers stands in quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twocvm_verifier.manifest.wording import listed, quoted, size

from .facts import Arrival, Code, CodeExposure, Explanation, Exposure, Item, Knowledge, Noised, Sight, Way


def lines(explanation: Explanation) -> tuple[str, ...]:
    """Return an explanation, line by line."""
    return (
        f"{explanation.name}, as {explanation.me} should see it",
        f"  {quoted(explanation.purpose)}",
        f"  hash {explanation.manifest}",
        *_section(f"What {explanation.me} gives", _given(explanation)),
        *_section("Which code sees what", _each(_code(code) for code in explanation.code)),
        *_section("Who gets what", _got(explanation)),
        *_section(f"What {_coalition(explanation)} can learn", _learned(explanation)),
        *_section("Where it runs", _ground(explanation)),
        *_section("What is not protected", (f"{each.id}: {each.text}" for each in explanation.unprotected)),
    )


def _section(title: str, content: Iterable[str]) -> Iterator[str]:
    yield ""
    yield title
    for line in content:
        yield f"  {line}"


def _each(parts: Iterable[Iterator[str]]) -> Iterator[str]:
    for part in parts:
        yield from part


def _given(explanation: Explanation) -> Iterator[str]:
    items = [item for item in explanation.items if item.owner == explanation.me]
    code = [code for code in explanation.code if code.owner == explanation.me]
    for item in items:
        yield from _item(item)
    for each in code:
        yield f"{_named(each)}, which is code"
        recipients = listed(each.recipients, none="nobody")
        yield f"  has a part in {listed(sorted(each.outputs))}, so {recipients} can learn of what it does"
    if not items and not code:
        yield "nothing"


def _item(item: Item) -> Iterator[str]:
    content = "the bytes that the manifest commits to" if item.fixed else f"whatever {item.owner} releases"
    yield f"{item.name}, which is data: {size(item.max_bytes)}, {content}"
    yield f"  is seen by {listed(item.seen_by)}"
    for reached in item.reaches:
        yield f"  can reach {reached.participant}, in {listed(reached.outputs)}: {size(reached.max_bytes)}"
    for never in item.never:
        why = "must_not_reach forbids it, and " if never.demanded else ""
        yield f"  never reaches {never.participant}: {why}no output that it can reach is for {never.participant}"
    if item.must_pass:
        yield f"  reaches nobody without passing {listed(item.must_pass)}, on every path"
    if item.noised is not None:
        yield f"  {_noised(item.noised)}"


def _noised(noised: Noised) -> str:
    if noised.bare:
        return f"has noise in some outputs, which promises nothing, since {listed(noised.bare)} has none"
    spent = f"epsilon {noised.epsilon} and delta {noised.delta}"
    if not noised.budget_epsilon:
        return f"has noise in every output: {spent} together in one run"
    budget = f"epsilon {noised.budget_epsilon} and delta {noised.budget_delta}"
    return f"has noise in every output: {spent} together in one run, of a budget of {budget}"


def _code(code: Code) -> Iterator[str]:
    yield f"{_named(code)}, of {code.owner}"
    if code.joined:
        yield f"  shares one store, a fate and a timeline with {listed(code.joined)}"
    behind = f", behind {listed(code.behind)}" if code.behind else ""
    for arrivals, sights in _together(code.sees):
        what = listed(f"{sight.item} of {sight.owner}" for sight in sights)
        yield f"  sees {what}{behind}: from " + " and ".join(
            f"{each.source}, {size(each.max_bytes)}" for each in arrivals
        )
    if not code.sees:
        yield "  sees no data"
    if code.writes:
        yield f"  writes {listed(code.writes)}"
    if code.feeds:
        yield f"  leaves something from which others make {listed(code.feeds)}"
    for name in code.told:
        yield f"  how it fails is told to {name}, whose data alone it sees"


def _together(sights: Iterable[Sight]) -> Iterable[tuple[tuple[Arrival, ...], list[Sight]]]:
    """Return what comes by the same channels together, so that a long list of items is one line."""
    together: dict[tuple[Arrival, ...], list[Sight]] = {}
    for sight in sights:
        together.setdefault(sight.arrivals, []).append(sight)
    return together.items()


def _named(code: Code) -> str:
    return f"{code.component}, as a filter of {code.filters}" if code.filters else code.component


def _got(explanation: Explanation) -> Iterator[str]:
    for way in explanation.ways:
        yield from _way(way)
    served = {name for way in explanation.ways for name in way.recipients}
    for name in explanation.participants:
        if name not in served:
            yield f"{name} gets nothing"


def _way(way: Way) -> Iterator[str]:
    yield f"{way.output}, for {listed(way.recipients, none='nobody')}: {size(way.max_bytes)}"
    yield f"  may tell of {listed(way.items)}"
    yield f"  is made by {listed(way.code)}"
    for passed in way.filters:
        yield f"  passes {passed.name}, which {passed.owner} asks for: {passed.does}"
    if not way.filters:
        yield "  passes no filter"


def _coalition(explanation: Explanation) -> str:
    names = [explanation.me, *(name for name in explanation.coalition if name != explanation.me)]
    if explanation.host:
        names.append("the host")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} together"


def _learned(explanation: Explanation) -> Iterator[str]:
    learned = explanation.learned
    yield f"gets {listed(learned.outputs)}"
    yield f"what can tell of others' data in it is {size(learned.max_bytes)} in one run, and the outcome of the run"
    for exposure in learned.items:
        if exposure.knowledge is not Knowledge.OWN:
            yield from _exposure(exposure, simulated=explanation.ground.simulated)
    for code in learned.code:
        yield _code_exposure(code)
    if not explanation.host:
        yield "the host is taken to work with nobody here (--with host)"


def _exposure(exposure: Exposure, *, simulated: bool) -> Iterator[str]:
    what = f"{exposure.item}, of {exposure.owner}"
    own = listed(exposure.own_code)
    if exposure.knowledge is Knowledge.UNLIMITED:
        why = "a simulated platform keeps nothing from its host" if simulated else f"{own} can signal it to the host"
        yield f"{what}: all of it, since {why}"
        return
    if exposure.knowledge is Knowledge.OUTPUTS:
        yield f"{what}: what is told of it in {listed(exposure.outputs)}, {size(exposure.max_bytes)}"
    elif exposure.knowledge is Knowledge.TRACES:
        yield f"{what}: nothing in any output"
    else:
        yield f"{what}: no more than whether the run completes, and how long it takes"
    if exposure.traced:
        yield "  as the host: its size, and which pages the code that sees it touches, which may tell much of it"
    if exposure.writes:
        yield f"  their own code sees it ({own}) and can write whatever it saw into {listed(exposure.writes)}"
    if exposure.feeds:
        yield f"  their own code sees it ({own}), and others' code makes {listed(exposure.feeds)} of what it leaves"
    if exposure.own_code and exposure.knowledge is Knowledge.OUTCOME:
        yield f"  their own code sees it ({own}) and can make both depend on it"


def _code_exposure(code: CodeExposure) -> str:
    known = ["its digest, imports and exports"]
    if code.outputs:
        known.append(f"what {listed(code.outputs)} shows of it")
    if code.failures:
        known.append("how it failed")
    if code.recoverable:
        known.append("as the host, much of the code itself")
    return f"{code.component}, code of {code.owner}: {', '.join(known)}"


def _ground(explanation: Explanation) -> Iterator[str]:
    ground = explanation.ground
    if ground.simulated:
        yield "SIMULATED platforms are accepted: they protect nothing"
    yield f"on {listed(ground.products)}, {'any chip' if ground.any_chip else 'only the chips that the manifest lists'}"
    member = ground.operator in explanation.participants
    yield "the host is controlled by " + (f"{ground.operator}, a participant" if member else "none of the participants")
    for measurement in ground.measurements:
        yield f"as the software that measures {measurement}"
    for measurement in ground.firmware_measurements:
        yield f"under a provider's firmware that measures {measurement}, whatever software it starts"
    if ground.without_floor:
        yield f"with no least firmware for {listed(ground.without_floor)}, but what each participant's policy demands"
    if not ground.debug_forbidden:
        yield "guests that can be debugged are refused by participants' policies alone, not by the manifest"
    for origin in ground.ledgers:
        yield f"its measurement stands in the ledger {quoted(origin)}"
