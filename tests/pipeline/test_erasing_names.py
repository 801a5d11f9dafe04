"""What an erasure redacts in the audit follows from ids, whatever the person is called."""

from __future__ import annotations

from typing import Any

import pytest

from persons import audit
from persons.actions.faces import name_face
from persons.actions.galleries import create_gallery
from persons.actions.people import different_people, merge_people, rename_person, split_person
from persons.actions.records import begin_export, give_reason
from persons.actions.teams import change_role
from persons.chain import entries
from persons.chain.checking import check
from persons.models import (
    AuditEntry,
    Call,
    Face,
    Gallery,
    Membership,
    Person,
    Recognition,
    Role,
    Source,
    Space,
    Team,
    User,
)
from persons.people import enrolments
from persons.pipeline.audit.sealing import seal_audit
from persons.privacy.erased import ERASED
from persons.vision.types import Method
from tests.support import tampering
from tests.support.erasing import ended_call, erase
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, by, use

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    return Space.objects.get(team=team, number=0)


@pytest.fixture
def gallery(team: Team, space: Space) -> Gallery:
    return GalleryFactory.create(team=team, space=space)


def a_busy_team(team: Team, space: Space, gallery: Gallery, alice: User, bob: User) -> None:
    """Entries of every kind, whose words are those that somebody may be called by."""
    actor = by(alice)
    for method in (Method.RECOGNIZE, Method.SET, Method.DELETE):
        ended_call(space, method)
    create_gallery(actor=actor, team=team, name="Team alpha", space=space)
    begin_export(
        actor=actor,
        team=team,
        what="history",
        filters={"outcome": "done", "method": "recognize", "space": "7", "person": "0.7"},
        form="csv",
        reason="Team alpha is done",
    )
    give_reason(actor=actor, team=team, purpose="evidence", target=space, reason="alpha")
    membership = Membership.objects.get(user=bob)
    change_role(actor=actor, membership=membership, role=Role.VIEWER)
    for action in ("audit.export", "audit.verify"):
        audit.record(actor=actor, team=team, action=action, target=team, reason="done")
    other = tampering.named(PersonFactory.create(space=space, person_id=70, label="Mallory Other"))
    rename_person(actor=actor, person=other, label="Mallory")
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery))
    name_face(actor=actor, face=Face.objects.get(pk=face.pk), label="Mallory")


def told(but: set[int]) -> dict[int, dict[str, Any]]:
    return {one.pk: entries.payload_of(one) for one in AuditEntry.objects.exclude(pk__in=but)}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["done", "Team alpha", "alpha", "recognize", "7", "Bob", "call", "evidence", "csv"]
)
def test_only_entries_about_them_change(
    name: str, team: Team, space: Space, gallery: Gallery, alice: User, bob: User
) -> None:
    a_busy_team(team, space, gallery, alice, bob)
    person = tampering.named(PersonFactory.create(space=space, person_id=71, label="Nobody yet"))
    rename_person(actor=by(alice), person=person, label=name)
    seal_audit()
    about = AuditEntry.objects.filter(target_type="person", target_id=str(person.pk))
    mine = set(about.values_list("pk", flat=True))
    before = told(mine)
    assert len(mine) == 2 and len(before) > 10
    erasure = erase(person, alice)
    assert erasure.state == "done", erasure.error
    assert {pk: one for pk, one in told(mine).items() if pk in before} == before
    for entry in AuditEntry.objects.filter(pk__in=mine):
        assert entry.erased_at is not None and entry.target_text == ""
        assert set(entry.after) >= {"label"} and entry.after["label"] == ERASED
    seal_audit()
    assert check(team).problem == ""


def test_of_entries_about_others_their_name_and_number_go_and_no_more(
    team: Team, space: Space, gallery: Gallery, alice: User
) -> None:
    actor = by(alice)
    zoe = tampering.named(PersonFactory.create(space=space, person_id=7, label="Zoe Gone"))
    ann = tampering.named(PersonFactory.create(space=space, person_id=8, label="Ann"))
    photo = PhotoFactory.create(gallery=gallery)
    faces = [
        FaceFactory.create(photo=photo, person=ann, left=at, right=at + 50) for at in (0, 100, 200)
    ]
    different_people(actor=actor, one=ann, other=zoe)
    split_person(actor=actor, person=ann, faces=faces[:1], label="Zoe Gone")
    name_face(actor=actor, face=Face.objects.get(pk=faces[1].pk), label="Zoe Gone")
    name_face(actor=actor, face=Face.objects.get(pk=faces[1].pk), label="Ann")
    audit.record(
        actor=actor, team=team, action="person.enrol", target=space, after={"people": [7, 8, 77]}
    )
    begin_export(
        actor=actor, team=team, what="history", filters={"person": "0.7"}, form="csv", reason="Zoe"
    )
    seal_audit()
    erasure = erase(Person.objects.get(pk=zoe.pk), alice)
    assert erasure.state == "done", erasure.error
    said = {
        (one.action, one.target_id): one for one in AuditEntry.objects.order_by("-pk") if one.after
    }
    assert said["person.split", str(ann.pk)].after["to"] == ERASED
    assert said["person.split", str(ann.pk)].target_text == "Ann"
    named = AuditEntry.objects.filter(action="face.name", target_id=str(faces[1].pk))
    first, second = named.order_by("pk")
    assert (first.before["label"], first.after["label"], first.after["person"]) == (
        "Ann",
        ERASED,
        ERASED,
    )
    assert (second.before["label"], second.after["label"]) == (ERASED, "Ann")
    enrolled = AuditEntry.objects.get(action="person.enrol")
    assert enrolled.after["people"] == [ERASED, 8, 77]
    exported = AuditEntry.objects.get(action="history.export")
    assert exported.after["filters"] == {"person": ERASED} and exported.reason == "Zoe"
    differ = AuditEntry.objects.get(action="people.differ")
    assert "Zoe" not in str(entries.payload_of(differ))
    seal_audit()
    assert check(team).problem == ""


