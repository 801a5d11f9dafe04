"""Spaces, the people in them, and the ledger of what was enrolled."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Coalesce, Lower
from django.utils import timezone

from persons.models.names import KEY_LENGTH, KeyField, NamedQuerySet, NameStart, key_of_name
from persons.models.teams import Team, User
from persons.vision.limits import FACES_PER_SPACE, SPACES

FAR_OUT = 2**48
"""Ids are given in order; one from here on is another program's, and none to go on counting from:
there might be no next one."""


COVER_CANDIDATES = 16


class SpaceQuerySet(models.QuerySet["Space"]):
    def go_on_after(self, person_ids: Iterable[int]) -> None:
        """These ids were given elsewhere: those that are given here come after them."""
        last = max((person_id for person_id in person_ids if person_id < FAR_OUT), default=0)
        self.filter(next_person_id__lte=last).update(next_person_id=last + 1)

    def with_counts(self) -> Self:
        """With `people_count`, `gallery_count`, `enrolled_count` (pictures that Vision has) and
        `waiting_count`."""
        from persons.models.galleries import Gallery

        enrolled = Enrolment.objects.filter(person__space=models.OuterRef("pk"))
        return self.annotate(
            people_count=_counted(
                Person.objects.listed().filter(space=models.OuterRef("pk")), "space"
            ),
            gallery_count=_counted(Gallery.objects.filter(space=models.OuterRef("pk")), "space"),
            enrolled_count=_counted(
                enrolled.filter(state__in=[EnrolmentState.DONE, EnrolmentState.REMOVING]),
                "person__space",
            ),
            waiting_count=_counted(enrolled.filter(state=EnrolmentState.QUEUED), "person__space"),
        )


def _counted(rows: models.QuerySet[Any], by: str) -> Coalesce:
    """How many of `rows`, which refer to the outer row by `by`: a column, not a join."""
    counts = rows.order_by().values(by).annotate(n=models.Count("*")).values("n")
    return Coalesce(models.Subquery(counts), 0)


class Space(models.Model):
    """One of a team's ten sets of enrolled people, numbered as in the Vision API.

    All ten rows are made with the team. `next_person_id` is raised, never lowered, so that an id is
    given once even after its person is gone. `version` moves with every enrolment or removal that
    Vision has confirmed.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="spaces")
    number = models.PositiveSmallIntegerField(validators=[MaxValueValidator(max(SPACES))])
    name = models.CharField(max_length=100, blank=True)
    update_embedding = models.BooleanField(
        default=False,
        help_text="Each recognition of a known person refreshes what Vision knows of them. The "
        "space then drifts away from anything that can be rebuilt.",
    )
    create_new = models.BooleanField(
        default=False, help_text="An unknown face becomes a new, unnamed person of the space."
    )
    show_attributes = models.BooleanField(
        default=False, help_text="Show sex, age and emotion where Vision tells them."
    )
    searcher = models.PositiveSmallIntegerField(
        default=0,
        choices=[(0, "All people (first model)"), (1, "Nearest neighbour (second model)")],
    )
    threshold = models.FloatField(
        default=0.4,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="A match whose similarity is lower leaves the face unknown. 0 to 1.",
    )
    confirm_threshold = models.FloatField(
        default=0.5,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="A match below this is a suggestion that somebody has to confirm. 0 to 1.",
    )
    require_consent = models.BooleanField(
        default=False,
        help_text="Nobody is enrolled or recognised here without a consent that is in force.",
    )
    consents_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until then everybody whom Vision knows has a consent; empty: nobody has looked.",
    )
    consent_changes = models.PositiveBigIntegerField(
        default=0, help_text="Answers of before such a change are not given again."
    )
    version = models.PositiveBigIntegerField(default=0)
    drift = models.PositiveBigIntegerField(
        default=0, help_text="Recognitions that wrote: create_new and update_embedding."
    )
    next_person_id = models.PositiveBigIntegerField(default=1)

    objects = SpaceQuerySet.as_manager()

    CAPACITY = FACES_PER_SPACE

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["team", "number"], name="one_space_a_number"),
        ]

    def __str__(self) -> str:
        return self.name or f"Space {self.number}"

    @property
    def title(self) -> str:
        return f"{self.number} · {self.name}" if self.name else f"Space {self.number}"


