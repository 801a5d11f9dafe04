"""Matching the faces that the engine found with those that are stored."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from persons.actions.faces import ignore_face, name_face, reject_person
from persons.faces.boxes import SAME_FACE, overlap, pair
from persons.models import (
    Call,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Rejection,
    User,
)
from persons.pipeline.storing_faces import store_faces
from persons.vision.types import Box, FoundPerson
from tests.support.factories import GalleryFactory, PersonFactory
from tests.support.fakes import by, waiting_photo

boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(1, 60),
    st.integers(1, 60),
)


class TestOverlap:
    @pytest.mark.parametrize(
        ("one", "other", "expected"),
        [
            (Box(0, 0, 10, 10), Box(0, 0, 10, 10), 1.0),
            (Box(0, 0, 10, 10), Box(10, 0, 20, 10), 0.0),
            (Box(0, 0, 10, 10), Box(0, 10, 10, 20), 0.0),
            (Box(0, 0, 10, 10), Box(5, 0, 15, 10), 1 / 3),
            (Box(0, 0, 10, 10), Box(2, 2, 8, 8), 0.36),
            (Box(0, 0, 10, 10), Box(50, 50, 60, 60), 0.0),
            (Box(5, 5, 5, 5), Box(0, 0, 10, 10), 0.0),
            (Box(5, 5, 5, 5), Box(5, 5, 5, 5), 0.0),
        ],
    )
    def test_is_the_shared_part_of_both(self, one: Box, other: Box, expected: float) -> None:
        assert overlap(one, other) == pytest.approx(expected)

    @given(boxes, boxes)
    def test_is_the_same_both_ways_and_1_only_with_itself(self, one: Box, other: Box) -> None:
        assert overlap(one, other) == overlap(other, one)
        assert 0 <= overlap(one, other) <= 1
        assert (overlap(one, other) == 1) == (one == other)


class TestPairing:
    def test_a_face_that_moved_a_little_is_the_same(self) -> None:
        assert pair([Box(0, 0, 100, 100)], [Box(10, 5, 108, 110)]) == {0: 0}

    def test_one_that_is_elsewhere_is_another(self) -> None:
        assert pair([Box(0, 0, 100, 100)], [Box(200, 0, 300, 100)]) == {}

    def test_of_two_near_ones_the_nearer_is_taken(self) -> None:
        old = [Box(0, 0, 100, 100), Box(30, 0, 130, 100)]
        assert pair(old, [Box(28, 0, 128, 100)]) == {0: 1}

    def test_neighbours_that_both_moved_keep_their_order(self) -> None:
        old = [Box(0, 0, 100, 100), Box(110, 0, 210, 100)]
        new = [Box(120, 0, 220, 100), Box(10, 0, 110, 100)]
        assert pair(old, new) == {0: 1, 1: 0}

    @given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
    def test_each_box_is_used_once_and_only_where_it_overlaps(
        self, old: Sequence[Box], new: Sequence[Box]
    ) -> None:
        pairs = pair(old, new)
        assert len(set(pairs.values())) == len(pairs)
        for j, i in pairs.items():
            assert overlap(old[i], new[j]) >= SAME_FACE
        for j, after in enumerate(new):
            for i, before in enumerate(old):
                if overlap(before, after) >= SAME_FACE:
                    assert j in pairs or i in pairs.values(), "nobody is left beside a free box"

    @given(st.lists(boxes, max_size=6, unique=True))
    def test_the_same_boxes_in_any_order_are_themselves(self, old: list[Box]) -> None:
        new = old[::-1]
        assert all(new[j] == old[i] for j, i in pair(old, new).items())
        assert len(pair(old, new)) == len(old)


@pytest.fixture
def gallery(bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team)


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    return waiting_photo(gallery, state=PhotoState.DONE)


@pytest.fixture
def ada(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Ada")


LEFT, RIGHT = Box(20, 50, 120, 180), Box(250, 60, 350, 190)


def said(
    box: Box = LEFT, person: Person | int | None = None, similarity: float = 0.9
) -> FoundPerson:
    person_id = person.person_id if isinstance(person, Person) else person
    return FoundPerson(
        tag=f"person{person_id}" if person_id else "undefined",
        person_id=person_id,
        box=box,
        confidence=0.9,
        similarity=similarity,
    )


def store(photo: Photo, *found: FoundPerson) -> list[Face]:
    """An answer is stored; the photo's faces, from left to right."""
    call = Call.objects.create(team=photo.gallery.team, method="recognize", source="worker")
    recognition = Recognition.objects.create(call=call, position=0, name="x", photo=photo)
    photo = Photo.objects.select_related("gallery__space").get(pk=photo.pk)
    with transaction.atomic():
        store_faces(space=photo.gallery.space, photo=photo, found=found, recognition=recognition)
    return list(photo.faces.order_by("left", "pk"))


