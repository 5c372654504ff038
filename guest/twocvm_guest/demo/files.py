"""Where the demo's files are: data, components and the manifest as its author wrote it.

They ship with the package; a checkout that is installed in place has them at its top.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_SHIPPED: Final = _PACKAGE / "_examples"
_CHECKOUT: Final = _PACKAGE.parents[1] / "examples"


def demo_folder() -> Path:
    """Return the folder `examples/demo`.

    Raises:
        RuntimeError: The package was installed without its examples.
    """
    for examples in (_SHIPPED, _CHECKOUT):
        if (examples / "demo" / "manifest.toml").is_file():
            return examples / "demo"
    raise RuntimeError(f"the demo's files are neither in {_SHIPPED} nor in {_CHECKOUT}")
