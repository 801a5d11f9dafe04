"""What somebody reads on a page."""

from __future__ import annotations

import re
from html import unescape


def read_text(html: str) -> str:
    """The words of a page: without tags, with plain spaces and apostrophes, one space between."""
    words = unescape(re.sub(r"<[^>]+>", " ", html)).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(words.split())
