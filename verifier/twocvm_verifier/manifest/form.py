"""The form of every other part of a manifest (`docs/spec/manifest.md`, Members), one reader for each object."""

from __future__ import annotations

import re
from typing import Final

from .filter_form import read_budget
from .model import (
    MAX_ITEM_BYTES,
    RESERVED_NAMES,
    Channel,
    ChannelKind,
    ClockRule,
    Component,
    DataItem,
    DataRef,
    Limits,
    Output,
    ParticipantEntry,
    PortRef,
    Profile,
    RandomRule,
    Rules,
    Source,
)
from .place import Members, Place, is_name
from .problems import Rule
from .profiles import MAX_WIT_NAME_CHARACTERS, is_run_interface, is_wit_name

HASH_BYTES: Final = 32
# A Wasm page, and what 64-bit hosts give one 32-bit component four times over.
MIN_MEMORY_BYTES: Final = 2**16
MAX_MEMORY_BYTES: Final = 2**34
MAX_WALL_SECONDS: Final = 7 * 24 * 3600
MAX_DEADLINE_SECONDS: Final = 30 * 24 * 3600
MAX_FUEL: Final = 2**53 - 1
_MAX_DISPLAY_CHARACTERS: Final = 256
_MAX_EXTERNAL_ID_CHARACTERS: Final = 1024
# RFC 6838, 4.2: restricted names, in lower case.
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.ASCII)


def read_participant(place: Place) -> ParticipantEntry:
    """Read one member of `participants`."""
    fields = place.members(required=("name", "tls", "consent"), optional=("display", "external_id"))
    name = fields["name"].name()
    if name in RESERVED_NAMES:
        fields["name"].wrong(Rule.FORM, f"{name!r} stands for somebody else, in every manifest")
    return ParticipantEntry(
        name=name,
        tls=fields["tls"].set(_key_hash),
        consent=_key_hash(fields["consent"]),
        display=fields.optional("display", lambda member: member.text(_MAX_DISPLAY_CHARACTERS), ""),
        external_id=fields.optional("external_id", lambda member: member.text(_MAX_EXTERNAL_ID_CHARACTERS), ""),
    )


def read_component(place: Place) -> Component:
    """Read one member of `components`."""
    fields = place.members(
        required=("name", "owner", "sha256", "profile", "exports", "limits"), optional=("entry", "imports")
    )
    component = Component(
        name=fields["name"].name(),
        owner=fields["owner"].name(),
        sha256=fields["sha256"].hex(HASH_BYTES),
        profile=Profile(fields["profile"].choice(Profile) or Profile.PURE),
        entry=fields.optional("entry", _wit_name, ""),
        imports=fields.optional("imports", lambda member: member.set(_wit_name), ()),
        exports=fields["exports"].set(_wit_name),
        limits=_limits(fields["limits"]),
    )
    if component.entry:
        if component.exports and component.entry not in component.exports:
            fields["entry"].wrong(Rule.REFERENCE, "the entry is not among the exports")
        if fields["profile"].value == Profile.FILES and not is_run_interface(component.entry):
            fields["entry"].wrong(Rule.FORM, "the entry of a files component is wasi:cli/run@0.2.N")
    return component


def read_item(place: Place) -> DataItem:
    """Read one member of `data`."""
    fields = place.members(
        required=("name", "owner", "media_type", "max_bytes"),
        optional=("commitment", "must_pass", "must_not_reach", "budget"),
    )
    return DataItem(
        name=fields["name"].name(),
        owner=fields["owner"].name(),
        media_type=fields["media_type"].matching(lambda text: bool(_MEDIA_TYPE.fullmatch(text)), "type/subtype"),
        max_bytes=_size(fields["max_bytes"]),
        commitment=fields.optional("commitment", lambda member: member.hex(HASH_BYTES), None),
        must_pass=fields.optional("must_pass", _names, ()),
        must_not_reach=fields.optional("must_not_reach", _names, ()),
        budget=fields.optional("budget", read_budget, None),
    )