class TestStoring:
    def test_a_face_keeps_its_id_and_follows_its_box(self, photo: Photo) -> None:
        (before,) = store(photo, said(Box(20, 50, 120, 180)))
        (after,) = store(photo, said(Box(25, 45, 130, 185)))
        assert after.pk == before.pk
        assert (after.left, after.top, after.right, after.bottom) == (25, 45, 130, 185)

    def test_more_faces_ask_for_no_more_queries(self, photo: Photo) -> None:
        Photo.objects.filter(pk=photo.pk).update(
            width=4000, height=4000, sent_width=4000, sent_height=4000
        )
        counts = set()
        for many in (2, 40):
            crowd = [said(Box(90 * n, 0, 90 * n + 80, 80)) for n in range(many)]
            for _ in ("made", "moved"):
                with CaptureQueriesContext(connection) as asked:
                    assert len(store(photo, *crowd)) == many
            counts.add(len(asked))
        assert len(counts) == 1

    def test_what_is_not_found_again_is_gone(self, photo: Photo) -> None:
        store(photo, said(LEFT), said(RIGHT))
        (rest,) = store(photo, said(RIGHT))
        assert rest.left == RIGHT.left

    def test_what_a_human_decided_on_stays_and_is_marked_missing(
        self, photo: Photo, bob: User, ada: Person
    ) -> None:
        named, ignored, rejected = store(
            photo,
            said(Box(0, 0, 90, 90)),
            said(Box(100, 0, 190, 90)),
            said(Box(200, 0, 290, 90), ada),
        )
        name_face(actor=by(bob), face=named, label="Bea")
        ignore_face(actor=by(bob), face=ignored)
        reject_person(actor=by(bob), face=rejected, person=rejected.person)
        after = store(photo)
        assert [face.pk for face in after] == [named.pk, ignored.pk, rejected.pk]
        assert {face.missing for face in after} == {True}
        assert [face.person.label if face.person else "" for face in after] == ["Bea", "", ""]
        assert after[1].decision == Decision.IGNORED
        assert Rejection.objects.get().face == rejected

    def test_a_missing_face_that_is_found_again_is_the_same(self, photo: Photo, bob: User) -> None:
        (face,) = store(photo, said())
        name_face(actor=by(bob), face=face, label="Ada")
        store(photo)
        (again,) = store(photo, said())
        assert (again.pk, again.missing) == (face.pk, False)
        assert again.person is not None

    def test_a_missing_face_waits_for_no_name(self, photo: Photo, bob: User, ada: Person) -> None:
        (face,) = store(photo, said(LEFT, ada))
        reject_person(actor=by(bob), face=face, person=face.person)
        store(photo)
        assert not Face.objects.unknown().exists()

    def test_the_ledger_keeps_the_face_of_a_picture_that_was_enrolled(
        self, photo: Photo, ada: Person
    ) -> None:
        (face,) = store(photo, said())
        Enrolment.objects.create(person=ada, face=face, state=EnrolmentState.REMOVED)
        (kept,) = store(photo)
        assert (kept.pk, kept.missing) == (face.pk, True)

    def test_two_boxes_on_one_face_are_two_faces_of_which_one_is_the_old_one(
        self, photo: Photo, bob: User
    ) -> None:
        (face,) = store(photo, said(LEFT))
        name_face(actor=by(bob), face=face, label="Ada")
        faces = store(photo, said(Box(24, 50, 124, 180)), said(LEFT))
        assert len(faces) == 2
        named = [one for one in faces if one.person]
        assert [one.pk for one in named] == [face.pk]
        assert named[0].left == LEFT.left

    def test_faces_that_swap_places_in_the_answer_keep_their_names(
        self, photo: Photo, bob: User
    ) -> None:
        left, right = store(photo, said(LEFT), said(RIGHT))
        name_face(actor=by(bob), face=left, label="Ada")
        name_face(actor=by(bob), face=right, label="Bea")
        after = store(photo, said(RIGHT), said(LEFT))
        assert [face.person.label for face in after if face.person] == ["Ada", "Bea"]
        assert [face.pk for face in after] == [left.pk, right.pk]

    def test_an_undecided_face_is_who_the_engine_says_now(self, photo: Photo, ada: Person) -> None:
        (face,) = store(photo, said(LEFT, ada))
        assert face.person == ada
        (face,) = store(photo, said(LEFT))
        assert (face.person, face.tag) == (None, "undefined")

    def test_a_decided_name_is_kept_apart_from_what_the_engine_says(
        self, photo: Photo, bob: User, ada: Person
    ) -> None:
        (face,) = store(photo, said())
        bea = name_face(actor=by(bob), face=face, label="Bea").person
        (face,) = store(photo, said(LEFT, ada))
        assert (face.person, face.decided_person, face.found_person) == (bea, bea, ada)

    def test_a_rejected_person_is_not_taken_from_another_face(
        self, photo: Photo, bob: User, ada: Person
    ) -> None:
        left, _ = store(photo, said(LEFT, ada), said(RIGHT))
        reject_person(actor=by(bob), face=left, person=left.person)
        after = store(photo, said(LEFT, ada), said(RIGHT, ada))
        assert [face.person for face in after] == [None, ada]

    @pytest.mark.parametrize(("similarity", "known"), [(0.4, True), (0.3999, False), (1.0, True)])
    def test_the_spaces_threshold_decides(
        self, photo: Photo, ada: Person, similarity: float, known: bool
    ) -> None:
        (face,) = store(photo, said(LEFT, ada, similarity))
        assert (face.person == ada) is known

    def test_a_person_of_another_space_with_the_same_id_is_not_meant(
        self, photo: Photo, ada: Person
    ) -> None:
        other = PersonFactory.create(space=ada.space.team.spaces.get(number=7), person_id=9)
        (face,) = store(photo, said(LEFT, 9))
        assert face.person != other
        assert face.person is not None
        assert face.person.space == ada.space

    def test_an_answer_stored_twice_is_the_same_as_once(self, photo: Photo, ada: Person) -> None:
        def columns(faces: list[Face]) -> list[tuple[object, ...]]:
            return [(face.pk, face.left, face.person, face.similarity) for face in faces]

        found = [said(LEFT, ada), said(RIGHT)]
        assert columns(store(photo, *found)) == columns(store(photo, *found))

    def test_a_huge_answer_is_stored_in_few_queries(
        self, photo: Photo, django_assert_max_num_queries: object
    ) -> None:
        many = [
            said(Box(x * 20, y * 20, x * 20 + 18, y * 20 + 18))
            for x in range(20)
            for y in range(15)
        ]
        with django_assert_max_num_queries(30):  # type: ignore[operator]
            store(photo, *many)
        assert photo.faces.count() == 300
