"""Cases for pages: evidence of an AMD of our own that is affirmed, warned of, refused, forged and simulated.

case, appraisal, roots = judged("refused")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, Final

from tests.support.amd import AT, CHIP_ID, borrowed_names, extension, fake_amd
from tests.support.azure import PCRS, FakeAzure
from tests.support.crls import crl_of
from tests.support.manifests import MEASUREMENT

from twocvm_verifier import Policy, Unchecked
from twocvm_verifier.advisories import shipped_advisories
from twocvm_verifier.binding import NOT_LOCKED, LogPosition, cert_claims
from twocvm_verifier.bundle import Case, judge
from twocvm_verifier.pages.report import report_document
from twocvm_verifier.pages.reproduction import AT_REST, Asked
from twocvm_verifier.policy import PcrValues
from twocvm_verifier.result import Appraisal
from twocvm_verifier.snp.der import IA5_STRING, encode
from twocvm_verifier.snp.product import Product
from twocvm_verifier.snp.roots import Roots

MILAN: Final = fake_amd(Product.MILAN)
FLOORS: Final = {"Milan": {"bootloader": 4, "snp": 20, "microcode": 100}}
HOSTILE: Final = "<script src=/x></script>'\"><img src=/x onerror=x()>{{ 7*7 }}</style>"
# What no document may hold, and a page shows all the same.
UNSEEN: Final = "\u202e\x07"


def case(**changes: Any) -> Case:
    """Return a case that is affirmed unless told otherwise."""
    given: dict[str, Any] = {
        "report": MILAN.report(measurement=MEASUREMENT),
        "vek": MILAN.vcek(),
        "chain": None,
        "crl": crl_of(MILAN),
        "manifest": None,
        "policy": replace(Policy.builtin(), name="names a guest", measurements=(MEASUREMENT,), minimum_tcb=FLOORS),
        "advisories": shipped_advisories(),
        "judged_at": AT,
    }
    return Case(**given | changes)


def _policy(**changes: Any) -> Policy:
    return replace(case().policy, **changes)


def _simulated() -> Case:
    amd = fake_amd(Product.SIMULATED)
    return case(report=amd.report(measurement=MEASUREMENT), vek=amd.vcek(), crl=None, policy=Policy.builtin())


def _hostile() -> Case:
    # What a stranger chooses: the name and the reasons of a policy, and the operator in a certificate.
    operator = HOSTILE.encode("ascii")
    return case(
        report=MILAN.report(flags=1 << 2, measurement=MEASUREMENT),
        vek=MILAN.vlek(changed={"5": extension("5", encode(IA5_STRING, operator))}),
        policy=_policy(name=HOSTILE, host_data=Unchecked(HOSTILE)),
    )


def _paravisor() -> Case:
    # Its PCR 4 is as the policy has it, and its PCR 7 is not.
    azure, log = FakeAzure(), LogPosition(head=bytes(32), events=1)
    claims = cert_claims(spki_sha256=bytes(32), manifest=NOT_LOCKED, log=log)
    accepted = PcrValues(named={4: (PCRS[4],), 7: (bytes(32), PCRS[4])}, others=Unchecked("the provider's"))
    return case(
        report=MILAN.report(report_data=azure.report_data(), measurement=MEASUREMENT),
        policy=_policy(pcrs={"sha256": accepted}),
        azure=azure.bound_to(claims.report_data()),
        claims=claims.encode(),
    )


CASES: Final[Mapping[str, Callable[[], Case]]] = {
    "affirming": case,
    "warning": lambda: case(policy=Policy.builtin(), crl=None),
    "refused": lambda: case(
        report=MILAN.report(policy=0xB0000, measurement=bytes(48)),
        policy=_policy(
            minimum_tcb={"Milan": {"snp": 25}},
            minimum_tcb_of={"launch": {"Milan": {"snp": 30, "tee": 0}}},
            chip_ids=(CHIP_ID,),
        ),
    ),
    "forged": lambda: case(vek=borrowed_names(Product.MILAN).vcek()),
    "unknown issuer": lambda: case(vek=fake_amd(Product.GENOA).vcek()),
    "ended": lambda: case(judged_at=AT + timedelta(days=9000)),
    "early": lambda: case(judged_at=AT - timedelta(days=9000)),
    "simulated": _simulated,
    "hostile": _hostile,
    "paravisor": _paravisor,
}


@cache
def judged(name: str) -> tuple[Case, Appraisal, Roots]:
    """Return a case by its name, what it comes to, and under which roots."""
    made = CASES[name]()
    roots = (fake_amd(Product.SIMULATED) if name == "simulated" else MILAN).roots()
    return made, judge(made, roots=roots), roots


def document(name: str, *, asked: Asked = AT_REST) -> dict[str, Any]:
    """Return the document of a case's page."""
    made, appraisal, roots = judged(name)
    return dict(report_document(made, appraisal, roots=roots, asked=asked))
