"""Faces found in photos: what the engine said and, apart from it, what a human decided."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.galleries import Gallery, Photo
from persons.models.spaces import Person, Run, Space
from persons.models.teams import Team, User


class Decision(models.TextChoices):
    """What a human said of a face. No re-run of recognition changes it.

    ERASED is the box of somebody who was erased, on a photo that was kept: nothing more is known of
    it, and nothing more is written to it, neither by recognition nor by anybody.
    """

    NONE = "", "None"
    NAMED = "named", "Named"
    IGNORED = "ignored", "Ignored"
    ERASED = "erased", "Erased"


class Review(models.TextChoices):
    """Why a face wants a human, if it does. Worked out by `persons.settling` alone."""

    NONE = "", "Nothing to do"
    UNKNOWN = "unknown", "Unknown"
    WEAK = "weak", "Weak match"
    DOUBLE = "double", "Same person twice on one photo"
    GROUPED = "grouped", "In a group without a name"

    @classmethod
    def queue(cls) -> list[Review]:
        """What the review goes through face by face; groups have a page of their own."""
        return [cls.UNKNOWN, cls.WEAK, cls.DOUBLE]


class FaceQuerySet(models.QuerySet["Face"]):
    def unknown(self) -> Self:
        """Faces that wait for a name."""
        return self.filter(review=Review.UNKNOWN)

    def waiting(self) -> Self:
        """Faces that the review goes through one by one."""
        return self.filter(review__in=Review.queue())

    def suggested(self) -> Self:
        """Faces whose person is a guess of the engine's that somebody should confirm."""
        return self.filter(review__in=[Review.WEAK, Review.DOUBLE])

    def grouped(self) -> Self:
        """Faces in groups that nobody has named."""
        return self.filter(review=Review.GROUPED)

    def to_review(self, team: Team) -> Self:
        """The team's faces that wait for a name, newest first."""
        return (
            self.unknown()
            .filter(space__team=team)
            .select_related("photo__gallery__space")
            .order_by("-pk")
        )

    def for_person(self, person: Person) -> Self:
        """A person's faces, newest first, with the photos they are on."""
        return (
            self.filter(person=person)
            .select_related("photo__gallery", "decided_by")
            .order_by("-pk")
        )

    def outside(self, galleries: Collection[int]) -> Self:
        """Without the faces of these galleries: see `access.hidden_from`."""
        return self.exclude(gallery__in=galleries) if galleries else self

    def with_names(self) -> Self:
        return self.select_related("person", "photo__gallery__team")


class _Untrashed(models.Manager["Face"]):
    def get_queryset(self) -> FaceQuerySet:
        return FaceQuerySet(self.model, using=self._db).filter(trashed=False)


class Face(models.Model):
    """A box in the oriented original's pixels.

    `person` is who it is, for every page and query: the human's choice where there is one, else the
    engine's, else a group's, unless a human rejected that one; never somebody who was merged into
    another. `persons.settling` is the only place that works out `person`, `review`, `review_rank`.
    `missing` marks a face that the last recognition did not find again but a human had decided on.
    `space`, `gallery` and `trashed` are the photo's; `objects` is without trashed faces,
    `everything` with.
    """

    photo = models.ForeignKey(Photo, on_delete=models.CASCADE, related_name="faces")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="+")
    trashed = models.BooleanField(default=False)
    left = models.IntegerField()
    top = models.IntegerField()
    right = models.IntegerField()
    bottom = models.IntegerField()

    # What the engine said, last.
    found_person = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
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
        Person,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The group of unknown faces that it was put into.",
    )

    # What a human decided.
    decision = models.CharField(
        max_length=8, choices=Decision.choices, default=Decision.NONE, blank=True
    )
    decided_person = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
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
        help_text="Who drew the box where the detector had found none.",
    )
    is_drawn = models.BooleanField(default=False)
    rejected = models.ManyToManyField(Person, through="Rejection", related_name="rejected_faces")

    # Who it is.
    person = models.ForeignKey(
        Person,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="faces",
        db_index=False,
    )
    found_by_run = models.ForeignKey(
        Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="found_faces"
    )
    review = models.CharField(max_length=8, choices=Review.choices, default="", blank=True)
    review_rank = models.FloatField(
        default=0.0, help_text="How likely what stands there is wrong, 0 to 1."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    forgotten_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When what was known of its looks was deleted, as the team's retention says.",
    )

    objects = _Untrashed.from_queryset(FaceQuerySet)()
    everything = FaceQuerySet.as_manager()

    class Meta:
        ordering = ["left", "top", "pk"]
        indexes = [
            models.Index(fields=["person", "-id"], name="face_person"),
            # On how many photos a person is, and with whom: answered without a look at the rows.
            models.Index(
                fields=["person", "photo"],
                name="face_on_photos",
                condition=models.Q(person__isnull=False, trashed=False),
            ),
            # A person's faces that a human named, and the least sure ones first.
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
            # What waits for a human, of a space or a gallery: each kind in both of its orders.
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
            # On which photos of a gallery somebody is: answered without a look at the rows.
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
            # Of whose looks retention has still to forget something.
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
        """Whether its looks may not be kept any more: it has no name, and its time is over."""
        named = self.person is not None and self.person.label != ""
        return self.forgotten_at is not None and not named

    @property
    def is_suggested(self) -> bool:
        """Whether its person is a guess that nobody has confirmed and that may well be wrong."""
        return self.person_id is not None and self.review != Review.NONE


class Rejection(models.Model):
    """A human's "this face is not that person". It outlives every re-run."""

    face = models.ForeignKey(Face, on_delete=models.CASCADE, related_name="rejections")
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="rejections")
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
