"""Lists of the REST API: keyset pagination, and a number of queries independent of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from persons.audit import Actor, record
from persons.models import Call, Enrolment, Gallery, Photo, Recognition, Source, Team, User
from tests.support import factories

ROOT = "/rest/teams/trip/"


@pytest.fixture
def client(alice: User, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(alice)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return factories.GalleryFactory.create(team=team, slug="walk")


def photos_in(gallery: Gallery, count: int) -> list[Photo]:
    return [
        factories.PhotoFactory.create(gallery=gallery, sha256=f"{number:064x}")
        for number in range(count)
    ]


def pages(client: Client, address: str | None) -> Iterator[list[int]]:
    while address is not None:
        said = client.get(address).json()
        yield [row["id"] for row in said["results"]]
        address = said["next"]


def test_pages_follow_each_other_by_their_links_newest_first(
    client: Client, gallery: Gallery
) -> None:
    keys = [photo.pk for photo in photos_in(gallery, 5)]
    found = list(pages(client, ROOT + "galleries/walk/photos/?limit=2"))
    assert found == [[keys[4], keys[3]], [keys[2], keys[1]], [keys[0]]]


def test_a_last_page_that_is_full_has_no_next(client: Client, gallery: Gallery) -> None:
    photos_in(gallery, 4)
    assert [len(page) for page in pages(client, ROOT + "galleries/walk/photos/?limit=2")] == [2, 2]


def test_rows_that_come_or_go_between_pages_neither_repeat_nor_hide_others(
    client: Client, gallery: Gallery
) -> None:
    photos = photos_in(gallery, 5)
    following = pages(client, ROOT + "galleries/walk/photos/?limit=2")
    found = next(following)
    factories.PhotoFactory.create(gallery=gallery, sha256="new")
    gone = photos.pop(3).pk
    Photo.objects.filter(pk=gone).delete()
    found += [key for page in following for key in page]
    assert found == sorted([gone, *(photo.pk for photo in photos)], reverse=True)


def test_an_empty_list_is_one_empty_page(client: Client, gallery: Gallery) -> None:
    said = client.get(ROOT + "galleries/walk/photos/").json()
    assert said == {"next": None, "results": []}


def test_a_page_has_fifty_rows_if_nothing_else_is_asked_for(client: Client, team: Team) -> None:
    for _ in range(51):
        record(actor=Actor.command("test"), team=team, action="team.test")
    assert [len(page) for page in pages(client, ROOT + "audit/")] == [50, 1]


def test_spaces_go_by_number(client: Client, team: Team) -> None:
    said = client.get(ROOT + "spaces/?limit=7").json()
    assert [row["number"] for row in said["results"]] == [0, 1, 2, 3, 4, 5, 6]
    said = client.get(said["next"]).json()
    assert ([row["number"] for row in said["results"]], said["next"]) == ([7, 8, 9], None)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=-1", "cursor=x", "cursor=-1", "cursor=²"]
)
def test_a_limit_or_cursor_that_is_none_is_refused(client: Client, team: Team, query: str) -> None:
    response = client.get(f"{ROOT}audit/?{query}")
    assert response.status_code == 422
    assert set(response.json()["fields"]) == {query.partition("=")[0]}


@pytest.mark.parametrize("cursor", [2**63 - 1, 2**63, 10**18, 10**30])
def test_a_cursor_as_large_as_one_likes_breaks_nothing(
    client: Client, team: Team, cursor: int
) -> None:
    expected = 200 if cursor < 2**63 else 422
    assert client.get(f"{ROOT}audit/?cursor={cursor}").status_code == expected


# --- Queries ---


def fill(team: Team, gallery: Gallery, alice: User) -> None:
    """One more of everything, each with people and things of its own."""
    person = factories.PersonFactory.create(space=gallery.space, created_by=alice)
    photo = factories.PhotoFactory.create(
        gallery=gallery, uploaded_by=factories.UserFactory.create(), sha256=person.tag
    )
    face = factories.FaceFactory.create(
        photo=photo, person=person, decided_by=factories.UserFactory.create()
    )
    known = gallery.space.people.order_by("pk")[0]
    Enrolment.objects.create(person=known, face=face, created_by=factories.UserFactory.create())
    call = Call.objects.create(
        team=team,
        space=gallery.space,
        method="recognize",
        source=Source.WORKER,
        backend="embedded",
        actor=factories.UserFactory.create(),
    )
    first = Call.objects.order_by("pk")[0]
    Recognition.objects.create(call=first, position=call.pk, name="x", photo=photo)
    first_photo = gallery.photos.order_by("pk")[0]
    factories.FaceFactory.create(
        photo=first_photo, person=person, decided_by=factories.UserFactory.create()
    )
    factories.GalleryFactory.create(team=team)
    actor = Actor(factories.UserFactory.create(), Source.PAGE)
    record(actor=actor, team=team, action="team.test")
    factories.MembershipFactory.create(team=team)
    team.invitations.create(
        email="e@example.org",
        role="viewer",
        token_hash=str(call.pk),
        created_by=factories.UserFactory.create(),
        expires_at=call.started_at,
    )


@pytest.mark.parametrize(
    "path",
    [
        "members/",
        "invitations/",
        "galleries/",
        "galleries/walk/photos/",
        "photos/{photo}/",
        "spaces/",
        "spaces/0/people/",
        "spaces/0/people/{person}/enrolments/",
        "calls/",
        "calls/{call}/",
        "audit/",
    ],
)
def test_many_rows_cost_as_many_queries_as_one(
    client: Client, team: Team, gallery: Gallery, alice: User, path: str
) -> None:
    fill(team, gallery, alice)
    address = ROOT + path.format(
        photo=gallery.photos.get().pk,
        person=gallery.space.people.get().person_id,
        call=Call.objects.get().pk,
    )
    counts, sizes = [], []
    for more in (0, 8):
        for _ in range(more):
            fill(team, gallery, alice)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            response = client.get(address)
        assert response.status_code == 200
        counts.append(len(queries))
        sizes.append(len(response.content))
    assert counts[0] == counts[1] <= 7, counts
    if path != "spaces/":
        assert sizes[1] > sizes[0] * 2


def test_the_list_of_teams_costs_as_many_queries_for_many(client: Client, alice: User) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get("/rest/teams/")
        return len(queries)

    one = count()
    for _ in range(8):
        factories.MembershipFactory.create(user=alice)
    assert count() == one
