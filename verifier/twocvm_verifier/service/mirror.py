"""AMD's KDS once more: collateral in its URL layout, out of the store that the service judges with.

    /{vcek,vlek}/v1/{product}/cert_chain       intermediate and root, PEM
    /{vcek,vlek}/v1/{product}/crl              the newest revocation list, DER
    /vcek/v1/{product}/{hwid}?blSPL=..         the VCEK of a chip at a TCB, DER

Rules:
1. What is asked is read strictly: exactly the parameters that the product has, each once, below 256; digits as KDS
   takes them, with leading zeros or without, hex in either case.
2. What the store holds is answered from it. A VCEK that it does not hold is fetched only within two budgets, one for
   each client and one for all strangers, which is half of what KDS bears: whoever brings evidence finds turns left.
3. What is answered is genuine, and its cache fields say until when it counts.

Spec: docs/collateral.md; VCEK 57230 r0.51, 4.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final

import twocvm_certs
from twocvm_verifier import framing
from twocvm_verifier.clock import Clock
from twocvm_verifier.collateral import Collateral, CrlName, VcekName
from twocvm_verifier.collateral.names import HARDWARE, KDS_COMPONENTS
from twocvm_verifier.collateral.sources import KDS_INTERVAL_SECONDS
from twocvm_verifier.collateral.store import Stored
from twocvm_verifier.errors import FetchError, MalformedError, NotFoundError
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.tcb import TCB_BYTES, layout

from .limits import Rate
from .problems import ServiceError

DOCUMENT: Final = "kds-request"
CERTIFICATE: Final = "application/pkix-cert"
CRL: Final = "application/pkix-crl"
CHAIN: Final = "application/pem-certificate-chain"
DAY_SECONDS: Final = 86_400
# AMD makes a list a few times a year. A stranger may have it asked for anew, and not more often than this.
CRL_REFRESH_SECONDS: Final = 600.0
CRL_SECONDS: Final = 3600
CHAIN_SECONDS: Final = DAY_SECONDS
CERTIFICATE_SECONDS: Final = 365 * DAY_SECONDS
# One VCEK of a client's in a minute, three at once: a rack that starts, and no more.
CLIENT_PER_SECOND: Final = 1 / 60
CLIENT_BURST: Final = 3
EVERYBODY: Final = "everybody"
_HWID: Final = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
_CHIP_ID_BYTES: Final = 64
_TURIN_HWID_BYTES: Final = 8
_MAX_COMPONENT: Final = 0xFF
# RFC 7468, 2.
_PEM_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the mirror answers with.

    Attributes:
        content: The bytes.
        media_type: What they are.
        fresh_seconds: How long whoever got them may give them on.
        immutable: Whether what is at this place can ever be another.
        changed_at: When they began to count (aware, UTC).
    """

    content: bytes = field(repr=False)
    media_type: str
    fresh_seconds: int
    immutable: bool
    changed_at: datetime

    @property
    def tag(self) -> str:
        """Their entity tag."""
        return f'"{framing.sha256(self.content).hex()}"'

    def headers(self, now: datetime) -> dict[str, str]:
        """Return what HTTP says of them."""
        unchanging = ", immutable" if self.immutable else ""
        return {
            "Cache-Control": f"public, max-age={self.fresh_seconds}{unchanging}",
            "Date": format_datetime(now, usegmt=True),
            "ETag": self.tag,
            "Last-Modified": format_datetime(self.changed_at, usegmt=True),
            "X-Content-Type-Options": "nosniff",
        }


