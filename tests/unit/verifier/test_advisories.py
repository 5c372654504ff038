"""Advisories: the strict loader, the table that ships, and what a report shows of an attack."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.amd import AT, fake_amd
from tests.support.vectors import genuine_reports, require_vectors

from twocvm_verifier import Policy, SnpVerifier, amd_roots, appraise
from twocvm_verifier.advisories import (
    advisory_of_document,
    documents_of,
    judge_advisories,
    parse_advisory,
    shipped_advisories,
)
from twocvm_verifier.advisories.document import MAX_ADVISORIES, require_unique
from twocvm_verifier.errors import MalformedError
from twocvm_verifier.result import AdvisoryStatus, Status
from twocvm_verifier.snp.product import Product
from twocvm_verifier.strictjson import canonical, parse

MILAN, GENOA, TURIN, SIMULATED = (fake_amd(product) for product in Product)
HEAD = """
id = "test"
title = "A test"
source = "https://example.test/"
published = "2025-02-03"
recorded = "2026-11-22"
basis = "made up"
"""
OPEN, CLOSED, UNKNOWN, CANNOT = (
    AdvisoryStatus.OPEN,
    AdvisoryStatus.CLOSED,
    AdvisoryStatus.UNKNOWN,
    AdvisoryStatus.CANNOT_BE_ATTESTED,
)


def verified(amd=MILAN, **fields):
    """Return a verified report with these fields; the TCB is microcode 0xDB and SNP 0x18 on Milan."""
    return SnpVerifier(roots=amd.roots()).verify(amd.report(**fields), vek=amd.vcek(), at=AT)


def found(body, amd=MILAN, **fields):
    """Return how an advisory with this body stands on such a report."""
    (result,) = judge_advisories(verified(amd, **fields), (parse_advisory(HEAD + body),))
    return result.status, result.detail


def fix(product="Milan", **members):
    """Return one fix, as TOML."""
    lines = [f'product = "{product}"', *(f"{name} = {value}" for name, value in members.items())]
    return "[[fix]]\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("part", ["snp", "microcode", "bootloader"])
def test_levels_are_compared_one_by_one(part):
    """At the level it is closed, one above it is open; other components make up for nothing."""
    level = {"snp": 0x18, "microcode": 0xDB, "bootloader": 4}[part]
    assert found(fix(tcb=f"{{ {part} = {level} }}"))[0] is CLOSED
    status, detail = found(fix(tcb=f"{{ {part} = {level + 1} }}"))
    assert status is OPEN
    assert detail == f"{part} is below {level + 1} (reported, committed, current, launch)"


@pytest.mark.parametrize("field", ["committed_tcb", "current_tcb", "launch_tcb"])
def test_a_level_holds_in_all_four_tcbs(field):
    """What can be rolled back, or came after the launch, protects nobody."""
    low = bytes([4, 0, 0, 0, 0, 0, 0x17, 0xDB])
    status, detail = found(fix(tcb="{ snp = 0x18 }"), **{field: low})
    assert (status, detail) == (OPEN, f"snp is below 24 ({field.removesuffix('_tcb')})")


def test_microcode_is_numbered_by_chip():
    """A level of another stepping neither closes nor opens: a Milan-X has fewer than a Milan, and is not older."""
    body = fix(chips='["19/01/00"]', tcb="{ microcode = 0xff }") + fix(chips='["19/01/01"]', tcb="{ microcode = 0xdb }")
    assert found(body)[0] is CLOSED
    assert found(fix(chips='["19/01/02"]', tcb="{ microcode = 0x01 }")) == (
        UNKNOWN,
        "no level is recorded here for Milan 19/01/01",
    )


def test_a_report_that_does_not_name_its_chip_is_never_closed_by_a_chips_level():
    """Version 2: below the levels of every chip it is open, above one of them it is unknown."""
    low, high = fix(chips='["19/01/01"]', tcb="{ snp = 0x19 }"), fix(chips='["19/01/02"]', tcb="{ snp = 0x01 }")
    assert found(low, version=2)[0] is OPEN
    assert found(low + high, version=2)[0] is UNKNOWN
    assert found(fix(tcb="{ snp = 0x18 }"), version=2)[0] is CLOSED
    assert found(fix("Genoa", tcb="{ snp = 1 }"), version=2) == (UNKNOWN, "no level is recorded here for Milan")


def test_mitigations_are_bits_of_both_vectors():
    """A greater number without the bit does not do, and a report without vectors says nothing."""
    body = fix(mitigations='"0x2"')
    assert found(body, version=5, launch_mit_vector=0b10, current_mit_vector=0b110)[0] is CLOSED
    for launch, current in ((0b10, 0b1101), (0b1101, 0b10), (0, 0)):
        status, detail = found(body, version=5, launch_mit_vector=launch, current_mit_vector=current)
        assert (status, detail) == (OPEN, "mitigation bits 0x2 are missing")
    assert found(body) == (UNKNOWN, "a report of version 3 has no mitigation vectors")
    assert found(fix(mitigations='"0x2"', tcb="{ snp = 0xff }"))[0] is OPEN


def test_bits_are_required_and_forbidden():
    """Of PLATFORM_INFO and of POLICY, each by its name."""
    platform = fix(platform_info='{ required = ["alias_check_complete"], forbidden = ["tio_en"] }')
    assert found(platform, platform_info=0x20)[0] is CLOSED
    assert found(platform, platform_info=0x80) == (
        OPEN,
        "platform: alias_check_complete is clear, platform: tio_en is set",
    )
    guest = fix(guest_policy='{ required = ["single_socket"], forbidden = ["smt"] }')
    assert found(guest, policy=0x20000 | 1 << 20)[0] is CLOSED
    assert found(guest, policy=0x30000)[1] == "guest policy: smt is set, guest policy: single_socket is clear"


def test_fixes_are_alternatives():
    """One that holds is enough; all that fail are told; one that cannot be decided leaves it unknown."""
    low, high = fix(tcb="{ snp = 1 }"), fix(tcb="{ snp = 0xff }")
    unknown = fix(unrecorded='"nobody knows"')
    assert found(high + low) == (CLOSED, "every condition is met")
    assert found(high + fix(tcb="{ tee = 1 }"))[1].count("; or ") == 1
    assert found(high + unknown) == (UNKNOWN, "nobody knows")


def test_an_unrecorded_level_can_be_missed_and_never_met():
    """Where the conditions are not the whole story, meeting them decides nothing."""
    assert found(fix(tcb="{ snp = 0x19 }", unrecorded='"perhaps more"'))[0] is OPEN
    assert found(fix(tcb="{ snp = 0x18 }", unrecorded='"perhaps more"')) == (UNKNOWN, "perhaps more")


def test_products_may_be_unaffected_or_beyond_attestation():
    """Either with its reason; a product that stands nowhere is unknown."""
    body = '[unaffected]\nMilan = "newer"\n[unattested]\nGenoa = "no field"\n'
    assert found(body) == (CLOSED, "newer")
    assert found(body, GENOA) == (CANNOT, "no field")
    assert found(body, TURIN) == (UNKNOWN, "no level is recorded here for Turin 1a/02/01")


def test_simulated_platforms_are_not_judged():
    """What protects nothing is open to everything, and the result says so elsewhere."""
    assert judge_advisories(verified(SIMULATED, version=5), shipped_advisories()) == ()


WRONG = {
    "not TOML": "=",
    "unknown field": HEAD + 'more = 1\n[unaffected]\nMilan = "x"',
    "no product": HEAD,
    "in two places": HEAD + '[unaffected]\nMilan = "x"\n[unattested]\nMilan = "y"',
    "fixed and unaffected": HEAD + '[unaffected]\nMilan = "x"\n' + fix(tcb="{ snp = 1 }"),
    "simulated": HEAD + '[unaffected]\nSimulated = "x"',
    "product": HEAD + fix("Rome", tcb="{ snp = 1 }"),
    "no condition": HEAD + fix(),
    "empty conditions": HEAD + fix(platform_info="{ required = [] }"),
    "another's chip": HEAD + fix(chips='["19/11/01"]', tcb="{ snp = 1 }"),
    "chip": HEAD + fix(chips='["19/1/1"]', tcb="{ snp = 1 }"),
    "chips": HEAD + fix(chips='"19/01/01"', tcb="{ snp = 1 }"),
    "component": HEAD + fix(tcb="{ fmc = 1 }"),
    "level zero": HEAD + fix(tcb="{ snp = 0 }"),
    "level": HEAD + fix(tcb="{ snp = 256 }"),
    "level true": HEAD + fix(tcb="{ snp = true }"),
    "tcb": HEAD + fix(tcb="3"),
    "mask": HEAD + fix(mitigations="2"),
    "mask text": HEAD + fix(mitigations='"2"'),
    "bit": HEAD + fix(platform_info='{ required = ["smt"] }'),
    "bits": HEAD + fix(guest_policy='{ required = "smt" }'),
    "contradiction": HEAD + fix(guest_policy='{ required = ["smt"], forbidden = ["smt"] }'),
    "unrecorded": HEAD + fix(unrecorded='""'),
    "fix": HEAD + "fix = 3",
    "fix member": HEAD + fix(tcb="{ snp = 1 }", more="1"),
    "reason": HEAD + '[unaffected]\nMilan = " "',
    "reasons": HEAD + "unaffected = 3",
    "no id": HEAD.replace('id = "test"', "") + '[unaffected]\nMilan = "x"',
    "id": HEAD.replace('"test"', '"Test"') + '[unaffected]\nMilan = "x"',
    "bulletin": HEAD + 'bulletin = "SB-1"\n[unaffected]\nMilan = "x"',
    "cve": HEAD + 'cves = ["2025-1"]\n[unaffected]\nMilan = "x"',
    "published": HEAD.replace("2025-02-03", "2025-02-30") + '[unaffected]\nMilan = "x"',
    "published form": HEAD.replace("2025-02-03", "3 May 2025") + '[unaffected]\nMilan = "x"',
    "published month": HEAD.replace("2025-02-03", "2025-13") + '[unaffected]\nMilan = "x"',
    "recorded": HEAD.replace("2026-11-22", "2026-11") + '[unaffected]\nMilan = "x"',
    "long": HEAD.replace("made up", "x" * 1001) + '[unaffected]\nMilan = "x"',
    "lines": HEAD.replace("made up", "a\\nb") + '[unaffected]\nMilan = "x"',
    "size": HEAD + "#" * 70_000,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_the_loader_is_strict(text):
    """Anything that breaks a rule is refused, with the code of its format."""
    with pytest.raises(MalformedError) as caught:
        parse_advisory(text)
    assert caught.value.code == "MALFORMED_ADVISORY"


@pytest.mark.parametrize("published", ["2025", "2025-02", "2025-02-03"])
def test_a_day_may_be_known_to_the_year(published):
    """What is not known is not made up."""
    text = HEAD.replace("2025-02-03", published) + '[unaffected]\nMilan = "x"'
    assert parse_advisory(text).published == published


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "fix", "product", "tcb", "chips", "unaffected", "Milan"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(JSON, st.sampled_from(["id", "published", "cves", "fix", "unaffected", "unattested", "new"]))
def test_the_loader_is_total(value, member):
    """Whatever stands in place of a member: an advisory that is written and read back, or a refusal of ours."""
    document = tomllib.loads(HEAD + '[unaffected]\nMilan = "x"') | {member: value}
    for whole in (document, value):
        try:
            read = advisory_of_document(whole)
        except MalformedError:
            continue
        assert advisory_of_document(documents_of((read,))[0]) == read


def test_the_table_ships_and_is_sorted():
    """Every attack that the design names has its file, with its own id."""
    ids = [advisory.id for advisory in shipped_advisories()]
    assert ids == sorted(set(ids))
    assert {"badram", "breakfast", "cachewarp", "cipherleaks", "entrysign", "fabricked", "heracles"} <= set(ids)
    assert {"memory-interposers", "milan-root-seed", "pwrleak", "rmpocalypse", "stackwarp"} <= set(ids)


def test_documents_are_read_back():
    """What a bundle carries is the same table, byte for byte."""
    raw = canonical(documents_of(shipped_advisories()))
    read = parse(raw, document="advisory", max_bytes=1 << 20)
    assert tuple(map(advisory_of_document, read)) == shipped_advisories()
    assert canonical(documents_of(tuple(map(advisory_of_document, read)))) == raw


def test_ids_are_unique_and_the_table_is_bounded():
    """Two advisories of one id, or more than there will ever be, are refused."""
    one = shipped_advisories()[0]
    require_unique((one, replace(one, id="other")))
    for wrong in ((one, one), tuple(replace(one, id=f"a{n}") for n in range(MAX_ADVISORIES + 1))):
        with pytest.raises(MalformedError):
            require_unique(wrong)


def test_advisories_are_values():
    """Their tables cannot be changed afterwards."""
    advisory = shipped_advisories()[0]
    for mapping in (advisory.unaffected, advisory.unattested, advisory.fixes[0].tcb):
        with pytest.raises(TypeError):
            mapping["Milan"] = "x"


def shipped(amd, **fields):
    """Return the status of every shipped advisory on such a report."""
    return {each.id: each.status for each in judge_advisories(verified(amd, **fields), shipped_advisories())}


def test_what_no_report_can_show_is_never_closed():
    """Interposers, interrupts, Fabricked and Milan's seed have an answer of their own."""
    milan, turin = shipped(MILAN, platform_info=0xFF), shipped(TURIN, platform_info=0xFF)
    for name in ("memory-interposers", "malicious-interrupts", "fabricked"):
        assert milan[name] is turin[name] is CANNOT
    assert (milan["milan-root-seed"], turin["milan-root-seed"]) == (CANNOT, CLOSED)


