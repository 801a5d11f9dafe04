"""Merging people and splitting one, each after a preview of the consequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_http_methods

from dashboard.middleware import PageRequest
from dashboard.pages.people import person_faces
from dashboard.pages.people.cards import cards_of
from dashboard.pages.people.person import url_of
from dashboard.pages.privacy.reasons import asking, look_up, record_lookups
from dashboard.pages.shared import actor_of, go_back, offer_undo, refuse, signed_in
from persons import access
from persons.access import person_for
from persons.actions.merging import merge_people, split_person
from persons.actions.naming import nobody, with_label
from persons.actions.previews import MergePreview, MergeSide, merge_preview, split_preview
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.errors import Refused
from persons.inputs import texts
from persons.inputs.params import Parameters
from persons.models import Face, Person
from persons.models.names import looks_like_tag, tagged

MOST_MERGED = 101
"""People that one merge may join, including the one who stays."""
MOST_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """One of the people on a merge's page. Counts cover only galleries that the reader may see.

    `together` counts the photos that show them with the person who stays.
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
    """The sums over all people who are merged. `cost` is None where recognition is free.

    `refused` is True if any of the merges would be.
    """

    faces: int
    pictures: int
    images: int
    cost: Decimal | None
    refused: bool


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@asking
def merge(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    if found.merged_into_id is not None:
        return go_back(request, url_of(found))
    asked = request.POST if request.method == "POST" else request.GET
    given = Parameters(asked)
    numbers = given.numbers("with", most=MOST_MERGED - 1)
    leave, keep = given.number("leave"), given.number("keep")
    given.demand()
    others = _others(request, found, [number for number in numbers if number != leave])
    error = ""
    if label := texts.line(asked.get("label", "")):
        picked = _named(found, label)
        if picked is None:
            error = str(nobody(found.space, label))
        elif picked.pk == found.pk:
            error = f"That is {found.name}. Choose somebody else."
        else:
            others = [*others, picked]
    everybody = {one.pk: one for one in (found, *others)}
    stays = _stays(keep, list(everybody.values()))
    if request.method == "POST" and others and not error:
        return _merge(request, stays, [one for one in everybody.values() if one != stays])
    return _merge_page(request, found, stays, list(everybody.values()), error)


def _others(request: PageRequest, found: Person, numbers: Sequence[int]) -> list[Person]:
    """The canonical people for these person ids, in that order, without `found`."""
    people = access.people(request.user, found.space.team, write=True)
    named = people.filter(space=found.space_id, person_id__in=numbers)
    by_id = dict(named.values_list("person_id", "canonical"))
    wanted = [by_id[one] for one in numbers if one in by_id]
    rows = people.select_related("space__team").in_bulk(wanted)
    return [rows[pk] for pk in dict.fromkeys(wanted) if pk in rows and pk != found.pk]


def _named(found: Person, label: str) -> Person | None:
    """The canonical person for a typed name or tag in the same space."""
    person = with_label(found.space, label)
    if person is None and (person_id := tagged(label)) is not None:
        people = Person.objects.filter(space=found.space_id, person_id=person_id, erasing=False)
        person = people.first()
    if person is None:
        return None
    return Person.objects.select_related("space__team").get(pk=person.canonical_id)


def _stays(keep: int | None, everybody: Sequence[Person]) -> Person:
    """The person who stays: the form's choice, else a named one with the most faces."""
    for one in everybody:
        if one.person_id == keep:
            return one
    return max(everybody, key=lambda one: (bool(one.label), one.face_count, -one.pk))


def _merge_page(
    request: HttpRequest, found: Person, stays: Person, everybody: Sequence[Person], error: str
) -> HttpResponse:
    reason = look_up(request, found, back=url_of(found), or_all=True)
    record_lookups(request, [one for one in everybody if one.pk != found.pk], reason)
    visible = access.visible(request.user, found.space.team)
    previews = [merge_preview(one, stays, visible) for one in everybody if one.pk != stays.pk]
    sides = [_shown(one.left, together=one.together, refused=one.refused) for one in previews]
    if previews:
        sides.insert(0, _shown(previews[0].right, stays=True))
    context = {
        "team": found.space.team,
        "space": found.space,
        "person": found,
        "stays": stays,
        "joining": previews,
        "everybody": everybody,
        "sides": sides,
        "sums": _sums(previews),
        "has_hidden": not visible.is_everything,
        "label_error": error,
        "typed": request.GET.get("label", "") if error else "",
    }
    return render(request, "people/merge.html", context, status=422 if error else 200)


def _shown(
    side: MergeSide,
    *,
    stays: bool = False,
    together: int = 0,
    refused: str = "",
) -> Shown:
    assert side.person is not None
    return Shown(
        side.person, stays, side.covers, side.faces, side.photos, side.pictures, together, refused
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
@asking
def split(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Move the ticked faces to another person: first a preview, then with `sure` the split.

    A GET, which has no ticked faces, redirects to the person.
    """
    found = person_for(request.user, team, number, person_id, write=True)
    if request.method != "POST":
        return redirect(url_of(found))
    faces = person_faces.chosen(request, found)
    label = texts.line(request.POST.get("label", ""))
    given = Parameters(request.POST)
    is_sure = given.flag("sure")
    given.demand()
    if not faces:
        return refuse(request, Refused("Choose a face first."), url_of(found))
    if not is_sure:
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
    reason = look_up(request, found, back=url_of(found))
    visible = access.visible(request.user, found.space.team)
    target = _named(found, label) if label else None
    record_lookups(request, [target] if target and target.pk != found.pk else [], reason)
    if target is not None and target.pk == found.pk:
        error = error or f"That is {found.name} already. Type somebody else's name."
    elif target is None and looks_like_tag(label):
        error = error or str(nobody(found.space, label))
    preview = split_preview(found, faces, label, visible)
    if label and not error:
        error = preview.refused
    (card,) = cards_of([found.pk], visible)
    context = {
        "team": found.space.team,
        "space": found.space,
        "person": card,
        "target": cards_of([target.pk], visible)[0] if target else None,
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
