"""Chooses a space's Vision backend: the cloud if it is configured, else the embedded recogniser."""

from __future__ import annotations

from persons.backends.cloud import cloud, is_cloud
from persons.backends.embedded import engine_of
from persons.engine.engine import ALIAS_THRESHOLD
from persons.models import Space
from persons.vision.types import Vision


def vision_for(space: Space) -> Vision:
    """The backend for this space, set to the space's own threshold if the backend supports it."""
    if is_cloud():
        return cloud()
    return engine_of(space.team_id).at(
        threshold=space.threshold, alias_threshold=max(ALIAS_THRESHOLD, space.threshold)
    )
