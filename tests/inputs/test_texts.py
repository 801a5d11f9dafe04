"""Typed and pasted text: joiners stay where they join, and invisible characters are removed."""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Callable

import pytest
from django.apps import apps
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persons.actions.keys import create_key
from persons.actions.naming import clean_label, with_label
from persons.actions.people import rename_person
from persons.actions.teams import create_team
from persons.audit import Actor
from persons.errors import Refused
from persons.images import clean_name
from persons.inputs import texts
from persons.models import ApiKey, Consent, Gallery, LegalHold, Person, ShareLink, Space, Team, User
from persons.models.names import NameStart
from persons.models.people import found_by_name
from persons.pipeline.spaces.manifests import line as saved_line
from tests.support.factories import GalleryFactory, PersonFactory

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SignIn = Callable[[User], Client]


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team)
    return found


@pytest.fixture
def space(gallery: Gallery) -> Space:
    return gallery.space


PERSIAN = "علی\u200cرضا"  # noqa: RUF001
SINHALA = "ශ්\u200dරී"
FAMILY = "👩\u200d👩\u200d👧"
FLAME = "❤\ufe0f\u200d🔥"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
CHILLU = "അവന്\u200d"
JAPANESE = "葛\U000e0100城"
KEPT = [PERSIAN, SINHALA, FAMILY, FLAME, ENGLAND, CHILLU, JAPANESE]

REMOVED = [
    "\ufeff", "\u200b", "\u200e", "\u200f", "\u061c", "\u202a", "\u202e", "\u2066", "\u2069",
    "\u00ad", "\u2060", "\u034f", "\u3164", "\u115f", "\0", "\x1b", "\x7f", "\ud800", "\uffff",
    "\u200c", "\u200d", "\U000e0041",
]  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_what_joins_stays(text: str) -> None:
    assert texts.line(f" {text}  x ") == f"{text} x"
    assert texts.block(f"{text}\r\n\t{text} \n") == f"{text}\n\t{text}"
    assert clean_label(text) == saved_line(text) == text
    assert clean_name(f"{text}.jpg") == f"{text}.jpg"


@pytest.mark.parametrize("mark", REMOVED, ids=ascii)
def test_what_nobody_sees_is_removed_wherever_it_stands(mark: str) -> None:
    assert texts.line(f"{mark}An{mark}na {mark} Berg{mark}") == "Anna Berg"
    assert texts.block(f"{mark}One{mark}\n{mark}two") == "One\ntwo"
    assert clean_name(f"{mark}a{mark}b.j{mark}pg") == "ab.jpg"
    assert texts.line(mark) == texts.block(mark) == ""


@pytest.mark.parametrize(
    "text", ["\u200cعلی\u200c", "علی\u200c \u200cعلی", "علی\u200c\u200dعلی", "علی\u200c-علی"]
)
def test_a_joiner_with_nothing_to_join_goes(text: str) -> None:
    line = texts.line(text)
    assert not line.startswith("\u200c") and not line.endswith("\u200c")
    assert "\u200c " not in line and " \u200c" not in line and "\u200c-" not in line
    assert "\u200c\u200d" not in line


HOSTILE = st.text(
    alphabet="aé \t\n\u0301\u0dca\u200c\u200d\u202e\ufe0f👩🏴ع\U000e0067\U000e007f\u180e\u212a.",
    max_size=30,
)


@PATIENT
@given(HOSTILE | st.text(max_size=60))
def test_any_text_comes_out_plain_and_stays_so(text: str) -> None:
    for clean in (texts.line, texts.block):
        once = clean(text)
        assert clean(once) == once == unicodedata.normalize("NFC", once)
        assert not set(once) & set("\u202e\u2066\ufeff\0\x1b")
        once.encode()
    assert "\n" not in texts.line(text)
    assert texts.folded(texts.folded(text)) == texts.folded(text)


# --- Finding and telling apart ---


@pytest.mark.django_db
@pytest.mark.parametrize("label", [PERSIAN, SINHALA, FAMILY, FLAME, JAPANESE])
def test_a_name_is_found_with_and_without_its_joiners(space: Space, label: str) -> None:
    person = PersonFactory.create(space=space, label=label)
    bare = texts.without_joiners(label)
    assert bare != label
    for typed in (label, bare, f"\ufeff{bare} "):
        assert with_label(space, typed) == person
        assert found_by_name([space.pk], typed, 5) == [person.pk]
    other = PersonFactory.create(space=space, label="Somebody else")
    with pytest.raises(Refused, match="already"):
        rename_person(actor=Actor.command("test"), person=other, label=bare)


# --- Every way in ---