@pytest.mark.parametrize("amd", [MILAN, GENOA, TURIN], ids=["Milan", "Genoa", "Turin"])
def test_badram_is_closed_by_the_alias_check(amd):
    """The bit decides where the level holds."""
    assert shipped(amd, platform_info=0x20)["badram"] in (CLOSED, OPEN if amd is TURIN else CLOSED)
    assert shipped(amd, platform_info=0x00)["badram"] is OPEN


def test_old_microcode_leaves_entrysign_open():
    """One level below the fix, in a TCB that the chip vouches for."""
    assert shipped(MILAN)["entrysign"] is CLOSED
    assert shipped(MILAN, launch_tcb=bytes([4, 0, 0, 0, 0, 0, 0x18, 0xDA]))["entrysign"] is OPEN
    assert shipped(TURIN)["entrysign"] is UNKNOWN


def test_stackwarp_is_closed_without_sibling_threads():
    """By microcode, or by a guest that is launched only where SMT is off, on a machine where it is."""
    assert shipped(MILAN)["stackwarp"] is OPEN
    assert shipped(MILAN, policy=0x20000, platform_info=0)["stackwarp"] is CLOSED
    assert shipped(MILAN, policy=0x20000, platform_info=1)["stackwarp"] is OPEN


def test_every_result_lists_them():
    """In the appraisal and its JSON; for evidence at rest nothing is refused by default."""
    appraisal = appraise(verified(), policy=Policy.builtin(), at=AT)
    assert [each.id for each in appraisal.advisories] == [each.id for each in shipped_advisories()]
    shown = appraisal.to_json()["advisories"]
    assert set(shown[0]) == {"id", "title", "status", "detail", "source"}
    (check,) = (check for check in appraisal.checks if check.id == "policy.advisories")
    assert check.status is Status.SKIP
    assert "stackwarp" in check.actual
    assert not appraisal.findings


