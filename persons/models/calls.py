"""The history: every request to Vision, by anyone, with one Recognition per image."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.utils import timezone

from persons.models.galleries import Photo
from persons.models.keys import ApiKey
from persons.models.spaces import Space
from persons.models.teams import Team, User


class Source(models.TextChoices):
    """How it came."""

    PAGE = "page", "Page"
    WORKER = "worker", "Worker"
    CLIENT = "client", "Client"
    COMMAND = "command", "Command"


class Outcome(models.TextChoices):
    """RUNNING -> the rest. INTERRUPTED is what a sweep makes of a call whose worker died."""

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
    """Written before anything is sent, so that a call cut off by a crash is in the history too.

    `answer` is the envelope as it came. `actor` asked for the work, also when a worker sent it.
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
        help_text="Digest of all that an image's answer depends on, but the image.",
    )
    image_count = models.PositiveIntegerField(default=0)
    saved_count = models.PositiveIntegerField(
        default=0, help_text="Images answered from what was stored."
    )
    cost = models.DecimalField(max_digits=12, decimal_places=4, default=0)
    space_version = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=11, choices=Outcome.choices, default=Outcome.RUNNING)
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The envelope's.")
    error = models.TextField(blank=True)
    answer = models.TextField(blank=True)

    # What the answer was judged by, as it was then: it cannot be asked for later.
    threshold = models.FloatField(null=True, blank=True)
    confirm_threshold = models.FloatField(null=True, blank=True)
    enrolled_people = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many people the space held then."
    )
    enrolled_pictures = models.PositiveIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    # What the audit's entry of the call says of it: salted digest of the whole record
    # (`persons.chain.records`). A call may end twice, and a part of it may be erased on purpose:
    # each time it gets a new salt and digest, and a new entry.
    salt = models.CharField(max_length=32, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    erased_at = models.DateTimeField(
        null=True, blank=True, help_text="When what was asked and answered was deleted, or a part."
    )

    rows: list[Recognition]
    """Of a call that was begun just now (`persons.calls.begin`): its recognitions, in order."""

    objects = CallQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # A history has no end: whatever it is filtered by is found by index, the rare too.
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
            # Where in the order of ids a time begins and ends; and the chart.
            models.Index(fields=["team", "started_at", "outcome"], name="call_by_time"),
            # All that the metrics add up.
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
    """One image of one call: what was sent, and what came back for it.

    `status` is the wire's: 0 done, 1 permanent error, 2 temporary error; None while running.
    """

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="recognitions")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=300)
    photo = models.ForeignKey(
        Photo, null=True, blank=True, on_delete=models.SET_NULL, related_name="recognitions"
    )
    person_id = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Asked for, in set and delete."
    )
    sha256 = models.CharField(max_length=64, blank=True, help_text="Of the bytes that were sent.")
    image = models.CharField(
        max_length=200, blank=True, help_text="Key in the storage, where a client's is kept."
    )
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
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
        help_text="Its photo's gallery then.",
    )
    request_id = models.CharField(
        max_length=36, blank=True, help_text="Of the request that caused it, where a worker asked."
    )
    erased_at = models.DateTimeField(null=True, blank=True)

    enrolled: tuple[int | None, int | None] = (None, None)
    """Of a stored answer (`statements.stored_results`): people and pictures of the space then."""

    objects = RecognitionQuerySet.as_manager()

    class Meta:
        ordering = ["call", "position"]
        indexes = [
            models.Index(
                fields=["sha256", "-id"],
                name="recognition_again",
                condition=models.Q(status=0) & ~models.Q(sha256=""),
            ),
            # Pictures that were kept: retention asks for those, and for who else names one.
            models.Index(fields=["image"], name="recognition_kept", condition=~models.Q(image="")),
            # What the history is filtered by. A client's recognition is in none of these.
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
    """One face of one answer, as Vision told it and by what it was judged then. Never changed.

    `told_id` is the wire's `person_id`, None for `undefined`; `person` is the row of that id. The
    box is in the sent picture's pixels. `runner_up` is the `person_id` that came second, and
    `matched_sha256` the enrolled picture that came first, where the backend tells: the embedded
    recogniser does, the cloud does not.
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
        help_text='"learned" where it was no picture, but what recognitions taught of the person.',
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
        """Whether it was erased who this was and where: by an erasure, or when history ran out.
        A face that was told as nobody has a box."""
        box = (self.left, self.top, self.right, self.bottom)
        return self.told_id is None and not any(box) and self.call.erased_at is not None

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top
