"""Downloads by public links: one original, or the gallery as zips."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from threading import BoundedSemaphore

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.selection import zip_response
from dashboard.pages.public.visits import by_link, token_of
from persons import images, pictures
from persons.access import links as share_links
from persons.actions.sharing import record_link_download
from persons.files.storage import stored
from persons.files.zips import ArchiveNames, Entry, chunks_of, stream
from persons.inputs.params import Parameters
from persons.models import Photo, ShareLink

ZIP_PART = 5000
"""Photos per zip: a larger gallery is downloaded in parts."""

PATIENCE, ZIP_PATIENCE = 5.0, 120.0
"""Seconds to wait for a free helper. A single picture can be requested again, but a zip would be
cut off."""

# A slow reader of a zip holds a thread of this process, so visitors share a limited number.
_ZIPS_AT_ONCE = BoundedSemaphore(2)


def parts_of(count: int) -> list[tuple[int, int, int]]:
    """Parts of the download: (number, first, last) of each zip."""
    starts = range(0, count, ZIP_PART)
    return [(n, at + 1, min(at + ZIP_PART, count)) for n, at in enumerate(starts, 1)]


def original(link: ShareLink, photo: Photo) -> HttpResponse:
    """A photo's original as this link may share it, or why it can't be prepared."""
    try:
        data, suffix = prepared(link, photo)
    except images.ImageRefused as error:
        return HttpResponse(str(error), status=422, content_type="text/plain; charset=utf-8")
    name = _name(link, photo, f"photo-{photo.pk}", suffix)
    record_link_download(link=link, count=1)
    headers = {
        "Content-Disposition": content_disposition_header(True, name) or "attachment",
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(data, content_type="application/octet-stream", headers=headers)


def prepared(link: ShareLink, photo: Photo, *, patience: float = PATIENCE) -> tuple[bytes, str]:
    """A photo's original as this link may share it, and its file name suffix."""
    try:
        with stored(photo.original) as file:
            if link.show_details and link.keep_place:
                found = pictures.shared_whole(file, photo.format, patience=patience)
            else:
                keep = images.Keep.ALL_BUT_PLACE if link.show_details else images.Keep.NOTHING
                found = pictures.stripped(file, photo.format, keep, patience=patience)
            return found.data, found.suffix
    except FileNotFoundError:
        raise Http404 from None


def _name(link: ShareLink, photo: Photo, neutral: str, suffix: str) -> str:
    return _own_name(photo, suffix) if link.show_details else f"{neutral}.{suffix}"


@require_POST
@by_link
def download(request: PageRequest, link: ShareLink) -> HttpResponseBase:
    """A zip of the gallery, or of one part of a large one."""
    if not link.allow_download:
        raise Http404
    given = Parameters(request.POST)
    part = given.number("part", least=1, most=99_999) or 1
    given.demand()
    first = (part - 1) * ZIP_PART
    photos = list(share_links.photos_of(link)[first : first + ZIP_PART])
    if not photos:
        raise Http404
    whole_gallery = part == 1 and len(photos) < ZIP_PART
    name = link.gallery.slug if whole_gallery else f"{link.gallery.slug}-{part}"
    if not _ZIPS_AT_ONCE.acquire(blocking=False):
        return render(request, "public/busy.html", {"token": token_of(request)}, status=429)
    # From here on the slot has an owner that always releases it.
    held = _Held(stream(_entries(link, photos, first)))
    try:
        record_link_download(link=link, count=len(photos))
        return zip_response(held, name=name)
    except BaseException:
        held.close()
        raise


class _Held(Iterator[bytes]):
    """Releases the zip's slot when the zip is sent or the client disconnects, at the latest on
    garbage collection."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._is_held = True

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._is_held:
            self._is_held = False
            _ZIPS_AT_ONCE.release()

    def __del__(self) -> None:
        self.close()


def _entries(
    link: ShareLink, photos: list[Photo], first: int
) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """The zip's entries. If the link hides details, names and dates don't reveal when a photo was
    taken."""
    names = ArchiveNames()
    for position, photo in enumerate(photos):
        photo.gallery = link.gallery
        try:
            data, suffix = prepared(link, photo, patience=ZIP_PATIENCE)
        except (Http404, images.ImageRefused):
            continue
        if not link.show_details:
            name = f"photo-{first + position + 1:05}.{suffix}"
        else:
            name = names.unique(_own_name(photo, suffix))
        at = timezone.localtime(photo.shown_at) if link.show_details else link.created_at
        yield Entry(name, len(data), at), chunks_of(io.BytesIO(data))


def _own_name(photo: Photo, suffix: str) -> str:
    """The photo's own name with the suffix of the delivered format; HEIC, for example, is
    delivered as JPEG."""
    path = PurePosixPath(photo.file_name)
    own = path.suffix.lower().removeprefix(".")
    is_right = any({own, suffix} <= set(one.suffixes) for one in images.FORMATS.values())
    return f"{path.stem}.{own if is_right else suffix}"


urlpatterns = [
    path("s/<secret:shared>/zip", download, name="public_zip"),
]
