"""A recognition whose evidence is kept, and the addresses of its page."""

from __future__ import annotations

import hashlib
from typing import Any

from django.test import Client
from django.urls import reverse

from persons.models import (
    Finding,
)
from tests.support.factories import jpeg

SENT = jpeg((200, 120, 90), (64, 48))

BOX = {"left": 10, "top": 8, "right": 34, "bottom": 38}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def url(finding: Finding) -> str:
    where = [finding.team.slug, finding.call_id, finding.recognition_id, finding.position]
    return reverse("evidence", args=where)


def as_json(client: Client, finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = client.get(url(finding), {"format": "json"}).json()
    return found
