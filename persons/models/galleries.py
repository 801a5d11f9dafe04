"""Albums and the photos in them. A photo's row is also its work: see PhotoState."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.spaces import Run, Space
from persons.models.teams import Role, Team, User
from persons.vision.types import Box


class Gallery(models.Model):
    """An album of uploads that is recognised against one space."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="galleries")
    space = models.ForeignKey(Space, on_delete=models.PROTECT, related_name="galleries")
    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=120)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    is_open = models.BooleanField(
        default=True, help_text="Open to the whole team. Off: to owners and its own members alone."
    )

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["team", "slug"], name="one_gallery_a_slug"),
        ]
        verbose_name_plural = "galleries"

    def __str__(self) -> str:
        return self.name


class GalleryMember(models.Model):
    """Somebody of the team to whom a gallery is open that is not open to all of it.

    `role` is editor or viewer, and never more than the team's own role allows.
    """

    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(
        max_length=10,
        choices=[(Role.EDITOR.value, Role.EDITOR.label), (Role.VIEWER.value, Role.VIEWER.label)],
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["gallery", "user"], name="one_gallery_membership"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role}) in {self.gallery}"


class ShareLink(models.Model):
    """A public page of one gallery for whoever has its address. Only the token's hash is kept.

    open -> revoked | expired
    """

    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="share_links")
    token_hash = models.CharField(max_length=64, unique=True)
    hint = models.CharField(
        max_length=8, help_text="The token's last letters, to tell links apart."
    )
    title = models.CharField(max_length=120, blank=True, help_text="For whom it is.")
    password = models.CharField(max_length=128, blank=True, help_text="Hashed; empty: none.")
    show_names = models.BooleanField(default=False)
    show_details = models.BooleanField(
        default=False, help_text="File names, dates, camera; downloads keep all but the place."
    )
    allow_download = models.BooleanField(default=False)
    keep_place = models.BooleanField(default=False, help_text="Downloads keep their GPS position.")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    view_count = models.PositiveIntegerField(default=0)
    last_viewed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"link …{self.hint} to {self.gallery}"

    @property
    def is_usable(self) -> bool:
        return not self.revoked_at and self.expires_at > timezone.now()


class PhotoState(models.TextChoices):
    """NEW -> PREPARING -> QUEUED -> RUNNING -> DONE | FAILED | QUEUED (temporary error).

    DONE | FAILED -> QUEUED when somebody, or a new enrolment, asks for it again.
    """

    NEW = "new", "Uploaded"
    PREPARING = "preparing", "Being prepared"
    QUEUED = "queued", "Waiting for recognition"
    RUNNING = "running", "Being recognised"
    DONE = "done", "Recognised"
    FAILED = "failed", "Failed"

    @classmethod
    def unfinished(cls) -> list[PhotoState]:
        return [cls.NEW, cls.PREPARING, cls.QUEUED, cls.RUNNING]


class PhotoQuerySet(models.QuerySet["Photo"]):
    def for_grid(self) -> Self:
        """Newest upload first."""
        return self.order_by("-pk")

    def unfinished(self) -> Self:
        return self.filter(state__in=PhotoState.unfinished())

    def outside(self, galleries: Collection[int]) -> Self:
        """Without the photos of these galleries: see `access.hidden_from`."""
        return self.exclude(gallery__in=galleries) if galleries else self


class _Untrashed(models.Manager["Photo"]):
    def get_queryset(self) -> PhotoQuerySet:
        return PhotoQuerySet(self.model, using=self._db).filter(trashed_at=None)


