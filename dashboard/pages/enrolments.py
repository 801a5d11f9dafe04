"""The pictures of a person that were sent to Vision, how good they are, and taking one back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, go_back, page_by_key, refuse, signed_in
from persons import metering
from persons.access import enrolment_for
from persons.actions.people import remove_enrolment, retry_enrolment
from persons.cloud import is_cloud
from persons.errors import Refused
from persons.models import Enrolment, EnrolmentState, Face, Person
from persons.previews import look_in

ENROLMENTS_PAGE = 24

WEAK_SIDE = 60
"""Pixels: a narrower face tells the recogniser little."""
GOOD_SIDE = 112
"""Pixels: the recogniser looks at no more."""
BLURRED = 0.4


@dataclass(frozen=True, slots=True)
class Quality:
    """What a picture is worth to know somebody by. `grade` is good, fair or weak; `side` and
    `sharpness` (0 to 1) are of the face that it was cut from, 0 where that is gone."""

    grade: str
    side: int
    sharpness: float
    hints: list[str]


@dataclass(frozen=True, slots=True)
class EnrolmentRow:
    """`others` is how many pictures would be set again without this one, and `cost` what the cloud
    would charge for that; None where nobody sends a bill."""

    enrolment: Enrolment
    quality: Quality | None
    others: int
    cost: Decimal | None


def counts_of(person: Person) -> dict[str, int]:
    """Of enrolments by state; `rows` counts those that are gone too, `shown` does not."""
    by_state = {
        state: Count("pk", filter=Q(state=state)) for state in map(str, EnrolmentState.values)
    }
    counts: dict[str, int] = person.enrolments.aggregate(rows=Count("pk"), **by_state)
    counts["shown"] = counts["rows"] - counts[EnrolmentState.REMOVED]
    return counts


def context_of(request: HttpRequest, person: Person, hidden: Collection[int]) -> dict[str, Any]:
    everything = person.enrolments.for_list().outside(hidden)
    page = page_by_key(everything, request, ENROLMENTS_PAGE)
    live = person.enrolments.filter(state__in=EnrolmentState.live())
    pictures = Counter(live.exclude(sha256="").values_list("sha256", flat=True))
    count = live.count()
    cost = metering.estimate(max(0, count - 1)) if is_cloud() else None
    return {
        "page": page,
        "look": look_in(person.space),
        "rows": [_row(enrolment, pictures, count, cost) for enrolment in page.rows],
    }


def _row(
    enrolment: Enrolment, pictures: Counter[str], live: int, cost: Decimal | None
) -> EnrolmentRow:
    is_live = enrolment.state in EnrolmentState.live()
    twice = is_live and pictures[enrolment.sha256] > 1
    others = live - is_live
    return EnrolmentRow(
        enrolment, quality_of(enrolment.face, twice=twice), others, cost if others else None
    )


def quality_of(face: Face | None, *, twice: bool = False) -> Quality | None:
    hints = hints_of(face)
    if twice:
        hints.append("enrolled twice: one of the two teaches nothing")
    if face is None:
        return Quality("weak", 0, 0.0, hints) if hints else None
    side = side_of(face)
    fair = side < GOOD_SIDE or 0 < face.quality < 0.6
    return Quality("weak" if hints else "fair" if fair else "good", side, face.quality, hints)


def hints_of(face: Face | None) -> list[str]:
    """Why this face is a weak one to know somebody by; nothing where it is a good one."""
    if face is None:
        return []
    hints = []
    side = side_of(face)
    if side < WEAK_SIDE:
        hints.append(f"small ({side} pixels)")
    if _below(face.attributes.get("frontality"), 0.3):
        hints.append("turned away")
    if _below(face.attributes.get("visibility"), 0.9):
        hints.append("cut off by the edge")
    if not hints and 0 < face.quality < BLURRED:
        hints.append("blurred or dark")
    return hints


def side_of(face: Face) -> int:
    return min(face.right - face.left, face.bottom - face.top)


def _below(value: object, bar: float) -> bool:
    return isinstance(value, int | float) and value < bar


@signed_in
@require_POST
def remove(request: PageRequest, team: str, pk: int) -> HttpResponse:
    enrolment = enrolment_for(request.user, team, pk, write=True)
    back = _back(enrolment)
    try:
        remove_enrolment(actor=actor_of(request), enrolment=enrolment)
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, "A worker takes that picture back from Vision now.")
    return go_back(request, back)


@signed_in
@require_POST
def retry(request: PageRequest, team: str, pk: int) -> HttpResponse:
    enrolment = enrolment_for(request.user, team, pk, write=True)
    back = _back(enrolment)
    try:
        retry_enrolment(actor=actor_of(request), enrolment=enrolment)
    except Refused as error:
        return refuse(request, error, back)
    messages.success(request, "The picture will be sent again.")
    return go_back(request, back)


def _back(enrolment: Enrolment) -> str:
    space = enrolment.person.space
    address = reverse("person", args=[space.team.slug, space.number, enrolment.person.person_id])
    return f"{address}?view=enrolments"


urlpatterns = [
    path("enrolments/<int:pk>/remove", remove, name="enrolment_remove"),
    path("enrolments/<int:pk>/retry", retry, name="enrolment_retry"),
]
