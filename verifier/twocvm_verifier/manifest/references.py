"""Rules 1 to 3 of a manifest's validity: names, references, imports and ports (`docs/spec/manifest.md`, Validity)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable

from .draft import Draft, placed
from .model import Channel, ChannelKind, DataRef, PortRef, Profile
from .platform import EXTERNAL_OPERATOR
from .problems import Problems, Rule
from .profiles import allows


def find_reference_problems(draft: Draft, problems: Problems) -> None:
    """Note every name, key, reference, import and port that breaks a rule."""
    _names_are_unique(draft, problems)
    _keys_are_unique(draft, problems)
    _participants_exist(draft, problems)
    _filters_exist(draft, problems)
    _ends_exist(draft, problems)
    _imports_are_served(draft, problems)
    _ports_are_single(draft, problems)


def _names_are_unique(draft: Draft, problems: Problems) -> None:
    spaces: tuple[Iterable[tuple[str, str]], ...] = (
        [(pointer, entry.name) for pointer, entry in placed(draft.participants, "/participants")],
        [(pointer, component.name) for pointer, component in placed(draft.components, "/components")]
        + [(pointer, item.name) for pointer, item in placed(draft.data, "/data")],
        [(pointer, found.name) for pointer, found in placed(draft.filters, "/filters")],
        [(pointer, output.name) for pointer, output in placed(draft.outputs, "/outputs")],
    )
    for space in spaces:
        seen: set[str] = set()
        for pointer, name in space:
            if name in seen:
                problems.add(Rule.UNIQUE, f"{pointer}/name", f"{name!r} stands twice")
            if name:
                seen.add(name)


def _keys_are_unique(draft: Draft, problems: Problems) -> None:
    seen: set[bytes] = set()
    for pointer, entry in placed(draft.participants, "/participants"):
        keys = [(f"{pointer}/tls/{index}/spki_sha256", key) for index, key in enumerate(entry.tls)]
        for place, key in [*keys, (f"{pointer}/consent/spki_sha256", entry.consent)]:
            if key in seen:
                problems.add(Rule.UNIQUE, place, "the key stands twice in this manifest")
            if key:
                seen.add(key)


def _participants_exist(draft: Draft, problems: Problems) -> None:
    named = [(f"{pointer}/owner", part.owner) for pointer, part in placed(draft.components, "/components")]
    named += [(f"{pointer}/owner", item.owner) for pointer, item in placed(draft.data, "/data")]
    named += [(f"{pointer}/owner", found.owner) for pointer, found in placed(draft.filters, "/filters")]
    for pointer, item in placed(draft.data, "/data"):
        named += _members(f"{pointer}/must_not_reach", item.must_not_reach)
    for pointer, output in placed(draft.outputs, "/outputs"):
        named += _members(f"{pointer}/recipients", output.recipients)
    if draft.platform.operator != EXTERNAL_OPERATOR:
        named.append(("/platform/operator", draft.platform.operator))
    _resolve(named, draft.participant_names, "participant", problems)


def _filters_exist(draft: Draft, problems: Problems) -> None:
    named: list[tuple[str, str]] = []
    for pointer, item in placed(draft.data, "/data"):
        named += _members(f"{pointer}/must_pass", item.must_pass)
    for pointer, output in placed(draft.outputs, "/outputs"):
        named += _members(f"{pointer}/filters", output.filters)
    _resolve(named, draft.filter_names, "filter", problems)


def _ends_exist(draft: Draft, problems: Problems) -> None:
    components: list[tuple[str, str]] = []
    items: list[tuple[str, str]] = []
    for pointer, channel in placed(draft.channels, "/channels"):
        if isinstance(channel.source, DataRef):
            items.append((f"{pointer}/from", channel.source.name))
        else:
            components.append((f"{pointer}/from", channel.source.component))
        components.append((f"{pointer}/to", channel.target.component))
    components += [
        (f"{pointer}/from", output.source.component) for pointer, output in placed(draft.outputs, "/outputs")
    ]
    _resolve(components, draft.component_of, "component", problems)
    _resolve(items, draft.item_of, "data item", problems)


def _imports_are_served(draft: Draft, problems: Problems) -> None:
    """Every import is on its profile's list or wired once; every call is an export into an import."""
    wired: Counter[PortRef] = Counter()
    for pointer, channel in placed(draft.channels, "/channels"):
        if channel.kind is not ChannelKind.CALL or not isinstance(channel.source, PortRef):
            continue
        wired[channel.target] += 1
        if wired[channel.target] == 2:
            problems.add(Rule.IMPORT, f"{pointer}/to", "the import is already wired by another call")
        exporter = draft.component_of.get(channel.source.component)
        importer = draft.component_of.get(channel.target.component)
        if exporter and "" not in exporter.exports and channel.source.port not in exporter.exports:
            problems.add(Rule.IMPORT, f"{pointer}/from", f"{exporter.name!r} does not export it")
        if importer and "" not in importer.imports and channel.target.port not in importer.imports:
            problems.add(Rule.IMPORT, f"{pointer}/to", f"{importer.name!r} does not import it")
    channels_known = not problems.under("/channels")
    for pointer, component in placed(draft.components, "/components"):
        profile_known = not problems.under(f"{pointer}/profile")
        for place, name in _members(f"{pointer}/imports", component.imports):
            allowed = allows(component.profile, name)
            is_wired = PortRef(component=component.name, port=name) in wired
            if allowed and is_wired:
                problems.add(Rule.IMPORT, place, "the profile already serves it, so no call may")
            elif name and not allowed and not is_wired and channels_known and profile_known:
                problems.add(Rule.IMPORT, place, f"no call serves it, nor does the profile {component.profile}")


