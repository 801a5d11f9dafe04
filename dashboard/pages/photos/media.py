"""Serves pictures. No file has a public address: each view here checks access first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from threading import Lock
from urllib.parse import quote

from django.conf import settings
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import Model
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from dashboard.middleware import PageRequest
from dashboard.pages.privacy.reasons import asking, open_call
from dashboard.pages.shared import actor_of, signed_in
from persons import pictures
from persons.access import enrolment_for, face_for, photo_for, recognition_for
from persons.actions.photos import record_original
from persons.actions.records import (
    fetch_asked_picture,
    fetch_enrolled_picture,
    fetch_sent_copy,
)
from persons.files.storage import stored
from persons.images import FORMATS, ImageRefused
from persons.models import Decision, Face, Photo
from persons.vision.types import Box

RENDITIONS = ("thumb", "medium", "large")
KEPT = "private, max-age=31536000, immutable"
ASKED_AGAIN = "private, max-age=60"
# Should a browser ever treat a picture as a page, nothing in it may run.
PICTURE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

FETCHED_SECONDS = 600

PLACEHOLDER = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96" viewBox="0 0 96 96">'
    b'<rect width="96" height="96" fill="#8a948f" fill-opacity=".18"/>'
    b'<g fill="none" stroke="#8a948f" stroke-width="4" stroke-linecap="round">'
    b'<circle cx="48" cy="38" r="13"/><path d="M25 74c2-14 11-20 23-20s21 6 23 20"/></g></svg>'
)

# Browsers fetch all faces of a photo at once; one of these requests makes the crops for all.
_LOCKS = [Lock() for _ in range(32)]


@signed_in
@require_safe
def photo(request: PageRequest, team: str, pk: int, what: str) -> HttpResponseBase:
    found = photo_for(request.user, team, pk)
    stem = PurePosixPath(found.file_name).stem
    if what in ("original", "full"):
        if request.method == "GET":
            record_original(actor=actor_of(request), photo=found)
        return _whole(request, found, is_shown=what == "full")
    if what == "sent":
        if request.method == "GET":
            fetch_sent_copy(actor=actor_of(request), photo=found)
        return send_file(
            request,
            found.key("sent"),
            found.sent_sha256,
            "image/jpeg",
            name=f"{stem}-sent.jpg",
            cache=ASKED_AGAIN,
        )
    if what not in RENDITIONS:
        raise Http404("There is no such picture.")
    return send_file(
        request,
        found.key(what),
        f"{found.sha256}-{what}",
        "image/webp",
        name=f"{stem}-{what}.webp",
    )


def _whole(request: HttpRequest, photo: Photo, *, is_shown: bool) -> HttpResponseBase:
    """The photo in full resolution: the original, or with `is_shown` one that browsers can show."""
    if is_shown and (key := make_full(photo)):
        name = f"{PurePosixPath(photo.file_name).stem}-full.jpg"
        return send_file(request, key, f"{photo.sha256}-full", "image/jpeg", name=name)
    known = FORMATS.get(photo.format)
    return send_file(
        request,
        photo.original,
        photo.sha256,
        known.media_type if known else "application/octet-stream",
        name=photo.file_name,
        download=not is_shown,
    )


@signed_in
@require_safe
def trashed(request: PageRequest, team: str, pk: int) -> HttpResponseBase:
    """The thumbnail of a photo in the trash, for those who may restore it."""
    found = photo_for(request.user, team, pk, write=True, trashed=True)
    name = f"{PurePosixPath(found.file_name).stem}-thumb.webp"
    return send_file(
        request,
        found.key("thumb"),
        f"{found.sha256}-thumb",
        "image/webp",
        name=name,
        cache=ASKED_AGAIN,
    )


@signed_in
@require_safe
def face(request: PageRequest, team: str, pk: int) -> HttpResponseBase:
    """A face's crop, made on first use. An up-to-date `?box=` lets browsers cache it for good."""
    found = face_for(request.user, team, pk)
    if found.decision == Decision.ERASED:
        return _placeholder()
    if found.is_forgotten:
        return _forgotten(found)
    key = found.photo.crop_key(box_of(found))
    if not default_storage.exists(key):
        make_crops(found.photo)
    asked = request.GET.get("box") == f"{found.left}.{found.top}.{found.right}.{found.bottom}"
    return send_file(
        request,
        key,
        PurePosixPath(key).stem,
        "image/webp",
        name=f"face-{pk}.webp",
        cache=KEPT if asked else ASKED_AGAIN,
    )


@signed_in
@require_safe
def enrolment(request: PageRequest, team: str, pk: int) -> HttpResponseBase:
    """The exact bytes that were sent to Vision."""
    found = enrolment_for(request.user, team, pk)
    # Without a face it isn't one of our crops but a whole picture that a client sent.
    if found.face_id is None and is_first(request, found):
        fetch_enrolled_picture(actor=actor_of(request), enrolment=found)
    return send_file(
        request,
        found.image,
        found.sha256,
        "image/jpeg",
        name=f"enrolment-{pk}.jpg",
        cache=ASKED_AGAIN,
    )


@signed_in
@require_safe
@asking
def recognition(request: PageRequest, team: str, pk: int) -> HttpResponseBase:
    """The picture of a proxy client's recognition, where the team keeps such pictures."""
    found = recognition_for(request.user, team, pk)
    open_call(request, found.call, part=True)
    if not found.image:
        raise Http404("This picture was not kept.")
    if is_first(request, found):
        fetch_asked_picture(actor=actor_of(request), recognition=found)
    kind = kind_of(found.image)
    name = f"asked-{pk}.{kind.partition('/')[2]}"
    return send_file(request, found.image, found.sha256, kind, name=name, cache=ASKED_AGAIN)


