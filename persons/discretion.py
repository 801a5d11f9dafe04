"""What the history of calls and the audit log keep to themselves: what tells of a gallery that is
closed to the reader. Which ones those are, `access` says. Auditors read the whole record, as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from persons.access import Asker, records_hidden_from
from persons.models import AuditEntry, Call, Face, Gallery, Photo, ShareLink, Team


def photos_closed_to(user: Asker, call: Call) -> frozenset[int]:
    """The photos of a call, trashed ones too, that are in galleries closed to `user`."""
    hidden = records_hidden_from(user, call.team)
    if not hidden:
        return frozenset()
    asked = Photo.everything.filter(recognitions__call=call, gallery__in=hidden)
    return frozenset(asked.values_list("pk", flat=True))


def entries_closed_to(user: Asker, team: Team, entries: Sequence[AuditEntry]) -> set[int]:
    """Those of some audit entries whose words would tell of a gallery that is closed to `user`.

    That something was done, by whom and when, everybody may read. What was purged is told to nobody
    to whom any gallery is closed.
    """
    hidden = records_hidden_from(user, team)
    if not hidden:
        return set()
    rows: dict[str, tuple[QuerySet[Any], str]] = {
        "gallery": (Gallery.objects.filter(team=team), "pk"),
        "photo": (Photo.everything.filter(gallery__team=team), "gallery"),
        "face": (Face.everything.filter(space__team=team), "photo__gallery"),
        "sharelink": (ShareLink.objects.filter(gallery__team=team), "gallery"),
    }
    closed: set[int] = set()
    for kind, (targets, gallery) in rows.items():
        asked = {entry.pk: int(entry.target_id) for entry in entries if entry.target_type == kind}
        if asked:
            seen = targets.filter(pk__in=set(asked.values())).exclude(**{f"{gallery}__in": hidden})
            readable = set(seen.values_list("pk", flat=True))
            closed |= {pk for pk, target in asked.items() if target not in readable}
    return closed
