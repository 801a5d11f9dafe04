"""Every call to Vision: the list, and one call with its images and its raw answer."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Q, Sum
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.dateformat import format as formatted
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages import history_chart
from dashboard.pages.filters import Chip
from dashboard.pages.reasons import asking, demand
from dashboard.pages.shared import (
    KeyPage,
    actor_of,
    fragment,
    is_fragment,
    page_by_keys,
    signed_in,
)
from persons.access import (
    Right,
    call_for,
    galleries_seen_by,
    hidden_from,
    rights_of,
    team_for,
)
from persons.actions.records import begin_export, end_export
from persons.discretion import photos_closed_to
from persons.filtering import filters_of
from persons.history_export import Row, as_csv, as_json_lines, rows_of
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
from persons.models.names import found_by_name
from persons.searching import Filters, Search
from persons.vision.envelope import person_id_of
from persons.vision.types import ImageStatus, Method

PAGE_SIZE = 50
IMAGES_PAGE = 20
MOST_KEYS = 100
"""That the filter offers: the newest. The others' calls are reached from the list of keys."""

OFFERED = 12

FORMS = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "jsonl": (as_json_lines, "application/x-ndjson; charset=utf-8"),
}

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
    filters, chosen = filters_of(request.GET.dict(), request.user, found)
    page = _page(request, Search.by(request.user, found, filters))
    context = {
        "team": found,
        "page": page,
        "chosen": chosen,
        "query": urlencode(chosen),
        "is_live": any(call.outcome == Outcome.RUNNING for call in page.rows),
        "with_costs": any(call.cost for call in page.rows),
        "filters": filters,
        "chips": chips_of(filters, chosen),
    }
    if is_fragment(request) and request.htmx.target == "calls":
        return fragment(request, "history/_calls.html", context)
    context |= _offered(request, found, filters)
    if request.GET.get("chart") == "1":
        # Where no script fetches it.
        search = Search.by(request.user, found, filters)
        context |= history_chart.context_of(found, search, chosen)
    return render(request, "history/list.html", context)


def _page(request: PageRequest, search: Search) -> KeyPage[Call]:
    """As `paging.page_by_key`, of calls that are found by other tables' indexes too."""
    before, after = (_key(request.GET.get(name, "")) for name in ("before", "after"))
    if after is not None and before is None:
        pks = search.ids(PAGE_SIZE + 1, after=after)
        shown = pks[:PAGE_SIZE][::-1]
        newer = shown[0] if len(pks) > PAGE_SIZE else None
        older = shown[-1] if shown else None
    else:
        pks = search.ids(PAGE_SIZE + 1, before=before)
        shown = pks[:PAGE_SIZE]
        older = shown[-1] if len(pks) > PAGE_SIZE else None
        newer = shown[0] if before is not None and shown else None
    calls = Call.objects.filter(pk__in=shown).for_list().select_related("key")
    return KeyPage(list(calls) if shown else [], older, newer)