class SyncState(models.TextChoices):
    """Whether Vision knows what the ledger says of a person.

    IDLE -> QUEUED -> RUNNING -> IDLE | QUEUED (temporary error, or changed meanwhile)
    """

    IDLE = "idle", "In step"
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being sent"


class PersonQuerySet(NamedQuerySet):
    def named(self) -> Self:
        return self.exclude(label="")

    def unmerged(self) -> Self:
        """Without those who turned out to be somebody else."""
        return self.filter(merged_into=None)

    def listed(self) -> Self:
        """Without groups either whose faces were all given to others: only an undo needs them."""
        emptied = models.Q(label="", grouping__isnull=False, face_count=0)
        return self.unmerged().exclude(emptied)

    def for_list(self, hidden: Collection[int] = ()) -> Self:
        """With cover, photo count and enrolment count, in one query.

        Photos of `hidden` galleries neither count nor give a cover: see `access.hidden_from`.
        """
        photos = (
            _theirs(models.OuterRef("pk"), hidden)
            .order_by()
            .values("person")
            .annotate(n=models.Count("photo", distinct=True))
            .values("n")
        )
        enrolments = (
            Enrolment.objects.filter(person=models.OuterRef("pk"), state__in=EnrolmentState.live())
            .order_by()
            .values("person")
            .annotate(n=models.Count("pk"))
            .values("n")
        )
        return (
            self.filter(erasing=False)
            .with_cover(hidden)
            .annotate(
                photo_count=Coalesce(models.Subquery(photos), 0),
                enrolment_count=Coalesce(models.Subquery(enrolments), 0),
            )
        )

    def with_cover(self, hidden: Collection[int] = ()) -> Self:
        """With `cover_id_or_best`: the chosen face, or the best of their first ones."""
        from persons.models.faces import Face

        # A chosen cover may have turned out to be somebody else's face since.
        chosen = _theirs(models.OuterRef("pk"), hidden).filter(pk=models.OuterRef("cover_id"))
        # Of somebody with 50,000 faces it looks at no more than these.
        first = _theirs(models.OuterRef(models.OuterRef("pk")), hidden).order_by("pk")
        best = Face.objects.filter(pk__in=first.values("pk")[:COVER_CANDIDATES])
        return self.annotate(
            cover_id_or_best=Coalesce(
                models.Subquery(chosen.order_by().values("pk")[:1]),
                models.Subquery(best.order_by("missing", "-quality", "pk").values("pk")[:1]),
            ),
        )


def _theirs(person: models.OuterRef, hidden: Collection[int]) -> models.QuerySet[Any]:
    from persons.models.faces import Face

    return Face.objects.filter(person=person).outside(hidden)


