"""Groups of unknown faces that look alike: asked for, looked at, made, and worked through."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Exists, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.review.many import page_of_faces, ticked, token_of, undoable
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    poll_again,
    refuse,
    signed_in,
)
from persons.access import (
    Right,
    gallery_for,
    grouping_for,
    hidden_from,
    person_for,
    rights_of,
    space_for,
    team_for,
)
from persons.actions.faces import ignore_faces, reject_faces
from persons.actions.groups import (
    UNDER_WAY,
    cancel_grouping,
    change_threshold,
    make_groups,
    start_grouping,
)
from persons.actions.people import merge_people
from persons.actions.review import name_group, take_out
from persons.errors import Refused
from persons.models import Change, Face, Gallery, Grouping, JobState, Person, Space, Team
from persons.reviewing import MOST_COUNTED, best_faces, count_all

GROUPS = 24
CROPS = 9
PREVIEWED = 48
FACES = 120
OFFERED = 40
"""Galleries whose unknown faces can be sorted: the newest; a space can be whatever it has."""


# --- What was asked for ---


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan in numbers and pictures. `alone` are faces that look like nobody else's; `smaller` are
    groups behind those that are shown."""

    people: int
    faces: int
    alone: int
    smaller: int
    groups: Sequence[tuple[int, Sequence[Face]]]


def preview_of(grouping: Grouping, hidden: Collection[int]) -> Preview:
    """The largest groups with their most typical faces, in one query."""
    plan: list[list[int]] = grouping.plan
    shown = plan[:PREVIEWED]
    pks = [pk for group in shown for pk in group[:CROPS]]
    faces = Face.objects.filter(pk__in=pks).outside(hidden)
    by_pk = {face.pk: face for face in faces}
    groups = [(len(group), [by_pk[pk] for pk in group[:CROPS] if pk in by_pk]) for group in shown]
    grouped = sum(map(len, plan))
    return Preview(
        people=len(plan),
        faces=grouped,
        alone=max(0, grouping.total - grouped),
        smaller=len(plan) - len(shown),
        groups=groups,
    )


@signed_in
@require_safe
def grouping(request: PageRequest, team: str, pk: int) -> HttpResponse:
    found = grouping_for(request.user, team, pk)
    hidden = hidden_from(request.user, found.space.team)
    context: dict[str, Any] = {
        "team": found.space.team,
        "grouping": found,
        "preview": preview_of(found, hidden) if found.state == JobState.READY else None,
        "is_making": bool(found.plan) and found.state in UNDER_WAY,
        "is_under_way": found.state in UNDER_WAY,
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
        "percent": round(found.threshold * 100),
        "poll": poll_again(request),
        "made": found.people.count() if found.state in (JobState.DONE, JobState.CANCELLED) else 0,
    }
    if is_fragment(request):
        return fragment(request, "groups/_grouping.html", context)
    return render(request, "groups/grouping.html", context)


@signed_in
@require_POST
def start(request: PageRequest, team: str) -> HttpResponse:
    """`of` is "g:<slug>" for a gallery or "s:<number>" for a space."""
    found = team_for(request.user, team, right=Right.EDIT)
    kind, _, name = request.POST.get("of", "").partition(":")
    gallery = None
    if kind == "g":
        gallery = gallery_for(request.user, team, name, write=True)
        space = gallery.space
    elif kind == "s" and name.isascii() and name.isdigit() and len(name) < 3:
        space = space_for(request.user, team, int(name), right=Right.EDIT)
    else:
        raise Http404("There is no such gallery or space.")
    try:
        begun = start_grouping(actor=actor_of(request), space=space, gallery=gallery)
    except Refused as error:
        return refuse(request, error, reverse("groups", args=[found.slug]))
    return go_back(request, reverse("grouping", args=[team, begun.pk]))


@signed_in
@require_POST
def steer(request: PageRequest, team: str, pk: int) -> HttpResponse:
    """`do` is threshold, make or cancel."""
    found = grouping_for(request.user, team, pk, write=True)
    actor = actor_of(request)
    address = reverse("grouping", args=[team, pk])
    try:
        match request.POST.get("do", ""):
            case "threshold":
                value = _threshold(request.POST.get("threshold", ""))
                change_threshold(actor=actor, grouping=found, threshold=value)
            case "make":
                make_groups(actor=actor, grouping=found)
            case "cancel":
                cancel_grouping(actor=actor, grouping=found)
                messages.success(request, "Stopped. Faces that are in no group are as they were.")
                address = reverse("groups", args=[team])
            case _:
                raise Refused("Choose what to do.")
    except Refused as error:
        return refuse(request, error, address)
    return go_back(request, address)


def _threshold(text: str) -> float:
    """A percentage of likeness."""
    try:
        return round(float(text) / 100, 3)
    except ValueError:
        raise Refused("How alike faces have to be is a number.") from None


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
    hidden = hidden_from(request.user, found)
    spaces = list(Space.objects.filter(team=found))
    people, following = _page_of_groups(request, spaces, hidden)
    context = {
        "team": found,
        "groups": _with_crops(people, hidden),
        "next": following,
        "is_first": not request.GET.get("from"),
        "groupings": Grouping.objects.filter(
            space__in=spaces, state__in=[*UNDER_WAY, JobState.READY]
        )
        .exclude(gallery__in=hidden)
        .select_related("space", "gallery"),
        "scopes": scopes_of(found, spaces, hidden),
        "chosen": request.GET.get("of", ""),
        "can_edit": Right.EDIT in rights_of(request.user, found),
        "undoable": undoable(request, found),
    }
    return render(request, "groups/list.html", context)


