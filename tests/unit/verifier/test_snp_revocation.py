"""Revocation: which list counts, what it takes away, and that nothing which is left out ever helps."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.amd import AT, VEK_END, borrowed_names, fake_amd
from tests.support.crls import ISSUER_SERIAL, NEXT_UPDATE, THIS_UPDATE, crl_of
from tests.support.vectors import require_vectors

import twocvm_certs
from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise, appraise_guest
from twocvm_verifier.errors import (
    BindingError,
    ChainError,
    MalformedError,
    NotFoundError,
    RevokedError,
    SignatureError,
    StaleError,
    TwoCvmError,
)
from twocvm_verifier.manifest.platform import BitDemand, Mitigations, Platform
from twocvm_verifier.result import Appraisal, Check, Status
from twocvm_verifier.snp.names import VekKind
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.revocation import (
    PREFER,
    REQUIRE,
    CrlMode,
    Crls,
    CrlStore,
    FoundCrl,
    NoCrl,
    Revoked,
    require_not_revoked,
)
from twocvm_verifier.snp.roots import Hierarchy, verify_roots
from twocvm_verifier.snp.verify import VerifiedReport

MILAN, GENOA = fake_amd(Product.MILAN), fake_amd(Product.GENOA)
MANIFEST_HASH = b"\x01" * 32
DAY = timedelta(days=1)

GOOD = crl_of(MILAN)
NEWER = crl_of(MILAN, number=4, this_update=THIS_UPDATE + DAY)
REVOKING = crl_of(MILAN, number=5, revoked=(ISSUER_SERIAL,))
ENDED = crl_of(MILAN, number=2, this_update=AT - 400 * DAY, next_update=AT - 40 * DAY)
NEWEST_ENDED = crl_of(MILAN, number=9, next_update=AT - DAY)
FUTURE = crl_of(MILAN, number=6, this_update=AT + DAY)
FORGED = crl_of(borrowed_names(Product.MILAN))
SIMULATED = crl_of(fake_amd(Product.SIMULATED))
FLIPPED = GOOD[:-1] + bytes([GOOD[-1] ^ 1])

UNUSABLE = {
    "nothing": ((), NotFoundError, "CRL_MISSING"),
    "another product": ((crl_of(GENOA),), ChainError, "CRL_ISSUER_UNKNOWN"),
    "expired": ((ENDED,), StaleError, "CRL_STALE"),
    "future": ((FUTURE,), StaleError, "CRL_NOT_YET_VALID"),
    "flipped": ((FLIPPED,), SignatureError, "CRL_SIGNATURE"),
    "another signer": ((FORGED,), SignatureError, "CRL_SIGNATURE"),
    "simulated": ((SIMULATED,), ChainError, "CRL_ISSUER_UNKNOWN"),
    "junk": ((b"junk",), MalformedError, "MALFORMED_CRL"),
    "empty": ((b"",), MalformedError, "MALFORMED_CRL"),
    "rolled back": ((NEWEST_ENDED, GOOD), StaleError, "CRL_ROLLED_BACK"),
    "malformed decides over stale": ((ENDED, b"junk"), MalformedError, "MALFORMED_CRL"),
    "forged decides over missing": ((FORGED,), SignatureError, "CRL_SIGNATURE"),
}


def verifier_of(*held: bytes, mode: CrlMode = CrlMode.REQUIRE) -> SnpVerifier:
    """Return a verifier that holds these lists."""
    return SnpVerifier(roots=MILAN.roots(), crls=Crls(mode=mode, held=held))


def verify(verifier: SnpVerifier, *, crl: bytes | None = None, at: datetime = AT) -> VerifiedReport:
    """Verify a report that is right in everything else."""
    return verifier.verify(MILAN.report(), vek=MILAN.vcek(), at=at, crl=crl)


def check_of(appraisal: Appraisal) -> Check:
    """Return how revocation stands in an appraisal."""
    (found,) = (check for check in appraisal.checks if check.id == "snp.chain.revocation")
    return found


def for_release(verified: VerifiedReport, *, at: datetime = AT, **changes: object) -> Appraisal:
    """Judge a report as that of a guest that something is about to be released to."""
    nothing = BitDemand(required=0, forbidden=0)
    platform = Platform(
        measurements=(bytes(range(48)),),
        firmware_measurements=(),
        id_key_digests=(),
        author_key_digests=(),
        products=("Milan",),
        minimum_tcb={},
        guest_policy=nothing,
        platform_info=nothing,
        mitigations=Mitigations(launch=0, current=0),
        vmpl=0,
        chip_ids=(),
        operator="external",
        simulated=False,
        ledgers=(),
    )
    return appraise_guest(
        verified,
        policy=replace(Policy.builtin(), **changes),  # type: ignore[arg-type]
        platform=platform,
        manifest_hash=MANIFEST_HASH,
        report_data=bytes(64),
        at=at,
    )


@pytest.mark.parametrize("held", [True, False], ids=["held", "brought"])
def test_a_list_that_counts(held):
    """A list in force is found wherever it lies, stands in the result, and bounds how long the result holds."""
    verified = verify(verifier_of(GOOD)) if held else verify(verifier_of(), crl=GOOD)
    assert isinstance(verified.revocation, FoundCrl)
    assert verified.revocation.source == ("store" if held else "evidence")
    assert verified.valid_until == min(VEK_END, NEXT_UPDATE)
    appraisal = appraise(verified, policy=Policy.builtin(), at=AT)
    assert (check_of(appraisal).status, check_of(appraisal).code) == (Status.PASS, "CRL_STALE")
    (piece,) = (piece for piece in appraisal.collateral if piece.kind == "crl")
    assert (piece.sha256, piece.not_after) == (verified.revocation.verified.crl.sha256, NEXT_UPDATE)
    assert piece.source == verified.revocation.source


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("place", ["held", "brought"])
def test_lists_that_cannot_be_used(case, place):
    """Required, each refuses with its own code; preferred, each is as if it were not there, and is warned of."""
    lists, error, code = UNUSABLE[case]
    held, brought = (lists, None) if place == "held" or not lists else (lists[:-1], lists[-1])
    with pytest.raises(error) as caught:
        verify(verifier_of(*held), crl=brought)
    assert caught.value.code == code
    examination = verifier_of(*held).examine(MILAN.report(), vek=MILAN.vcek(), at=AT, crl=brought)
    assert examination.refusal is not None
    assert [outcome.id for outcome in examination.outcomes if outcome.error] == ["snp.chain.revocation"]
    verified = verify(verifier_of(*held, mode=CrlMode.PREFER), crl=brought)
    assert verified.revocation == NoCrl(problem=caught.value, code=code, detail=caught.value.detail, required=False)
    check = check_of(appraise(verified, policy=Policy.builtin(), at=AT))
    assert (check.status, check.code) == (Status.WARN, code)
    check = check_of(for_release(verified))
    assert (check.status, check.code) == (Status.FAIL, code)


def test_another_accepted_root_revokes_nothing_of_ours():
    """Under roots of two products, the list of one says nothing about the other: neither good nor bad."""
    roots = verify_roots((MILAN.hierarchy(), GENOA.hierarchy()), revoked=frozenset())
    of_genoa = (crl_of(GENOA), crl_of(GENOA, number=4, revoked=(ISSUER_SERIAL,)))
    verifier = SnpVerifier(roots=roots, crls=Crls(mode=CrlMode.REQUIRE, held=of_genoa))
    with pytest.raises(NotFoundError) as caught:
        verify(verifier)
    assert caught.value.code == "CRL_MISSING"
    assert isinstance(verify(verifier, crl=GOOD).revocation, FoundCrl)
    with pytest.raises(RevokedError):
        verifier.verify(GENOA.report(), vek=GENOA.vcek(), at=AT)


def test_a_release_says_what_is_wrong_with_the_lists():
    """Without a list it cannot be judged; with a forged one it is not authentic; with an old one it is stale."""
    for lists, error in (((), NotFoundError), ((FORGED,), BindingError), ((ENDED,), StaleError)):
        verified = verify(verifier_of(*lists, mode=CrlMode.PREFER))
        with pytest.raises(error) as caught:
            for_release(verified).require()
        assert caught.value.code == check_of(for_release(verified)).code


@pytest.mark.parametrize(
    "lists", [(REVOKING,), (GOOD, REVOKING), (REVOKING, crl_of(MILAN, number=7)), (FORGED, REVOKING)]
)
@pytest.mark.parametrize("mode", CrlMode)
def test_a_revoked_issuer_is_refused(lists, mode):
    """One authentic list is enough, whatever the others say and however revocation is asked about."""
    with pytest.raises(RevokedError) as caught:
        verify(verifier_of(*lists, mode=mode))
    assert caught.value.code == "CHAIN_REVOKED"


@pytest.mark.parametrize("times", [{"next_update": AT - DAY}, {"this_update": AT + DAY}])
def test_a_revocation_has_no_end(times):
    """What an old list revokes, or one of after the time that is judged at, is revoked."""
    with pytest.raises(RevokedError):
        verify(verifier_of(mode=CrlMode.PREFER), crl=crl_of(MILAN, revoked=(ISSUER_SERIAL,), **times))


def test_other_serial_numbers_are_not_ours():
    """A list that revokes other certificates, and the number 0 that every VEK has, takes nothing away."""
    verified = verify(verifier_of(crl_of(MILAN, revoked=(0, ISSUER_SERIAL + 1))))
    assert isinstance(verified.revocation, FoundCrl)


def test_unchecked_asks_nothing():
    """With a reason nothing is asked, not even of a list that revokes; the reason is in the result."""
    why = Unchecked("an air-gapped laboratory")
    verified = SnpVerifier(roots=MILAN.roots(), crls=why).verify(MILAN.report(), vek=MILAN.vcek(), at=AT, crl=REVOKING)
    assert verified.revocation == why
    check = check_of(appraise(verified, policy=Policy.builtin(), at=AT))
    assert (check.status, check.detail) == (Status.SKIP, why.reason)
    check = check_of(for_release(verified))
    assert (check.status, check.code) == (Status.FAIL, "CRL_MISSING")
    assert why.reason in check.detail
    enough = Unchecked("the policy's own reason")
    check = check_of(for_release(verified, max_crl_age_seconds=enough))
    assert (check.status, check.detail) == (Status.SKIP, enough.reason)


def test_the_newest_counts():
    """Of two lists in force the one with the greater number is used, in whichever order they come."""
    for held, brought in (((GOOD,), NEWER), ((NEWER,), GOOD), ((GOOD, NEWER), None)):
        verified = verify(verifier_of(*held), crl=brought)
        assert isinstance(verified.revocation, FoundCrl)
        assert verified.revocation.verified.crl.raw == NEWER


def test_a_newer_list_is_not_forgotten():
    """An older list after a newer one, or none at all, still meets the newer one."""
    verifier = verifier_of()
    verify(verifier, crl=NEWER)
    for later in (GOOD, None, b"junk", FORGED):
        verified = verify(verifier, crl=later)
        assert isinstance(verified.revocation, FoundCrl)
        assert (verified.revocation.verified.crl.raw, verified.revocation.source) == (NEWER, "store")


def test_a_revocation_is_not_forgotten():
    """Once a list that revokes has been seen, leaving it out, or an older one, does not help."""
    verifier = verifier_of(GOOD, mode=CrlMode.PREFER)
    verify(verifier)
    with pytest.raises(RevokedError):
        verify(verifier, crl=REVOKING)
    for later in (None, GOOD, NEWER):
        with pytest.raises(RevokedError):
            verify(verifier, crl=later)


def test_rollback_to_a_list_that_lasts_longer():
    """An older list is not used in the place of a newer one that has ended."""
    verifier = verifier_of()
    at = NEXT_UPDATE - timedelta(days=100)
    ending = crl_of(MILAN, number=9, next_update=at - DAY)
    verify(verifier, crl=ending)
    with pytest.raises(StaleError) as caught:
        verify(verifier, crl=GOOD, at=at)
    assert caught.value.code == "CRL_ROLLED_BACK"


def test_a_list_of_later_does_not_push_out_the_one_in_force():
    """Judged at a time before the newest list began, the one that was in force then counts."""
    verified = verify(verifier_of(GOOD, FUTURE))
    assert isinstance(verified.revocation, FoundCrl)
    assert verified.revocation.verified.crl.raw == GOOD


def test_the_window_of_a_list():
    """From its first second to its last, and not one more."""
    second = timedelta(seconds=1)
    verifier = verifier_of(GOOD)
    verify(verifier, at=THIS_UPDATE)
    verify(verifier, at=NEXT_UPDATE)
    for at, code in ((THIS_UPDATE - second, "CRL_NOT_YET_VALID"), (NEXT_UPDATE + second, "CRL_STALE")):
        with pytest.raises(StaleError) as caught:
            verify(verifier, at=at)
        assert caught.value.code == code


def test_a_list_older_than_the_policy_accepts():
    """A release needs one of at most `max_crl_age_seconds`; evidence at rest is warned of."""
    verified = verify(verifier_of(GOOD))
    limit = int((AT - THIS_UPDATE).total_seconds())
    assert check_of(for_release(verified, max_crl_age_seconds=limit)).status is Status.PASS
    check = check_of(for_release(verified, max_crl_age_seconds=limit - 1))
    assert (check.status, check.code) == (Status.FAIL, "CRL_STALE")
    with pytest.raises(StaleError):
        for_release(verified, max_crl_age_seconds=limit - 1).require()
    policy = replace(Policy.builtin(), max_crl_age_seconds=limit - 1)
    check = check_of(appraise(verified, policy=policy, at=AT))
    assert (check.status, check.code) == (Status.WARN, "CRL_STALE")
    anything = replace(Policy.builtin(), max_crl_age_seconds=Unchecked("any that is in force"))
    assert check_of(appraise(verified, policy=anything, at=AT)).status is Status.PASS


def test_the_window_is_asked_again_at_the_judgement():
    """A report that was verified in time is judged later by the list's own end, whatever the policy says."""
    verified = verify(verifier_of(GOOD))
    anything = Unchecked("any that is in force")
    for at in (NEXT_UPDATE + DAY, THIS_UPDATE - DAY):
        check = check_of(for_release(verified, max_crl_age_seconds=anything, at=at))
        assert (check.status, check.code) == (Status.FAIL, "CRL_STALE")


