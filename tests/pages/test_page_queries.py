"""No page makes more queries for more rows, nor counts through large tables.

Every readable address is requested while the team has a little of everything, and again when it has
more of everything than any page shows.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from persons.audit import Actor, record
from persons.faces.identity import resolve_identities
from persons.models import (
    Call,
    Change,
    ChangedFace,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    GalleryMember,
    Invitation,
    Likeness,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Rejection,
    Role,
    Run,
    Source,
    Team,
    User,
)
from persons.models.calls import Outcome
from tests.support.access_table import TABLE, World, world
from tests.support.factories import (
    FaceFactory,
    GalleryFactory,
    MembershipFactory,
    PersonFactory,
    PhotoFactory,
)

__all__ = ["world"]

pytestmark = pytest.mark.thorough

LITTLE, MUCH = 4, 130
"""Rows of each kind: enough that all that a page may show is there; more than any page holds."""


def behind(*values: object) -> str:
    """`?before=` a row with these values in a list's order, as `paging.key_of` writes it."""
    return "before=" + urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


FAR_FUTURE = 4_102_444_800_000_000
"""Microseconds: the year 2100."""

VARIANTS: dict[str, list[str]] = {
    "t/<slug:team>/g/<slug:slug>/": [
        "show=unknown",
        "show=failed",
        "show=none",
        "sort=uploaded",
        "person=1",
        "from=2020-01-01&to=2040-01-01",
        "with=an",
    ],
    "t/<slug:team>/g/<slug:slug>/photos/range": ["day=2026-11", "sort=uploaded"],
    "t/<slug:team>/trash/": [behind(FAR_FUTURE, 900)],
    "t/<slug:team>/groups/": ["of=s:0", behind(5, 900)],
    "t/<slug:team>/groups/of/<int:number>/<int:person_id>/": [behind(0.5, 900)],
    "t/<slug:team>/review/many/": ["after=1"],
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/company": ["seen=1"],
    "t/<slug:team>/review/many/<int:number>/<int:person_id>/": [behind(0.5, 900)],
    "s/<str:shared>/": ["before=900"],
    "t/<slug:team>/people/": ["space=0", "q=an", "sort=faces"],
    "t/<slug:team>/spaces/<int:number>/": ["view=policy", "view=snapshots", "sort=faces", "q=an"],
    "t/<slug:team>/spaces/<int:number>/people/<int:person_id>/": [
        "view=faces",
        "view=photos",
        "view=enrolments",
        "view=changes",
        "which=suggested",
        "sort=unsure",
    ],
    "t/<slug:team>/review/": [
        "space=0",
        "gallery=harbour",
        "kind=alike",
        "kind=double",
        "kind=weak",
    ],
    "t/<slug:team>/history/": ["method=set", "outcome=done", "source=client", "space=0"],
    "t/<slug:team>/audit/": ["action=photo.upload"],
    "t/<slug:team>/keys/": ["show=ended"],
}


def addresses(world: World) -> Iterator[str]:
    for route, entry in TABLE.items():
        if "get" not in entry.rules:
            continue
        address = world.address(route)
        yield address
        for query in VARIANTS.get(route, ()):
            yield f"{address}?{query}"


