"""Long work that people start: groups of unknown faces, snapshots and restores. And who reviews."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.faces import Face
from persons.models.galleries import Gallery
from persons.models.spaces import Space
from persons.models.teams import Team, User


class JobState(models.TextChoices):
    """QUEUED -> RUNNING -> DONE | FAILED | QUEUED (cut off); DONE of a grouping's first half is
    READY: somebody has to say that its people shall be made."""

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    READY = "ready", "Waiting for your word"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "stopped", "Cancelled"


class Job(models.Model):
    """A row of long work: claimed by compare-and-swap, resumed where it was cut off."""

    state = models.CharField(max_length=8, choices=JobState.choices, default=JobState.QUEUED)
    requested_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    request_id = models.CharField(max_length=36, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    claim = models.CharField(max_length=32, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Grouping(Job):
    """Unknown faces of a gallery or a whole space, sorted into people by their looks.

    `total` and `done` count faces. `plan` is a list of lists of face pks, each a person to be made.
    """

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="groupings")
    gallery = models.ForeignKey(
        Gallery, null=True, blank=True, on_delete=models.CASCADE, related_name="groupings"
    )
    threshold = models.FloatField(default=0.5)
    plan = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"groups of {self.gallery or self.space}"


class FaceVector(models.Model):
    """A face's embedding by the recogniser that comes with Rollcall: 128 float32, of length 1."""

    face = models.OneToOneField(Face, on_delete=models.CASCADE, related_name="vector")
    model = models.CharField(max_length=64, help_text="Digest of the weights.")
    vector = models.BinaryField()

    def __str__(self) -> str:
        return f"vector of {self.face}"


class SpaceJobQuerySet(models.QuerySet["SpaceJob"]):
    def under_way(self) -> Self:
        """Those that are not over yet; one that was cancelled is over when it has been tidied."""
        return self.filter(
            models.Q(state__in=[JobState.QUEUED, JobState.RUNNING])
            | models.Q(state=JobState.CANCELLED, finished_at=None)
        )

    def following(self) -> Self:
        """Those that take faces along with people who were merged or parted."""
        return self.filter(kind=SpaceJob.Kind.FOLLOW).under_way()

    def people_on_the_way(self) -> set[int]:
        """Whose faces, by the people's pks, may still stand under another name than their own."""
        reports = self.following().values_list("report", flat=True)
        return {pk for report in reports for pk in report["people"]}

    def snapshots(self) -> Self:
        """Whole ones whose file is there."""
        kinds = [SpaceJob.Kind.SNAPSHOT, SpaceJob.Kind.UPLOAD]
        return self.filter(kind__in=kinds, state=JobState.DONE).exclude(file="")


class SpaceJob(Job):
    """Long work on a space: a snapshot of it or the check of an uploaded one, its truncation, its
    restore from a snapshot, working out who everybody is after a threshold was changed, and the
    faces of somebody with thousands of them, who was merged or parted.

    `total` and `done` count enrolled pictures; of a SETTLE and a FOLLOW, photos. `file` is a
    snapshot's key in the storage. `position` and `report` are what the kind's step keeps: see
    `persons.pipeline`.

    A TRUNCATE waits for its `snapshot`, and fails with it. A job that is CANCELLED has
    `finished_at` once nobody works on it any more and what it had prepared is taken back.
    """

    class Kind(models.TextChoices):
        SNAPSHOT = "snapshot", "Snapshot"
        UPLOAD = "upload", "Uploaded snapshot"
        TRUNCATE = "truncate", "Truncate"
        RESTORE = "restore", "Restore"
        SETTLE = "settle", "Thresholds"
        FOLLOW = "follow", "Faces of merged people"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="space_jobs")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    file = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes.")
    people_count = models.PositiveIntegerField(default=0)
    snapshot = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="restores"
    )
    after = models.DateTimeField(default=timezone.now, help_text="Not gone on with before this.")
    position = models.PositiveBigIntegerField(default=0, help_text="How far it has come.")
    report: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)

    objects = SpaceJobQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.get_kind_display().lower()} of {self.space}"

    @property
    def is_under_way(self) -> bool:
        if self.state == JobState.CANCELLED:
            return self.finished_at is None
        return self.state in (JobState.QUEUED, JobState.RUNNING)


class ReviewHold(models.Model):
    """A face that somebody looks at just now: others are given another one meanwhile."""

    face = models.OneToOneField(Face, on_delete=models.CASCADE, related_name="hold")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.user} at {self.face}"


class ReviewPlace(models.Model):
    """Where somebody was in the review when they left."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    query = models.CharField(max_length=500, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "team"], name="one_review_place")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"
