"""The review queue: sort orders, places, counts and holds; every list is read from an index."""

from __future__ import annotations

import itertools
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from dashboard.pages.review.bulk_review import suggestions_of
from persons.access import Visible
from persons.actions.moving import move_photos
from persons.faces.review_queue import (
    LEASE,
    Queue,
    QueueKey,
    best_faces,
    count_all,
    held_by_others,
    hold,
    let_go,
    people_with_suggestions,
    place_of,
    remember_place,
)
from persons.models import (
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Review,
    ReviewHold,
    ReviewPlace,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import at_once, by


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, slug="harbour")


def make_face(gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, **values)


def queue_of(user: User, team: Team, **values: Any) -> Queue:
    spaces = tuple(team.spaces.values_list("pk", flat=True))
    return Queue(user=user, spaces=spaces, **{"visible": Visible(team.pk), **values})


class TestOrder:
    @pytest.fixture
    def mixed(self, team: Team, gallery: Gallery) -> list[Face]:
        """Of three kinds, in two spaces."""
        other = GalleryFactory.create(team=team, slug="alps", space=team.spaces.get(number=4))
        anna = PersonFactory.create(space=gallery.space)
        faces = []
        for number in range(12):
            where = [gallery, other][number % 2]
            if where == gallery and number % 3 == 0:
                faces.append(make_face(where, person=anna, similarity=0.4 + number / 200))
            else:
                faces.append(make_face(where, similarity=number / 100))
        return faces

    def test_newest_first_whatever_the_kind_and_the_space(
        self, team: Team, bob: User, mixed: list[Face]
    ) -> None:
        queue = queue_of(bob, team)
        assert queue.after(None, 20) == [face.pk for face in reversed(mixed)]

    def test_likeliest_wrong_first(self, team: Team, bob: User, mixed: list[Face]) -> None:
        queue = queue_of(bob, team, unsure_first=True)
        expected = sorted(mixed, key=lambda face: (-face.review_rank, -face.pk))
        assert queue.after(None, 20) == [face.pk for face in expected]

    @pytest.mark.parametrize("unsure_first", [False, True])
    def test_page_by_page_each_face_comes_once_forth_and_back(
        self, team: Team, bob: User, mixed: list[Face], unsure_first: bool
    ) -> None:
        queue = queue_of(bob, team, unsure_first=unsure_first)
        whole = queue.after(None, 20)
        found: list[int] = []
        key: QueueKey | None = None
        while page := queue.after(key, 5):
            found += page
            key = queue.key_of(Face.objects.get(pk=page[-1]))
        assert found == whole
        for earlier, later in itertools.pairwise(whole):
            assert queue.before(queue.key_of(Face.objects.get(pk=later))) == earlier
        assert queue.before(queue.key_of(Face.objects.get(pk=whole[0]))) is None

    def test_of_one_gallery_and_of_one_kind(
        self, team: Team, gallery: Gallery, bob: User, mixed: list[Face]
    ) -> None:
        queue = queue_of(bob, team, gallery=gallery.pk, kinds=(Review.WEAK,))
        expected = [f.pk for f in reversed(mixed) if f.review == Review.WEAK]
        assert expected
        assert queue.after(None, 20) == expected

    def test_nothing_of_hidden_galleries(
        self, team: Team, gallery: Gallery, bob: User, mixed: list[Face]
    ) -> None:
        queue = queue_of(bob, team, visible=Visible(team.pk, frozenset({gallery.pk})))
        expected = [face.pk for face in reversed(mixed) if face.gallery_id != gallery.pk]
        assert queue.after(None, 20) == expected
        assert sum(queue.counts().values()) == len(expected)

    def test_a_kind_that_was_full_is_not_counted_again_unless_asked(
        self, team: Team, bob: User, mixed: list[Face], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("persons.faces.review_queue.MOST_COUNTED", 2)
        queue = queue_of(bob, team)
        assert queue.counts()[Review.WEAK] == 2
        Face.objects.filter(pk__in=[face.pk for face in mixed]).update(review=Review.NONE)
        assert queue.counts()[Review.WEAK] == 2
        assert queue.counts(anew=True)[Review.WEAK] == 0

    def test_what_moved_to_another_gallery_is_found_there(
        self, team: Team, gallery: Gallery, bob: User, mixed: list[Face]
    ) -> None:
        other = GalleryFactory.create(team=team, slug="lake")
        photo = mixed[0].photo
        move_photos(actor=by(bob), gallery=photo.gallery, into=other, pks=[photo.pk])
        queue = queue_of(bob, team, gallery=other.pk)
        assert queue.after(None, 20) == [mixed[0].pk]

    def test_counts_go_no_further_than_anybody_reads(
        self, team: Team, bob: User, mixed: list[Face], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = queue_of(bob, team)
        assert sum(queue.counts().values()) == 12
        assert queue.left(queue.key_of(mixed[5])) == 5
        monkeypatch.setattr("persons.faces.review_queue.MOST_COUNTED", 3)
        assert queue.counts()[Review.UNKNOWN] == 3
        assert queue.left(None) == 3

    def test_a_team_without_a_gallery_has_an_empty_queue(self, team: Team, bob: User) -> None:
        queue = Queue(user=bob, spaces=(), visible=Visible(team.pk))
        assert queue.after(None, 5) == []
        assert sum(queue.counts().values()) == 0
        assert count_all([]) == []


@given(st.integers(0, 1_000_000), st.integers(0, 10**18 - 1))
def test_a_key_survives_being_written_into_an_address(rank: int, pk: int) -> None:
    assert QueueKey.of(str(QueueKey(rank, pk))) == QueueKey(rank, pk)


class TestHolds:
    def test_who_comes_first_holds_a_face_until_the_lease_is_over(
        self, gallery: Gallery, alice: User, bob: User
    ) -> None:
        face = make_face(gallery)
        assert hold(alice, [face.pk]) == {face.pk}
        assert hold(bob, [face.pk]) == set()
        assert held_by_others(bob) == {face.pk}
        assert hold(alice, [face.pk]) == {face.pk}
        ReviewHold.objects.update(until=timezone.now() - timedelta(seconds=1))
        assert hold(bob, [face.pk]) == {face.pk}
        assert ReviewHold.objects.get().until > timezone.now() + LEASE / 2

    def test_what_is_let_go_is_free_and_others_holds_stay(
        self, gallery: Gallery, alice: User, bob: User
    ) -> None:
        faces = [make_face(gallery).pk for _ in range(3)]
        hold(alice, faces[:2])
        hold(bob, faces[2:])
        let_go(alice, but=faces[:1])
        assert set(ReviewHold.objects.values_list("face", flat=True)) == {faces[0], faces[2]}

    @pytest.mark.django_db(transaction=True)
    def test_of_many_who_take_at_once_each_face_has_one_holder(
        self, team: Team, gallery: Gallery, alice: User, bob: User, vera: User, audrey: User
    ) -> None:
        faces = [make_face(gallery).pk for _ in range(8)]
        users = [alice, bob, vera, audrey]
        taken = at_once(*(partial(hold, user, faces) for user in users))
        everything = [pk for some in taken if isinstance(some, set) for pk in some]
        assert sorted(everything) == faces

    def test_of_a_face_that_is_gone_there_is_no_hold(self, bob: User) -> None:
        assert hold(bob, []) == set()


class TestPeople:
    def test_the_best_faces_are_the_enrolled_then_the_surest_and_clearest(
        self, gallery: Gallery
    ) -> None:
        from persons.models import Enrolment, EnrolmentState

        anna = PersonFactory.create(space=gallery.space)
        dull = make_face(gallery, person=anna, similarity=0.9, quality=0.2)
        clear = make_face(gallery, person=anna, similarity=0.9, quality=0.9)
        guessed = make_face(gallery, person=anna, similarity=0.42, quality=0.99)
        enrolled = make_face(gallery, person=anna, similarity=0.9, quality=0.1)
        Enrolment.objects.create(person=anna, face=enrolled, state=EnrolmentState.DONE)
        everything, nothing = Visible(1), Visible(1, frozenset({gallery.pk}))
        best = best_faces([anna.pk], most=9, visible=everything)[anna.pk]
        assert best == [enrolled, clear, dull, guessed]
        assert best_faces([anna.pk], most=2, visible=nothing)[anna.pk] == []
        assert best_faces([], most=2, visible=everything) == {}

    def test_whom_most_suggestions_wait_for_comes_first(self, gallery: Gallery) -> None:
        anna, berta, carla = (PersonFactory.create(space=gallery.space) for _ in range(3))
        for person, count in ((anna, 1), (berta, 3), (carla, 0)):
            for _ in range(count):
                make_face(gallery, person=person, similarity=0.45)
        make_face(gallery, person=carla, similarity=0.9)
        everything, nothing = Visible(1), Visible(1, frozenset({gallery.pk}))
        found = people_with_suggestions([gallery.space_id], everything, most=10)
        assert found == [(berta.pk, 3), (anna.pk, 1)]
        assert people_with_suggestions([gallery.space_id], everything, most=1) == [(berta.pk, 3)]
        assert people_with_suggestions([gallery.space_id], nothing, most=9) == []


# --- Plans of PostgreSQL, with enough rows that a wrong one would be chosen ---


@pytest.fixture
def crowd(team: Team, gallery: Gallery) -> Gallery:
    """25,000 faces: mostly known, the rest unknown, unsure and a few doubles; two galleries."""
    other = GalleryFactory.create(team=team, slug="old", space=gallery.space)
    people = Person.objects.bulk_create(
        Person(space=gallery.space, person_id=number + 1, label=f"P {number}")
        for number in range(50)
    )
    now = timezone.now()
    photos = Photo.objects.bulk_create(
        Photo(
            gallery=other if number < 1200 else gallery,
            sha256=f"{number:064x}",
            original="o",
            file_name="f.jpg",
            size=1,
            format="JPEG",
            width=100,
            height=100,
            state=PhotoState.DONE,
            shown_at=now,
        )
        for number in range(5_000)
    )
    kinds = [Review.UNKNOWN] * 3 + [Review.WEAK] + [Review.NONE] * 6
    Face.objects.bulk_create(
        [
            Face(
                photo=photo,
                space=gallery.space,
                gallery_id=photo.gallery_id,
                left=0,
                top=0,
                right=9,
                bottom=9,
                review=Review.DOUBLE if number == 17 else kinds[number % 10],
                review_rank=(number % 97) / 97,
                similarity=(number % 89) / 89,
                person=None if number % 10 < 3 else people[number % 50],
            )
            for number, photo in enumerate(photo for photo in photos for _ in range(5))
        ],
        batch_size=5000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE persons_face")
        cursor.execute("ANALYZE persons_photo")
    return other


@pytest.mark.services("postgresql")
@pytest.mark.unsettled
def test_every_list_is_read_from_its_index(team: Team, crowd: Gallery, bob: User) -> None:
    for unsure_first, gallery in itertools.product((False, True), (None, crowd.pk)):
        queue = Queue(
            user=bob,
            spaces=(crowd.space_id,),
            visible=Visible(team.pk),
            gallery=gallery,
            unsure_first=unsure_first,
        )
        order = ["-review_rank", "-pk"] if unsure_first else ["-pk"]
        for key in (None, QueueKey(500_000 if unsure_first else 0, 40_000_000)):
            for faces in queue._lists(key, back=False):
                check_plan(faces.order_by(*order).values_list("pk")[:8], "review")
    person = Person.objects.filter(space=crowd.space)[0]
    check_plan(suggestions_of(person, Visible(team.pk)).values_list("pk")[:61], "face_suggested")


def check_plan(faces: Any, index: str) -> None:
    # A few hundred rows may be as cheap to sort, which depends on what a table went through before.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
    plan = str(faces.explain())
    assert "Index" in plan and index in plan, plan
    assert "Seq Scan" not in plan and "Sort" not in plan, plan


def test_a_list_that_can_hold_nothing_counts_as_none_beside_others(gallery: Gallery) -> None:
    some = FaceFactory.create_batch(2, photo__gallery=gallery)
    nothing, all_of_them = Face.objects.none(), Face.objects.order_by("-pk")
    assert count_all([nothing, all_of_them, nothing]) == [0, len(some), 0]


def test_a_place_keeps_as_much_of_its_address_as_fits(team: Team, bob: User) -> None:
    most = ReviewPlace._meta.get_field("query").max_length
    query = "kind=weak&but=" + "1" * 600
    remember_place(bob, team, query)
    assert place_of(bob, team) == query[:most]