def asked(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        response: Any = client.get(address)
        if response.streaming:
            b"".join(response.streaming_content)
    assert response.status_code in (200, 301, 302, 403, 404), f"{address}: {response.status_code}"
    return [query["sql"] for query in queries]


@pytest.mark.parametrize("who", ["owner", pytest.param("editor", marks=pytest.mark.any_database)])
def test_more_rows_ask_for_no_more_queries_and_no_list_is_paged_by_offset(
    world: World, who: str
) -> None:
    client = world.clients[who]
    grow(world, LITTLE)
    little = {address: asked(client, address) for address in addresses(world)}
    grow(world, MUCH)
    wrong = {}
    for address, before in little.items():
        after = asked(client, address)
        if len(after) > len(before):
            wrong[address] = f"{len(before)} queries, then {len(after)}", extra(before, after)
        if offsets := [sql for sql in after if " OFFSET " in sql]:
            wrong[address] = "by offset", offsets
    assert not wrong, "\n".join(f"{address}: {why}" for address, why in wrong.items())


def extra(before: list[str], after: list[str]) -> list[str]:
    """The tables that are asked more often, for the failure's message."""
    tables = [sql.partition(" FROM ")[2][:40] for sql in after]
    for sql in before:
        table = sql.partition(" FROM ")[2][:40]
        if table in tables:
            tables.remove(table)
    return tables


def grow(world: World, count: int) -> None:
    """So many more of everything in the team, around the world's own gallery, photo and person."""
    team = world.team
    gallery = Gallery.objects.get(team=team, slug="harbour")
    photo = Photo.objects.get(pk=world.keys["photo"])
    person = Person.objects.get(space=gallery.space, person_id=world.keys["person_id"])
    people = [PersonFactory.create(space=gallery.space) for _ in range(count)]
    start = Photo.everything.count()
    photos = [
        PhotoFactory.create(
            gallery=gallery,
            sha256=f"{start + number:064x}",
            state=[PhotoState.DONE, PhotoState.DONE, PhotoState.FAILED][number % 3],
            prepared_at=timezone.now(),
            shown_at=timezone.now() - timedelta(days=number),
        )
        for number in range(count)
    ]
    with_faces(photos, photo, person, people)
    resolve_identities([photo.pk, *(one.pk for one in photos)])
    others = [GalleryFactory.create(team=team, is_open=number % 4 > 0) for number in range(count)]
    for one in others:
        PhotoFactory.create(gallery=one, sha256="0" * 64, prepared_at=timezone.now())
    bob = User.objects.get(username="bob")
    GalleryMember.objects.bulk_create(
        GalleryMember(gallery=one, user=bob, role=Role.VIEWER) for one in others[:-1]
    )
    records(team, person, photo, count)
    Likeness.objects.bulk_create(
        Likeness(space=gallery.space, one=person, other=other, similarity=0.5) for other in people
    )


def with_faces(
    photos: list[Photo], photo: Photo, person: Person, people: list[Person]
) -> list[Face]:
    """Of every kind: on each photo somebody known, somebody new and somebody set aside."""
    alice = User.objects.get(username="alice")
    faces = []

    def face(number: int, on: Photo, **values: object) -> None:
        faces.append(FaceFactory.create(photo=on, resolved__skip=True, **values))

    for number, one in enumerate(photos):
        face(number, one, person=person)
        face(number, one, person=people[number], similarity=0.42)
        face(number, one, decision=Decision.IGNORED, decided_by=alice)
        face(number, one if number % 2 else photo)
        face(number, photo, person=people[number], decision=Decision.NAMED, decided_by=alice)
    Rejection.objects.bulk_create(
        Rejection(face=face, person=other) for face, other in zip(faces, people, strict=False)
    )
    Enrolment.objects.bulk_create(
        Enrolment(person=person, face=face, state=EnrolmentState.DONE, image=f"{face.pk}.jpg")
        for face in faces[::5]
    )
    changes = Change.objects.bulk_create(
        Change(team=photo.gallery.team, space=person.space, kind="name", actor=alice, face_count=1)
        for _ in faces[4::5]
    )
    ChangedFace.objects.bulk_create(
        ChangedFace(change=change, face=face)
        for change, face in zip(changes, faces[4::5], strict=True)
    )
    return faces


def records(team: Team, person: Person, photo: Photo, count: int) -> None:
    calls = [
        Call(
            team=team,
            space=person.space,
            method=["recognize", "set"][number % 2],
            source=[Source.CLIENT, Source.WORKER][number % 2],
            outcome=Outcome.DONE,
            backend="embedded",
            image_count=1,
        )
        for number in range(count)
    ]
    mine = Call.objects.filter(team=team).earliest("pk")
    Recognition.objects.bulk_create(
        Recognition(
            call=mine if number % 2 else call,
            position=number,
            name=f"photo{number}",
            photo=photo,
            status=0,
            result={"persons": [{"tag": person.tag}]},
        )
        for number, call in enumerate(Call.objects.bulk_create(calls))
    )
    for _ in range(count):
        record(actor=Actor.command("test"), team=team, action="photo.upload", target=photo)
    Run.objects.bulk_create(
        Run(space=person.space, person=person, reason="enrolled", photo_count=3)
        for _ in range(count)
    )
    for _ in range(count):
        MembershipFactory.create(team=team, role=Role.VIEWER)
    Invitation.objects.bulk_create(
        Invitation(
            team=team,
            email=f"new{number}@example.org",
            role=Role.VIEWER,
            token_hash=f"{team.pk}-{count}-{number}",
            expires_at=timezone.now() + timedelta(days=3),
        )
        for number in range(count)
    )
