"""What participants who pool all that they get can come to know, with or without the host.

The rules, from the most to the least, for an item that is no member's:

1. *unlimited*, where the host is a member and a simulated platform is accepted, which keeps nothing from its host; or
   where the host is a member and a member's component sees the item: its author can have it touch memory in a pattern
   that the host reads, past every filter and every limit.
2. *outputs*: what the outputs hold that it can reach and that a member gets. Whose code made them matters to what they
   are likely to hold, and not to what they may: nobody but its owner has seen a component.
3. *traces*, where the host is a member: the item's size, and which pages are touched, and when, by code that sees it.
4. *outcome*: the one bit and the length of the run, which everybody sees.

Nothing that is learned is taken away by one member more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .facts import Code, CodeExposure, Exposure, Item, Knowledge, Learned, Way
from .reach import Reach


def learned_by(reach: Reach, *, members: Collection[str], host: bool, simulated: bool) -> Learned:
    """Return what a coalition can come to know.

    Args:
        reach: The manifest's facts.
        members: Participants.
        host: Whether the host is a member too.
        simulated: Whether the manifest accepts a simulated platform.
    """
    got = tuple(way for way in reach.ways if not set(members).isdisjoint(way.recipients))
    others = {item.name for item in reach.items if item.owner not in members}
    return Learned(
        outputs=tuple(way.output for way in got),
        max_bytes=sum(way.max_bytes for way in got if not others.isdisjoint(way.items)),
        items=tuple(
            _exposure(item, reach.seeing[item.name], got, members=members, host=host, simulated=simulated)
            for item in reach.items
        ),
        code=tuple(_code_exposures(reach.code, got, members=members, host=host)),
    )


def _exposure(
    item: Item, seeing: Iterable[Code], got: Iterable[Way], *, members: Collection[str], host: bool, simulated: bool
) -> Exposure:
    ways = [way for way in got if item.name in way.items]
    own_code = [each for each in seeing if each.owner in members]
    writes = {name for each in own_code for name in each.writes}
    feeds = {name for each in own_code for name in each.feeds} - writes
    if item.owner in members:
        knowledge = Knowledge.OWN
    elif host and (simulated or own_code):
        knowledge = Knowledge.UNLIMITED
    elif ways:
        knowledge = Knowledge.OUTPUTS
    else:
        knowledge = Knowledge.TRACES if host else Knowledge.OUTCOME
    return Exposure(
        item=item.name,
        owner=item.owner,
        knowledge=knowledge,
        traced=host,
        outputs=tuple(way.output for way in ways),
        max_bytes=sum(way.max_bytes for way in ways),
        own_code=tuple(dict.fromkeys(each.component for each in own_code)),
        writes=tuple(way.output for way in ways if way.output in writes),
        feeds=tuple(way.output for way in ways if way.output in feeds),
    )


def _code_exposures(
    code: Iterable[Code], got: Iterable[Way], *, members: Collection[str], host: bool
) -> Iterable[CodeExposure]:
    workers: dict[str, list[Code]] = {}
    for each in code:
        if each.owner not in members:
            workers.setdefault(each.component, []).append(each)
    for component, runs in workers.items():
        outputs = {name for each in runs for name in each.outputs}
        yield CodeExposure(
            component=component,
            owner=runs[0].owner,
            outputs=tuple(way.output for way in got if way.output in outputs),
            failures=any(not set(members).isdisjoint(each.told) for each in runs),
            recoverable=host,
        )
