"""Erasing a person for good, with a certificate in the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons import audit, holds, tasks
from persons.actions.naming import lock_space
from persons.audit import Actor
from persons.errors import Refused
from persons.models import (
    AuditEntry,
    Call,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    Gallery,
    JobState,
    Person,
    Photo,
    Recognition,
    SpaceJob,
)
from persons.pipeline.erasing.beginning import (
    begin,
    count_mentions,
    labels_of,
    photos_alone,
    photos_of,
    shared_with,
)
from persons.pipeline.erasing.claims import family_of
from persons.pipeline.erasing.texts import Names
from persons.settling import roots_of

REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be erased with somebody. `mentions` are texts of other things that have one of
    the names in them, `shared` others who have one of the pictures; both stay."""

    merged: Sequence[Person]
    faces: int
    photos: int
    alone: int
    enrolments: int
    pictures: int
    calls: int
    entries: int
    snapshots: int
    mentions: int
    shared: Sequence[Person]
    held: str


def plan_of(person: Person) -> Plan:
    """Of somebody who is nobody else's. Calls and entries are those that can be counted quickly:
    the erasure itself looks at all of them."""
    people = family_of([person])
    pks = [one.pk for one in people]
    space = person.space
    labels = labels_of(space, people)
    enrolments = Enrolment.objects.filter(person__in=pks)
    photos = photos_of(pks)
    faces = Face.everything.filter(person__in=pks)
    snapshots = SpaceJob.objects.filter(space=space).exclude(file="")
    asked = Recognition.objects.filter(
        Q(person_id__in=[one.person_id for one in people]) | Q(faces__in=faces.values("pk")),
        call__space=space,
    )
    targets = Q(target_type="person", target_id__in=[str(pk) for pk in pks])
    named = Q(target_text__in=labels) if labels else Q()
    return Plan(
        merged=[one for one in people if one.pk != person.pk],
        faces=faces.count(),
        photos=len(photos),
        alone=len(photos_alone(pks)),
        enrolments=enrolments.count(),
        pictures=enrolments.filter(state=EnrolmentState.DONE).count(),
        calls=Call.objects.filter(pk__in=asked.values("call")).count(),
        entries=AuditEntry.objects.filter(targets | named, team=space.team_id).count(),
        snapshots=snapshots.count(),
        mentions=count_mentions(space, labels, pks),
        shared=shared_with(space, pks),
        held=_why_held(person, photos),
    )


def _why_held(person: Person, photos: Collection[int]) -> str:
    """The sentence that refuses; empty where nothing is held."""
    try:
        _demand_free(person, photos)
    except Refused as error:
        return str(error)
    return ""


def _demand_free(
    person: Person, photos: Collection[int], *, choice: str = Erasure.Photos.KEEP
) -> None:
    """Raises Refused where somebody holds them, a gallery with their faces, or, where photos go
    too, one of those photos for another reason."""
    galleries = Gallery.objects.filter(pk__in=_galleries_of(photos))
    holds.demand_free(person=person)
    for gallery in galleries.order_by("pk"):
        holds.demand_free(gallery=gallery)
    if choice != Erasure.Photos.KEEP:
        holds.demand_free(photos=Photo.everything.filter(pk__in=photos))


def _demand_arrived(person: Person, pks: Sequence[int]) -> None:
    """Raises Refused while faces follow them: which photos they are on can't be said before."""
    for job in SpaceJob.objects.filter(space=person.space_id).following():
        if {job.report["root"], *job.report["people"]} & set(pks):
            raise Refused(
                f"Faces are still on their way to {person.name}, or from them, after a merge or "
                "its undoing. Try again in a moment."
            )


def _galleries_of(photos: Collection[int]) -> set[int]:
    rows = Photo.everything.filter(pk__in=photos).order_by()
    return set(rows.values_list("gallery", flat=True).distinct())


@transaction.atomic
def erase_person(
    *,
    actor: Actor,
    person: Person,
    photos: str = Erasure.Photos.KEEP,
    reason: str = "",
    typed: str | None = None,
) -> Erasure:
    """Begin it; workers go on with it to the end. `typed` is the name as somebody typed it, to say
    whom they mean; None where nobody types."""
    holds.lock(person.space.team_id)
    space = lock_space(person.space_id)
    found = Person.objects.select_related("space__team").filter(pk=person.pk).first()
    if found is None or found.erasing:
        raise Refused("They are being erased already, or are gone.")
    if found.merged_into_id is not None:
        root = Person.objects.get(pk=roots_of([found.pk])[found.pk])
        raise Refused(
            f"{found.name} was merged into {root.name}. Erase {root.name}: that erases both."
        )
    if typed is not None and not _is_meant(found, typed):
        raise Refused(f"Type “{found.name}” to say that this is whom you mean.")
    if photos not in Erasure.Photos.values:
        raise Refused("Say what shall become of the photos.")
    people = family_of([found])
    reason = _clean_reason(reason, labels_of(space, people))
    pks = [one.pk for one in people]
    _demand_arrived(found, pks)
    alone = photos == Erasure.Photos.ALONE
    _demand_free(found, photos_of(pks), choice=Erasure.Photos.KEEP)
    _demand_free(found, photos_alone(pks) if alone else photos_of(pks), choice=photos)
    erasure = begin(
        space=space,
        people=people,
        person_id=found.person_id,
        ids=[one.person_id for one in people],
        photos=photos,
        reason=reason,
        user=actor.user,
        request_id=actor.request_id,
        asked_by=actor.name,
    )
    audit.record(
        actor=actor,
        team=space.team,
        action="person.erase",
        target=erasure,
        after={
            "space": space.number,
            "person_id": found.person_id,
            "reference": erasure.reference,
            "photos": photos,
        },
        reason=reason,
    )
    tasks.ring(tasks.erase_person, erasure.pk)
    return erasure


def _is_meant(person: Person, typed: str) -> bool:
    return " ".join(typed.split()).casefold() == person.name.casefold()


def _clean_reason(reason: str, labels: Sequence[str]) -> str:
    """It stays, in the audit and on the certificate: so it names nobody."""
    reason = " ".join(reason.replace("\0", "").split())
    if len(reason) > REASON_LENGTH:
        raise Refused(f"A reason has at most {REASON_LENGTH} characters.")
    if Names(labels).are_in(reason):
        raise Refused("The reason is kept, so it must not name them. Write it without the name.")
    return reason


@transaction.atomic
def retry_erasure(*, actor: Actor, erasure: Erasure) -> Erasure:
    """Go on with what was given up, or try now what waits for its turn."""
    erasure = Erasure.objects.select_for_update(of=("self",)).get(pk=erasure.pk)
    if erasure.state not in (JobState.FAILED, JobState.QUEUED):
        return erasure
    erasure.state, erasure.attempts = JobState.QUEUED, 0
    erasure.after = timezone.now()
    erasure.report = dict(erasure.report) | {"tries": 0}
    erasure.save(update_fields=["state", "attempts", "after", "report"])
    audit.record(actor=actor, team=erasure.team, action="erasure.retry", target=erasure)
    tasks.ring(tasks.erase_person, erasure.pk)
    return erasure
