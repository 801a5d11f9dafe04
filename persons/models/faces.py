"""Faces in photos: what the engine returned and, in separate columns, what a human decided."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.galleries import Gallery, Photo
from persons.models.teams import Team, User


class Decision(models.TextChoices):
    """What a human decided about a face. A rescan doesn't change it.

    NONE <-> NAMED <-> IGNORED; any -> ERASED, which is final. ERASED is the box of an erased person
    on a photo that was kept. Nothing else is known of that face, and neither recognition nor users
    write to it.
    """

    NONE = "", "None"
    NAMED = "named", "Named"
    IGNORED = "ignored", "Ignored"
    ERASED = "erased", "Erased"


class Review(models.TextChoices):
    """Why a face needs a human decision, if it does. Set only by `persons.faces.identity`."""

    NONE = "", "Nothing to do"
    UNKNOWN = "unknown", "Unknown"
    WEAK = "weak", "Weak match"
    DOUBLE = "double", "Same person twice on one photo"
    GROUPED = "grouped", "In a group without a name"

    @classmethod
    def queue(cls) -> list[Review]:
        """Kinds that the review shows face by face. Groups have a page of their own."""
        return [cls.UNKNOWN, cls.WEAK, cls.DOUBLE]


class FaceQuerySet(models.QuerySet["Face"]):
    def unknown(self) -> Self:
        """Faces that wait for a name."""
        return self.filter(review=Review.UNKNOWN)

    def waiting(self) -> Self:
        """Faces that the review shows one by one."""
        return self.filter(review__in=Review.queue())

    def suggested(self) -> Self:
        """Faces whose person the engine suggests and somebody should confirm."""
        return self.filter(review__in=[Review.WEAK, Review.DOUBLE])

    def grouped(self) -> Self:
        """Faces in unnamed groups."""
        return self.filter(review=Review.GROUPED)

    def to_review(self, team: Team) -> Self:
        """The team's unknown faces, newest first."""
        return (
            self.unknown()
            .filter(space__team=team)
            .select_related("photo__gallery__space")
            .order_by("-pk")
        )

    def outside(self, galleries: Collection[int]) -> Self:
        """Without the faces of these galleries: see `persons.access.galleries`."""
        return self.exclude(gallery__in=galleries) if galleries else self

    def with_names(self) -> Self:
        return self.select_related("person", "photo__gallery__team")


class _Untrashed(models.Manager["Face"]):
    def get_queryset(self) -> FaceQuerySet:
        return FaceQuerySet(self.model, using=self._db).filter(trashed=False)


