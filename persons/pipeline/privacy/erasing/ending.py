"""The last steps of an erasure: the people's rows and embeddings, and old pages of the database."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q

from persons.db.locking import locked
from persons.models import (
    AuditEntry,
    Call,
    Change,
    ChangedFace,
    Consent,
    EngineEmbedding,
    EngineSpace,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    FaceVector,
    Finding,
    LegalHold,
    Likeness,
    NameStart,
    Person,
    Photo,
    Recognition,
    Rejection,
    Run,
    Space,
    SpaceJob,
)
from persons.models.canonical import set_merged_into
from persons.pipeline.privacy.erasing.claims import HeldErasure

MOST_SCRUBS = 30
"""Tries, two seconds apart. A reader that never ends keeps SQLite's old pages."""

SCRUBBED = (
    AuditEntry,
    Call,
    Change,
    ChangedFace,
    Consent,
    EngineEmbedding,
    Enrolment,
    Erasure,
    Face,
    FaceVector,
    Finding,
    LegalHold,
    Likeness,
    NameStart,
    Person,
    Photo,
    Recognition,
    Rejection,
    Run,
    SpaceJob,
)

log = logging.getLogger(__name__)


@transaction.atomic
def forget_people(held: HeldErasure) -> timedelta | None:
    """Delete the people's rows, what depends on them, and the embedded recogniser's embeddings."""
    space = locked(Space.objects.filter(pk=held.space.pk)).get()
    pks = held.pks()
    theirs = Enrolment.objects.filter(person__in=pks)
    files = list(theirs.exclude(image="").values_list("image", flat=True).distinct())
    # Others who had one of the pictures by mistake, and no longer do.
    wrong = Enrolment.objects.exclude(person__in=pks).filter(image__in=files)
    wrong.exclude(state__in=EnrolmentState.live()).update(image="", sha256="", error="")
    counts = {
        "enrolments": theirs.count(),
        "names": Person.objects.filter(pk__in=pks).count(),
        "consents": Consent.objects.filter(person__in=pks).count(),
        "looks": Run.objects.filter(person__in=pks).count(),
        "embeddings": _forget_embeddings(held, space),
        "likenesses": Likeness.objects.filter(Q(one__in=pks) | Q(other__in=pks)).count(),
    }
    # Only released holds are left: one in force would have refused the erasure.
    LegalHold.objects.filter(person__in=pks).delete()
    for person in Person.objects.filter(merged_into__in=pks).order_by("pk"):
        set_merged_into(person, None)
    Person.objects.filter(pk__in=pks).delete()
    Space.objects.filter(pk=space.pk).update(version=F("version") + 1)
    held.note("people", counts, **held.mark_for_deletion(files))
    return None


def _forget_embeddings(held: HeldErasure, space: Space) -> int:
    """Also if the team uses another Vision by now. Every process then reloads its index."""
    rows = EngineSpace.objects.filter(team=space.team_id, number=space.number)
    engine = locked(rows).first()
    if engine is None:
        return 0
    count = EngineEmbedding.objects.filter(space=engine, person_id__in=held.erasure.ids)
    gone = count.delete()[0]
    EngineSpace.objects.filter(pk=engine.pk).update(version=F("version") + 1)
    return gone


def scrub(held: HeldErasure) -> timedelta | None:
    """Remove deleted rows from the database's files.

    SQLite's file is rewritten and its log truncated; PostgreSQL vacuums the tables. The report's
    private part is removed first, so that it goes too.
    """
    tries: int = held.erasure.report.get("scrubs", 0)
    with transaction.atomic():
        left = {
            key: part
            for key, part in held.erasure.report.items()
            if key not in ("labels", "digests", "photos", "gone_photos", "doomed")
        }
        held.renew(report=left | {"scrubs": tries + 1})
    try:
        is_done = _scrub_sqlite() if connection.vendor == "sqlite" else _scrub_postgres()
    except DatabaseError as error:
        log.warning("The database can't be scrubbed just now: %s", error)
        is_done = False
    if not is_done and tries < MOST_SCRUBS:
        return timedelta(seconds=2)
    with transaction.atomic():
        held.keep(scrubbed=is_done)
    return None


def _scrub_sqlite() -> bool:
    """Whether the log was truncated: readers of old pages prevent it."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        busy, *_ = cursor.fetchone()
    return not busy


def _scrub_postgres() -> bool:
    tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in SCRUBBED)
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM {tables}")
    return True