def is_first(request: PageRequest, row: Model) -> bool:
    """Whether the user fetches this picture for the first time in ten minutes.

    Pages show such pictures repeatedly; the audit gets one entry for all of these fetches.
    """
    name = f"fetched:{request.user.pk}:{row._meta.model_name}:{row.pk}"
    return request.method == "GET" and cache.add(name, 1, FETCHED_SECONDS)


def kind_of(key: str) -> str:
    """The media type by the file's first bytes: a client's claim isn't trusted. Raises Http404."""
    try:
        with stored(key) as file:
            start = file.read(4)
    except FileNotFoundError:
        raise Http404("This picture is gone.") from None
    if start.startswith(b"\xff\xd8"):
        return "image/jpeg"
    return "image/png" if start == b"\x89PNG" else "image/tiff"


def box_of(face: Face) -> Box:
    return Box(face.left, face.top, face.right, face.bottom)


def make_crops(photo: Photo) -> None:
    """Cut all missing crops of a photo's faces from its "large" rendition, in one go."""
    with _LOCKS[photo.pk % len(_LOCKS)]:
        faces = list(photo.faces.select_related("person").order_by("missing", "left", "top", "pk"))
        shown = [face for face in faces if face.decision != Decision.ERASED]
        boxes = [box_of(face) for face in shown if not face.is_forgotten]
        wanted = [box for box in boxes if not default_storage.exists(photo.crop_key(box))]
        for box, data in _cut(photo, wanted, [box_of(face) for face in faces]):
            default_storage.save(photo.crop_key(box), ContentFile(data))


def make_full(photo: Photo) -> str:
    """The key of a photo's full-size JPEG, made on first use; "" where the original serves.

    Raises Http404 where the original is gone or can't be decoded.
    """
    key = photo.key("full")
    with _LOCKS[photo.pk % len(_LOCKS)]:
        if default_storage.exists(key):
            return key
        try:
            with stored(photo.original) as file:
                data = pictures.full_size(file)
        except (FileNotFoundError, ImageRefused):
            raise Http404("This picture is gone.") from None
        if data is None:
            return ""
        default_storage.save(key, ContentFile(data))
    return key


def _cut(photo: Photo, wanted: Sequence[Box], boxes: Sequence[Box]) -> Iterator[tuple[Box, bytes]]:
    """The crops of the `wanted` boxes among a photo's `boxes`; none where it can't be decoded."""
    if not wanted:
        return
    try:
        with stored(photo.key("large")) as file:
            made = pictures.crops(
                file,
                frame=(photo.width, photo.height),
                boxes=boxes,
                wanted=[boxes.index(box) for box in wanted],
            )
    except (FileNotFoundError, ImageRefused):
        return
    for at, data in made.items():
        yield boxes[at], data


def _forgotten(face: Face) -> HttpResponse:
    """A crop of a forgotten face, cut from its photo for this request and never stored."""
    others = [box_of(other) for other in face.photo.faces.all()]
    for _, data in _cut(face.photo, [box_of(face)], others):
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": PICTURE_POLICY}
        return HttpResponse(data, content_type="image/webp", headers=headers)
    raise Http404("This picture is gone.")


def send_file(
    request: HttpRequest,
    key: str,
    digest: str,
    kind: str,
    *,
    name: str,
    download: bool = False,
    cache: str = KEPT,
) -> HttpResponseBase:
    """Send the file under `key`, from this process or by X-Accel-Redirect.

    A placeholder with status 404 where the file is missing; 304 where `digest` is the ETag that
    the browser has.
    """
    if not key or not default_storage.exists(key):
        return _placeholder()
    headers = {
        "ETag": f'"{digest}"',
        "Cache-Control": cache,
        "Content-Disposition": content_disposition_header(download, name) or "inline",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": PICTURE_POLICY,
    }
    response = HttpResponse(content_type=kind, headers=headers)
    answer = get_conditional_response(request, etag=headers["ETag"], response=response)
    if answer is not None and answer is not response:
        return answer
    if settings.X_ACCEL_PREFIX:
        response["X-Accel-Redirect"] = settings.X_ACCEL_PREFIX + quote(key)
        return response
    if request.method == "HEAD":
        response["Content-Length"] = str(default_storage.size(key))
        return response
    try:
        file = default_storage.open(key)
    except FileNotFoundError:
        return _placeholder()
    return FileResponse(
        file, as_attachment=download, filename=name, content_type=kind, headers=headers
    )


def _placeholder() -> HttpResponse:
    return HttpResponse(
        PLACEHOLDER,
        status=404,
        content_type="image/svg+xml",
        headers={"Cache-Control": "no-store", "Content-Security-Policy": PICTURE_POLICY},
    )


urlpatterns = [
    path("media/photo/<int:pk>/<str:what>", photo, name="media_photo"),
    path("media/trash/<int:pk>", trashed, name="media_trashed"),
    path("media/face/<int:pk>", face, name="media_face"),
    path("media/enrolment/<int:pk>", enrolment, name="media_enrolment"),
    path("media/recognition/<int:pk>", recognition, name="media_recognition"),
]
