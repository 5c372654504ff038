"""Whether the issuer of a VEK was revoked: how the caller wants that asked, and what the lists at hand answer.

Nothing is fetched. Lists come from two places: the caller holds some, and evidence brings one. Rules, in order:
1. A list that is not a list, or that no accepted root signed, is as if it were not there; so is another product's.
2. Every authentic list that was ever seen is kept. A serial number in any of them is revoked, however old the list.
3. Of those that have begun, the one with the greatest CRL number counts, and no older one in its place.
4. It counts until its nextUpdate.

So a list can only ever take an acceptance away: without any, `CrlMode.REQUIRE` refuses, and `CrlMode.PREFER` leaves
the refusal to the policy of who releases something, and a warning to everybody else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from cachetools import LRUCache

from twocvm_verifier.clock import format_time
from twocvm_verifier.codes import CODES
from twocvm_verifier.codes.table import CANNOT_JUDGE, MALFORMED, NOT_AUTHENTIC
from twocvm_verifier.errors import NotFoundError, RevokedError, StaleError, TwoCvmError
from twocvm_verifier.unchecked import Unchecked

from .crl import VerifiedCrl, parse_crl, verify_crl
from .names import VekKind
from .roots import Issuer, Roots

# AMD issues a list a year for each root; more than these are never needed, and few are ever made.
_KEPT_PER_ISSUER: Final = 16
_KEPT_VERIFIED: Final = 64
_PRECEDENCE: Final = (MALFORMED, NOT_AUTHENTIC, CANNOT_JUDGE)


class CrlMode(StrEnum):
    """What it means that no list can be used."""

    REQUIRE = "require"  # the evidence cannot be judged
    PREFER = "prefer"  # it can, and the result says so


@dataclass(frozen=True, slots=True, kw_only=True)
class Crls:
    """How revocation is asked about.

    Attributes:
        mode: What it means that no list can be used.
        held: The lists that the caller holds, as DER; evidence may bring one more.
    """

    mode: CrlMode
    held: tuple[bytes, ...] = field(repr=False)


PREFER: Final = Crls(mode=CrlMode.PREFER, held=())
REQUIRE: Final = Crls(mode=CrlMode.REQUIRE, held=())
CrlUse: TypeAlias = Crls | Unchecked


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCrl:
    """The list that counts; the issuer is not in it, nor in any other at hand.

    Attributes:
        verified: The list.
        source: `evidence` where it came with this evidence, else `store`.
    """

    verified: VerifiedCrl
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCrl:
    """No list can be used.

    Attributes:
        problem: Why, as the error that refuses where one is required.
        code: The error's code.
        detail: Its text.
        required: Whether one is required.
    """

    problem: TwoCvmError = field(repr=False, compare=False)
    code: str
    detail: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The issuer was revoked.

    Attributes:
        serial_number: Of the issuer's certificate.
        verified: A list that says so.
    """

    serial_number: int
    verified: VerifiedCrl


NotRevoked: TypeAlias = FoundCrl | NoCrl | Unchecked
Revocation: TypeAlias = NotRevoked | Revoked


def require_not_revoked(revocation: Revocation) -> NotRevoked:
    """Return `revocation` unless it refuses.

    Raises:
        RevokedError: The issuer was revoked.
        TwoCvmError: A list is required and none can be used: a `CollateralError` where there is none, or none that
            is recent or new enough; otherwise why the one that came is none.
    """
    if isinstance(revocation, Revoked):
        raise RevokedError(
            "CHAIN_REVOKED",
            f"chain: the intermediate with the serial number {revocation.serial_number:#x} was revoked, "
            f"by CRL number {revocation.verified.crl.number} of {revocation.verified.product}",
        )
    if isinstance(revocation, NoCrl) and revocation.required:
        raise revocation.problem
    return revocation


