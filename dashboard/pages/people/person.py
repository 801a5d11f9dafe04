"""One person's page and its parts: sync state, company, notes, renaming, hiding, removing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
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
from dashboard.pages.people import enrolments, person_faces
from dashboard.pages.people.cards import KEPT_SECONDS, cards_of
from dashboard.pages.people.person_changes import likenesses_of, page_of_changes
from dashboard.pages.people.person_rights import rights_context
from dashboard.pages.privacy.reasons import asking, demand, look_up
from dashboard.pages.shared import (
    actor_of,
    fragment,
    go_back,
    is_fragment,
    refuse,
    signed_in,
)
from persons import access
from persons.access import Right, Visible, person_for, rights_of
from persons.actions.people import (
    hide_person,
    remove_empty_person,
    rename_person,
    retry_sync,
    set_notes,
)
from persons.errors import Refused
from persons.inputs.params import Parameters
from persons.models import EnrolmentState, Face, Person, Photo, Run, SpaceJob, SyncState

VIEWS = ("faces", "photos", "enrolments", "changes")

COMPANY_PHOTOS = 1000
"""The person's newest photos, in which other people are counted."""
COMPANY = 8


@dataclass(frozen=True, slots=True)
class Sync:
    """The state of the sync with Vision, in words.

    `kind` is idle, busy, late, failed, waiting or empty.
    """

    kind: str
    text: str
    detail: str = ""


@signed_in
@require_GET
@asking
def person(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id)
    if found.merged_into_id is not None:
        look_up(request, found)
        return _moved(request, found)
    return person_page(request, found)


def _moved(request: PageRequest, found: Person) -> HttpResponse:
    """Redirect from a merged person to their canonical person."""
    now = Person.objects.select_related("space__team").get(pk=found.canonical_id)
    if not is_fragment(request):
        messages.info(request, f"{found.name} was merged into {now.name}. This is their page now.")
    return go_back(request, url_of(now))


def person_page(request: PageRequest, found: Person, **more: Any) -> HttpResponse:
    """The page, or the part of it that htmx asks for. `more` is a refused form's context.

    Only for views with the decorator `asking`.
    """
    given = Parameters(request.GET)
    view = given.choice("view", VIEWS, "faces")
    given.demand()
    look_up(request, found, back=url_of(found))
    visible = access.visible(request.user, found.space.team)
    part = request.htmx.target if is_fragment(request) else ""
    if part == "chunk" and view in ("faces", "photos"):
        return fragment(request, "people/_chunk.html", _chunk(request, found, view, visible))
    context = _frame(request, found, visible) | {"view": view} | more
    if part == "person-live":
        response = fragment(request, "people/_live.html", context | {"is_part": True})
        # The event makes the page fetch the faces that were found meanwhile.
        return response if context["is_live"] else trigger_client_event(response, "person-synced")
    context |= _view(request, found, view, visible)
    if more:
        # This page is the answer to a POST, and its address has no pages for a pager's links.
        context["page"] = replace(context["page"], older=None, newer=None)
    if part == "person-view":
        return fragment(request, "people/_view.html", context)
    context |= likenesses_of(found, visible) | rights_context(request, found)
    return render(request, "people/person.html", context, status=422 if more else 200)


def _frame(request: PageRequest, found: Person, visible: Visible) -> dict[str, Any]:
    pictures = enrolments.counts_of(visible.pictures_of(found))
    # Whether Vision knows the person depends on all pictures, not only the visible ones.
    known = pictures
    if not visible.is_everything:
        known = enrolments.counts_of(found.enrolments.all())
    is_enrolled = known["rows"] != known[EnrolmentState.REMOVED]
    known |= {EnrolmentState.FAILED: pictures[EnrolmentState.FAILED]}
    counts = pictures | person_faces.counts_of(found, visible)
    runs = list(Run.objects.running().filter(person=found))
    following = _following(found)
    listed: Any = visible.with_covers(Person.objects.filter(pk=found.pk)).get()
    return {
        "team": found.space.team,
        "person": found,
        "cover_pk": listed.cover_id_or_best,
        "cover": Face.objects.filter(pk=listed.cover_id_or_best).first(),
        "counts": counts,
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
        "can_erase": Right.MANAGE in rights_of(request.user, found.space.team),
        "sync": sync_of(found, known),
        "runs": runs,
        "following": following,
        "is_live": found.sync_state != SyncState.IDLE or bool(runs) or following is not None,
        "self_url": request.get_full_path() if request.method == "GET" else url_of(found),
        "can_remove": following is None
        and not is_enrolled
        and not found.faces.exists()
        and not found.merged.exists(),
    }


def _following(found: Person) -> SpaceJob | None:
    """The oldest unfinished job that moves faces to or from this person, if any."""
    jobs = SpaceJob.objects.filter(space=found.space_id).propagating().order_by("pk")
    for pk, report in jobs.values_list("pk", "report"):
        if found.pk in (report["canonical"], *report["people"]):
            return SpaceJob.objects.filter(pk=pk).first()
    return None


def _chunk(request: PageRequest, found: Person, view: str, visible: Visible) -> dict[str, Any]:
    """One page of a long list, without the rest of the page's counts."""
    return _view(request, found, view, visible) | {
        "team": found.space.team,
        "person": found,
        "view": view,
        "cover_pk": found.cover_id,
        "can_edit": Right.EDIT in rights_of(request.user, found.space.team),
    }


