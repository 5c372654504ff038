"""The one table of refusal codes: errors, findings, exit statuses, documentation and tests all come from it.

Each module here holds the codes of one part and says nothing else; a code is never renamed and never reused.
`docs/codes.md` is made from this table by `tools/codes_page.py`.

>>> CODES["MALFORMED_REPORT"].exit_status
30
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from . import azure, clients, connection, evidence, filters, image, manifest, platforms, runtime, service, session
from .table import Code

__all__ = ["CODES", "GROUPS", "Code", "merged"]

GROUPS: Final[Mapping[str, Mapping[str, Code]]] = MappingProxyType(
    {
        "Evidence and appraisal": evidence.CODES,
        "Evidence of Azure's confidential VMs": azure.CODES,
        "Manifest and statements": manifest.CODES,
        "Attested connection": connection.CODES,
        "Session": session.CODES,
        "A participant's own machine": clients.CODES,
        "Components and runtime": runtime.CODES,
        "Filters": filters.CODES,
        "A guest's platform": platforms.CODES,
        "The guest's image": image.CODES,
        "The verifier as a service": service.CODES,
    }
)


def merged(groups: Mapping[str, Mapping[str, Code]]) -> Mapping[str, Code]:
    """Return the rows of all groups; a code that stands in two of them is a mistake of ours."""
    rows = {name: row for group in groups.values() for name, row in group.items()}
    if len(rows) != sum(map(len, groups.values())):
        raise RuntimeError("a code stands in two groups")
    return MappingProxyType(rows)


CODES: Final[Mapping[str, Code]] = merged(GROUPS)
