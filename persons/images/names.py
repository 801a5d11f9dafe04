"""File names as people may see them. Files are stored by content hash, never by these names."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME = 200
"""Characters, extension included."""

_FALLBACK = "photo"
_LONGEST_EXTENSION = 16

# Marks that turn the reading direction, so that "gpj.exe" is displayed as "exe.jpg", and characters
# that are not seen at all. U+200D stays: it joins emoji.
_INVISIBLE = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")

# Control characters, lone surrogates (which can't be stored as UTF-8), line and paragraph breaks.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def clean_name(raw: str) -> str:
    """The last part of `raw`, safe to display and store: 1 to 200 printable characters.

    Both kinds of slash part a path, since the browser's system is unknown. The extension stays
    when the rest is cut. A name of which nothing is left becomes "photo". Cleaning twice changes
    nothing.
    """
    parts = [_tidy(part) for part in re.split(r"[/\\]", raw)]
    name = next((part for part in reversed(parts) if part.strip(".")), "")
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, ""
    else:
        extension = dot + extension
    stem = stem[: MAX_NAME - len(extension)].strip(" .")
    return (stem or _FALLBACK) + extension


def _tidy(part: str) -> str:
    part = _INVISIBLE.sub("", re.sub(r"\s", " ", part))
    part = "".join(c for c in part if unicodedata.category(c) not in _UNPRINTABLE)
    part = re.sub(r" +", " ", part)
    # macOS sends decomposed letters: composed, the same name is the same string everywhere.
    return unicodedata.normalize("NFC", part).strip(" ").rstrip(". ")