def _unnamed(spaces: Sequence[Space], hidden: Collection[int]) -> QuerySet[Any]:
    """Groups that nobody has named, largest first; `count` is how many faces are in it."""
    inside = Face.objects.grouped().filter(person=OuterRef("pk")).outside(hidden)
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
        .order_by("-face_count", "-pk")
    )
    return people


def _page_of_groups(
    request: PageRequest, spaces: Sequence[Space], hidden: Collection[int]
) -> tuple[list[Any], str]:
    """By size when they were last counted: the key is `?from=<count>.<pk>`."""
    people = _unnamed(spaces, hidden)
    size, _, pk = request.GET.get("from", "").partition(".")
    if all(part.isascii() and part.isdigit() and len(part) < 19 for part in (size, pk)):
        people = people.filter(
            Q(face_count__lt=int(size)) | Q(face_count=int(size), pk__lt=int(pk))
        )
    rows: list[Any] = list(people[: GROUPS + 1])
    if len(rows) <= GROUPS:
        return rows, ""
    last = rows[GROUPS - 1]
    return rows[:GROUPS], f"{last.face_count}.{last.pk}"


def _with_crops(people: Sequence[Any], hidden: Collection[int]) -> list[Group]:
    """Some faces of each, the cover among them, in two queries."""
    crops = best_faces([person.pk for person in people], most=CROPS, hidden=hidden)
    return [Group(person, person.count, crops[person.pk]) for person in people]


@dataclass(frozen=True, slots=True)
class Scope:
    """What can be sorted: a gallery or a space; `unknown` up to MOST_COUNTED."""

    value: str
    label: str
    unknown: int

    @property
    def text(self) -> str:
        many = self.unknown >= MOST_COUNTED
        return f"{MOST_COUNTED:,}+" if many else f"{self.unknown:,}"


def scopes_of(team: Team, spaces: Sequence[Space], hidden: Collection[int]) -> list[Scope]:
    """Spaces and the newest galleries with two unknown faces or more."""
    galleries = list(
        Gallery.objects.filter(team=team).exclude(pk__in=hidden).order_by("-created_at")[:OFFERED]
    )
    lists = [Face.objects.unknown().filter(space=space) for space in spaces]
    lists += [Face.objects.unknown().filter(gallery=gallery) for gallery in galleries]
    counts = count_all([faces.order_by("-pk") for faces in lists])
    names = [(f"s:{space.number}", f"Space {space.title}") for space in spaces]
    names = [(value, label.replace("Space Space", "Space")) for value, label in names]
    names += [(f"g:{gallery.slug}", gallery.name) for gallery in galleries]
    return [
        Scope(value, label, count)
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
def group(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    write = request.method == "POST"
    found = group_for(request, team, number, person_id, write=write)
    hidden = hidden_from(request.user, found.space.team, write=write)
    if write:
        return _decide(request, found, hidden)
    inside = (
        Face.objects.grouped()
        .filter(person=found)
        .outside(hidden)
        .select_related("photo")
        .order_by("-similarity", "-pk")
    )
    faces, following = page_of_faces(inside, request.GET, FACES)
    (count,) = count_all([inside])
    context = {
        "team": found.space.team,
        "person": found,
        "faces": faces,
        "next": following,
        "after": request.GET.get("after", ""),
        "count": count,
        "count_text": f"{MOST_COUNTED:,}+" if count >= MOST_COUNTED else f"{count:,}",
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
        "undoable": undoable(request, found.space.team),
        "one_face": faces[0] if faces else None,
    }
    return render(request, "groups/group.html", context)


def _decide(request: PageRequest, found: Person, hidden: Collection[int]) -> HttpResponse:
    """`do` is name, out, unknown or ignore. `whole` means all of the group, page or not."""
    team = found.space.team
    address = reverse("group", args=[team.slug, found.space.number, found.person_id])
    everyone = reverse("groups", args=[team.slug])
    yes, no = ticked(request, found, hidden)
    if request.POST.get("whole"):
        inside = Face.objects.grouped().filter(person=found).outside(hidden)
        out = {face.pk for face in no}
        with_all = inside.select_related("person", "photo__gallery__space__team").order_by("pk")
        yes = [face for face in with_all if face.pk not in out]
    actor = actor_of(request)
    before = found.name
    changes: tuple[Change, ...] = ()
    back = everyone
    try:
        match request.POST.get("do", "name"):
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
    """The chosen groups become one, the largest: `group` is "<space>.<person_id>", repeated."""
    team_for(request.user, team, right=Right.EDIT)
    address = reverse("groups", args=[team])
    chosen = []
    for text in dict.fromkeys(request.POST.getlist("group")[:GROUPS]):
        number, _, person_id = text.partition(".")
        if not all(
            part.isascii() and part.isdigit() and len(part) < 19 for part in (number, person_id)
        ):
            raise Http404("There is no such group.")
        chosen.append(group_for(request, team, int(number[:3]), int(person_id), write=True))
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
    path("groups/start", start, name="start_grouping"),
    path("groups/merge", merge, name="merge_groups"),
    path("groups/<int:pk>/", grouping, name="grouping"),
    path("groups/<int:pk>/steer", steer, name="steer_grouping"),
    path("groups/of/<int:number>/<int:person_id>/", group, name="group"),
]
