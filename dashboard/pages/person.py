"""One person: who they are, whether Vision knows, and what is said of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import messages
from django.core.cache import cache
from django.db.models import Count, Max, Min
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import trigger_client_event

from dashboard.middleware import PageRequest
from dashboard.pages import enrolments, person_faces
from dashboard.pages.cards import KEPT_SECONDS, cards_of
from dashboard.pages.person_changes import likenesses_of, page_of_changes
from dashboard.pages.person_rights import rights_context
from dashboard.pages.reasons import asking, demand
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    refuse,
    signed_in,
)
from persons.access import Right, hidden_from, person_for, rights_of
from persons.actions.people import (
    hide_person,
    remove_empty_person,
    rename_person,
    retry_sync,
    set_notes,
)
from persons.errors import Refused
from persons.models import EnrolmentState, Face, Person, Photo, Run, SpaceJob, SyncState
from persons.settling import roots_of

VIEWS = ("faces", "photos", "enrolments", "changes")

COMPANY_PHOTOS = 1000
"""Their newest photos, among which it is counted who else is on them."""
COMPANY = 8


@dataclass(frozen=True, slots=True)
class Sync:
    """How far Vision is in step, in words. `kind` is idle, busy, late, failed or empty."""

    kind: str
    text: str
    detail: str = ""


@signed_in
@require_GET
@asking
def person(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id)
    demand(request, found.space.team, "person", found.pk)
    if found.merged_into_id is not None:
        return _moved(request, found)
    return person_page(request, found)


def _moved(request: PageRequest, found: Person) -> HttpResponse:
    """The address of somebody who was merged leads to who they are now."""
    root = Person.objects.select_related("space__team").get(pk=roots_of([found.pk])[found.pk])
    if not is_fragment(request):
        messages.info(request, f"{found.name} was merged into {root.name}. This is their page now.")
    return go_back(request, url_of(root))


def person_page(request: PageRequest, found: Person, **more: Any) -> HttpResponse:
    """The page, or the part of it that htmx asks for. `more` is what a refused form says."""
    view = request.GET.get("view", "faces")
    view = view if view in VIEWS else "faces"
    hidden = hidden_from(request.user, found.space.team)
    part = request.htmx.target if is_fragment(request) else ""
    if part == "chunk" and view in ("faces", "photos"):
        return fragment(request, "people/_chunk.html", _chunk(request, found, view, hidden))
    context = _frame(request, found, hidden) | {"view": view} | more
    if part == "person-live":
        response = fragment(request, "people/_live.html", context | {"is_part": True})
        # What was found meanwhile comes on the page without a reload.
        return response if context["is_live"] else trigger_client_event(response, "person-settled")
    context |= _view(request, found, view, hidden)
    if more:
        # This page stands at the form's address, where a pager's links would lead nowhere.
        context["page"] = replace(context["page"], older=None, newer=None)
    if part == "person-view":
        return fragment(request, "people/_view.html", context)
    context |= likenesses_of(found, hidden) | rights_context(request, found)
    return render(request, "people/person.html", context, status=422 if more else 200)


def _frame(request: PageRequest, found: Person, hidden: Collection[int]) -> dict[str, Any]:
    counts = enrolments.counts_of(found) | person_faces.counts_of(found, hidden)
    runs = list(Run.objects.running().filter(person=found))
    following = _following(found)
    listed: Any = Person.objects.with_cover(hidden).get(pk=found.pk)
    return {
        "team": found.space.team,
        "person": found,
        "cover_pk": listed.cover_id_or_best,
        "cover": Face.objects.filter(pk=listed.cover_id_or_best).first(),
        "counts": counts,
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
        "can_erase": Right.MANAGE in rights_of(request.user, found.space.team),
        "sync": sync_of(found, counts),
        "runs": runs,
        "following": following,
        "is_live": found.sync_state != SyncState.IDLE or bool(runs) or following is not None,
        "self_url": request.get_full_path() if request.method == "GET" else url_of(found),
        "can_remove": following is None
        and counts["rows"] == counts["removed"]
        and not found.faces.exists()
        and not found.merged.exists(),
    }


def _following(found: Person) -> SpaceJob | None:
    """Work on faces that are on their way to this person, or from them: what was begun first."""
    jobs = SpaceJob.objects.filter(space=found.space_id).following().order_by("pk")
    for pk, report in jobs.values_list("pk", "report"):
        if found.pk in (report["root"], *report["people"]):
            return SpaceJob.objects.filter(pk=pk).first()
    return None


def _chunk(
    request: PageRequest, found: Person, view: str, hidden: Collection[int]
) -> dict[str, Any]:
    """One page of a long list by itself: it counts nothing."""
    return _view(request, found, view, hidden) | {
        "team": found.space.team,
        "person": found,
        "view": view,
        "cover_pk": found.cover_id,
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
    }


def _view(
    request: PageRequest, found: Person, view: str, hidden: Collection[int]
) -> dict[str, Any]:
    if view == "enrolments":
        return enrolments.context_of(request, found, hidden)
    if view == "photos":
        return {"page": person_faces.page_of_photos(found, request, hidden)}
    if view == "changes":
        return page_of_changes(request, found)
    page = person_faces.page_of_faces(found, request, hidden)
    return {
        "page": page,
        "rows": person_faces.rows_of(page.rows, found.space),
        "asked": person_faces.Asked.of(request.GET),
    }


def sync_of(found: Person, counts: dict[str, int]) -> Sync:
    if found.sync_state == SyncState.RUNNING:
        return Sync("busy", "Being sent to Vision")
    if found.sync_state == SyncState.QUEUED and found.sync_error:
        return Sync("late", "Vision did not take it; it will be tried again", found.sync_error)
    if found.sync_state == SyncState.QUEUED:
        return Sync("busy", "Waiting to be sent to Vision")
    if counts[EnrolmentState.FAILED]:
        n = counts[EnrolmentState.FAILED]
        text = "Vision refused a picture" if n == 1 else f"Vision refused {n} pictures"
        return Sync("failed", text, found.sync_error)
    if found.sync_error:
        return Sync("failed", "Vision refused the last change", found.sync_error)
    if counts[EnrolmentState.WAITING]:
        return Sync("waiting", "Not enrolled: waits for a consent")
    if counts[EnrolmentState.DONE]:
        return Sync("idle", "In step with Vision")
    return Sync("empty", "Vision has no picture of them")


# --- What is fetched when the page is there ---


@signed_in
@require_GET
@asking
def company(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Who is on the same photos, and when they were first and last seen: of thousands of photos
    only with `?seen=`, which the answer without it asks for."""
    found = person_for(request.user, team, number, person_id)
    demand(request, found.space.team, "person", found.pk)
    hidden = hidden_from(request.user, found.space.team)
    if "seen" in request.GET:
        return fragment(request, "people/_seen.html", {"seen": _seen_of_many(found, hidden)})
    theirs = Face.objects.filter(person=found).outside(hidden).order_by("-pk")
    newest = theirs.values("photo")[:COMPANY_PHOTOS]
    others = (
        Face.objects.filter(photo__in=newest, person__isnull=False)
        .outside(hidden)
        .exclude(person=found)
        .exclude(person__hidden=True)
        .order_by()
        .values_list("person")
        .annotate(n=Count("photo", distinct=True))
        .order_by("-n", "person")[: COMPANY * 2]
    )
    # While a merge is under way, some still stand under the old name.
    counts = dict(others)
    together: dict[int, int] = {}
    for pk, root in roots_of(counts).items():
        if root != found.pk:
            together[root] = together.get(root, 0) + counts[pk]
    together = dict(sorted(together.items(), key=lambda one: (-one[1], one[0]))[:COMPANY])
    people = cards_of(list(together), hidden)
    is_bounded = len(theirs.values("pk")[: COMPANY_PHOTOS + 1]) > COMPANY_PHOTOS
    context = {
        "team": found.space.team,
        "person": found,
        "company": [(other, together[other.pk]) for other in people],
        "is_bounded": is_bounded,
        "most": COMPANY_PHOTOS,
        "seen": None if is_bounded else _seen(found, hidden),
    }
    return fragment(request, "people/_company.html", context)