@pytest.mark.django_db
def test_every_form_keeps_joiners_and_removes_what_is_unseen(
    team: Team, gallery: Gallery, alice: User, sign_in: SignIn
) -> None:
    client, pasted = sign_in(alice), f"\ufeff\u202e{PERSIAN}\u2069"
    home = f"/t/{team.slug}"
    person = PersonFactory.create(space=gallery.space, label="Anna")
    at = f"{home}/spaces/{gallery.space.number}/people/{person.person_id}"
    client.post(f"{home}/galleries/new", {"name": pasted, "space": "0"})
    client.post(f"{home}/keys/make", {"name": pasted, "methods": ["set"]})
    client.post(f"{home}/g/{gallery.slug}/share/links", {"title": pasted, "days": "5"})
    client.post(f"{at}/consent", {"purpose": pasted, "document": pasted, "given": "2026-01-05"})
    client.post(f"{at}/notes", {"notes": f"{pasted}\r\n{pasted}"})
    client.post(f"{at}/rename", {"label": pasted})
    client.post(f"{at}/hold", {"reason": pasted})
    person.refresh_from_db()
    assert person.label == PERSIAN
    assert person.notes == f"{PERSIAN}\n{PERSIAN}"
    assert Gallery.objects.order_by("-pk")[0].name == PERSIAN
    assert ApiKey.objects.get().name == PERSIAN
    assert ShareLink.objects.get().title == PERSIAN
    assert (Consent.objects.get().purpose, Consent.objects.get().document) == (PERSIAN, PERSIAN)
    assert LegalHold.objects.get().reason == PERSIAN


@pytest.mark.django_db
def test_every_text_of_rest_keeps_joiners_and_removes_what_is_unseen(
    team: Team, gallery: Gallery, alice: User, sign_in: SignIn
) -> None:
    client, pasted = sign_in(alice), f"\ufeff\u202e{SINHALA}\u2069"
    home = f"/rest/teams/{team.slug}"
    person = PersonFactory.create(space=gallery.space, label="Anna")
    number = gallery.space.number
    for address, body, name in (
        (f"{home}/galleries/{gallery.slug}/", {"name": pasted}, "name"),
        (f"{home}/spaces/{number}/", {"name": pasted}, "name"),
        (f"{home}/spaces/{number}/people/{person.person_id}/", {"label": pasted}, "label"),
    ):
        answer = client.patch(address, body, content_type="application/json")
        assert answer.status_code == 200, answer.text
        assert answer.json()[name] == SINHALA
    made = client.post(
        f"{home}/galleries/", {"name": pasted, "space": 0}, content_type="application/json"
    )
    assert made.json()["name"] == SINHALA


@pytest.mark.django_db
def test_names_of_teams_and_keys_are_plain_too(alice: User, team: Team) -> None:
    actor = Actor.command("test")
    assert create_team(actor=actor, name="\u202eTeam\u200b A\u00e9", owner=alice).name == "Team Aé"
    assert create_key(actor=actor, team=team, name=f"\ufeff{FAMILY}")[0].name == FAMILY


# --- Names that say a number ---


@pytest.mark.django_db
@pytest.mark.parametrize(
    "label",
    [
        "person77",
        " PERSON77 ",
        "\uff50erson\uff17\uff17",
        "Unnamed person 77",
        "per\u200bson77",
    ],
)
def test_nobody_is_given_a_name_that_says_somebody_by_number(space: Space, label: str) -> None:
    person = PersonFactory.create(space=space, label="Anna")
    with pytest.raises(Refused, match="can't be a name"):
        rename_person(actor=Actor.command("test"), person=person, label=label)
    person.refresh_from_db()
    assert person.label == "Anna"


@pytest.mark.django_db
@pytest.mark.parametrize("label", ["77", "person", "Person 77", "person77b", "Anna person77"])
def test_a_name_that_only_begins_so_is_a_name(space: Space, label: str) -> None:
    person = PersonFactory.create(space=space, label="Anna")
    assert rename_person(actor=Actor.command("test"), person=person, label=label).label == label


@pytest.mark.django_db
def test_names_from_before_are_found_without_what_is_unseen_in_them(space: Space) -> None:
    """By the migration that teaches the index of names so."""
    label = f"Anna {JAPANESE}"
    person = PersonFactory.create(space=space, label=label)
    Person.objects.filter(pk=person.pk).update(name_key=f"anna {JAPANESE}")
    NameStart.objects.all().delete()
    bare = texts.without_joiners(JAPANESE)
    assert found_by_name([space.pk], bare, 5) == []
    migration = importlib.import_module("persons.migrations.0012_fit_and_names")
    migration.index_names(apps, None)
    assert found_by_name([space.pk], bare, 5) == [person.pk]
    assert found_by_name([space.pk], f"anna {bare}", 5) == [person.pk]
