"""Access through public links: what the bearer of a link sees, and the count of their visits.

A link opens one gallery: its prepared photos, never those in the trash. Unknown, revoked and
expired tokens all raise the same Http404.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.core import signing
from django.db import transaction
from django.db.models import F, Q
from django.http import Http404
from django.utils import timezone

from persons import audit
from persons.audit import Actor
from persons.models import Decision, Face, Photo, ShareLink, Source
from persons.models.galleries import PhotoQuerySet

TOKEN_BYTES = 32
HINT = 4
VISIT_SALT = "rollcall.share.visit"


def new_token() -> tuple[str, str, str]:
    """(token for the address, hash for the row, last characters of the token for the list)"""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, hash_token(token), token[-HINT:]


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def link_of(token: str) -> ShareLink:
    """The usable link with this token. Raises Http404 without giving a reason."""
    links = ShareLink.objects.select_related("gallery__team").filter(revoked_at=None)
    found = links.filter(token_hash=hash_token(token), expires_at__gt=timezone.now()).first()
    if found is None:
        raise Http404
    return found


def photos_of(link: ShareLink) -> PhotoQuerySet:
    """The gallery's prepared photos, newest first."""
    photos = Photo.objects.filter(gallery=link.gallery_id).exclude(prepared_at=None)
    return photos.order_by("-shown_at", "-pk")


def photo_of(link: ShareLink, pk: int) -> Photo:
    found = photos_of(link).filter(pk=pk).first()
    if found is None:
        raise Http404
    found.gallery = link.gallery
    return found


def names_on(link: ShareLink, photo: Photo) -> list[str]:
    """Names of the people on a photo, from left to right. Empty unless the link shows names.

    Only faces that a human named count, never recognition alone. Hidden people are left out.
    """
    if not link.show_names:
        return []
    faces = Face.objects.filter(photo=photo, missing=False, decision=Decision.NAMED)
    named = faces.filter(person__isnull=False, person__hidden=False).exclude(person__label="")
    return list(dict.fromkeys(named.order_by("left", "pk").values_list("person__label", flat=True)))


def opens(link: ShareLink, password: str) -> bool:
    return not link.password or check_password(password, link.password)


def pass_of(link: ShareLink) -> str:
    """Cookie value for a browser that gave the password. Changing the password invalidates it."""
    message = f"{link.pk}:{link.token_hash}:{link.password}".encode()
    return hmac.new(_key(), message, hashlib.sha256).hexdigest()


def has_pass(link: ShareLink, given: str) -> bool:
    return not link.password or hmac.compare_digest(pass_of(link).encode(), given.encode())


# --- Visits ---

VISIT_SECONDS = 3600
"""A visit is all that one browser requests within this time. A request without a visit's cookie
begins a new one, even if it fetches a single picture.
"""

RECORDED_EVERY = timedelta(minutes=1)
"""At most one audit entry per link in this time. It counts all visits since the last entry."""


def visit_of(link: ShareLink) -> str:
    """Cookie value for a browser whose visit was counted."""
    return signing.dumps(_visit(link), salt=VISIT_SALT)


def has_visit(link: ShareLink, given: str) -> bool:
    try:
        visit = signing.loads(given, salt=VISIT_SALT, max_age=VISIT_SECONDS)
    except signing.BadSignature:
        return False
    return bool(visit == _visit(link))


def _visit(link: ShareLink) -> list[Any]:
    return [link.pk, link.token_hash[:16]]


@transaction.atomic
def count_visit(link: ShareLink) -> None:
    """Count a visit and audit it if an entry is due.

    Nothing about the visitor is stored: it may be anybody, and the audit is kept for long.
    """
    now = timezone.now()
    ShareLink.objects.filter(pk=link.pk).update(view_count=F("view_count") + 1, last_viewed_at=now)
    _record_visits_of(link.pk, now)


def record_visits() -> None:
    """Write due audit entries for visits of up to 100 links. `count_visit` may have left some."""
    now = timezone.now()
    waiting = ShareLink.objects.filter(view_count__gt=F("told_count"))
    due = waiting.filter(Q(told_at=None) | Q(told_at__lte=now - RECORDED_EVERY))
    for pk in due.order_by("pk").values_list("pk", flat=True)[:100]:
        _record_visits_of(pk, now)


@transaction.atomic
def _record_visits_of(pk: int, now: datetime) -> None:
    links = ShareLink.objects.select_for_update(of=("self",)).select_related("gallery__team")
    link = links.filter(pk=pk).first()
    if link is None or (link.told_at is not None and link.told_at > now - RECORDED_EVERY):
        return
    if visits := link.view_count - link.told_count:
        link.told_count, link.told_at = link.view_count, now
        link.save(update_fields=["told_count", "told_at"])
        audit.record(
            actor=bearer_of(link),
            team=link.gallery.team,
            action="link.view",
            target=link,
            after={"visits": visits},
        )


def bearer_of(link: ShareLink) -> Actor:
    return Actor(user=None, source=Source.PAGE, text=f"Somebody with the link …{link.hint}")


def _key() -> bytes:
    return hashlib.sha256(b"share-links:" + settings.SECRET_KEY.encode()).digest()
