"""Every call to Vision has an audit entry that vouches for its record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Model, QuerySet
from django.utils import timezone

from persons import audit
from persons.audit import redactions
from persons.calls import log as call_log
from persons.chain import entries, records
from persons.chain.checking import check
from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Finding,
    Recognition,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.pipeline import release_claims
from persons.pipeline.audit.sealing import seal_audit
from persons.vision.errors import VisionRejected
from tests.support import tampering, wire
from tests.support.calls import begun, ended
from tests.support.factories import PersonFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def call(team: Team, alice: User) -> Call:
    found = ended(begun(team, alice))
    first = found.rows[0]
    Finding.objects.create(team=team, call=found, recognition=first, position=0, similarity=0.5)
    # As if it had been found then.
    call_log.changed([found.pk], actor=tampering.actor(alice), action="call.found")
    seal_audit()
    return Call.objects.get(pk=found.pk)


def test_its_entry_says_who_asked_and_vouches_for_the_record(team: Team, alice: User) -> None:
    call = ended(begun(team, alice))
    (entry,) = AuditEntry.objects.all()
    assert (entry.action, entry.target_type, entry.target_id) == (
        "call.recognize",
        "call",
        str(call.pk),
    )
    assert (entry.actor, entry.actor_text, entry.request_id) == (alice, "Alice", "r" * 32)
    assert entry.address == "2001:db8::7"
    call.refresh_from_db()
    assert entry.after == {"outcome": "done", "record": call.digest}
    assert check(team).problem == ""
    seal_audit()
    assert check(team) == (1, "")


def test_a_key_stands_in_the_entry_and_may_be_deleted(team: Team) -> None:
    wire.make_key(team)
    key = ApiKey.objects.get()
    ended(begun(team, key=key))
    assert AuditEntry.objects.get(target_type="call").after["key"] == key.pk
    seal_audit()
    other = ApiKey.objects.create(team=team, name="other", prefix="x", key_hash="y")
    Call.objects.update(key=other)
    assert "was altered since" in check(team).problem
    Call.objects.update(key=None)
    assert check(team).problem == ""


def test_a_call_that_failed_and_one_that_is_under_way(team: Team) -> None:
    call_log.end(begun(team), None, VisionRejected("no face"))
    begun(team)
    assert [entry.after["outcome"] for entry in AuditEntry.objects.all()] == ["rejected"]
    assert check(team).problem == ""


def test_a_call_that_ends_twice_has_two_entries_and_the_last_counts(team: Team) -> None:
    call = begun(team)
    Call.objects.update(started_at=timezone.now() - timedelta(days=1))
    call.started_at = Call.objects.get().started_at
    release_claims()
    assert Call.objects.get().outcome == Outcome.INTERRUPTED
    assert check(team).problem == ""
    ended(call)
    said = [entry.after["outcome"] for entry in AuditEntry.objects.order_by("pk")]
    assert said == ["interrupted", "done"]
    assert check(team).problem == ""
    seal_audit()
    assert check(team) == (2, "")


def test_what_is_deleted_on_purpose_gets_an_entry_of_its_own(
    team: Team, alice: User, call: Call
) -> None:
    salt = call.salt
    Call.objects.filter(pk=call.pk).update(answer="", meta={})
    Recognition.objects.filter(call=call).update(result={}, name="")
    call_log.changed(
        [call.pk], actor=tampering.actor(alice), action="call.redact", reason="Asked for"
    )
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.reason) == ("call.redact", "Asked for")
    call.refresh_from_db()
    assert call.salt != salt and call.erased_at is not None
    seal_audit()
    assert check(team) == (3, "")


def without_reason(entry: AuditEntry) -> dict[str, Any]:
    return entries.payload_of(entry) | {"reason": "", "target_text": ""}


def test_an_entry_that_was_erased_does_not_hide_what_is_altered(team: Team, call: Call) -> None:
    pks = AuditEntry.objects.filter(target_type="call").values_list("pk", flat=True)
    redactions.redact(pks, without_reason, actor=tampering.actor(), team=team)
    seal_audit()
    assert check(team) == (3, "")
    Call.objects.filter(pk=call.pk).update(answer="another")
    assert "was altered since" in check(team).problem


CALL: dict[str, Any] = {
    "method": "set",
    "source": "client",
    "actor_text": "Bob",
    "address": "192.0.2.8",
    "request_id": "s" * 32,
    "backend": "cloud",
    "model": "another",
    "meta": {"space": "2"},
    "image_count": 9,
    "saved_count": 9,
    "space_version": 4,
    "started_at": timezone.now(),
    "duration_ms": 12345,
    "outcome": "rejected",
    "status": 400,
    "error": "another",
    "answer": "another",
    "threshold": 0.1,
    "confirm_threshold": 0.1,
    "enrolled_people": 5,
    "enrolled_pictures": 5,
    "reason": "another",
    "salt": "0" * 32,
    "digest": "0" * 64,
}
IMAGE: dict[str, Any] = {
    "position": 7,
    "name": "c.jpg",
    "person_id": 5,
    "sha256": "0" * 64,
    "width": 1,
    "height": 1,
    "status": 1,
    "error": "another",
    "result": {"status": 0},
    "face_count": 5,
    "request_id": "another",
}
FACE: dict[str, Any] = {
    "position": 5,
    "told_id": 5,
    "similarity": 0.9,
    "confidence": 0.9,
    "left": 1,
    "top": 1,
    "right": 1,
    "bottom": 1,
    "runner_up": 5,
    "runner_up_similarity": 0.4,
    "matched_sha256": "0" * 64,
}
EDITS = [
    *((Call, name) for name in CALL),
    *((Recognition, name) for name in IMAGE),
    *((Finding, name) for name in FACE),
]
VALUES: dict[type[Any], dict[str, Any]] = {Call: CALL, Recognition: IMAGE, Finding: FACE}


@pytest.mark.parametrize(("model", "name"), EDITS)
def test_a_record_that_was_edited_is_named(
    team: Team, call: Call, model: type[Any], name: str
) -> None:
    row = model.objects.order_by("pk").first()
    QuerySet(model).filter(pk=row.pk).update(**{name: VALUES[model][name]})
    entry = AuditEntry.objects.latest("sequence")
    assert check(team) == (
        1,
        f"entry 2 (number {entry.pk}): the record of call {call.pk} was altered since.",
    )


def test_an_asker_who_was_exchanged_is_named(team: Team, alice: User, bob: User) -> None:
    call = ended(begun(team, alice))
    seal_audit()
    Call.objects.update(actor=bob)
    assert f"the record of call {call.pk} was altered since" in check(team).problem
    Call.objects.update(actor=None)  # As if the account had been deleted.
    assert check(team).problem == ""


def test_a_face_that_was_given_to_somebody_else_is_named(team: Team, call: Call) -> None:
    space = team.spaces.get(number=1)
    theirs, other = (
        PersonFactory.create(space=space, person_id=number, label="") for number in (8, 9)
    )
    Finding.objects.update(told_id=8, person=theirs)
    call_log.changed([call.pk], actor=tampering.actor(), action="call.found")
    seal_audit()
    assert check(team).problem == ""
    Finding.objects.update(person=other)
    assert f"the record of call {call.pk} was altered since" in check(team).problem
    Finding.objects.update(person=None)
    assert check(team).problem == ""


@pytest.mark.parametrize("model", [Recognition, Finding])
def test_a_part_of_a_record_that_was_deleted_is_named(
    team: Team, call: Call, model: type[Any]
) -> None:
    model.objects.order_by("-pk")[0].delete()
    assert f"the record of call {call.pk} was altered since" in check(team).problem


def test_a_call_that_was_deleted_is_named(team: Team, call: Call) -> None:
    pk = call.pk
    ended(begun(team))
    call.delete()
    assert check(team).problem.endswith(f"call {pk} was deleted.")


def test_a_record_that_was_edited_before_it_was_sealed_is_named(team: Team, alice: User) -> None:
    call = ended(begun(team, alice))
    Call.objects.update(digest="0" * 64)
    entry = AuditEntry.objects.get()
    told = f"entry number {entry.pk}: the record of call {call.pk} was altered since."
    assert check(team) == (0, told)


def test_a_call_that_was_made_up_is_named(team: Team, call: Call) -> None:
    call.pk, call._state.adding = None, True
    call.save()
    assert check(team) == (2, f"call {call.pk} has no entry.")
    Call.objects.filter(pk=call.pk).update(digest="", salt="")
    assert check(team) == (2, f"call {call.pk} has no entry.")


def test_calls_from_before_the_chain_have_no_entry(team: Team, call: Call) -> None:
    old = begun(team)
    Call.objects.filter(pk=old.pk).update(outcome="done")
    assert check(team).problem == f"call {old.pk} has no entry."
    audit.record(
        actor=tampering.actor(), team=team, action="audit.begin", after={"calls_before": old.pk}
    )
    assert check(team).problem == ""


@pytest.mark.parametrize(
    ("model", "covered", "else_"),
    [
        # Named by the record itself, in the entry beside it, or said by the record's own digest.
        (Call, records.CALL, {"id", "address", "started_at", "answer", "key"}),
        (Recognition, records.IMAGE, {"id", "call", "own_width", "own_height"}),
        (Finding, records.FACE, {"id", "call", "recognition"}),
    ],
)
def test_every_column_is_vouched_for_but_those_that_may_change_without_a_word(
    model: type[Model], covered: Sequence[str], else_: set[str]
) -> None:
    """A new column is put into the record, or here with its reason."""
    may_change = {
        # Go when what they point at is deleted; `records.points_elsewhere` knows whether an account
        # or a person was exchanged for another.
        *("team", "space", "actor", "photo", "gallery", "person"),
        # Where a client's picture is kept, and what `persons.calls.cache` may answer by.
        *("image", "question"),
        # Worked out by the database while the entry is written.
        "cost",
        *("salt", "digest", "erased_at"),
    }
    columns = {field.name for field in model._meta.concrete_fields}
    assert columns - set(covered) - else_ <= may_change
