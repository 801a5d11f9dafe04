"""Snapshots of a space: take, upload, download, restore, delete; and emptying the space."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from django.conf import settings
from django.contrib import messages
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db.models import F
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from dashboard.middleware import PageRequest, body_length
from dashboard.pages.privacy.reasons import asking, demand
from dashboard.pages.shared import (
    KeyPage,
    actor_of,
    go_back,
    is_fragment,
    page_by_key,
    refuse,
    signed_in,
)
from dashboard.pages.spaces.space_jobs import frame_of
from persons.access import Right, rights_of, space_for, space_job_for
from persons.actions.snapshots import (
    add_snapshot,
    cancel_job,
    delete_snapshot,
    manifest_of,
    note_download,
    restore_space,
    retry_job,
    take_snapshot,
    truncate_space,
)
from persons.backends.cloud import is_cloud
from persons.billing import metering
from persons.errors import Refused
from persons.files.uploads import CappedUploadHandler
from persons.images import clean_name
from persons.inputs.params import NotUnderstood, shown, whole
from persons.models import Enrolment, EnrolmentState, Person, Space, SpaceJob
from persons.models.work import JobState
from persons.pipeline.spaces.previewing import RestorePreview, preview_restore
from persons.pipeline.spaces.restore_mapping import MappingConflict

Kind = SpaceJob.Kind

PAGE_SIZE = 20
PAST_JOBS = 10
REFUSED_PAGE = 24
MOST_CONFLICTS = 200


# --- The list ---


def snapshots_page(request: PageRequest, found: Space) -> HttpResponse:
    jobs = SpaceJob.objects.filter(space=found).select_related("requested_by")
    past = jobs.filter(kind__in=[Kind.TRUNCATE, Kind.RESTORE]).exclude(finished_at=None)
    context = frame_of(request, found) | {
        "view": "snapshots",
        "page": page_by_key(jobs.snapshots(), request, PAGE_SIZE),
        "past": list(
            past.defer("report").annotate(waiting=F("report__waiting")).order_by("-pk")[:PAST_JOBS]
        ),
        "most_megabytes": settings.SNAPSHOT_MAX_BYTES // 1_000_000,
    }
    return render(request, "spaces/space.html", context)


def url_of(space: Space) -> str:
    return reverse("space", args=[space.team.slug, space.number]) + "?view=snapshots"


@signed_in
@require_POST
def take(request: PageRequest, team: str, number: int) -> HttpResponse:
    found = space_for(request.user, team, number, right=Right.MANAGE)
    try:
        take_snapshot(actor=actor_of(request), space=found)
    except Refused as error:
        return refuse(request, error, url_of(found))
    messages.success(request, "The snapshot is being written.")
    return go_back(request, url_of(found))


@signed_in
@require_GET
@asking
def download(request: PageRequest, team: str, number: int, pk: int) -> HttpResponseBase:
    snapshot = space_job_for(request.user, team, number, pk, right=Right.MANAGE)
    is_there = snapshot.file and snapshot.state == JobState.DONE
    if not is_there or not default_storage.exists(snapshot.file):
        raise Http404("This snapshot's file is not there.")
    reason = demand(request, snapshot.team, "export", f"snapshot-{snapshot.pk}")
    note_download(actor=actor_of(request), snapshot=snapshot, reason=reason)
    day = timezone.localtime(snapshot.created_at)
    name = f"{team}-space-{number}-{day:%Y-%m-%d}.zip"
    headers = {
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    if settings.X_ACCEL_PREFIX:
        headers["X-Accel-Redirect"] = settings.X_ACCEL_PREFIX + quote(snapshot.file)
        return HttpResponse(content_type="application/zip", headers=headers)
    file = default_storage.open(snapshot.file)
    return FileResponse(
        file, as_attachment=True, filename=name, content_type="application/zip", headers=headers
    )


@signed_in
@require_POST
def delete(request: PageRequest, team: str, number: int, pk: int) -> HttpResponse:
    snapshot = space_job_for(request.user, team, number, pk, right=Right.MANAGE)
    try:
        delete_snapshot(actor=actor_of(request), snapshot=snapshot)
    except Refused as error:
        return refuse(request, error, url_of(snapshot.space))
    messages.success(request, "The snapshot is deleted.")
    return go_back(request, url_of(snapshot.space))


# --- Uploading one ---


@csrf_exempt
@require_POST
def upload(request: HttpRequest, team: str, number: int) -> HttpResponseBase:
    """Checks access before it reads the body. The CSRF check reads the body, so it runs later, in
    `_take_file`."""
    return _allowed(request, team, number)


@signed_in
def _allowed(request: PageRequest, team: str, number: int) -> HttpResponse:
    found = space_for(request.user, team, number, right=Right.MANAGE)
    if body_length(request) > settings.SNAPSHOT_MAX_BYTES + 1_000_000:
        return _refused_upload(request, found, _too_large(), status=413)
    handler = CappedUploadHandler(request, limit=settings.SNAPSHOT_MAX_BYTES)
    request.upload_handlers = [handler]
    return _take_file(request, found, handler)


@csrf_protect
def _take_file(request: PageRequest, found: Space, handler: CappedUploadHandler) -> HttpResponse:
    file: UploadedFile[Any] | None = request.FILES.get("file")
    if handler.too_large:
        return _refused_upload(request, found, _too_large(), status=413)
    if file is None:
        return _refused_upload(request, found, Refused("Choose a snapshot file first."))
    try:
        with file.open() as opened:
            add_snapshot(
                actor=actor_of(request),
                space=found,
                file=cast("BinaryIO", opened),
                file_name=clean_name(file.name or ""),
            )
    except Refused as error:
        return _refused_upload(request, found, error)
    messages.success(request, "The file is here. Its pictures are looked through now.")
    if is_fragment(request):
        return HttpResponseClientRedirect(url_of(found))
    return go_back(request, url_of(found))


def _too_large() -> Refused:
    limit = settings.SNAPSHOT_MAX_BYTES // 1_000_000
    return Refused(f"This file is too large: the limit is {limit:,} MB (ROLLCALL_SNAPSHOT_MAX_MB).")


def _refused_upload(
    request: PageRequest, found: Space, error: Refused, *, status: int = 422
) -> HttpResponse:
    return refuse(request, error, url_of(found), status=status)


# --- Restoring ---


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def restore(request: PageRequest, team: str, number: int, pk: int) -> HttpResponse:
    """A GET shows a preview of the restore; a POST starts it."""
    snapshot = space_job_for(request.user, team, number, pk, right=Right.MANAGE)
    asked = request.POST if request.method == "POST" else request.GET
    into = _target(request, snapshot, asked.get("to", ""))
    if request.method != "POST":
        return _restore_page(request, snapshot, into)
    try:
        restore_space(
            actor=actor_of(request),
            snapshot=snapshot,
            space=into,
            with_policy="with_policy" in request.POST,
        )
    except Refused as error:
        return _restore_page(request, snapshot, into, problem=str(error), status=422)
    messages.success(request, f"{into.title} is being restored.")
    return go_back(request, url_of(into))


def _target(request: PageRequest, snapshot: SpaceJob, to: str) -> Space:
    number = whole(to, 9) if to else snapshot.space.number
    if number is None:
        raise NotUnderstood({"to": f"“{shown(to)}” is no space's number, 0 to 9."})
    return space_for(request.user, snapshot.team.slug, number, right=Right.MANAGE)


def _restore_page(
    request: PageRequest, snapshot: SpaceJob, into: Space, *, problem: str = "", status: int = 200
) -> HttpResponse:
    preview: RestorePreview | None = None
    saved = None
    try:
        saved = manifest_of(snapshot)
        preview = preview_restore(saved, into)
    except Refused as error:
        problem = problem or str(error)
    context = {
        "team": snapshot.team,
        "space": snapshot.space,
        "snapshot": snapshot,
        "saved": saved,
        "into": into,
        "spaces": list(Space.objects.filter(team=snapshot.team_id).with_counts()),
        "preview": preview,
        "conflicts": sentences_of(preview.conflicts[:MOST_CONFLICTS]) if preview else [],
        "cost": _cost(preview) if preview else None,
        "is_cloud": is_cloud(),
        "problem": problem,
    }
    return render(request, "spaces/restore.html", context, status=status)


def _cost(preview: RestorePreview) -> Decimal | None:
    return metering.estimate(preview.images) if is_cloud() else None


def sentences_of(conflicts: Any) -> list[str]:
    """Conflicts in words."""
    sentences = []
    for one in conflicts:
        conflict = one if isinstance(one, MappingConflict) else MappingConflict(*one)
        who = conflict.label or f"person{conflict.id}"
        sentences.append(
            {
                "renamed": f"{who} (person{conflict.id}) is called "
                f"{conflict.now_label or 'nothing'} by now, and stays so.",
                "name": f"{who} was person{conflict.id}; here {conflict.now_label} is "
                f"person{conflict.now_id}, and gets the pictures.",
                "id": f"{who} was person{conflict.id}, which is somebody else here: "
                f"now person{conflict.now_id}.",
            }[conflict.kind]
        )
    return sentences


# --- Emptying ---


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def truncate(request: PageRequest, team: str, number: int) -> HttpResponse:
    """A GET shows what emptying the space removes; a POST with the space's name starts it."""
    found = space_for(request.user, team, number, right=Right.MANAGE)
    problem, status = "", 200
    if request.method == "POST":
        try:
            truncate_space(actor=actor_of(request), space=found, typed=request.POST.get("name", ""))
        except Refused as error:
            problem, status = str(error), 422
        else:
            messages.success(request, "A snapshot is written first; then the space is emptied.")
            return go_back(request, url_of(found))
    pictures = Enrolment.objects.filter(person__space=found, state=EnrolmentState.DONE)
    people = Person.objects.filter(space=found, merged_into=None)
    enrolled = pictures.values("person").distinct().count()
    context = {
        "team": found.team,
        "space": found,
        "pictures": pictures.count(),
        "enrolled": enrolled,
        "people": people.count(),
        "unsaved": people.exclude(pk__in=pictures.values("person")).filter(label="").count()
        if found.drift
        else 0,
        "cost": metering.estimate(pictures.count()) if is_cloud() else None,
        "problem": problem,
        "typed": request.POST.get("name", ""),
    }
    return render(request, "spaces/truncate.html", context, status=status)


