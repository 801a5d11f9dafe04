"""Uploads: one file a request from the page's script, or many from a plain form."""

from __future__ import annotations

import json
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest, body_length
from dashboard.pages.galleries.sheets import tiles_of
from dashboard.pages.shared import actor_of, go_back, signed_in
from persons.access import gallery_for
from persons.actions.photos import Added, add_photo
from persons.actions.upload_dedup import SentFile, arrived_already
from persons.decoding import DecodingBusy
from persons.files.uploads import CappedUploadHandler
from persons.images import ImageRefused, clean_name
from persons.inputs.params import whole
from persons.models import Gallery, Photo

LARGEST_FORM = 40
"""Files of the largest size that one form may hold. A longer body isn't even read."""
MOST_LISTED = 8
"""Refused files whose reasons are shown one by one."""
MOST_ASKED = 500
"""Files that one request may ask about."""
LONGEST_PATH = 1000


@csrf_exempt
@require_POST
def upload(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    """Checks access before it reads the body. The CSRF check reads the body, so it runs later, in
    `_take`."""
    if not request.user.is_authenticated and wants_json(request):
        return _signed_out()
    return _allowed(request, team, slug)  # type: ignore[return-value]


@signed_in
def _allowed(request: PageRequest, team: str, slug: str) -> HttpResponse:
    gallery = gallery_for(request.user, team, slug, write=True)
    if body_length(request) > LARGEST_FORM * settings.UPLOAD_MAX_BYTES:
        return _too_large(request)
    handler = CappedUploadHandler(request, limit=settings.UPLOAD_MAX_BYTES)
    request.upload_handlers = [handler]
    return _take(request, gallery, handler)


@csrf_protect
def _take(request: PageRequest, gallery: Gallery, handler: CappedUploadHandler) -> HttpResponse:
    files = request.FILES.getlist("files")
    too_large = [clean_name(name) for name in handler.too_large]
    if wants_json(request):
        if too_large:
            return _too_large(request)
        return _take_one(request, gallery, files[0] if files else None)
    return _take_many(request, gallery, files, too_large)


def _take_one(
    request: PageRequest, gallery: Gallery, file: UploadedFile[Any] | None
) -> HttpResponse:
    """Answers `static/js/galleries/upload.js` with the photo and its tile, or with an error.

    201 for a new photo, 200 for one that was there. Notes tell which parts of a file aren't used.
    Errors: 400 bad fields, 422 no image or a refused one, 503 decoder busy (`Retry-After`).
    """
    if file is None:
        return _json({"error": "No file arrived. Send it again."}, 422)
    try:
        sent = _description_of(request, file)
        added = _add(request, gallery, file, sent.key(request.user) if sent else "")
    except BadSentFile as error:
        return _json({"error": str(error)}, 400)
    except ImageRefused as error:
        return _json({"error": str(error), "code": error.code}, 422)
    except DecodingBusy as error:
        response = _json({"error": str(error)}, 503)
        response["Retry-After"] = str(error.retry_after)
        return response
    photo = tiles_of(Photo.objects.filter(pk=added.photo.pk)).get()
    tile = {"team": gallery.team, "photo": photo, "selectable": True}
    return _json(
        {
            "new": added.is_new,
            "restored": added.is_restored,
            "photo": photo.pk,
            "url": reverse("photo", args=[gallery.team.slug, photo.pk]),
            "notes": photo.notes if added.is_new else [],
            "tile": render_to_string("parts/tile.html", tile, request=request),
        },
        201 if added.is_new else 200,
    )


def _take_many(
    request: PageRequest, gallery: Gallery, files: list[UploadedFile[Any]], too_large: list[str]
) -> HttpResponse:
    added, present = 0, 0
    limit = settings.UPLOAD_MAX_BYTES // 1_000_000
    refused = [f"{name}: this file has more than {limit} MB." for name in too_large]
    for file in files:
        try:
            is_new = _add(request, gallery, file).is_new
        except (ImageRefused, DecodingBusy) as error:
            refused.append(f"{clean_name(file.name or '')}: {error}")
            continue
        added, present = added + is_new, present + (not is_new)
    if not files and not too_large:
        messages.error(request, "Choose one or more photos first.")
    if added:
        messages.success(request, "1 photo added." if added == 1 else f"{added} photos added.")
    if present:
        was = "1 photo was" if present == 1 else f"{present} photos were"
        messages.info(request, f"{was} here already.")
    for reason in refused[:MOST_LISTED]:
        messages.error(request, reason)
    if len(refused) > MOST_LISTED:
        messages.error(request, f"{len(refused) - MOST_LISTED} more files were refused.")
    return go_back(request, reverse("gallery", args=[gallery.team.slug, gallery.slug]))


def _add(
    request: PageRequest, gallery: Gallery, file: UploadedFile[Any], arrival_key: str = ""
) -> Added:
    with file.open() as opened:
        return add_photo(
            actor=actor_of(request),
            gallery=gallery,
            file=cast("BinaryIO", opened),
            file_name=file.name or "",
            arrival_key=arrival_key,
        )


# --- Files that have arrived already ---


class BadSentFile(ValueError):
    """A script's description of a file doesn't fit `SentFile`. The text is for the sender."""


@require_POST
def known(request: HttpRequest, team: str, slug: str) -> HttpResponseBase:
    """Which of the chosen files have arrived already, so that an upload can skip them.

    Takes `{"files": [[path, size, modified], …]}`, at most MOST_ASKED, with the fields of
    `SentFile`. Answers `{"arrived": [{"file", "photo", "url", "trashed"}, …]}`, where `file` is
    the index in the request's list.
    """
    if not request.user.is_authenticated and wants_json(request):
        return _signed_out()
    return _known(request, team, slug)


@signed_in
def _known(request: PageRequest, team: str, slug: str) -> HttpResponse:
    gallery = gallery_for(request.user, team, slug, write=True)
    try:
        keys = [file.key(request.user) for file in _asked_about(request)]
    except BadSentFile as error:
        return _json({"error": str(error)}, 400)
    arrived = arrived_already(gallery, keys)
    return _json(
        {
            "arrived": [
                {
                    "file": place,
                    "photo": arrived[key].photo,
                    "url": reverse("photo", args=[gallery.team.slug, arrived[key].photo]),
                    "trashed": arrived[key].is_trashed,
                }
                for place, key in enumerate(keys)
                if key in arrived
            ]
        },
        200,
    )


def _asked_about(request: PageRequest) -> list[SentFile]:
    try:
        asked = json.loads(request.body)
    except RequestDataTooBig:
        raise BadSentFile("That is too much in one request.") from None
    except (ValueError, RecursionError):
        raise BadSentFile("This is not JSON.") from None
    files = asked.get("files") if isinstance(asked, dict) else None
    if not isinstance(files, list) or len(files) > MOST_ASKED:
        raise BadSentFile(f"`files` must be a list of up to {MOST_ASKED} files.")
    return [_sent_file(*file) for file in files if _has_three(file)]


def _has_three(file: object) -> bool:
    if isinstance(file, list) and len(file) == 3:
        return True
    raise BadSentFile("A file is [path, size, modified].")


def _description_of(request: PageRequest, file: UploadedFile[Any]) -> SentFile | None:
    """The file's description from the form; None without a path. The size is the received one."""
    path, modified = request.POST.get("path", ""), request.POST.get("modified", "")
    if not path:
        return None
    # Negative: a file may be older than 1970.
    since = whole(modified.removeprefix("-"))
    if since is not None and modified.startswith("-"):
        since = -since
    return _sent_file(path, file.size, since)


def _sent_file(path: object, size: object, modified: object) -> SentFile:
    if not isinstance(path, str) or not 0 < len(path) <= LONGEST_PATH:
        raise BadSentFile(f"`path` must be a text of up to {LONGEST_PATH} characters.")
    # Not `isinstance`, which would accept True.
    if type(size) is not int or not 0 <= size < 2**63:
        raise BadSentFile("`size` must be the number of bytes.")
    if type(modified) is not int or abs(modified) >= 2**63:
        raise BadSentFile("`modified` must be milliseconds since 1970.")
    return SentFile(path, size, modified)


def _signed_out() -> JsonResponse:
    return _json({"error": "You are signed out. Sign in again, and the upload goes on."}, 401)


def wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == "application/json"


def _too_large(request: HttpRequest) -> HttpResponse:
    limit = settings.UPLOAD_MAX_BYTES // 1_000_000
    if wants_json(request):
        return _json({"error": f"This file is too large: the limit is {limit} MB."}, 413)
    return render(request, "413.html", {"limit": limit}, status=413)


def _json(answer: dict[str, Any], status: int) -> JsonResponse:
    return JsonResponse(answer, status=status)


urlpatterns = [
    path("g/<slug:slug>/upload", upload, name="upload"),
    path("g/<slug:slug>/upload/known", known, name="upload_known"),
]
