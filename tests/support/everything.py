"""A row of every kind that an address or a form may name, and requests that are rolled back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from persons.actions.keys import create_key
from persons.actions.sharing import make_link
from persons.actions.teams import invite_member
from persons.audit import Actor
from persons.models import (
    Call,
    Change,
    ChangedFace,
    ChangeKind,
    Consent,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    Finding,
    Gallery,
    GalleryMember,
    Grouping,
    LegalHold,
    Likeness,
    Person,
    Photo,
    Recognition,
    Rejection,
    Role,
    ShareLink,
    Source,
    SpaceJob,
    User,
)
from persons.models.work import JobState
from tests.support.factories import FaceFactory, MembershipFactory, PersonFactory, PhotoFactory

Keys = dict[str, Any]


def fill(gallery: Gallery, owner: User, *, person_id: int, prefix: str) -> Keys:
    """Make rows of every kind for this gallery and its team. Returns their keys by kind."""
    team, space, actor = gallery.team, gallery.space, Actor(owner, Source.PAGE)
    photo: Photo = PhotoFactory.create(
        gallery=gallery, file_name=f"{prefix}.jpg", uploaded_by=owner
    )
    trashed: Photo = PhotoFactory.create(gallery=gallery, trashed_at=timezone.now())
    person: Person = PersonFactory.create(
        space=space, person_id=person_id, label=f"{prefix} Ann", created_by=owner
    )
    other: Person = PersonFactory.create(space=space, person_id=person_id + 1, label=f"{prefix} Bo")
    face: Face = FaceFactory.create(photo=photo, person=person, similarity=0.41)
    unknown: Face = FaceFactory.create(photo=photo, left=40, right=60)
    grouping = Grouping.objects.create(
        space=space, gallery=gallery, state=JobState.READY, plan=[[unknown.pk, face.pk]], total=2
    )
    group: Person = PersonFactory.create(
        space=space, person_id=person_id + 2, label="", grouping=grouping
    )
    grouped: Face = FaceFactory.create(photo=photo, left=4, right=9, grouped_person=group)
    enrolment = Enrolment.objects.create(
        person=person, face=face, state=EnrolmentState.FAILED, image=f"enrolments/{prefix}.jpg"
    )
    call = Call.objects.create(
        team=team, space=space, method="recognize", source=Source.WORKER, backend="embedded"
    )
    recognition = Recognition.objects.create(
        call=call, position=0, name=f"photo{photo.pk}", photo=photo, gallery=gallery, status=0
    )
    finding = Finding.objects.create(
        team=team, call=call, recognition=recognition, position=0, gallery=gallery, person=person
    )
    change = Change.objects.create(
        team=team, space=space, kind=ChangeKind.CONFIRM, person=person, actor=owner, face_count=1
    )
    ChangedFace.objects.create(
        change=change,
        face=face,
        before={"decision": "", "person": None, "by": None, "at": None, "rejected": []},
        after={
            "decision": "named",
            "person": person.pk,
            "by": owner.pk,
            "at": None,
            "rejected": [],
        },
    )
    snapshot = SpaceJob.objects.create(
        team=team,
        space=space,
        kind=SpaceJob.Kind.SNAPSHOT,
        state=JobState.DONE,
        file="snapshots/one.zip",
    )
    restore = SpaceJob.objects.create(
        team=team, space=space, kind=SpaceJob.Kind.RESTORE, snapshot=snapshot
    )
    likeness = Likeness.objects.create(space=space, one=person, other=other)
    differ = Likeness.objects.create(
        space=space,
        one=min(person, group, key=lambda one: one.pk),
        other=max(person, group, key=lambda one: one.pk),
        decision=Likeness.Decision.DIFFERENT,
    )
    consent = Consent.objects.create(person=person, purpose="Photos of the trip")
    hold = LegalHold.objects.create(team=team, gallery=gallery, reason="Case 12")
    erasure = Erasure.objects.create(
        team=team,
        space=space,
        number=space.number,
        person_id=person_id + 9,
        reference=f"ref-{prefix}",
        certificate={"reference": f"ref-{prefix}"},
        signature="00",
        state=JobState.DONE,
    )
    key, _ = create_key(actor=actor, team=team, name=f"{prefix}-door")
    membership = MembershipFactory.create(team=team, role=Role.VIEWER)
    inside = GalleryMember.objects.create(gallery=gallery, user=membership.user, role=Role.VIEWER)
    invitation, _ = invite_member(
        actor=actor, team=team, email=f"{prefix}@example.org", role=Role.VIEWER
    )
    link, _ = make_link(actor=actor, gallery=gallery)
    return {
        "slug": gallery.slug,
        "photo": photo.pk,
        "trashed": trashed.pk,
        "person": person.pk,
        "person_id": person.person_id,
        "other": other.person_id,
        "group": group.person_id,
        "face": face.pk,
        "unknown": unknown.pk,
        "grouped": grouped.pk,
        "grouping": grouping.pk,
        "enrolment": enrolment.pk,
        "call": call.pk,
        "recognition": recognition.pk,
        "position": 0,
        "finding": finding.pk,
        "change": change.pk,
        "likeness": likeness.pk,
        "differ": differ.pk,
        "snapshot": snapshot.pk,
        "job": restore.pk,
        "consent": consent.pk,
        "hold": hold.pk,
        "reference": erasure.reference,
        "key": key.pk,
        "user": membership.user.pk,
        "membership": membership.pk,
        "gallery_member": inside.pk,
        "invitation": invitation.pk,
        "link": link.pk,
        "number": space.number,
    }


ROOM = 100_000


def number_from(first: int) -> None:
    """Give new rows keys from `first` on, with each table's keys ROOM apart from the others'.

    Such keys look like nothing else on a page. For SQLite, where the test's rollback also resets
    the counters.
    """
    with connection.cursor() as cursor:
        tables = connection.introspection.django_table_names(only_existing=True)
        for number, table in enumerate(sorted(tables)):
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
            cursor.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)",
                [table, first + number * ROOM],
            )


def nothing(keys: Keys) -> Keys:
    """Keys of the same shape that no row has.

    They sort next to the real ones, for lists that only compare keys. The space's number is kept,
    as every team has it.
    """
    said: Keys = {}
    for number, (name, value) in enumerate(sorted(keys.items())):
        said[name] = value - ROOM // 2 if isinstance(value, int) else f"nowhere{number}"
    return said | {"position": 0, "number": keys["number"]}


GUARDED: tuple[type[Model], ...] = (
    Gallery,
    Photo,
    Face,
    Rejection,
    Change,
    ChangedFace,
    Enrolment,
    Grouping,
    GalleryMember,
    ShareLink,
    LegalHold,
)


def state(models: tuple[type[Model], ...] = GUARDED) -> dict[str, list[Any]]:
    """All rows of these tables, by model name."""
    found: dict[str, list[Any]] = {}
    for model in models:
        rows = getattr(model, "everything", model._default_manager).order_by("pk")
        found[model.__name__] = [tuple(row) for row in rows.values_list()]
    return found


class _TakeBack(Exception):
    pass


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    """The body, with the headers that redirect."""
    changed: bool
    """Whether a guarded row was changed."""


def ask(
    client: Client,
    method: str,
    address: str,
    data: Any = None,
    *,
    before: dict[str, list[Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send one request, and roll its changes back.

    `before` is the `state` before it, against which its changes are found.
    """
    try:
        with transaction.atomic():
            sends = {"data": data} if method in ("get", "post") else {}
            response: Any = getattr(client, method)(address, headers=headers, **sends)
            body = b"".join(response.streaming_content) if response.streaming else response.content
            changed = before is not None and not connection.needs_rollback and state() != before
            raise _TakeBack
    except _TakeBack:
        pass
    # Unread messages would show on the next page.
    client.cookies.pop("messages", None)
    told = [response.headers.get(name, "") for name in ("Location", "HX-Redirect", "HX-Trigger")]
    text = body.decode("utf-8", "replace") + "\n" + "\n".join(told)
    return Answer(response.status_code, text, changed)


_ALWAYS_OTHER = re.compile(
    r"<time[^>]*>[^<]*</time>"
    # The time, and a digest of the page, which includes a typed name.
    r'|\b\d\d:\d\d:\d\d\b|name="seen" value="[^"]*"'
    r'|name="csrfmiddlewaretoken" value="[^"]*"'
    r'|"X-CSRFToken": ?"[^"]*"|X-CSRFToken[^,}]*'
    r'|nonce="[^"]*"|/static/[^"]*\?v=[0-9a-f]*'
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)?"
)


def plain(text: str, *echoed: Any) -> str:
    """The text without what differs in every answer, and without the requested keys."""
    if text.startswith("PK"):
        # A zip has its time in every file's header. Exports have tests of their own.
        return "a zip"
    text = _ALWAYS_OTHER.sub("", text)
    for one in sorted({str(one) for one in echoed}, key=len, reverse=True):
        text = re.sub(rf"(?<![0-9A-Za-z]){re.escape(one)}(?![0-9A-Za-z])", "KEY", text)
    return text
