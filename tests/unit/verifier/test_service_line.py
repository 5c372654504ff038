"""Where the service judges: on its event loop what only computes, in threads what may wait, and so much at a time."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.amd import AT
from tests.support.verifier_service import (
    MILAN,
    asked,
    by_parts,
    cmw,
    crl,
    for_release,
    naming_policy,
    parts,
    report,
)

from twocvm_verifier import Policy
from twocvm_verifier.collateral import Collateral, CrlName, Store
from twocvm_verifier.collateral.names import vcek_names
from twocvm_verifier.evidence import to_json
from twocvm_verifier.policy import document_of
from twocvm_verifier.service.line import ROW_SECONDS, Turns
from twocvm_verifier.service.lists import FRESH_SECONDS, Lists, WouldWaitError
from twocvm_verifier.service.parts import Desk
from twocvm_verifier.service.problems import ServiceError
from twocvm_verifier.service.requests import MEDIA_TYPE, parse_request
from twocvm_verifier.service.tokens import KeyRing, PrivateKeySigner
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report

CLIENT = "192.0.2.1"
NAME = CrlName(product=Product.MILAN, kind=VekKind.VCEK)
RSA = PrivateKeySigner(rsa.generate_private_key(65537, 2048))
WITHOUT_LIST = {"evidence": {"cmw": to_json(cmw(crl=None))}}


@dataclass
class Clock:
    """A clock that a test moves."""

    seconds: float = 0.0

    def now(self) -> datetime:
        """Return the day of all evidence here."""
        return AT

    def monotonic_seconds(self) -> float:
        """Return what was put in."""
        return self.seconds


def judged_where(desk: Desk, *requests: dict, spaces: int = 0) -> list[str]:
    """Return for each request whether it was judged on the loop or in a thread."""
    judge, places = desk.parts.appraiser.appraise, []

    def appraise(request, *, patient):
        outcome = judge(request, patient=patient)
        places.append("loop" if threading.current_thread() is threading.main_thread() else "thread")
        return outcome

    desk.parts.appraiser.appraise = appraise

    async def ask_all():
        for request in requests:
            read = await desk.read(json.dumps(request).encode() + b" " * spaces, media_type=MEDIA_TYPE)
            assert (await desk.answer(read, client=CLIENT)).token

    asyncio.run(ask_all())
    desk.stop()
    return places


def test_what_memory_has_is_judged_on_the_loop():
    """Whole evidence, by the owner's policies, with a manifest or without."""
    desk = Desk(parts(default=naming_policy(), policies=(Policy.builtin(),)))
    assert judged_where(desk, asked(), for_release(), asked(policy=Policy.builtin().sha256.hex())) == ["loop"] * 3


@pytest.mark.parametrize(
    ("wanted", "changes", "spaces"),
    [
        (asked(evidence=by_parts(vek=None)), {}, 0),
        (asked(policy=document_of(naming_policy())), {}, 0),
        (asked(), {"keys": KeyRing(current=RSA, following=None)}, 0),
        (asked(), {}, 40_000),
    ],
    ids=["certificate", "policy", "key", "size"],
)
def test_what_may_take_long_is_judged_in_a_thread(wanted, changes, spaces, tmp_path):
    """So is a certificate that is looked for, a policy that the store may know, a slow key, and a long request."""
    store = Store(tmp_path, roots=MILAN.roots())
    store.put_vcek(vcek_names(parse_report(report()))[0], MILAN.vcek())
    assert judged_where(Desk(parts(store=tmp_path, **changes)), wanted, spaces=spaces) == ["thread"]


def test_a_list_is_looked_for_in_a_thread_and_remembered(tmp_path):
    """Evidence without a list is judged on the loop once it was looked for, and in a thread again after a while."""
    Store(tmp_path, roots=MILAN.roots()).put_crl(NAME, crl())
    clock = Clock()
    made = parts(store=tmp_path, clock=clock, default=naming_policy())
    assert judged_where(Desk(made), WITHOUT_LIST, WITHOUT_LIST) == ["thread", "loop"]


def test_lists_are_looked_for_again(tmp_path):
    """What was found, or that nothing was, counts for some seconds."""
    store, clock = Store(tmp_path, roots=MILAN.roots()), Clock()
    lists = Lists(Collateral(store=store, sources=(), clock=clock, patience_seconds=1), clock=clock)
    with pytest.raises(WouldWaitError):
        lists.newest(NAME, at=AT, patient=False)
    assert lists.newest(NAME, at=AT, patient=True) is None
    store.put_crl(NAME, crl())
    clock.seconds = FRESH_SECONDS - 0.1
    assert lists.newest(NAME, at=AT, patient=True) is None
    clock.seconds = FRESH_SECONDS
    with pytest.raises(WouldWaitError):
        lists.newest(NAME, at=AT, patient=False)
    assert lists.newest(NAME, at=AT, patient=True) == crl()
    assert lists.newest(NAME, at=AT, patient=False) == crl()


def test_who_does_not_wait_asks_no_store():
    """A judgement that must not wait is none where something has to be looked for."""
    made = parts()
    for members in ({"evidence": by_parts(vek=None)}, {"reference_values": ["00" * 32]}, {"policy": "00" * 32}):
        read = parse_request(json.dumps(asked(**members)).encode(), media_type=MEDIA_TYPE)
        with pytest.raises(WouldWaitError):
            made.appraiser.appraise(read, patient=False)


def test_between_two_rows_the_loop_looks_after_others():
    """However much there is, whoever wants something else waits for a row that has its time, and not for all."""
    clock = Clock()
    turns, done = Turns[int](max_waiting=8, clock=clock), []

    def piece(number: int) -> int:
        clock.seconds += ROW_SECONDS / 2
        done.append(number)
        return number

    async def other():
        # Its second turn is behind the first row's.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done.append("other")

    async def crowd():
        pieces = [turns.run(lambda number=number: piece(number)) for number in range(4)]
        *results, _ = await asyncio.gather(*pieces, other())
        return results

    assert asyncio.run(crowd()) == [0, 1, 2, 3]
    assert done == [0, 1, "other", 2, 3]


def test_turns_are_bounded_and_nobody_is_judged_who_left():
    """More than may wait are refused, who left is passed over, an error is its own asker's, and then all is free."""
    turns, done = Turns[str](max_waiting=4, clock=Clock()), []

    def piece(name: str) -> str:
        done.append(name)
        if name == "bad":
            raise ValueError(name)
        return name

    async def crowd():
        names = ("a", "bad", "b", "gone", "refused")
        tasks = [asyncio.ensure_future(turns.run(lambda name=name: piece(name))) for name in names]
        # Behind them, and before the row.
        asyncio.get_running_loop().call_soon(tasks[3].cancel)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return ends, await turns.run(lambda: piece("later"))

    ends, later = asyncio.run(crowd())
    assert [type(end) for end in ends] == [str, ValueError, str, asyncio.CancelledError, ServiceError]
    assert (ends[4].code, later) == ("SERVICE_BUSY", "later")
    assert done == ["a", "bad", "b", "later"]
