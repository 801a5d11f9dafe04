"""Many suggestions of one person at once: a grid of crops, from which the wrong ones are taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.review.desk import words_of
from dashboard.pages.review.roots import standing_for
from dashboard.pages.shared import actor_of, go_back, refuse, signed_in
from persons.access import Right, hidden_from, person_for, rights_of, team_for
from persons.actions.changes import undo
from persons.actions.review import Sorted, sort_suggestions
from persons.errors import Refused
from persons.models import Change, Face, Person, Space, Team, User
from persons.models.faces import FaceQuerySet
from persons.reviewing import MOST_COUNTED, best_faces, count_all, people_with_suggestions
from persons.settling import subtree_of

PEOPLE = 60
FACES = 60
KNOWN = 8
MOST_UNDONE = 20


# --- Whom suggestions wait for ---


@dataclass(frozen=True, slots=True)
class Row:
    person: Person
    count: int
    crop: Face | None
    suggested: Sequence[Face]


@signed_in
@require_safe
def people(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.GALLERIES)
    hidden = hidden_from(request.user, found)
    spaces = list(Space.objects.filter(team=found))
    counted = people_with_suggestions([space.pk for space in spaces], hidden, most=PEOPLE + 1)
    standing = standing_for(Person.objects.filter(pk__in=[pk for pk, _ in counted[:PEOPLE]]))
    by_person: dict[Person, int] = defaultdict(int)
    for pk, count in counted[:PEOPLE]:
        if pk in standing:
            by_person[standing[pk]] += count
    crops = best_faces([person.pk for person in by_person], most=1, hidden=hidden)
    rows = [
        Row(person, count, next(iter(crops[person.pk]), None), ())
        for person, count in by_person.items()
    ]
    number = {space.pk: space.number for space in spaces}
    for row in rows:
        row.person.space = next(space for space in spaces if space.pk == row.person.space_id)
    context = {
        "team": found,
        "rows": rows,
        "more": len(counted) > PEOPLE,
        "by_space": len({number[row.person.space_id] for row in rows}) > 1,
        "can_edit": Right.EDIT in rights_of(request.user, found),
        "undoable": undoable(request, found),
    }
    return render(request, "review/people.html", context)


# --- One person's ---


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def person(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    write = request.method == "POST"
    found = person_for(request.user, team, number, person_id, write=write)
    if found.merged_into_id is not None and not write:
        root = standing_for([found])[found.pk]
        address = reverse("review_person", args=[team, number, root.person_id])
        query = request.GET.urlencode()
        return HttpResponseRedirect(f"{address}?{query}" if query else address)
    hidden = hidden_from(request.user, found.space.team, write=write)
    if write:
        return _sort(request, found, hidden)
    waiting = suggestions_of(found, hidden)
    faces, following = page_of_faces(waiting, request.GET)
    (count,) = count_all([waiting])
    if not faces and not request.GET.get("after"):
        # Done with them: on to the others.
        done = request.GET.get("done", "")
        address = reverse("review_many", args=[team])
        return HttpResponseRedirect(f"{address}?done={done}" if done else address)
    known = best_faces([found.pk], most=KNOWN + len(faces), hidden=hidden)[found.pk]
    shown = {face.pk for face in faces}
    context = {
        "team": found.space.team,
        "person": found,
        "faces": faces,
        "next": following,
        "after": request.GET.get("after", ""),
        "count": count,
        "count_text": f"{MOST_COUNTED:,}+" if count >= MOST_COUNTED else f"{count:,}",
        "known": [face for face in known if face.pk not in shown and not face.is_suggested][:KNOWN],
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
        "undoable": undoable(request, found.space.team),
    }
    return render(request, "review/person.html", context)


def suggestions_of(found: Person, hidden: Collection[int]) -> FaceQuerySet:
    """The surest first, so that the wrong ones gather at the end.

    Those of whoever was merged into them are theirs, too, also while that is still under way.
    """
    theirs = subtree_of(found.pk)
    faces = Face.objects.suggested().filter(person__in=theirs).outside(hidden)
    return faces.select_related("photo").order_by("-similarity", "-pk")


def page_of_faces(
    faces: FaceQuerySet, asked: QueryDict, size: int = FACES
) -> tuple[list[Face], int | None]:
    """One page by similarity, behind the face `?after=`; and the key of the next page."""
    key = asked.get("after", "")
    if key.isascii() and key.isdigit() and len(key) < 19:
        last = Face.everything.filter(pk=int(key)).values_list("similarity", flat=True).first()
        if last is not None:
            faces = faces.filter(similarity__lte=last).filter(
                Q(similarity__lt=last) | Q(pk__lt=int(key))
            )
    found = list(faces[: size + 1])
    return found[:size], found[size - 1].pk if len(found) > size else None


def _sort(request: PageRequest, found: Person, hidden: Collection[int]) -> HttpResponse:
    address = reverse("review_person", args=[found.space.team.slug, *_names(found)])
    yes, no = ticked(request, found, hidden)
    do = request.POST.get("do", "confirm")
    if do == "reject":
        yes, no = [], [*yes]
    try:
        done = sort_suggestions(
            actor=actor_of(request), person=found, yes=yes, no=[] if do == "confirm" else no
        )
    except Refused as error:
        return refuse(request, error, address)
    messages.success(request, _in_words(done, found))
    if done.left_out:
        messages.info(request, _left_out(done.left_out))
    return go_back(request, f"{address}?done={token_of(done.changes)}")


def ticked(
    request: PageRequest, found: Person, hidden: Collection[int]
) -> tuple[list[Face], list[Face]]:
    """Of the faces that the page showed, those with a tick and those without."""
    shown = {int(pk) for pk in request.POST.getlist("face") if _is_key(pk)}
    chosen = {int(pk) for pk in request.POST.getlist("yes") if _is_key(pk)}
    faces = (
        Face.objects.filter(pk__in=shown, space=found.space_id)
        .outside(hidden)
        .select_related("person", "photo__gallery__space__team")
        .order_by("pk")
    )
    everything = list(faces)
    return (
        [face for face in everything if face.pk in chosen],
        [face for face in everything if face.pk not in chosen],
    )


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _names(found: Person) -> tuple[int, int]:
    return found.space.number, found.person_id


def _in_words(done: Sorted, found: Person) -> str:
    parts = []
    if done.confirmed:
        parts.append(f"{_faces(done.confirmed)} of {found.name} confirmed")
    if done.rejected:
        verb = "is" if done.rejected == 1 else "are"
        parts.append(f"{_faces(done.rejected)} {verb} somebody else")
    return f"{', '.join(parts)}." if parts else "Nothing was changed."


def _left_out(count: int) -> str:
    return (
        f"{_faces(count)} changed meanwhile, by somebody else or by recognition, and "
        f"{'was' if count == 1 else 'were'} left so."
    )


def _faces(count: int) -> str:
    return f"{count:,} face{'' if count == 1 else 's'}"


# --- Taking back ---


@dataclass(frozen=True, slots=True)
class Undoable:
    """What was done just now: the changes' pks as `?done=`, and what they said."""

    token: str
    text: str


