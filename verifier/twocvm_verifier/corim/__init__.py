"""CoRIM: reference values as others publish them, read into what a policy demands.

    envelope   which bytes a CoRIM holds, and who signed them
    comid      its reference triples, as maps from number to value
    snp        what those of AMD's SEV-SNP profile mean here
    reading    all of it together: values for a policy, and whatever was named that no policy of ours judges
    document   reference values as they are stored and handed over

Spec: docs/spec/corim.md; draft-ietf-rats-corim; draft-deeglaze-amd-sev-snp-corim-profile.
"""

from __future__ import annotations

from .document import MAX_DOCUMENT_BYTES, ReferenceValues, parse_reference_values
from .envelope import Trust, Trusted, Unsigned, trust_of

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "ReferenceValues",
    "Trust",
    "Trusted",
    "Unsigned",
    "parse_reference_values",
    "trust_of",
]
