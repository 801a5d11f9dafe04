"""Everything that is stored about a person, and every recognition that concerned them.

A report is a list of parts. Each part is a query and a function that turns a row into what is
reported. A page shows the newest rows of each part and a file streams all, so neither holds 50,000
faces in memory. People with the same canonical person are included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db.models import CharField, Count, Max, Min, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from persons.backends.cloud import is_cloud
from persons.models import (
    AuditEntry,
    Change,
    Consent,
    Enrolment,
    Face,
    Finding,
    LegalHold,
    Person,
    Recognition,
    Source,
)
from persons.privacy.holds import hold_on_person

Values = dict[str, Any]

CHUNK = 500


@dataclass(frozen=True, slots=True)
class ReportPart:
    """One kind of row in a report, newest first.

    `as_values` turns a row into values, with times as datetimes.
    """

    name: str
    title: str
    rows: QuerySet[Any]
    as_values: Callable[[Any], Values]

    def values(self) -> Iterator[Values]:
        return (self.as_values(row) for row in self.rows.iterator(chunk_size=CHUNK))


@dataclass(frozen=True, slots=True)
class Report:
    """A report about `person`, who is canonical. `family` are the pks of all with that canonical
    person."""

    person: Person
    family: frozenset[int] = field(repr=False)
    head: Values
    parts: list[ReportPart]


def report_on(person: Person) -> Report:
    if person.merged_into_id is not None:
        person = Person.objects.select_related("space__team").get(pk=person.canonical_id)
    family = frozenset(Person.objects.filter(canonical=person).values_list("pk", flat=True))
    return Report(person, family, _head(person, family), _parts(person, family))


# --- The head ---


def _head(person: Person, family: frozenset[int]) -> Values:
    space = person.space
    team = space.team
    rows = Person.objects.filter(pk__in=family).exclude(pk=person.pk)
    hold = hold_on_person(person)
    return {
        "made_at": timezone.now(),
        "team": {"name": team.name, "slug": team.slug},
        "space": {
            "number": space.number,
            "name": space.name,
            "requires_consent": space.require_consent,
        },
        "person": {
            "id": person.person_id,
            "tag": person.tag,
            "name": person.label,
            "names_before": _names_before(person, family),
            "notes": person.notes,
            "hidden": person.hidden,
            "since": person.created_at,
            "made_by": str(person.created_by) if person.created_by else "",
            "merged": [
                {"id": pid, "name": label}
                for pid, label in rows.order_by("person_id").values_list("person_id", "label")
            ],
        },
        "legal_hold": hold.reason if hold else "",
        "kept_for_days": {
            "pictures of clients": team.probe_days,
            "looks of faces without a name": team.unknown_days,
            "questions and answers": team.history_days,
            "trash": team.trash_days,
        },
        "stored_in": _places(),
        "told_to": _recipients(family),
    }


def _names_before(person: Person, family: frozenset[int]) -> list[str]:
    """Former names that the audit still holds, oldest first."""
    entries = about(person, family).filter(action="person.rename").order_by("pk")
    labels = [before.get("label", "") for before in entries.values_list("before", flat=True)]
    return [label for label in dict.fromkeys(labels) if label and label != person.label]


def _places() -> Values:
    own = isinstance(default_storage, FileSystemStorage)
    return {
        "names, faces, decisions, records": "the database of this installation",
        "photos, crops, enrolled pictures": "files of this installation"
        if own
        else "the object storage of this installation",
        "what recognises them": f"Vision at {urlsplit(settings.VISION_URL).hostname}"
        if is_cloud()
        else "Rollcall's own recogniser, in the database of this installation",
    }


def _recipients(family: frozenset[int]) -> list[Values]:
    """Who received answers that named them: how, how often, first and last time."""
    named = Finding.objects.filter(person__in=family).order_by()
    rows = (
        named.values("call__source", "call__key__name", "call__actor_text")
        .annotate(times=Count("pk"), first=Min("call__started_at"), last=Max("call__started_at"))
        .order_by("-times")
    )
    return [
        {
            "how": Source(row["call__source"]).label,
            "key": row["call__key__name"] or "",
            "who": row["call__actor_text"],
            "times": row["times"],
            "first": row["first"],
            "last": row["last"],
        }
        for row in rows
    ]


# --- The parts ---


def _parts(person: Person, family: frozenset[int]) -> list[ReportPart]:
    enrolments = Enrolment.objects.filter(person__in=family).select_related(
        "created_by", "face__photo__gallery", "call"
    )
    faces = Face.everything.filter(person__in=family).select_related(
        "photo__gallery__team", "decided_by", "decided_person"
    )
    changes = Change.objects.filter(Q(person__in=family) | Q(other__in=family)).select_related(
        "actor", "undone_by", "person", "other"
    )
    findings = Finding.objects.filter(person__in=family).select_related(
        "call__key", "recognition__photo__gallery"
    )
    consents = Consent.objects.filter(person__in=family).select_related(
        "recorded_by", "withdrawn_by"
    )
    holds = LegalHold.objects.filter(person__in=family).select_related("created_by", "released_by")
    return [
        ReportPart("consents", "Consents", consents.order_by("-pk"), _consent),
        ReportPart("holds", "Legal holds", holds.order_by("-pk"), _hold),
        ReportPart("enrolments", "Enrolled pictures", enrolments.order_by("-pk"), _enrolment),
        ReportPart("faces", "Faces on photos", faces.order_by("-pk"), _face),
        ReportPart("decisions", "What people decided", changes.order_by("-pk"), _change),
        ReportPart(
            "recognitions", "Recognitions that named them", findings.order_by("-pk"), _finding
        ),
        ReportPart("earlier", "Earlier recognitions", _earlier(person, family), _recognition),
        ReportPart("requests", "Requests about them", _requests(person, family), _recognition),
        ReportPart("audit", "In the audit log", about(person, family).order_by("-pk"), _entry),
    ]


def about(person: Person, family: frozenset[int]) -> QuerySet[AuditEntry]:
    """Audit entries whose target is one of these people, their enrolled pictures or their faces."""
    pictures = Enrolment.objects.filter(person__in=family).values(key=Cast("pk", CharField()))
    faces = Face.everything.filter(person__in=family).values(key=Cast("pk", CharField()))
    return AuditEntry.objects.filter(
        Q(target_type="person", target_id__in=[str(pk) for pk in family])
        | Q(target_type="enrolment", target_id__in=pictures)
        | Q(target_type="face", target_id__in=faces),
        team=person.space.team_id,
    )


def _ids(family: frozenset[int]) -> list[int]:
    return list(Person.objects.filter(pk__in=family).values_list("person_id", flat=True))


def _earlier(person: Person, family: frozenset[int]) -> QuerySet[Recognition]:
    """Answers from before findings were stored, found by the text of their results."""
    first = Finding.objects.filter(team=person.space.team_id).order_by("pk").first()
    named = Q(pk__in=[])
    for person_id in _ids(family):
        named |= Q(text__contains=f'"person{person_id}"')
    rows = Recognition.objects.filter(call__space=person.space_id, call__method="recognize")
    if first is not None:
        rows = rows.filter(pk__lt=first.recognition_id)
    rows = rows.alias(text=Cast("result", TextField())).filter(named)
    return rows.select_related("call__key", "photo__gallery").order_by("-pk")


def _requests(person: Person, family: frozenset[int]) -> QuerySet[Recognition]:
    """Requests by clients and workers to enrol or delete them."""
    rows = Recognition.objects.filter(call__space=person.space_id, person_id__in=_ids(family))
    return rows.select_related("call__key", "photo__gallery").order_by("-pk")


def _consent(row: Consent) -> Values:
    return {
        "to": row.purpose,
        "document": row.document,
        "given": row.given_at,
        "until": row.until,
        "recorded_by": _who(row.recorded_by),
        "recorded": row.created_at,
        "withdrawn": row.withdrawn_at,
        "in_force": row.is_in_force,
    }


def _hold(row: LegalHold) -> Values:
    return {
        "reason": row.reason,
        "set": row.created_at,
        "set_by": _who(row.created_by),
        "released": row.released_at,
        "released_by": _who(row.released_by),
    }


def _enrolment(row: Enrolment) -> Values:
    face = row.face
    return {
        "number": row.pk,
        "state": row.get_state_display(),
        "sha256": row.sha256,
        "stored_as": row.image,
        "from_photo": face.photo.file_name if face else "",
        "made": row.created_at,
        "made_by": _who(row.created_by),
        "enrolled": row.done_at,
        "at": row.call.backend if row.call else "",
    }


def _face(row: Face) -> Values:
    photo = row.photo
    return {
        "number": row.pk,
        "photo": photo.file_name,
        "photo_sha256": photo.sha256,
        "stored_as": photo.original,
        "gallery": photo.gallery.name,
        "taken": photo.taken_at,
        "taken_zone": photo.taken_zone,
        "uploaded": photo.uploaded_at,
        "in_trash": row.trashed,
        "box": [row.left, row.top, row.right, row.bottom],
        "similarity": row.similarity,
        "attributes": row.attributes,
        "decision": row.decision,
        "decided_by": _who(row.decided_by),
        "decided": row.decided_at,
    }


def _change(row: Change) -> Values:
    return {
        "what": row.get_kind_display(),
        "faces": row.face_count,
        "by": _who(row.actor),
        "when": row.created_at,
        "undone": row.undone_at,
        "undone_by": _who(row.undone_by),
    }


def _finding(row: Finding) -> Values:
    return _asked(row.recognition) | {
        "face": row.position + 1,
        "similarity": row.similarity,
        "threshold": row.call.threshold,
        "told_as": f"person{row.told_id}" if row.told_id is not None else "",
    }


def _recognition(row: Recognition) -> Values:
    return _asked(row) | {"status": row.status, "error": row.error}


def _asked(row: Recognition) -> Values:
    call = row.call
    return {
        "call": call.pk,
        "when": call.started_at,
        "method": call.method,
        "how": call.get_source_display(),
        "who": call.actor_text,
        "key": call.key.name if call.key else "",
        "address": call.address or "",
        "reason": call.reason,
        "at": call.backend,
        "model": call.model,
        "picture": row.name,
        "sha256": row.sha256,
        "gallery": row.photo.gallery.name if row.photo else "",
    }


def _entry(row: AuditEntry) -> Values:
    return {
        "number": row.pk,
        "when": row.at,
        "what": row.action,
        "by": row.actor_text,
        "how": row.get_source_display(),
        "address": row.address or "",
        "about": row.target_text,
        "before": row.before,
        "after": row.after,
        "reason": row.reason,
    }


def _who(user: Any) -> str:
    return str(user) if user is not None else ""
