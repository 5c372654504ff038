"""Properties: parsers are total, writing and reading agree, and dropping evidence never helps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.amd import AT, BEGIN, VEK_END, borrowed_names, fake_amd, pem, sign_report
from tests.support.vek_agreement import assert_agreement

from twocvm_verifier import Policy, SnpVerifier, Unchecked, appraise, simulated_roots
from twocvm_verifier.errors import MalformedError, TwoCvmError
from twocvm_verifier.manifest.platform import BitDemand, Mitigations
from twocvm_verifier.policy import AbiVersion, FirmwareVersion, parse_policy
from twocvm_verifier.snp.der import INTEGER, DerReader, encode_integer
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.report import parse_report
from twocvm_verifier.snp.roots import parse_chain
from twocvm_verifier.snp.tcb import parse_tcb
from twocvm_verifier.snp.vek import parse_vek

# A shared machine may pause anywhere; time is no property of these.
PATIENT = settings(deadline=None)
AMD = fake_amd(Product.MILAN)
SIMULATED = fake_amd(Product.SIMULATED)
VERIFIER = SnpVerifier(roots=AMD.roots())
REPORT = AMD.report()
VEK = AMD.vcek()
VLEK = AMD.vlek()
TURIN_VEK = fake_amd(Product.TURIN).vcek()
CHAIN = AMD.chain()
VERIFIED = VERIFIER.verify(REPORT, vek=VEK, at=AT)


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """Bytes near `original`: cut, lengthened, or with some bytes changed."""

    def change(edits: list[tuple[int, int]], cut: int, tail: bytes) -> bytes:
        data = bytearray(original[: len(original) - cut] + tail)
        for offset, value in edits:
            if data:
                data[offset % len(data)] = value
        return bytes(data)

    edits = st.lists(st.tuples(st.integers(0, len(original)), st.integers(0, 255)), max_size=4)
    return st.builds(change, edits, st.integers(0, 3), st.binary(max_size=3))


@PATIENT
@given(st.one_of(st.binary(max_size=1300), st.binary(min_size=1184, max_size=1184), mutated(REPORT)))
def test_report_parser_is_total(raw):
    """Any bytes are a report or malformed, and nothing else happens."""
    with suppress(MalformedError):
        assert parse_report(raw).raw == raw


@PATIENT
@given(st.one_of(st.binary(max_size=1500), mutated(VEK), mutated(VLEK), mutated(TURIN_VEK), mutated(SIMULATED.vcek())))
def test_vek_parser_is_total_and_agrees_with_the_library(raw):
    """Any bytes are malformed, or a VEK certificate in which the library reads the same, and nothing else happens."""
    with suppress(MalformedError):
        assert_agreement(parse_vek(raw), raw)


@PATIENT
@given(st.one_of(st.binary(max_size=2000), mutated(CHAIN)))
def test_chain_parser_is_total(raw):
    """Any bytes are two certificates in PEM or malformed."""
    with suppress(MalformedError):
        assert len(parse_chain(raw)) == 2


@PATIENT
@given(mutated(SIMULATED.ark()), mutated(SIMULATED.ask()))
def test_simulated_roots_are_total(ark, ask):
    """Any bytes in a simulated root's place are roots or one of our errors."""
    with suppress(TwoCvmError):
        assert simulated_roots(pem(ask) + pem(ark)).simulated


@PATIENT
@given(st.one_of(st.text(max_size=300), st.from_regex(r"\A([a-z_]+ = (\[.*\]|\{.*\}|\".*\"|[0-9]+)\n){0,4}\Z")))
def test_policy_parser_is_total(text):
    """Any text is a policy or malformed."""
    with suppress(MalformedError):
        assert parse_policy(text).products


@PATIENT
@given(st.binary(min_size=8, max_size=8), st.sampled_from(Product))
def test_tcb_parser_is_total(raw, product):
    """Any eight bytes are a TCB or malformed."""
    with suppress(MalformedError):
        assert parse_tcb(raw, product=product).microcode == raw[7]


@PATIENT
@given(st.binary(max_size=6))
def test_integers_have_one_spelling(raw):
    """Whatever reads as an INTEGER is written back as the same bytes."""
    reader = DerReader(raw, "vek")
    try:
        value = reader.integer("x")
        reader.end("x")
    except MalformedError:
        return
    assert raw[0] == INTEGER
    assert encode_integer(value) == raw


@PATIENT
@given(mutated(REPORT), mutated(VEK), st.one_of(st.none(), mutated(CHAIN)))
def test_verification_is_total_and_accepts_only_the_original(report, vek, chain):
    """Any three inputs give the verified original or one of our errors."""
    with suppress(TwoCvmError):
        assert VERIFIER.verify(report, vek=vek, at=AT, chain=chain).report == VERIFIED.report
        assert (report, vek) == (REPORT, VEK)


