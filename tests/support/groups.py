"""Makes unknown faces and groups of them."""

from __future__ import annotations

from secrets import token_hex

from persons.faces.identity import resolve_identities
from persons.models import (
    Face,
    Gallery,
    Grouping,
    JobState,
    Person,
)
from tests.support.factories import FaceFactory, PersonFactory, PhotoFactory


def unknown(gallery: Gallery) -> Face:
    face: Face = FaceFactory.create(
        photo=PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    )
    return face


def make_group(gallery: Gallery, size: int, grouping: Grouping | None = None) -> Person:
    grouping = grouping or Grouping.objects.create(space=gallery.space, state=JobState.DONE)
    person: Person = PersonFactory.create(
        space=gallery.space, label="", grouping=grouping, face_count=size
    )
    faces = [unknown(gallery) for _ in range(size)]
    Face.objects.filter(pk__in=[face.pk for face in faces]).update(grouped_person=person)
    resolve_identities([face.photo_id for face in faces])
    return person
