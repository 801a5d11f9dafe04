"""Runs: rescans of many photos for one reason."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.utils import timezone

from persons.models.counting import count_of
from persons.models.galleries import Photo, PhotoState
from persons.models.people import Person
from persons.models.spaces import Space
from persons.models.teams import User


class RunQuerySet(models.QuerySet["Run"]):
    def running(self) -> Self:
        """Runs in progress, with the number of photos that are `done` and `left`."""
        waiting = Photo.objects.unfinished().filter(run=models.OuterRef("pk"))
        return (
            self.filter(finished_at=None, photo_count__gt=0)
            .select_related("person", "requested_by")
            .annotate(
                left=count_of(waiting, "run"), done=models.F("photo_count") - models.F("left")
            )
        )

    def waiting(self) -> Self:
        """Runs that have not begun: see `persons.pipeline.recognition.rescan`."""
        return self.filter(finished_at=None, photo_count=0)


class Run(models.Model):
    """A rescan of many photos for one reason: a person was enrolled, or a user requested it.

    WAITING (`photo_count` is 0) -> RUNNING -> FINISHED (`finished_at`). Progress is computed from
    the photos that refer to the run. The worker that stores the last photo sets `finished_at`.
    """

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="runs")
    person = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.CASCADE, related_name="runs"
    )
    requested_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.CharField(max_length=300)
    request_id = models.CharField(max_length=36, blank=True)
    photo_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.reason

    @property
    def waiting_count(self) -> int:
        return self.photos.filter(state__in=PhotoState.unfinished()).count()

    @property
    def found_count(self) -> int:
        """Number of faces for which this run found a person."""
        return self.found_faces.filter(person__isnull=False).count()
