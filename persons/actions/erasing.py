"""Erasing a person for good. It ends with a certificate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from persons import audit, tasks
from persons.actions.naming import lock_space
from persons.audit import Actor
from persons.errors import Refused
from persons.inputs import texts
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
from persons.pipeline.privacy.erasing.beginning import (
    ErasureRequest,
    begin,
    labels_of,
    photos_alone,
    photos_of,
    shared_with,
)
from persons.pipeline.privacy.erasing.claims import family_of
from persons.pipeline.privacy.erasing.mentions import count_mentions
from persons.pipeline.privacy.erasing.texts import PersonNames
from persons.privacy import holds
from persons.work import Work

REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What an erasure of somebody would erase.

    `mentions` are texts of other things that contain one of the names, and `shared` are other
    people who have one of the pictures; both stay.
    """

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
    """The plan for a canonical person.

    Counts only calls and entries that can be found quickly; the erasure itself goes through all.
    """
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
    return Plan(
        merged=[one for one in people if one.pk != person.pk],
        faces=faces.count(),
        photos=len(photos),
        alone=len(photos_alone(pks)),
        enrolments=enrolments.count(),
        pictures=enrolments.filter(state=EnrolmentState.DONE).count(),
        calls=Call.objects.filter(pk__in=asked.values("call")).count(),
        entries=AuditEntry.objects.filter(targets, team=space.team_id).count(),
        snapshots=snapshots.count(),
        mentions=count_mentions(space, labels, people),
        shared=shared_with(space, pks),
        held=_why_held(person, photos),
    )


def _why_held(person: Person, photos: Collection[int]) -> str:
    """The sentence that refuses the erasure, or "" if nothing is held."""
    try:
        _demand_free(person, photos)
    except Refused as error:
        return str(error)
    return ""


def _demand_free(
    person: Person, photos: Collection[int], *, choice: str = Erasure.Photos.KEEP
) -> None:
    """Raises Refused if there is a legal hold on the person, on a gallery with their faces or, if
    photos are deleted too, on one of those photos for another reason."""
    galleries = Gallery.objects.filter(pk__in=_galleries_of(photos))
    holds.demand_free(person=person)
    for gallery in galleries.order_by("pk"):
        holds.demand_free(gallery=gallery)
    if choice != Erasure.Photos.KEEP:
        holds.demand_free(photos=Photo.everything.filter(pk__in=photos))


def _demand_arrived(person: Person, pks: Sequence[int]) -> None:
    """Raises Refused while a merge still moves faces to or from them: their photos aren't known
    yet."""
    for job in SpaceJob.objects.filter(space=person.space_id).propagating():
        if {job.report["canonical"], *job.report["people"]} & set(pks):
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
    """Begin the erasure; workers finish it. `typed` is the name as typed to confirm; None skips
    that.

    Raises Refused with the reason.
    """
    holds.lock(person.space.team_id)
    space = lock_space(person.space_id)
    found = Person.objects.select_related("space__team").filter(pk=person.pk).first()
    if found is None or found.erasing:
        raise Refused("They are being erased already, or are gone.")
    if found.merged_into_id is not None:
        who = found.canonical.name
        raise Refused(f"{found.name} was merged into {who}. Erase {who}: that erases both.")
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
    request = ErasureRequest(
        person_id=found.person_id,
        ids=[one.person_id for one in people],
        photos=photos,
        asked_by=actor.name,
        reason=reason,
        user=actor.user,
        request_id=actor.request_id,
    )
    erasure = begin(space, people, request)
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
    tasks.enqueue(Work.ERASE)
    return erasure


def _is_meant(person: Person, typed: str) -> bool:
    return texts.folded(typed) == texts.folded(person.name)


def _clean_reason(reason: str, labels: Sequence[str]) -> str:
    """The reason stays in the audit and on the certificate, so it must not contain any of the
    names."""
    reason = texts.line(reason)
    if len(reason) > REASON_LENGTH:
        raise Refused(f"A reason has at most {REASON_LENGTH} characters.")
    if PersonNames(labels).are_in(reason):
        raise Refused("The reason is kept, so it must not name them. Write it without the name.")
    return reason


@transaction.atomic
def retry_erasure(*, actor: Actor, erasure: Erasure) -> Erasure:
    """Retry an erasure that was given up, or run one now that waits for its next attempt."""
    erasure = Erasure.objects.select_for_update(of=("self",)).get(pk=erasure.pk)
    if erasure.state not in (JobState.FAILED, JobState.QUEUED):
        return erasure
    erasure.state, erasure.attempts, erasure.interruptions = JobState.QUEUED, 0, 0
    erasure.after = timezone.now()
    erasure.report = dict(erasure.report) | {"tries": 0}
    erasure.save(update_fields=["state", "attempts", "interruptions", "after", "report"])
    audit.record(actor=actor, team=erasure.team, action="erasure.retry", target=erasure)
    tasks.enqueue(Work.ERASE)
    return erasure
