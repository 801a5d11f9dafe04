"""Groups of similar unknown faces: start a grouping, preview it, make it, decide on its groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Exists, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.paging import page_by_keys
from dashboard.pages.privacy.reasons import asking, look_up
from dashboard.pages.review.bulk_review import SUREST_FIRST, ticked, token_of, undoable
from dashboard.pages.review.groupings import CROPS
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons import access
from persons.access import Right, Visible, person_for, rights_of, team_for
from persons.actions.faces import ignore_faces, reject_faces
from persons.actions.groups import UNDER_WAY
from persons.actions.people import merge_people
from persons.actions.review import name_group, take_out
from persons.errors import Refused
from persons.faces.review_queue import MOST_COUNTED, best_faces, count_all
from persons.inputs.params import Parameters, pair
from persons.models import Change, Face, JobState, Person, Space

GROUPS = 24
LARGEST_FIRST = ("-face_count", "-pk")
"""By the stored `face_count`, which may lag."""
FACES = 120
OFFERED = 40
"""Newest galleries that are offered for grouping. Spaces are offered regardless of this."""


# --- The groups ---


@dataclass(frozen=True, slots=True)
class Group:
    person: Person
    count: int
    crops: Sequence[Face]


@signed_in
@require_safe
def groups(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.GALLERIES)
    can_edit = Right.EDIT in rights_of(request.user, found)
    visible = access.visible_to_decide(request.user, found)
    spaces = list(Space.objects.filter(team=found))
    page = page_by_keys(_unnamed(spaces, visible), request, GROUPS, LARGEST_FIRST)
    context = {
        "team": found,
        "groups": _with_crops(page.rows, visible),
        "next": page.older,
        "is_first": not request.GET.get("before"),
        "groupings": visible.groupings()
        .filter(state__in=[*UNDER_WAY, JobState.READY])
        .select_related("space", "gallery"),
        "scopes": scopes_of(spaces, visible),
        "chosen": request.GET.get("of", ""),
        "can_edit": can_edit,
        "undoable": undoable(request, found),
    }
    return render(request, "review/groups/list.html", context)


def _unnamed(spaces: Sequence[Space], visible: Visible) -> QuerySet[Any]:
    """Groups without a name. `count` is the number of visible faces in each."""
    inside = visible.faces_of(OuterRef("pk")).grouped()
    counted = inside.order_by().values("person").annotate(n=Count("pk")).values("n")
    people: QuerySet[Any] = (
        Person.objects.filter(
            Exists(inside),
            space__in=spaces,
            grouping__isnull=False,
            label="",
            merged_into=None,
        )
        .select_related("space")
        .annotate(count=Coalesce(Subquery(counted, output_field=IntegerField()), 0))
    )
    return people


def _with_crops(people: Sequence[Any], visible: Visible) -> list[Group]:
    """The groups, each with up to CROPS of its faces."""
    crops = best_faces([person.pk for person in people], most=CROPS, visible=visible)
    return [Group(person, person.count, crops[person.pk]) for person in people]


@dataclass(frozen=True, slots=True)
class GroupingScope:
    """A gallery or space that can be grouped. `unknown` is capped at MOST_COUNTED."""

    value: str
    label: str
    unknown: int

    @property
    def text(self) -> str:
        many = self.unknown >= MOST_COUNTED
        return f"{MOST_COUNTED:,}+" if many else f"{self.unknown:,}"


def scopes_of(spaces: Sequence[Space], visible: Visible) -> list[GroupingScope]:
    """The spaces and newest galleries that have at least two unknown faces."""
    galleries = list(visible.galleries().order_by("-created_at")[:OFFERED])
    lists = [Face.objects.unknown().filter(space=space) for space in spaces]
    lists += [Face.objects.unknown().filter(gallery=gallery) for gallery in galleries]
    counts = count_all([faces.order_by("-pk") for faces in lists])
    names = [(f"s:{space.number}", f"Space {space.title}") for space in spaces]
    names = [(value, label.replace("Space Space", "Space")) for value, label in names]
    names += [(f"g:{gallery.slug}", gallery.name) for gallery in galleries]
    return [
        GroupingScope(value, label, count)
        for (value, label), count in zip(names, counts, strict=True)
        if count > 1
    ]


# --- One group ---


def group_for(
    request: PageRequest, team: str, number: int, person_id: int, *, write: bool = False
) -> Person:
    found = person_for(request.user, team, number, person_id, write=write)
    if found.grouping_id is None:
        raise Http404("That person is no group.")
    return found


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@asking
def group(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    write = request.method == "POST"
    found = group_for(request, team, number, person_id, write=write)
    if write:
        return _decide(request, found)
    if found.label:
        look_up(request, found, or_all=True)
    can_edit = Right.EDIT in rights_of(request.user, found.space.team)
    visible = access.visible_to_decide(request.user, found.space.team)
    inside = visible.faces_of(found).grouped().select_related("photo").order_by(*SUREST_FIRST)
    page = page_by_keys(inside, request, FACES, SUREST_FIRST)
    (count,) = count_all([inside])
    context = {
        "team": found.space.team,
        "person": found,
        "faces": page.rows,
        "next": page.older,
        "before": request.GET.get("before", ""),
        "count": count,
        "count_text": f"{MOST_COUNTED:,}+" if count >= MOST_COUNTED else f"{count:,}",
        "can_edit": can_edit,
        "undoable": undoable(request, found.space.team),
        "one_face": page.rows[0] if page.rows else None,
    }
    return render(request, "review/groups/group.html", context)


def _decide(request: PageRequest, found: Person) -> HttpResponse:
    """Decide on a group. `do` is name, out, unknown or ignore.

    With `whole` it applies to all of the group's faces, also those on other pages.
    """
    team = found.space.team
    address = reverse("group", args=[team.slug, found.space.number, found.person_id])
    everyone = reverse("groups", args=[team.slug])
    yes, no = ticked(request, found)
    given = Parameters(request.POST)
    is_whole = given.flag("whole")
    given.demand()
    if is_whole:
        inside = access.faces(request.user, team, write=True).grouped().filter(person=found)
        out = {face.pk for face in no}
        with_all = inside.select_related("person", "photo__gallery__space__team").order_by("pk")
        yes = [face for face in with_all if face.pk not in out]
    actor = actor_of(request)
    before = found.name
    changes: tuple[Change, ...] = ()
    back = everyone
    try:
        match given.raw("do") or "name":
            case "name":
                label = request.POST.get("label", "")
                named = name_group(actor=actor, person=found, faces=yes, others=no, label=label)
                changes, text = named.changes, f"{_faces(named.count)} are {named.person.name} now."
            case "out":
                changes = take_out(actor=actor, person=found, faces=no)
                if not changes:
                    raise Refused("Untick the faces that do not belong here.")
                text, back = f"{_faces(changes[0].face_count)} taken out of the group.", address
            case "unknown":
                changes = (reject_faces(actor=actor, faces=yes, person=found),)
                text = f"{before} is no group any more: {_faces(len(yes))} are unknown again."
            case "ignore":
                changes = (ignore_faces(actor=actor, faces=yes),)
                text = f"{_faces(len(yes))} ignored."
            case _:
                raise Refused("Choose what to do.")
    except Refused as error:
        return refuse(request, error, address)
    messages.success(request, text)
    return go_back(request, f"{back}?done={token_of(changes)}")


@signed_in
@require_POST
def merge(request: PageRequest, team: str) -> HttpResponse:
    """Merge the chosen groups into the largest. `group` is "<space>.<person_id>", repeated."""
    team_for(request.user, team, right=Right.EDIT)
    address = reverse("groups", args=[team])
    chosen = []
    given = Parameters(request.POST)
    groups = given.texts("group", most=GROUPS)
    given.demand()
    for text in dict.fromkeys(groups):
        named = pair(text)
        if named is None or named[0] > 9:
            raise Http404("There is no such group.")
        chosen.append(group_for(request, team, *named, write=True))
    chosen.sort(key=lambda person: (-person.face_count, person.pk))
    try:
        if len(chosen) < 2:
            raise Refused("Choose two groups or more.")
        with transaction.atomic():
            into = chosen[0]
            changes = [
                merge_people(actor=actor_of(request), person=person, into=into)
                for person in chosen[1:]
            ]
    except Refused as error:
        return refuse(request, error, address)
    messages.success(request, f"{len(chosen)} groups are one now.")
    return go_back(request, f"{address}?done={token_of(changes)}")


def _faces(count: int) -> str:
    return f"{count:,} face{'' if count == 1 else 's'}"


urlpatterns = [
    path("groups/", groups, name="groups"),
    path("groups/merge", merge, name="merge_groups"),
    path("groups/of/<int:number>/<int:person_id>/", group, name="group"),
]
