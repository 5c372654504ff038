"""A page as its reader has it, without a browser: which elements and attributes it has, and which text.

page = parsed(html)
page.elements, page.attributes, page.text
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Parsed:
    """What a page is made of.

    Attributes:
        elements: Names of its elements.
        attributes: Names of their attributes.
        values: What stands in attributes, by name.
        text: What stands between its elements, white space as it is.
    """

    elements: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Parsed()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.add(tag)
        for name, value in attrs:
            self.page.attributes.add(name)
            self.page.values.setdefault(name, set()).add(value or "")

    def handle_data(self, data: str) -> None:
        self.page.text += data


def parsed(html: str) -> Parsed:
    """Return what a page is made of."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page
