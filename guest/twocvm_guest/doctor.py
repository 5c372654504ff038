"""What of all that a guest can use this machine gives, and what to do about the rest."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from twocvm_verifier.errors import UnsupportedError

from .platforms import tpm
from .platforms.detect import SNP_DEVICES, look, look_at_azure
from .runtime.isolation import probe
from .runtime.protect import can_overwrite

_LIBRARIES: Final = ("cryptography", "pyopenssl", "uvicorn", "wasmtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        works: Whether a guest on this machine has it.
        value: What was found, where there is something to show.
        advice: Where it does not work: why, or what to do.
    """

    name: str
    works: bool
    value: str
    advice: str


def examine() -> tuple[Finding, ...]:
    """Return everything that was looked at; starts a worker to see what it is kept in."""
    return (*_software(), *_platforms(), *_isolation())


def _software() -> Iterator[Finding]:
    from cryptography.hazmat.backends.openssl.backend import backend

    yield _works("python", f"{platform.python_version()} on {sys.platform} {platform.machine()}")
    yield _works("openssl", backend.openssl_version_text())
    for name in _LIBRARIES:
        yield _works(name, version(name))


def _platforms() -> Iterator[Finding]:
    yield _works("platform simulated", "for trying out: it protects nothing")
    for path, opened in SNP_DEVICES.items():
        usable, told = look(opened)
        yield Finding(
            name=f"platform snp, {path}", works=usable, value=told if usable else "", advice="" if usable else told
        )
    usable, told = look_at_azure()
    yield Finding(
        name=f"platform azure, {tpm.DEVICE}", works=usable, value=told if usable else "", advice="" if usable else told
    )


def _isolation() -> Iterator[Finding]:
    overwrites = can_overwrite()
    yield Finding(
        name="memory overwritten when freed",
        works=overwrites,
        value="the guest's own" if overwrites else "",
        advice="the C library has no such setting: what was released may stay in the guest's memory for a while",
    )
    try:
        report = probe()
    except UnsupportedError as error:
        yield Finding(name="isolation", works=False, value="", advice=f"{error.detail}; no guest starts here")
        return
    for feature in report.features:
        value = "workers have it" if feature.available else ""
        yield Finding(name=f"isolation {feature.name}", works=feature.available, value=value, advice=feature.reason)


def _works(name: str, value: str) -> Finding:
    return Finding(name=name, works=True, value=value, advice="")
