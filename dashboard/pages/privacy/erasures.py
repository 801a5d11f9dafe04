"""Pages for erasing a person: what is deleted and what is kept, progress, and the certificate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from dashboard.middleware import PageRequest
from dashboard.pages.privacy.reasons import asking, look_up
from dashboard.pages.shared import (
    KeyPage,
    actor_of,
    fragment,
    go_back,
    is_fragment,
    page_by_key,
    signed_in,
)
from persons.access import Right, erasure_for, erasures_for, person_to_erase, rights_of, team_for
from persons.actions.erasing import erase_person, plan_of, retry_erasure
from persons.chain import signing
from persons.errors import Refused
from persons.models import Erasure, JobState, Person
from persons.pipeline.privacy.erasing.work import NAMES

PAGE_SIZE = 30

Photos = Erasure.Photos

STAGES: Mapping[str, str] = {
    "stop": "Stopping what is under way for them",
    "faces": "Their faces on photos",
    "history": "What was asked and answered about them",
    "kept": "Pictures that clients sent",
    "words": "Names in records",
    "audit": "The audit's words about them",
    "snapshots": "Writing snapshots anew, without them",
    "photos": "Photos",
    "files": "Files",
    "calls": "Waiting for calls that are under way",
    "vision": "Telling Vision to forget them",
    "probe": "Asking Vision whether it has forgotten them",
    "late calls": "Waiting for calls that are under way",
    "people": "Their pictures and their row",
    "scrub": "Writing the database's files anew",
    "certificate": "Signing the certificate",
}

PLACES: Mapping[str, str] = {
    "open work": "Work that was under way",
    "faces": "Faces on photos",
    "photos": "Photos",
    "history": "History of calls",
    "records": "Other records",
    "audit": "Audit log",
    "snapshots": "Snapshots",
    "storage": "Files in the storage",
    "people": "The person",
}

KINDS: Mapping[str, tuple[str, str]] = {
    "enrolments": ("enrolment", "enrolments"),
    "looks": ("look for them", "looks for them"),
    "groupings": ("grouping", "groupings"),
    "reviews": ("review", "reviews"),
    "restores": ("restore", "restores"),
    "snapshots": ("snapshot begun anew", "snapshots begun anew"),
    "faces": ("face", "faces"),
    "attributes": ("face's attributes", "faces' attributes"),
    "embeddings": ("embedding", "embeddings"),
    "decisions": ("decision", "decisions"),
    "photos": ("photo", "photos"),
    "calls": ("call redacted", "calls redacted"),
    "texts": ("other text of a call", "other texts of calls"),
    "answers": ("answer about an image", "answers about images"),
    "images": ("image's record", "images' records"),
    "findings": ("finding", "findings"),
    "kept pictures": ("picture that a client sent", "pictures that clients sent"),
    "changes": ("name in a change", "names in changes"),
    "reports": ("job's report", "jobs' reports"),
    "places": ("place in the review", "places in the review"),
    "sessions": ("session", "sessions"),
    "entries": ("entry's words", "entries' words"),
    "rewritten": ("snapshot written anew", "snapshots written anew"),
    "unreadable ones": ("unreadable snapshot", "unreadable snapshots"),
    "files": ("file", "files"),
    "names": ("name and notes", "names and notes"),
    "consents": ("consent", "consents"),
    "likenesses": ("likeness to somebody", "likenesses to others"),
}

PHOTOS_KEPT: Mapping[str, str] = {
    Photos.KEEP: "Kept; their faces on them are boxes without a name.",
    Photos.ALONE: "Deleted where nobody else was known on them; kept otherwise.",
    Photos.ALL: "Deleted, all on which they were known.",
}


@dataclass(frozen=True, slots=True)
class Destroyed:
    """One place of deletion on the certificate. `counts` is text such as "3 faces"."""

    title: str
    at: datetime | None
    counts: list[str]


# --- Beginning one ---


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@asking
def start(request: PageRequest, team: str, number: int, person_id: int) -> HttpResponse:
    """Show what will be deleted; a POST begins the erasure."""
    found = person_to_erase(request.user, team, number, person_id)
    if request.method != "POST" or found.merged_into_id is not None:
        return _start_page(request, found)
    try:
        erasure = erase_person(
            actor=actor_of(request),
            person=found,
            photos=request.POST.get("photos", ""),
            reason=request.POST.get("reason", ""),
            typed=request.POST.get("name", ""),
        )
    except Refused as error:
        return _start_page(request, found, problem=str(error), status=422)
    messages.success(request, "They are being erased. This page tells how far it is.")
    return go_back(request, url_of(erasure))


def _start_page(
    request: PageRequest, found: Person, *, problem: str = "", status: int = 200
) -> HttpResponse:
    look_up(request, found, back=request.path)
    context: dict[str, Any] = {
        "team": found.space.team,
        "space": found.space,
        "person": found,
        "problem": problem,
    }
    if found.merged_into_id is not None:
        context["canonical"] = found.canonical
        return render(request, "privacy/erasures/merged.html", context)
    context |= {
        "plan": plan_of(found),
        "choices": Photos.choices,
        "chosen": request.POST.get("photos", Photos.KEEP),
        "reason": request.POST.get("reason", ""),
        "typed": request.POST.get("name", ""),
    }
    return render(request, "privacy/erasures/start.html", context, status=status)


# --- One of them ---


@signed_in
@require_GET
def erasure(request: PageRequest, team: str, reference: str) -> HttpResponse:
    """The progress of an erasure, and its certificate once it is done."""
    found = erasure_for(request.user, team, reference)
    context = {
        "team": found.team,
        "erasure": found,
        "stage": STAGES.get(found.step.removesuffix(" again"), "Waiting for a worker"),
        "is_late": found.step.endswith(" again"),
        "steps": len(NAMES),
        "is_live": found.is_under_way,
        "can_manage": Right.MANAGE in rights_of(request.user, found.team),
    }
    if is_fragment(request) and request.htmx.target == "erasure-live":
        if not found.is_under_way:
            return HttpResponseClientRefresh()
        return fragment(request, "privacy/erasures/_live.html", context)
    if found.state == JobState.DONE:
        context |= _certificate(found)
    return render(request, "privacy/erasures/erasure.html", context)


def _certificate(found: Erasure) -> dict[str, Any]:
    content = found.certificate
    return {
        "certificate": content,
        "destroyed": list(_destroyed(content)),
        "asked_at": _moment(content.get("asked_at")),
        "ended_at": _moment(content.get("ended_at")),
        "deleted_at": _moment(content.get("vision", {}).get("deleted_at")),
        "probed_at": _moment(content.get("probe", {}).get("at")),
        "answers": list(content.get("vision", {}).get("answers", {}).items()),
        "log": [(entry, _moment(entry["at"])) for entry in content.get("log", [])],
        "photos_kept": PHOTOS_KEPT.get(content.get("photos", ""), ""),
        "is_signed": bool(content) and signing.verify(content, found.key, found.signature),
    }


def _destroyed(content: Mapping[str, Any]) -> Iterator[Destroyed]:
    places = {one["place"]: one for one in content.get("destroyed", [])}
    for place in [*PLACES, *(places.keys() - PLACES.keys())]:
        if (one := places.get(place)) is None:
            continue
        counts = [
            f"{count:,} {KINDS.get(kind, (kind, kind))[count != 1]}"
            for kind, count in one["counts"].items()
            if count
        ]
        yield Destroyed(PLACES.get(place, place), _moment(one["at"]), counts)


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


@signed_in
@require_GET
def certificate(request: PageRequest, team: str, reference: str) -> HttpResponse:
    """Download the certificate, with its signature and the public key."""
    found = erasure_for(request.user, team, reference)
    if not found.certificate:
        raise Http404("There is no certificate.")
    headers = {
        "Content-Disposition": content_disposition_header(True, f"erasure-{reference}.json")
        or "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(
        json.dumps(as_file(found), indent=2, ensure_ascii=False) + "\n",
        content_type="application/json",
        headers=headers,
    )


def as_file(found: Erasure) -> dict[str, Any]:
    public = signing.public_keys().get(found.key, b"")
    return {
        "certificate": found.certificate,
        "key": found.key,
        "public_key": public.hex(),
        "signature": found.signature,
    }


@signed_in
@require_POST
def retry(request: PageRequest, team: str, reference: str) -> HttpResponse:
    found = erasure_for(request.user, team, reference, right=Right.MANAGE)
    retry_erasure(actor=actor_of(request), erasure=found)
    return go_back(request, url_of(found))


# --- All of them ---


@signed_in
@require_GET
def erasures(request: PageRequest, team: str) -> HttpResponse:
    rows = erasures_for(request.user, team).defer("report", "certificate")
    page: KeyPage[Erasure] = page_by_key(rows, request, PAGE_SIZE)
    context = {"team": team_for(request.user, team), "page": page}
    return render(request, "privacy/erasures/list.html", context)


def url_of(found: Erasure) -> str:
    return reverse("erasure", args=[found.team.slug, found.reference])


_ONE = "erasures/<str:reference>/"

urlpatterns = [
    path("spaces/<int:number>/people/<int:person_id>/erase", start, name="erasure_start"),
    path("erasures/", erasures, name="erasures"),
    path(_ONE, erasure, name="erasure"),
    path(f"{_ONE}certificate.json", certificate, name="erasure_certificate"),
    path(f"{_ONE}retry", retry, name="erasure_retry"),
]