def test_entries_of_earlier_versions_name_whom_others_were_merged_into(
    team: Team, space: Space, alice: User
) -> None:
    """Without ids beside the names."""
    zoe = tampering.named(PersonFactory.create(space=space, label="Zoe Gone"))
    ann = tampering.named(PersonFactory.create(space=space, label="Ann"))
    for target, action, said in (
        (ann, "person.merge", {"into": "Zoe Gone", "faces": 3, "change": 4711}),
        (ann, "people.differ", {"other": "Zoe Gone"}),
        (ann, "person.split", {"to": "Somebody of Zoe Gone", "faces": 1, "change": 4712}),
    ):
        audit.record(actor=by(alice), team=team, action=action, target=target, after=said)
    erase(zoe, alice)
    after = {one.action: one.after for one in AuditEntry.objects.filter(target_id=str(ann.pk))}
    assert after["person.merge"] == {"into": ERASED, "faces": 3, "change": 4711}
    assert after["people.differ"] == {"other": ERASED}
    assert after["person.split"]["to"] == "Somebody of Zoe Gone"


def test_whoever_was_merged_into_them_and_parted_again_is_told_by_the_change(
    team: Team, space: Space, alice: User
) -> None:
    zoe = tampering.named(PersonFactory.create(space=space, label="Same Name"))
    ann = tampering.named(PersonFactory.create(space=space, label="Ann"))
    elsewhere = Space.objects.get(team=team, number=1)
    namesake = tampering.named(PersonFactory.create(space=elsewhere, label="Same Name"))
    bea = tampering.named(PersonFactory.create(space=elsewhere, label="Bea"))
    merge_people(actor=by(alice), person=bea, into=namesake)
    merge_people(actor=by(alice), person=ann, into=zoe)
    erase(Person.objects.get(pk=namesake.pk), alice)
    into = {
        one.target_id: one.after["into"] for one in AuditEntry.objects.filter(action="person.merge")
    }
    assert into == {str(ann.pk): "Same Name", str(bea.pk): ERASED}


def test_source_of_a_call_stays_with_its_record(
    team: Team, space: Space, gallery: Gallery, alice: User, bob: User
) -> None:
    a_busy_team(team, space, gallery, alice, bob)
    person = tampering.named(PersonFactory.create(space=space, label="done"))
    erase(person, alice)
    calls = AuditEntry.objects.filter(action__startswith="call.").exclude(source=Source.WORKER)
    for entry in (*calls, *AuditEntry.objects.filter(action="call.recognize")):
        assert entry.after["record"] and entry.after["outcome"] == "done"


def test_why_a_client_asked_goes_from_what_its_call_did_as_well(
    team: Team, space: Space, gallery: Gallery, alice: User
) -> None:
    """Entries about the space and about others, which have the reason from the call."""
    person = tampering.named(PersonFactory.create(space=space, person_id=71, label="Zoe Zimt"))
    made = []
    for number, answer in ((71, "theirs"), (72, "another's")):
        call = ended_call(space, Method.RECOGNIZE)
        told = {"persons": [{"tag": f"person{number}"}]}
        why = f"Is {answer} Zoe Zimt?"
        Call.objects.filter(pk=call.pk).update(reason=why)
        call.refresh_from_db()
        Recognition.objects.create(call=call, position=0, name="a.", status=0, result=told)
        enrolments.learned(space, call, {number})
        made.append(enrolments.people_of(space, {number + 100}, call=call)[number + 100])
    erase(person, alice)
    learned = AuditEntry.objects.filter(action="person.learn").order_by("pk")
    assert [(one.after["people"], one.reason) for one in learned] == [
        ([ERASED], ""),
        ([72], "Is another's Zoe Zimt?"),
    ]
    created = AuditEntry.objects.filter(
        action="person.create", target_id__in=[str(one.pk) for one in made]
    ).order_by("pk")
    assert [(one.after["person_id"], one.reason) for one in created] == [
        (171, ""),
        (172, "Is another's Zoe Zimt?"),
    ]