class Photo(models.Model):
    """One upload. `width` and `height` are the oriented original's pixels; boxes are in them too.

    `requested` counts how often recognition was asked for; a worker that stores an answer to an
    older request puts the photo back in the queue instead of calling it done.

    What was thrown away stays for the team's `trash_days`: `objects` is without it, `everything` is
    with it. `face_count` and `unknown_count` are kept by `persons.settling`.
    """

    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="photos")
    sha256 = models.CharField(max_length=64)
    original = models.CharField(max_length=200, help_text="Key in the storage.")
    file_name = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    format = models.CharField(max_length=8)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    taken_at = models.DateTimeField(null=True, blank=True)
    notes = models.JSONField(default=list, blank=True)
    uploaded_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    uploaded_at = models.DateTimeField(default=timezone.now, editable=False)
    shown_at = models.DateTimeField(help_text="When it was taken; where nobody knows, uploaded.")
    trashed_at = models.DateTimeField(null=True, blank=True)
    trashed_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    face_count = models.PositiveIntegerField(default=0)
    unknown_count = models.PositiveIntegerField(default=0, help_text="Faces that wait for a name.")

    sent_width = models.PositiveIntegerField(default=0)
    sent_height = models.PositiveIntegerField(default=0)
    sent_size = models.PositiveIntegerField(default=0, help_text="Bytes.")
    sent_sha256 = models.CharField(max_length=64, blank=True)
    prepared_at = models.DateTimeField(null=True, blank=True)

    state = models.CharField(max_length=9, choices=PhotoState.choices, default=PhotoState.NEW)
    error = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    interruptions = models.PositiveSmallIntegerField(
        default=0, help_text="How often a worker died over it."
    )
    after = models.DateTimeField(default=timezone.now, help_text="Not tried again before this.")
    requested = models.PositiveIntegerField(default=1)
    request_id = models.CharField(
        max_length=36, blank=True, help_text="The request that asked for recognition last."
    )
    claim = models.CharField(max_length=32, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    recognised_at = models.DateTimeField(null=True, blank=True)
    run = models.ForeignKey(
        Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="photos"
    )

    objects = _Untrashed.from_queryset(PhotoQuerySet)()
    everything = PhotoQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["gallery", "sha256"], name="one_photo_a_content"),
        ]
        indexes = [
            models.Index(fields=["state", "after"], name="photo_work"),
            models.Index(
                fields=["gallery", "-id"],
                name="photo_grid",
                condition=models.Q(trashed_at=None),
            ),
            models.Index(
                fields=["gallery", "state", "-id"],
                name="photo_unfinished",
                condition=~models.Q(state="done"),
            ),
            models.Index(fields=["gallery", "-shown_at", "-id"], name="photo_grid_by_date"),
            # When a person was first and last seen, of any number of photos.
            models.Index(fields=["id"], include=["shown_at", "gallery"], name="photo_moment"),
            models.Index(
                fields=["gallery", "-shown_at", "-id"],
                name="photo_unknown",
                condition=models.Q(unknown_count__gt=0),
            ),
            models.Index(
                fields=["gallery", "-trashed_at"],
                name="photo_trash",
                condition=models.Q(trashed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.file_name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.shown_at is None:
            self.shown_at = self.taken_at or self.uploaded_at
        super().save(*args, **kwargs)

    @property
    def is_busy(self) -> bool:
        return self.state in PhotoState.unfinished()

    def crop_key(self, box: Box) -> str:
        """Storage key of a face's crop, by content and box: a face that moves gets another picture
        under another name."""
        text = f"{self.sha256}:{self.width}x{self.height}"
        text += f":{box.left},{box.top},{box.right},{box.bottom}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        folder = f"crops/{self.gallery.team_id}/{self.sha256[:2]}/{self.sha256}"
        return f"{folder}/{digest}.webp"

    def key(self, what: str) -> str:
        """Storage key of a rendition ("thumb", "medium", "large") or of the sent copy ("sent")."""
        suffix = "jpg" if what == "sent" else "webp"
        return f"renditions/{self.gallery.team_id}/{self.sha256[:2]}/{self.sha256}/{what}.{suffix}"


class Arrival(models.Model):
    """A file of some sender that is this photo, so that the sender need not send it again.

    Several files may be one photo: same bytes under other names, or from other people.
    """

    photo = models.ForeignKey(Photo, on_delete=models.CASCADE, related_name="arrivals")
    key = models.CharField(max_length=64, help_text="Digest: see `actions.arrivals.SentFile`.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key", "photo"], name="one_arrival_a_file"),
        ]

    def __str__(self) -> str:
        return f"a file that is {self.photo}"
