"""Normalises texts from users, files and clients to one line or several, without hidden characters.

Every text goes through `line` or `block` before it is stored: names, notes, reasons, documents,
file names, names of clients' images. This module doesn't depend on Django.

Texts are in Unicode's form NFC. Invisible characters are removed, not refused, because they come
along when people paste. These are control characters, marks, embeddings, overrides and isolates of
the reading direction (which make "gpj.exe" look like "exe.jpg"), byte order marks, soft hyphens,
zero-width spaces, fillers, lone surrogates and noncharacters. Invisible characters are kept if they
change how their neighbours look:

- a single U+200C or U+200D between two letters, marks, digits or symbols, as in Persian, Sinhala
  and emoji, or after a virama, as in older Malayalam. Letters of Latin, Greek, Cyrillic and
  Armenian never join; there it would only make equal names differ;
- a variation selector after a visible character; Mongolian's vowel separator between letters;
- tags after a black flag up to the end tag (the flags of England, Scotland and Wales).

`folded` is for comparisons: it removes all of these and ignores case.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

ZWNJ, ZWJ = "\u200c", "\u200d"
_JOINERS = frozenset({ZWNJ, ZWJ})
_VOWEL_SEPARATOR = "\u180e"
_FLAG, _TAGS_END = "\U0001f3f4", "\U000e007f"
_TAGS = re.compile(f"(?<={_FLAG})[\U000e0030-\U000e0039\U000e0061-\U000e007a]{{1,8}}{_TAGS_END}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\u180b-\u180d\u180f\U000e0100-\U000e01ef]")

_ODD = re.compile(
    "[\ufe00-\ufe0f\u180b-\u180d\u180f\U000e0100-\U000e01ef\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0]"
)
"""Characters that Python calls printable but that are or may be invisible."""

_HIDDEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0\ufff0-\ufff8]")
"""Invisible letters and marks. `unicodedata` categories identify all other invisible characters."""

_SHOWN_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
"""Visible characters of category Cf, such as number signs of Arabic."""

_UNJOINED = re.compile("[\u0000-\u058f\u1e00-\u1fff\u2c60-\u2c7f\ua640-\ua69f\ua720-\ua7ff]")
"""Latin, Greek, Cyrillic, Armenian: their letters never join."""

_BREAKS = re.compile("\r\n|[\r\u0085\u2028\u2029\v\f]")


def line(text: str) -> str:
    """The text as one line, with single spaces and none at either end."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    if text.isprintable() and not _ODD.search(text) and unicodedata.is_normalized("NFC", text):
        return " ".join(text.split())
    return _stable(text, lambda some: " ".join(_seen(" ".join(some.split())).split()))


def block(text: str) -> str:
    """The text as lines separated by "\\n", stripped. Spaces and tabs within lines are kept."""
    return _stable(
        text, lambda some: "\n".join(map(_seen, _BREAKS.sub("\n", some).split("\n"))).strip()
    )


def folded(text: str) -> str:
    """Comparison key of a line: equal for texts that differ only in case or unseen characters."""
    return unicodedata.normalize("NFC", without_joiners(line(text)).casefold())


def without_joiners(text: str) -> str:
    """The text without the invisible characters that `line` keeps."""
    if text.isascii():
        return text
    return "".join(
        letter
        for letter in text
        if not _SELECTORS.match(letter)
        and (unicodedata.category(letter) != "Cf" or letter in _SHOWN_FORMATS)
    )


def _stable(text: str, clean: Callable[[str], str]) -> str:
    """Apply NFC and `clean` until nothing changes.

    Once is not enough: composing can produce a letter that doesn't join, for example.
    """
    while (cleaned := clean(unicodedata.normalize("NFC", text))) != text:
        text = cleaned
    return text


def _seen(text: str) -> str:
    """One line without invisible characters, except those that change how others look."""
    if text.isascii() and text.isprintable():
        return text
    kept: list[str] = []
    tags = {at for match in _TAGS.finditer(text) for at in range(*match.span())}
    shown = [at in tags or _is_shown(letter) for at, letter in enumerate(text)]
    for at, letter in enumerate(text):
        if shown[at]:
            kept.append(letter)
        elif not kept or kept[-1].isspace():
            continue
        elif _SELECTORS.match(letter):
            # A second selector in a row has no effect.
            if not _SELECTORS.match(kept[-1]) and kept[-1] not in _JOINERS:
                kept.append(letter)
        elif letter in _JOINERS or letter == _VOWEL_SEPARATOR:
            after = next((text[i] for i in range(at + 1, len(text)) if shown[i]), "")
            if _joins(kept[-1], after, letter):
                kept.append(letter)
    return "".join(kept)


def _is_shown(letter: str) -> bool:
    category = unicodedata.category(letter)
    if letter == "\t":
        return True
    if category in ("Cc", "Cs", "Zl", "Zp") or _SELECTORS.match(letter) or _HIDDEN.match(letter):
        return False
    if category == "Cf":
        return letter in _SHOWN_FORMATS
    # Characters newer than this Python are kept; noncharacters are not.
    return not (
        category == "Cn" and (ord(letter) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(letter) < 0xFDF0)
    )


def _joins(before: str, after: str, joiner: str) -> bool:
    if before in _JOINERS or before == _VOWEL_SEPARATOR:
        return False
    if joiner in _JOINERS and unicodedata.combining(before) == 9:  # a virama
        return True
    return _can_join(before) and _can_join(after)


def _can_join(letter: str) -> bool:
    if not letter:
        return False
    if _SELECTORS.match(letter):
        return True
    category = unicodedata.category(letter)[0]
    return category in "LMNS" and not (category == "L" and _UNJOINED.match(letter))
