"""Factories of minimal rows for tests. `PhotoFactory(with_file=True)` also stores a file."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import factory
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.text import slugify
from factory.django import DjangoModelFactory
from PIL import Image

from persons.faces.identity import resolve_identities
from persons.models import (
    Decision,
    Face,
    Gallery,
    Membership,
    Person,
    Photo,
    PhotoState,
    Role,
    Space,
    Team,
    User,
)
from persons.vision.limits import SPACES

PASSWORD = "correct horse battery"


def jpeg(
    colour: tuple[int, int, int] = (90, 120, 150),
    size: tuple[int, int] = (64, 48),
    comment: str = "",
) -> bytes:
    """A small plain picture without a face. Similar colours may give the same bytes; different
    comments never do."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", comment=comment)
    return out.getvalue()


class UserFactory(DjangoModelFactory[User]):
    """Signs in with `PASSWORD`."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user{n}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.org")
    password = factory.django.Password(PASSWORD)


class TeamFactory(DjangoModelFactory[Team]):
    """A team with its ten spaces and no members."""

    class Meta:
        model = Team
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"Team {n}")
    slug = factory.LazyAttribute(lambda team: slugify(team.name))

    @factory.post_generation
    def spaces(self: Team, create: bool, extracted: Any, **kwargs: Any) -> None:
        if create:
            Space.objects.bulk_create(Space(team=self, number=number) for number in SPACES)


class MembershipFactory(DjangoModelFactory[Membership]):
    class Meta:
        model = Membership

    team = factory.SubFactory(TeamFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.EDITOR


class GalleryFactory(DjangoModelFactory[Gallery]):
    """A gallery, by default in its team's space 0."""

    class Meta:
        model = Gallery

    team = factory.SubFactory(TeamFactory)
    name = factory.Sequence(lambda n: f"Gallery {n}")
    slug = factory.LazyAttribute(lambda gallery: slugify(gallery.name))
    space = factory.LazyAttribute(lambda gallery: gallery.team.spaces.get(number=0))


class PhotoFactory(DjangoModelFactory[Photo]):
    """A recognised photo. Its file is stored only with `with_file=True`."""

    class Meta:
        model = Photo
        exclude = ("content",)
        skip_postgeneration_save = True

    gallery = factory.SubFactory(GalleryFactory)
    content = factory.Sequence(lambda n: jpeg(comment=f"photo {n}"))
    sha256 = factory.LazyAttribute(lambda photo: hashlib.sha256(photo.content).hexdigest())
    original = factory.LazyAttribute(
        lambda photo: f"originals/{photo.gallery.team_id}/{photo.sha256[:2]}/{photo.sha256}.jpg"
    )
    file_name = factory.Sequence(lambda n: f"photo-{n}.jpg")
    size = factory.LazyAttribute(lambda photo: len(photo.content))
    format = "JPEG"
    width = 64
    height = 48
    state = PhotoState.DONE

    @factory.post_generation
    def with_file(self: Photo, create: bool, extracted: Any, **kwargs: Any) -> None:
        """True stores a picture of the photo's size; bytes are stored as they are."""
        if not (create and extracted):
            return
        content = extracted if isinstance(extracted, bytes) else None
        if content is None:
            number = self.pk % 256
            size = (self.width, self.height)
            content = jpeg((number, 255 - number, 90), size, comment=f"photo {self.pk}")
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.size = len(content)
        self.original = f"originals/{self.gallery.team_id}/{self.sha256[:2]}/{self.sha256}.jpg"
        self.save(update_fields=["sha256", "size", "original"])
        default_storage.save(self.original, ContentFile(content))


class PersonFactory(DjangoModelFactory[Person]):
    """A person, by default in space 0 of a new team, with the space's next person_id."""

    class Meta:
        model = Person

    space = factory.LazyFunction(lambda: TeamFactory.create().spaces.get(number=0))
    label = factory.Sequence(lambda n: f"Person {n}")

    @factory.lazy_attribute
    def person_id(self: Any) -> int:
        space = Space.objects.get(pk=self.space.pk)
        given = space.next_person_id
        Space.objects.filter(pk=space.pk).update(next_person_id=given + 1)
        return given


class FaceFactory(DjangoModelFactory[Face]):
    """An unknown face. `person=` makes it a face in which the engine found that person."""

    class Meta:
        model = Face
        skip_postgeneration_save = True

    photo = factory.SubFactory(PhotoFactory)
    left = 10
    top = 8
    right = 34
    bottom = 38
    confidence = 0.9
    quality = 0.8
    found_person = factory.SelfAttribute("person")
    person = None
    decision = ""
    decided_person = factory.LazyAttribute(
        lambda face: face.person if face.decision == Decision.NAMED else None
    )
    tag = factory.LazyAttribute(lambda face: face.person.tag if face.person else "undefined")
    similarity = factory.LazyAttribute(lambda face: 0.7 if face.person else 0.0)

    @factory.post_generation
    def resolved(self, create: bool, extracted: object, **kwargs: object) -> None:
        if create and not kwargs.get("skip"):
            with transaction.atomic():
                resolve_identities([self.photo_id])  # type: ignore[attr-defined]
            fields = ["person", "review", "review_rank"]
            self.refresh_from_db(fields=fields)  # type: ignore[attr-defined]
