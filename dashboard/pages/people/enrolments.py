"""A person's enrolled pictures: the list with their quality, removing one, and trying again."""

from __future__ import annotations

from collections import Counter
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
from persons.access import Visible, enrolment_for
from persons.actions.people import remove_enrolment, retry_enrolment
from persons.actions.previews import rescan_cost
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.errors import Refused
from persons.models import Enrolment, EnrolmentState, Face, Person
from persons.models.enrolments import EnrolmentQuerySet

ENROLMENTS_PAGE = 24

WEAK_SIDE = 60
"""Pixels: the recogniser gets little from a smaller face."""
GOOD_SIDE = 112
"""Pixels: the recogniser uses no more than this."""
BLURRED = 0.4


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a picture serves recognition. `grade` is good, fair or weak.

    `side` (pixels, the shorter side) and `sharpness` (0 to 1) describe the face that it was cut
    from; both are 0 where that face is gone.
    """

    grade: str
    side: int
    sharpness: float
    hints: list[str]


@dataclass(frozen=True, slots=True)
class EnrolmentRow:
    """An enrolment as the list shows it. `quality` is None where nothing is known of it.

    Removing it would set `others` pictures again, at this `cost`; None where that is free.
    """

    enrolment: Enrolment
    quality: Quality | None
    others: int
    cost: Decimal | None


def counts_of(pictures: EnrolmentQuerySet) -> dict[str, int]:
    """Counts by state. `rows` includes removed pictures, `shown` doesn't."""
    by_state = {
        state: Count("pk", filter=Q(state=state)) for state in map(str, EnrolmentState.values)
    }
    counts: dict[str, int] = pictures.aggregate(rows=Count("pk"), **by_state)
    counts["shown"] = counts["rows"] - counts[EnrolmentState.REMOVED]
    return counts


def context_of(request: HttpRequest, person: Person, visible: Visible) -> dict[str, Any]:
    theirs = visible.pictures_of(person)
    page = page_by_key(theirs.for_list(), request, ENROLMENTS_PAGE)
    live = theirs.filter(state__in=EnrolmentState.live())
    pictures = Counter(live.exclude(sha256="").values_list("sha256", flat=True))
    count = live.count()
    cost = metering.estimate(max(0, count - 1)) if is_cloud() else None
    return {
        "page": page,
        "rescan": rescan_cost(person.space),
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
    """Reasons why recognition by this face would be weak; empty for a good face or for None."""
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
