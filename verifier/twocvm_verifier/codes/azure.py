"""Codes of evidence from Azure's confidential VMs."""

from __future__ import annotations

from typing import Final

from .table import NOT_AUTHENTIC, REFUSED, Code, malformed

_HERE: Final = "docs/spec/azure.md"


def _not_authentic(meaning: str) -> Code:
    return Code(exit_status=NOT_AUTHENTIC, http_status=500, meaning=meaning, spec=_HERE)


CODES: Final[dict[str, Code]] = {
    "MALFORMED_AZURE_EVIDENCE": malformed(
        "The member `azure` of the evidence is not the four parts that it should be. The guest and this verifier are "
        "of different versions, or it was changed on the way.",
        _HERE,
    ),
    "MALFORMED_AZURE_RUNTIME": malformed(
        "The paravisor's runtime data is not the JSON that Azure writes, or names no usable attestation key.",
        _HERE,
    ),
    "MALFORMED_HCL_REPORT": malformed(
        "The bytes are not an HCL report with an SNP report in it. Pass what the vTPM's NV index 0x01400001 holds, "
        "unchanged, of a confidential VM on AMD's chips.",
        _HERE,
    ),
    "MALFORMED_TPM_QUOTE": malformed(
        "The bytes are not a TPM quote over the SHA-256 bank. Pass TPMS_ATTEST as the TPM gave it.",
        _HERE,
    ),
    "AZURE_EXTRA_DATA": _not_authentic(
        "The vTPM's quote was made for other claims than these, or for none: for another key, connection, manifest or "
        "log. Do not go on with this guest."
    ),
    "AZURE_PCR_DIGEST": _not_authentic("The PCR values that came along are not those that the vTPM quoted."),
    "AZURE_PCR_SELECTION": _not_authentic("The quote leaves out some of the vTPM's 24 PCRs. Quote all of them."),
    "AZURE_QUOTE_SIGNATURE": _not_authentic(
        "The quote is not signed by the attestation key that the paravisor's report binds. Somebody else made it."
    ),
    "AZURE_RUNTIME_MISMATCH": _not_authentic(
        "The runtime data is not the one whose digest the paravisor's report has, so its attestation key is nobody's."
    ),
    "PCR_MISMATCH": Code(
        exit_status=REFUSED,
        http_status=500,
        meaning="A PCR of the guest's vTPM has none of the values that the policy accepts: the guest was started with "
        "other software, or in another way. Or no vTPM speaks for the guest, and a policy that names PCRs "
        "refuses those.",
        spec=_HERE,
    ),
    "PARAVISOR_TRUSTED": Code(
        exit_status=REFUSED,
        http_status=500,
        meaning="Never refuses: said of every guest under a provider's paravisor, which can read it and speaks for it. "
        "Whoever does not trust the provider with that needs a platform that launches the guest's own image.",
        spec=_HERE,
    ),
    "AZURE_VMPL": _not_authentic(
        "The report was not asked for by the paravisor but from another privilege level, where the guest could have "
        "chosen the attestation key itself."
    ),
}
