"""The simulated SNP platform: byte-exact reports, and no protection whatever (`docs/spec/simulated.md`).

It stands where a chip would, so that everything above it runs as it is, on any machine. Its chip and its root are made
at every start; its names, its product and a critical extension are ones that no real chip has; and a verifier takes it
only where its root, the manifest and the policy all say so, with `secure: false` in every result.

A `SimulatedChip` is a machine; a `SimulatedPlatform` is one guest launched on it, with a REPORT_ID of its own.
"""

from __future__ import annotations

import secrets
import struct
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .simulated_pki import SimulatedCertificates, make_certificates

MEASUREMENT_BYTES: Final = 48
REPORT_DATA_BYTES: Final = 64
HASH_BYTES: Final = 32
CHIP_ID_BYTES: Final = 64
# What the real one takes, measured: SNP_GET_REPORT is answered one at a time.
HARDWARE_LATENCY_SECONDS: Final = 0.0044

# Genoa's layout: bootloader 10, tee 0, reserved, snp 25, microcode 84, as on a genuine report of version 5.
TCB: Final = bytes((10, 0, 0, 0, 0, 0, 25, 84))
_VERSION: Final = 5
_POLICY: Final = 1 << 17 | 1 << 16  # must-be-one, SMT
_PLATFORM_INFO: Final = 1 << 0 | 1 << 2 | 1 << 5  # SMT_EN, ECC_EN, ALIAS_CHECK_COMPLETE
_ECDSA_P384_SHA384: Final = 1
_NO_MIGRATION_AGENT: Final = b"\xff" * 32
_MITIGATIONS: Final = 1
# Build, minor, major of the firmware, twice with a reserved byte after each.
_FIRMWARE: Final = bytes((43, 55, 1, 0)) * 2
# SNP ABI 56860 r1.58, 7.3, table 23: bytes 0x000..0x29F, little endian; `x` is reserved and zero.
_BODY: Final = struct.Struct("<IIQ32xII8sQII64s48s32s96x32s32s8sBBB21x64s8s8s8sQQ152x")
# Table 23, SIGNATURE: R and S in 72 bytes each, then zero.
_SIGNATURE: Final = struct.Struct("<72s72s368x")
_COORDINATE_BYTES: Final = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedChip:
    """A machine that does not exist. Several guests may be launched on one.

    Attributes:
        chip_id: CHIP_ID (64 bytes, random).
        certificates: Its VCEK, and the root that nobody else has.
    """

    chip_id: bytes
    certificates: SimulatedCertificates

    @classmethod
    def create(cls, *, at: datetime) -> SimulatedChip:
        """Return a new chip with a new root; takes about half a second.

        Args:
            at: When its VCEK is issued (aware).
        """
        chip_id = secrets.token_bytes(CHIP_ID_BYTES)
        return cls(chip_id=chip_id, certificates=make_certificates(chip_id=chip_id, tcb=TCB, at=at))


class SimulatedPlatform:
    """One guest on a simulated chip; an `Attester`.

    Args:
        chip: The machine.
        host_data: HOST_DATA that the host chose: a manifest's hash for a guest born locked, else zero (32 bytes).
        measurement: MEASUREMENT (48 bytes), see `measure`.
        latency_seconds: How long one report takes; reports are answered one at a time.
    """

    name = "simulated"

    def __init__(self, chip: SimulatedChip, *, host_data: bytes, measurement: bytes, latency_seconds: float) -> None:
        for field, value, width in (
            ("host_data", host_data, HASH_BYTES),
            ("measurement", measurement, MEASUREMENT_BYTES),
        ):
            if len(value) != width:
                raise ValueError(f"{field}: got {len(value)} bytes, want {width}")
        self._chip = chip
        self._host_data = host_data
        self._measurement = measurement
        self._latency_seconds = latency_seconds
        self._report_id = secrets.token_bytes(HASH_BYTES)
        self._one_at_a_time = threading.Lock()
        self._free_at = 0.0

    @classmethod
    def create(cls, *, host_data: bytes, measurement: bytes, at: datetime, latency_seconds: float) -> SimulatedPlatform:
        """Return a guest on a chip of its own, made now; the arguments are those of both classes."""
        chip = SimulatedChip.create(at=at)
        return cls(chip, host_data=host_data, measurement=measurement, latency_seconds=latency_seconds)

    @property
    def root_pem(self) -> bytes:
        """The PEM (ASK, then ARK) that `simulated_roots` takes; to trust it is to trust whoever runs this."""
        return self._chip.certificates.chain_pem

    def report(self, report_data: bytes) -> bytes:
        """Return a report of version 5 with `report_data`; as `Attester.report`."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report_data: got {len(report_data)} bytes, want {REPORT_DATA_BYTES}")
        asked = time.monotonic()
        with self._one_at_a_time:
            report = sign_report(self._body(report_data), key=self._chip.certificates.vcek_key)
            # A device with requests waiting goes on at once, however late somebody here wakes up for its last answer.
            self._free_at = max(asked, self._free_at) + self._latency_seconds
            if (seconds := self._free_at - time.monotonic()) > 0:
                time.sleep(seconds)
            return report

    def quote(self, report_data: bytes) -> None:
        """Return nothing, for the report itself holds `report_data`; as `Attester.quote`."""

    def vek(self) -> bytes:
        """Return the simulated VCEK; as `Attester.vek`."""
        return self._chip.certificates.vcek_der

    def chain(self) -> bytes:
        """Return the simulated ASK and ARK; as `Attester.chain`."""
        return self._chip.certificates.chain_pem

    def crl(self) -> bytes:
        """Return the list of what the simulated ARK revoked, which is nothing; as `Attester.crl`."""
        return self._chip.certificates.crl_der

    def _body(self, report_data: bytes) -> bytes:
        guest_svn = vmpl = flags = reserved = family = model = stepping = 0
        return _BODY.pack(
            *(_VERSION, guest_svn, _POLICY, vmpl, _ECDSA_P384_SHA384, TCB, _PLATFORM_INFO, flags, reserved),
            *(report_data, self._measurement, self._host_data, self._report_id, _NO_MIGRATION_AGENT),
            *(TCB, family, model, stepping, self._chip.chip_id, TCB, _FIRMWARE, TCB, _MITIGATIONS, _MITIGATIONS),
        )


def sign_report(body: bytes, *, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the 1184 bytes of a report: its body (0x2A0 bytes), then the signature as SNP writes it."""
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA384())))
    return body + _SIGNATURE.pack(r.to_bytes(_COORDINATE_BYTES, "little"), s.to_bytes(_COORDINATE_BYTES, "little"))
