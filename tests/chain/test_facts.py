"""Which decisions and names the chain vouches for, and which are older than their entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from persons.actions.faces import name_face
from persons.chain import checking
from persons.chain.checking import check
from persons.chain.facts import Before, state_of_change, state_of_name
from persons.models import AuditEntry, Change, Person, Team, User
from persons.pipeline.audit.sealing import seal_audit
from tests.support import tampering
from tests.support.factories import FaceFactory, GalleryFactory
from tests.support.fakes import by


@pytest.mark.parametrize(("pk", "state"), [(1, "unknown"), (7, "unknown"), (8, "altered")])
def test_a_name_and_a_decision_without_an_entry_must_be_older_than_such_entries(
    pk: int, state: str
) -> None:
    before = Before({"people_before": 7, "changes_before": 7})
    assert state_of_name(Person(pk=pk, label="Anna"), None, before) == state
    assert state_of_change(Change(pk=pk), (), None, None, before) == state


def test_a_person_without_a_name_needs_no_entry() -> None:
    assert state_of_name(Person(pk=8, label=""), None, Before({})) == "whole"


@pytest.mark.django_db
def test_a_decision_that_was_deleted_is_named(team: Team, bob: User) -> None:
    gallery = GalleryFactory.create(team=team)
    face = FaceFactory.create(photo__gallery=gallery)
    name_face(actor=by(bob), face=face, label="Anna")
    seal_audit()
    assert check(team).problem == ""
    change = Change.objects.get()
    pk = change.pk
    entry = AuditEntry.objects.get(after__said__change=pk)
    assert entry.sequence is not None
    change.delete()
    told = f"entry {entry.sequence} (number {entry.pk}): decision {pk} was deleted."
    assert check(team) == (entry.sequence - 1, told)


@pytest.mark.django_db
def test_a_redaction_that_is_sealed_during_a_check_is_taken_into_account(
    team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = tampering.chain_of(team, alice)
    placed = checking._placed

    def redact_first(*arguments: Any) -> Iterator[AuditEntry]:
        tampering.erased(team, chain[3].pk)
        seal_audit()
        return placed(*arguments)

    monkeypatch.setattr(checking, "_placed", redact_first)
    assert check(team) == (len(chain), "")
