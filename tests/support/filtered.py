"""Manifests with filters, and everything that is wrong with a manifest."""

from __future__ import annotations

import copy

from tests.support.manifests import Document, World

from twocvm_verifier.manifest import ManifestError
from twocvm_verifier.manifest.author import compose


def problems_of(document: Document) -> set[tuple[str, str]]:
    """Return rule and place of everything that is wrong, at the places of the unsorted document."""
    try:
        compose(document, randomness=bytes)
    except ManifestError as error:
        return {(str(problem.rule), problem.pointer) for problem in error.problems}
    return set()


def with_filters(*filters: Document, use: tuple[str, ...] = ()) -> Document:
    """Return a manifest with these filters, of which the first output has those named."""

    def edit(document: Document) -> None:
        document["filters"] = copy.deepcopy(list(filters))
        if use:
            document["outputs"][0]["filters"] = list(use)
        if any("component" in each for each in filters):
            step = copy.deepcopy(document["components"][0])
            document["components"].append(step | {"name": "cleaner", "sha256": "08" * 32})

    return World(edit=edit).document
