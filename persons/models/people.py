"""People of a space. Inserts and new labels keep `canonical` and the search keys up to date."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Lower
from django.utils import timezone

from persons.models.enrolments import Enrolment, EnrolmentState
from persons.models.faces import Face
from persons.models.leased import Leased
from persons.models.names import (
    KEY_LENGTH,
    LAST,
    KeyField,
    NameStart,
    fold,
    key_of_name,
    later_starts,
    tagged,
)
from persons.models.teams import User

COVER_CANDIDATES = 16

NOT_YET = 0
"""Placeholder in `canonical` between a person's INSERT and the UPDATE that knows their key.

No person has this key, so the deferred foreign key refuses to commit a row that still has it.
"""


class SyncState(models.TextChoices):
    """Whether Vision matches the ledger for a person.

    IDLE -> QUEUED -> RUNNING -> IDLE | QUEUED (temporary error, or changed meanwhile).
    """

    IDLE = "idle", "In step"
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being sent"


class PersonQuerySet(models.QuerySet["Person"]):
    """Inserts and new labels by these methods also update the columns derived from them."""

    def named(self) -> Self:
        return self.exclude(label="")

    def unmerged(self) -> Self:
        """Canonical people only."""
        return self.filter(merged_into=None)

    def listed(self) -> Self:
        """Unmerged people without emptied groups, which only an undo needs."""
        emptied = Q(label="", grouping__isnull=False, face_count=0)
        return self.unmerged().exclude(emptied)

    def search(self, text: str) -> Self:
        """People with a word in their name that begins with `text`, or whose tag it is.

        Ignores case, accents and punctuation, in any alphabet. Among many people, `found_by_name`
        is faster if it finds few.
        """
        key = fold(text)[:KEY_LENGTH]
        if not key:
            return self
        beginning = NameStart.objects.filter(key__gte=key, key__lt=key + LAST)
        found = Q(name_key__gte=key, name_key__lt=key + LAST)
        found |= Q(Exists(beginning.filter(person=OuterRef("pk"))))
        if (person_id := tagged(text)) is not None:
            found |= Q(person_id=person_id)
        return self.filter(found)

    def for_list(self, hidden: Collection[int] = ()) -> Self:
        """People not being erased, with cover, `photo_count` and `enrolment_count`, in one query.

        Ignores photos of `hidden` galleries and pictures cut from them. See
        `persons.access.readers`.
        """
        photos = (
            _theirs(OuterRef("pk"), hidden)
            .order_by()
            .values("person")
            .annotate(n=models.Count("photo", distinct=True))
            .values("n")
        )
        enrolments = (
            Enrolment.objects.filter(person=OuterRef("pk"), state__in=EnrolmentState.live())
            .outside(hidden)
            .order_by()
            .values("person")
            .annotate(n=models.Count("pk"))
            .values("n")
        )
        return (
            self.filter(erasing=False)
            .with_cover(hidden)
            .annotate(
                photo_count=Coalesce(Subquery(photos), 0),
                enrolment_count=Coalesce(Subquery(enrolments), 0),
            )
        )

    def with_cover(self, hidden: Collection[int] = ()) -> Self:
        """Adds `cover_id_or_best`: the chosen face, or the best of the person's first faces."""
        # The chosen cover may belong to another person by now.
        chosen = _theirs(OuterRef("pk"), hidden).filter(pk=OuterRef("cover_id"))
        # Bounds the work for a person with 50,000 faces.
        first = _theirs(OuterRef(OuterRef("pk")), hidden).order_by("pk")
        best = Face.objects.filter(pk__in=first.values("pk")[:COVER_CANDIDATES])
        return self.annotate(
            cover_id_or_best=Coalesce(
                Subquery(chosen.order_by().values("pk")[:1]),
                Subquery(best.order_by("missing", "-quality", "pk").values("pk")[:1]),
            ),
        )

    def bulk_create(self, objs: Iterable[Person], *args: Any, **options: Any) -> list[Person]:
        """Also sets `canonical`, in the transaction of the INSERT, and the search keys."""
        people = list(objs)
        merged = {person.merged_into_id for person in people if person.merged_into_id}
        known = self.model.objects.filter(pk__in=merged)
        canonical = dict(known.values_list("pk", "canonical")) if merged else {}
        for person in people:
            person.name_key = key_of_name(person.label, person.person_id)
            person.canonical_id = canonical.get(person.merged_into_id or 0, NOT_YET)
        with transaction.atomic(savepoint=False):
            made = super().bulk_create(people, *args, **options)
            _make_canonical(self.model.objects.all())
        for person in made:
            person.canonical_id = person.canonical_id or person.pk
        starts = [start for person in made if person.pk for start in _starts_of(person)]
        NameStart.objects.bulk_create(starts, batch_size=2000)
        return made

    def update(self, **values: Any) -> int:
        if "label" not in values:
            return super().update(**values)
        pks = list(self.values_list("pk", flat=True))
        count = super().update(**values)
        self.model.objects.filter(pk__in=pks).index_names()
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def index_names(self) -> None:
        """Rebuild the search keys of these people. Only needed after writing labels by raw SQL."""
        people = list(self.only("pk", "space_id", "person_id", "label", "name_key"))
        for person in people:
            person.name_key = key_of_name(person.label, person.person_id)
        self.model.objects.bulk_update(people, ["name_key"], batch_size=2000)
        for at in range(0, len(people), 2000):
            some = people[at : at + 2000]
            NameStart.objects.filter(person__in=[person.pk for person in some]).delete()
            NameStart.objects.bulk_create(start for one in some for start in _starts_of(one))