def token_of(changes: Collection[Change]) -> str:
    return ".".join(str(change.pk) for change in changes)


def undoable(request: PageRequest, team: Team) -> Undoable | None:
    """What `?done=` names, as far as it is this user's and still stands."""
    changes = _own_changes(request.user, team, request.GET.get("done", ""))
    if not changes:
        return None
    return Undoable(token_of(changes), "; ".join(words_of(change) for change in changes))


def _own_changes(user: User, team: Team, token: str) -> list[Change]:
    pks = [int(pk) for pk in token.split(".")[:MOST_UNDONE] if _is_key(pk)]
    changes = Change.objects.filter(pk__in=pks, team=team, actor=user, undone_at=None)
    return list(changes.select_related("person", "other").order_by("-pk")) if pks else []


@signed_in
@require_POST
def take_back(request: PageRequest, team: str) -> HttpResponse:
    """Undo the changes of one stroke, the last one first: all of them or none."""
    found = team_for(request.user, team, right=Right.EDIT)
    address = reverse("review_many", args=[team])
    changes = _own_changes(request.user, found, request.POST.get("done", ""))
    try:
        if not changes:
            raise Refused("That is taken back already.")
        with transaction.atomic():
            for change in changes:
                undo(actor=actor_of(request), change=change)
    except Refused as error:
        return refuse(request, error, address)
    messages.success(request, f"Taken back: {'; '.join(map(words_of, changes))}.")
    return go_back(request, address)


urlpatterns = [
    path("review/many/", people, name="review_many"),
    path("review/many/<int:number>/<int:person_id>/", person, name="review_person"),
    path("review/undo", take_back, name="review_undo"),
]
