"""Access to spaces and records: calls, recognitions, findings, erasures and audit entries."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet, Value
from django.http import Http404

from persons.access.galleries import hidden_from
from persons.access.roles import (
    Asker,
    Right,
    member_of_galleries,
    one_of,
    rights_of,
    team_for,
)
from persons.models import (
    AuditConcern,
    AuditEntry,
    Call,
    Erasure,
    Finding,
    Recognition,
    Source,
    Space,
    SpaceJob,
    Team,
)
from persons.vision.types import Method


def space_for(user: Asker, team: str, number: int, *, right: Right = Right.RECORDS) -> Space:
    return one_of(
        Space.objects.select_related("team"),
        team=team_for(user, team, right=right),
        number=number,
    )


def space_job_for(
    user: Asker, team: str, number: int, pk: int, *, right: Right = Right.RECORDS
) -> SpaceJob:
    """A snapshot, truncation or restore of one of the team's spaces."""
    return one_of(
        SpaceJob.objects.select_related("team", "space__team", "requested_by", "snapshot"),
        team=team_for(user, team, right=right),
        space__number=number,
        pk=pk,
    )


def call_for(user: Asker, team: str, pk: int) -> Call:
    return one_of(
        Call.objects.select_related("team", "space", "actor", "key"),
        team=team_for(user, team),
        pk=pk,
    )


def recognition_for(user: Asker, team: str, pk: int) -> Recognition:
    """A recognition whose picture `user` may see: this needs access to the photo's gallery."""
    membership = member_of_galleries(user, team)
    hidden = hidden_from(user, membership.team)
    seen = Recognition.objects.select_related("photo__gallery")
    if hidden:
        # The gallery at the time counts too: the photo may be gone or moved.
        seen = seen.exclude(photo__gallery__in=hidden).exclude(gallery__in=hidden)
        seen = seen.exclude(of_unknown_gallery())
    return one_of(seen, call__team=membership.team_id, pk=pk)


def finding_for(user: Asker, team: str, call: int, recognition: int, position: int) -> Finding:
    """One face of one answer, for everybody who may read records, auditors included.

    Raises Http404 if the photo's gallery is closed to `user`, now or at the time of recognition.
    """
    return _finding(user, team, call=call, recognition=recognition, position=position)


def finding_by_pk(user: Asker, team: str, pk: int) -> Finding:
    return _finding(user, team, pk=pk)


def _finding(user: Asker, team: str, **lookup: int) -> Finding:
    found = one_of(
        Finding.objects.select_related(
            "team",
            "call__team",
            "call__space",
            "call__actor",
            "call__key",
            "recognition__photo__gallery",
            "person__space",
        ),
        team=team_for(user, team),
        **lookup,
    )
    if finding_is_closed(found, records_hidden_from(user, found.team)):
        raise Http404("There is no such page.")
    return found


def of_unknown_gallery(image: str = "") -> Q:
    """Images that a worker sent and whose gallery is no longer known.

    They are withheld from users to whom any gallery is closed. `image` is the lookup prefix from
    other rows to the Recognition.
    """
    unknown = {"gallery": None, "photo": None, "call__method": Method.RECOGNIZE}
    return Q(**{f"{image}{name}": value for name, value in unknown.items()}) & Q(
        **{f"{image}call__source": Source.WORKER}
    )


def records_hidden_from(user: Asker, team: Team) -> frozenset[int]:
    """Galleries whose records are withheld from `user`. For auditors there are none."""
    hidden = hidden_from(user, team)
    return hidden if hidden and Right.GALLERIES in rights_of(user, team) else frozenset()


def finding_is_closed(finding: Finding, hidden: Collection[int]) -> bool:
    if not hidden:
        return False
    photo = finding.recognition.photo
    if photo is None and finding.gallery_id is None:
        # A client's image has no gallery; the gallery of a deleted photo may be unknown.
        return finding.call.source == Source.WORKER
    return finding.gallery_id in hidden or (photo is not None and photo.gallery_id in hidden)


def erasures_for(user: Asker, team: str) -> QuerySet[Erasure]:
    """The team's erasures, for owners and auditors."""
    found = team_for(user, team, right=Right.ERASURES)
    return Erasure.objects.filter(team=found).select_related("team", "requested_by")


def erasure_for(
    user: Asker, team: str, reference: str, *, right: Right = Right.ERASURES
) -> Erasure:
    return one_of(
        Erasure.objects.select_related("team", "requested_by"),
        team=team_for(user, team, right=right),
        reference=reference,
    )


def audit_for(user: Asker, team: str) -> QuerySet[AuditEntry]:
    """The team's audit entries, annotated with `is_closed`.

    `is_closed` means that the entry's words are about a gallery that is closed to `user`, now or
    when it was written. Every member may still read what kind of action it was, by whom and when.
    """
    found = team_for(user, team)
    entries = AuditEntry.objects.filter(team=found).select_related("actor")
    return entries.annotate(is_closed=entry_is_closed(records_hidden_from(user, found)))


def entry_is_closed(hidden: Collection[int]) -> Exists | Value:
    """SQL condition on an audit entry: it is about a gallery in `hidden` or one no longer known."""
    if not hidden:
        return Value(False, output_field=BooleanField())
    of_gallery = Q(gallery__in=hidden) | Q(gallery=None)
    return Exists(AuditConcern.objects.filter(of_gallery, entry=OuterRef("pk")))
