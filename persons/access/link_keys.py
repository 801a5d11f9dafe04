"""Cursors of a public link's pages: keys that only this server can make or read.

A key is part of the page's address and contains the time by which photos are sorted. That is when
they were taken, which a link without details must not reveal. So keys are encrypted and bound to
their link; forged keys and those of other links are invalid. The encryption is deterministic: the
same position always has the same key.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.conf import settings

from persons.models import Photo, ShareLink

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = struct.Struct(">qq")


def key_of(link: ShareLink, photo: Photo) -> str:
    place = _PLACE.pack((photo.shown_at - _EPOCH) // timedelta(microseconds=1), photo.pk)
    sealed = _cipher().encrypt(place, [link.token_hash.encode()])
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def place_of(link: ShareLink, key: str) -> tuple[datetime, int] | None:
    """(`shown_at`, pk) of the photo that the key was made of; None if the key is invalid."""
    with suppress(ValueError, OverflowError, InvalidTag):
        sealed = base64.b64decode(f"{key}{'=' * (-len(key) % 4)}", altchars="-_", validate=True)
        at, pk = _PLACE.unpack(_cipher().decrypt(sealed, [link.token_hash.encode()]))
        return _EPOCH + timedelta(microseconds=at), pk
    return None


def _cipher() -> AESSIV:
    return AESSIV(hashlib.sha512(b"share-places:" + settings.SECRET_KEY.encode()).digest())
