"""The certificate of an erasure: what was destroyed where and when, and what was out of reach."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from persons import audit
from persons.chain import signing
from persons.models import AuditEntry, Erasure, JobState
from persons.pipeline.audit.sealing import seal_batch
from persons.pipeline.privacy.erasing.claims import HeldErasure

FORMAT = "rollcall-erasure"
VERSION = 1

ACTIONS = ("person.erase", "person.erased")

SEAL_SECONDS = 60
"""How long to wait for the sealer. After that the certificate names entries without their place."""

OUT_OF_REACH = {
    "backups": "Backups of the database and of the data folder that were made before. Restoring "
    "one erases them again, as soon as Rollcall runs with its journal of erasures.",
    "copies": "What was downloaded, printed or fetched by clients before: photos, snapshots, "
    "exports, answers; and what browsers keep of it.",
    "disk": "What the file system or a drive keeps of files that were deleted.",
}
POSTGRES = (
    "PostgreSQL's write-ahead log, archives of it and replicas' logs, until they are recycled; and "
    "the free space of its files, until it is used again."
)
UNSCRUBBED = (
    "Old pages of the SQLite file: some program was reading it all the time. Stop Rollcall and run "
    "VACUUM on it."
)


def certify(held: HeldErasure) -> timedelta | None:
    """The last step: records the end, then signs once the audit entries have their place in the
    chain."""
    erasure = held.erasure
    if not erasure.report.get("ended_at"):
        _record_end(held)
        return timedelta(seconds=1)
    entries = list(
        AuditEntry.objects.filter(
            team=erasure.team,
            action__in=ACTIONS,
            target_type="erasure",
            target_id=str(erasure.pk),
        ).order_by("pk")
    )
    ended = datetime.fromisoformat(erasure.report["ended_at"])
    is_late = timezone.now() - ended > timedelta(seconds=SEAL_SECONDS)
    if any(entry.sequence is None for entry in entries):
        seal_batch(erasure.team_id)
        for entry in entries:
            entry.refresh_from_db()
    if any(entry.sequence is None for entry in entries) and not is_late:
        return timedelta(seconds=1)
    content = contents(erasure, entries)
    key, signature = signing.sign(content)
    with transaction.atomic():
        held.end(
            JobState.DONE,
            error="",
            step="",
            done=erasure.total,
            finished_at=timezone.now(),
            certificate=content,
            key=key,
            signature=signature,
            keep_until=timezone.now() + timedelta(days=settings.CERTIFICATE_DAYS),
            report={"ids": erasure.ids},
        )
    return None


@transaction.atomic
def _record_end(held: HeldErasure) -> None:
    """Record the end. The entry identifies the person by space and number only."""
    erasure = held.erasure
    audit.record(
        actor=held.actor,
        team=erasure.team,
        action="person.erased",
        target=erasure,
        after={
            "space": erasure.number,
            "person_id": erasure.person_id,
            "reference": erasure.reference,
            "destroyed": erasure.report.get("destroyed", {}),
            "vision": erasure.report.get("probe", {}).get("confirmed", False),
        },
    )
    held.keep(ended_at=timezone.now().isoformat(timespec="seconds"))


def contents(erasure: Erasure, entries: list[AuditEntry]) -> dict[str, Any]:
    """The certificate's signed content. It holds none of their names, pictures or digests."""
    report = erasure.report
    times = report.get("times", {})
    asked_by = erasure.requested_by
    return {
        "format": FORMAT,
        "version": VERSION,
        "reference": erasure.reference,
        "team": erasure.team.slug,
        "space": erasure.number,
        "person": erasure.person_id,
        "merged": [one for one in erasure.ids if one != erasure.person_id],
        "asked_by": str(asked_by) if asked_by else report.get("asked_by", "Rollcall"),
        "asked_at": erasure.created_at.isoformat(timespec="seconds"),
        "ended_at": report["ended_at"],
        "reason": erasure.reason,
        "replayed": erasure.replayed,
        "photos": erasure.photos,
        "destroyed": [
            {"place": place, "at": times.get(place, ""), "counts": counts}
            for place, counts in sorted(report.get("destroyed", {}).items())
            if any(counts.values())
        ],
        "vision": report.get("vision", {}),
        "probe": report.get("probe", {}),
        "database": {"kind": connection.vendor, "scrubbed": report.get("scrubbed", False)},
        "out_of_reach": _out_of_reach(erasure),
        "log": [
            {
                "action": entry.action,
                "at": entry.at.isoformat(),
                "sequence": entry.sequence,
                "hash": entry.hash,
            }
            for entry in entries
        ],
    }


def _out_of_reach(erasure: Erasure) -> list[str]:
    report = erasure.report
    sentences = list(OUT_OF_REACH.values())
    if connection.vendor != "sqlite":
        sentences.append(POSTGRES)
    elif not report.get("scrubbed"):
        sentences.append(UNSCRUBBED)
    kept = report.get("kept_photos", 0)
    if kept:
        sentences.append(
            f"{kept} of the photos they are on, which were kept: their faces can be seen on them, "
            "and a recognition finds a face there, which Rollcall leaves without a name."
        )
    if mentions := report.get("mentions", 0):
        sentences.append(
            f"{mentions} texts that may name them and belong to something else: names of files, "
            "galleries, spaces, keys and accounts, titles of links, notes on others, reasons, and "
            "names of pictures that clients sent and they were not found on."
        )
    if shared := report.get("shared", 0):
        sentences.append(
            f"{shared} of their enrolled pictures, which are somebody else's as well, under "
            "another number or in another space, and stay theirs."
        )
    sentences += [
        f"{count} of their pictures were sent to {backend}, which is not what this team asks now."
        for backend, count in sorted(report.get("elsewhere", {}).items())
    ]
    return sentences
