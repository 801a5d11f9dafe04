"""The history of calls: every request to Vision, with one Recognition per image."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.utils import timezone

from persons.models.galleries import Photo
from persons.models.keys import ApiKey
from persons.models.spaces import Space
from persons.models.teams import Team, User


class Source(models.TextChoices):
    """Where a request or an action came from."""

    PAGE = "page", "Page"
    WORKER = "worker", "Worker"
    CLIENT = "client", "Client"
    COMMAND = "command", "Command"


class Outcome(models.TextChoices):
    """RUNNING -> DONE | PARTIAL | REJECTED | TEMPORARY | UNAVAILABLE | INTERRUPTED.

    The sweeper marks a call whose worker died as INTERRUPTED.
    """

    RUNNING = "running", "Running"
    DONE = "done", "Done"
    PARTIAL = "partial", "Some images failed"
    REJECTED = "rejected", "Rejected"
    TEMPORARY = "temporary", "Temporary error"
    UNAVAILABLE = "unavailable", "Unavailable"
    INTERRUPTED = "interrupted", "Interrupted"


class CallQuerySet(models.QuerySet["Call"]):
    def for_list(self) -> Self:
        return self.select_related("actor", "space").defer("answer").order_by("-pk")


class Call(models.Model):
    """One request to Vision. The row is committed before sending, so a crash leaves it in history.

    `answer` is the response envelope, unchanged. `actor` is the user who asked for the work, even
    if a worker sent the request.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="calls")
    space = models.ForeignKey(
        Space,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="calls",
        db_index=False,
    )
    method = models.CharField(max_length=10)
    source = models.CharField(max_length=8, choices=Source.choices)
    actor = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    actor_text = models.CharField(max_length=200, blank=True)
    key = models.ForeignKey(
        ApiKey,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="calls",
        db_index=False,
    )
    address = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=36, blank=True)
    backend = models.CharField(max_length=20)
    model = models.CharField(max_length=200, blank=True)
    meta = models.JSONField(default=dict)
    question = models.CharField(
        max_length=64,
        blank=True,
        help_text="Digest of everything that an image's answer depends on, except the image.",
    )
    image_count = models.PositiveIntegerField(default=0)
    saved_count = models.PositiveIntegerField(
        default=0, help_text="Images answered from the cache."
    )
    cost = models.DecimalField(max_digits=12, decimal_places=4, default=0)
    space_version = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=11, choices=Outcome.choices, default=Outcome.RUNNING)
    status = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="The envelope's status."
    )
    error = models.TextField(blank=True)
    answer = models.TextField(blank=True)

    # What the answer was judged by at the time; it can't be reconstructed later.
    threshold = models.FloatField(null=True, blank=True)
    confirm_threshold = models.FloatField(null=True, blank=True)
    enrolled_people = models.PositiveIntegerField(
        null=True, blank=True, help_text="Number of people in the space at that time."
    )
    enrolled_pictures = models.PositiveIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    # Salted digest of the whole record (`persons.chain.records`); the call's audit entry holds the
    # same digest. A call can end twice, and parts of it can be redacted. Each time it gets a new
    # salt, a new digest and a new audit entry.
    salt = models.CharField(max_length=32, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    erased_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the request and answer, or a part of them, were deleted.",
    )

    rows: list[Recognition]
    """The call's recognitions, in order. Set only by `persons.calls.log.begin`."""

    objects = CallQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # The history grows without limit, so every filter has an index, rare ones included.
            models.Index(fields=["team", "-id"], name="call_history"),
            models.Index(fields=["team", "method", "-id"], name="call_by_method"),
            models.Index(fields=["team", "outcome", "-id"], name="call_by_outcome"),
            models.Index(fields=["team", "source", "-id"], name="call_by_source"),
            models.Index(fields=["space", "-id"], name="call_by_space"),
            models.Index(fields=["key", "-id"], name="call_by_key"),
            models.Index(
                fields=["actor", "-id"],
                name="call_by_actor",
                condition=models.Q(actor__isnull=False),
            ),
            models.Index(
                fields=["team", "address", "-id"],
                name="call_by_address",
                condition=models.Q(address__isnull=False),
            ),
            models.Index(
                fields=["request_id", "-id"],
                name="call_by_request",
                condition=~models.Q(request_id=""),
            ),
            # Maps a time span to a range of ids; also serves the chart.
            models.Index(fields=["team", "started_at", "outcome"], name="call_by_time"),
            # Covers the sums in the metrics.
            models.Index(
                fields=["method", "outcome", "image_count", "duration_ms"], name="call_sums"
            ),
            models.Index(
                fields=["started_at"],
                name="call_running",
                condition=models.Q(outcome="running"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.pk}"


class RecognitionQuerySet(models.QuerySet["Recognition"]):
    def for_call(self, call: Call) -> Self:
        return self.filter(call=call).select_related("photo__gallery").order_by("position")


class Recognition(models.Model):
    """One image of one call: what was sent, and the result.

    `status` is Vision's: 0 done, 1 permanent error, 2 temporary error; None while running.
    """

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="recognitions")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=300)
    photo = models.ForeignKey(
        Photo, null=True, blank=True, on_delete=models.SET_NULL, related_name="recognitions"
    )
    person_id = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Of the request, in set and delete."
    )
    sha256 = models.CharField(max_length=64, blank=True, help_text="Of the bytes that were sent.")
    image = models.CharField(
        max_length=200, blank=True, help_text="Storage key of a client's picture, if it is kept."
    )
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    own_width = models.PositiveIntegerField(
        default=0,
        help_text="Of the client's picture if a fitted copy of it was sent, otherwise 0.",
    )
    own_height = models.PositiveIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)
    face_count = models.PositiveSmallIntegerField(default=0)
    gallery = models.ForeignKey(
        "persons.Gallery",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text="The gallery of its photo at that time.",
    )
    request_id = models.CharField(
        max_length=36, blank=True, help_text="Of the request that made a worker ask."
    )
    erased_at = models.DateTimeField(null=True, blank=True)

    enrolled: tuple[int | None, int | None] = (None, None)
    """How many people and pictures the space held when a stored answer was given.

    Set only by `persons.calls.statements.stored_results`.
    """

    objects = RecognitionQuerySet.as_manager()

    class Meta:
        ordering = ["call", "position"]
        indexes = [
            models.Index(
                fields=["sha256", "-id"],
                name="recognition_again",
                condition=models.Q(status=0) & ~models.Q(sha256=""),
            ),
            # Kept pictures. Retention looks for them, and for other rows with the same picture.
            models.Index(fields=["image"], name="recognition_kept", condition=~models.Q(image="")),
            # Filters of the history. Recognitions of a client are in none of these indexes.
            models.Index(
                fields=["gallery", "-call"],
                name="recognition_by_gallery",
                condition=models.Q(gallery__isnull=False),
            ),
            models.Index(
                fields=["person_id", "-call"],
                name="recognition_by_person",
                condition=models.Q(person_id__isnull=False),
            ),
            models.Index(
                fields=["request_id", "call"],
                name="recognition_by_request",
                condition=~models.Q(request_id=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.call}"


class Finding(models.Model):
    """One face of one answer, as Vision returned it. Only erasure and retention change it later.

    `told_id` is Vision's `person_id`, None for `undefined`; `person` is the row of that id. The box
    is in pixels of the sent picture. `runner_up` is the `person_id` in second place, and
    `matched_sha256` the enrolled picture in first place. Only the embedded recogniser provides
    these two; the cloud does not.
    """

    team = models.ForeignKey(
        Team, on_delete=models.CASCADE, related_name="findings", db_index=False
    )
    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="findings")
    recognition = models.ForeignKey(
        Recognition, on_delete=models.CASCADE, related_name="findings", db_index=False
    )
    gallery = models.ForeignKey(
        "persons.Gallery",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    position = models.PositiveSmallIntegerField(help_text="Among the faces of the image.")
    told_id = models.PositiveBigIntegerField(null=True, blank=True)
    person = models.ForeignKey(
        "persons.Person",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="findings",
        db_index=False,
    )
    similarity = models.FloatField(default=0.0)
    confidence = models.FloatField(default=0.0)
    left = models.IntegerField(default=0)
    top = models.IntegerField(default=0)
    right = models.IntegerField(default=0)
    bottom = models.IntegerField(default=0)
    runner_up = models.PositiveBigIntegerField(null=True, blank=True)
    runner_up_similarity = models.FloatField(null=True, blank=True)
    matched_sha256 = models.CharField(
        max_length=64,
        blank=True,
        help_text='"learned" if the match came from earlier recognitions, not from a picture.',
    )

    class Meta:
        ordering = ["recognition", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["recognition", "position"], name="one_finding_a_position"
            ),
        ]
        indexes = [
            models.Index(
                fields=["person", "-call", "similarity"],
                name="finding_by_person",
                condition=models.Q(person__isnull=False),
            ),
            models.Index(
                fields=["gallery", "-call"],
                name="finding_by_gallery",
                condition=models.Q(gallery__isnull=False),
            ),
            models.Index(fields=["team", "similarity", "-call"], name="finding_by_similarity"),
        ]

    def __str__(self) -> str:
        return f"face {self.position} of {self.recognition}"

    @property
    def is_redacted(self) -> bool:
        """Whether an erasure or retention removed the identity and the box.

        An unidentified face that was not redacted still has a box.
        """
        box = (self.left, self.top, self.right, self.bottom)
        return self.told_id is None and not any(box) and self.call.erased_at is not None

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top
