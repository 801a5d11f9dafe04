"""Consents: recording and withdrawing them, and spaces that enrol nobody without one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from persons import pipeline
from persons.actions.changes import undo
from persons.actions.consent import ConsentTerms, record_consent, withdraw_consent
from persons.actions.faces import name_face
from persons.actions.people import (
    merge_people,
    remove_empty_person,
    remove_enrolment,
    retry_enrolment,
)
from persons.actions.spaces import Policy, change_policy
from persons.errors import Refused
from persons.models import (
    Consent,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    Person,
    Photo,
    PhotoState,
    Space,
    SyncState,
    User,
)
from persons.pipeline.enrolment import crops
from persons.pipeline.privacy.consents import keep_consents
from persons.privacy import consent
from persons.vision.types import Method
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory
from tests.support.fakes import (
    FakeVision,
    at_once,
    by,
    due_now,
    entries,
    found,
    once,
    use,
    waiting_photo,
)
from tests.support.waiting import swept

STRICT = Policy("", 0.4, 0.5, False, False, False, 0, require_consent=True)
LAX = Policy("", 0.4, 0.5, False, False, False, 0, require_consent=False)


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def gallery(alice: User, bob: User) -> Gallery:
    return GalleryFactory.create(team=bob.memberships.get().team, slug="lake")


@pytest.fixture
def space(gallery: Gallery, alice: User) -> Space:
    return change_policy(actor=by(alice), space=gallery.space, policy=STRICT)


@pytest.fixture
def photo(gallery: Gallery) -> Photo:
    return waiting_photo(gallery, state=PhotoState.DONE)


@pytest.fixture
def faces(photo: Photo) -> list[Face]:
    return [
        FaceFactory.create(photo=photo, left=left, right=left + 80, top=50, bottom=150)
        for left in (10, 110, 210)
    ]


@pytest.fixture
def name(bob: User, faces: list[Face]) -> Callable[[int, str], Person]:
    """`name(0, "Ada")` names the first face."""

    def name(number: int, label: str) -> Person:
        return name_face(actor=by(bob), face=faces[number], label=label).person

    return name


def agree(user: User, person: Person, days: int | None = None) -> Consent:
    """A consent of a minute ago, for so many days."""
    now = timezone.now()
    given = ConsentTerms(
        purpose="To be found on photos of the club",
        document="Form 7",
        given_at=now - timedelta(minutes=1),
        until=now + timedelta(days=days) if days is not None else None,
    )
    return record_consent(actor=by(user), person=person, given=given)


def states(person: Person) -> list[str]:
    return [row.state for row in person.enrolments.order_by("pk")]


def sync(person: Person) -> None:
    Person.objects.filter(pk=person.pk).update(after=timezone.now())
    pipeline.sync(person.pk)


def enrolled(bob: User, name: Callable[[int, str], Person], number: int = 0) -> Person:
    """Ada, with a consent and a picture that Vision has."""
    person = name(number, f"Ada {number}" if number else "Ada")
    agree(bob, person)
    sync(person)
    assert states(person) == ["done"]
    return person


# --- Recording ---


def test_a_consent_is_recorded_with_who_what_and_until_when(bob: User, space: Space) -> None:
    person = PersonFactory.create(space=space, label="Ada")
    row = agree(bob, person, days=30)
    assert row.is_in_force
    assert row.recorded_by == bob
    (entry,) = entries(space.team, "consent.record")
    assert entry.target_text == "Ada"
    assert entry.after["purpose"] == "To be found on photos of the club"
    assert entry.after["document"] == "Form 7"


@pytest.mark.parametrize(
    ("purpose", "given", "until", "match"),
    [
        ("", -1, None, "what they agreed to"),
        ("x" * 301, -1, None, "300"),
        ("\u200b\0", -1, None, "what they agreed to"),
        ("Photos", 1, None, "future"),
        ("Photos", -1, -2, "ends after"),
    ],
)
def test_a_consent_that_makes_no_sense_is_refused(
    bob: User, space: Space, purpose: str, given: int, until: int | None, match: str
) -> None:
    person = PersonFactory.create(space=space)
    now = timezone.now()
    said = ConsentTerms(
        purpose,
        "",
        now + timedelta(days=given),
        now + timedelta(days=until) if until is not None else None,
    )
    with pytest.raises(Refused, match=match):
        record_consent(actor=by(bob), person=person, given=said)
    assert not Consent.objects.exists()


def test_a_consent_is_withdrawn_once_and_stays_on_record(bob: User, space: Space) -> None:
    row = agree(bob, PersonFactory.create(space=space, label="Ada"))
    withdraw_consent(actor=by(bob), consent_row=row)
    row.refresh_from_db()
    assert row.withdrawn_by == bob
    assert not row.is_in_force
    with pytest.raises(Refused, match="withdrawn already"):
        withdraw_consent(actor=by(bob), consent_row=row)
    assert len(entries(space.team, "consent.withdraw")) == 1


def test_somebody_with_a_consent_is_not_removed_as_a_name_typed_by_mistake(
    bob: User, space: Space
) -> None:
    person = PersonFactory.create(space=space)
    agree(bob, person)
    with pytest.raises(Refused, match="Withdraw it first"):
        remove_empty_person(actor=by(bob), person=person)


# --- The policy ---


def test_a_space_that_requires_consent_makes_no_new_people(alice: User, gallery: Gallery) -> None:
    both = Policy("", 0.4, 0.5, False, True, False, 0, require_consent=True)
    with pytest.raises(Refused, match="nobody has asked them"):
        change_policy(actor=by(alice), space=gallery.space, policy=both)


def test_a_policy_that_says_nothing_of_consent_leaves_it_required(
    alice: User, space: Space
) -> None:
    change_policy(
        actor=by(alice), space=space, policy=Policy("Door", 0.4, 0.5, False, False, False, 0)
    )
    space.refresh_from_db()
    assert space.require_consent


def test_turning_it_on_withdraws_those_who_lack_one_and_no_others(
    alice: User,
    bob: User,
    gallery: Gallery,
    name: Callable[[int, str], Person],
    vision: FakeVision,
) -> None:
    ada, bea = name(0, "Ada"), name(1, "Bea")
    agree(bob, ada)
    sync(ada)
    sync(bea)
    assert consent.count_lacking(gallery.space) == 1
    space = change_policy(actor=by(alice), space=gallery.space, policy=STRICT)
    pipeline.sweep()
    sync(ada)
    sync(bea)
    assert states(ada) == ["done"]
    assert states(bea) == ["removed", "waiting"]
    assert [one.person_ids for one in vision.asked if one.method is Method.DELETE] == [
        [bea.person_id]
    ]
    assert consent.count_lacking(space) == 1
    # And back: nothing of what was decided is lost.
    change_policy(actor=by(alice), space=space, policy=LAX)
    pipeline.sweep()
    sync(bea)
    assert states(bea) == ["removed", "done"]


# --- Enrolling ---


def test_a_named_face_waits_for_a_consent_and_is_enrolled_by_itself(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = name(0, "Ada")
    sync(person)
    assert states(person) == ["waiting"]
    assert not vision.asked
    assert Face.objects.filter(person=person, decision="named").count() == 1
    agree(bob, person)
    person.refresh_from_db()
    assert person.sync_state == SyncState.QUEUED
    sync(person)
    assert states(person) == ["done"]


def test_a_consent_that_changes_is_no_recognition_that_wrote(bob: User, space: Space) -> None:
    """Of those the page of snapshots warns."""
    given = agree(bob, PersonFactory.create(space=space))
    withdraw_consent(actor=by(bob), consent_row=given)
    before = space.consent_changes
    space.refresh_from_db()
    assert space.drift == 0
    assert space.consent_changes > before


def test_trying_again_does_not_get_around_it(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = name(0, "Ada")
    person.enrolments.update(state=EnrolmentState.FAILED, error="refused")
    retry_enrolment(actor=by(bob), enrolment=person.enrolments.get())
    sync(person)
    assert states(person) == ["waiting"]
    assert not vision.asked


def test_a_withdrawn_consent_deletes_at_vision_and_keeps_the_pictures(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = enrolled(bob, name)
    picture = person.enrolments.get().image
    withdraw_consent(actor=by(bob), consent_row=person.consents.get())
    sync(person)
    assert vision.methods() == ["set", "delete"]
    assert states(person) == ["removed", "waiting"]
    assert person.enrolments.get(state="waiting").image == picture
    agree(bob, person)
    sync(person)
    assert states(person) == ["removed", "done"]


def test_a_withdrawal_stops_pictures_that_were_not_sent_yet(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = name(0, "Ada")
    row = agree(bob, person)
    withdraw_consent(actor=by(bob), consent_row=row)
    sync(person)
    assert states(person) == ["waiting"]
    assert not vision.asked


def test_a_withdrawal_between_the_claim_and_the_request_stops_it(
    bob: User,
    space: Space,
    name: Callable[[int, str], Person],
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = name(0, "Ada")
    row = agree(bob, person)
    cut = crops.with_pictures

    def withdrawn_meanwhile(queued: list[Enrolment]) -> object:
        pictures = cut(queued)
        if row.withdrawn_at is None:
            row.withdrawn_at = withdraw_consent(actor=by(bob), consent_row=row).withdrawn_at
        return pictures

    monkeypatch.setattr("persons.pipeline.enrolment.people.with_pictures", withdrawn_meanwhile)
    sync(person)
    assert not vision.asked
    assert states(person) == ["waiting"]


def test_a_picture_that_is_taken_back_after_the_claim_is_not_sent(
    bob: User,
    space: Space,
    name: Callable[[int, str], Person],
    vision: FakeVision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = name(0, "Ada")
    agree(bob, person)
    cut = crops.with_pictures

    def taken_back_meanwhile(queued: list[Enrolment]) -> object:
        pictures = cut(queued)
        for enrolment in person.enrolments.filter(state="queued"):
            remove_enrolment(actor=by(bob), enrolment=enrolment)
        return pictures

    monkeypatch.setattr("persons.pipeline.enrolment.people.with_pictures", taken_back_meanwhile)
    sync(person)
    sync(person)
    assert not vision.asked
    assert states(person) == ["removed"]


def test_what_was_being_sent_when_it_was_withdrawn_is_deleted_right_after(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = name(0, "Ada")
    row = agree(bob, person)
    once(vision, lambda: withdraw_consent(actor=by(bob), consent_row=row))
    sync(person)
    assert "done" not in states(person)
    person.refresh_from_db()
    assert person.sync_state == SyncState.QUEUED
    sync(person)
    assert vision.methods() == ["set", "delete"]
    assert states(person) == ["removed", "waiting"]


def test_a_consent_that_runs_out_is_found_by_the_sweep(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = name(0, "Ada")
    row = agree(bob, person, days=1)
    sync(person)
    assert keep_consents() == 0
    Consent.objects.filter(pk=row.pk).update(until=timezone.now() - timedelta(seconds=1))
    assert person.pk in swept(Work.SYNC)
    sync(person)
    assert vision.methods() == ["set", "delete"]
    assert states(person) == ["removed", "waiting"]


def test_a_picture_that_was_removed_by_hand_stays_away(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    person = name(0, "Ada")
    sync(person)
    remove_enrolment(actor=by(bob), enrolment=person.enrolments.get())
    sync(person)
    agree(bob, person)
    sync(person)
    assert states(person) == ["removed"]
    assert not vision.asked


# --- Merging ---


def test_the_consent_of_either_counts_for_both_while_they_are_merged(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    ada, twin = enrolled(bob, name), name(1, "Twin")
    sync(twin)
    assert states(twin) == ["waiting"]
    change = merge_people(actor=by(bob), person=ada, into=twin)
    pipeline.sweep()
    sync(twin)
    sync(ada)
    assert sorted(states(twin)) == ["done", "done"]
    undo(actor=by(bob), change=change)
    for person in (twin, ada, twin):
        sync(person)
    assert "done" not in states(twin)
    assert states(twin).count("waiting") == 1
    assert states(ada)[-1] == "done"


def test_merged_pictures_wait_where_neither_has_a_consent(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    ada, bea = name(0, "Ada"), name(1, "Bea")
    merge_people(actor=by(bob), person=ada, into=bea)
    sync(bea)
    sync(ada)
    assert states(bea) == ["waiting", "waiting"]
    assert not vision.asked


# --- Recognising ---


def test_nobody_is_recognised_until_vision_has_forgotten_who_withdrew(
    bob: User,
    space: Space,
    gallery: Gallery,
    name: Callable[[int, str], Person],
    vision: FakeVision,
) -> None:
    person = enrolled(bob, name)
    waiting = waiting_photo(gallery)
    vision.show(waiting, found(person.person_id))
    withdraw_consent(actor=by(bob), consent_row=person.consents.get())
    Photo.objects.exclude(pk=waiting.pk).update(state=PhotoState.DONE)
    assert pipeline.recognise_batch(space.pk) is False
    assert not vision.recognised()
    waiting.refresh_from_db()
    assert waiting.state == PhotoState.QUEUED
    assert "consent" in waiting.error
    assert waiting.attempts == 0
    sync(person)
    vision.show(waiting, found(None))
    due_now()
    pipeline.recognise_batch(space.pk)
    waiting.refresh_from_db()
    assert waiting.state == PhotoState.DONE


def test_an_answer_that_names_who_withdrew_meanwhile_is_not_stored(
    bob: User,
    space: Space,
    gallery: Gallery,
    name: Callable[[int, str], Person],
    vision: FakeVision,
) -> None:
    person = enrolled(bob, name)
    Photo.objects.update(state=PhotoState.DONE)
    waiting = waiting_photo(gallery)
    other = waiting_photo(gallery)
    vision.show(waiting, found(person.person_id))
    vision.show(other, found(None))
    row = person.consents.get()
    once(vision, lambda: withdraw_consent(actor=by(bob), consent_row=row))
    pipeline.recognise_batch(space.pk)
    waiting.refresh_from_db()
    other.refresh_from_db()
    assert waiting.state == PhotoState.QUEUED
    assert not Face.objects.filter(photo=waiting).exists()
    assert other.state == PhotoState.DONE


def test_that_all_have_one_is_asked_once_and_not_for_every_call(
    bob: User,
    space: Space,
    name: Callable[[int, str], Person],
    vision: FakeVision,
    django_assert_num_queries: object,
) -> None:
    person = name(0, "Ada")
    agree(bob, person, days=2)
    sync(person)
    space.refresh_from_db()
    assert consent.pending(space) is False
    space.refresh_from_db()
    assert space.consents_until is not None
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert consent.pending(space) is False
    agree(bob, person)
    space.refresh_from_db()
    assert space.consents_until is None


# --- Races ---


@pytest.mark.django_db(transaction=True)
def test_a_withdrawal_and_a_sync_at_once_never_leave_somebody_enrolled(
    bob: User, space: Space, name: Callable[[int, str], Person], vision: FakeVision
) -> None:
    for number in range(3):
        person = name(number, f"Person {number}")
        row = agree(bob, person)
        at_once(
            lambda pk=person.pk: pipeline.sync(pk),  # type: ignore[misc]
            lambda row=row: withdraw_consent(actor=by(bob), consent_row=row),  # type: ignore[misc]
        )
        for _ in range(2):
            sync(person)
        assert "done" not in states(person), connection.vendor
        assert states(person)[-1] == "waiting"
        sets = sum(one.method is Method.SET for one in vision.asked)
        deletes = sum(one.method is Method.DELETE for one in vision.asked)
        assert sets == deletes
