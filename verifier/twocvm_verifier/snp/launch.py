"""MEASUREMENT as a chain: one line that stands for a launch with any number of vCPUs.

The launch digest is folded page by page; a page's record is SHA-384 over the digest so far, the page's own digest and
where it lies. The vCPUs' save areas come last: one for the first vCPU, and the same other one for each of the rest. So
the digest before them, and the digests of those two pages, give the measurement of every number of vCPUs.

>>> launch = LaunchPrefix(digest=bytes(48), first_vcpu=bytes(48), other_vcpu=bytes(48))
>>> launch.vcpus_of(launch.measurement(3))
3

Spec: SNP ABI 56860 r1.58, 8.17.2, table 67; docs/spec/measure.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

DIGEST_BYTES: Final = 48
# Linux: KVM_MAX_VCPUS of a kernel that is not built for the largest machines.
MAX_VCPUS: Final = 1024
LABEL: Final = "snp-launch-v1"

# Table 67, PAGE_INFO: after the two digests its own length, PAGE_TYPE 2 (VMSA), IMI_PAGE 0, three permissions of 0 and
# a reserved byte; then the address at which firmware records every VMSA.
_VMSA_TAIL: Final = bytes.fromhex("7000020000000000") + (0xFFFFFFFFF000).to_bytes(8, "little")
_TEXT: Final = re.compile(rf"{LABEL}:([0-9a-f]{{96}}):([0-9a-f]{{96}}):([0-9a-f]{{96}})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LaunchPrefix:
    """A launch, without the number of its vCPUs.

    Attributes:
        digest: The launch digest before the first VMSA (48 bytes).
        first_vcpu: SHA-384 of the first vCPU's VMSA page (48 bytes).
        other_vcpu: SHA-384 of every other vCPU's VMSA page (48 bytes).
    """

    digest: bytes
    first_vcpu: bytes
    other_vcpu: bytes

    def __post_init__(self) -> None:
        if {len(self.digest), len(self.first_vcpu), len(self.other_vcpu)} != {DIGEST_BYTES}:
            raise ValueError(f"a launch is three digests of {DIGEST_BYTES} bytes")

    def __str__(self) -> str:
        return ":".join((LABEL, self.digest.hex(), self.first_vcpu.hex(), self.other_vcpu.hex()))

    def measurement(self, vcpus: int) -> bytes:
        """Return MEASUREMENT (48 bytes) of this launch with `vcpus` vCPUs, 1 to `MAX_VCPUS`."""
        if not 1 <= vcpus <= MAX_VCPUS:
            raise ValueError(f"got {vcpus} vCPUs, want 1 to {MAX_VCPUS}")
        return next(islice(self._measurements(), vcpus - 1, None))

    def vcpus_of(self, measurement: bytes, *, most: int = MAX_VCPUS) -> int | None:
        """Return with how many vCPUs, `most` at the most, this launch has that MEASUREMENT; None where it never has."""
        tried = enumerate(islice(self._measurements(), most), 1)
        return next((count for count, found in tried if found == measurement), None)

    def _measurements(self) -> Iterator[bytes]:
        """Return the measurements for one vCPU, two, and so on without end."""
        digest, page = self.digest, self.first_vcpu
        while True:
            digest = hashlib.sha384(digest + page + _VMSA_TAIL).digest()
            yield digest
            page = self.other_vcpu


def parse_launch_prefix(text: str) -> LaunchPrefix:
    """Return the launch that `text` writes: `snp-launch-v1:` and three digests as lower-case hex, parted by colons.

    Raises:
        ValueError: It is written in any other way.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"want {LABEL!r} and three digests of {2 * DIGEST_BYTES} lower case hex digits")
    digest, first, other = map(bytes.fromhex, match.groups())
    return LaunchPrefix(digest=digest, first_vcpu=first, other_vcpu=other)
