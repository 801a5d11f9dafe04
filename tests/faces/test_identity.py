"""Whether a face needs review, and how likely its identity is wrong, by its similarity."""

from __future__ import annotations

import pytest

from persons.faces.identity import DOUBLE_RANK, resolve_person
from persons.models import Decision, Face, Gallery, Person, Review, Team
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, slug="harbour")


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


def thresholds(gallery: Gallery, threshold: float, confirm: float) -> None:
    gallery.space.threshold, gallery.space.confirm_threshold = threshold, confirm
    gallery.space.save(update_fields=["threshold", "confirm_threshold"])


@pytest.mark.parametrize(
    ("similarity", "threshold", "rank"),
    [(0.0, 0.6, 0.0), (0.3, 0.6, 0.25), (0.6, 0.6, 0.5), (0.9, 0.6, 0.5), (0.3, 0.0, 0.5)],
)
def test_an_unknown_face_is_likelier_wrong_the_closer_it_is_to_the_threshold(
    gallery: Gallery, similarity: float, threshold: float, rank: float
) -> None:
    thresholds(gallery, threshold, 0.8)
    face = FaceFactory.create(photo__gallery=gallery, similarity=similarity)
    assert (face.review, face.review_rank) == (Review.UNKNOWN, rank)


@pytest.mark.parametrize(
    ("similarity", "threshold", "review", "rank"),
    [
        (0.55, 0.6, Review.WEAK, 1.0),  # the threshold was raised after the answer
        (0.6, 0.6, Review.WEAK, 1.0),
        (0.7, 0.6, Review.WEAK, 0.75),
        (0.79, 0.6, Review.WEAK, 0.525),
        (0.8, 0.6, Review.NONE, 0.0),
        (0.7, 0.8, Review.WEAK, 0.5),  # nothing lies between the two thresholds
    ],
)
def test_a_found_person_is_likelier_wrong_the_closer_the_similarity_is_to_the_threshold(
    gallery: Gallery, anna: Person, similarity: float, threshold: float, review: str, rank: float
) -> None:
    thresholds(gallery, threshold, 0.8)
    face = FaceFactory.create(photo__gallery=gallery, person=anna, similarity=similarity)
    assert (face.person, face.review, face.review_rank) == (anna, review, rank)


def test_the_less_similar_of_two_faces_of_a_person_on_a_photo_is_doubted(
    gallery: Gallery, anna: Person
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    less = FaceFactory.create(photo=photo, person=anna, similarity=0.85)
    more = FaceFactory.create(photo=photo, person=anna, similarity=0.95)
    for face in (less, more):
        face.refresh_from_db()
    assert (less.review, less.review_rank) == (Review.DOUBLE, DOUBLE_RANK)
    assert (more.review, more.review_rank) == (Review.NONE, 0.0)


def test_a_face_that_was_named_is_surer_than_a_more_similar_one(
    gallery: Gallery, anna: Person
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    found = FaceFactory.create(photo=photo, person=anna, similarity=0.99)
    named = FaceFactory.create(photo=photo, person=anna, decision=Decision.NAMED, similarity=0.3)
    found.refresh_from_db()
    assert found.review == Review.DOUBLE
    assert named.review == Review.NONE


def test_resolving_a_person_doubts_a_second_face_on_a_photo_that_was_left_behind(
    gallery: Gallery, anna: Person
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    less = FaceFactory.create(photo=photo, person=anna, similarity=0.85)
    FaceFactory.create(photo=photo, person=anna, similarity=0.95)
    Face.objects.update(review=Review.NONE, review_rank=0.0)
    resolve_person(anna.pk)
    doubted = Face.objects.filter(review=Review.DOUBLE)
    assert list(doubted.values_list("pk", "review_rank")) == [(less.pk, DOUBLE_RANK)]
