"""One photo's page: its faces, the decisions on them, and the file's metadata."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.grid import asked_of
from dashboard.pages.galleries.sheets import Key, neighbours
from dashboard.pages.photos.naming_progress import naming_progress_of
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    poll_again,
    signed_in,
)
from persons.access import Right, photo_for, rights_in
from persons.actions.photos import recognise_photo_again
from persons.files.storage import stored
from persons.images import CameraFacts
from persons.models import Decision, EnrolmentState, Face, Person, Photo, Recognition, Space
from persons.pictures import camera_facts

CALLS = 10
NOT_ONE_FACE = "only one face"
"""Part of Vision's error to `set` for a picture with no face in it, or with several."""


@dataclass(frozen=True, slots=True)
class FaceRow:
    """A face as the page shows it.

    `kind` is named, recognised, suggested, ignored, erased or unknown. `guess` is whom Vision
    named below the space's threshold; None where that person was rejected.
    """

    number: int
    face: Face
    kind: str
    guess: Person | None = None
    not_them: tuple[Person, ...] = ()
    enrolment_error: str = ""
    needs_consent: bool = False
    """Whether its picture waits for a consent and isn't enrolled until then."""

    @property
    def name(self) -> str:
        return self.face.person.name if self.face.person else ""

    @property
    def label(self) -> str:
        """The text on the face's box."""
        if self.face.person:
            return f"{self.face.person.name}?" if self.kind == "suggested" else self.name
        return {"ignored": "Ignored", "erased": "Erased"}.get(self.kind, "Unknown")


def rows_of(photo: Photo, space: Space) -> list[FaceRow]:
    """Every face of the photo from left to right, in a fixed number of queries."""
    faces = list(
        photo.faces.select_related("person", "decided_by", "drawn_by")
        .prefetch_related("rejections__person", "enrolments")
        .order_by("missing", "left", "top", "pk")
    )
    guesses = _guesses(faces, space)
    return [_row(number, face, guesses) for number, face in enumerate(faces, 1)]


def _row(number: int, face: Face, guesses: dict[str, Person]) -> FaceRow:
    not_them = tuple(rejection.person for rejection in face.rejections.all())
    guess = guesses.get(face.tag)
    errors = (
        enrolment.error
        for enrolment in face.enrolments.all()
        if enrolment.state == "failed" and enrolment.person_id == face.person_id
    )
    return FaceRow(
        number=number,
        face=face,
        kind=_kind(face),
        guess=guess if guess not in not_them else None,
        not_them=not_them,
        enrolment_error=_why_not_enrolled(face, next(errors, "")),
        needs_consent=any(
            enrolment.state == EnrolmentState.WAITING and enrolment.person_id == face.person_id
            for enrolment in face.enrolments.all()
        ),
    )


def _why_not_enrolled(face: Face, error: str) -> str:
    """Why the enrolment failed: advice where a drawn box is the cause, else Vision's error."""
    if not error or not (face.is_drawn and NOT_ONE_FACE in error):
        return f"This face could not be enrolled: {error}" if error else ""
    return (
        "The name stays here, but Vision can't learn from this box: it finds no face in it, or "
        "more than one. Undo the name, take the box away and draw it close around one face."
    )


def _kind(face: Face) -> str:
    if face.decision in (Decision.IGNORED, Decision.ERASED):
        return str(face.decision)
    if face.decision == Decision.NAMED and face.person_id:
        return "named"
    if face.person_id:
        return "suggested" if face.is_suggested else "recognised"
    return "unknown"


def _guesses(faces: Iterable[Face], space: Space) -> dict[str, Person]:
    """The people whom Vision named below the space's threshold, by tag."""
    tags = [re.fullmatch(r"person([0-9]{1,18})", face.tag) for face in faces if not face.person_id]
    ids = {int(tag[1]) for tag in tags if tag}
    found = Person.objects.filter(space=space, person_id__in=ids).named()
    return {person.tag: person for person in found}


