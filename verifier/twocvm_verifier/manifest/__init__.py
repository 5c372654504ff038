"""The Commitment Manifest: its values, its parser, its rules, and the statements that participants sign about it.

`parse_manifest` is the only door to a `Manifest`. The formats stand in `docs/spec/manifest.md` and `statements.md`.
"""

from __future__ import annotations

from .filters import Budget, Filter
from .model import (
    Channel,
    ChannelKind,
    ClockRule,
    Component,
    DataItem,
    DataRef,
    Limits,
    Manifest,
    Output,
    ParticipantEntry,
    PortRef,
    Profile,
    RandomRule,
    Rules,
)
from .parse import parse_manifest
from .platform import BitDemand, Ledger, Mitigations, Platform
from .problems import ManifestError, Problem

__all__ = [
    "BitDemand",
    "Budget",
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
    "ManifestError",
    "Mitigations",
    "Output",
    "ParticipantEntry",
    "Platform",
    "PortRef",
    "Problem",
    "Profile",
    "RandomRule",
    "Rules",
    "parse_manifest",
]
