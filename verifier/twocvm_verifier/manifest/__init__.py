"""The Commitment Manifest: its values, its parser, its rules, and the statements that participants sign about it.

`parse_manifest` is the only door to a `Manifest`; `docs/spec/manifest.md` and `docs/spec/statements.md` are the formats.
"""

from __future__ import annotations

from .model import (
    Channel,
    ChannelKind,
    ClockRule,
    Component,
    DataItem,
    DataRef,
    Filter,
    Limits,
    Manifest,
    Output,
    ParticipantEntry,
    PortRef,
    Profile,
    RandomRule,
    Rules,
)
from .platform import BitDemand, Ledger, Mitigations, Platform

__all__ = [
    "BitDemand",
    "Channel",
    "ChannelKind",
    "ClockRule",
    "Component",
    "DataItem",
    "DataRef",
    "Filter",
    "Ledger",
    "Limits",
    "Manifest",
    "Mitigations",
    "Output",
    "ParticipantEntry",
    "Platform",
    "PortRef",
    "Profile",
    "RandomRule",
    "Rules",
]
