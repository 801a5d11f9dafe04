"""The audit log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.audit import WORDS, changes_of
from persons import audit
from persons.actions.galleries import create_gallery
from persons.actions.people import rename_person
from persons.actions.spaces import Policy, change_policy
from persons.audit import Actor
from persons.models import AuditEntry, Source, Team, User
from tests.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory

SignIn = Callable[[User], Client]


def audit_url(team: Team) -> str:
    return reverse("audit", args=[team.slug])


def on_page(user: User) -> Actor:
    return Actor(user, Source.PAGE, address="192.0.2.7")


def test_an_entry_says_who_did_what_to_what_from_where(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Ana")
    rename_person(actor=on_page(bob), person=anna, label="Anna")
    page = sign_in(alice).get(audit_url(team)).text
    for text in ("Bob</a> renamed", "192.0.2.7", "Page", "<del>Ana</del>", "<ins>Anna</ins>"):
        assert text in page
    assert reverse("person", args=[team.slug, 0, anna.person_id]) in page


def test_a_policy_change_is_told_setting_by_setting(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=4)
    change_policy(
        actor=on_page(alice),
        space=space,
        policy=Policy("Door", 0.5, 0.5, True, False, False, 0),
    )
    page = sign_in(alice).get(audit_url(team)).text
    assert "<del>0.4</del>" in page
    assert "<ins>0.5</ins>" in page
    assert "<dt>Update embeddings</dt><dd><del>off</del>" in page
    assert "Searcher" not in page


def test_another_teams_entries_are_not_in_it(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    other = charlie.teams.get()
    create_gallery(
        actor=on_page(charlie), team=other, name="Secret", space=other.spaces.get(number=0)
    )
    assert "Secret" not in sign_in(alice).get(audit_url(team)).text


def test_it_filters_by_action_and_by_actor(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=0)
    create_gallery(actor=on_page(alice), team=team, name="Alps", space=space)
    create_gallery(actor=on_page(bob), team=team, name="Baltic", space=space)
    audit.record(actor=on_page(bob), team=team, action="photo.upload", after={"size": 5120})
    client = sign_in(alice)
    page = client.get(f"{audit_url(team)}?actor={bob.pk}&action=gallery.create").text
    assert "Baltic" in page
    assert "Alps" not in page
    assert "5.0" not in page


def test_somebody_who_left_can_still_be_filtered_by(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    space = team.spaces.get(number=0)
    create_gallery(actor=on_page(bob), team=team, name="Baltic", space=space)
    bob.memberships.all().delete()
    page = sign_in(alice).get(f"{audit_url(team)}?actor={bob.pk}").text
    assert "Baltic" in page
    assert "no longer a member" in page


def test_nobodys_name_is_learned_by_guessing_ids(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    page = sign_in(alice).get(f"{audit_url(team)}?actor={charlie.pk}").text
    assert "Charlie" not in page


@pytest.mark.parametrize("query", ["actor=x", "actor=%00", "action=drop", "before=-1", "after=²"])
def test_a_filter_that_means_nothing_is_ignored(
    team: Team, alice: User, sign_in: SignIn, query: str
) -> None:
    assert sign_in(alice).get(f"{audit_url(team)}?{query}").status_code == 200


def test_an_auditor_reads_it_without_links_to_what_is_closed_to_them(
    team: Team, audrey: User, bob: User, sign_in: SignIn
) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Ana")
    rename_person(actor=on_page(bob), person=anna, label="Anna")
    page = sign_in(audrey).get(audit_url(team)).text
    assert "<ins>Anna</ins>" in page
    assert "/people/" not in page


def test_a_target_that_is_gone_has_no_link(team: Team, alice: User, sign_in: SignIn) -> None:
    anna = PersonFactory.create(space=team.spaces.get(number=0), label="Ana")
    rename_person(actor=on_page(alice), person=anna, label="Anna")
    address = reverse("person", args=[team.slug, 0, anna.person_id])
    anna.delete()
    page = sign_in(alice).get(audit_url(team)).text
    assert "<b>Anna</b>" in page
    assert address not in page


def test_a_target_of_another_team_has_no_link(
    team: Team, alice: User, charlie: User, sign_in: SignIn
) -> None:
    theirs = GalleryFactory.create(team=charlie.teams.get(), name="Theirs")
    audit.record(actor=on_page(alice), team=team, action="gallery.rename", target=theirs)
    assert (
        reverse("gallery", args=[team.slug, theirs.slug])
        not in sign_in(alice).get(audit_url(team)).text
    )


def test_an_action_without_words_is_shown_as_it_is(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    audit.record(actor=on_page(alice), team=team, action="share_link.create", after={"days": 3})
    page = sign_in(alice).get(audit_url(team)).text
    assert "share link: create" in page
    assert "<dt>days</dt>" in page


def test_people_are_told_by_number_or_counted(team: Team, alice: User, sign_in: SignIn) -> None:
    for people in ([3, 8], 41):
        audit.record(
            actor=on_page(alice), team=team, action="groups.make", after={"people": people}
        )
    page = sign_in(alice).get(audit_url(team)).text
    assert "person3, person8" in page
    assert "41" in page


def test_every_action_that_is_recorded_has_words() -> None:
    import re
    from pathlib import Path

    recorded: set[str] = set()
    for path in Path("persons/actions").glob("*.py"):
        recorded |= set(re.findall(r'action="([a-z_.]+)"', path.read_text(encoding="utf-8")))
    assert recorded
    assert recorded <= WORDS.keys()


def test_nothing_that_stayed_the_same_is_told() -> None:
    entry = AuditEntry(before={"role": "viewer", "name": "a"}, after={"role": "owner", "name": "a"})
    assert [(change.before, change.after) for change in changes_of(entry)] == [("Viewer", "Owner")]


@pytest.mark.parametrize("count", [3, 60])
def test_it_asks_the_same_number_of_queries_for_any_length(
    team: Team,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    gallery = GalleryFactory.create(team=team)
    for n in range(count):
        photo = PhotoFactory.create(gallery=gallery, sha256=f"{n:064}")
        face = FaceFactory.create(photo=photo)
        person = PersonFactory.create(space=gallery.space)
        for target in (face, face.photo, gallery, person, gallery.space, alice):
            audit.record(actor=on_page(alice), team=team, action="a.b", target=target)
    client = sign_in(alice)
    with django_assert_num_queries(QUERIES):
        client.get(audit_url(team))


QUERIES = 11
"""Session, user, membership three times, entries, members; the spaces, galleries, photos, faces
and people that are linked to; and the frame's two."""
