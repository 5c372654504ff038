"""The form of a manifest's `platform` (`docs/spec/manifest.md`, platform)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .place import Place
from .platform import (
    GUEST_POLICY_BITS,
    HARDWARE_PRODUCTS,
    PLATFORM_INFO_BITS,
    SIMULATED_PRODUCT,
    BitDemand,
    Ledger,
    Mitigations,
    Platform,
)
from .problems import Rule

_DIGEST_BYTES: Final = 48
_CHIP_ID_BYTES: Final = 64
_PRODUCTS: Final = (*HARDWARE_PRODUCTS, SIMULATED_PRODUCT)
_TCB_COMPONENTS: Final = ("bootloader", "tee", "snp", "microcode")
_MAX_ORIGIN_CHARACTERS: Final = 256
_MAX_KEY_CHARACTERS: Final = 512
_MAX_QUORUM: Final = 64

_NO_BITS: Final = BitDemand(required=0, forbidden=0)
_NO_MITIGATIONS: Final = Mitigations(launch=0, current=0)


def read_platform(place: Place) -> Platform:
    """Read the object `platform`; problems are noted at their places."""
    fields = place.members(
        required=("products", "operator"),
        optional=(
            "measurements", "firmware_measurements", "id_key_digests", "author_key_digests", "minimum_tcb",
            "guest_policy", "platform_info", "mitigations", "vmpl", "chip_ids", "simulated", "ledgers",
        ),
    )  # fmt: skip
    if fields.present and "measurements" not in fields and "firmware_measurements" not in fields:
        fields["measurements"].wrong(Rule.MISSING, "the member is missing")
    simulated = fields.optional("simulated", Place.boolean, absent=False)
    products = fields["products"].set(lambda product: product.choice(_PRODUCTS))
    if all(products) and products and (SIMULATED_PRODUCT in products) != simulated:
        fields["products"].wrong(Rule.FORM, f"{SIMULATED_PRODUCT} stands here exactly if simulated is true")
    return Platform(
        measurements=fields.optional("measurements", lambda member: member.set(_digest), ()),
        firmware_measurements=fields.optional("firmware_measurements", lambda member: member.set(_digest), ()),
        id_key_digests=fields.optional("id_key_digests", lambda member: member.set(_digest), ()),
        author_key_digests=fields.optional("author_key_digests", lambda member: member.set(_digest), ()),
        products=products,
        minimum_tcb=fields.optional("minimum_tcb", lambda member: _minimum_tcb(member, products), MappingProxyType({})),
        guest_policy=fields.optional("guest_policy", lambda member: _bits(member, GUEST_POLICY_BITS), _NO_BITS),
        platform_info=fields.optional("platform_info", lambda member: _bits(member, PLATFORM_INFO_BITS), _NO_BITS),
        mitigations=fields.optional("mitigations", _mitigations, _NO_MITIGATIONS),
        vmpl=fields.optional("vmpl", lambda member: member.integer(0, 3), 0),
        chip_ids=fields.optional("chip_ids", lambda member: member.set(_chip_id), ()),
        operator=fields["operator"].name(),
        simulated=simulated,
        ledgers=fields.optional("ledgers", lambda member: member.set(_ledger), ()),
    )


def _digest(place: Place) -> bytes:
    return place.hex(_DIGEST_BYTES)


def _chip_id(place: Place) -> bytes:
    chip_id = place.hex(_CHIP_ID_BYTES)
    if chip_id and not any(chip_id):
        place.wrong(Rule.FORM, "got all zeros, which is a masked chip and names none")
    return chip_id


def _minimum_tcb(place: Place, products: tuple[str, ...]) -> Mapping[str, Mapping[str, int]]:
    fields = place.members(optional=_PRODUCTS)
    floors: dict[str, Mapping[str, int]] = {}
    for product in (product for product in _PRODUCTS if product in fields):
        if all(products) and product not in products:
            fields[product].wrong(Rule.REFERENCE, "the product is not among platform.products")
        parts = (*_TCB_COMPONENTS, "fmc") if product == "Turin" else _TCB_COMPONENTS
        floor = fields[product].members(optional=parts)
        floors[product] = MappingProxyType({part: floor[part].integer(0, 255) for part in parts if part in floor})
    return MappingProxyType(floors)


def _bits(place: Place, names: Mapping[str, int]) -> BitDemand:
    fields = place.members(optional=("required", "forbidden"))
    masks = {
        key: _mask(fields.optional(key, lambda member: member.set(lambda bit: names.get(bit.choice(names), -1)), ()))
        for key in ("required", "forbidden")
    }
    if masks["required"] & masks["forbidden"]:
        place.wrong(Rule.FORM, "a bit is both required and forbidden")
    return BitDemand(required=masks["required"], forbidden=masks["forbidden"])


def _mitigations(place: Place) -> Mitigations:
    fields = place.members(optional=("launch", "current"))
    launch, current = (
        _mask(fields.optional(key, lambda member: member.set(lambda bit: bit.integer(0, 63)), ()))
        for key in ("launch", "current")
    )
    return Mitigations(launch=launch, current=current)


def _mask(bits: tuple[int, ...]) -> int:
    mask = 0
    for bit in bits:
        mask |= 1 << bit if bit >= 0 else 0
    return mask


def _ledger(place: Place) -> Ledger:
    fields = place.members(required=("origin", "key"), optional=("witnesses", "quorum"))
    witnesses = fields.optional("witnesses", lambda member: member.set(_ledger_key), ())
    quorum = fields.optional("quorum", lambda member: member.integer(1, _MAX_QUORUM), 0)
    if ("witnesses" in fields) != ("quorum" in fields):
        place.wrong(Rule.FORM, "witnesses and quorum stand together or not at all")
    elif quorum > len(witnesses):
        fields["quorum"].wrong(Rule.RANGE, f"got {quorum}, want at most the {len(witnesses)} witnesses")
    return Ledger(
        origin=fields["origin"].text(_MAX_ORIGIN_CHARACTERS),
        key=_ledger_key(fields["key"]),
        witnesses=witnesses,
        quorum=quorum,
    )


def _ledger_key(place: Place) -> str:
    return place.text(_MAX_KEY_CHARACTERS)
