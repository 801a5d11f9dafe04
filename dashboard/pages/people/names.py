"""Name suggestions while somebody types, answered from indexes at any size of a space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.people.cards import cards_of
from dashboard.pages.shared import fragment, signed_in
from persons import access
from persons.access import Right, Visible, face_for, space_for
from persons.inputs import texts
from persons.inputs.params import Parameters
from persons.models import Person, Space
from persons.models.people import found_by_name

OFFERED = 7
READ_COLUMNS = 30
"""Found names that are read, so that hidden people can be sorted last."""
TYPED_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Offer:
    """A suggestion. `was` is the name that was found, if its owner was merged into `person`."""

    person: Any
    was: str = ""


def offers(space: Space, typed: str, visible: Visible, but: int | None = None) -> list[Offer]:
    """Suggestions for a typed text: people whose name starts so, then those with a later word.

    Without a text they are the newest people who have a name. Hidden people come last. Merged
    people are replaced by their canonical person. The person with pk `but` is left out.
    """
    if not typed:
        named = Person.objects.filter(space=space, merged_into=None, hidden=False).named()
        others = named if but is None else named.exclude(pk=but)
        newest = others.order_by("-pk").values_list("pk", flat=True)[:OFFERED]
        return [Offer(person) for person in cards_of(list(newest), visible)]
    pks = found_by_name([space.pk], typed, READ_COLUMNS)
    people = Person.objects.select_related("canonical").in_bulk(pks)
    found = [people[pk] for pk in pks if pk in people]
    # People who are found by their current name need no old one.
    turned = {one.canonical_id: one.label for one in found if one.canonical_id not in people}
    wanted = {one.canonical_id: one.canonical for one in found if one.canonical_id != but}
    listed = [pk for pk, person in wanted.items() if person.label]
    listed.sort(key=lambda pk: wanted[pk].hidden)
    return [
        Offer(person, turned.get(person.pk, "")) for person in cards_of(listed[:OFFERED], visible)
    ]


@signed_in
@require_GET
def of_face(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """Suggestions for a face's name field."""
    face = face_for(request.user, team, pk, write=True)
    return _options(request, face.photo.gallery.space, str(pk))


@signed_in
@require_GET
def of_space(request: PageRequest, team: str, number: int) -> HttpResponse:
    """Suggestions of a space's people, without the one with pk `?but=`."""
    space = space_for(request.user, team, number, right=Right.EDIT)
    return _options(request, space, f"s{number}")


def _options(request: PageRequest, space: Space, field: str) -> HttpResponse:
    typed = texts.line(request.GET.get("label", ""))[:TYPED_LENGTH]
    given = Parameters(request.GET)
    someone = given.number("but")
    given.demand()
    context = {
        "team": space.team,
        "offers": offers(space, typed, access.visible(request.user, space.team), but=someone),
        "field": field,
    }
    return fragment(request, "parts/name_options.html", context)


urlpatterns = [
    path("faces/<int:pk>/names", of_face, name="face_names"),
    path("spaces/<int:number>/names", of_space, name="space_names"),
]
