"""What stands between a run and its recipients: every output passes its filters, or nobody gets any.

The one built-in filter of this version is `max_bytes`; a filter that is a component is a node of the graph and has run
by now.
"""

from __future__ import annotations

from collections.abc import Mapping

from twocvm_verifier.manifest import Manifest, Output
from twocvm_verifier.manifest.filters import MaxBytes
from twocvm_verifier.receipt import SealedOutput


def pass_filters(manifest: Manifest, sealed: Mapping[str, SealedOutput]) -> bool:
    """Return whether every output of the manifest is there and may go to its recipients.

    Args:
        manifest: States the outputs, their limits and their filters.
        sealed: What the run left, by output.
    """
    if sealed.keys() != {output.name for output in manifest.outputs}:
        return False
    return all(_passes(manifest, output, sealed[output.name]) for output in manifest.outputs)


def _passes(manifest: Manifest, output: Output, sealed: SealedOutput) -> bool:
    kinds = [manifest.filter(name).kind for name in output.filters]
    if not all(isinstance(kind, MaxBytes) for kind in kinds):
        return False
    limits = (output.max_bytes, *(kind.max_bytes for kind in kinds if isinstance(kind, MaxBytes)))
    return sealed.size_bytes <= min(limits)