def _seen_of_many(found: Person, hidden: Collection[int]) -> dict[str, Any]:
    """As `_seen`, up to two minutes old."""
    key = f"seen:{found.pk}:{','.join(map(str, sorted(hidden)))}"
    kept: dict[str, Any] | None = cache.get(key)
    if kept is None:
        kept = _seen(found, hidden)
        cache.set(key, kept, KEPT_SECONDS)
    return kept


def _seen(found: Person, hidden: Collection[int]) -> dict[str, Any]:
    """`first` and `last`, by the photos' dates; None where there is no photo.

    Of a face that was not found again, too, a human has said that it is theirs.
    """
    theirs = Face.objects.filter(person=found).order_by().values("photo")
    # Trashed photos have no face among these. All of it stands in two indexes.
    photos = Photo.everything.filter(pk__in=theirs).outside(hidden).order_by()
    return photos.aggregate(first=Min("shown_at"), last=Max("shown_at"))


# --- What is said of them ---


@signed_in
@require_POST
def rename(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    label = request.POST.get("label", "")
    before = found.name
    try:
        rename_person(actor=actor_of(request), person=found, label=label)
    except Refused as error:
        # The page again, with what was typed: a refused name wants one letter more, not all of it.
        return person_page(request, found, rename_error=str(error), typed=label)
    if found.name != before:
        messages.success(request, f"{before} is {found.name} now.")
    return go_back(request, url_of(found))


@signed_in
@require_POST
def notes(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Saved while somebody types, or by the button."""
    found = person_for(request.user, team, number, person_id, write=True)
    try:
        set_notes(actor=actor_of(request), person=found, notes=request.POST.get("notes", ""))
    except Refused as error:
        return refuse(request, error, url_of(found))
    if is_fragment(request):
        return fragment(request, "people/_saved.html", {})
    messages.success(request, "The notes are saved.")
    return go_back(request, url_of(found))


@signed_in
@require_POST
def hide(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    hidden = request.POST.get("hidden") != "0"
    try:
        hide_person(actor=actor_of(request), person=found, hidden=hidden)
    except Refused as error:
        return refuse(request, error, url_of(found))
    cache.delete(f"people:{found.space.team_id}")
    words = "is hidden: left out of lists and suggestions" if hidden else "is listed again"
    messages.success(request, f"{found.name} {words}.")
    return go_back(request, url_of(found))


@signed_in
@require_POST
def remove(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    try:
        remove_empty_person(actor=actor_of(request), person=found)
    except Refused as error:
        return refuse(request, error, url_of(found))
    messages.success(request, f"{found.name} is removed.")
    return go_back(request, reverse("space", args=[team, number]))


@signed_in
@require_POST
def sync(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """ "Try again" for a person whom Vision refused."""
    found = person_for(request.user, team, number, person_id, write=True)
    retry_sync(actor=actor_of(request), person=found)
    return go_back(request, url_of(found))


def url_of(found: Person, *, view: str = "") -> str:
    address = reverse("person", args=[found.space.team.slug, found.space.number, found.person_id])
    return f"{address}?view={view}" if view else address


_ONE = "spaces/<int:number>/people/<int:person_id>/"

urlpatterns = [
    path(_ONE, person, name="person"),
    path(f"{_ONE}company", company, name="person_company"),
    path(f"{_ONE}rename", rename, name="person_rename"),
    path(f"{_ONE}notes", notes, name="person_notes"),
    path(f"{_ONE}hide", hide, name="person_hide"),
    path(f"{_ONE}remove", remove, name="person_remove"),
    path(f"{_ONE}sync", sync, name="person_sync"),
]