def _theirs(person: OuterRef, hidden: Collection[int]) -> models.QuerySet[Any]:
    return Face.objects.filter(person=person).outside(hidden)


class Person(Leased):
    """One `person_id` of a space, with the team's label. Vision's tag is `person<person_id>`.

    `label` is empty while nobody has named the person, for example one that `create_new` made.
    The row is also a work item: one worker at a time syncs Vision with the ledger (`sync_state`).
    """

    space = models.ForeignKey("persons.Space", on_delete=models.CASCADE, related_name="people")
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
    canonical = models.ForeignKey(
        "self",
        # `merged_into` already protects the canonical person of others.
        on_delete=models.DO_NOTHING,
        editable=False,
        related_name="family",
        help_text="Where `merged_into` leads in the end; who was merged into nobody themselves.",
    )
    grouping = models.ForeignKey(
        "persons.Grouping",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="people",
        help_text="What made this person of unknown faces that look alike.",
    )

    sync_state = models.CharField(max_length=8, choices=SyncState.choices, default=SyncState.IDLE)
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
    identity_due_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since when a worker is to look for faces that a merge left behind.",
    )

    objects = PersonQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["space", "person_id"], name="one_person_an_id"),
            # Two users who type the same new name at once mean the same person.
            models.UniqueConstraint(
                "space",
                Lower("label"),
                condition=~Q(label="") & Q(merged_into=None),
                name="one_person_a_label",
                violation_error_message="This space has a person of that name already.",
            ),
            # Refuses writes of only one of the two columns: `set_merged_into` writes both.
            models.CheckConstraint(
                name="merged_or_canonical",
                condition=Q(merged_into=None) & (Q(canonical=F("id")) | Q(canonical=NOT_YET))
                | Q(merged_into__isnull=False) & ~Q(canonical=F("id")),
            ),
        ]
        indexes = [
            models.Index(fields=["space", "name_key", "id"], name="person_by_name"),
            models.Index(fields=["space", "-face_count", "-id"], name="person_by_faces"),
            models.Index(
                fields=["space", "name_key", "id"],
                name="person_hidden",
                condition=Q(hidden=True),
            ),
            models.Index(fields=["sync_state", "space", "after", "id"], name="person_sync_waiting"),
            models.Index(
                fields=["identity_due_at"],
                name="person_identity_due",
                condition=Q(identity_due_at__isnull=False),
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
        if is_new:
            into = self.merged_into
            self.canonical_id = into.canonical_id if into is not None else NOT_YET
        with transaction.atomic(savepoint=False):
            super().save(*args, **kwargs)
            if is_new and self.canonical_id == NOT_YET:
                _make_canonical(Person.objects.filter(pk=self.pk))
                self.canonical_id = self.pk
            if not is_new:
                NameStart.objects.filter(person=self).delete()
            if starts := _starts_of(self):
                NameStart.objects.bulk_create(starts)
        return None

    @property
    def name(self) -> str:
        return self.label or f"Unnamed person {self.person_id}"

    @property
    def tag(self) -> str:
        return f"person{self.person_id}"


def _make_canonical(people: models.QuerySet[Person]) -> None:
    """Make every just inserted person among `people` their own canonical person."""
    people.filter(canonical=NOT_YET).update(canonical=F("pk"))


def _starts_of(person: Person) -> list[NameStart]:
    """The person's rows of NameStart, unsaved."""
    if not person.label:
        return []
    return [
        NameStart(space_id=person.space_id, person_id=person.pk, key=start)
        for start in later_starts(person.name_key)
    ]


def found_by_name(spaces: Sequence[int], text: str, limit: int) -> list[int]:
    """Pks of at most `limit` people in these spaces whom `text` finds.

    Matches at the beginning of the name come first, then tags, then matches at later words. It
    reads three small index ranges.
    """
    key = fold(text)[:KEY_LENGTH]
    if not key:
        return []
    bounds = Q(space__in=spaces)
    whole = Person.objects.filter(bounds, name_key__gte=key, name_key__lt=key + LAST)
    found = list(whole.order_by("name_key", "pk").values_list("pk", flat=True)[:limit])
    if (person_id := tagged(text)) is not None:
        found += Person.objects.filter(bounds, person_id=person_id).values_list("pk", flat=True)
    if len(found) < limit:
        words = NameStart.objects.filter(bounds, key__gte=key, key__lt=key + LAST)
        found += words.order_by("key", "person").values_list("person", flat=True)[:limit]
    return list(dict.fromkeys(found))[:limit]
