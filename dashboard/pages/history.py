"""Every call to Vision: the list, and one call with its images and its raw answer."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Q, Sum
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.shared import (
    fragment,
    is_fragment,
    page_by_key,
    page_by_keys,
    signed_in,
)
from persons.access import (
    Right,
    call_for,
    hidden_from,
    rights_of,
    team_for,
)
from persons.discretion import photos_closed_to
from persons.models import (
    ApiKey,
    Call,
    Enrolment,
    Finding,
    Person,
    Photo,
    Recognition,
    Source,
    Space,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.vision.envelope import person_id_of
from persons.vision.limits import SPACES
from persons.vision.types import ImageStatus, Method

PAGE_SIZE = 50
IMAGES_PAGE = 20
MOST_KEYS = 100
"""That the filter offers: the newest. The others' calls are reached from the list of keys."""

SHOWN_ANSWER = 20_000
"""Letters of a raw answer that a page holds; a longer one has an address of its own."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One face of a recorded answer; `person` is None where it is unknown or not to be shown.

    The box is in the sent picture's pixels, and None where the record has none.
    """

    tag: str
    person: Person | None
    similarity: float | None
    confidence: float | None
    box: tuple[int, int, int, int] | None
    """Left, top, width, height."""
    evidence: int | None = None
    """Its position, where there is evidence of it."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """`state` is "done", "failed", "again" (a temporary error), or "none": never answered."""

    recognition: Recognition
    state: str
    person: Person | None
    """Whom a `set` or a `delete` was about."""
    enrolment: int | None
    """Whose picture these bytes are, where it is kept and the reader may see it."""
    photo: Photo | None
    """Where the reader may open it."""
    is_closed: bool
    """It is of a gallery that is closed to the reader: neither name nor faces are told."""
    faces: list[FoundFace]


@signed_in
@require_GET
def history(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team)
    keys = _keys(found, request.GET.get("key", ""))
    chosen = chosen_filters(request.GET, keys)
    calls = Call.objects.filter(_where(chosen), team=found).for_list().select_related("key")
    page = page_by_key(calls, request, PAGE_SIZE)
    context = {
        "team": found,
        "page": page,
        "chosen": chosen,
        "query": urlencode(chosen),
        "is_live": any(call.outcome == Outcome.RUNNING for call in page.rows),
        "methods": [(str(method), str(method)) for method in Method],
        "outcomes": Outcome.choices,
        "sources": Source.choices,
        "spaces": Space.objects.filter(team=found),
        "keys": keys,
        "with_costs": any(call.cost for call in page.rows),
    }
    if is_fragment(request) and request.htmx.target == "calls":
        return fragment(request, "history/_calls.html", context)
    return render(request, "history/list.html", context)


def _keys(team: Team, asked: str) -> list[ApiKey]:
    """What the filter offers, by name; whichever is asked for is among them."""
    theirs = ApiKey.objects.filter(team=team)
    newest = theirs.order_by("-pk").values("pk")[:MOST_KEYS]
    offered = Q(pk__in=list(newest.values_list("pk", flat=True)))
    if asked.isascii() and asked.isdigit() and len(asked) < 19:
        offered |= Q(pk=int(asked))
    return list(theirs.filter(offered).order_by("name", "pk"))


@signed_in
@require_GET
def call(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = call_for(request.user, team, pk)
    may_see = Right.GALLERIES in rights_of(request.user, found.team)
    closed = photos_closed_to(request.user, found) if may_see else frozenset()
    recognitions = Recognition.objects.for_call(found)
    counts = recognitions.aggregate(
        images=Count("pk"), faces=Sum("face_count", filter=~Q(photo__in=closed), default=0)
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
        "asked": pretty(json.dumps(found.meta)),
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
def answer(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """The raw answer alone, laid out to be read. Whatever it is, it is shown as plain text."""
    found = call_for(request.user, team, pk)
    if not found.answer or photos_closed_to(request.user, found):
        raise Http404("There is no such answer.")
    return HttpResponse(
        pretty(found.answer),
        content_type="text/plain; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )


def chosen_filters(asked: QueryDict, keys: Sequence[ApiKey] = ()) -> dict[str, str]:
    """What was asked for, as far as it means anything."""
    known: dict[str, Sequence[str]] = {
        "method": [str(method) for method in Method],
        "outcome": Outcome.values,
        "source": Source.values,
        "space": [str(number) for number in SPACES],
        "key": [str(key.pk) for key in keys],
    }
    return {key: value for key, values in known.items() if (value := asked.get(key, "")) in values}


def pretty(answer: str) -> str:
    """JSON laid out to be read; anything else as it came."""
    try:
        parsed = json.loads(answer)
        return json.dumps(parsed, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return answer


def _where(chosen: Mapping[str, str]) -> Q:
    where = Q()
    for key, value in chosen.items():
        where &= Q(space__number=int(value)) if key == "space" else Q(**{key: value})
    return where


def _people(call: Call, recognitions: Sequence[Recognition]) -> dict[int, Person]:
    """Everybody whom the call names, by person_id."""
    named = {recognition.person_id for recognition in recognitions}
    for recognition in recognitions:
        named |= {person_id_of(str(raw.get("tag"))) for raw in _raw_faces(recognition)}
    wanted = [person_id for person_id in named if person_id is not None]
    people = Person.objects.filter(space=call.space_id, person_id__in=wanted)
    return {person.person_id: person for person in people.select_related("space")}


def _enrolled(user: User, call: Call, recognitions: Sequence[Recognition]) -> dict[str, int]:
    """The enrolment whose kept picture was sent, by the picture's digest."""
    if call.method != Method.SET:
        return {}
    digests = [recognition.sha256 for recognition in recognitions if recognition.sha256]
    rows = Enrolment.objects.filter(person__space=call.space_id, sha256__in=digests)
    rows = rows.outside(hidden_from(user, call.team))
    return dict(rows.exclude(image="").values_list("sha256", "pk"))


def _image_row(
    recognition: Recognition,
    people: Mapping[int, Person],
    enrolled: Mapping[str, int],
    closed: Collection[int],
    findings: Collection[tuple[int, int]],
) -> ImageRow:
    photo = recognition.photo
    is_closed = recognition.photo_id in closed
    asked_for = recognition.person_id
    return ImageRow(
        recognition=recognition,
        state=_state(recognition),
        person=people.get(asked_for) if asked_for is not None else None,
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
    """`persons` as it came: a record may be of any age and any server, so nothing is relied on."""
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
    path("history/", history, name="history"),
    path("history/<int:pk>/", call, name="call"),
    path("history/<int:pk>/answer", answer, name="call_answer"),
]
