"""Rescans of unknown faces after one person's enrolments changed."""

from __future__ import annotations

from django.db.models import Q

from persons.models import Decision, Face, Person, Photo, PhotoState, Run
from persons.pipeline.recognition.rescan import requeue, set_photo_count


def rescan_for(person: Person, *, found_too: bool) -> Run:
    """Queue every recognised photo of the space with an unknown face again, as one run.

    With `found_too` also photos where only the engine names this person, or anybody merged into
    them: it may have matched a picture that was enrolled by mistake. An unfinished run of the same
    requester is reused.
    """
    canonical = Person.objects.get(family=person.pk)
    run = canonical.runs.filter(
        finished_at=None, requested_by=person.sync_by_id
    ).first() or Run.objects.create(
        space=person.space,
        person=canonical,
        requested_by_id=person.sync_by_id,
        request_id=person.sync_request_id,
        reason=f"Looking for {canonical.name}"[:300],
    )
    faces = Face.objects.filter(missing=False, decision=Decision.NONE)
    wanted = Q(person=None)
    if found_too:
        # As a list: with a subquery inside an OR, PostgreSQL reads all faces.
        family = Person.objects.filter(canonical=canonical).values_list("pk", flat=True)
        wanted |= Q(found_person__in=list(family))
    photos = Photo.objects.filter(
        state__in=[PhotoState.DONE, PhotoState.QUEUED],
        pk__in=faces.filter(wanted, photo__gallery__space=person.space_id).values("photo"),
    )
    run.request_id = person.sync_request_id
    requeue(photos, run)
    set_photo_count(run)
    return run
