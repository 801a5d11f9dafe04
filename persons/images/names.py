"""File names for display. Files are stored by content hash, never by these names."""

from __future__ import annotations

import re

from persons.inputs import texts

MAX_NAME = 200
"""Characters, extension included."""

_FALLBACK = "photo"
_LONGEST_EXTENSION = 16


def clean_name(raw: str) -> str:
    """The last path component of `raw`, safe to display and store: 1 to 200 printable characters.

    Both kinds of slash separate components, since the browser's system is unknown. A long name is
    cut before its extension. An empty result becomes "photo". The function is idempotent.
    """
    parts = [_tidy(part) for part in re.split(r"[/\\]", raw)]
    name = next((part for part in reversed(parts) if part.strip(".")), "")
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > _LONGEST_EXTENSION:
        stem, extension = name, ""
    else:
        extension = dot + extension
    stem = texts.line(stem[: MAX_NAME - len(extension)]).strip(" .")
    return (stem or _FALLBACK) + extension


def _tidy(part: str) -> str:
    # macOS sends decomposed letters; composing them makes equal names equal strings everywhere.
    return texts.line(part).rstrip(". ")
