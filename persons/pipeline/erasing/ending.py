"""The last of somebody who is erased: their row, their pictures, and what the disk still holds."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q

from persons.locking import locked
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
from persons.pipeline.erasing.claims import Held

MOST_SCRUBS = 30
"""Tries at two seconds each; a reader that never ends keeps SQLite's old pages."""

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
def forget_people(held: Held) -> timedelta | None:
    """Their rows and all that hangs on them, and what the embedded recogniser knows."""
    space = locked(Space.objects.filter(pk=held.space.pk)).get()
    pks = held.pks()
    theirs = Enrolment.objects.filter(person__in=pks)
    files = list(theirs.exclude(image="").values_list("image", flat=True).distinct())
    # Who had one of them by mistake, and has no more.
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
    # Holds that were released: those in force would have refused.
    LegalHold.objects.filter(person__in=pks).delete()
    Person.objects.filter(merged_into__in=pks).update(merged_into=None)
    Person.objects.filter(pk__in=pks).delete()
    Space.objects.filter(pk=space.pk).update(version=F("version") + 1)
    held.note("people", counts, **held.doom(files))
    return None


def _forget_embeddings(held: Held, space: Space) -> int:
    """Also where another Vision is asked by now. Every process loads its index anew."""
    rows = EngineSpace.objects.filter(team=space.team_id, number=space.number)
    engine = locked(rows).first()
    if engine is None:
        return 0
    count = EngineEmbedding.objects.filter(space=engine, person_id__in=held.erasure.ids)
    gone = count.delete()[0]
    EngineSpace.objects.filter(pk=engine.pk).update(version=F("version") + 1)
    return gone


def scrub(held: Held) -> timedelta | None:
    """What was deleted is not in the database's files any more, either.

    SQLite is written anew and its log cut off; PostgreSQL takes away the dead rows of the tables.
    What the report needed until here goes first, so that it goes with the rest.
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
    """Whether every page is new. In the way are readers that hold on to old ones."""
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
