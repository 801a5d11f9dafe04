"""The pages of groups: starting a grouping, its preview, and decisions on its groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.review.bulk_review import MOST_UNDONE
from dashboard.pages.review.groups import GROUPS
from persons import pipeline
from persons.models import (
    Change,
    Decision,
    Enrolment,
    Face,
    Gallery,
    Grouping,
    JobState,
    Person,
    Review,
    Team,
    User,
)
from tests.support.factories import GalleryFactory, PersonFactory
from tests.support.groups import make_group, unknown

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


def faces_of(person: Person) -> list[Face]:
    return list(Face.objects.filter(person=person).order_by("pk"))


def page_of(person: Person) -> str:
    return reverse("group", args=[person.space.team.slug, person.space.number, person.person_id])


class TestAsking:
    def test_sorting_is_offered_for_what_has_unknown_faces(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        client = sign_in(bob)
        address = reverse("groups", args=[team.slug])
        assert "No unknown faces to sort" in client.get(address).text
        for _ in range(3):
            unknown(gallery)
        GalleryFactory.create(team=team, slug="empty")
        response = client.get(address)
        assert [(one.value, one.unknown) for one in response.context["scopes"]] == [
            ("s:0", 3),
            ("g:harbour", 3),
        ]

    @pytest.mark.parametrize("of", ["g:harbour", "s:0"])
    def test_it_is_asked_for_by_one_button_and_its_page_follows_it(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn, of: str
    ) -> None:
        unknown(gallery), unknown(gallery)
        client = sign_in(bob)
        response = client.post(reverse("start_grouping", args=[team.slug]), {"of": of})
        grouping = Grouping.objects.get()
        assert response["Location"] == reverse("grouping", args=[team.slug, grouping.pk])
        assert (grouping.gallery is None) == (of == "s:0")
        page = client.get(response["Location"])
        assert "Looking at the faces" in page.text
        assert "data-poll" in page.text
        part = client.get(response["Location"], headers={"HX-Request": "true"})
        assert "<html" not in part.text
        Grouping.objects.update(state=JobState.READY, plan=[])
        assert "alike enough" in client.get(response["Location"]).text

    @pytest.mark.parametrize("of", ["", "g:nowhere", "s:x", "s:", "x:0", "s:99"])
    def test_what_there_is_not_is_not_sorted(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn, of: str
    ) -> None:
        response = sign_in(bob).post(reverse("start_grouping", args=[team.slug]), {"of": of})
        assert response.status_code == 404

    def test_the_plan_says_how_many_people_it_would_make(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        faces = [unknown(gallery).pk for _ in range(6)]
        grouping = Grouping.objects.create(
            space=gallery.space, state=JobState.READY, total=6, plan=[faces[:3], faces[3:5]]
        )
        response = sign_in(bob).get(reverse("grouping", args=[team.slug, grouping.pk]))
        words = " ".join(response.text.replace('<b class="num">', "").replace("</b>", "").split())
        assert "6 unknown faces would become 2 people; 1 stays alone." in words
        assert "Make 2 groups" in response.text
        assert [size for size, _ in response.context["preview"].groups] == [3, 2]

    def test_the_plan_can_be_steered(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        faces = [unknown(gallery).pk for _ in range(2)]
        grouping = Grouping.objects.create(
            space=gallery.space, state=JobState.READY, total=2, plan=[faces]
        )
        client = sign_in(bob)
        steer = reverse("steer_grouping", args=[team.slug, grouping.pk])
        client.post(steer, {"do": "threshold", "threshold": "55"})
        grouping.refresh_from_db()
        assert (grouping.threshold, grouping.state) == (0.55, JobState.QUEUED)
        Grouping.objects.update(state=JobState.READY, plan=[faces])
        client.post(steer, {"do": "make"})
        assert not pipeline.group_faces(grouping.pk)
        assert Person.objects.get(grouping=grouping).label == ""
        page = client.get(reverse("grouping", args=[team.slug, grouping.pk])).text
        assert "1 group made" in page
        for values in ({"do": "threshold", "threshold": "much"}, {"do": "cancel"}, {"do": "x"}):
            assert client.post(steer, values).status_code == 303

    def test_a_grouping_of_a_closed_gallery_is_not_there(
        self, team: Team, bob: User, alice: User, sign_in: SignIn
    ) -> None:
        secret = GalleryFactory.create(team=team, slug="secret", is_open=False)
        grouping = Grouping.objects.create(space=secret.space, gallery=secret)
        address = reverse("grouping", args=[team.slug, grouping.pk])
        assert sign_in(bob).get(address).status_code == 404
        assert sign_in(alice).get(address).status_code == 200
        listed = sign_in(bob).get(reverse("groups", args=[team.slug])).context["groupings"]
        assert not list(listed)


class TestWorkingThrough:
    def test_the_largest_come_first_and_pages_go_by_key(
        self,
        team: Team,
        gallery: Gallery,
        bob: User,
        sign_in: SignIn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("dashboard.pages.review.groups.GROUPS", 2)
        groups = [make_group(gallery, size) for size in (2, 4, 2, 3)]
        PersonFactory.create(space=gallery.space, label="Anna")
        client = sign_in(bob)
        first = client.get(reverse("groups", args=[team.slug]))
        assert [one.person for one in first.context["groups"]] == [groups[1], groups[3]]
        assert [one.count for one in first.context["groups"]] == [4, 3]
        following = client.get(
            reverse("groups", args=[team.slug]) + f"?before={first.context['next']}"
        )
        assert [one.person for one in following.context["groups"]] == [groups[2], groups[0]]

    def test_a_group_is_named_whole(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        group = make_group(gallery, 7)
        client = sign_in(bob)
        data = {"whole": "1", "do": "name", "label": "Anna"}
        response = client.post(page_of(group), data)
        group.refresh_from_db()
        assert group.label == "Anna"
        assert Face.objects.filter(decision=Decision.NAMED, person=group).count() == 7
        assert Enrolment.objects.filter(person=group).count() == 5
        page = client.get(response["Location"])
        assert "7 faces are Anna" in page.text
        token = page.context["undoable"].token
        client.post(reverse("review_undo", args=[team.slug]), {"done": token})
        group.refresh_from_db()
        assert group.label == ""
        assert Face.objects.grouped().filter(person=group).count() == 7

    def test_a_group_becomes_somebody_who_is_known_and_the_unticked_are_taken_out(
        self, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        anna = PersonFactory.create(space=gallery.space, label="Anna")
        group = make_group(gallery, 4)
        faces = faces_of(group)
        data = {
            "face": [face.pk for face in faces],
            "yes": [face.pk for face in faces[:3]],
            "whole": "1",
            "label": "anna",
        }
        sign_in(bob).post(page_of(group), data)
        assert Face.objects.filter(decision=Decision.NAMED, person=anna).count() == 3
        assert Face.objects.get(pk=faces[3].pk).review == Review.UNKNOWN

    def test_a_group_of_which_nobody_is_left_is_not_listed_until_that_is_undone(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        PersonFactory.create(space=gallery.space, label="Anna")
        group = make_group(gallery, 4)
        client, listed = sign_in(bob), reverse("people", args=[team.slug])
        space_page = reverse("space", args=[team.slug, gallery.space.number])
        assert group.name in client.get(listed).text
        response = client.post(page_of(group), {"whole": "1", "do": "name", "label": "Anna"})
        token = client.get(response["Location"]).context["undoable"].token
        page = client.get(listed)
        assert group.name not in page.text
        assert group.name not in client.get(f"{listed}?show=unnamed").text
        assert client.get(space_page).context["space"].people_count == 1
        client.post(reverse("review_undo", args=[team.slug]), {"done": token})
        assert group.name in client.get(listed).text

    @pytest.mark.parametrize(
        ("do", "review", "decision"),
        [("unknown", Review.UNKNOWN, Decision.NONE), ("ignore", Review.NONE, Decision.IGNORED)],
    )
    def test_a_group_is_thrown_away_whole_and_taken_back(
        self,
        team: Team,
        gallery: Gallery,
        bob: User,
        sign_in: SignIn,
        do: str,
        review: str,
        decision: str,
    ) -> None:
        group = make_group(gallery, 3)
        faces = faces_of(group)
        client = sign_in(bob)
        response = client.post(page_of(group), {"whole": "1", "do": do})
        for face in faces:
            face.refresh_from_db()
            assert (face.review, face.decision, face.person) == (review, decision, None)
        assert group not in [
            one.person for one in client.get(response["Location"]).context["groups"]
        ]
        change = Change.objects.get()
        client.post(reverse("review_undo", args=[team.slug]), {"done": change.pk})
        assert faces_of(group) == faces

    def test_single_faces_are_taken_out(self, gallery: Gallery, bob: User, sign_in: SignIn) -> None:
        group = make_group(gallery, 3)
        faces = faces_of(group)
        pks = [face.pk for face in faces]
        client = sign_in(bob)
        client.post(page_of(group), {"face": pks, "yes": pks[1:], "do": "out", "whole": "1"})
        assert faces_of(group) == faces[1:]
        refused = client.post(page_of(group), {"face": pks[1:], "yes": pks[1:], "do": "out"})
        assert "Untick the faces" in client.get(refused["Location"]).text

    def test_groups_become_one_and_are_parted_again(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        small, large, other = (make_group(gallery, size) for size in (2, 4, 3))
        client = sign_in(bob)
        chosen = [f"0.{person.person_id}" for person in (small, large, other)]
        response = client.post(reverse("merge_groups", args=[team.slug]), {"group": chosen})
        assert len(faces_of(large)) == 9
        page = client.get(response["Location"])
        assert [one.count for one in page.context["groups"]] == [9]
        token = page.context["undoable"].token
        client.post(reverse("review_undo", args=[team.slug]), {"done": token})
        assert [len(faces_of(person)) for person in (small, large, other)] == [2, 4, 3]
        refused = client.post(reverse("merge_groups", args=[team.slug]), {"group": chosen[:1]})
        assert "two groups or more" in client.get(refused["Location"]).text

    def test_what_is_no_group_has_no_such_page(
        self, team: Team, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        anna = PersonFactory.create(space=gallery.space, label="Anna")
        client = sign_in(bob)
        assert client.get(page_of(anna)).status_code == 404
        merge = reverse("merge_groups", args=[team.slug])
        for chosen in (["x"], ["0.99"], [f"0.{anna.person_id}"]):
            assert client.post(merge, {"group": chosen}).status_code == 404

    def test_a_group_without_faces_says_so(
        self, gallery: Gallery, bob: User, sign_in: SignIn
    ) -> None:
        group = make_group(gallery, 0)
        assert "Nothing left here" in sign_in(bob).get(page_of(group)).text

    @pytest.mark.parametrize("count", [2, 20])
    def test_it_asks_the_same_number_of_queries_for_any_length(
        self,
        team: Team,
        gallery: Gallery,
        bob: User,
        sign_in: SignIn,
        count: int,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        grouping = Grouping.objects.create(space=gallery.space, state=JobState.DONE)
        groups = [make_group(gallery, 2, grouping) for _ in range(count)]
        client = sign_in(bob)
        with django_assert_num_queries(12):
            client.get(reverse("groups", args=[team.slug]))
        with django_assert_num_queries(8):
            client.get(page_of(groups[0]))


def test_a_merge_of_a_whole_page_of_groups_is_taken_back_in_one_stroke() -> None:
    assert MOST_UNDONE >= GROUPS - 1
