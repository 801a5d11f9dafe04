"""Search and sort keys of names: they ignore case, accents and punctuation, in any alphabet."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from persons.inputs.texts import folded, without_joiners

KEY_LENGTH = 120
LAST = "\U0010ffff"
"""Sorts after every letter."""

MOST_STARTS = 24
"""Upper limit of the indexed words of one name."""

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}  # noqa: RUF001
)
_JOINERS = str.maketrans("", "", "'`.\u2018\u2019\u02bc\u00b4")
_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")
"""Scripts without spaces between words, in which any letter may begin a word."""


def fold(text: str) -> str:
    """The text in the form used for comparison: "  Zoë O'Brien-Łukasz " -> "zoe obrien lukasz".

    A text without letters and digits, such as "★", keeps its characters.
    """
    text = without_joiners(text)
    plain = unicodedata.normalize("NFKD", text.translate(_JOINERS)).casefold().translate(_LETTERS)
    letters = [letter for letter in plain if not unicodedata.combining(letter)]
    words = "".join(letter if _is_of_word(letter) else " " for letter in letters).split()
    return " ".join(words) or " ".join(text.casefold().split())


def key_of_name(label: str, person_id: int) -> str:
    """Sort key of a person in a list by name. Unnamed people come last, by `person_id`."""
    return fold(label)[:KEY_LENGTH] if label else f"{LAST}{person_id:020}"


def later_starts(key: str) -> list[str]:
    """The rest of a name from each word on, except the first: further keys to find it by."""
    starts = [
        key[at:]
        for at in range(1, len(key))
        if key[at] != " " and (key[at - 1] == " " or _is_unspaced(key[at]))
    ]
    return starts[:MOST_STARTS]


def _is_of_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"


def _is_unspaced(letter: str) -> bool:
    return not letter.isascii() and unicodedata.name(letter, "").startswith(_UNSPACED)


class KeyField(models.CharField):  # type: ignore[type-arg]
    """A text column compared by code point on every database, whatever the server's locale."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


class NameStart(models.Model):
    """The rest of a person's name from one word on; the first word has no row.

    With `Person.name_key`, an index finds people by the beginning of any word of their name.
    `PersonQuerySet` and `Person.save` maintain the rows.
    """

    space = models.ForeignKey(
        "persons.Space", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    person = models.ForeignKey("persons.Person", on_delete=models.CASCADE, related_name="starts")
    key = KeyField(max_length=KEY_LENGTH)

    class Meta:
        indexes = [models.Index(fields=["space", "key", "person"], name="name_start")]

    def __str__(self) -> str:
        return f"{self.key} ({self.person_id})"


_TAG = re.compile(r"person([0-9]+)|unnamed person ([0-9]+)")
_LARGEST = 2**63 - 1


def tagged(text: str) -> int | None:
    """The number in "person7", "Unnamed person 7" or "7".

    None for other texts and for numbers that no person can have.
    """
    plain = unicodedata.normalize("NFKC", folded(text))
    tag = _TAG.fullmatch(plain)
    digits = ((tag[1] or tag[2]) if tag else plain).lstrip("0")
    if not re.fullmatch(r"[0-9]{1,19}", digits) or int(digits) > _LARGEST:
        return None
    return int(digits)


def looks_like_tag(text: str) -> bool:
    """Whether the text refers to a person by number rather than by name.

    True for Vision's "person77" and the pages' "Unnamed person 77", in any case. False for "77" and
    "Person 77", which may be names.
    """
    return _TAG.fullmatch(unicodedata.normalize("NFKC", folded(text))) is not None
