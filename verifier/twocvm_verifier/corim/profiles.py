"""Which CoRIM profiles are read, and in what they differ: in how they write numbers that a report has as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile.

    Attributes:
        name: Its URI.
        byte_order: How POLICY, PLATFORM_INFO and VMPL stand in bytes.
    """

    name: str
    byte_order: Literal["little", "big"]


# The draft has a report's own bytes. What Veraison's services made of an earlier draft, and publish, has them turned.
DRAFT: Final = Profile(name="tag:amd.com,2025:snp-corim-profile", byte_order="little")
VERAISON: Final = Profile(name="tag:amd.com,2024:snp-corim-profile", byte_order="big")
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({each.name: each for each in (DRAFT, VERAISON)})