class CrlStore:
    """The lists of one verifier: what its caller holds, and every authentic one that evidence ever brought.

    May be shared between threads. For a VCEK and for a VLEK the newest list is counted apart, because AMD serves
    them at two addresses and nothing promises that both are numbered as one row.

    Args:
        roots: Whose lists are accepted.
        use: How revocation is asked about.
    """

    def __init__(self, *, roots: Roots, use: CrlUse) -> None:
        self.use = use
        self._roots = roots
        self._verified: LRUCache[bytes, VerifiedCrl] = LRUCache(maxsize=_KEPT_VERIFIED)
        self._seen: dict[tuple[bytes, VekKind], tuple[VerifiedCrl, ...]] = {}
        self._lock = threading.Lock()

    def judge(self, issuer: Issuer, *, at: datetime, brought: bytes | None) -> Revocation:
        """Return what the lists at hand say of `issuer`; raises nothing.

        Args:
            issuer: The intermediate that issued a VEK.
            at: When a list must be in force (aware, UTC).
            brought: The list that the evidence brings, as DER; it is kept where it is authentic.
        """
        if isinstance(self.use, Unchecked):
            return self.use
        problems = self._learn(issuer, brought)
        with self._lock:
            seen = self._seen.get((issuer.ark_sha256, issuer.kind), ())
        judged = _judge(seen, issuer, at)
        if isinstance(judged, VerifiedCrl):
            return FoundCrl(verified=judged, source="evidence" if judged.crl.raw == brought else "store")
        if isinstance(judged, Revoked):
            return judged
        problem = min((*problems, judged), key=_precedence)
        required = self.use.mode is CrlMode.REQUIRE
        return NoCrl(problem=problem, code=problem.code, detail=problem.detail, required=required)

    def _learn(self, issuer: Issuer, brought: bytes | None) -> list[TwoCvmError]:
        """Keep the authentic lists of the issuer's root, and return what is wrong with the others."""
        problems: list[TwoCvmError] = []
        held = self.use.held if isinstance(self.use, Crls) else ()
        for raw in held if brought is None else (*held, brought):
            try:
                verified = self._verify(raw)
            except TwoCvmError as problem:
                problems.append(problem)
                continue
            if verified.ark_sha256 == issuer.ark_sha256:
                self._keep((issuer.ark_sha256, issuer.kind), verified)
        return problems

    def _verify(self, raw: bytes) -> VerifiedCrl:
        with self._lock:
            known = self._verified.get(raw)
        if known is None:
            known = verify_crl(parse_crl(raw), roots=self._roots)
            with self._lock:
                self._verified[raw] = known
        return known

    def _keep(self, key: tuple[bytes, VekKind], verified: VerifiedCrl) -> None:
        with self._lock:
            seen = self._seen.get(key, ())
            if verified not in seen:
                newest_first = sorted((*seen, verified), key=_age, reverse=True)
                self._seen[key] = tuple(newest_first[:_KEPT_PER_ISSUER])


def _judge(seen: Iterable[VerifiedCrl], issuer: Issuer, at: datetime) -> VerifiedCrl | Revoked | TwoCvmError:
    newest_first = sorted(seen, key=_age, reverse=True)
    for verified in newest_first:
        if issuer.serial_number in verified.crl.revoked:
            return Revoked(serial_number=issuer.serial_number, verified=verified)
    begun = [verified for verified in newest_first if verified.crl.this_update <= at]
    if not newest_first:
        return NotFoundError("CRL_MISSING", f"no CRL of {issuer.product} is at hand")
    if not begun:
        begins = format_time(min(verified.crl.this_update for verified in newest_first))
        return StaleError("CRL_NOT_YET_VALID", f"crl: the first one begins at {begins}, after {format_time(at)}")
    if at <= begun[0].crl.next_update:
        return begun[0]
    ended = f"number {begun[0].crl.number} ended at {format_time(begun[0].crl.next_update)}"
    if any(at <= verified.crl.next_update for verified in begun):
        return StaleError("CRL_ROLLED_BACK", f"crl: the newest, {ended}; an older one does not take its place")
    return StaleError("CRL_STALE", f"crl: the newest, {ended}, before {format_time(at)}")


def _age(verified: VerifiedCrl) -> tuple[int, datetime]:
    return verified.crl.number, verified.crl.this_update


def _precedence(problem: TwoCvmError) -> int:
    return _PRECEDENCE.index(CODES[problem.code].exit_status)