@pytest.mark.parametrize(
    ("name", "passes"),
    [("entrysign", True), ("stackwarp", False), ("memory-interposers", False), ("rmpocalypse", False), ("nix", False)],
)
def test_a_policy_may_demand_that_one_is_closed(name, passes):
    """Closed passes; open, beyond attestation, unknown and unheard-of are refused alike."""
    appraisal = appraise(verified(), policy=replace(Policy.builtin(), closed_advisories=(name,)), at=AT)
    assert {finding.code for finding in appraisal.findings} == (set() if passes else {"ADVISORY_NOT_CLOSED"})


def test_genuine_reports_have_every_status():
    """On real chips every advisory has an answer, and none of the old ones is free of EntrySign."""
    require_vectors()
    verifier = SnpVerifier(roots=amd_roots())
    seen = set()
    for genuine in genuine_reports():
        report = verifier.verify(genuine.report, vek=genuine.vek, at=genuine.at)
        results = {each.id: each for each in judge_advisories(report, shipped_advisories())}
        assert len(results) == len(shipped_advisories())
        assert all(each.detail for each in results.values())
        seen |= {each.status for each in results.values()}
        if report.tcb("reported_tcb").snp < 0x16 and report.product is not Product.TURIN:
            assert results["entrysign"].status is OPEN
    assert seen == set(AdvisoryStatus)
