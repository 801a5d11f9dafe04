"""The ledger: one row for each picture that is, was or will be enrolled."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.teams import User


class EnrolmentState(models.TextChoices):
    """QUEUED -> DONE | FAILED; QUEUED | DONE | FAILED | WAITING -> REMOVING -> REMOVED.

    The API deletes whole people only. A removal therefore deletes the person at Vision and sends
    the other pictures again: their DONE enrolments go back to QUEUED. REMOVED rows stay as history.

    QUEUED -> WAITING if the space requires a consent that is missing; WAITING -> QUEUED once it is
    there. Pictures that Vision may already have are removed, and a new row WAITS with each picture.
    """

    QUEUED = "queued", "Waiting"
    WAITING = "waiting", "Waits for consent"
    DONE = "done", "Enrolled"
    FAILED = "failed", "Refused"
    REMOVING = "removing", "Being removed"
    REMOVED = "removed", "Removed"

    @classmethod
    def live(cls) -> list[EnrolmentState]:
        return [cls.QUEUED, cls.WAITING, cls.DONE]


class EnrolmentQuerySet(models.QuerySet["Enrolment"]):
    def for_list(self) -> Self:
        """Newest first, with the face that each was cut from."""
        return self.select_related("face__photo__gallery", "created_by").order_by("-pk")

    def outside(self, galleries: Collection[int]) -> Self:
        """Without pictures cut from photos of these galleries, or of lost origin.

        Unchanged if `galleries` is empty. See `persons.access.readers`.
        """
        if not galleries:
            return self
        return self.exclude(gallery__in=galleries).exclude(source_lost=True)


class Enrolment(models.Model):
    """One picture of one person that is, was or will be enrolled with `set`. See EnrolmentState.

    `gallery` is that of the photo that the picture was cut from, kept after the photo is gone; null
    for a client's picture. `source_lost` means that the gallery is no longer known. Such a picture
    is only shown to members who see all galleries of the team.

    `image` is the storage key of the exact bytes that are sent. A worker cuts them from the photo,
    so `image` and `sha256` are empty at first.
    """

    person = models.ForeignKey(
        "persons.Person", on_delete=models.CASCADE, related_name="enrolments"
    )
    face = models.ForeignKey(
        "persons.Face", null=True, blank=True, on_delete=models.SET_NULL, related_name="enrolments"
    )
    gallery = models.ForeignKey(
        "persons.Gallery",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The photo's that it was cut out of.",
    )
    source_lost = models.BooleanField(default=False)
    sha256 = models.CharField(max_length=64, blank=True)
    image = models.CharField(max_length=200, blank=True, help_text="Key in the storage.")
    margin = models.FloatField(default=0.6, help_text="Of the crop, in sizes of the face.")
    state = models.CharField(
        max_length=8, choices=EnrolmentState.choices, default=EnrolmentState.QUEUED
    )
    error = models.TextField(blank=True)
    call = models.ForeignKey(
        "persons.Call", null=True, blank=True, on_delete=models.SET_NULL, related_name="enrolments"
    )
    origin = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="copies",
        help_text="The picture of a person who was merged into this one.",
    )
    job = models.ForeignKey(
        "persons.SpaceJob",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="enrolments",
        help_text="The restore that wants it.",
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    request_id = models.CharField(max_length=36, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    done_at = models.DateTimeField(null=True, blank=True)

    objects = EnrolmentQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["person", "face"],
                condition=models.Q(state__in=["queued", "waiting", "done", "failed"]),
                name="one_enrolment_a_face",
            ),
        ]
        indexes = [models.Index(fields=["state", "person"], name="enrolment_by_state")]

    def __str__(self) -> str:
        return f"{self.person}: {self.sha256[:12]}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding and self.gallery_id is None and self.face is not None:
            self.gallery_id = self.face.gallery_id
        super().save(*args, **kwargs)

    def once_more(self, created_by: User | None, **columns: Any) -> Enrolment:
        """An unsaved row that enrols the same picture of the same person again.

        It is a new row because the old one's removal continues: it is unknown whether Vision would
        replace a picture that it still has, or store it twice.
        """
        return Enrolment(
            person_id=self.person_id,
            face_id=self.face_id,
            gallery_id=self.gallery_id,
            source_lost=self.source_lost,
            sha256=self.sha256,
            image=self.image,
            margin=self.margin,
            origin_id=self.origin_id,
            created_by=created_by,
            **columns,
        )