class Mirror:
    """Answers as KDS does. May be shared between threads, but for `admit` and `refreshes`.

    Args:
        collateral: Where everything is found.
        chains: PEM of intermediate and root, by product and kind.
        clock: Says what time it is.
        fetching: Whether a stranger may have a VCEK fetched at all.
    """

    def __init__(
        self, collateral: Collateral, *, chains: Mapping[tuple[Product, VekKind], bytes], clock: Clock, fetching: bool
    ) -> None:
        self._collateral = collateral
        self._chains = chains
        self.clock = clock
        self._fetching = fetching
        self._clients = Rate(per_second=CLIENT_PER_SECOND, burst=CLIENT_BURST, clock=clock)
        self._lists = Rate(per_second=1 / CRL_REFRESH_SECONDS, burst=1, clock=clock)
        self._all = Rate(per_second=1 / (2 * KDS_INTERVAL_SECONDS), burst=1, clock=clock)

    def chain(self, product: Product, kind: VekKind) -> Held:
        """Return intermediate and root."""
        return Held(
            content=self._chains[product, kind],
            media_type=CHAIN,
            fresh_seconds=CHAIN_SECONDS,
            immutable=False,
            changed_at=self.clock.now(),
        )

    def refreshes(self, name: CrlName) -> bool:
        """Count a wish for a list, and return whether its sources may be asked for a newer one. Of one event loop."""
        return not self._lists.wait_seconds(str(name))

    def crl(self, name: CrlName, *, refresh: bool) -> Held:
        """Return the newest revocation list.

        Args:
            name: Which.
            refresh: Whether its sources are asked; ask `refreshes`.

        Raises:
            ServiceError: MIRROR_UNKNOWN.
            CollateralError: There is one and it cannot be had now, or it has ended.
        """
        now = self.clock.now()
        found = self._refreshed(name, now) if refresh else self._collateral.store.crl(name)
        if found is None:
            raise FetchError(
                "FETCH_BUSY", "mirror: was asked for a moment ago", retry_after_seconds=CRL_REFRESH_SECONDS
            )
        found.require_in_force(at=now)
        return Held(
            content=found.der,
            media_type=CRL,
            fresh_seconds=_fresh(CRL_SECONDS, found.not_after, now),
            immutable=False,
            changed_at=found.not_before,
        )

    def _refreshed(self, name: CrlName, now: datetime) -> Stored:
        try:
            return self._collateral.crl(name, at=now, max_age_seconds=0.0).piece
        except NotFoundError as error:
            raise _unknown() from error

    def stored(self, name: VcekName) -> Held | None:
        """Return a VCEK that the store holds and that still counts, or None."""
        found, now = self._collateral.store.vcek(name), self.clock.now()
        if found is None or now > found.not_after:
            return None
        return Held(
            content=found.der,
            media_type=CERTIFICATE,
            fresh_seconds=_fresh(CERTIFICATE_SECONDS, found.not_after, now),
            immutable=True,
            changed_at=found.not_before,
        )

    def admit(self, client: str) -> None:
        """Count a VCEK that is to be fetched for a client. Of one event loop.

        Raises:
            FetchError: FETCH_BUSY, with how long to wait, where it is more than a stranger's share.
            ServiceError: MIRROR_UNKNOWN, where nothing is fetched for strangers.
        """
        if not self._fetching:
            raise _unknown()
        if wait := self._clients.wait_seconds(client) or self._all.wait_seconds(EVERYBODY):
            raise FetchError("FETCH_BUSY", "mirror: more than a stranger's share", retry_after_seconds=math.ceil(wait))

    def fetched(self, name: VcekName) -> Held:
        """Return a VCEK from wherever it is; ask `admit` first.

        Raises:
            ServiceError: MIRROR_UNKNOWN.
            CollateralError: It cannot be had now.
        """
        try:
            self._collateral.vcek(name, at=self.clock.now())
        except NotFoundError as error:
            raise _unknown() from error
        found = self.stored(name)
        if found is None:
            raise _unknown()
        return found


def amd_chains() -> Mapping[tuple[Product, VekKind], bytes]:
    """Return AMD's intermediates with their roots as KDS answers them: PEM, the intermediate first."""
    issuers = {VekKind.VCEK: "ask", VekKind.VLEK: "asvk"}
    return {
        (product, kind): _pem(twocvm_certs.load(f"{issuer}-{product.lower()}"))
        + _pem(twocvm_certs.load(f"ark-{product.lower()}"))
        for product in HARDWARE
        for kind, issuer in issuers.items()
    }


def parse_product(text: str) -> Product:
    """Return the product of a path.

    Raises:
        ServiceError: MIRROR_UNKNOWN, where KDS has none of that name.
    """
    if text not in HARDWARE:
        raise _unknown()
    return Product(text)


def parse_vcek_request(product: Product, hwid: str, query: Sequence[tuple[str, str]]) -> VcekName:
    """Return which VCEK a request is for.

    Args:
        product: Of the path.
        hwid: The chip's id in hex: 128 digits, or 16 on Turin.
        query: Names and values, in their order.

    Raises:
        MalformedError: The id or the query is not one that KDS takes.
    """
    size_bytes = _TURIN_HWID_BYTES if product is Product.TURIN else _CHIP_ID_BYTES
    if not _HWID.fullmatch(hwid) or len(hwid) != 2 * size_bytes:
        raise MalformedError(DOCUMENT, "hwid", f"want {2 * size_bytes} hex digits")
    offsets = {KDS_COMPONENTS[component]: offset for component, offset in layout(product).items()}
    if sorted(name for name, _ in query) != sorted(offsets):
        raise MalformedError(DOCUMENT, "query", f"want each of {', '.join(offsets)} once, and nothing else")
    tcb = bytearray(TCB_BYTES)
    for name, value in query:
        if not _NUMBER.fullmatch(value) or int(value) > _MAX_COMPONENT:
            raise MalformedError(DOCUMENT, name, "want a number from 0 to 255")
        tcb[offsets[name]] = int(value)
    chip_id = bytes.fromhex(hwid).ljust(_CHIP_ID_BYTES, b"\x00")
    return VcekName(product=product, chip_id=chip_id, tcb=bytes(tcb))


def _fresh(most_seconds: int, ends_at: datetime, now: datetime) -> int:
    return max(0, min(most_seconds, int((ends_at - now).total_seconds())))


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + _PEM_CHARACTERS] for at in range(0, len(text), _PEM_CHARACTERS)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


def _unknown() -> ServiceError:
    return ServiceError("MIRROR_UNKNOWN", "mirror: nothing of this name")
