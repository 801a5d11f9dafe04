"""What is stored about erased people: their ids, and keyed digests of their pictures.

Digests are keyed with the installation's secret key. Without it, nobody who has a picture and the
database can find out whether that picture was erased.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from persons.models import ErasedPicture, Erasure, Person, Space

REFUSED: Final = "this picture belongs to a person who was erased, and may not be enrolled again"
BUSY: Final = "this person is being erased, try again later"

ERASED: Final = "erased"
"""Replaces an erased name, tag or box."""


def keyed(sha256: str) -> str:
    return salted_hmac("persons.privacy.erased", sha256, algorithm="sha256").hexdigest()


def pictures_erased_in(space: Space, digests: Iterable[str]) -> set[str]:
    """Those of these SHA-256 digests that must not be enrolled in the space again."""
    theirs = ErasedPicture.objects.filter(erasure__team=space.team_id, erasure__number=space.number)
    return _known(theirs, digests)


def pictures_erased_of(team_pk: int, digests: Iterable[str]) -> set[str]:
    """Like `pictures_erased_in`, for all spaces of a team: a restore must not bring a picture back
    in another space."""
    return _known(ErasedPicture.objects.filter(erasure__team=team_pk), digests)


def _known(rows: QuerySet[ErasedPicture], digests: Iterable[str]) -> set[str]:
    wanted = {digest for digest in digests if digest}
    if not wanted or not rows.exists():
        return set()
    by_key = {keyed(digest): digest for digest in wanted}
    found = rows.filter(digest__in=by_key).values_list("digest", flat=True)
    return {by_key[digest] for digest in found}


def ids_erased_in(space: Space, person_ids: Collection[int]) -> set[int]:
    """Those of these ids whose person was erased or is being erased.

    A client may reuse such an id for somebody else later. The ledger then has a person with that id
    again.
    """
    wanted = set(person_ids)
    rows = Erasure.objects.filter(team=space.team_id, number=space.number)
    return {one for ids in rows.values_list("ids", flat=True) for one in ids if one in wanted}


def ids_being_erased_in(space: Space, person_ids: Collection[int]) -> set[int]:
    people = Person.objects.filter(space=space, person_id__in=person_ids, erasing=True)
    return set(people.values_list("person_id", flat=True))
