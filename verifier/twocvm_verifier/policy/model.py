"""The Appraisal Policy as a value.

Every field is written out: there is no default that checks nothing, and `Unchecked` says why a field does not. The
manifest's `platform` holds beside the policy; both must be met.

>>> Policy.builtin().vmpl
(0,)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from twocvm_verifier.framing import policy_digest
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, BitDemand, Mitigations
from twocvm_verifier.result import Level
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import Json, canonical
from twocvm_verifier.unchecked import Unchecked

DAY_SECONDS: Final = 86_400
# protocol.md, "Collateral": a release needs a CRL of at most 30 days unless the policy says otherwise.
DEFAULT_MAX_CRL_AGE_SECONDS: Final = 30 * DAY_SECONDS

_UNKNOWN_GUEST: Final = Unchecked("the built-in policy knows no guest's reference values")
_UNKNOWN_KEYS: Final = Unchecked("the built-in policy knows nobody's launch keys")
_UNKNOWN_CHIPS: Final = Unchecked("the built-in policy accepts any chip of a known product")
_UNKNOWN_TCB: Final = Unchecked("the built-in policy has no reference for a least TCB")
_UNKNOWN_MITIGATIONS: Final = Unchecked("the built-in policy has no reference for mitigations")
_ANY_ABI: Final = Unchecked("the built-in policy demands no least ABI of the guest's own policy")
_NO_OTHERS: Final = Unchecked("all four levels are required")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AbiVersion:
    """A version of the SNP firmware's interface.

    Attributes:
        major: 0..255.
        minor: 0..255.
    """

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredLevels:
    """Which levels something must prove.

    Attributes:
        levels: The levels.
        at_rest: Whether evidence that is judged for no release must prove them too; a release always must.
        others: Why the other levels need not be proved, where there are others.
    """

    levels: tuple[Level, ...]
    at_rest: bool
    others: Unchecked


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a Verifier's owner accepts.

    Attributes:
        name: For people; it is hashed with the rest.
        products: Accepted products. Simulated evidence also needs a simulated root and a manifest that allows it.
        guest_policy: Bits of POLICY that must or must not be set.
        open_guest_policy: Bits of POLICY that are deliberately not looked at, by name, each with the reason.
        minimum_abi: The least ABI version that the guest's own policy must demand.
        platform_info: Bits of PLATFORM_INFO that must or must not be set.
        vmpl: Accepted VMPLs.
        provisional_firmware: Whether firmware that can still be rolled back is accepted.
        minimum_tcb: By product, the least of each component that is named, for the reported, committed, current and
            launch TCB alike. A product that it does not name is refused.
        mitigations: Bits that the mitigation vectors must have.
        measurements: Accepted MEASUREMENT values (48 bytes each).
        id_key_digests: Accepted ID_KEY_DIGEST values (48 bytes each).
        author_key_digests: Accepted AUTHOR_KEY_DIGEST values (48 bytes each).
        chip_ids: Accepted CHIP_ID values (64 bytes each); a zero CHIP_ID matches none.
        require_host_data: Whether HOST_DATA must be the manifest's hash; else it may also be zero.
        max_crl_age_seconds: How old a CRL may be for a release.
        require_levels: Which levels must be proved.
    """

    name: str
    products: tuple[str, ...]
    guest_policy: BitDemand
    open_guest_policy: Mapping[str, Unchecked]
    minimum_abi: AbiVersion | Unchecked
    platform_info: BitDemand
    vmpl: tuple[int, ...] | Unchecked
    provisional_firmware: bool
    minimum_tcb: Mapping[str, Mapping[str, int]] | Unchecked
    mitigations: Mitigations | Unchecked
    measurements: tuple[bytes, ...] | Unchecked
    id_key_digests: tuple[bytes, ...] | Unchecked
    author_key_digests: tuple[bytes, ...] | Unchecked
    chip_ids: tuple[bytes, ...] | Unchecked
    require_host_data: bool
    max_crl_age_seconds: int | Unchecked
    require_levels: RequiredLevels

    @classmethod
    def builtin(cls) -> Policy:
        """Return the strict default. It refuses DEBUG, MIGRATE_MA, any VMPL but 0 and provisional firmware.

        It knows no reference values, so it says of measurement, keys and least TCB that it did not check them.
        """
        return cls(
            name="builtin",
            products=tuple(Product),
            guest_policy=BitDemand(required=0, forbidden=_bits("debug", "migrate_ma")),
            open_guest_policy={},
            minimum_abi=_ANY_ABI,
            platform_info=BitDemand(required=0, forbidden=0),
            vmpl=(0,),
            provisional_firmware=False,
            minimum_tcb=_UNKNOWN_TCB,
            mitigations=_UNKNOWN_MITIGATIONS,
            measurements=_UNKNOWN_GUEST,
            id_key_digests=_UNKNOWN_KEYS,
            author_key_digests=_UNKNOWN_KEYS,
            chip_ids=_UNKNOWN_CHIPS,
            require_host_data=False,
            max_crl_age_seconds=DEFAULT_MAX_CRL_AGE_SECONDS,
            require_levels=RequiredLevels(levels=tuple(Level), at_rest=False, others=_NO_OTHERS),
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "open_guest_policy", MappingProxyType(dict(self.open_guest_policy)))
        if not isinstance(self.minimum_tcb, Unchecked):
            frozen = {product: MappingProxyType(dict(least)) for product, least in self.minimum_tcb.items()}
            object.__setattr__(self, "minimum_tcb", MappingProxyType(frozen))
        for name in ("products", "vmpl", "measurements", "id_key_digests", "author_key_digests", "chip_ids"):
            if getattr(self, name) == ():
                raise ValueError(f"{name}: an empty list accepts nothing; say Unchecked(reason) to accept anything")

    @property
    def sha256(self) -> bytes:
        """The digest that names this policy in results (32 bytes)."""
        return policy_digest(canonical(self.to_json()))

    def to_json(self) -> dict[str, Json]:
        """Return the form that is hashed (`docs/spec/appraisal.md`)."""
        return {
            "name": self.name,
            "products": list(self.products),
            "guest_policy": _demand_json(self.guest_policy),
            "open_guest_policy": _json(self.open_guest_policy),
            "minimum_abi": _json(self.minimum_abi),
            "platform_info": _demand_json(self.platform_info),
            "vmpl": _json(self.vmpl),
            "provisional_firmware": self.provisional_firmware,
            "minimum_tcb": _json(self.minimum_tcb),
            "mitigations": _json(self.mitigations),
            "measurements": _json(self.measurements),
            "id_key_digests": _json(self.id_key_digests),
            "author_key_digests": _json(self.author_key_digests),
            "chip_ids": _json(self.chip_ids),
            "require_host_data": self.require_host_data,
            "max_crl_age_seconds": _json(self.max_crl_age_seconds),
            "require_levels": {
                "levels": [str(level) for level in self.require_levels.levels],
                "at_rest": self.require_levels.at_rest,
                "others": _json(self.require_levels.others),
            },
        }


def _bits(*names: str) -> int:
    return sum(1 << GUEST_POLICY_BITS[name] for name in names)


def _demand_json(demand: BitDemand) -> Json:
    # Masks are text: a 64-bit number is not an integer that every JSON reader keeps.
    return {"required": f"{demand.required:016x}", "forbidden": f"{demand.forbidden:016x}"}


def _json(value: object) -> Json:
    if isinstance(value, Unchecked):
        return {"unchecked": value.reason}
    if isinstance(value, Mitigations):
        return {"launch": f"{value.launch:016x}", "current": f"{value.current:016x}"}
    if isinstance(value, AbiVersion):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json(member) for key, member in value.items()}
    if isinstance(value, tuple):
        return [_json(member) for member in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (int, str)):
        return value
    raise TypeError(f"a policy holds no {type(value).__name__}")
