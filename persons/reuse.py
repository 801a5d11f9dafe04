"""The same picture asked again of an unchanged space has the same answer: it need not be sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from persons import statements
from persons.models import Recognition, Space
from persons.vision.meta import RecognizeRequest, Request
from persons.vision.types import Vision

KNOWN = frozenset({"space", "images", "create_new", "update_embedding", "searcher"})
NOTHING_MORE: Mapping[str, Any] = {}


def question(
    space: Space, vision: Vision, request: Request, meta: Mapping[str, Any] = NOTHING_MORE
) -> str | None:
    """Digest of all that an image's answer depends on, but the image itself.

    A parameter that is left out is the same as its default. What `meta` has besides those that are
    known might change an answer as well. `space` was read before Vision is asked. An answer may
    then know of a later state, which does no harm: that of a state that is over is never asked for
    again.

    None for a recognition that may write: it has to be asked.
    """
    if not isinstance(request, RecognizeRequest) or request.create_new or request.update_embedding:
        return None
    state = [space.version, space.drift, space.consent_changes, space.threshold]
    more = {key: value for key, value in meta.items() if key not in KNOWN}
    asked = [vision.name, vision.model, space.pk, state, request.searcher, more]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def stored(space: Space, wanted: str | None, digests: Iterable[str]) -> dict[str, Recognition]:
    """The stored results of these pictures, by digest, as far as there are any."""
    if wanted is None or not settings.REUSE_HOURS:
        return {}
    since = timezone.now() - timedelta(hours=settings.REUSE_HOURS)
    known = sorted({digest for digest in digests if digest})
    rows = statements.stored_results(space, wanted, known, since) if known else []
    return {row.sha256: row for row in rows}
