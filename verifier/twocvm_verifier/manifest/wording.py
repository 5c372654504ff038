r"""How names, sizes and strangers' text are written in lines for people.

>>> quoted('x" which is proven')
'"x\\" which is proven"'
>>> listed(["a", "b"]), listed([]), size(4096)
('a, b', 'nothing', 'at most 4,096 bytes')
"""

from __future__ import annotations

import json
from collections.abc import Iterable


def quoted(text: str) -> str:
    """Return a stranger's text in quotes that it cannot end itself; a manifest's text has no control characters."""
    return json.dumps(text, ensure_ascii=False)


def listed(names: Iterable[str], *, none: str = "nothing") -> str:
    """Return names in a row, or `none` where there are none."""
    return ", ".join(names) or none


def size(max_bytes: int) -> str:
    """Return a limit in words."""
    return f"at most {max_bytes:,} bytes"