def _ports_are_single(draft: Draft, problems: Problems) -> None:
    """An input port has one channel, an item has at least one, and files are for components that have files."""
    seen: set[PortRef] = set()
    used: set[str] = set()
    for pointer, channel in placed(draft.channels, "/channels"):
        if channel.kind is ChannelKind.CALL:
            continue
        if channel.target in seen:
            problems.add(Rule.PORT, f"{pointer}/to", "the port already has another channel")
        seen.add(channel.target)
        if isinstance(channel.source, DataRef):
            used.add(channel.source.name)
        _ends_have_files(draft, problems, pointer, channel)
    for pointer, output in placed(draft.outputs, "/outputs"):
        _has_files(draft, problems, f"{pointer}/from", output.source)
    if not problems.under("/channels"):
        for pointer, item in placed(draft.data, "/data"):
            if item.name and item.name not in used:
                problems.add(Rule.PORT, f"{pointer}/name", "no channel takes this item, so nobody may ask for it")


def _ends_have_files(draft: Draft, problems: Problems, pointer: str, channel: Channel) -> None:
    if isinstance(channel.source, PortRef):
        _has_files(draft, problems, f"{pointer}/from", channel.source)
    if channel.kind is ChannelKind.FILE:
        _has_files(draft, problems, f"{pointer}/to", channel.target)


def _has_files(draft: Draft, problems: Problems, pointer: str, end: PortRef) -> None:
    component = draft.component_of.get(end.component)
    # A profile that could not be read is noted already, and stands here as `pure`.
    if component and component.profile is Profile.PURE and not problems.under("/components"):
        problems.add(Rule.PORT, pointer, "a component of the profile pure has no files")


def _members(pointer: str, names: Iterable[str]) -> list[tuple[str, str]]:
    return [(f"{pointer}/{index}", name) for index, name in enumerate(names)]


def _resolve(named: Iterable[tuple[str, str]], known: Container[str], kind: str, problems: Problems) -> None:
    """Note each name that is not known; the empty name stands for one that could not be read."""
    for pointer, name in named:
        if name and name not in known:
            problems.add(Rule.REFERENCE, pointer, f"no {kind} is called {name!r}")
