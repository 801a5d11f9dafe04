"""An entry's frame, its payload and its stamp, as the chain has them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings

from persons.chain import verify
from persons.models import AuditEntry

SALT_BYTES = 16


def moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def payload_of(entry: AuditEntry) -> dict[str, Any]:
    return {
        "target_text": entry.target_text,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
    }


def marks_of(entry: AuditEntry, team: str) -> dict[str, Any]:
    """All of a frame that is known before the entry has its place. `team` is the slug, or nothing
    for the installation."""
    return {
        "version": verify.VERSION,
        "team": team,
        "at": moment(entry.at),
        "actor": entry.actor_id,
        "actor_text": entry.actor_text,
        "address": verify.address_of(entry.address),
        "source": str(entry.source),
        "request_id": entry.request_id,
        "action": entry.action,
        "target_type": entry.target_type,
        "target_id": entry.target_id,
        "digest": entry.digest,
    }


def frame_of(entry: AuditEntry, team: str, sequence: int, previous: str) -> dict[str, Any]:
    return {
        **marks_of(entry, team),
        "entry": entry.pk,
        "sequence": sequence,
        "previous": previous,
    }


def mark(entry: AuditEntry, team: str) -> AuditEntry:
    """Salt, digest and stamp of a new entry, whose other columns are set."""
    entry.salt = secrets.token_hex(SALT_BYTES)
    entry.digest = verify.salted(entry.salt, payload_of(entry))
    entry.stamp = _stamp(verify.canonical(marks_of(entry, team)), settings.SECRET_KEY)
    return entry


def is_stamped(entry: AuditEntry, team: str) -> bool:
    """Whether a server of this installation wrote it: by its secret key, or one it had before."""
    marks = verify.canonical(marks_of(entry, team))
    return any(
        hmac.compare_digest(_stamp(marks, key).encode(), entry.stamp.encode())
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    )


def is_whole(entry: AuditEntry) -> bool:
    """Whether its payload is what its digest says; one that was erased can't be asked."""
    if entry.erased_at is not None:
        return not entry.salt and payload_of(entry) == {
            "target_text": "",
            "before": {},
            "after": {},
            "reason": "",
        }
    return verify.salted(entry.salt, payload_of(entry)) == entry.digest


def wrong_with(entry: AuditEntry, team: str, known: Collection[str]) -> str:
    """Why an entry that waits gets no place, or nothing. `known` are digests that there are."""
    if not is_stamped(entry, team):
        return "was not written by this server"
    if not is_whole(entry):
        return "was altered before it was sealed"
    return "is a copy of another entry" if entry.digest in known else ""


def digests_of(team_pk: int | None, rows: Sequence[AuditEntry]) -> set[str]:
    """Of sealed entries of the same moments. No two entries have the same digest: it is salted."""
    moments = {entry.at for entry in rows}
    sealed = AuditEntry.objects.filter(team=team_pk, at__in=moments, sequence__isnull=False)
    return set(sealed.order_by().values_list("digest", flat=True))


def _stamp(marks: bytes, secret: str | bytes) -> str:
    return hmac.new(_stamp_key(secret), marks, hashlib.sha256).hexdigest()


@lru_cache(maxsize=8)
def _stamp_key(secret: str | bytes) -> bytes:
    known = secret.encode() if isinstance(secret, str) else secret
    return hashlib.sha256(b"rollcall: stamps of the audit\0" + known).digest()
