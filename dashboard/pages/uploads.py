"""Photos come in: one file a request from a script, or a plain form's many."""

from __future__ import annotations

import json
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import SkipFile, TemporaryFileUploadHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest, body_length
from dashboard.pages.shared import actor_of, go_back, signed_in
from dashboard.pages.sheets import tiles_of
from persons.access import gallery_for
from persons.actions.arrivals import SentFile, arrived_already
from persons.actions.photos import Added, add_photo
from persons.images import ImageRefused, clean_name
from persons.models import Gallery, Photo

LARGEST_FORM = 40
"""Files of the largest size, in one form. A longer body is not even read."""
MOST_TOLD = 8
"""Reasons of refused files that are told one by one."""
MOST_ASKED = 500
"""Files that one request may ask about."""
LONGEST_PATH = 1000


class CappedUploadHandler(TemporaryFileUploadHandler):
    """To disk as it streams in. A file beyond the limit is let go at once and remembered by name:
    its rest is read and thrown away, so that the sender gets to hear why."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.too_large: list[str] = []

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        if start + len(raw_data) > settings.UPLOAD_MAX_BYTES:
            self.too_large.append(self.file_name or "")
            raise SkipFile
        super().receive_data_chunk(raw_data, start)
        return None


@csrf_exempt
@require_POST
def upload(request: HttpRequest, team: str, slug: str) -> HttpResponse:
    """Access is asked before a byte of the body is read; the check for forgery, which reads it,
    comes with `_take`."""
    if not request.user.is_authenticated and wants_json(request):
        return _signed_out()
    return _allowed(request, team, slug)  # type: ignore[return-value]


@signed_in
def _allowed(request: PageRequest, team: str, slug: str) -> HttpResponse:
    gallery = gallery_for(request.user, team, slug, write=True)
    if body_length(request) > LARGEST_FORM * settings.UPLOAD_MAX_BYTES:
        return _too_large(request)
    handler = CappedUploadHandler(request)
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
    """For `static/js/upload.js`: the tile, or the reason. Notes say what of a file is not used."""
    if file is None:
        return _json({"error": "No file arrived. Send it again."}, 422)
    try:
        sent = _told_with(request, file)
        added = _add(request, gallery, file, sent.key(request.user) if sent else "")
    except BadSentFile as error:
        return _json({"error": str(error)}, 400)
    except ImageRefused as error:
        return _json({"error": str(error), "code": error.code}, 422)
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
        except ImageRefused as error:
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
    for reason in refused[:MOST_TOLD]:
        messages.error(request, reason)
    if len(refused) > MOST_TOLD:
        messages.error(request, f"{len(refused) - MOST_TOLD} more files were refused.")
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


# --- What has arrived ---


class BadSentFile(ValueError):
    """What a script said of a file is not what `SentFile` takes. The text is for the sender."""


@require_POST
def known(request: HttpRequest, team: str, slug: str) -> HttpResponseBase:
    """Which of the files that somebody has chosen are here.

    Takes `{"files": [[path, size, modified], …]}`, up to MOST_ASKED of them, as `SentFile` has
    them; answers `{"arrived": [{"file": place in the list, "photo", "url", "trashed"}, …]}`.
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


def _told_with(request: PageRequest, file: UploadedFile[Any]) -> SentFile | None:
    """What a script tells of the file it sends, if it does; the size is that of what arrived."""
    path, modified = request.POST.get("path", ""), request.POST.get("modified", "")
    if not path:
        return None
    try:
        moment = int(modified) if len(modified) < 20 else None
    except ValueError:
        moment = None
    return _sent_file(path, file.size, moment)


def _sent_file(path: object, size: object, modified: object) -> SentFile:
    if not isinstance(path, str) or not 0 < len(path) <= LONGEST_PATH:
        raise BadSentFile(f"`path` must be a text of up to {LONGEST_PATH} characters.")
    # Not `isinstance`: True is no number of bytes.
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
