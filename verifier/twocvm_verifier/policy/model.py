"""The Appraisal Policy as a value.

Every field is written out: there is no default that checks nothing, and `Unchecked` says why a field does not. The
manifest's `platform` holds beside the policy; both must be met.

>>> Policy.builtin().vmpl
(0,)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from twocvm_verifier.framing import policy_digest
from twocvm_verifier.manifest.platform import GUEST_POLICY_BITS, BitDemand, Mitigations
from twocvm_verifier.result import Level
from twocvm_verifier.snp.launch import LaunchPrefix
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import Json, canonical
from twocvm_verifier.unchecked import Unchecked

from .pcrs import PcrValues

DAY_SECONDS: Final = 86_400
# protocol.md, "Collateral": a release needs a CRL of at most 30 days unless the policy says otherwise.
DEFAULT_MAX_CRL_AGE_SECONDS: Final = 30 * DAY_SECONDS

# The report's four TCBs, as a policy names them.
TCBS: Final = ("reported", "committed", "current", "launch")

_UNKNOWN_GUEST: Final = Unchecked("the built-in policy knows no guest's reference values")
_NO_FIRMWARE: Final = Unchecked("no measurement is declared to be of a provider's firmware alone")
_UNKNOWN_KEYS: Final = Unchecked("the built-in policy knows nobody's launch keys")
_ANY_SVN: Final = Unchecked("the built-in policy knows nobody whose GUEST_SVN would say something")
_UNKNOWN_PCRS: Final = Unchecked("the built-in policy knows no values of a guest's PCRs")
_UNKNOWN_CHIPS: Final = Unchecked("the built-in policy accepts any chip of a known product")
_UNKNOWN_TCB: Final = Unchecked("the built-in policy has no reference for a least TCB")
_UNKNOWN_FIRMWARE: Final = Unchecked("the built-in policy has no reference for a least firmware version")
_UNKNOWN_PROVIDERS: Final = Unchecked("the built-in policy accepts the VLEK of any provider")
_LISTED_ONLY: Final = Unchecked("the built-in policy lists the attacks that a platform leaves open, and refuses none")
_UNKNOWN_MITIGATIONS: Final = Unchecked("the built-in policy has no reference for mitigations")
_ANY_ABI: Final = Unchecked("the built-in policy demands no least ABI of the guest's own policy")
_NO_OTHERS: Final = Unchecked("all four levels are required")

# Fields that came later than the format, as they demand nothing.
_CAME_LATER: Final = MappingProxyType(
    {"firmware_measurements": _NO_FIRMWARE, "minimum_guest_svn": _ANY_SVN, "pcrs": _UNKNOWN_PCRS}
)


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


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FirmwareVersion:
    """A version of the SNP firmware.

    Attributes:
        major: Of its interface, 0..255.
        minor: Of its interface, 0..255.
        build: 0..255.
    """

    major: int
    minor: int
    build: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


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


class _Named:
    """Room for a digest that is made once, beside the fields that it is of."""

    __slots__ = ("_sha256",)
    _sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(_Named):
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
        minimum_firmware: By product, the least version of the firmware that runs and that is committed. A product that
            it does not name is refused.
        minimum_tcb: By product, the least of each component that is named, for the reported, committed, current and
            launch TCB alike. A product that it does not name is refused.
        minimum_tcb_of: The same for one of the four TCBs alone, by its name in `TCBS`; holds beside `minimum_tcb`.
        mitigations: Bits that the mitigation vectors must have.
        closed_advisories: Ids of advisories that the platform must be proved to have closed.
        measurements: Accepted MEASUREMENT values (48 bytes each).
        firmware_measurements: Accepted MEASUREMENT values (48 bytes each) that cover a provider's firmware alone: with
            them evidence reaches AL2, whoever else says what.
        launches: Accepted launches with any number of vCPUs; a MEASUREMENT of one of them is accepted beside
            `measurements`.
        host_data: Accepted HOST_DATA values (32 bytes each), asked beside `require_host_data`.
        family_ids: Accepted FAMILY_ID values (16 bytes each).
        image_ids: Accepted IMAGE_ID values (16 bytes each).
        report_ids: Accepted REPORT_ID values (32 bytes each); each names one launch.
        id_key_digests: Accepted ID_KEY_DIGEST values (48 bytes each).
        author_key_digests: Accepted AUTHOR_KEY_DIGEST values (48 bytes each).
        minimum_guest_svn: The least GUEST_SVN, 1 to 2^32 - 1, of an image that one of those keys signed: an update is
            accepted without its MEASUREMENT, and what came before it is not.
        pcrs: By bank, which values of its PCRs are accepted. Met by a guest alone whose vTPM a paravisor vouches for.
        chip_ids: Accepted CHIP_ID values (64 bytes each); a zero CHIP_ID matches none.
        csp_ids: Accepted CSP_ID values of a VLEK; a VCEK is of no provider, and meets none.
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
    minimum_firmware: Mapping[str, FirmwareVersion] | Unchecked
    minimum_tcb: Mapping[str, Mapping[str, int]] | Unchecked
    minimum_tcb_of: Mapping[str, Mapping[str, Mapping[str, int]]]
    mitigations: Mitigations | Unchecked
    closed_advisories: tuple[str, ...] | Unchecked
    measurements: tuple[bytes, ...] | Unchecked
    firmware_measurements: tuple[bytes, ...] | Unchecked
    launches: tuple[LaunchPrefix, ...] | Unchecked
    host_data: tuple[bytes, ...] | Unchecked
    family_ids: tuple[bytes, ...] | Unchecked
    image_ids: tuple[bytes, ...] | Unchecked
    report_ids: tuple[bytes, ...] | Unchecked
    id_key_digests: tuple[bytes, ...] | Unchecked
    author_key_digests: tuple[bytes, ...] | Unchecked
    minimum_guest_svn: int | Unchecked
    pcrs: Mapping[str, PcrValues] | Unchecked
    chip_ids: tuple[bytes, ...] | Unchecked
    csp_ids: tuple[str, ...] | Unchecked
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
            minimum_firmware=_UNKNOWN_FIRMWARE,
            minimum_tcb=_UNKNOWN_TCB,
            minimum_tcb_of={},
            mitigations=_UNKNOWN_MITIGATIONS,
            closed_advisories=_LISTED_ONLY,
            measurements=_UNKNOWN_GUEST,
            firmware_measurements=_NO_FIRMWARE,
            launches=_UNKNOWN_GUEST,
            host_data=_UNKNOWN_GUEST,
            family_ids=_UNKNOWN_GUEST,
            image_ids=_UNKNOWN_GUEST,
            report_ids=_UNKNOWN_GUEST,
            id_key_digests=_UNKNOWN_KEYS,
            author_key_digests=_UNKNOWN_KEYS,
            minimum_guest_svn=_ANY_SVN,
            pcrs=_UNKNOWN_PCRS,
            chip_ids=_UNKNOWN_CHIPS,
            csp_ids=_UNKNOWN_PROVIDERS,
            require_host_data=False,
            max_crl_age_seconds=DEFAULT_MAX_CRL_AGE_SECONDS,
            require_levels=RequiredLevels(levels=tuple(Level), at_rest=False, others=_NO_OTHERS),
        )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value == () or (each.name == "pcrs" and not value):
                raise ValueError(
                    f"{each.name}: an empty list accepts nothing; say Unchecked(reason) to accept anything"
                )
            object.__setattr__(self, each.name, _frozen(value))
        if not isinstance(self.minimum_guest_svn, Unchecked) and not self._names_a_key():
            raise ValueError(
                "minimum_guest_svn: anybody can sign an id block with any number; name the key in id_key_digests or "
                "author_key_digests, and not the zeros of a block without one"
            )

    def _names_a_key(self) -> bool:
        """Return whether a list of keys leaves out nobody's, which a report shows as zeros."""
        named = (keys for keys in (self.id_key_digests, self.author_key_digests) if not isinstance(keys, Unchecked))
        return any(all(map(any, keys)) for keys in named)

    @property
    def sha256(self) -> bytes:
        """The digest that names this policy in results (32 bytes)."""
        if not hasattr(self, "_sha256"):
            object.__setattr__(self, "_sha256", policy_digest(canonical(self.to_json())))
        return self._sha256

    def to_json(self) -> dict[str, Json]:
        """Return the form that is hashed (`docs/spec/appraisal.md`): every field by its name.

        One that came later than the format is left out where it demands nothing, so that digests stay what they were.
        """
        form = {each.name: _json(getattr(self, each.name)) for each in fields(self)}
        for name, nothing in _CAME_LATER.items():
            if getattr(self, name) == nothing:
                del form[name]
        return form


def _bits(*names: str) -> int:
    return sum(1 << GUEST_POLICY_BITS[name] for name in names)


def _frozen(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return MappingProxyType({key: _frozen(member) for key, member in value.items()})


def _json(value: object) -> Json:
    if isinstance(value, Unchecked):
        return {"unchecked": value.reason}
    if isinstance(value, (BitDemand, Mitigations)):
        # Masks are text: a 64-bit number is not an integer that every JSON reader keeps.
        return {each.name: f"{getattr(value, each.name):016x}" for each in fields(value)}
    if isinstance(value, RequiredLevels):
        return {each.name: _json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, PcrValues):
        return {**{str(number): _json(named) for number, named in value.named.items()}, "others": _json(value.others)}
    if isinstance(value, (AbiVersion, FirmwareVersion, LaunchPrefix)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json(member) for key, member in value.items()}
    if isinstance(value, tuple):
        return [_json(member) for member in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a policy holds no {type(value).__name__}")