def test_lists_of_vceks_and_of_vleks_are_counted_apart():
    """Two rows of numbers do not look like a rollback of each other; a revocation holds where it is said."""
    verifier = verifier_of()
    ending = crl_of(MILAN, number=9, next_update=AT)
    verify(verifier, crl=ending)
    report = MILAN.report(flags=1 << 2)
    verified = verifier.verify(report, vek=MILAN.vlek(), at=AT, crl=GOOD)
    assert verified.vek.vek.kind is VekKind.VLEK
    assert isinstance(verified.revocation, FoundCrl)
    assert verified.revocation.verified.crl.raw == GOOD


def test_what_is_not_authentic_is_said_before_what_is_missing():
    """A report that its chip did not sign is not authentic (10), not unjudged (40)."""
    report = bytearray(MILAN.report())
    report[0x90] ^= 1
    with pytest.raises(SignatureError):
        verifier_of().verify(bytes(report), vek=MILAN.vcek(), at=AT)


def test_preferred_is_the_default():
    """A verifier that was told nothing prefers a list, and says in every result that it had none."""
    assert SnpVerifier(roots=MILAN.roots()).crls == PREFER
    assert (PREFER.mode, REQUIRE.mode, PREFER.held, REQUIRE.held) == (CrlMode.PREFER, CrlMode.REQUIRE, (), ())


