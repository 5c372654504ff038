"""A `Firmware` as bytes, for a machine that is to have one."""

from __future__ import annotations

import pickle
from collections import deque
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from tests.support.snp_firmware import Change, Fail, Firmware

from twocvm_guest.platforms.simulated import SimulatedChip, SimulatedPlatform
from twocvm_guest.platforms.simulated_pki import SimulatedCertificates


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """What a firmware is made of: its chip's key and certificates, its host's, and what becomes of the requests."""

    vcek_key: bytes
    vcek: bytes
    chain: bytes
    crl: bytes
    chip_id: bytes
    measurement: bytes
    table: bytes
    troubles: tuple[Fail | Change | None, ...]


def pack(firmware: Firmware) -> bytes:
    """Return a firmware that nobody has asked yet as bytes."""
    platform, chip = firmware.platform, firmware.platform._chip
    key = chip.certificates.vcek_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    packed = _Packed(
        vcek_key=key,
        vcek=platform.vek(),
        chain=platform.chain(),
        crl=platform.crl(),
        chip_id=chip.chip_id,
        measurement=platform._measurement,
        table=firmware.table,
        troubles=tuple(firmware.troubles),
    )
    return pickle.dumps(packed)


def unpack(raw: bytes) -> Firmware:
    """Return the firmware again, with a launch of its own."""
    packed: _Packed = pickle.loads(raw)  # noqa: S301 - written by the test that boots the machine
    key = load_der_private_key(packed.vcek_key, password=None)
    certificates = SimulatedCertificates(
        vcek_key=key,  # type: ignore[arg-type]
        vcek_der=packed.vcek,
        chain_pem=packed.chain,
        crl_der=packed.crl,
    )
    chip = SimulatedChip(chip_id=packed.chip_id, certificates=certificates)
    platform = SimulatedPlatform(chip, host_data=bytes(32), measurement=packed.measurement, latency_seconds=0.0)
    return Firmware(platform, table=packed.table, troubles=deque(packed.troubles))
