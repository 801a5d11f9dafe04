"""Finding and taking out what speaks of somebody in stored JSON and text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import Q, TextField
from django.db.models.functions import Cast

from persons.erasures import ERASED

NAMES = frozenset({"label", "other", "into", "to", "person", "name", "now_label"})
"""Under these a name stands alone; anywhere else it may stand among other words."""


@dataclass(frozen=True)
class Names:
    """What somebody was called; `also` are earlier names, which others may bear now."""

    labels: Collection[str]

    @cached_property
    def folded(self) -> frozenset[str]:
        return frozenset(label.casefold() for label in self.labels if label)

    @cached_property
    def _words(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        """One for names of several words, in any case, and one for names of a single word: "May" is
        somebody, "may" is not."""
        several = [label.casefold() for label in self.labels if " " in label]
        single = [label for label in self.labels if label and " " not in label]
        return _pattern(several), _pattern(single)

    def is_one(self, text: str) -> bool:
        return text.casefold() in self.folded

    def are_in(self, text: str) -> bool:
        """As whole words."""
        several, single = self._words
        if several is not None and several.search(text.casefold()):
            return True
        return single is not None and single.search(text) is not None

    def speak_in(self, value: Any, key: str = "") -> bool:
        """Whether a value of JSON names them."""
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
        """Rows that could name them, to be looked at more closely: a text column, or one of JSON
        as `as_text` makes it."""
        found = Q(pk__in=[])
        for label in self.labels:
            for spelling in spellings(label):
                for column in columns:
                    found |= Q(**{f"{column}__icontains": spelling})
        return found


def _pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if names else None


def spellings(text: str) -> set[str]:
    """As it may stand in a database: as it is, and in JSON, with escapes or without."""
    return {
        text,
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    }


def as_text(column: str) -> Cast:
    """A JSON column as the text that is stored."""
    return Cast(column, TextField())


@dataclass(frozen=True)
class Redaction:
    """What is taken out of an answer: entries with one of these tags, the tags among aliases, and
    `names` of images that were sent as pictures of them."""

    tags: frozenset[str]
    names: frozenset[str] = frozenset()

    def concerns(self, value: Any) -> bool:
        return bool(self.of(value) != value)

    def of(self, value: Any) -> Any:
        """A copy without them."""
        if isinstance(value, Mapping):
            if value.get("tag") in self.tags:
                return {"tag": ERASED}
            return {self._key(key): self.of(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.of(part) for part in value if not self._is_tag(part)]
        if isinstance(value, str) and value in self.names:
            return ERASED
        return value

    def of_text(self, text: str) -> str:
        """Of an answer as it came; one that can't be read and may speak of them goes whole."""
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            return "" if self._is_named_in(text) else text
        cleaned = self.of(told)
        return text if cleaned == told else json.dumps(cleaned)

    def _is_named_in(self, text: str) -> bool:
        wanted = map(re.escape, (*self.tags, *self.names))
        return any(re.search(rf"(?<!\w){one}(?!\w)", text) for one in wanted)

    def _key(self, key: str) -> str:
        return ERASED if key in self.names else key

    def _is_tag(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.tags
