"""Galleries and their photos. A photo's row is also its work item: see PhotoState."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from datetime import timezone as dt_timezone
from typing import Any, Self

from django.db import models
from django.utils import timezone

from persons.models.leased import Leased
from persons.models.teams import Role, Team, User
from persons.vision.types import Box


class Gallery(models.Model):
    """An album of photos that are recognised against one space."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="galleries")
    space = models.ForeignKey("persons.Space", on_delete=models.PROTECT, related_name="galleries")
    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=120)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    is_open = models.BooleanField(
        default=True,
        help_text="Visible to the whole team; otherwise to owners and its own members.",
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
    """Gives a team member access to a gallery that is not open to the whole team.

    `role` is editor or viewer. It never grants more than the member's role in the team allows.
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
    """A public page of one gallery for anybody with its address. Only the token's hash is stored.

    OPEN -> REVOKED | EXPIRED
    """

    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="share_links")
    token_hash = models.CharField(max_length=64, unique=True)
    hint = models.CharField(
        max_length=8, help_text="The token's last letters, to tell links apart."
    )
    title = models.CharField(max_length=120, blank=True, help_text="Who the link is for.")
    password = models.CharField(
        max_length=128, blank=True, help_text="Hash; empty for no password."
    )
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
    told_count = models.PositiveIntegerField(
        default=0, help_text="Visits that the audit has recorded."
    )
    told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"link …{self.hint} to {self.gallery}"

    @property
    def is_usable(self) -> bool:
        return not self.revoked_at and self.expires_at > timezone.now()


class PhotoState(models.TextChoices):
    """NEW -> PREPARING -> QUEUED -> RUNNING -> DONE | FAILED | QUEUED (temporary error).

    DONE | FAILED -> QUEUED when a user or a new enrolment requests a rescan.
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

    def waiting(self, state: PhotoState) -> Self:
        """Photos in this state that are due, in the order in which workers claim them.

        Photos on which a worker died come after the others.
        """
        due = self.filter(state=state, after__lte=timezone.now())
        return due.order_by("interruptions", "after", "pk")

    def outside(self, galleries: Collection[int]) -> Self:
        """Without the photos of these galleries: see `persons.access.galleries`."""
        return self.exclude(gallery__in=galleries) if galleries else self


class _Untrashed(models.Manager["Photo"]):
    def get_queryset(self) -> PhotoQuerySet:
        return PhotoQuerySet(self.model, using=self._db).filter(trashed_at=None)


class Photo(Leased):
    """One uploaded photo. `width`, `height` and all boxes are in pixels of the oriented original.

    `requested` counts requests for recognition. A worker that stores the answer to an older request
    sets the photo back to QUEUED instead of DONE.

    Trashed photos are kept for the team's `trash_days`. `objects` excludes them, `everything`
    includes them. `persons.faces.identity` maintains `face_count` and `unknown_count`.
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
    taken_offset = models.SmallIntegerField(
        null=True, blank=True, help_text="UTC offset in minutes where it was taken, if known."
    )
    notes = models.JSONField(default=list, blank=True)
    uploaded_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    uploaded_at = models.DateTimeField(default=timezone.now, editable=False)
    shown_at = models.DateTimeField(
        help_text="The local time when it was taken, read in the site's time zone; if unknown, "
        "the time of the upload."
    )
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
    interruptions = models.PositiveSmallIntegerField(
        default=0, help_text="How many workers died while working on it."
    )
    requested = models.PositiveIntegerField(default=1)
    request_id = models.CharField(
        max_length=36, blank=True, help_text="The request that last asked for recognition."
    )
    recognised_at = models.DateTimeField(null=True, blank=True)
    run = models.ForeignKey(
        "persons.Run", null=True, blank=True, on_delete=models.SET_NULL, related_name="photos"
    )

    objects = _Untrashed.from_queryset(PhotoQuerySet)()
    everything = PhotoQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["gallery", "sha256"], name="one_photo_a_content"),
        ]
        indexes = [
            # Finds a gallery's next photos quickly, however many wait: see `waiting`.
            models.Index(
                fields=["state", "gallery", "interruptions", "after", "id"], name="photo_waiting"
            ),
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
            # When a person was first and last seen, for any number of photos.
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
            self.shown_at = moment_shown(self.taken_at, self.taken_offset) or self.uploaded_at
        super().save(*args, **kwargs)

    @property
    def taken_zone(self) -> str:
        """ "UTC+09:00" if the camera recorded its offset, else ""."""
        if self.taken_offset is None:
            return ""
        hours, minutes = divmod(abs(self.taken_offset), 60)
        return f"UTC{'-' if self.taken_offset < 0 else '+'}{hours:02}:{minutes:02}"

    @property
    def is_busy(self) -> bool:
        return self.state in PhotoState.unfinished()

    def crop_key(self, box: Box) -> str:
        """Storage key of a face's crop. It depends on the photo's content and the box, so a box
        that moves gets a new key.
        """
        text = f"{self.sha256}:{self.width}x{self.height}"
        text += f":{box.left},{box.top},{box.right},{box.bottom}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        folder = f"crops/{self.gallery.team_id}/{self.sha256[:2]}/{self.sha256}"
        return f"{folder}/{digest}.webp"

    def key(self, what: str) -> str:
        """Storage key of a rendition ("thumb", "medium", "large", "full") or the copy that was sent
        to Vision ("sent").
        """
        suffix = "jpg" if what in ("sent", "full") else "webp"
        return f"renditions/{self.gallery.team_id}/{self.sha256[:2]}/{self.sha256}/{what}.{suffix}"


def moment_shown(taken_at: datetime | None, offset: int | None) -> datetime | None:
    """The local wall-clock time at which a photo was taken, read in the site's time zone.

    `offset` is in minutes ahead of UTC. Photos are listed under the local day on which they were
    taken. Photos with and without a known offset sort together, by the time of day. If the time or
    the offset is unknown, the result is `taken_at`.
    """
    if taken_at is None or offset is None:
        return taken_at
    there = taken_at.astimezone(dt_timezone(timedelta(minutes=offset)))
    return timezone.make_aware(there.replace(tzinfo=None))


class Arrival(models.Model):
    """Records that a sender's file is this photo, so that the sender need not upload it again.

    Several files can be one photo: the same bytes under other names or from other senders.
    """

    photo = models.ForeignKey(Photo, on_delete=models.CASCADE, related_name="arrivals")
    key = models.CharField(max_length=64, help_text="Digest: see `actions.upload_dedup.SentFile`.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key", "photo"], name="one_arrival_a_file"),
        ]

    def __str__(self) -> str:
        return f"a file that is {self.photo}"
