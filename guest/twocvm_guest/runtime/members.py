"""The members of a node in the order they are instantiated in, each with what it is given and by whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from twocvm_verifier.manifest import Channel, ChannelKind, Component, PortRef
from twocvm_verifier.manifest.graph import Node, in_order
from twocvm_verifier.manifest.profiles import WINDOWS_INTERFACE

from .items import Item
from .messages import Member

_NOTHING: Final[Mapping[Any, Item]] = MappingProxyType({})


def in_calling_order(node: Node) -> tuple[Component, ...]:
    """Return the members of a node, each behind all that it calls; calls have no cycle in a valid manifest."""
    edges = [(_source(channel).component, channel.target.component) for channel in node.calls]
    order, _ = in_order([member.name for member in node.members], edges)
    by_name = {member.name: member for member in node.members}
    return tuple(by_name[name] for name in order)


def calls_of(channels: Iterable[Channel], component: str) -> tuple[str, ...]:
    """Return the imports of a component that other components answer."""
    return tuple(
        channel.target.port
        for channel in channels
        if channel.kind is ChannelKind.CALL and channel.target.component == component
    )


def members_of(
    node: Node, *, components: Mapping[str, Item] = _NOTHING, inputs: Mapping[PortRef, Item] = _NOTHING
) -> tuple[Member, ...]:
    """Return what a worker is told of a node's members.

    Args:
        node: As the manifest has it.
        components: The bytes of each member, where they are to be composed.
        inputs: What comes in, for a run; of it the windows are told here.
    """
    order = in_calling_order(node)
    number = {member.name: index for index, member in enumerate(order)}
    answered: dict[str, list[tuple[str, int]]] = {member.name: [] for member in order}
    for channel in node.calls:
        answered[channel.target.component].append((channel.target.port, number[_source(channel).component]))
    windows: dict[str, list[tuple[str, int, int]]] = {member.name: [] for member in order}
    for channel in node.inputs:
        if inputs and channel.kind is ChannelKind.WINDOW:
            item = inputs[channel.target]
            windows[channel.target.component].append((channel.target.port, item.fd, item.size_bytes))
    return tuple(
        Member(
            imports=tuple(name for name in member.imports if name not in calls_of(node.calls, member.name)),
            calls=tuple(answered[member.name]),
            asks_windows=WINDOWS_INTERFACE if WINDOWS_INTERFACE in member.imports else "",
            windows=tuple(windows[member.name]),
            has_entry=bool(member.entry),
            component=components[member.name].fd if components else -1,
        )
        for member in order
    )


def _source(channel: Channel) -> PortRef:
    if not isinstance(channel.source, PortRef):
        raise TypeError("a call comes from a component")
    return channel.source
