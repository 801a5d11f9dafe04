"""What the bearer of a public link sees: as `access` is for members, so this is for everybody else.

A link opens one gallery: its recognised or waiting photos, never those in the trash. Whether the
token is unknown, revoked or over, the answer is the same: nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.db.models import F
from django.http import Http404
from django.utils import timezone

from persons.models import Decision, Face, Photo, ShareLink
from persons.models.galleries import PhotoQuerySet

TOKEN_BYTES = 32
HINT = 4


def new_token() -> tuple[str, str, str]:
    """(token for the address, hash for the row, its last letters for the list)."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, hash_token(token), token[-HINT:]


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def link_of(token: str) -> ShareLink:
    """The link that may be opened with this token just now. Raises Http404, without a reason."""
    links = ShareLink.objects.select_related("gallery__team").filter(revoked_at=None)
    found = links.filter(token_hash=hash_token(token), expires_at__gt=timezone.now()).first()
    if found is None:
        raise Http404
    return found


def photos_of(link: ShareLink) -> PhotoQuerySet:
    """What can be shown of the link's gallery, newest first."""
    photos = Photo.objects.filter(gallery=link.gallery_id).exclude(prepared_at=None)
    return photos.order_by("-shown_at", "-pk")


def photo_of(link: ShareLink, pk: int) -> Photo:
    found = photos_of(link).filter(pk=pk).first()
    if found is None:
        raise Http404
    found.gallery = link.gallery
    return found


def names_on(link: ShareLink, photo: Photo) -> list[str]:
    """Who is on a photo, from left to right, where the link says so.

    What a human said of a face, and nothing that recognition alone says, however sure; nor anybody
    who has no name or is hidden.
    """
    if not link.show_names:
        return []
    faces = Face.objects.filter(photo=photo, missing=False, decision=Decision.NAMED)
    named = faces.filter(person__isnull=False, person__hidden=False).exclude(person__label="")
    return list(dict.fromkeys(named.order_by("left", "pk").values_list("person__label", flat=True)))


def opens(link: ShareLink, password: str) -> bool:
    return not link.password or check_password(password, link.password)


def pass_of(link: ShareLink) -> str:
    """What a browser is given that has said the password. It ends with the password."""
    message = f"{link.pk}:{link.token_hash}:{link.password}".encode()
    return hmac.new(_key(), message, hashlib.sha256).hexdigest()


def has_pass(link: ShareLink, given: str) -> bool:
    return not link.password or hmac.compare_digest(pass_of(link).encode(), given.encode())


def count_view(link: ShareLink) -> None:
    """Somebody opened the page. Who, is not kept."""
    ShareLink.objects.filter(pk=link.pk).update(
        view_count=F("view_count") + 1, last_viewed_at=timezone.now()
    )


def _key() -> bytes:
    return hashlib.sha256(b"share-links:" + settings.SECRET_KEY.encode()).digest()