def _key(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _offered(request: PageRequest, team: Team, filters: Filters) -> dict[str, Any]:
    """What there is to choose from."""
    galleries = galleries_seen_by(request.user, team).order_by("-pk")
    members = User.objects.filter(memberships__team=team).order_by("username")
    return {
        "methods": [(str(method), str(method)) for method in Method],
        "outcomes": Outcome.choices,
        "sources": Source.choices,
        "spaces": Space.objects.filter(team=team),
        "keys": _keys(team, filters.key),
        "members": members.only("username", "first_name", "last_name")[:MOST_KEYS],
        "galleries": galleries.only("slug", "name")[:MOST_KEYS],
        "has_more": bool(MORE & filters_on(filters)),
    }


def _keys(team: Team, asked: ApiKey | None) -> list[ApiKey]:
    """What the filter offers, by name; whichever is asked for is among them."""
    theirs = ApiKey.objects.filter(team=team)
    newest = list(theirs.order_by("-pk").values_list("pk", flat=True)[:MOST_KEYS])
    offered = [*newest, asked.pk] if asked else newest
    return list(theirs.filter(pk__in=offered).order_by("name", "pk"))


MORE = frozenset(
    {"q", "method", "source", "actor", "key", "low", "high", "gallery", "address", "request"}
)
"""Filters that the page keeps folded away until one of them is on."""


def filters_on(filters: Filters) -> set[str]:
    on = {
        "q": filters.text,
        "method": filters.method,
        "source": filters.source,
        "actor": filters.actor,
        "key": filters.key,
        "low": filters.low is not None,
        "high": filters.high is not None,
        "gallery": filters.gallery,
        "address": filters.address,
        "request": filters.request,
    }
    return {name for name, value in on.items() if value}


def chips_of(filters: Filters, chosen: Mapping[str, str]) -> list[Chip]:
    """Each filter that is on, in words, with the address of the page without it."""
    words: dict[str, object] = {
        "from": filters.since and f"From {_moment(filters.since)}",
        "to": filters.until and f"To {_moment(filters.until)}",
        "person": filters.person and f"With {filters.person.name}",
        "outcome": filters.outcome and Outcome(filters.outcome).label,
        "space": filters.space and filters.space.title,
        "q": f"Names with “{filters.text}”",
        "method": f"Method {filters.method}",
        "source": filters.source and f"By {str(Source(filters.source).label).lower()}",
        "actor": f"Asked by {filters.actor}",
        "key": filters.key and f"Key {filters.key.name}",
        "low": f"Similarity from {filters.low}",
        "high": f"Similarity to {filters.high}",
        "gallery": f"Gallery {filters.gallery}",
        "address": f"From {filters.address}",
        "request": f"One request, {filters.request[:8]}",
    }
    return [
        Chip(str(words[name]), f"?{urlencode({k: v for k, v in chosen.items() if k != name})}")
        for name in chosen
    ]


def _moment(at: datetime) -> str:
    here = timezone.localtime(at)
    return formatted(here, "j M Y" if here.time() in (time.min, time.max) else "j M Y, H:i")


@signed_in
@require_GET
def names(request: PageRequest, team: str) -> HttpResponse:
    """Who is offered while a name is typed: in all spaces of the team."""
    found = team_for(request.user, team)
    typed = " ".join(request.GET.get("person", "").split())[:100].replace("\0", "")
    spaces = list(Space.objects.filter(team=found).values_list("pk", flat=True))
    people = Person.objects.filter(pk__in=found_by_name(spaces, typed, OFFERED))
    context = {"people": people.select_related("space").order_by("name_key", "pk")}
    return fragment(request, "history/_names.html", context)


@signed_in
@never_cache
@require_GET
@asking
def export(request: PageRequest, team: str, form: str) -> HttpResponseBase:
    """What is filtered, written while it is sent. That it was taken is audited before the first row
    goes out, and how much it was after the last one."""
    found = team_for(request.user, team)
    if form not in FORMS:
        raise Http404("There is no such export.")
    filters, chosen = filters_of(request.GET.dict(), request.user, found)
    reason = demand(request, found, "export", "history")
    actor = actor_of(request)
    begin_export(actor=actor, team=found, what="history", filters=chosen, form=form, reason=reason)
    may_see = Right.GALLERIES in rights_of(request.user, found)
    pages = rows_of(Search.by(request.user, found, filters), may_see=may_see)

    def counted() -> Iterator[bytes]:
        rows, complete = 0, False

        def counting() -> Iterator[list[Row]]:
            nonlocal rows
            for page in pages:
                rows += len(page)
                yield page

        try:
            yield from FORMS[form][0](counting())
            complete = True
        finally:
            end_export(
                actor=actor,
                team=found,
                what="history",
                rows=rows,
                complete=complete,
                reason=reason,
            )

    name = f"{found.slug}-history.{form}"
    headers = {
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(counted(), content_type=FORMS[form][1], headers=headers)


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


def pretty(answer: str) -> str:
    """JSON laid out to be read; anything else as it came."""
    try:
        parsed = json.loads(answer)
        return json.dumps(parsed, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return answer


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
    path("history/names", names, name="history_names"),
    path("history/export.<str:form>", export, name="history_export"),
    path("history/<int:pk>/", call, name="call"),
    path("history/<int:pk>/answer", answer, name="call_answer"),
]
