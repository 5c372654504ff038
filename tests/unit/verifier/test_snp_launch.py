"""MEASUREMENT as a chain: the fold over the vCPUs' pages, and the one line that stands for all of their counts."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twocvm_verifier.snp.launch import LABEL, MAX_VCPUS, LaunchPrefix, parse_launch_prefix

LAUNCH = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"b" * 48, other_vcpu=b"c" * 48)
DIGEST = st.binary(min_size=48, max_size=48)


def test_the_fold_is_that_of_the_specification():
    """Table 67: digest, contents, length 0x70, page type 2, no flags, and the address of every VMSA."""
    record = b"a" * 48 + b"b" * 48 + b"\x70\x00\x02\x00\x00\x00\x00\x00" + b"\x00\xf0\xff\xff\xff\xff\x00\x00"
    assert len(record) == 0x70
    first = hashlib.sha384(record).digest()
    assert LAUNCH.measurement(1) == first
    assert LAUNCH.measurement(2) == hashlib.sha384(first + b"c" * 48 + record[96:]).digest()


@pytest.mark.parametrize("vcpus", [1, 2, 3, 64, MAX_VCPUS])
def test_every_count_is_covered(vcpus):
    """From one vCPU to the most."""
    assert LAUNCH.vcpus_of(LAUNCH.measurement(vcpus)) == vcpus
    assert LAUNCH.vcpus_of(LAUNCH.measurement(vcpus), most=vcpus) == vcpus
    assert LAUNCH.vcpus_of(LAUNCH.measurement(vcpus), most=vcpus - 1) is None


def test_other_measurements_are_of_no_count():
    """Neither the digest before the vCPUs, nor that of another launch."""
    other = LaunchPrefix(digest=b"a" * 48, first_vcpu=b"c" * 48, other_vcpu=b"c" * 48)
    for measurement in (LAUNCH.digest, bytes(48), other.measurement(2), b""):
        assert LAUNCH.vcpus_of(measurement) is None


@pytest.mark.parametrize("vcpus", [0, -1, MAX_VCPUS + 1])
def test_impossible_counts_are_a_mistake(vcpus):
    """A machine has at least one vCPU, and not more than any host gives."""
    with pytest.raises(ValueError, match="vCPUs"):
        LAUNCH.measurement(vcpus)


@given(digest=DIGEST, first=DIGEST, other=DIGEST)
def test_text_round_trips(digest, first, other):
    """What is printed is read back."""
    launch = LaunchPrefix(digest=digest, first_vcpu=first, other_vcpu=other)
    assert parse_launch_prefix(str(launch)) == launch


@given(st.text(max_size=400) | st.sampled_from([str(LAUNCH), str(LAUNCH)[:-1], str(LAUNCH).upper()]))
def test_text_is_total(text):
    """Any text is a launch in its one spelling, or a `ValueError`."""
    try:
        launch = parse_launch_prefix(text)
    except ValueError:
        return
    assert str(launch) == text


@pytest.mark.parametrize(
    "text",
    ["", LABEL, str(LAUNCH) + "\n", f"{LAUNCH}:", str(LAUNCH).replace(":", " "), str(LAUNCH).replace("v1", "v2")],
)
def test_other_text_is_refused(text):
    """One spelling, and nothing before or after it."""
    with pytest.raises(ValueError, match="three digests"):
        parse_launch_prefix(text)


def test_digests_have_their_length():
    """A short digest is a mistake."""
    with pytest.raises(ValueError, match="48 bytes"):
        LaunchPrefix(digest=b"a" * 47, first_vcpu=b"b" * 48, other_vcpu=b"c" * 48)
