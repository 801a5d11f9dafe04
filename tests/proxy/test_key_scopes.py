"""An API key that recognises changes nothing, unless its scopes allow that effect."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from persons.actions.keys import KeyOptions, create_key, revoke_key
from persons.audit import Actor
from persons.models import ApiKey, AuditEntry, Call, Person, Source, Space, Team, User
from persons.models.keys import Scope
from tests.support import wire
from tests.support.fakes import answer, found, seen
from tests.support.wire import Ask, Vision, file, meta, people, pictures

SignIn = Callable[[User], Client]

FILE = file("file", b"\xff\xd8 a picture \xff\xd9")
ACTOR = Actor.command("tests")
PARAMETERS = {Scope.CREATE: "create_new", Scope.LEARN: "update_embedding"}


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Vision:
    return wire.use(monkeypatch, Vision())


@pytest.fixture
def space(team: Team) -> Space:
    return team.spaces.get(number=5)


def asking(team: Team, *scopes: str, **limits: Any) -> tuple[ApiKey, Ask]:
    key, text = wire.make_key(team, scopes=scopes, **limits)
    return key, wire.in_process(text)


# --- What is refused ---


@pytest.mark.parametrize(("scope", "parameter"), PARAMETERS.items())
def test_an_effect_takes_its_own_scope(
    team: Team, vision: Vision, scope: Scope, parameter: str
) -> None:
    others = [one for one in Scope.values if one != scope]
    key, ask = asking(team, *others, methods=["recognize"], daily_images=10)
    got = ask("recognize", FILE, meta(pictures(**{parameter: True})))
    says = f"this oauth_token may not be used with {parameter}: it lacks the scope {scope}"
    assert (got.status, got.outcome) == (200, (403, says))
    assert not vision.asked and not Call.objects.exists() and not Person.objects.exists()
    assert not key.days.exists(), "what was refused costs no image"
    ApiKey.objects.filter(pk=key.pk).update(scopes=[scope])
    assert ask("recognize", FILE, meta(pictures(**{parameter: True}))).outcome[0] == 200
    assert vision.asked[-1].meta[parameter] is True


@pytest.mark.parametrize("said", [{}, {"create_new": False, "update_embedding": False}])
def test_a_recognition_that_asks_for_no_effect_takes_no_scope(
    team: Team, vision: Vision, said: dict[str, bool]
) -> None:
    _, ask = asking(team, methods=["recognize"])
    assert ask("recognize", FILE, meta(pictures(**said))).outcome[0] == 200
    assert vision.asked[-1].meta["update_embedding"] is False


@pytest.mark.parametrize("policy", [False, True])
@pytest.mark.parametrize("scopes", [[], ["learn"]])
@pytest.mark.parametrize("said", [{}, {"update_embedding": None}])
def test_what_is_not_said_follows_the_spaces_policy_if_the_key_may_learn(
    team: Team, vision: Vision, space: Space, policy: bool, scopes: list[str], said: dict[str, Any]
) -> None:
    """A client that says nothing is never refused, but without the scope it teaches nothing."""
    Space.objects.filter(pk=space.pk).update(update_embedding=policy)
    _, ask = asking(team, *scopes)
    vision.script.append(answer(seen("file", found(7))))
    assert ask("recognize", FILE, meta(pictures(**said))).outcome[0] == 200
    learns = policy and scopes == ["learn"]
    assert vision.asked[-1].meta["update_embedding"] is learns
    assert Call.objects.get().meta["update_embedding"] is learns, "the record says what was sent"
    assert AuditEntry.objects.filter(action="person.learn").exists() is learns


def test_a_new_key_has_no_scope(team: Team) -> None:
    key, _ = create_key(actor=ACTOR, team=team, name="Door")
    assert key.scopes == ApiKey.objects.get().scopes == []


# --- What is in the audit ---


def test_each_person_who_is_made_is_in_the_audit_with_the_call_and_the_key(
    team: Team, vision: Vision, space: Space
) -> None:
    key, ask = asking(team, "create")
    vision.script.append(answer(seen("file", found(70), found(None), found(71))))
    ask("recognize", FILE, meta(pictures(create_new=True)))
    call = Call.objects.get()
    made = AuditEntry.objects.filter(action="person.create").order_by("pk")
    people_made = {str(person.pk): person for person in Person.objects.all()}
    assert [entry.target_type for entry in made] == ["person", "person"]
    assert {entry.target_id for entry in made} == set(people_made)
    for entry in made:
        number = people_made[entry.target_id].person_id
        assert entry.after == {"space": 5, "person_id": number, "call": call.pk, "key": key.pk}
        assert entry.actor_text == f"key {key.name}"
        assert (entry.source, entry.request_id) == (Source.CLIENT, call.request_id)
    vision.script.append(answer(seen("file", found(70), found(71))))
    ask("recognize", FILE, meta(pictures(create_new=True)))
    assert made.count() == 2, "they are made once"


def test_people_are_made_and_recorded_together_or_not_at_all(
    team: Team, vision: Vision, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(*args: Any, **more: Any) -> None:
        raise RuntimeError("the disk is full")

    _, ask = asking(team, "create")
    vision.script.append(answer(seen("file", found(70))))
    monkeypatch.setattr("persons.proxy.answering.call_log.end", no_disk)
    with pytest.raises(RuntimeError):
        ask("recognize", FILE, meta(pictures(create_new=True)))
    assert not Person.objects.exists()
    assert not AuditEntry.objects.filter(action="person.create").exists()


def test_whom_a_recognition_taught_vision_is_in_the_audit(
    team: Team, vision: Vision, space: Space
) -> None:
    key, ask = asking(team, "learn")
    vision.script.append(answer(seen("file", found(7), found(None))))
    ask("recognize", FILE, meta(pictures(update_embedding=True)))
    entry = AuditEntry.objects.get(action="person.learn")
    assert entry.target_id == str(space.pk)
    assert entry.after == {"people": [7], "call": Call.objects.get().pk, "key": key.pk}
    ask("recognize", FILE, meta(pictures(update_embedding=False)))
    vision.script.append(answer(seen("file", found(None))))
    ask("recognize", FILE, meta(pictures(update_embedding=True)))
    assert AuditEntry.objects.filter(action="person.learn").count() == 1, "of nobody it learns"


def test_a_clients_enrolment_names_call_and_key(team: Team, vision: Vision) -> None:
    key, ask = asking(team)
    assert ask("set", FILE, meta(people(person_id=3))).outcome[0] == 200
    entry = AuditEntry.objects.get(action="person.enrol")
    assert entry.after == {"people": [3], "call": Call.objects.get().pk, "key": key.pk}


# --- Giving scopes ---


def test_an_owner_gives_and_takes_scopes_on_the_keys_page(
    team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    key, _ = create_key(actor=ACTOR, team=team, name="Door")
    page, address = reverse("api_keys", args=["trip"]), reverse("key_scopes", args=["trip", key.pk])
    client = sign_in(alice)
    assert "without create and learn" in client.get(page).text
    client.post(address, {"scopes": ["create", "learn"]})
    assert "may create and learn when it recognises" in client.get(page).text
    client.post(address, {"scopes": ["learn"]})
    client.post(address, {"scopes": ["learn"]})
    key.refresh_from_db()
    assert key.scopes == ["learn"]
    entries = AuditEntry.objects.filter(action="key.scopes").order_by("pk")
    assert [(entry.before, entry.after) for entry in entries] == [
        ({"scopes": []}, {"scopes": ["create", "learn"]}),
        ({"scopes": ["create", "learn"]}, {"scopes": ["learn"]}),
    ]
    assert sign_in(bob).post(address, {"scopes": ["create"]}).status_code == 403
    assert client.post(address, {"scopes": ["admin"]}, follow=True).status_code == 200
    key.refresh_from_db()
    assert key.scopes == ["learn"]
    revoke_key(actor=ACTOR, key=key)
    client.post(address, {"scopes": ["create"]})
    key.refresh_from_db()
    assert key.scopes == ["learn"]


def test_the_form_makes_a_key_with_the_scopes_that_were_chosen(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    client, address = sign_in(alice), reverse("make_key", args=["trip"])
    form = {"name": "Door", "methods": ["recognize"]}
    refused = client.post(address, form | {"scopes": ["drop"]})
    assert refused.status_code == 422 and "There is no scope “drop”." in refused.text
    client.post(address, form | {"scopes": ["create"]})
    assert ApiKey.objects.get().scopes == ["create"]


def test_the_command_gives_scopes_and_names_those_that_it_does_not_have(team: Team) -> None:
    def command(scopes: str) -> None:
        args = ("--team", "trip", "--name", "Door", "--scopes", scopes)
        call_command("create_api_key", *args, stdout=io.StringIO())

    for scopes, says in (
        ("create,drop", "“drop” is no scope"),
        ("audit", "“audit” can't be given"),
    ):
        with pytest.raises(CommandError, match=says):
            command(scopes)
    assert not ApiKey.objects.exists()
    command("learn, create")
    assert ApiKey.objects.get().scopes == ["create", "learn"]


def test_older_keys_keep_the_effects_that_they_had_where_the_spaces_owner_wanted_them(
    team: Team,
) -> None:
    """Both are needed: the policy of the space, and a call of the key that asked for it."""
    wanted, other = team.spaces.get(number=1), team.spaces.get(number=2)
    Space.objects.filter(pk=wanted.pk).update(create_new=True, update_embedding=True)

    def key(name: str, space: Space, *methods: str, status: int = 200, **asked: bool) -> ApiKey:
        made, _ = create_key(actor=ACTOR, team=team, name=name, options=KeyOptions(methods=methods))
        Call.objects.create(
            team=team,
            space=space,
            key=made,
            method="recognize",
            source=Source.CLIENT,
            backend="embedded",
            status=status,
            meta=asked,
        )
        return made

    key("creates", wanted, create_new=True, update_embedding=False)
    key("learns", wanted, create_new=False, update_embedding=True)
    key("looks", wanted, create_new=False, update_embedding=False)
    key("elsewhere", other, create_new=True, update_embedding=True)
    key("in vain", wanted, status=400, create_new=True)
    key("enrols now", wanted, "set", create_new=True)
    migration = importlib.import_module("persons.migrations.0011_scopes_and_visits")
    migration.keep_what_was_used(apps, None)
    assert {one.name: one.scopes for one in ApiKey.objects.all()} == {
        "creates": ["create"],
        "learns": ["learn"],
        "looks": [],
        "elsewhere": [],
        "in vain": [],
        "enrols now": [],
    }
