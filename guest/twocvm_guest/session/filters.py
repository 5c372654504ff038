"""What stands between a run and its recipients: every output passes its filters, or nobody gets any.

The one built-in filter of this version is `max_bytes`; a filter that is a component is a node of the graph and has run
by now.
"""

from __future__ import annotations

from collections.abc import Mapping

from twocvm_verifier.manifest import Manifest
from twocvm_verifier.receipt import SealedOutput


def pass_filters(manifest: Manifest, sealed: Mapping[str, SealedOutput]) -> bool:
    """Return whether every output of the manifest is there and may go to its recipients.

    Args:
        manifest: States the outputs, their limits and their filters.
        sealed: What the run left, by output.
    """
    if sealed.keys() != {output.name for output in manifest.outputs}:
        return False
    return all(
        sealed[output.name].size_bytes <= limit
        for output in manifest.outputs
        for limit in (output.max_bytes, *(manifest.filter(name).max_bytes for name in output.filters))
    )
