"""Finds and removes a person's names and tags in stored JSON and text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote_plus

from django.db.models import Q, TextField
from django.db.models.functions import Cast

from persons.privacy.erased import ERASED

NAMES = frozenset({"label", "other", "into", "to", "person", "name", "now_label"})
"""Keys whose value is a name alone; any other text may contain a name among other words."""


WIRE = frozenset(
    {
        *("space", "images", "name", "person_id", "create_new", "update_embedding", "searcher"),
        *("status", "body", "error", "objects", "persons", "tag", "coord", "similarity"),
        *("aliases", "aliases_changed", "emotion", "sex", "htmlencoded", "last_modified"),
    }
)
"""Keys whose texts the wire defines, or that are handled separately, like `name`."""


@dataclass(frozen=True)
class PersonNames:
    """A person's names, current and former."""

    labels: Collection[str]

    @cached_property
    def folded(self) -> frozenset[str]:
        return frozenset(label.casefold() for label in self.labels if label)

    @cached_property
    def _words(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        """Patterns for names of several words, in any case, and for single words, with case: "May"
        is a person, "may" is not."""
        several = [label.casefold() for label in self.labels if " " in label]
        single = [label for label in self.labels if label and " " not in label]
        return _pattern(several), _pattern(single)

    def is_one(self, text: str) -> bool:
        """Whether the text is exactly one of the names, in any case."""
        return text.casefold() in self.folded

    def are_in(self, text: str) -> bool:
        """Whether one of the names is in the text, as whole words."""
        several, single = self._words
        if several is not None and several.search(text.casefold()):
            return True
        return single is not None and single.search(text) is not None

    def are_in_loosely(self, text: str) -> bool:
        """Also without diacritics, and with anything or nothing between words, as in file names."""
        letters = letters_of(text)
        return any(one in letters for one in self._letters)

    def may_be_in_loosely(self, column: str) -> Q:
        """Candidates for `are_in_loosely`: rows whose text contains a part of one of the names.

        The part is the longest ASCII run of the name's longest word.
        """
        found = Q(pk__in=[])
        for label in self.labels:
            word = max(re.split(r"\W+", label), key=len)
            plain = re.split(r"[^\x00-\x7f]", word)
            found |= Q(**{f"{column}__icontains": max(plain, key=len)})
        return found

    @cached_property
    def _letters(self) -> list[str]:
        return [letters for label in self.labels if (letters := letters_of(label))]

    def speak_in(self, value: Any, key: str = "") -> bool:
        """Whether a JSON value names them. `key` is the key it is stored under."""
        if isinstance(value, str):
            return self.is_one(value) if key in NAMES else self.are_in(value)
        if isinstance(value, Mapping):
            return any(
                self.are_in(str(inner)) or self.speak_in(part, str(inner))
                for inner, part in value.items()
            )
        if isinstance(value, list):
            return any(self.speak_in(part, key) for part in value)
        return False

    def may_be_in(self, *columns: str) -> Q:
        """Candidates for `are_in`, in text columns or in JSON columns made text by `as_text`."""
        found = Q(pk__in=[])
        for label in self.labels:
            for spelling in spellings(label):
                for column in columns:
                    found |= Q(**{f"{column}__icontains": spelling})
        return found


def _pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if names else None


def letters_of(text: str) -> str:
    """Letters and digits only, without diacritics and in lower case."""
    plain = unicodedata.normalize("NFKD", unquote_plus(text)).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def spellings(text: str) -> set[str]:
    """The text as a database may store it: plain, and in JSON with or without escapes."""
    return {
        text,
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    }


def as_text(column: str) -> Cast:
    """A JSON column as its stored text."""
    return Cast(column, TextField())


@dataclass(frozen=True)
class Redaction:
    """What is removed from an answer.

    Entries with one of the `tags`, these tags among aliases, and the image `names` that are about
    them. With `labels`, texts outside the wire's own fields that contain one of these names go too.
    """

    tags: frozenset[str]
    names: frozenset[str] = frozenset()
    labels: PersonNames | None = None

    def concerns(self, value: Any) -> bool:
        return bool(self.of(value) != value)

    def of(self, value: Any) -> Any:
        """A redacted copy."""
        if isinstance(value, Mapping):
            if value.get("tag") in self.tags:
                return {"tag": ERASED}
            return {self._key(key): self._part(key, part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.of(part) for part in value if not self._is_tag(part)]
        if isinstance(value, str) and value in self.names:
            return ERASED
        return value

    def _part(self, key: str, part: Any) -> Any:
        if isinstance(part, str) and key not in WIRE and self.labels is not None:
            return ERASED if self.labels.are_in_loosely(part) else self.of(part)
        return self.of(part)

    def of_text(self, text: str) -> str:
        """An answer's text, redacted. One that can't be parsed and may name them becomes ""."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return "" if self._is_named_in(text) else text
        cleaned = self.of(value)
        return text if cleaned == value else json.dumps(cleaned)

    def _is_named_in(self, text: str) -> bool:
        wanted = map(re.escape, (*self.tags, *self.names))
        return any(re.search(rf"(?<!\w){one}(?!\w)", text) for one in wanted)

    def _key(self, key: str) -> str:
        return ERASED if key in self.names else key

    def _is_tag(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.tags
