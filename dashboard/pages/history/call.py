"""One call to Vision, with its images and raw answer."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, Sum
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.privacy.reasons import asking, open_call
from dashboard.pages.shared import fragment, is_fragment, page_by_keys, signed_in
from persons import access
from persons.access import Right, call_for, rights_of
from persons.access.records import images_closed_to
from persons.models import Call, Enrolment, Finding, Person, Photo, Recognition, User
from persons.models.calls import Outcome
from persons.vision.envelope import person_id_of
from persons.vision.types import ImageStatus, Method

IMAGES_PAGE = 20

SHOWN_ANSWER = 20_000
"""Characters of a raw answer shown on a page; a longer one has its own URL."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One face of a recorded answer; `person` is None if unknown or not visible to the reader.

    The box is in the sent picture's pixels, and None if the record has none.
    """

    tag: str
    person: Person | None
    similarity: float | None
    confidence: float | None
    box: tuple[int, int, int, int] | None
    """Left, top, width, height."""
    evidence: int | None = None
    """Its position, if there is evidence of it."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """`state` is "done", "failed", "again" (a temporary error), or "none": never answered."""

    recognition: Recognition
    state: str
    person: Person | None
    """The person that a `set` or `delete` concerned."""
    enrolment: int | None
    """The enrolment with this picture, if it is kept and visible to the reader."""
    photo: Photo | None
    """The photo, if the reader may open it."""
    is_closed: bool
    """It belongs to a gallery that is closed to the reader, so name and faces are withheld."""
    faces: list[FoundFace]


@signed_in
@require_GET
@asking
def call(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = call_for(request.user, team, pk)
    open_call(request, found)
    may_see = Right.GALLERIES in rights_of(request.user, found.team)
    closed = images_closed_to(request.user, found) if may_see else frozenset()
    recognitions = Recognition.objects.for_call(found)
    counts = recognitions.aggregate(
        images=Count("pk"), faces=Sum("face_count", filter=~Q(pk__in=closed), default=0)
    )
    page = page_by_keys(recognitions, request, IMAGES_PAGE, ("position", "pk"))
    people = _people(found, page.rows) if may_see else {}
    enrolled = _enrolled(request.user, found, page.rows) if may_see else {}
    findings = set(
        Finding.objects.filter(recognition__in=page.rows).values_list("recognition", "position")
    )
    is_long = len(found.answer) > SHOWN_ANSWER
    context = {
        "team": found.team,
        "call": found,
        "may_see": may_see,
        "page": page,
        "images": [_image_row(one, people, enrolled, closed, findings) for one in page.rows],
        "image_count": counts["images"],
        "face_count": counts["faces"],
        "asked": "" if closed else pretty(json.dumps(found.meta)),
        "answer": "" if closed or is_long else pretty(found.answer),
        "long_answer": len(found.answer.encode()) if is_long and not closed else 0,
        "is_closed": bool(closed),
        "is_live": found.outcome == Outcome.RUNNING,
    }
    if is_fragment(request) and request.htmx.target == "call":
        return fragment(request, "history/_call.html", context)
    return render(request, "history/call.html", context)


@signed_in
@require_GET
@asking
def answer(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """The raw answer alone, formatted for reading. It is always served as plain text."""
    found = call_for(request.user, team, pk)
    if not found.answer or images_closed_to(request.user, found):
        raise Http404("There is no such answer.")
    open_call(request, found)
    return HttpResponse(
        pretty(found.answer),
        content_type="text/plain; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )


def pretty(answer: str) -> str:
    """Indented JSON; anything else unchanged."""
    try:
        parsed = json.loads(answer)
        return json.dumps(parsed, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return answer


def _people(call: Call, recognitions: Sequence[Recognition]) -> dict[int, Person]:
    """All people that the call names, by person_id."""
    named = {recognition.person_id for recognition in recognitions}
    for recognition in recognitions:
        named |= {person_id_of(str(raw.get("tag"))) for raw in _raw_faces(recognition)}
    wanted = [person_id for person_id in named if person_id is not None]
    people = Person.objects.filter(space=call.space_id, person_id__in=wanted)
    return {person.person_id: person for person in people.select_related("space")}


def _enrolled(user: User, call: Call, recognitions: Sequence[Recognition]) -> dict[str, int]:
    """By picture digest, the enrolment whose stored picture was sent."""
    if call.method != Method.SET:
        return {}
    digests = [recognition.sha256 for recognition in recognitions if recognition.sha256]
    rows = Enrolment.objects.filter(person__space=call.space_id, sha256__in=digests)
    rows = access.visible(user, call.team).pictures_among(rows)
    return dict(rows.exclude(image="").values_list("sha256", "pk"))


def _image_row(
    recognition: Recognition,
    people: Mapping[int, Person],
    enrolled: Mapping[str, int],
    closed: Collection[int],
    findings: Collection[tuple[int, int]],
) -> ImageRow:
    photo = recognition.photo
    is_closed = recognition.pk in closed
    asked_for = recognition.person_id
    return ImageRow(
        recognition=recognition,
        state=_state(recognition),
        person=people.get(asked_for) if asked_for is not None and not is_closed else None,
        enrolment=enrolled.get(recognition.sha256),
        photo=photo if photo and not photo.trashed_at and not is_closed else None,
        is_closed=is_closed,
        faces=[]
        if is_closed
        else [
            _face(raw, people, position if (recognition.pk, position) in findings else None)
            for position, raw in enumerate(_raw_faces(recognition))
        ],
    )


def _state(recognition: Recognition) -> str:
    match recognition.status:
        case None:
            return "none"
        case ImageStatus.DONE:
            return "done"
        case ImageStatus.TEMPORARY:
            return "again"
        case _:
            return "failed"


def _raw_faces(recognition: Recognition) -> list[Mapping[str, Any]]:
    """`persons` as recorded. A record may come from any version and any server, so nothing is
    assumed."""
    raw = recognition.result.get("persons") if isinstance(recognition.result, dict) else None
    return [face for face in raw if isinstance(face, dict)] if isinstance(raw, list) else []


def _face(raw: Mapping[str, Any], people: Mapping[int, Person], evidence: int | None) -> FoundFace:
    tag = str(raw.get("tag") or "undefined")
    person_id = person_id_of(tag)
    return FoundFace(
        tag=tag,
        person=people.get(person_id) if person_id is not None else None,
        similarity=_number(raw.get("similarity")),
        confidence=_number(raw.get("confidence")),
        box=_box(raw.get("coord", raw.get("coordinate"))),
        evidence=evidence,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _box(value: object) -> tuple[int, int, int, int] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    numbers = [_number(part) for part in value]
    if any(number is None for number in numbers):
        return None
    left, top, right, bottom = (round(number) for number in numbers if number is not None)
    return left, top, max(0, right - left), max(0, bottom - top)


urlpatterns = [
    path("history/<int:pk>/", call, name="call"),
    path("history/<int:pk>/answer", answer, name="call_answer"),
]
