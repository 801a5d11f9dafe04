"""Merging people and splitting one, each behind a preview that says what will happen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_http_methods

from dashboard.middleware import PageRequest
from dashboard.pages import person_faces
from dashboard.pages.cards import cards_of
from dashboard.pages.person import url_of
from dashboard.pages.shared import actor_of, go_back, offer_undo, refuse, signed_in
from persons import metering
from persons.access import hidden_from, person_for
from persons.actions.merging import merge_people, split_person
from persons.actions.naming import with_label
from persons.cloud import is_cloud
from persons.errors import Refused
from persons.models import Face, Person
from persons.models.names import tagged
from persons.previews import MergePreview, Side, merge_preview, split_preview
from persons.settling import roots_of

MOST_MERGED = 100
MOST_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """One of the people on a merge's page. `covers` are of galleries that may be seen.

    `together` counts the photos on which they are with the one who stays.
    """

    person: Person
    stays: bool
    covers: Sequence[Face]
    faces: int
    photos: int | None
    pictures: int
    together: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Consequences:
    """Of merging all of them. `cost` is None where nobody sends a bill."""

    faces: int
    pictures: int
    images: int
    cost: Decimal | None
    refused: bool


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def merge(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    if found.merged_into_id is not None:
        return go_back(request, url_of(found))
    asked = request.POST if request.method == "POST" else request.GET
    leave = asked.get("leave", "")
    numbers = [number for number in asked.getlist("with")[:MOST_MERGED] if number != leave]
    others = _others(found, numbers)
    error = ""
    if label := " ".join(asked.get("label", "").split()):
        picked = _named(found, label)
        if picked is None:
            error = f"Nobody in {found.space.title} is called “{label}”."
        elif picked.pk == found.pk:
            error = f"That is {found.name}. Choose somebody else."
        else:
            others = [*others, picked]
    everybody = {one.pk: one for one in (found, *others)}
    stays = _stays(asked.get("keep", ""), list(everybody.values()))
    if request.method == "POST" and others and not error:
        return _merge(request, stays, [one for one in everybody.values() if one != stays])
    return _merge_page(request, found, stays, list(everybody.values()), error)


def _others(found: Person, numbers: Sequence[str]) -> list[Person]:
    """The people of these numbers, or whom they were merged into, in that order."""
    ids = [int(text) for text in numbers if text.isascii() and text.isdigit() and len(text) < 19]
    people = Person.objects.filter(space=found.space_id, person_id__in=ids)
    by_id = {one.person_id: one.pk for one in people}
    roots = roots_of(by_id.values())
    wanted = [roots[by_id[one]] for one in dict.fromkeys(ids) if one in by_id]
    rows = Person.objects.select_related("space__team").in_bulk(wanted)
    return [rows[pk] for pk in dict.fromkeys(wanted) if pk != found.pk]


def _named(found: Person, label: str) -> Person | None:
    """Whom a typed name or tag means, in the same space."""
    person = with_label(found.space, label)
    if person is None and (person_id := tagged(label)) is not None:
        person = Person.objects.filter(space=found.space_id, person_id=person_id).first()
    if person is None:
        return None
    root = roots_of([person.pk])[person.pk]
    return Person.objects.select_related("space__team").get(pk=root)


def _stays(keep: str, everybody: Sequence[Person]) -> Person:
    """Who the others become: whom the form says, else the one with a name and the most faces."""
    for one in everybody:
        if str(one.person_id) == keep:
            return one
    return max(everybody, key=lambda one: (bool(one.label), one.face_count, -one.pk))


def _merge_page(
    request: HttpRequest, found: Person, stays: Person, everybody: Sequence[Person], error: str
) -> HttpResponse:
    hidden = hidden_from(request.user, found.space.team)
    previews = [merge_preview(one, stays) for one in everybody if one.pk != stays.pk]
    sides = [
        _shown(one.left, hidden, together=one.together, refused=one.refused) for one in previews
    ]
    if previews:
        sides.insert(0, _shown(previews[0].right, hidden, stays=True))
    context = {
        "team": found.space.team,
        "space": found.space,
        "person": found,
        "stays": stays,
        "joining": previews,
        "everybody": everybody,
        "sides": sides,
        "sums": _sums(previews),
        "label_error": error,
        "typed": request.GET.get("label", "") if error else "",
    }
    return render(request, "people/merge.html", context, status=422 if error else 200)


def _shown(
    side: Side,
    hidden: Collection[int],
    *,
    stays: bool = False,
    together: int = 0,
    refused: str = "",
) -> Shown:
    assert side.person is not None
    covers = [face for face in side.covers if face.gallery_id not in hidden]
    return Shown(
        side.person, stays, covers, side.faces, side.photos, side.pictures, together, refused
    )


def _sums(previews: Sequence[MergePreview]) -> Consequences:
    images = sum(one.images_to_send for one in previews)
    return Consequences(
        faces=sum(one.faces for one in previews),
        pictures=sum(one.pictures for one in previews),
        images=images,
        cost=metering.estimate(images) if is_cloud() else None,
        refused=any(one.refused for one in previews),
    )


def _merge(request: HttpRequest, stays: Person, others: Sequence[Person]) -> HttpResponse:
    for one in others:
        name = one.name
        try:
            change = merge_people(actor=actor_of(request), person=one, into=stays)
        except Refused as error:
            return refuse(request, error, url_of(stays))
        offer_undo(request, f"{name} is {stays.name} now.", change)
    return go_back(request, url_of(stays))


# --- Splitting ---


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def split(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """The ticked faces are somebody else's: first a preview, and with `sure` the deed.

    Who comes to this address from elsewhere, with nothing ticked, is led to the person.
    """
    found = person_for(request.user, team, number, person_id, write=True)
    if request.method != "POST":
        return redirect(url_of(found))
    hidden = hidden_from(request.user, found.space.team)
    faces = person_faces.chosen(request, found, hidden)
    label = " ".join(request.POST.get("label", "").split())
    if not faces:
        return refuse(request, Refused("Choose a face first."), url_of(found))
    if "sure" not in request.POST:
        return _split_page(request, found, faces, label, "")
    try:
        change = split_person(actor=actor_of(request), person=found, faces=faces, label=label)
    except Refused as error:
        return _split_page(request, found, faces, label, str(error))
    count = change.face_count
    many = "1 face is" if count == 1 else f"{count} faces are"
    offer_undo(request, f"{many} {change.person.name if change.person else label} now.", change)
    return go_back(request, url_of(found))


def _split_page(
    request: HttpRequest, found: Person, faces: Sequence[Face], label: str, error: str
) -> HttpResponse:
    hidden = hidden_from(request.user, found.space.team)
    target = _named(found, label) if label else None
    if target is not None and target.pk == found.pk:
        error = error or f"That is {found.name} already. Type somebody else's name."
    preview = split_preview(found, faces, label)
    if label and not error:
        error = preview.refused
    (card,) = cards_of([found.pk], hidden)
    context = {
        "team": found.space.team,
        "space": found.space,
        "person": card,
        "target": cards_of([target.pk], hidden)[0] if target else None,
        "faces": faces,
        "shown": faces[:MOST_SHOWN],
        "more": max(0, len(faces) - MOST_SHOWN),
        "label": label,
        "preview": preview,
        "cost": metering.estimate(preview.images_to_send) if is_cloud() else None,
        "error": error,
    }
    return render(request, "people/split.html", context, status=422 if error else 200)


urlpatterns = [
    path("spaces/<int:number>/people/<int:person_id>/merge", merge, name="person_merge"),
    path("spaces/<int:number>/people/<int:person_id>/split", split, name="person_split"),
]
