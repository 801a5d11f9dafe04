"""The names that are offered while somebody types one: from indexes, whatever a space's size."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest
from dashboard.pages.cards import cards_of
from dashboard.pages.shared import fragment, signed_in
from persons.access import Right, face_for, hidden_from, space_for
from persons.models import Person, Space
from persons.models.names import found_by_name
from persons.settling import roots_of

OFFERED = 7
LOOKED_AT = 30
"""Found names among which the hidden and the merged are put last."""
TYPED_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Offer:
    """`was` is the name that was found, where its owner was merged into `person` since."""

    person: Any
    was: str = ""


def offers(
    space: Space, typed: str, hidden: Collection[int] = (), but: int | None = None
) -> list[Offer]:
    """Whose name begins so, then who has a later word that does; the newest people for no text.

    The hidden come last. Who was merged leads to whom they are now. `but` is left out, by pk.
    """
    if not typed:
        named = Person.objects.filter(space=space, merged_into=None, hidden=False).named()
        newest = named.order_by("-pk").exclude(pk=but).values_list("pk", flat=True)[:OFFERED]
        return [Offer(person) for person in cards_of(list(newest), hidden)]
    pks = found_by_name([space.pk], typed, LOOKED_AT)
    roots = roots_of(pks)
    old = [pk for pk in pks if roots[pk] != pk]
    was = dict(Person.objects.filter(pk__in=old).values_list("pk", "label")) if old else {}
    # Somebody who is found by the name they have needs no old one.
    turned = {root: was[pk] for pk, root in roots.items() if root != pk and root not in roots}
    wanted = [root for root in dict.fromkeys(roots[pk] for pk in pks) if root != but]
    away = Person.objects.filter(pk__in=wanted).order_by()
    facts = {pk: (gone, label) for pk, gone, label in away.values_list("pk", "hidden", "label")}
    listed = [pk for pk in wanted if pk in facts and facts[pk][1]]
    listed.sort(key=lambda pk: facts[pk][0])
    return [
        Offer(person, turned.get(person.pk, "")) for person in cards_of(listed[:OFFERED], hidden)
    ]


@signed_in
@require_GET
def of_face(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """For a face's own name."""
    face = face_for(request.user, team, pk, write=True)
    return _options(request, face.photo.gallery.space, str(pk))


@signed_in
@require_GET
def of_space(request: PageRequest, team: str, number: int) -> HttpResponse:
    """For a person of a space, but whom `?but=` says."""
    space = space_for(request.user, team, number, right=Right.EDIT)
    return _options(request, space, f"s{number}")


def _options(request: PageRequest, space: Space, field: str) -> HttpResponse:
    typed = " ".join(request.GET.get("label", "").split())[:TYPED_LENGTH].replace("\0", "")
    but = request.GET.get("but", "")
    hidden = hidden_from(request.user, space.team)
    someone = int(but) if but.isascii() and but.isdigit() and len(but) < 19 else None
    context = {
        "team": space.team,
        "offers": offers(space, typed, hidden, but=someone),
        "field": field,
    }
    return fragment(request, "parts/name_options.html", context)


urlpatterns = [
    path("faces/<int:pk>/names", of_face, name="face_names"),
    path("spaces/<int:number>/names", of_space, name="space_names"),
]