# --- Jobs ---


@signed_in
@require_GET
def job(request: PageRequest, team: str, number: int, pk: int) -> HttpResponse:
    """The report of a restore or truncation: conflicts, and pictures that Vision refused."""
    found = space_job_for(request.user, team, number, pk, right=Right.GALLERIES)
    if found.kind not in (Kind.RESTORE, Kind.TRUNCATE):
        raise Http404("There is no report of that.")
    refused: KeyPage[Enrolment] = page_by_key(
        Enrolment.objects.filter(job=found, state=EnrolmentState.FAILED).select_related(
            "person__space"
        ),
        request,
        REFUSED_PAGE,
    )
    conflicts = found.report.get("conflicts", [])
    context = {
        "team": found.team,
        "space": found.space,
        "job": found,
        "report": found.report,
        "conflicts": sentences_of(conflicts[:MOST_CONFLICTS]),
        "more_conflicts": max(0, len(conflicts) - MOST_CONFLICTS),
        "page": refused,
        "can_manage": Right.MANAGE in rights_of(request.user, found.team),
    }
    return render(request, "spaces/job.html", context)


@signed_in
@require_POST
def cancel(request: PageRequest, team: str, number: int, pk: int) -> HttpResponse:
    found = space_job_for(request.user, team, number, pk, right=Right.MANAGE)
    try:
        cancel_job(actor=actor_of(request), job=found)
    except Refused as error:
        return refuse(request, error, url_of(found.space))
    messages.success(request, "Cancelled. What was done until now stays.")
    return go_back(request, url_of(found.space))


@signed_in
@require_POST
def retry(request: PageRequest, team: str, number: int, pk: int) -> HttpResponse:
    found = space_job_for(request.user, team, number, pk, right=Right.MANAGE)
    try:
        retry_job(actor=actor_of(request), job=found)
    except Refused as error:
        return refuse(request, error, url_of(found.space))
    return go_back(request, url_of(found.space))


urlpatterns = [
    path("spaces/<int:number>/truncate", truncate, name="space_truncate"),
    path("spaces/<int:number>/snapshots/take", take, name="snapshot_take"),
    path("spaces/<int:number>/snapshots/upload", upload, name="snapshot_upload"),
    path("spaces/<int:number>/snapshots/<int:pk>/download", download, name="snapshot_download"),
    path("spaces/<int:number>/snapshots/<int:pk>/restore", restore, name="snapshot_restore"),
    path("spaces/<int:number>/snapshots/<int:pk>/delete", delete, name="snapshot_delete"),
    path("spaces/<int:number>/jobs/<int:pk>/", job, name="space_job"),
    path("spaces/<int:number>/jobs/<int:pk>/cancel", cancel, name="space_job_cancel"),
    path("spaces/<int:number>/jobs/<int:pk>/retry", retry, name="space_job_retry"),
]
