"""The review, one face after the other: cards, decisions, and undo."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.review.place import QueuePlace
from dashboard.pages.review.queue import MOST_QUEUED
from persons import pipeline
from persons.actions.faces import ignore_face, name_face
from persons.actions.merging import MOST_MOVED
from persons.faces.review_queue import LEASE
from persons.models import (
    AuditEntry,
    Change,
    Decision,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    GalleryMember,
    Likeness,
    Person,
    PhotoState,
    Rejection,
    Review,
    ReviewHold,
    ReviewPlace,
    Role,
    Run,
    SpaceJob,
    SyncState,
    Team,
    User,
)
from persons.models.canonical import set_merged_into
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by

SignIn = Callable[[User], Client]

HTMX = {"HX-Request": "true"}


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


@pytest.fixture
def anna(gallery: Gallery) -> Person:
    return PersonFactory.create(space=gallery.space, label="Anna")


def make_face(gallery: Gallery, **values: Any) -> Face:
    photo = PhotoFactory.create(gallery=gallery, sha256=token_hex(32))
    return FaceFactory.create(photo=photo, **values)


def weak(gallery: Gallery, person: Person, similarity: float = 0.45) -> Face:
    return make_face(gallery, person=person, similarity=similarity)


@pytest.fixture
def faces(gallery: Gallery) -> list[Face]:
    """Three unknown ones, oldest first."""
    return [make_face(gallery) for _ in range(3)]


def review_url(team: Team, query: str = "?order=new") -> str:
    return reverse("review", args=[team.slug]) + query


def shown(response: Any) -> Face | None:
    card = response.context["card"]
    return card.face if card else None


def ids(response: Any) -> list[str]:
    """The card that is shown and those behind it."""
    card = response.context["card"]
    return [one.id for one in [card, *response.context["ready"]]] if card else []


def decide(client: Client, face: Face, do: str = "name", **data: Any) -> Any:
    headers = data.pop("headers", {})
    values = {"face": face.pk, "do": do, "at": f"0.{face.pk}", "shown": face.person_id or ""}
    return client.post(review_url(face.photo.gallery.team, ""), values | data, headers=headers)


class TestWhatIsShown:
    def test_the_newest_face_comes_first_with_its_photo_and_the_next_ones_behind(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        response = sign_in(bob).get(review_url(team))
        assert ids(response) == [f"f{face.pk}" for face in reversed(faces)]
        assert '<span class="num">3</span> wait for somebody' in response.text
        assert (
            reverse("media_photo", args=[team.slug, faces[2].photo_id, "medium"]) in response.text
        )
        assert "M10 8H34V38H10Z" in response.text

    def test_a_suggestion_is_shown_beside_the_best_pictures_of_the_person(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        sure = make_face(gallery, person=anna, similarity=0.9, quality=0.9)
        face = weak(gallery, anna)
        response = sign_in(bob).get(review_url(team))
        card = response.context["card"]
        assert (card.face, card.suggested, list(card.crops)) == (face, anna, [sure])
        assert "Is this" in response.text
        assert "45% alike" in response.text

    def test_a_person_who_is_twice_on_a_photo_is_asked_about_with_both_boxes(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        first = make_face(gallery, person=anna, similarity=0.9)
        second = FaceFactory.create(
            photo=first.photo, person=anna, similarity=0.8, left=40, right=60
        )
        second.refresh_from_db()
        assert second.review == Review.DOUBLE
        response = sign_in(bob).get(review_url(team))
        assert shown(response) == second
        assert response.context["card"].rivals == [first]
        assert "is on this photo twice" in response.text
        assert 'class="rival"' in response.text

    def test_whom_vision_nearly_took_it_for_is_a_guess_that_one_key_names(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        face = make_face(gallery, tag=anna.tag, similarity=0.38)
        client = sign_in(bob)
        page = client.get(review_url(team)).text
        assert "Perhaps" in page
        assert 'name="label" value="Anna"' in page
        Rejection.objects.create(face=face, person=anna)
        assert "Perhaps" not in client.get(review_url(team)).text

    def test_pairs_of_people_come_before_the_faces(
        self, team: Team, faces: list[Face], anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        berta = PersonFactory.create(space=anna.space, label="Berta")
        pair = Likeness.objects.create(space=anna.space, one=anna, other=berta)
        response = sign_in(bob).get(review_url(team))
        assert ids(response) == [f"p{pair.pk}", *(f"f{face.pk}" for face in reversed(faces))]
        assert "Are these the same person?" in response.text
        narrow = sign_in(bob).get(review_url(team, "?kind=unknown&order=new"))
        assert shown(narrow) == faces[2]

    def test_only_what_wants_somebody_is_in_it(
        self, team: Team, gallery: Gallery, anna: Person, charlie: User, bob: User, sign_in: SignIn
    ) -> None:
        make_face(gallery, person=anna, similarity=0.9)
        make_face(gallery, decision=Decision.IGNORED)
        make_face(gallery, missing=True)
        make_face(GalleryFactory.create(team=charlie.memberships.get().team))
        response = sign_in(bob).get(review_url(team))
        assert shown(response) is None
        assert "Nobody waits for a name" in response.text

    def test_nothing_of_a_gallery_that_is_closed_is_shown_or_counted(
        self, team: Team, gallery: Gallery, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        secret = GalleryFactory.create(team=team, slug="secret", is_open=False)
        hidden = make_face(secret)
        response = sign_in(bob).get(review_url(team))
        assert f"f{hidden.pk}" not in ids(response)
        assert response.context["total"] == 3
        assert shown(sign_in(bob).get(review_url(team, "?gallery=secret&order=new"))) is None
        # Who may look but not decide there is not asked either.
        member = GalleryMember.objects.create(gallery=secret, user=bob, role=Role.VIEWER)
        assert shown(sign_in(bob).get(review_url(team))) == faces[2]
        GalleryMember.objects.filter(pk=member.pk).update(role=Role.EDITOR)
        assert shown(sign_in(bob).get(review_url(team))) == hidden

    @pytest.mark.parametrize(
        ("kind", "expected"), [("unknown", "unknown"), ("weak", "weak"), ("double", "double")]
    )
    def test_it_can_be_narrowed_to_one_kind(
        self,
        team: Team,
        gallery: Gallery,
        anna: Person,
        bob: User,
        sign_in: SignIn,
        kind: str,
        expected: str,
    ) -> None:
        make_face(gallery)
        weak(gallery, anna)
        first = make_face(gallery, person=anna, similarity=0.9)
        FaceFactory.create(photo=first.photo, person=anna, similarity=0.8, left=40, right=60)
        response = sign_in(bob).get(review_url(team, f"?kind={kind}&order=new"))
        found = shown(response)
        assert found is not None
        assert found.review == expected
        assert len(ids(response)) == 1

    def test_it_can_be_of_one_gallery_or_one_space(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        other = GalleryFactory.create(team=team, slug="alps", space=team.spaces.get(number=3))
        alpine = make_face(other)
        client = sign_in(bob)
        assert shown(client.get(review_url(team, "?gallery=harbour"))) == faces[2]
        assert ids(client.get(review_url(team, "?space=3"))) == [f"f{alpine.pk}"]
        assert shown(client.get(review_url(team, "?space=7"))) is None

    def test_what_is_likeliest_to_be_wrong_can_come_first(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        low = weak(gallery, anna, 0.41)
        make_face(gallery)
        high = weak(gallery, anna, 0.49)
        response = sign_in(bob).get(review_url(team, "?order=unsure"))
        assert [ids(response)[0], ids(response)[1]] == [f"f{low.pk}", f"f{high.pk}"]

    @pytest.mark.parametrize(
        "query",
        ["?at=x", "?at=-1", "?at=99999999999999999999.1", "?space=²", "?space=99", "?at=p",
         "?at=0.", "?gallery=%00", "?kind=zebra", "?at=p²", "?order=x",
         "?at=" + "9" * 5000],
    )  # fmt: skip
    def test_a_place_that_is_none_is_an_error_that_names_it(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn, query: str
    ) -> None:
        response = sign_in(bob).get(review_url(team, query))
        assert response.status_code == 400
        assert f'<code class="mono">{query[1:].partition("=")[0]}</code>' in response.text

    @pytest.mark.parametrize("done", ["c1", "d1", "s", "sp7", "s0.7", "c" + "9" * 19])
    def test_what_was_done_last_may_be_gone(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn, done: str
    ) -> None:
        client = sign_in(bob)
        assert client.get(review_url(team, f"?done={done}")).status_code == 200
        assert client.post(review_url(team), {"do": "undo", "done": done}).status_code == 303

    @pytest.mark.parametrize("done", ["c", "czz", "1", "c" + "9" * 5000, "d" + "9" * 5000, "²"])
    def test_what_is_nothing_that_was_done_is_said_to_be_none(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn, done: str
    ) -> None:
        client = sign_in(bob)
        assert client.get(review_url(team, f"?done={done}")).status_code == 400
        response = client.post(review_url(team), {"do": "undo", "done": done})
        assert response.status_code == 400 and "done" in response.text

    @pytest.mark.parametrize("data", [{"have": "f"}, {"have": "x1"}, {"behind": "?"}])
    def test_what_the_script_has_is_cards(
        self, team: Team, bob: User, sign_in: SignIn, data: dict[str, str]
    ) -> None:
        response = sign_in(bob).post(review_url(team), {"do": "more", **data}, headers=HTMX)
        assert response.status_code == 400

    def test_one_form_of_many_that_says_nothing_stops_no_other(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        first, second = faces[:2]
        queued = [
            "do=undo&done=zz",
            f"do=ignore&face={first.pk}&shown=x",
            f"do=ignore&face={second.pk}",
        ]
        client = sign_in(bob)
        response = client.post(review_url(team), {"do": "rest", "queued": queued})
        assert response.status_code == 204
        decided = Face.objects.filter(decision=Decision.IGNORED)
        assert list(decided.filter(pk__in=[first.pk, second.pk])) == [second]
        assert "is no whole number" in client.get(review_url(team)).text

    def test_an_empty_queue_waits_for_photos_that_are_being_looked_at(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        assert 'hx-trigger="every 4s' not in client.get(review_url(team)).text
        PhotoFactory.create(gallery=gallery, state=PhotoState.QUEUED)
        page = client.get(review_url(team)).text
        assert "still being looked at" in page
        assert 'hx-trigger="every 4s' in page

    def test_a_viewer_looks_but_can_t_decide_and_holds_nothing(
        self, team: Team, faces: list[Face], vera: User, sign_in: SignIn
    ) -> None:
        client = sign_in(vera)
        page = client.get(review_url(team)).text
        assert "Editors and owners decide" in page
        assert 'name="label"' not in page
        assert decide(client, faces[0], "ignore").status_code == 403
        assert not ReviewHold.objects.exists()

    @pytest.mark.parametrize("count", [4, 40])
    def test_a_page_and_a_decision_ask_as_much_for_any_length(
        self,
        team: Team,
        gallery: Gallery,
        anna: Person,
        bob: User,
        sign_in: SignIn,
        count: int,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        for _ in range(count):
            weak(gallery, anna)
        last = Face.objects.order_by("-pk")[0]
        client = sign_in(bob)
        client.get(review_url(team))
        with django_assert_num_queries(26):
            client.get(review_url(team))
        with django_assert_num_queries(39):
            decide(client, last, "confirm", headers=HTMX)
        with django_assert_num_queries(23):
            client.post(review_url(team, ""), {"do": "more", "have": ["f1"]}, headers=HTMX)


class TestDecisions:
    def test_a_name_goes_on_to_the_next_face_and_can_be_undone(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        response = decide(client, faces[2], label="Anna")
        assert response.status_code == 303
        followed = client.get(response["Location"])
        assert shown(followed) == faces[1]
        assert "This is Anna" in followed.text
        faces[2].refresh_from_db()
        assert faces[2].person and faces[2].person.label == "Anna"
        assert Enrolment.objects.get(face=faces[2]).created_by == bob
        undone = client.post(review_url(team, ""), {"do": "undo", "at": f"0.{faces[2].pk}"})
        assert shown(client.get(undone["Location"])) == faces[2]
        faces[2].refresh_from_db()
        assert faces[2].person is None
        assert Enrolment.objects.get(face=faces[2]).state == EnrolmentState.REMOVING

    def test_a_suggestion_is_confirmed_by_one_key(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        face = weak(gallery, anna)
        decide(sign_in(bob), face, "confirm")
        face.refresh_from_db()
        assert (face.decision, face.person, face.review) == (Decision.NAMED, anna, Review.NONE)

    def test_not_this_person_leaves_the_face_unknown_for_the_next_round(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        face, other = weak(gallery, anna), make_face(gallery)
        response = decide(sign_in(bob), face, "reject", headers=HTMX)
        face.refresh_from_db()
        assert (face.person, face.review) == (None, Review.UNKNOWN)
        assert Rejection.objects.get().person == anna
        assert "Not Anna" in response.text
        assert other.pk > face.pk

    def test_ignored_is_set_aside(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        decide(sign_in(bob), faces[2], "ignore")
        faces[2].refresh_from_db()
        assert faces[2].decision == Decision.IGNORED

    def test_skipping_changes_nothing_and_undo_goes_back_to_it(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        response = decide(client, faces[2], "skip")
        followed = client.get(response["Location"])
        assert shown(followed) == faces[1]
        assert "Go back" in followed.text
        back = client.post(
            review_url(team, ""),
            {"do": "undo", "done": f"s0.{faces[2].pk}", "at": f"0.{faces[2].pk}"},
        )
        assert shown(client.get(back["Location"])) == faces[2]
        assert not AuditEntry.objects.exists()

    def test_back_goes_to_the_face_before(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        there = {"do": "back", "at": f"0.{faces[0].pk}"}
        assert shown(client.get(client.post(review_url(team, ""), there)["Location"])) == faces[1]
        first = client.post(review_url(team, ""), {"do": "back", "at": f"0.{faces[2].pk}"})
        assert "That is the first one." in client.get(first["Location"]).text

    def test_undo_goes_back_step_by_step_through_one_s_own_decisions_alone(
        self, team: Team, faces: list[Face], alice: User, bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        decide(client, faces[2], label="Anna")
        decide(client, faces[1], "ignore")
        decide(sign_in(alice), faces[0], label="Berta")
        for face in (faces[1], faces[2]):
            answer = client.post(review_url(team, ""), {"do": "undo", "at": ""}, headers=HTMX)
            assert answer.context["first"].face == face
            face.refresh_from_db()
            assert face.decision == Decision.NONE
        answer = client.post(review_url(team, ""), {"do": "undo", "at": ""}, headers=HTMX)
        assert "nothing of yours left to undo" in answer.text
        faces[0].refresh_from_db()
        assert faces[0].decision == Decision.NAMED
        alices = Change.objects.get(actor=alice)
        client.post(review_url(team, ""), {"do": "undo", "done": f"c{alices.pk}"})
        alices.refresh_from_db()
        assert alices.undone_at is None

    def test_a_name_that_is_refused_keeps_the_face_and_what_was_typed(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        response = decide(sign_in(bob), faces[1], label="x" * 201)
        assert response.status_code == 422
        assert shown(response) == faces[1]
        assert "at most 200 characters" in response.text
        assert "x" * 201 in response.text
        answer = decide(sign_in(bob), faces[1], label="x" * 201, headers=HTMX)
        assert answer.status_code == 422
        assert answer.context["first"].face == faces[1]

    def test_another_team_s_face_is_never_decided(
        self, team: Team, charlie: User, bob: User, sign_in: SignIn
    ) -> None:
        theirs = make_face(GalleryFactory.create(team=charlie.memberships.get().team))
        client = sign_in(bob)
        for do in ("name", "ignore", "confirm", "reject"):
            data = {"face": theirs.pk, "label": "Anna", "do": do}
            assert client.post(review_url(team, ""), data).status_code == 303
        theirs.refresh_from_db()
        assert theirs.decision == Decision.NONE
        assert not AuditEntry.objects.exists()

    def test_a_face_of_a_gallery_closed_to_them_is_never_decided(
        self, team: Team, bob: User, sign_in: SignIn
    ) -> None:
        hidden = make_face(GalleryFactory.create(team=team, slug="secret", is_open=False))
        decide(sign_in(bob), hidden, label="Anna")
        hidden.refresh_from_db()
        assert hidden.decision == Decision.NONE

    def test_the_script_is_told_what_was_done_and_asks_for_the_cards_that_the_page_has_not(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        faces = [make_face(gallery) for _ in range(7)][::-1]
        client = sign_in(bob)
        first = ids(client.get(review_url(team)))
        assert first == [f"f{face.pk}" for face in faces[:4]]
        answer = decide(client, faces[0], label="Anna", headers=HTMX)
        assert "This is Anna" in answer.text
        assert "<html" not in answer.text and "data-ready" not in answer.text
        more = client.post(
            review_url(team, ""),
            {"do": "more", "have": first[1:], "behind": f"0.{faces[3].pk}"},
            headers=HTMX,
        )
        assert [card.id for card in more.context["cards"]] == [f"f{faces[4].pk}"]
        assert "<html" not in more.text
        assert 'data-person="' in more.text
        assert AuditEntry.objects.filter(action__startswith="face").count() == 1


class TestPairs:
    @pytest.fixture
    def pair(self, anna: Person) -> Likeness:
        berta = PersonFactory.create(space=anna.space, label="Berta")
        return Likeness.objects.create(space=anna.space, one=anna, other=berta)

    def test_the_same_person_is_merged_into_whom_one_chose_and_can_be_parted(
        self, team: Team, gallery: Gallery, pair: Likeness, bob: User, sign_in: SignIn
    ) -> None:
        face = make_face(gallery, person=pair.one, similarity=0.9)
        client = sign_in(bob)
        client.post(
            review_url(team, ""), {"pair": pair.pk, "keep": pair.other.pk, "at": f"p{pair.pk}"}
        )
        face.refresh_from_db()
        assert face.person == pair.other
        answer = client.post(review_url(team, ""), {"do": "undo", "at": ""}, headers=HTMX)
        face.refresh_from_db()
        assert face.person == pair.one
        assert answer.context["first"].likeness == pair

    @pytest.mark.unsettled
    @pytest.mark.parametrize("count", [2, 19, 25])
    def test_taking_back_that_they_are_one_asks_as_much_for_any_number(
        self,
        team: Team,
        gallery: Gallery,
        pair: Likeness,
        bob: User,
        sign_in: SignIn,
        count: int,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        for _ in range(count):
            weak(gallery, pair.one)
        client = sign_in(bob)
        client.get(review_url(team))
        client.post(review_url(team, ""), {"do": "same", "pair": pair.pk}, headers=HTMX)
        change = Change.objects.get()
        for job in SpaceJob.objects.all():
            pipeline.work(job.pk)
        assert not Face.objects.exclude(person=pair.other).exists()
        # Where a worker takes them home, nothing of theirs is resolved here.
        with django_assert_num_queries(30 if count > MOST_MOVED else 32):
            client.post(review_url(team, ""), {"do": "undo", "done": f"c{change.pk}"}, headers=HTMX)

    def test_two_people_are_not_merged_by_a_word_that_nobody_knows(
        self, team: Team, pair: Likeness, bob: User, sign_in: SignIn
    ) -> None:
        data = {"pair": pair.pk, "do": "ignore", "at": f"p{pair.pk}"}
        answer = sign_in(bob).post(review_url(team, ""), data)
        assert (answer.status_code, "ignore" in answer.text) == (400, True)
        assert not Change.objects.exists()

    def test_never_these_two_is_remembered_and_can_be_taken_back(
        self, team: Team, pair: Likeness, bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        answer = client.post(
            review_url(team, ""),
            {"pair": pair.pk, "do": "different", "at": f"p{pair.pk}"},
            headers=HTMX,
        )
        pair.refresh_from_db()
        assert pair.decision == Likeness.Decision.DIFFERENT
        assert "Anna and Berta are two" in answer.text
        done = {"do": "undo", "done": f"d{pair.pk}", "at": ""}
        client.post(review_url(team, ""), done, headers=HTMX)
        pair.refresh_from_db()
        assert pair.decision == Likeness.Decision.NONE

    def test_a_pair_that_somebody_else_decided_is_told(
        self, team: Team, pair: Likeness, bob: User, sign_in: SignIn
    ) -> None:
        Likeness.objects.update(decision=Likeness.Decision.DIFFERENT)
        answer = sign_in(bob).post(
            review_url(team, ""), {"pair": pair.pk, "keep": pair.one.pk}, headers=HTMX
        )
        assert "Somebody was quicker" in answer.text
        assert not Change.objects.exists()


class TestTwoAtOnce:
    def test_each_is_shown_other_faces(
        self, team: Team, gallery: Gallery, alice: User, bob: User, sign_in: SignIn
    ) -> None:
        for _ in range(9):
            make_face(gallery)
        hers = ids(sign_in(alice).get(review_url(team)))
        his = ids(sign_in(bob).get(review_url(team)))
        assert len(hers) == len(his) == 4
        assert not set(hers) & set(his)

    def test_each_is_shown_another_pair(
        self, team: Team, gallery: Gallery, anna: Person, alice: User, bob: User, sign_in: SignIn
    ) -> None:
        make_face(gallery, person=anna, similarity=0.9)
        berta = PersonFactory.create(space=anna.space, label="Berta")
        Likeness.objects.create(space=anna.space, one=anna, other=berta)
        assert ids(sign_in(alice).get(review_url(team)))
        assert not ids(sign_in(bob).get(review_url(team)))

    def test_a_face_is_free_again_when_the_lease_is_over_or_the_page_was_left(
        self, team: Team, faces: list[Face], alice: User, bob: User, sign_in: SignIn
    ) -> None:
        hers, his = sign_in(alice), sign_in(bob)
        hers.get(review_url(team))
        assert not ids(his.get(review_url(team)))
        hers.post(reverse("review_keep", args=[team.slug]))
        assert len(ids(his.get(review_url(team)))) == 3
        assert not ids(hers.get(review_url(team)))
        ReviewHold.objects.update(until=timezone.now())
        assert len(ids(hers.get(review_url(team)))) == 3

    def test_a_page_that_is_still_looked_at_keeps_its_faces_and_learns_what_it_lost(
        self, team: Team, faces: list[Face], alice: User, bob: User, sign_in: SignIn
    ) -> None:
        hers = sign_in(alice)
        hers.get(review_url(team))
        soon = timezone.now() + LEASE / 60
        ReviewHold.objects.update(until=soon)
        pks = [face.pk for face in faces]
        kept = hers.post(reverse("review_keep", args=[team.slug]), {"face": pks})
        assert kept.json() == {"lost": []}
        assert all(hold.until > soon for hold in ReviewHold.objects.all())
        ReviewHold.objects.filter(face=faces[0]).update(user=bob)
        kept = hers.post(reverse("review_keep", args=[team.slug]), {"face": pks})
        assert kept.json() == {"lost": [faces[0].pk]}

    @pytest.mark.parametrize(
        "outcome",
        [("named", "Somebody was quicker: that is Berta."), ("ignored", "was set aside already")],
    )
    @pytest.mark.parametrize("do", ["name", "ignore", "confirm", "reject"])
    def test_what_somebody_else_decided_meanwhile_is_told_and_not_overwritten(
        self,
        gallery: Gallery,
        anna: Person,
        alice: User,
        bob: User,
        sign_in: SignIn,
        outcome: tuple[str, str],
        do: str,
    ) -> None:
        decided, words = outcome
        face = weak(gallery, anna)
        if decided == "named":
            name_face(actor=by(alice), face=face, label="Berta")
        else:
            ignore_face(actor=by(alice), face=face)
        answer = decide(sign_in(bob), face, do, label="Carla", headers=HTMX)
        assert words in answer.text
        face.refresh_from_db()
        assert face.decided_by == alice
        assert not Change.objects.filter(actor=bob).exists()

    def test_a_decision_in_the_very_same_moment_is_told_too(
        self,
        team: Team,
        faces: list[Face],
        alice: User,
        bob: User,
        sign_in: SignIn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real = name_face

        def late(**values: Any) -> Any:
            """Alice decides after Bob's page was checked, and before he has the face."""
            real(actor=by(alice), face=Face.objects.get(pk=faces[2].pk), label="Berta")
            return real(**values)

        monkeypatch.setattr("persons.actions.review.name_face", late)
        answer = decide(sign_in(bob), faces[2], label="Anna", headers=HTMX)
        assert "Somebody was quicker" in answer.text
        assert not Person.objects.filter(label="Anna").exists()

    def test_a_suggestion_that_changed_meanwhile_is_neither_confirmed_nor_ignored(
        self, team: Team, gallery: Gallery, anna: Person, bob: User, sign_in: SignIn
    ) -> None:
        berta = PersonFactory.create(space=gallery.space, label="Berta")
        face = weak(gallery, berta)
        for do in ("confirm", "ignore", "reject"):
            answer = decide(sign_in(bob), face, do, shown=anna.pk, headers=HTMX)
            assert "recognised as Berta meanwhile" in answer.text
        face.refresh_from_db()
        assert face.decision == Decision.NONE

    @pytest.mark.unsettled
    def test_a_face_that_is_gone_is_told(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        Face.objects.filter(pk=faces[2].pk).delete()
        assert (
            "That face is gone" in decide(sign_in(bob), faces[2], label="Anna", headers=HTMX).text
        )


class TestThePlace:
    def test_coming_back_goes_on_where_one_was(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        faces = [make_face(gallery) for _ in range(3)]
        decide(sign_in(bob), faces[2], "skip", headers=HTMX, kind="unknown")
        make_face(gallery)
        response = sign_in(bob).get(review_url(team, ""))
        assert response.status_code == 302
        assert "kind=unknown" in response["Location"]
        assert shown(sign_in(bob).get(response["Location"])) == faces[1]

    def test_at_the_end_of_a_round_coming_back_starts_the_next_one(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        end = client.get(review_url(team, f"?order=new&at=0.{faces[0].pk}"))
        assert "That was the last one of this round" in end.text
        response = client.get(review_url(team, ""))
        assert shown(client.get(response["Location"])) == faces[2]

    def test_each_has_a_place_of_their_own(
        self, team: Team, faces: list[Face], alice: User, bob: User, sign_in: SignIn
    ) -> None:
        sign_in(bob).get(review_url(team, "?kind=weak&order=new"))
        assert sign_in(alice).get(review_url(team, "")).status_code == 200
        assert ReviewPlace.objects.get(user=bob).query.startswith("kind=weak")

    def test_an_address_says_all_of_a_place(self) -> None:
        from django.http import QueryDict

        place = QueuePlace("weak", "harbour", "3", True, "4500.12")
        assert QueuePlace.of(QueryDict(place.query())) == place
        assert QueuePlace.of(QueryDict("at=p12")).pair == 12


def test_a_face_is_not_named_by_a_word_that_nobody_knows(
    team: Team, faces: list[Face], bob: User, sign_in: SignIn
) -> None:
    answer = decide(sign_in(bob), faces[0], "same", label="Anna")
    assert answer.status_code == 400
    assert not Change.objects.exists()


class TestWhatWasNotSent:
    """A page that is left sends the rest of its decisions in one request."""

    def send(self, client: Client, team: Team, *queued: dict[str, Any]) -> Any:
        data = {"do": "rest", "queued": [urlencode(one) for one in queued]}
        return client.post(review_url(team, ""), data)

    def test_it_is_done_in_order_and_an_undo_takes_back_the_one_before(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        names = [{"face": face.pk, "label": "Anna"} for face in faces]
        answer = self.send(client, team, names[0], names[1], {"do": "undo"}, names[2])
        assert answer.status_code == 204
        anna = Person.objects.get(label="Anna")
        assert set(Face.objects.filter(person=anna)) == {faces[0], faces[2]}

    def test_more_than_one_request_may_hold_is_an_error_and_nothing_is_done(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        """Half of it would be lost: the page forgets what it has sent."""
        queued = [{"face": faces[0].pk, "do": "ignore"}] * (MOST_QUEUED + 1)
        assert self.send(sign_in(bob), team, *queued).status_code == 400
        assert not Change.objects.exists()

    def test_what_had_arrived_is_no_news_and_an_undo_after_it_means_it(
        self, team: Team, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        decide(client, faces[0], "ignore", headers=HTMX)
        ignored = {"face": faces[0].pk, "do": "ignore"}
        self.send(client, team, ignored, {"face": faces[1].pk, "do": "ignore"})
        assert Face.objects.filter(decision=Decision.IGNORED).count() == 2
        assert Change.objects.count() == 2
        assert "quicker" not in client.get(review_url(team)).text
        self.send(client, team, ignored, {"do": "undo"})
        assert Face.objects.get(decision=Decision.IGNORED) == faces[1]

    def test_what_could_not_be_done_is_told_and_undoes_nothing_else(
        self, team: Team, faces: list[Face], alice: User, bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        decide(client, faces[0], "ignore", headers=HTMX)
        name_face(actor=by(alice), face=faces[1], label="Berta")
        late = {"face": faces[1].pk, "label": "Carla"}
        self.send(client, team, late, {"do": "undo"}, {"face": "x", "do": "zebra"}, {})
        assert "that is Berta" in client.get(review_url(team)).text
        assert Face.objects.get(decision=Decision.IGNORED) == faces[0]

    def test_a_viewer_and_a_stranger_send_nothing(
        self, team: Team, faces: list[Face], vera: User, charlie: User, sign_in: SignIn
    ) -> None:
        ignored = {"face": faces[0].pk, "do": "ignore"}
        assert self.send(sign_in(vera), team, ignored).status_code == 403
        assert self.send(sign_in(charlie), team, ignored).status_code == 404
        assert not Change.objects.exists()


class TestWhoWasFound:
    def found(self, client: Client, team: Team, more: str = "order=new") -> str:
        response = client.get(review_url(team, f"?part=found&{more}"), headers=HTMX)
        return " ".join(response.text.split())

    def test_after_a_name_it_tells_how_many_more_were_found(
        self, team: Team, gallery: Gallery, faces: list[Face], bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        decide(client, faces[2], label="Anna", headers=HTMX)
        anna = Person.objects.get(label="Anna")
        assert "being enrolled" in self.found(client, team)
        Person.objects.update(sync_state=SyncState.IDLE)
        run = Run.objects.create(space=gallery.space, person=anna, reason="r", photo_count=3)
        waiting = PhotoFactory.create(
            gallery=gallery, sha256=token_hex(32), state=PhotoState.QUEUED, run=run
        )
        make_face(gallery, person=anna, found_by_run=run, similarity=0.9)
        text = self.found(client, team)
        assert "1 more found</b>; 1 photo to go" in text
        assert "load delay" in text
        type(waiting).objects.filter(pk=waiting.pk).update(state=PhotoState.DONE)
        make_face(gallery, person=anna, found_by_run=run, similarity=0.45)
        text = self.found(client, team)
        many = reverse("review_person", args=[team.slug, anna.space.number, anna.person_id])
        assert f'2 more found</b>, <a href="{many}">1 to confirm</a>' in text
        assert "load delay" not in text
        # What waits is told along with it.
        assert 'id="review-kinds" aria-label="What waits" hx-swap-oob="true"' in text
        assert 'Unsure <span class="n">1</span>' in text
        alone = self.found(client, team, "alone=1")
        assert "1 to confirm" in alone
        assert "review-kinds" not in alone

    def test_what_others_named_or_what_was_taken_back_is_not_told(
        self, team: Team, faces: list[Face], alice: User, bob: User, sign_in: SignIn
    ) -> None:
        decide(sign_in(alice), faces[2], label="Anna", headers=HTMX)
        client = sign_in(bob)
        decide(client, faces[1], label="Berta", headers=HTMX)
        client.post(review_url(team, ""), {"do": "undo", "at": ""}, headers=HTMX)
        text = self.found(client, team)
        assert "Anna" not in text
        assert "Berta" not in text

    @pytest.mark.parametrize("count", [1, 12])
    def test_it_asks_as_much_for_any_number(
        self,
        team: Team,
        gallery: Gallery,
        bob: User,
        sign_in: SignIn,
        count: int,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        for number in range(count):
            name_face(actor=by(bob), face=make_face(gallery), label=f"Anna {number}")
        Person.objects.update(sync_state=SyncState.IDLE)
        for person in Person.objects.all():
            run = Run.objects.create(space=gallery.space, person=person, reason="r", photo_count=3)
            make_face(gallery, person=person, found_by_run=run, similarity=0.9)
        client = sign_in(bob)
        assert "1 more found" in self.found(client, team)
        with django_assert_num_queries(10):
            self.found(client, team)


@pytest.mark.unsettled
class TestWhileAMergeIsUnderWay:
    """Faces of many are moved by a worker; until then they stand under the old name."""

    @pytest.fixture
    def berta(self, anna: Person) -> Person:
        berta = PersonFactory.create(space=anna.space, label="Berta")
        decided = weak(anna.space.galleries.get(), anna)
        Face.objects.filter(pk=decided.pk).update(similarity=0.44)
        set_merged_into(anna, berta)
        return berta

    def test_a_face_is_asked_about_as_whom_it_stands_for(
        self, team: Team, anna: Person, berta: Person, bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        page = client.get(review_url(team))
        assert page.context["card"].suggested == berta
        assert page.context["card"].shown == anna.pk
        assert "Anna" not in page.text
        face = page.context["card"].face
        decide(client, face, "confirm", headers=HTMX)
        face.refresh_from_db()
        assert face.person == berta

    def test_many_at_once_are_theirs_who_stayed(
        self, team: Team, anna: Person, berta: Person, bob: User, sign_in: SignIn
    ) -> None:
        weak(anna.space.galleries.get(), berta)
        client = sign_in(bob)
        page = client.get(reverse("review_many", args=[team.slug]))
        assert [(row.person, row.count) for row in page.context["rows"]] == [(berta, 2)]
        addresses = [
            reverse("review_person", args=[team.slug, one.space.number, one.person_id])
            for one in (anna, berta)
        ]
        response = client.get(f"{addresses[0]}?done=1")
        assert (response.status_code, response["Location"]) == (302, f"{addresses[1]}?done=1")
        assert len(client.get(addresses[1]).context["faces"]) == 2

    def test_nobody_is_in_company_with_themselves(
        self, team: Team, anna: Person, berta: Person, bob: User, sign_in: SignIn
    ) -> None:
        FaceFactory.create(photo=Face.objects.get().photo, left=40, right=60)
        Face.objects.filter(left=40).update(person=berta)
        address = reverse("person_company", args=[team.slug, berta.space.number, berta.person_id])
        response = sign_in(bob).get(address)
        assert response.context["company"] == []
        assert "Anna" not in response.text