class Person(models.Model):
    """`person_id` in a space, and the team's label for it. On the wire: `person<person_id>`.

    `label` is empty for somebody whom Vision made with `create_new` and nobody has named yet.
    The sync columns are a row of work: one worker at a time brings Vision in step with the ledger.
    """

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="people")
    person_id = models.PositiveBigIntegerField()
    label = models.CharField(max_length=200, blank=True)
    name_key = KeyField(
        max_length=KEY_LENGTH, editable=False, default="", help_text="By which names are sorted."
    )
    cover = models.ForeignKey(
        "persons.Face", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    hidden = models.BooleanField(default=False, help_text="Left out of lists and suggestions.")
    notes = models.TextField(blank=True)
    erasing = models.BooleanField(
        default=False, help_text="Being erased: nobody finds them, and nothing is done for them."
    )
    face_count = models.PositiveIntegerField(
        default=0, help_text="When they were last counted: good for sorting, not for showing."
    )
    merged_into = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="merged",
        help_text="Who this person turned out to be; their faces are that one's while it lasts.",
    )
    grouping = models.ForeignKey(
        "persons.Grouping",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="people",
        help_text="What made this person of unknown faces that look alike.",
    )

    sync_state = models.CharField(
        max_length=8, choices=SyncState.choices, default=SyncState.IDLE, db_index=True
    )
    sync_attempts = models.PositiveSmallIntegerField(default=0)
    sync_after = models.DateTimeField(default=timezone.now)
    sync_error = models.TextField(blank=True)
    sync_by = models.ForeignKey(
        User,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Whose decision the next sync carries out.",
    )
    sync_request_id = models.CharField(max_length=36, blank=True)
    claim = models.CharField(max_length=32, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)

    objects = PersonQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["space", "person_id"], name="one_person_an_id"),
            # Two people who type the same new name at the same instant mean the same person.
            models.UniqueConstraint(
                "space",
                Lower("label"),
                condition=~models.Q(label="") & models.Q(merged_into=None),
                name="one_person_a_label",
                violation_error_message="This space has a person of that name already.",
            ),
        ]
        indexes = [
            models.Index(fields=["space", "name_key", "id"], name="person_by_name"),
            models.Index(fields=["space", "-face_count", "-id"], name="person_by_faces"),
            models.Index(
                fields=["space", "name_key", "id"],
                name="person_hidden",
                condition=models.Q(hidden=True),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        fields = kwargs.get("update_fields")
        is_new = self._state.adding
        if fields is not None and "label" not in fields:
            return super().save(*args, **kwargs)
        if fields is not None:
            kwargs["update_fields"] = [*fields, "name_key"]
        self.name_key = key_of_name(self.label, self.person_id)
        super().save(*args, **kwargs)
        if not is_new:
            NameStart.objects.filter(person=self).delete()
        if starts := NameStart.of(self):
            NameStart.objects.bulk_create(starts)
        return None

    @property
    def name(self) -> str:
        return self.label or f"Unnamed person {self.person_id}"

    @property
    def tag(self) -> str:
        return f"person{self.person_id}"


class EnrolmentState(models.TextChoices):
    """QUEUED -> DONE | FAILED; QUEUED | DONE | FAILED | WAITING -> REMOVING -> REMOVED.

    The API deletes whole people, so a removal deletes the person upstream and sets the rest again:
    their DONE enrolments go back to QUEUED. REMOVED rows stay for the history.

    QUEUED -> WAITING where the space requires a consent that is not there; back once it is. What
    Vision may know already goes the way of a removal, and a row of its own waits with its picture.
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
        """Newest first, with the face that it was cut from."""
        return self.select_related("face__photo__gallery", "created_by").order_by("-pk")

    def outside(self, galleries: Collection[int]) -> Self:
        """Without the pictures cut out of these galleries' photos: see `access.hidden_from`."""
        return self.exclude(face__gallery__in=galleries) if galleries else self


class Enrolment(models.Model):
    """One picture of one person that was `set`.

    `image` names the exact bytes that were sent; a worker cuts them from the photo, so both it and
    `sha256` are empty at first.
    """

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="enrolments")
    face = models.ForeignKey(
        "persons.Face", null=True, blank=True, on_delete=models.SET_NULL, related_name="enrolments"
    )
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

    def once_more(self, created_by: User | None, **columns: Any) -> Enrolment:
        """The same picture of the same person, to be set again with the same bytes; not saved yet.

        A row of its own: the old one's removal goes on, for whether Vision would replace a picture
        that it still has or double it, nobody knows.
        """
        return Enrolment(
            person_id=self.person_id,
            face_id=self.face_id,
            sha256=self.sha256,
            image=self.image,
            margin=self.margin,
            origin_id=self.origin_id,
            created_by=created_by,
            **columns,
        )


class RunQuerySet(models.QuerySet["Run"]):
    def running(self) -> Self:
        """Those in progress, with how many of their photos are `done` and how many are `left`."""
        from persons.models.galleries import Photo

        waiting = Photo.objects.unfinished().filter(run=models.OuterRef("pk"))
        return (
            self.filter(finished_at=None, photo_count__gt=0)
            .select_related("person", "requested_by")
            .annotate(
                left=_counted(waiting, "run"), done=models.F("photo_count") - models.F("left")
            )
        )

    def waiting(self) -> Self:
        """Those that are still to begin: see `persons.pipeline.looking`."""
        return self.filter(finished_at=None, photo_count=0)


class Run(models.Model):
    """A recognition of many photos again, for one reason: a person was enrolled, or somebody asked.

    Progress is read from the photos that carry it; `finished_at` is set by whoever stores the last.
    One without photos has not begun.
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
        from persons.models.galleries import PhotoState

        return self.photos.filter(state__in=PhotoState.unfinished()).count()

    @property
    def found_count(self) -> int:
        """Faces to which this run gave a person."""
        return self.found_faces.filter(person__isnull=False).count()