def test_threads_share_what_was_seen():
    """Lists that come at once in many threads are all seen, and the newest counts for everybody afterwards."""
    verifier = verifier_of(mode=CrlMode.PREFER)
    lists = [crl_of(MILAN, number=number) for number in range(3, 40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda crl: verify(verifier, crl=crl), lists))
    verified = verify(verifier)
    assert isinstance(verified.revocation, FoundCrl)
    assert verified.revocation.verified.crl.number == 39


def test_the_intermediate_that_amd_revoked():
    """Genoa's first ASK, were it an anchor, is revoked by the list that AMD's own root signed."""
    folder = require_vectors() / "snp"
    revoked = (folder / "_negative" / "genoa_ask_serial_020001_REVOKED.der").read_bytes()
    crl = (folder / "_crl" / "ARK-Genoa-2022-10-31-2023-10-31.crl.der").read_bytes()
    ark = twocvm_certs.load("ark-genoa")
    at = datetime(2022, 12, 1, tzinfo=UTC)
    for der, expected in ((revoked, Revoked), (twocvm_certs.load("ask-genoa"), FoundCrl)):
        hierarchy = Hierarchy(product=Product.GENOA, ark=ark, intermediates={VekKind.VCEK: der})
        roots = verify_roots((hierarchy,), revoked=frozenset())
        (issuer,) = roots.issuers.values()
        for use in (PREFER, REQUIRE):
            assert isinstance(CrlStore(roots=roots, use=use).judge(issuer, at=at, brought=crl), expected)
    judged = CrlStore(roots=roots, use=REQUIRE).judge(issuer, at=at, brought=crl)
    assert require_not_revoked(judged) is judged