class Face(models.Model):
    """One face on a photo. The box is in pixels of the oriented original.

    `person` is the identity that every page and query uses. It is the human's choice if there is
    one, else the engine's, else the group's, unless a human rejected that person. It is a canonical
    person, except while a merge is still being propagated (`SpaceJob.Kind.PROPAGATE`). Only
    `persons.faces.identity` computes `person`, `review` and `review_rank`.

    `missing` marks a face that a human decided on and that the last recognition did not find again.
    `space`, `gallery` and `trashed` are copies of the photo's. `objects` excludes trashed faces,
    `everything` includes them.
    """

    photo = models.ForeignKey(Photo, on_delete=models.CASCADE, related_name="faces")
    space = models.ForeignKey("persons.Space", on_delete=models.CASCADE, related_name="+")
    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="+")
    trashed = models.BooleanField(default=False)
    left = models.IntegerField()
    top = models.IntegerField()
    right = models.IntegerField()
    bottom = models.IntegerField()

    # What the engine returned last.
    found_person = models.ForeignKey(
        "persons.Person", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    tag = models.CharField(max_length=40, default="undefined")
    similarity = models.FloatField(default=0.0)
    confidence = models.FloatField(default=0.0)
    quality = models.FloatField(default=0.0, help_text="The wire's awesomeness, 0 to 1.")
    attributes = models.JSONField(default=dict, blank=True)
    recognition = models.ForeignKey(
        "persons.Recognition",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="faces",
    )
    missing = models.BooleanField(default=False)
    grouped_person = models.ForeignKey(
        "persons.Person",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The group of similar unknown faces to which it belongs.",
    )

    # What a human decided.
    decision = models.CharField(
        max_length=8, choices=Decision.choices, default=Decision.NONE, blank=True
    )
    decided_person = models.ForeignKey(
        "persons.Person", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    drawn_by = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The user who drew the box.",
    )
    is_drawn = models.BooleanField(default=False)
    rejected = models.ManyToManyField(
        "persons.Person", through="Rejection", related_name="rejected_faces"
    )

    # The identity.
    person = models.ForeignKey(
        "persons.Person",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="faces",
        db_index=False,
    )
    found_by_run = models.ForeignKey(
        "persons.Run", null=True, blank=True, on_delete=models.SET_NULL, related_name="found_faces"
    )
    review = models.CharField(max_length=8, choices=Review.choices, default="", blank=True)
    review_rank = models.FloatField(
        default=0.0, help_text="How likely the identity is wrong, 0 to 1."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    forgotten_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When retention deleted the embedding, attributes and crop.",
    )

    objects = _Untrashed.from_queryset(FaceQuerySet)()
    everything = FaceQuerySet.as_manager()

    class Meta:
        ordering = ["left", "top", "pk"]
        indexes = [
            models.Index(fields=["person", "-id"], name="face_person"),
            # Index-only: how many photos a person is on, and with whom.
            models.Index(
                fields=["person", "photo"],
                name="face_on_photos",
                condition=models.Q(person__isnull=False, trashed=False),
            ),
            # A person's faces by decision, the least similar first.
            models.Index(
                fields=["person", "decision", "similarity", "id"],
                name="face_surety",
                condition=models.Q(trashed=False),
            ),
            models.Index(
                fields=["person", "-id"],
                name="face_missing",
                condition=models.Q(missing=True, trashed=False),
            ),
            # The review of a space or a gallery, each kind by age and by rank.
            models.Index(
                fields=["space", "review", "-id"],
                name="face_review",
                condition=~models.Q(review=""),
            ),
            models.Index(
                fields=["space", "review", "-review_rank", "-id"],
                name="face_review_rank",
                condition=~models.Q(review=""),
            ),
            models.Index(
                fields=["gallery", "review", "-id"],
                name="face_gallery_review",
                condition=~models.Q(review=""),
            ),
            models.Index(
                fields=["gallery", "review", "-review_rank", "-id"],
                name="face_gallery_review_rank",
                condition=~models.Q(review=""),
            ),
            # Index-only: which photos of a gallery a person is on.
            models.Index(
                fields=["gallery", "person", "photo"],
                name="face_in_gallery",
                condition=models.Q(person__isnull=False, missing=False, trashed=False),
            ),
            models.Index(
                fields=["person", "-similarity", "-id"],
                name="face_suggested",
                condition=~models.Q(review=""),
            ),
            # Faces whose appearance data retention has yet to delete.
            models.Index(
                fields=["space", "created_at", "id"],
                name="face_remembered",
                condition=models.Q(person=None, forgotten_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"face {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.gallery_id is None:
            self.gallery_id = self.photo.gallery_id
        if self.space_id is None:
            self.space_id = self.photo.gallery.space_id
        super().save(*args, **kwargs)

    @property
    def is_forgotten(self) -> bool:
        """Whether retention deleted the appearance data of this face and it is still unnamed."""
        named = self.person is not None and self.person.label != ""
        return self.forgotten_at is not None and not named

    @property
    def is_suggested(self) -> bool:
        """Whether its person is an unconfirmed guess that may be wrong."""
        return self.person_id is not None and self.review != Review.NONE


class Rejection(models.Model):
    """A human's decision that a face is not a person. It survives every rescan."""

    face = models.ForeignKey(Face, on_delete=models.CASCADE, related_name="rejections")
    person = models.ForeignKey(
        "persons.Person", on_delete=models.CASCADE, related_name="rejections"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["face", "person"], name="one_rejection_a_person"),
        ]

    def __str__(self) -> str:
        return f"{self.face} is not {self.person}"