# --- The page ---


@signed_in
@require_GET
def photo(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = photo_for(request.user, team, pk)
    gallery = found.gallery
    asked = asked_of(request, gallery)
    newer, older = neighbours(asked, found)
    key = str(Key.of(found, asked.query))
    calls = Recognition.objects.filter(photo=found).select_related("call").order_by("-pk")
    context = parts_of(request, found) | {
        "gallery": gallery,
        "query": asked.query.string,
        "key": key,
        "up": asked.query.with_more(at=key),
        "newer": newer,
        "older": older,
        "recognitions": calls.defer("call__answer", "result")[:CALLS],
    }
    if is_fragment(request):
        return fragment(request, "photos/_viewer.html", context)
    return render(request, "photos/photo.html", context)


@signed_in
@require_GET
def facts(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """The camera's metadata from the original, which is opened only when somebody asks for it."""
    found = photo_for(request.user, team, pk)
    try:
        with stored(found.original) as file:
            camera = camera_facts(file)
    except FileNotFoundError:
        camera = CameraFacts()
    return fragment(request, "photos/_camera.html", {"photo": found, "camera": camera})


@signed_in
@require_GET
def live(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Poll this photo's progress. Its faces and boxes come too if `?seen=` is outdated."""
    found = photo_for(request.user, team, pk)
    context = parts_of(request, found)
    seen, now = request.GET.get("seen", ""), context["seen"]
    moved = seen != now
    context["poll"] = poll_again(request, moved=moved)
    context["moved"] = moved
    context["new_picture"] = seen.partition(".")[0] != now.partition(".")[0]
    return fragment(request, "photos/_live_update.html", context)


def parts_of(request: PageRequest, photo: Photo) -> dict[str, Any]:
    """The context that the page and its live parts share."""
    space = photo.gallery.space
    rows = rows_of(photo, space)
    progress = naming_progress_of(row.face for row in rows)
    return {
        "team": photo.gallery.team,
        "photo": photo,
        "space": space,
        "rows": rows,
        "shown": [row for row in rows if not row.face.missing],
        "missing": [row for row in rows if row.face.missing],
        "unknown_count": sum(row.kind == "unknown" and not row.face.missing for row in rows),
        "progress": progress,
        "is_live": photo.is_busy or any(line.is_busy for line in progress),
        "can_edit": Right.EDIT in rights_in(request.user, photo.gallery),
        "poll": poll_again(request),
        "seen": seen_of(photo, rows),
    }


def seen_of(photo: Photo, rows: Sequence[FaceRow]) -> str:
    """A digest that changes whenever the page's faces, boxes or picture would look different."""
    picture = "ready" if photo.prepared_at else photo.state
    shown = [
        (
            (row.face.pk, row.kind, row.name, row.face.missing),
            (row.enrolment_error, row.needs_consent),
            (row.face.left, row.face.top, row.face.right, row.face.bottom),
            (row.face.similarity, row.face.confidence, row.guess and row.guess.pk),
        )
        for row in rows
    ]
    state = "busy" if photo.is_busy else photo.state
    digest = hashlib.sha256(repr((state, shown)).encode()).hexdigest()
    return f"{picture}.{digest[:16]}"


@signed_in
@require_POST
def recognise(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = photo_for(request.user, team, pk, write=True)
    recognise_photo_again(actor=actor_of(request), photo=found)
    if is_fragment(request):
        found = photo_for(request.user, team, pk)
        context = parts_of(request, found) | {"moved": True}
        return fragment(request, "photos/_live_update.html", context)
    return go_back(request, reverse("photo", args=[team, pk]))


urlpatterns = [
    path("photos/<int:pk>/", photo, name="photo"),
    path("photos/<int:pk>/live", live, name="photo_live"),
    path("photos/<int:pk>/facts", facts, name="photo_facts"),
    path("photos/<int:pk>/recognise", recognise, name="recognise_photo"),
]