LISTS = {
    "good": GOOD,
    "newer": NEWER,
    "revoking": REVOKING,
    "ended": ENDED,
    "newest, ended": NEWEST_ENDED,
    "future": FUTURE,
    "forged": FORGED,
    "flipped": FLIPPED,
    "simulated": SIMULATED,
    "junk": b"junk",
}


def released(names: Iterable[str], brought: str | None) -> bool:
    """Whether a release would be accepted with these lists held, and this one brought, under a verifier of its own."""
    verifier = verifier_of(*(LISTS[name] for name in names), mode=CrlMode.PREFER)
    try:
        for_release(verify(verifier, crl=None if brought is None else LISTS[brought])).require()
    except TwoCvmError:
        return False
    return True


@given(st.frozensets(st.sampled_from(sorted(LISTS))), st.sampled_from([None, *sorted(LISTS)]))
@settings(deadline=None, max_examples=60)
def test_a_release_is_accepted_by_a_list_and_never_without(held, brought):
    """Without any list nothing is released, and one that revokes takes every acceptance away.

    Lists that are none change nothing, so that dropping them cannot help either.
    """
    there = held | {brought} - {None}
    accepted = released(held, brought)
    assert not released((), None)
    none_at_all = {"forged", "flipped", "simulated", "junk"}
    useful = there - none_at_all
    assert accepted == (bool(useful & {"good", "newer"}) and not useful & {"revoking", "newest, ended"})
    assert accepted == released(useful, None)


@given(st.lists(st.sampled_from(sorted(LISTS)), max_size=6), st.sampled_from([None, *sorted(LISTS)]))
@settings(deadline=None, max_examples=60)
def test_what_was_seen_is_never_unseen(earlier, last):
    """Whatever a verifier saw before, it accepts no less strictly than one that sees everything at once."""
    verifier = verifier_of(mode=CrlMode.PREFER)
    for name in earlier:
        try:
            verify(verifier, crl=LISTS[name])
        except RevokedError:
            assert "revoking" in earlier
    try:
        for_release(verify(verifier, crl=None if last is None else LISTS[last])).require()
        accepted = True
    except TwoCvmError:
        accepted = False
    assert accepted == released({*earlier, *([] if last is None else [last])}, None)
