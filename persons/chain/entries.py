"""Frame, payload and stamp of an audit entry, as the chain hashes them."""

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
    """The part of a frame that is known before sealing. `team` is the slug, or "" for the
    installation's own chain."""
    return {
        # An old migration stamps entries before this column exists.
        "version": getattr(entry, "version", 1),
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
    """Set salt, digest and stamp of a new entry whose other columns are set."""
    entry.salt = secrets.token_hex(SALT_BYTES)
    entry.digest = verify.salted(entry.salt, payload_of(entry))
    entry.stamp = _stamp(verify.canonical(marks_of(entry, team)), settings.SECRET_KEY)
    return entry


def is_stamped(entry: AuditEntry, team: str) -> bool:
    """Whether this installation wrote the entry, by its current or an earlier secret key."""
    marks = verify.canonical(marks_of(entry, team))
    return any(
        hmac.compare_digest(_stamp(marks, key).encode(), entry.stamp.encode())
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    )


def is_whole(entry: AuditEntry) -> bool:
    """Whether the payload matches the digest. Always True for a redacted entry: a later entry
    vouches for what is left of it (`verify.Redactions`)."""
    return entry.erased_at is not None or digest_now(entry) == entry.digest


def digest_now(entry: AuditEntry) -> str:
    """Digest of the present payload. Equals `digest` unless the entry was redacted or altered."""
    return verify.salted(entry.salt, payload_of(entry))


def is_vouched(entry: AuditEntry, team: str) -> bool:
    """Whether this installation wrote the entry and it is unaltered, apart from redactions that
    later entries vouch for. The same test as a chain verification, for a single entry."""
    if not is_stamped(entry, team):
        return False
    if entry.erased_at is None:
        return is_whole(entry)
    redactions = verify.Redactions()
    rows = AuditEntry.objects.filter(
        team=entry.team_id, action__in=(verify.REDACT, verify.UPGRADE), pk__gt=entry.pk
    )
    try:
        redactions.add(frame_of(entry, team, 1, ""), payload_of(entry), entry.salt, True)
        redactions.is_signed = True
        for one in rows.order_by("pk").iterator():
            if one.erased_at is None and is_stamped(one, team) and is_whole(one):
                redactions.vouch(frame_of(one, team, 2, ""), one.after)
        redactions.demand()
    except verify.Broken:
        return False
    return True


def wrong_with(entry: AuditEntry, team: str, known: Collection[str]) -> str:
    """Why an unsealed entry can't be sealed, "" if it can. `known` are existing digests."""
    if not is_stamped(entry, team):
        return "was not written by this server"
    if not is_whole(entry):
        return "was altered before it was sealed"
    return "is a copy of another entry" if entry.digest in known else ""


def digests_of(team_pk: int | None, rows: Sequence[AuditEntry]) -> set[str]:
    """Digests of sealed entries with the same times. Digests are salted, so each is unique."""
    moments = {entry.at for entry in rows}
    sealed = AuditEntry.objects.filter(team=team_pk, at__in=moments, sequence__isnull=False)
    return set(sealed.order_by().values_list("digest", flat=True))


def _stamp(marks: bytes, secret: str | bytes) -> str:
    return hmac.new(_stamp_key(secret), marks, hashlib.sha256).hexdigest()


@lru_cache(maxsize=8)
def _stamp_key(secret: str | bytes) -> bytes:
    known = secret.encode() if isinstance(secret, str) else secret
    return hashlib.sha256(b"rollcall: stamps of the audit\0" + known).digest()
