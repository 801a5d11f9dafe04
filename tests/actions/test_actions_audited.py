"""Every action writes its audit entry in its own transaction, and is undone if it can't."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from persons.actions import (
    faces,
    galleries,
    keys,
    people,
    photos,
    snapshots,
    teams,
)
from persons.audit import Actor
from persons.errors import Refused
from persons.images import ImageRefused
from persons.models import (
    AuditEntry,
    Photo,
    PhotoState,
    Role,
    Source,
)
from persons.vision.types import Box
from tests.support.every_action import ACTIONS, Scene, scene
from tests.support.factories import (
    GalleryFactory,
)
from tests.support.fakes import everything

__all__ = ["scene"]

pytestmark = pytest.mark.thorough

# What is asked, and words of the reason for which it is refused.
REFUSED: dict[str, tuple[Callable[[Scene], object], str]] = {
    "an empty name": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label=" \t"),
        "Type a name.",
    ),
    "a name of 201 letters": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label="x" * 201),
        "at most 200 characters",
    ),
    "a name of what nobody sees": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label="\u202e\u200b\0"),
        "Type a name.",
    ),
    "the number of nobody": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label="person99999"),
        "There is no person 99999 in",
    ),
    "rejecting a face without a name": (
        lambda s: faces.reject_person(actor=s.actor, face=s.unknown, person=s.unknown.person),
        "no name to take away",
    ),
    "rejecting somebody else than the face shows": (
        lambda s: faces.reject_person(actor=s.actor, face=s.known, person=s.nobody),
        "not Nobody any more: it is Ada.",
    ),
    "rejecting faces of somebody else": (
        lambda s: faces.reject_faces(actor=s.actor, faces=[s.known], person=s.nobody),
        "None of these faces is Nobody's any more.",
    ),
    "naming no face": (
        lambda s: faces.name_faces(actor=s.actor, faces=[], label="Ada"),
        "Choose a face.",
    ),
    "a box that reaches out of the photo": (
        lambda s: faces.draw_face(actor=s.actor, photo=s.photo, box=Box(50, 10, 65, 40)),
        "reaches out of the photo",
    ),
    "a box without any size": (
        lambda s: faces.draw_face(actor=s.actor, photo=s.photo, box=Box(30, 10, 40, 40)),
        "too small",
    ),
    "a box around a face that is there": (
        lambda s: faces.draw_face(actor=s.actor, photo=s.photo, box=Box(10, 8, 34, 38)),
        "a face in that place already: Ada.",
    ),
    "erasing a face that somebody named": (
        lambda s: faces.erase_face(actor=s.actor, face=s.known),
        "can be ignored, not erased",
    ),
    "merging somebody with themselves": (
        lambda s: people.merge_people(actor=s.actor, person=s.ada, into=s.ada),
        "the same person",
    ),
    "merging a pair that is never the same": (
        lambda s: people.merge_people(actor=s.actor, person=s.ada, into=s.apart.other),
        "Ada and Adam were marked as never the same person.",
    ),
    "never the same as oneself": (
        lambda s: people.different_people(actor=s.actor, one=s.ada, other=s.ada),
        "the same person",
    ),
    "splitting somebody off to themselves": (
        lambda s: people.split_person(actor=s.actor, person=s.ada, faces=[s.known], label="ada"),
        "Type somebody else's name.",
    ),
    "splitting faces of somebody else": (
        lambda s: people.split_person(actor=s.actor, person=s.nobody, faces=[s.known], label="X"),
        "None of these faces is Nobody's any more.",
    ),
    "notes of 5001 letters": (
        lambda s: people.set_notes(actor=s.actor, person=s.ada, notes="x" * 5001),
        "at most 5000",
    ),
    "a gallery without a name": (
        lambda s: galleries.create_gallery(actor=s.actor, team=s.team, name=" ", space=s.space),
        "Give the gallery a name.",
    ),
    "a gallery's name of 121 letters": (
        lambda s: galleries.rename_gallery(actor=s.actor, gallery=s.gallery, name="x" * 121),
        "at most 120 characters",
    ),
    "a gallery's address that is taken": (
        lambda s: galleries.create_gallery(
            actor=s.actor, team=s.team, name="Lake", space=s.space, slug="lake"
        ),
        "There is a gallery called “lake” already.",
    ),
    "a gallery's address with capitals": (
        lambda s: galleries.create_gallery(
            actor=s.actor, team=s.team, name="Sea", space=s.space, slug="The Sea"
        ),
        "small letters, digits and hyphens",
    ),
    "a gallery in another team's space": (
        lambda s: galleries.create_gallery(
            actor=s.actor, team=s.team, name="Sea", space=GalleryFactory.create().space
        ),
        "belongs to another team",
    ),
    "recognising an empty gallery again": (
        lambda s: photos.recognise_gallery_again(
            actor=s.actor, gallery=GalleryFactory.create(team=s.team)
        ),
        "no finished photo",
    ),
    "renaming somebody to a name that is taken": (
        lambda s: people.rename_person(actor=s.actor, person=s.nobody, label="ADA"),
        "has somebody called “ADA” already",
    ),
    "a cover that shows somebody else": (
        lambda s: people.choose_cover(actor=s.actor, person=s.nobody, face=s.known),
        "not this person's",
    ),
    "removing a person with faces": (
        lambda s: people.remove_empty_person(actor=s.actor, person=s.ada),
        "Ada has faces.",
    ),
    "a threshold above 1": (lambda s: s.policy(threshold=1.01), "from 0 to 1"),
    "a threshold that is no number": (lambda s: s.policy(threshold=float("nan")), "from 0 to 1"),
    "a second bar below the first": (
        lambda s: s.policy(threshold=0.6),
        "at least as high as the first",
    ),
    "emptying a space without its name": (
        lambda s: snapshots.truncate_space(actor=s.actor, space=s.space, typed="space"),
        "Type “Space 0”",
    ),
    "a second snapshot at once": (
        lambda s: snapshots.take_snapshot(actor=s.actor, space=s.waiting.space),
        "already",
    ),
    "a snapshot that is none": (
        lambda s: snapshots.add_snapshot(actor=s.actor, space=s.space, file=io.BytesIO(b"hello")),
        "it is no zip",
    ),
    "restoring from a snapshot that is not there yet": (
        lambda s: snapshots.restore_space(actor=s.actor, snapshot=s.waiting, space=s.space),
        "can't be used",
    ),
    "a searcher of 2": (lambda s: s.policy(searcher=2), "0 or 1"),
    "a space's name of 101 letters": (lambda s: s.policy(name="x" * 101), "at most 100"),
    "a team without a name": (
        lambda s: teams.create_team(actor=s.actor, name="  ", owner=s.alice),
        "needs a name",
    ),
    "a team's name without a letter": (
        lambda s: teams.create_team(actor=s.actor, name="!!!", owner=s.alice),
        "at least one letter or digit",
    ),
    "a team's name that is taken": (
        lambda s: teams.create_team(actor=s.actor, name="Trip", owner=s.alice),
        "There is a team called “trip” already.",
    ),
    "a key without a name": (
        lambda s: keys.create_key(actor=s.actor, team=s.team, name=" "),
        "Give the key a name",
    ),
    "a key for an unknown method": (
        lambda s: keys.create_key(
            actor=s.actor, team=s.team, name="door", options=keys.KeyOptions(methods=["drop"])
        ),
        "is no method",
    ),
    "a key with an unknown scope": (
        lambda s: keys.set_scopes(actor=s.actor, key=s.key, scopes=["admin"]),
        "The scope “admin” can't be given to a key yet",
    ),
    "a key for space 10": (
        lambda s: keys.create_key(
            actor=s.actor, team=s.team, name="door", options=keys.KeyOptions(spaces=[10])
        ),
        "0 to 9",
    ),
    "a key for no image a day": (
        lambda s: keys.create_key(
            actor=s.actor, team=s.team, name="door", options=keys.KeyOptions(daily_images=0)
        ),
        "at least one image",
    ),
    "a key that has expired": (
        lambda s: keys.create_key(
            actor=s.actor,
            team=s.team,
            name="door",
            options=keys.KeyOptions(expires_at=timezone.now()),
        ),
        "That day is over",
    ),
    "a budget below nothing": (
        lambda s: teams.change_settings(
            actor=s.actor, team=s.team, monthly_budget=Decimal("-0.01"), keep_probes=False
        ),
        "an amount from 0 up",
    ),
    "a budget that is no number": (
        lambda s: teams.change_settings(
            actor=s.actor, team=s.team, monthly_budget=Decimal("NaN"), keep_probes=False
        ),
        "an amount from 0 up",
    ),
    "inviting no e-mail address": (
        lambda s: teams.invite_member(
            actor=s.actor, team=s.team, email="new at example", role=Role.VIEWER
        ),
        "not an e-mail address",
    ),
    "inviting for an unknown role": (
        lambda s: teams.invite_member(
            actor=s.actor, team=s.team, email="x@example.org", role="king"
        ),
        "A role is one of owner, editor, viewer, auditor.",
    ),
    "changing to an unknown role": (
        lambda s: teams.change_role(actor=s.actor, membership=s.bob, role="king"),
        "A role is one of owner, editor, viewer, auditor.",
    ),
    "demoting the last owner": (
        lambda s: teams.change_role(
            actor=s.actor, membership=s.team.memberships.get(user=s.alice), role=Role.EDITOR
        ),
        "A team needs an owner.",
    ),
    "removing the last owner": (
        lambda s: teams.remove_member(
            actor=s.actor, membership=s.team.memberships.get(user=s.alice)
        ),
        "A team needs an owner.",
    ),
}


@pytest.mark.parametrize("action", ACTIONS)
class TestEveryAction:
    def test_writes_one_entry_that_says_who_what_and_where(self, scene: Scene, action: str) -> None:
        act, target_type = ACTIONS[action]
        act(scene)
        entry = AuditEntry.objects.get(action=action)
        assert entry.actor == scene.alice
        assert entry.actor_text == "Alice"
        assert (entry.source, entry.address) == (Source.PAGE, "192.0.2.7")
        assert entry.request_id == "r" * 32
        assert entry.target_type == target_type
        assert entry.target_id
        assert entry.target_text
        assert entry.team is not None
        if action != "team.create":
            assert entry.team == scene.team

    def test_is_undone_when_its_entry_cannot_be_written(
        self, scene: Scene, action: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = everything()

        def fail(*args: object, **options: object) -> None:
            raise RuntimeError("the disk is full")

        monkeypatch.setattr("persons.audit.AuditEntry.save", fail)
        with pytest.raises(RuntimeError, match="the disk is full"):
            ACTIONS[action][0](scene)
        assert everything() == before

    def test_enqueues_nothing_and_leaves_no_entry_when_its_caller_rolls_back(
        self,
        scene: Scene,
        action: str,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        before = everything()
        with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
            ACTIONS[action][0](scene)
            transaction.set_rollback(True)
        assert callbacks == []
        assert everything() == before


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_why_and_leaves_no_trace(scene: Scene, case: str) -> None:
    act, words = REFUSED[case]
    if "another team" in case or "empty gallery" in case:
        # These make their own rows first.
        with pytest.raises(Refused, match=words):
            act(scene)
        assert not AuditEntry.objects.exists()
        return
    before = everything()
    with pytest.raises(Refused) as caught:
        act(scene)
    assert words in str(caught.value)
    assert everything() == before


def test_a_file_that_is_no_picture_leaves_no_row_no_entry_and_no_file(
    scene: Scene,
) -> None:
    before = everything()
    with pytest.raises(ImageRefused):
        scene.upload(b"hello, this is text", "holiday.jpg")
    assert everything() == before
    assert not default_storage.exists("originals")


def test_an_action_that_changes_nothing_writes_no_entry(scene: Scene) -> None:
    scene.policy()
    people.rename_person(actor=scene.actor, person=scene.ada, label="Ada")
    teams.change_role(actor=scene.actor, membership=scene.bob, role=scene.bob.role)
    people.retry_enrolment(actor=scene.actor, enrolment=scene.enrolment)
    Photo.objects.update(state=PhotoState.RUNNING)
    before = everything()
    people.retry_enrolment(actor=scene.actor, enrolment=scene.enrolment)
    assert everything() == before
    assert not AuditEntry.objects.exists()


def test_an_entry_is_never_changed_or_deleted(scene: Scene) -> None:
    scene.policy(threshold=0.45)
    entry = AuditEntry.objects.get()
    with pytest.raises(TypeError):
        entry.save()
    with pytest.raises(TypeError):
        entry.delete()


def test_an_action_of_a_command_says_which_command(scene: Scene) -> None:
    galleries.rename_gallery(
        actor=Actor.command("import_photos"), gallery=scene.gallery, name="Sea"
    )
    entry = AuditEntry.objects.get()
    assert (entry.source, entry.actor, entry.actor_text) == (
        Source.COMMAND,
        None,
        "manage.py import_photos",
    )
