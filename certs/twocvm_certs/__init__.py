"""AMD's root and intermediate certificates, pinned by SHA-256, and nothing else.

They are trust anchors: none is ever taken from evidence, from a host or from a download. `amd/origin.json` says from
which packages the bytes come; the digests below, not the route, make them right.

>>> len(load("ark-milan"))
1639
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

__all__ = ["PINS", "REVOKED", "CorruptedError", "load", "load_from"]

# SHA-256 of the DER: the root (ARK) of each product, and the intermediates that issue VCEKs (ASK) and VLEKs (ASVK).
PINS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ark-milan": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
        "ask-milan": "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
        "asvk-milan": "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
        "ark-genoa": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
        "ask-genoa": "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
        "asvk-genoa": "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
        "ark-turin": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        "ask-turin": "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
        "asvk-turin": "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
    }
)

# Intermediates that AMD revoked, by the SHA-256 of their DER: Genoa's first ASK, serial number 020001.
REVOKED: Final = frozenset({"54467b96b8baf21dd42ef7162a62ec7812c5231ef301790e37a84b822ae6f459"})


class CorruptedError(RuntimeError):
    """A certificate of this installation is not the one that was pinned. Install the package again."""


def load(name: str) -> bytes:
    """Return one certificate's DER, after comparing its digest with the pin.

    Args:
        name: A key of `PINS`.

    Raises:
        KeyError: No such certificate is pinned.
        CorruptedError: The file is missing, or is not the pinned one.
    """
    return load_from(files(__name__).joinpath("amd"), name)


def load_from(folder: Traversable, name: str) -> bytes:
    """Return one certificate's DER from another folder than this package's own; else as `load`."""
    pin = PINS[name]
    try:
        content = folder.joinpath(f"{name}.der").read_bytes()
    except OSError as error:
        raise CorruptedError(f"{name}: cannot be read") from error
    found = hashlib.sha256(content).hexdigest()
    if found != pin:
        raise CorruptedError(f"{name}: got sha256 {found}, want {pin}")
    return content
