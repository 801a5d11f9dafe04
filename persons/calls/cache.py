"""Answers repeated recognitions from stored results while the space is unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from persons.calls import statements
from persons.models import Recognition, Space
from persons.vision.meta import RecognizeRequest, Request
from persons.vision.types import Vision

KNOWN = frozenset({"space", "images", "create_new", "update_embedding", "searcher"})
NOTHING_MORE: Mapping[str, Any] = {}


def question(
    space: Space, vision: Vision, request: Request, meta: Mapping[str, Any] = NOTHING_MORE
) -> str | None:
    """Cache key: a digest of everything an image's answer depends on, except the image.

    A missing parameter equals its default. Unknown keys of `meta` are included, since they might
    change an answer. `space` must be read before Vision is called. The answer may then reflect a
    later state, which is harmless: keys of past states are never requested again.

    None for a recognition that may write, which must always be sent.
    """
    if not isinstance(request, RecognizeRequest) or request.create_new or request.update_embedding:
        return None
    state = [space.version, space.drift, space.consent_changes, space.threshold]
    more = {key: value for key, value in meta.items() if key not in KNOWN}
    asked = [vision.name, vision.model, space.pk, state, request.searcher, more]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def stored(space: Space, wanted: str | None, digests: Iterable[str]) -> dict[str, Recognition]:
    """Stored results of these pictures, by SHA-256. Pictures without one are left out."""
    if wanted is None or not settings.REUSE_HOURS:
        return {}
    since = timezone.now() - timedelta(hours=settings.REUSE_HOURS)
    known = sorted({digest for digest in digests if digest})
    rows = statements.stored_results(space, wanted, known, since) if known else []
    return {row.sha256: row for row in rows}