def read_channel(place: Place) -> Channel | None:
    """Read one member of `channels`; None where an end or the kind cannot be made out."""
    fields = place.members(required=("from", "to", "kind"), optional=("max_bytes",))
    kind = fields["kind"].choice(ChannelKind)
    if not kind:
        # What its ends may be depends on the kind.
        return None
    source = _read_end(fields["from"], call=kind == ChannelKind.CALL, data=kind != ChannelKind.CALL)
    target = _read_end(fields["to"], call=kind == ChannelKind.CALL, data=False)
    max_bytes = _channel_size(fields, kind)
    if source is None or not isinstance(target, PortRef):
        return None
    if kind == ChannelKind.CALL and isinstance(source, PortRef) and source.port != target.port:
        fields["to"].wrong(Rule.FORM, "both ends of a call name the same interface")
    return Channel(source=source, target=target, kind=ChannelKind(kind), max_bytes=max_bytes)


def read_output(place: Place) -> Output | None:
    """Read one member of `outputs`; None where its source cannot be made out."""
    fields = place.members(required=("name", "from", "recipients", "max_bytes"), optional=("filters",))
    name = fields["name"].name()
    source = _read_end(fields["from"], call=False, data=False)
    recipients = _names(fields["recipients"])
    max_bytes = _size(fields["max_bytes"])
    filters = fields.optional("filters", _distinct_names, ())
    if not isinstance(source, PortRef):
        return None
    return Output(name=name, source=source, recipients=recipients, max_bytes=max_bytes, filters=filters)


def read_rules(place: Place) -> Rules:
    """Read the object `rules`."""
    fields = place.members(required=("deadline_seconds",), optional=("parallel", "clock", "random", "seed"))
    random = fields.optional("random", lambda member: member.choice(RandomRule), "")
    if "seed" in fields and random == RandomRule.SYSTEM:
        fields["seed"].wrong(Rule.FORM, "a seed has no use where random is system")
    return Rules(
        deadline_seconds=fields["deadline_seconds"].integer(1, MAX_DEADLINE_SECONDS),
        parallel=fields.optional("parallel", Place.boolean, absent=False),
        clock=ClockRule(fields.optional("clock", lambda member: member.choice(ClockRule), "") or ClockRule.FROZEN),
        random=RandomRule(random or RandomRule.SEEDED),
        seed=fields.optional("seed", lambda member: member.hex(HASH_BYTES), b""),
    )


def _limits(place: Place) -> Limits:
    fields = place.members(required=("memory_bytes", "wall_seconds", "output_bytes"), optional=("fuel",))
    return Limits(
        memory_bytes=fields["memory_bytes"].integer(MIN_MEMORY_BYTES, MAX_MEMORY_BYTES),
        wall_seconds=fields["wall_seconds"].integer(1, MAX_WALL_SECONDS),
        output_bytes=_size(fields["output_bytes"]),
        fuel=fields.optional("fuel", lambda member: member.integer(1, MAX_FUEL), None),
    )


def _key_hash(place: Place) -> bytes:
    return place.members(required=("spki_sha256",))["spki_sha256"].hex(HASH_BYTES)


def _size(place: Place) -> int:
    return place.integer(1, MAX_ITEM_BYTES)


def _names(place: Place) -> tuple[str, ...]:
    return place.set(Place.name)


def _distinct_names(place: Place) -> tuple[str, ...]:
    """Read an array of names whose order means something; none stands twice."""
    names = place.array(Place.name)
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name and name in seen:
            place.problems.add(Rule.UNIQUE, f"{place.pointer}/{index}", f"{name!r} stands twice")
        seen.add(name)
    return names


def _wit_name(place: Place) -> str:
    return place.matching(is_wit_name, f"a WIT name with its version, at most {MAX_WIT_NAME_CHARACTERS} characters")


def _channel_size(fields: Members, kind: str) -> int:
    if kind == ChannelKind.CALL:
        if "max_bytes" in fields:
            fields["max_bytes"].wrong(Rule.UNKNOWN, "a call has no max_bytes")
        return 0
    if "max_bytes" not in fields:
        fields["max_bytes"].wrong(Rule.MISSING, "the member is missing")
    return _size(fields["max_bytes"])


def _read_end(place: Place, *, call: bool, data: bool) -> Source | None:
    """Read one end of a channel: `call` says whether its port is an interface, `data` whether it may be an item."""
    text = place.string()
    space, _, rest = text.partition(":")
    if data and space == "data" and is_name(rest):
        return DataRef(name=rest)
    component, _, port = rest.partition(".")
    if space == "component" and is_name(component) and (is_wit_name(port) if call else is_name(port)):
        return PortRef(component=component, port=port)
    if isinstance(place.value, str):
        wanted = "component:NAME." + ("INTERFACE" if call else "PORT") + (" or data:NAME" if data else "")
        place.matching(lambda _: False, wanted)
    return None
