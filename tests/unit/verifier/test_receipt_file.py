"""The file with all that a judge of a receipt needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import AT, World
from tests.support.sessions import OUTPUTS, PaperSession
from tests.support.simulated import lenient_policy, verifier_of

from twocvm_verifier import SnpVerifier, Unchecked, amd_roots
from twocvm_verifier.errors import AppraisalError, ChainError, MalformedError, TwoCvmError
from twocvm_verifier.eventlog import Outcome
from twocvm_verifier.receipt_file import MAX_FILE_BYTES, parse_receipt_file, verify_receipt_file
from twocvm_verifier.result import Verdict
from twocvm_verifier.strictjson import Json, canonical

WORLD = World()
SESSION = PaperSession(WORLD)
FILE = SESSION.file("analytics")
RAW = FILE.encode()
DOCUMENT: dict[str, Json] = json.loads(RAW)


def _judged(raw: bytes, *, manifest: bytes = WORLD.manifest.hash) -> str:
    """Return with which code a file is refused, or nothing where it is accepted."""
    try:
        verify_receipt_file(
            raw, manifest=manifest, policy=lenient_policy(), verifier=verifier_of(SESSION.platform), at=AT
        )
    except TwoCvmError as error:
        return error.code
    return ""


@pytest.mark.parametrize("participant", WORLD.names)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_participant_s_receipt_is_accepted_whatever_the_outcome(participant: str, outcome: Outcome) -> None:
    """A file survives the way through bytes, and its receipt is verified for each participant and outcome."""
    session = PaperSession(WORLD, outcome=outcome)
    file = session.file(participant)
    assert parse_receipt_file(file.encode()) == file
    verified = session.judge(file)
    assert (verified.body.participant, verified.body.outcome) == (participant, outcome)
    assert verified.log.outcome is outcome
    assert verified.manifest == WORLD.manifest
    verified.require_own(participant=participant, report_id=session.report_id, guest_spki_sha256=session.spki_sha256)


def test_a_judge_who_knows_only_the_hash_is_enough() -> None:
    """The hash of the manifest says which one was meant; the file brings the manifest itself."""
    assert _judged(RAW) == ""
    with pytest.raises(ValueError, match="manifest"):
        _judged(RAW, manifest=b"")


def test_a_simulated_receipt_never_looks_secure() -> None:
    """The appraisal of a simulated guest's receipt is a warning, and not secure."""
    appraisal = SESSION.judge(FILE).appraisal
    assert (appraisal.verdict, appraisal.secure, appraisal.simulated) == (Verdict.WARNING, False, True)


def test_amd_s_roots_refuse_a_simulated_receipt() -> None:
    """Whoever did not ask for a simulated platform does not get one."""
    verifier = SnpVerifier(roots=amd_roots(), crls=Unchecked("not needed to refuse"))
    with pytest.raises(ChainError):
        verify_receipt_file(RAW, manifest=WORLD.manifest, policy=lenient_policy(), verifier=verifier, at=AT)


def test_the_judge_s_policy_counts_and_not_the_file_s() -> None:
    """A receipt that its owner accepted is refused by a judge who accepts less."""
    stricter = replace(lenient_policy(), measurements=(bytes(48),))
    with pytest.raises(AppraisalError):
        SESSION.judge(FILE, policy=stricter)
    assert SESSION.judge(replace(FILE, policy=stricter.to_json())).body == SESSION.body("analytics")


def test_a_chain_is_judged_at_the_judge_s_time() -> None:
    """A receipt is refused before its chip's certificate was issued, and after it has ended."""
    for at in (datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)):
        with pytest.raises(ChainError):
            SESSION.judge(FILE, at=at)


def test_the_receipt_says_what_its_outputs_are() -> None:
    """An own output is found by its name, and nobody else's is."""
    verified = SESSION.judge(FILE)
    assert verified.output("model").sealed == OUTPUTS["model"]
    with pytest.raises(KeyError):
        verified.output("evaluation")


@pytest.mark.parametrize("member", sorted(DOCUMENT))
def test_a_file_that_lacks_anything_is_refused(member: str) -> None:
    """Every member of the file is needed, and an empty one is not enough."""
    missing = {name: value for name, value in DOCUMENT.items() if name != member}
    assert _judged(canonical(missing)) == "MALFORMED_RECEIPT_FILE"
    empty: Json = {str: "", list: [], dict: {}}[type(DOCUMENT[member])]  # type: ignore[index]
    if member != "policy":
        assert _judged(canonical({**DOCUMENT, member: empty})) != ""


MALFORMED: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: b"x",
    "an array": lambda: b"[]",
    "further member": lambda: canonical({**DOCUMENT, "more": 1}),
    "another schema": lambda: canonical({**DOCUMENT, "schema": "twocvm/receipt-file/v2"}),
    "not canonical": lambda: RAW + b"\n",
    "policy no object": lambda: canonical({**DOCUMENT, "policy": "builtin"}),
    "key no base64url": lambda: canonical({**DOCUMENT, "guest_spki": "=="}),
    "too long": lambda: b" " * (MAX_FILE_BYTES + 1),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_receipt_file_is_malformed(raw: Callable[[], bytes]) -> None:
    """Whatever is not the one spelling of a file is refused with its own code."""
    with pytest.raises(MalformedError) as caught:
        parse_receipt_file(raw())
    assert caught.value.code == "MALFORMED_RECEIPT_FILE"


@given(st.binary(max_size=200))
def test_any_bytes_give_a_file_or_malformed(raw: bytes) -> None:
    """Reading a file is total."""
    with pytest.raises(MalformedError):
        parse_receipt_file(raw)


@given(st.sampled_from(sorted(DOCUMENT)), st.sampled_from(["", [], {}, 1, True, [""], {"a": ""}, [[]]]))
def test_any_json_in_place_of_a_member_is_refused_in_our_way(member: str, value: Json) -> None:
    """A member of another shape is refused with a code, or it is the policy, which is for the record."""
    refused = _judged(canonical({**DOCUMENT, member: value}))
    assert refused or (member == "policy" and isinstance(value, dict))


# Without the chain, which the judge's own roots make needless, and whose PEM has room for other white space.
WITHOUT_CHAIN = replace(
    FILE, receipt=replace(FILE.receipt, evidence=replace(FILE.receipt.evidence, chain=None))
).encode()
POLICY_AT = range(WITHOUT_CHAIN.index(b'"policy":'), WITHOUT_CHAIN.index(b'"receipt":{"payload"'))


@given(st.integers(0, len(WITHOUT_CHAIN) - 1).filter(lambda place: place not in POLICY_AT), st.integers(1, 255))
def test_any_other_byte_is_refused(place: int, mask: int) -> None:
    """A file with any byte changed is refused, but for the record of its owner's policy."""
    changed = bytearray(WITHOUT_CHAIN)
    changed[place] ^= mask
    assert _judged(WITHOUT_CHAIN) == ""
    assert _judged(bytes(changed)) != ""
