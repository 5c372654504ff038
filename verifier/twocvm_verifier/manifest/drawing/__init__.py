"""The graph of a manifest as a drawing: who gives what to which code, and what gets to whom through which filters.

`picture` says what is drawn; `svg` and `mermaid` write it. What strangers wrote is text in both and nothing else.
"""

from __future__ import annotations

from .mermaid import mermaid
from .picture import MAX_ROWS, Picture, TooLargeToDrawError, picture
from .svg import svg

__all__ = ["MAX_ROWS", "Picture", "TooLargeToDrawError", "mermaid", "picture", "svg"]
