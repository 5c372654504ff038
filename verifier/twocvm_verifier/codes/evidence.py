"""Codes of reports, certificates, collateral and appraisal."""

from __future__ import annotations

from typing import Final

from .table import CANNOT_JUDGE, NOT_AUTHENTIC, REFUSED, UNSUPPORTED, Code, malformed

_ABI: Final = "SNP ABI 56860, 7.3"
_VCEK: Final = "VCEK 57230, 3.1"
_HERE: Final = "docs/spec/appraisal.md"
_COLLATERAL: Final = "docs/collateral.md"
_BUNDLE: Final = "docs/spec/bundle.md"
_ADVISORIES: Final = "docs/advisories.md"


def _not_authentic(meaning: str, spec: str) -> Code:
    return Code(exit_status=NOT_AUTHENTIC, http_status=500, meaning=meaning, spec=spec)


def _cannot_judge(meaning: str, spec: str) -> Code:
    return Code(exit_status=CANNOT_JUDGE, http_status=500, meaning=meaning, spec=spec)


def _refused(meaning: str, spec: str) -> Code:
    return Code(exit_status=REFUSED, http_status=500, meaning=meaning, spec=spec)


CODES: Final[dict[str, Code]] = {
    "MALFORMED_ADVISORY": malformed(
        "An advisory breaks a rule of its format. Mend the file as `docs/advisories.md` says.",
        _ADVISORIES,
    ),
    "MALFORMED_BUNDLE": malformed(
        "The file is not an evidence bundle of this version, or something in it breaks a rule of its own format.",
        _BUNDLE,
    ),
    "MALFORMED_CERT_TABLE": malformed(
        "The host's certificate table breaks a rule of its format. Fetch the certificates from AMD instead.",
        "GHCB 56421, 4.1.8.1",
    ),
    "MALFORMED_CHAIN": malformed(
        "The chain is not two PEM certificates, ASK or ASVK and then ARK. Pass what AMD or the platform gave.",
        _VCEK,
    ),
    "MALFORMED_COLLATERAL": malformed(
        "The file is not an export of collateral, or something in it is not authentic. Export it again.",
        _COLLATERAL,
    ),
    "MALFORMED_CRL": malformed(
        "The bytes are not the exact DER of a revocation list of AMD's. Fetch it again.",
        "RFC 5280, 5.1",
    ),
    "MALFORMED_OVMF": malformed(
        "The file is not a firmware with the tables that a measured launch needs. Pass OVMF as it is built for SEV.",
        "docs/spec/measure.md",
    ),
    "MALFORMED_POLICY": malformed(
        "The policy breaks a rule of its format; every problem is listed. Mend the file.",
        _HERE,
    ),
    "MALFORMED_REPORT": malformed(
        "The bytes are not an SNP attestation report. Pass the 1184 bytes that the platform gave, unchanged.",
        _ABI,
    ),
    "MALFORMED_VEK": malformed(
        "The bytes are not the exact DER of a VCEK or VLEK certificate. Fetch it again from AMD or the platform.",
        _VCEK,
    ),
    "BUNDLE_VERDICT_DIFFERS": _not_authentic(
        "The bundle's verdict is not the one that its evidence gives. Somebody changed it, it was judged under other "
        "roots, or a newer version asks more: judge again with --policy or --at to see what holds now.",
        _BUNDLE,
    ),
    "CHAIN_CERTIFICATE": _not_authentic(
        "A root or intermediate is not as AMD's are, or does not verify. It must not be used as a trust anchor.",
        _VCEK,
    ),
    "CHAIN_EXPIRED": _not_authentic(
        "A certificate of the chain has ended. Judge at a time within its validity, or fetch a newer certificate.",
        "RFC 5280, 4.1.2.5",
    ),
    "CHAIN_INTERMEDIATE_UNKNOWN": _not_authentic(
        "The evidence brings an intermediate that is not the accepted one. Leave it out, or update this installation.",
        _VCEK,
    ),
    "CHAIN_ISSUER_UNKNOWN": _not_authentic(
        "No accepted intermediate issued the VEK: another product, a simulated platform, or a forgery.",
        _VCEK,
    ),
    "CHAIN_NOT_YET_VALID": _not_authentic(
        "A certificate of the chain has not begun. Look at the clock, or at the time given with --at.",
        "RFC 5280, 4.1.2.5",
    ),
    "CHAIN_REVOKED": _not_authentic(
        "The evidence brings an intermediate that AMD revoked. Whoever serves it has not updated, or lies.",
        _VCEK,
    ),
    "CHAIN_ROOT_UNKNOWN": _not_authentic(
        "The evidence brings a root of its own. Roots are never taken from evidence.",
        _VCEK,
    ),
    "CHIP_ID_MISMATCH": _not_authentic(
        "The report names another chip than its VCEK. The certificate belongs to another machine.",
        _ABI,
    ),
    "CRL_ISSUER_UNKNOWN": _not_authentic(
        "No accepted root has the name of the revocation list's issuer: a simulated platform's list, or a forgery.",
        "RFC 5280, 6.3.3",
    ),
    "CRL_SIGNATURE": _not_authentic(
        "The revocation list was not signed by the root that it names: it was changed, or is a forgery.",
        "RFC 5280, 6.3.3",
    ),
    "PRODUCT_MISMATCH": _not_authentic(
        "Report, VEK and issuer are not of one product. The certificate belongs to another machine, or is forged.",
        _ABI,
    ),
    "REPORT_DATA_MISMATCH": _not_authentic(
        "The report is bound to another key, connection, manifest or event log. Somebody stands in between, or relays.",
        "docs/spec/claims.md",
    ),
    "REPORT_SIGNATURE": _not_authentic(
        "The report was not signed by its VEK: it was changed, or is another chip's.",
        _ABI,
    ),
    "REPORT_UNSIGNED": _not_authentic(
        "The platform was told not to sign with its VCEK, so the report proves nothing.",
        _ABI,
    ),
    "SIGNING_KEY_MISMATCH": _not_authentic(
        "The report says that it was signed with the other kind of key. Pass the VLEK for a VLEK, the VCEK for a VCEK.",
        _ABI,
    ),
    "TCB_LAYOUT": _not_authentic(
        "A TCB of the report has a byte set that its product reserves. Update this installation if the chip is newer.",
        _ABI,
    ),
    "VEK_KIND_MISMATCH": _not_authentic(
        "A VCEK hangs from the issuer of VLEKs, or the reverse. AMD issues no such certificate.",
        _VCEK,
    ),
    "VEK_SIGNATURE": _not_authentic(
        "The VEK was not signed by AMD: it was changed, or a root of somebody's own uses AMD's names.",
        _VCEK,
    ),
    "VEK_TCB_MISMATCH": _not_authentic(
        "The report's TCB is not the one that its VEK was made for. Fetch the VEK of REPORTED_TCB.",
        _VCEK,
    ),
    "COLLATERAL_NOT_FOUND": _cannot_judge(
        "No source has this piece of collateral now. AMD's service forgets chips for a while; try again later.",
        _COLLATERAL,
    ),
    "CRL_MISSING": _cannot_judge(
        "A release needs a revocation list. Fetch one, or say in the policy why none is asked for.",
        _HERE,
    ),
    "CRL_NOT_YET_VALID": _cannot_judge(
        "The revocation list is of later than the time that is judged at. Look at the clock, or at --at.",
        _HERE,
    ),
    "CRL_ROLLED_BACK": _cannot_judge(
        "A revocation list was offered in the place of a newer one that has ended. Fetch the current one.",
        _HERE,
    ),
    "CRL_STALE": _cannot_judge(
        "The newest revocation list has ended, or is older than the policy accepts. Fetch the current one.",
        _HERE,
    ),
    "FETCH_BUSY": _cannot_judge(
        "A source asks to be left alone for a while, or others are waiting before you. Try again later.",
        _COLLATERAL,
    ),
    "FETCH_FAILED": _cannot_judge(
        "A source could not be reached, or answered with an error. Try again, or use a mirror or an export.",
        _COLLATERAL,
    ),
    "FETCH_REDIRECTED": _cannot_judge(
        "A source sent elsewhere, and no redirect is followed. Name the place itself as the mirror.",
        _COLLATERAL,
    ),
    "FETCH_TOO_LARGE": _cannot_judge(
        "A source answered with more than the piece can have. Whoever answers is not a collateral service.",
        _COLLATERAL,
    ),
    "FETCH_WRONG": _cannot_judge(
        "A source answered with something else than was asked for: a web page, or another chip's certificate.",
        _COLLATERAL,
    ),
    "STORE_UNWRITABLE": _cannot_judge(
        "What was fetched cannot be kept. Name a folder that can be written, with --store.",
        _COLLATERAL,
    ),
    "VEK_MISSING": _cannot_judge(
        "The report cannot be judged without the certificate of its key. Pass it with --vek.",
        _VCEK,
    ),
    "ABI_REFUSED": _refused(
        "The guest's policy demands an ABI version that is not acceptable. Launch the guest with another policy.",
        "SNP ABI 56860, 4.3",
    ),
    "ADVISORY_NOT_CLOSED": _refused(
        "The platform is not shown to have closed an attack that the policy names. The operator has to update it, or "
        "to say how it is closed otherwise.",
        _ADVISORIES,
    ),
    "AUTHOR_KEY_MISMATCH": _refused(
        "The author key of the launch is none of the accepted ones. Somebody else signed for this guest.",
        _ABI,
    ),
    "CHIP_NOT_ACCEPTED": _refused(
        "The chip is none of the accepted ones, or its id is masked. The guest runs on another machine.",
        _ABI,
    ),
    "CSP_NOT_ACCEPTED": _refused(
        "The key that signed is of a provider that is not accepted. The guest runs somewhere else.",
        _VCEK,
    ),
    "DEBUG_ALLOWED": _refused(
        "The guest's policy lets the host read and write its memory. Never release anything to it.",
        "SNP ABI 56860, 4.3",
    ),
    "FIRMWARE_OUT_OF_DATE": _refused(
        "The SNP firmware that runs, or that is committed, is older than demanded. The operator has to update it.",
        _ABI,
    ),
    "FIRMWARE_PROVISIONAL": _refused(
        "The firmware that runs can be rolled back to an older one. The operator has to commit it.",
        "SNP ABI 56860, 3.3",
    ),
    "GUEST_POLICY_REFUSED": _refused(
        "A bit of the guest's policy is not as demanded. Launch the guest with another policy.",
        "SNP ABI 56860, 4.3",
    ),
    "GUEST_SVN_TOO_LOW": _refused(
        "The guest is an older version of its image than the policy takes, perhaps one with a known weakness. Launch "
        "the current one.",
        "docs/spec/launch.md",
    ),
    "HOST_DATA_MISMATCH": _refused(
        "The guest was launched for another manifest, or for none where one is demanded.",
        _HERE,
    ),
    "ID_BLOCK_MISMATCH": _refused(
        "The family or image id of the launch is none of the accepted ones. The guest was launched as another product.",
        _ABI,
    ),
    "ID_KEY_MISMATCH": _refused(
        "The id key of the launch is none of the accepted ones. Somebody else signed for this guest.",
        _ABI,
    ),
    "LEVEL_NOT_PROVED": _refused(
        "The evidence does not reach as far up as the policy requires, most often for want of a reference measurement.",
        _HERE,
    ),
    "MEASUREMENT_MISMATCH": _refused(
        "The guest that was launched is none of the accepted ones: another image, or another launch configuration.",
        _ABI,
    ),
    "MIGRATION_ALLOWED": _refused(
        "The guest's policy lets a migration agent move it. Its state would leave this machine.",
        "SNP ABI 56860, 4.3",
    ),
    "MITIGATION_MISSING": _refused(
        "A mitigation that is demanded is not active. The operator has to update firmware and launch again.",
        _ABI,
    ),
    "PLATFORM_INFO_REFUSED": _refused(
        "A setting of the machine is not as demanded. The operator has to change it and boot again.",
        _ABI,
    ),
    "POLICY_EMPTY": _refused(
        "The policy names no reference value and does not say why, so that it accepts whatever is genuine. Name the "
        'guests that are meant, or write down the reason: { unchecked = "..." }.',
        _HERE,
    ),
    "PRODUCT_NOT_ACCEPTED": _refused(
        "The chip's product is none of the accepted ones.",
        _ABI,
    ),
    "REPORT_ID_MISMATCH": _refused(
        "The report is of another launch than the accepted ones. A guest that is launched again has a new id.",
        _ABI,
    ),
    "SIMULATED_NOT_ACCEPTED": _refused(
        "The platform is simulated, which protects nothing, and the manifest does not accept that.",
        "docs/spec/simulated.md",
    ),
    "TCB_OUT_OF_DATE": _refused(
        "A component of the firmware is older than demanded. The operator has to update it.",
        _ABI,
    ),
    "VMPL_REFUSED": _refused(
        "The report was requested from another privilege level than demanded, or by the host.",
        _ABI,
    ),
    "FETCHER_MISSING": Code(
        exit_status=UNSUPPORTED,
        http_status=500,
        meaning="Fetching needs a library that is not installed: install twocvm[sdk], or pass the files yourself.",
        spec=_COLLATERAL,
    ),
    "LEDGER_UNSUPPORTED": Code(
        exit_status=UNSUPPORTED,
        http_status=500,
        meaning="The manifest demands a transparency ledger, and this version cannot look into one.",
        spec=_HERE,
    ),
}
