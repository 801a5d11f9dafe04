"""Long-running jobs (groupings, space jobs), face vectors, and the state of reviewers."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.faces import Face
from persons.models.galleries import Gallery
from persons.models.leased import Leased
from persons.models.spaces import Space
from persons.models.teams import Team, User


class JobState(models.TextChoices):
    """QUEUED -> RUNNING -> DONE | FAILED | QUEUED (interrupted, or after a slice of the work).

    A grouping has one more step: RUNNING -> READY -> QUEUED, once a user confirms that the planned
    people are to be created. Unfinished jobs can become CANCELLED.
    """

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    READY = "ready", "Waiting for your word"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "stopped", "Cancelled"


class Job(Leased):
    """A long-running job. Workers claim it and resume it after an interruption. See JobState."""

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

    class Meta(Leased.Meta):
        abstract = True


class Grouping(Job):
    """A job that groups unknown faces of a gallery or a whole space into people, by similarity.

    QUEUED -> RUNNING -> READY -> QUEUED -> RUNNING -> DONE. `total` and `done` count faces. `plan`
    is a list of lists of face pks; each inner list becomes a person.
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
    """A face's embedding by the embedded recogniser: 128 float32, of unit length."""

    face = models.OneToOneField(Face, on_delete=models.CASCADE, related_name="vector")
    model = models.CharField(max_length=64, help_text="Digest of the weights.")
    vector = models.BinaryField()

    def __str__(self) -> str:
        return f"vector of {self.face}"


class SpaceJobQuerySet(models.QuerySet["SpaceJob"]):
    def under_way(self) -> Self:
        """Unfinished jobs, including cancelled ones that have not been cleaned up yet."""
        return self.filter(
            models.Q(state__in=[JobState.QUEUED, JobState.RUNNING])
            | models.Q(state=JobState.CANCELLED, finished_at=None)
        )

    def propagating(self) -> Self:
        """Unfinished jobs that move faces after people were merged or split."""
        return self.filter(kind=SpaceJob.Kind.PROPAGATE).under_way()

    def people_on_the_way(self) -> set[int]:
        """Pks of people whose faces a merge or split may not have reached yet."""
        reports = self.propagating().values_list("report", flat=True)
        return {pk for report in reports for pk in report["people"]}

    def snapshots(self) -> Self:
        """Complete snapshots, taken or uploaded, whose file exists."""
        kinds = [SpaceJob.Kind.SNAPSHOT, SpaceJob.Kind.UPLOAD]
        return self.filter(kind__in=kinds, state=JobState.DONE).exclude(file="")


class SpaceJob(Job):
    """A long-running job on a space.

    - SNAPSHOT writes a snapshot, UPLOAD checks an uploaded one.
    - TRUNCATE empties the space. It waits for its `snapshot` and fails with it.
    - RESTORE restores the space from `snapshot`.
    - REBUILD resolves all identities again after a threshold changed.
    - PROPAGATE moves the faces of a person with thousands of them after a merge or split.

    `total` and `done` count enrolled pictures; for REBUILD and PROPAGATE, photos. `file` is a
    snapshot's storage key. `position` and `report` hold the progress of the kind's step: see
    `persons.pipeline`.

    QUEUED -> RUNNING -> DONE | FAILED | QUEUED; QUEUED | RUNNING -> CANCELLED. A CANCELLED job gets
    `finished_at` once no worker is on it and its preparations are undone.
    """

    class Kind(models.TextChoices):
        SNAPSHOT = "snapshot", "Snapshot"
        UPLOAD = "upload", "Uploaded snapshot"
        TRUNCATE = "truncate", "Truncate"
        RESTORE = "restore", "Restore"
        REBUILD = "settle", "Thresholds"
        PROPAGATE = "follow", "Faces of merged people"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="space_jobs")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    file = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes.")
    people_count = models.PositiveIntegerField(default=0)
    snapshot = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="restores"
    )
    position = models.PositiveBigIntegerField(default=0, help_text="Progress of the kind's step.")
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
    """Reserves a face for one reviewer until `until`; other reviewers get other faces."""

    face = models.OneToOneField(Face, on_delete=models.CASCADE, related_name="hold")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.user} at {self.face}"


class ReviewPlace(models.Model):
    """Where a user left the review of a team, to continue there."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    query = models.CharField(max_length=500, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "team"], name="one_review_place")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"
