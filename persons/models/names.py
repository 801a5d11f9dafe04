"""How names are found and sorted: without case, accents or punctuation, in any alphabet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, OuterRef, Q

if TYPE_CHECKING:
    from persons.models.spaces import Person

KEY_LENGTH = 120
LAST = "\U0010ffff"
"""Sorts after every letter."""

MOST_STARTS = 24
"""Words of one name from which it is found."""

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}  # noqa: RUF001
)
_JOINERS = str.maketrans("", "", "'`.\u2018\u2019\u02bc\u00b4")
_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")
"""Scripts in which no space stands between words: each letter may begin one."""


def fold(text: str) -> str:
    """As it is compared: "  Zoë O'Brien-Łukasz " is "zoe obrien lukasz".

    What has neither letters nor digits stays as it is: somebody may be called "★".
    """
    plain = unicodedata.normalize("NFKD", text.translate(_JOINERS)).casefold().translate(_LETTERS)
    letters = [letter for letter in plain if not unicodedata.combining(letter)]
    words = "".join(letter if _is_of_word(letter) else " " for letter in letters).split()
    return " ".join(words) or " ".join(text.casefold().split())


def key_of_name(label: str, person_id: int) -> str:
    """Where somebody stands in a list by name; who has none comes last, by number."""
    return fold(label)[:KEY_LENGTH] if label else f"{LAST}{person_id:020}"


def later_starts(key: str) -> list[str]:
    """What a name is found by besides its beginning: from each of its other words on."""
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
    """Compared letter by letter on every database, whatever language a server was set up for."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


class NameStart(models.Model):
    """One word of a person's name, but the first, and all that follows it.

    With `Person.name_key` these answer "whose name has a word that begins like this" from an index.
    `PersonQuerySet` and `Person.save` keep them.
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

    @classmethod
    def of(cls, person: Person) -> list[NameStart]:
        if not person.label:
            return []
        return [
            cls(space_id=person.space_id, person_id=person.pk, key=start)
            for start in later_starts(person.name_key)
        ]


def tagged(text: str) -> int | None:
    """The number in "person7" or "7"."""
    tag = re.fullmatch(r"(?:person)?([0-9]{1,18})", text.strip().lower())
    return int(tag[1]) if tag else None


class NamedQuerySet(models.QuerySet["Person"]):
    """People by name. Whatever writes a label through it keeps what they are found by."""

    def search(self, text: str) -> Self:
        """Who has a word in their name that begins with `text`, or whose tag it is.

        Case, accents and punctuation don't matter, in any alphabet. For lists of many people,
        `found_by_name` is quicker where few are found.
        """
        key = fold(text)[:KEY_LENGTH]
        if not key:
            return self
        beginning = NameStart.objects.filter(key__gte=key, key__lt=key + LAST)
        found = Q(name_key__gte=key, name_key__lt=key + LAST)
        found |= Q(Exists(beginning.filter(person=OuterRef("pk"))))
        if (person_id := tagged(text)) is not None:
            found |= Q(person_id=person_id)
        return self.filter(found)

    def bulk_create(self, objs: Iterable[Person], *args: Any, **options: Any) -> list[Person]:
        people = list(objs)
        for person in people:
            person.name_key = key_of_name(person.label, person.person_id)
        made = super().bulk_create(people, *args, **options)
        starts = [start for person in made if person.pk for start in NameStart.of(person)]
        NameStart.objects.bulk_create(starts, batch_size=2000)
        return made

    def update(self, **values: Any) -> int:
        if "label" not in values:
            return super().update(**values)
        pks = list(self.values_list("pk", flat=True))
        count = super().update(**values)
        self.model.objects.filter(pk__in=pks).index_names()
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def index_names(self) -> None:
        """Work out anew what these people are found by; needed only after SQL of one's own."""
        people = list(self.only("pk", "space_id", "person_id", "label", "name_key"))
        for person in people:
            person.name_key = key_of_name(person.label, person.person_id)
        self.model.objects.bulk_update(people, ["name_key"], batch_size=2000)
        for at in range(0, len(people), 2000):
            some = people[at : at + 2000]
            NameStart.objects.filter(person__in=[person.pk for person in some]).delete()
            NameStart.objects.bulk_create(start for one in some for start in NameStart.of(one))


def found_by_name(spaces: Sequence[int], text: str, limit: int) -> list[int]:
    """People, by pk, whom `text` finds in these spaces: by their name's beginning first, then by
    their other words'. At most `limit`, in three small ranges of indexes."""
    from persons.models.spaces import Person

    key = fold(text)[:KEY_LENGTH]
    if not key:
        return []
    bounds = Q(space__in=spaces)
    whole = Person.objects.filter(bounds, name_key__gte=key, name_key__lt=key + LAST)
    found = list(whole.order_by("name_key", "pk").values_list("pk", flat=True)[:limit])
    if (person_id := tagged(text)) is not None:
        found += Person.objects.filter(bounds, person_id=person_id).values_list("pk", flat=True)
    if len(found) < limit:
        words = NameStart.objects.filter(bounds, key__gte=key, key__lt=key + LAST)
        found += words.order_by("key", "person").values_list("person", flat=True)[:limit]
    return list(dict.fromkeys(found))[:limit]
