"""Pictures. No file has a public address: each of these asks access first."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from threading import Lock
from urllib.parse import quote

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe
from PIL import Image

from dashboard.middleware import PageRequest
from dashboard.pages.shared import actor_of, signed_in
from persons import images
from persons.access import enrolment_for, face_for, photo_for, recognition_for
from persons.actions.photos import record_original
from persons.models import Face, Photo
from persons.storage import stored
from persons.vision.types import Box

RENDITIONS = ("thumb", "medium", "large")
TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "HEIF": "image/heic",
}
KEPT = "private, max-age=31536000, immutable"
ASKED_AGAIN = "private, max-age=60"
# A picture is data: should one ever be taken for a page, nothing in it runs.
PICTURE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

PLACEHOLDER = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96" viewBox="0 0 96 96">'
    b'<rect width="96" height="96" fill="#8a948f" fill-opacity=".18"/>'
    b'<g fill="none" stroke="#8a948f" stroke-width="4" stroke-linecap="round">'
    b'<circle cx="48" cy="38" r="13"/><path d="M25 74c2-14 11-20 23-20s21 6 23 20"/></g></svg>'
)

# Browsers ask for all faces of a photo at once; one of the requests makes the crops of all.
_LOCKS = [Lock() for _ in range(32)]


@signed_in
@require_safe
def photo(request: PageRequest, team: str, pk: int, what: str) -> HttpResponseBase:
    found = photo_for(request.user, team, pk)
    stem = PurePosixPath(found.file_name).stem
    if what == "original":
        if request.method == "GET":
            record_original(actor=actor_of(request), photo=found)
        kind = TYPES.get(found.format, "application/octet-stream")
        return send_file(
            request, found.original, found.sha256, kind, name=found.file_name, download=True
        )
    if what == "sent":
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


@signed_in
@require_safe
def trashed(request: PageRequest, team: str, pk: int) -> HttpResponseBase:
    """What a photo in the trash looks like, for who may take it back."""
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
    """A crop, made when it is first asked for. `?box=` in the address says that it may be kept."""
    found = face_for(request.user, team, pk)
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
    """The very bytes that Vision was sent."""
    found = enrolment_for(request.user, team, pk)
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
def recognition(request: PageRequest, team: str, pk: int) -> HttpResponseBase:
    """What a client of the proxy asked about, where the team keeps that."""
    found = recognition_for(request.user, team, pk)
    if not found.image:
        raise Http404("This picture was not kept.")
    kind = kind_of(found.image)
    name = f"asked-{pk}.{kind.partition('/')[2]}"
    return send_file(request, found.image, found.sha256, kind, name=name, cache=ASKED_AGAIN)


def kind_of(key: str) -> str:
    """By its first bytes: a client may call its picture what it likes."""
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
    """Cut all faces of a photo that are not there yet, out of its "large" rendition, in one go."""
    with _LOCKS[photo.pk % len(_LOCKS)]:
        faces = list(photo.faces.select_related("person").order_by("missing", "left", "top", "pk"))
        boxes = [box_of(face) for face in faces if not face.is_forgotten]
        wanted = [box for box in boxes if not default_storage.exists(photo.crop_key(box))]
        for box, data in _cut(photo, wanted, [box_of(face) for face in faces]):
            default_storage.save(photo.crop_key(box), ContentFile(data))


def _cut(photo: Photo, wanted: Sequence[Box], boxes: Sequence[Box]) -> Iterator[tuple[Box, bytes]]:
    """The crops of the `wanted` ones of a photo's `boxes`."""
    if not wanted:
        return
    try:
        with stored(photo.key("large")) as file, Image.open(io.BytesIO(file.read())) as large:
            picture = large.convert("RGB")
    except FileNotFoundError:
        return
    scaled = {box: images.map_box(box, (photo.width, photo.height), picture.size) for box in boxes}
    for box in wanted:
        others = [scaled[other] for other in boxes if other != box]
        try:
            yield box, images.crop_face(picture, scaled[box], others)
        except ValueError:
            continue


def _forgotten(face: Face) -> HttpResponse:
    """A face whose looks are not kept any more is cut out of its photo for whoever looks at it, and
    stored nowhere."""
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
    """The file under `key`, by this process or by the server in front; or a placeholder and 404."""
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
