"""What supervisor and worker say to each other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_guest.runtime.messages import (
    LAST,
    MAX_DESCRIPTORS,
    MAX_PIECE_BYTES,
    MORE,
    Job,
    Member,
    Outcome,
    Work,
    encode_job,
    encode_outcome,
    encode_ready,
    parse_job,
    parse_outcome,
    pieces,
)

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True), max_size=5).map(tuple)


@given(raw=st.binary(max_size=16))
def test_any_bytes_are_an_outcome_or_refused(raw: bytes) -> None:
    """Whatever a worker says is one outcome, spelled in the one way, or `ValueError`."""
    try:
        outcome = parse_outcome(raw)
    except ValueError:
        return
    assert encode_outcome(outcome) == raw


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_comes_back(outcome: Outcome) -> None:
    """Each outcome is eight bytes and is read as itself."""
    assert len(encode_outcome(outcome)) == 8
    assert parse_outcome(encode_outcome(outcome)) is outcome


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("bit", range(8))
def test_an_outcome_with_a_wrong_bit_is_another_or_none(position: int, bit: int) -> None:
    """No single wrong bit leaves `DONE` what it was, and one outside the outcome's own byte leaves nothing."""
    broken = bytearray(encode_outcome(Outcome.DONE))
    broken[position] ^= 1 << bit
    if position == 6 and broken[6] in {each.value for each in Outcome}:
        assert parse_outcome(bytes(broken)) is not Outcome.DONE
    else:
        with pytest.raises(ValueError, match=r"outcome|is not a valid"):
            parse_outcome(bytes(broken))


@given(
    work=st.sampled_from(Work),
    names=NAMES,
    numbers=st.integers(min_value=0, max_value=2**53),
    descriptors=st.lists(st.integers(min_value=3, max_value=1000), max_size=5).map(tuple),
)
def test_a_job_comes_back_as_it_was(work: Work, names: tuple[str, ...], numbers: int, descriptors: tuple) -> None:
    """A job is the same for the worker as for the supervisor, whatever its members hold."""
    job = Job(
        work=work,
        uid=numbers,
        scratch="",
        promised=names,
        keep=descriptors,
        inputs=tuple((name, 3, numbers) for name in names),
        outputs=names,
        members=(Member(imports=names, calls=(("run", 0),), windows=tuple((name, 3, numbers) for name in names)),),
        memory_bytes=numbers,
        coarse_clock=True,
        seed="00" * 32,
    )
    assert parse_job(encode_job(job)) == job


@given(size=st.integers(min_value=1, max_value=3 * MAX_PIECE_BYTES), count=st.integers(min_value=0, max_value=800))
def test_a_job_of_any_size_goes_in_pieces(size: int, count: int) -> None:
    """No piece is more than a message may be, all together are the whole, and only the last one says that it is."""
    raw, descriptors = bytes(size), tuple(range(count))
    sent = list(pieces(raw, descriptors))
    assert b"".join(message[1:] for message, _ in sent) == raw
    assert tuple(each for _, passed in sent for each in passed) == descriptors
    assert all(len(message) <= MAX_PIECE_BYTES and len(passed) <= MAX_DESCRIPTORS for message, passed in sent)
    assert [message[:1] for message, _ in sent] == [MORE] * (len(sent) - 1) + [LAST]


def test_ready_is_plain_json() -> None:
    """What a worker reports of itself is an object of texts."""
    assert json.loads(encode_ready({"own-uid": "", "no-swap": "why"})) == {"own-uid": "", "no-swap": "why"}