@PATIENT
@given(st.data())
def test_signed_fields_round_trip(data):
    """Whatever a chip signs is read back as it was written."""
    wanted = AMD.report_fields(
        version=5,
        report_data=data.draw(st.binary(min_size=64, max_size=64)),
        measurement=data.draw(st.binary(min_size=48, max_size=48)),
        guest_svn=data.draw(st.integers(0, 2**32 - 1)),
        launch_mit_vector=data.draw(st.integers(0, 2**64 - 1)),
        platform_info=data.draw(st.integers(0, 255)),
        vmpl=data.draw(st.integers(0, 3)),
    )
    report = VERIFIER.verify(sign_report(wanted.signed_part(), AMD.keys.vek), vek=VEK, at=AT).report
    for field in fields(wanted):
        if hasattr(report, field.name):
            assert getattr(report, field.name) == getattr(wanted, field.name)


EVIDENCE = {
    "good": (REPORT, VEK),
    "tampered": (REPORT[:0x90] + b"\xff" + REPORT[0x91:], VEK),
    "forged": (borrowed_names().report(), borrowed_names().vcek()),
    "another chip": (AMD.report(chip_id=bytes(64)), VEK),
    "unsigned": (AMD.report(flags=7 << 2), VEK),
}
CHAINS = {"right": CHAIN, "forged": borrowed_names().chain(), "junk": b"junk"}


def accepted(case: str, chain: str | None, at) -> bool:
    """Whether evidence passes with this chain, or with none."""
    report, vek = EVIDENCE[case]
    try:
        VERIFIER.verify(report, vek=vek, at=at, chain=None if chain is None else CHAINS[chain])
    except TwoCvmError:
        return False
    return True


@PATIENT
@given(st.sampled_from(sorted(EVIDENCE)), st.sampled_from(sorted(CHAINS)), st.sampled_from([BEGIN, AT, VEK_END]))
def test_a_chain_never_helps(case, chain, at):
    """What is refused without a chain is refused with any: what comes along is never trusted."""
    assert accepted(case, None, at) or not accepted(case, chain, at)
    assert accepted(case, None, at) == (case == "good")


# Demands by field, each with one that the report meets and one that it does not.
DEMANDS = {
    "products": [("Milan",), ("Genoa",)],
    "vmpl": [(0,), (1,)],
    "chip_ids": [(AMD.chip_id,), (b"x" * 64,)],
    "measurements": [(bytes(range(48)),), (b"x" * 48,)],
    "id_key_digests": [(bytes(48),), (b"x" * 48,)],
    "author_key_digests": [(bytes(48),), (b"x" * 48,)],
    "minimum_tcb": [{"Milan": {"snp": 1}}, {"Milan": {"snp": 255}}],
    "mitigations": [Mitigations(launch=0, current=0), Mitigations(launch=1, current=0)],
    "minimum_firmware": [
        {"Milan": FirmwareVersion(major=1, minor=0, build=0)},
        {"Milan": FirmwareVersion(major=2, minor=0, build=0)},
    ],
    "minimum_tcb_of": [{"launch": {"Milan": {"snp": 1}}}, {"committed": {"Milan": {"tee": 1}}}],
    "closed_advisories": [("entrysign",), ("memory-interposers",)],
    "host_data": [(bytes(32),), (b"x" * 32,)],
    "family_ids": [(bytes(16),), (b"x" * 16,)],
    "image_ids": [(bytes(16),), (b"x" * 16,)],
    "report_ids": [(bytes(range(32)),), (b"x" * 32,)],
    "minimum_abi": [AbiVersion(major=0, minor=0), AbiVersion(major=1, minor=0)],
    "guest_policy": [BitDemand(required=0, forbidden=1 << 19), BitDemand(required=1 << 20, forbidden=0)],
    "platform_info": [BitDemand(required=1, forbidden=0), BitDemand(required=0, forbidden=1)],
}
OPEN = {
    "minimum_tcb_of": {},
    "products": tuple(Product),
    "guest_policy": BitDemand(required=0, forbidden=0),
    "platform_info": BitDemand(required=0, forbidden=0),
}


@PATIENT
@given(st.dictionaries(st.sampled_from(sorted(DEMANDS)), st.booleans()), st.sampled_from(sorted(DEMANDS)))
def test_demanding_less_never_refuses_and_more_never_accepts(chosen, added):
    """Dropping a demand never adds a finding, and adding one never removes any."""
    base = replace(
        Policy.builtin(), **{name: OPEN.get(name, Unchecked("a test")) for name in DEMANDS}, provisional_firmware=True
    )
    policy = replace(base, **{name: DEMANDS[name][wrong] for name, wrong in chosen.items()})
    fewer = replace(policy, **{added: getattr(base, added)})
    found, found_fewer = (
        {check.id for check in appraise(VERIFIED, policy=each, at=AT).findings} for each in (policy, fewer)
    )
    assert found_fewer <= found
    assert bool(found) == any(chosen.values())
