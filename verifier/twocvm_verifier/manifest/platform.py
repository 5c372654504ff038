"""What a manifest demands of the platform, as values. `model.py` has the rest of the manifest.

Appraisal holds these demands beside the verifier's own policy: both must be met.

>>> BitDemand(required=1 << GUEST_POLICY_BITS["smt"], forbidden=0).required
65536
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# The operator that is no participant.
EXTERNAL_OPERATOR: Final = "external"

HARDWARE_PRODUCTS: Final = ("Genoa", "Milan", "Turin")
SIMULATED_PRODUCT: Final = "Simulated"

# SNP ABI 56860 r1.58, 4.3, table 10: bits of POLICY that a manifest may ask for.
GUEST_POLICY_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "smt": 16,
        "migrate_ma": 18,
        "debug": 19,
        "single_socket": 20,
        "cxl_allow": 21,
        "mem_aes_256_xts": 22,
        "rapl_dis": 23,
        "ciphertext_hiding_dram": 24,
        "page_swap_disable": 25,
    }
)
# SNP ABI 56860 r1.58, 7.3, table 23: bits of PLATFORM_INFO.
PLATFORM_INFO_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "smt_en": 0,
        "tsme_en": 1,
        "ecc_en": 2,
        "rapl_dis": 3,
        "ciphertext_hiding_dram_en": 4,
        "alias_check_complete": 5,
        "tio_en": 7,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BitDemand:
    """Bits of a 64-bit field that must be set, and bits that must not be.

    Attributes:
        required: Mask; `value & required == required` must hold.
        forbidden: Mask; `value & forbidden == 0` must hold.
    """

    required: int
    forbidden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mitigations:
    """Bits that the report's mitigation vectors must have; they are sets, never numbers to compare.

    Attributes:
        launch: Mask over LAUNCH_MIT_VECTOR.
        current: Mask over CURRENT_MIT_VECTOR.
    """

    launch: int
    current: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A transparency log in which every accepted measurement must stand.

    Attributes:
        origin: The log's origin line.
        key: The log's verifier key, as its operator publishes it.
        witnesses: Verifier keys of the witnesses that may cosign.
        quorum: How many of them must have cosigned.
    """

    origin: str
    key: str
    witnesses: tuple[str, ...]
    quorum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Which guests the participants accept. Holds beside the verifier's own policy; both must be met.

    Attributes:
        measurements: Accepted MEASUREMENT values (48 bytes each) of an image: of all that a guest starts with.
        firmware_measurements: Accepted MEASUREMENT values (48 bytes each) that cover a provider's firmware alone, so
            that evidence does not reach the kernel. Of both together there is at least one.
        id_key_digests: Accepted ID_KEY_DIGEST values (48 bytes each); empty where none is demanded.
        author_key_digests: Accepted AUTHOR_KEY_DIGEST values (48 bytes each); empty where none is demanded.
        products: Accepted products: `Milan`, `Genoa`, `Turin`, `Simulated`; at least one.
        minimum_tcb: By product, the least value of each TCB component that is named (0..255).
        guest_policy: Demands on POLICY.
        platform_info: Demands on PLATFORM_INFO.
        mitigations: Demands on the mitigation vectors; a report without them has none of the bits.
        vmpl: The VMPL that a report must have been requested from (0..3).
        chip_ids: Accepted CHIP_ID values (64 bytes each); empty where any chip is accepted. A masked or zero CHIP_ID
            matches none of them.
        operator: The participant that controls the host, or `EXTERNAL_OPERATOR`.
        simulated: Whether a simulated platform is accepted at all.
        ledgers: Logs that must be checked before anyone releases; who cannot check one refuses.
    """

    measurements: tuple[bytes, ...]
    firmware_measurements: tuple[bytes, ...]
    id_key_digests: tuple[bytes, ...]
    author_key_digests: tuple[bytes, ...]
    products: tuple[str, ...]
    minimum_tcb: Mapping[str, Mapping[str, int]]
    guest_policy: BitDemand
    platform_info: BitDemand
    mitigations: Mitigations
    vmpl: int
    chip_ids: tuple[bytes, ...]
    operator: str
    simulated: bool
    ledgers: tuple[Ledger, ...]