def _view(request: PageRequest, found: Person, view: str, visible: Visible) -> dict[str, Any]:
    if view == "enrolments":
        return enrolments.context_of(request, found, visible)
    if view == "photos":
        return {"page": person_faces.page_of_photos(found, request, visible)}
    if view == "changes":
        return page_of_changes(request, found)
    page = person_faces.page_of_faces(found, request, visible)
    return {
        "page": page,
        "rows": person_faces.rows_of(
            page.rows,
            found.space,
            writable=_writable(request, found),
        ),
        "asked": person_faces.FaceListRequest.of(request.GET),
    }


def _writable(request: PageRequest, found: Person) -> Visible | None:
    """What the reader may change; None for a reader who has no right to edit anything."""
    if Right.EDIT not in rights_of(request.user, found.space.team):
        return None
    return access.visible(request.user, found.space.team, write=True)


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


# --- Parts that the page fetches after loading ---


@signed_in
@require_GET
@asking
def company(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Who else is on the person's photos, and when the person was first and last seen.

    With more than COMPANY_PHOTOS photos the dates come by a second request, with `?seen=`.
    """
    found = person_for(request.user, team, number, person_id)
    look_up(request, found, part=True)
    visible = access.visible(request.user, found.space.team)
    if "seen" in request.GET:
        return fragment(request, "people/_seen.html", {"seen": _seen_of_many(found, visible)})
    theirs = visible.faces_of(found).order_by("-pk")
    newest = theirs.values("photo")[:COMPANY_PHOTOS]
    others = (
        visible.faces_among(Face.objects.filter(photo__in=newest, person__isnull=False))
        .exclude(person=found)
        .exclude(person__hidden=True)
        .order_by()
        .values_list("person")
        .annotate(n=Count("photo", distinct=True))
        .order_by("-n", "person")[: COMPANY * 2]
    )
    # While a merge is under way, some faces still belong to the merged person.
    counts = dict(others)
    together: dict[int, int] = {}
    people = Person.objects.filter(pk__in=counts).exclude(canonical=found)
    for pk, canonical in people.values_list("pk", "canonical"):
        together[canonical] = together.get(canonical, 0) + counts[pk]
    together = dict(sorted(together.items(), key=lambda one: (-one[1], one[0]))[:COMPANY])
    cards = cards_of(list(together), visible)
    is_bounded = len(theirs.values("pk")[: COMPANY_PHOTOS + 1]) > COMPANY_PHOTOS
    context = {
        "team": found.space.team,
        "person": found,
        "company": [(other, together[other.pk]) for other in cards],
        "is_bounded": is_bounded,
        "most": COMPANY_PHOTOS,
        "seen": None if is_bounded else _seen(found, visible),
    }
    return fragment(request, "people/_company.html", context)


def _seen_of_many(found: Person, visible: Visible) -> dict[str, Any]:
    """As `_seen`, but cached for KEPT_SECONDS."""
    key = f"seen:{found.pk}:{visible.key}"
    kept: dict[str, str | None] | None = cache.get(key)
    if kept is None:
        seen = _seen(found, visible)
        kept = {name: at.isoformat() if at else None for name, at in seen.items()}
        cache.set(key, kept, KEPT_SECONDS)
    return {name: datetime.fromisoformat(at) if at else None for name, at in kept.items()}


def _seen(found: Person, visible: Visible) -> dict[str, Any]:
    """`first` and `last`, by the photos' dates; None where there is no photo.

    Missing faces count too: a human has decided that they are this person's.
    """
    theirs = Face.objects.filter(person=found).order_by().values("photo")
    # `Face.objects` leaves out trashed photos, so `Photo.everything` is safe. Two indexes answer.
    photos = visible.photos_among(Photo.everything.filter(pk__in=theirs)).order_by()
    return photos.aggregate(first=Min("shown_at"), last=Max("shown_at"))


# --- Changing the person ---


@signed_in
@require_POST
@asking
def rename(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    label = request.POST.get("label", "")
    before = found.name
    try:
        rename_person(actor=actor_of(request), person=found, label=label)
    except Refused as error:
        # The page again with the typed text: most refused names need only a small correction.
        return person_page(request, found, rename_error=str(error), typed=label)
    if found.name != before:
        messages.success(request, f"{before} is {found.name} now.")
    return go_back(request, url_of(found))


@signed_in
@require_POST
def notes(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Save the notes: from the script while somebody types, or by the button."""
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
@asking
def hide(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    demand(request, found.space.team, "person", found.pk, back=url_of(found))
    given = Parameters(request.POST)
    hidden = given.flag("hidden", default=True)
    given.demand()
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
@asking
def remove(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    found = person_for(request.user, team, number, person_id, write=True)
    demand(request, found.space.team, "person", found.pk, back=url_of(found))
    try:
        remove_empty_person(actor=actor_of(request), person=found)
    except Refused as error:
        return refuse(request, error, url_of(found))
    messages.success(request, f"{found.name} is removed.")
    return go_back(request, reverse("space", args=[team, number]))


@signed_in
@require_POST
def sync(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Try the sync again for a person whom Vision refused."""
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
