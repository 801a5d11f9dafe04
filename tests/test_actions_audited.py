"""What holds for every action: it is audited in its own transaction, or it did not happen."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from persons.actions import (
    accounts,
    auditing,
    changes,
    faces,
    galleries,
    groups,
    keys,
    moving,
    people,
    photos,
    sharing,
    snapshots,
    spaces,
    teams,
    trash,
)
from persons.audit import Actor
from persons.errors import Refused
from persons.images import ImageRefused
from persons.models import (
    ApiKey,
    AuditEntry,
    Change,
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    GalleryMember,
    Grouping,
    Invitation,
    JobState,
    Likeness,
    Membership,
    Person,
    Photo,
    PhotoState,
    Role,
    ShareLink,
    Source,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.changes import ChangeKind
from persons.pipeline.saving import Pieces, contents_of
from persons.settling import settle_photos
from persons.storage import stored
from persons.vision.types import Box
from tests.factories import (
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
    UserFactory,
    jpeg,
)
from tests.fakes import everything


@dataclass(frozen=True)
class Scene:
    """A team in which every action has something to act on."""

    actor: Actor
    team: Team
    alice: User
    bob: Membership
    space: Space
    gallery: Gallery
    elsewhere: Gallery
    secret: Gallery
    inside: GalleryMember
    link: ShareLink
    photo: Photo
    trashed: Photo
    unknown: Face
    known: Face
    ada: Person
    enrolment: Enrolment
    failed: Enrolment
    nobody: Person
    drawn: Face
    change: Change
    apart: Likeness
    invitation: Invitation
    newcomer: User
    key: ApiKey
    saved: SpaceJob
    waiting: SpaceJob
    crowd: Gallery
    plan: Grouping

    def upload(self, content: bytes = b"", name: str = "a.jpg") -> photos.Added:
        file = io.BytesIO(content or jpeg((1, 2, 3)))
        return photos.add_photo(actor=self.actor, gallery=self.gallery, file=file, file_name=name)

    def draw(self) -> Face:
        return faces.draw_face(actor=self.actor, photo=self.photo, box=Box(14, 26, 60, 48))

    def bring_in(self) -> SpaceJob:
        with stored(self.saved.file) as file:
            return snapshots.add_snapshot(actor=self.actor, space=self.space, file=file)

    def policy(self, **changes: object) -> Space:
        values: dict[str, object] = {
            "name": "",
            "threshold": 0.4,
            "confirm_threshold": 0.5,
            "update_embedding": False,
            "create_new": False,
            "show_attributes": False,
            "searcher": 0,
        }
        policy = spaces.Policy(**{**values, **changes})  # type: ignore[arg-type]
        return spaces.change_policy(actor=self.actor, space=self.space, policy=policy)


@pytest.fixture
def scene(team: Team, alice: User, bob: User) -> Scene:
    gallery = GalleryFactory.create(team=team, slug="lake")
    secret = GalleryFactory.create(team=team, is_open=False)
    photo = PhotoFactory.create(gallery=gallery, sent_sha256="0" * 64)
    ada = PersonFactory.create(space=gallery.space, label="Ada")
    known = FaceFactory.create(photo=photo, person=ada, settled__skip=True)
    other = FaceFactory.create(photo=photo, left=40, right=60, settled__skip=True)
    drawn = FaceFactory.create(photo=photo, left=0, right=9, is_drawn=True, settled__skip=True)
    crowd = GalleryFactory.create(team=team, slug="crowd", space=team.spaces.get(number=1))
    alike = PhotoFactory.create(gallery=crowd)
    pks = [FaceFactory.create(photo=alike, left=left, settled__skip=True).pk for left in (0, 30)]
    # All at once: half of what making it costs is settling, and 240 tests make it.
    with transaction.atomic():
        settle_photos([photo.pk, alike.pk])
    for face in (known, other, drawn):
        face.refresh_from_db(fields=["person", "review", "review_rank"])
    invitation = Invitation.objects.create(
        team=team,
        email="new@example.org",
        role=Role.VIEWER,
        token_hash="0" * 64,
        created_by=alice,
        expires_at=timezone.now() + timedelta(days=1),
    )
    return Scene(
        actor=Actor(user=alice, source=Source.PAGE, address="192.0.2.7", request_id="r" * 32),
        team=team,
        alice=alice,
        bob=team.memberships.get(user=bob),
        space=gallery.space,
        gallery=gallery,
        elsewhere=GalleryFactory.create(team=team),
        secret=secret,
        inside=GalleryMember.objects.create(gallery=secret, user=bob, role=Role.EDITOR),
        link=ShareLink.objects.create(
            gallery=gallery, token_hash="1" * 64, expires_at=timezone.now() + timedelta(days=1)
        ),
        photo=photo,
        trashed=PhotoFactory.create(gallery=gallery, trashed_at=timezone.now()),
        unknown=other,
        known=known,
        ada=ada,
        enrolment=Enrolment.objects.create(person=ada, face=known, state=EnrolmentState.DONE),
        failed=Enrolment.objects.create(
            person=ada, face=None, state=EnrolmentState.FAILED, error="no face"
        ),
        nobody=PersonFactory.create(space=gallery.space, label="Nobody"),
        drawn=drawn,
        change=Change.objects.create(
            team=team, space=gallery.space, kind=ChangeKind.IGNORE, actor=alice
        ),
        apart=Likeness.objects.create(
            space=gallery.space,
            one=ada,
            other=PersonFactory.create(space=gallery.space, label="Adam"),
            decision=Likeness.Decision.DIFFERENT,
        ),
        invitation=invitation,
        newcomer=UserFactory.create(username="newcomer"),
        key=ApiKey.objects.create(team=team, name="old", prefix="rck_00000000", key_hash="0" * 64),
        saved=SpaceJob.objects.create(
            team=team,
            space=gallery.space,
            kind=SpaceJob.Kind.SNAPSHOT,
            state=JobState.DONE,
            file=default_storage.save(
                "snapshots/0.zip", Pieces(contents_of(gallery.space, "").pieces())
            ),
        ),
        waiting=SpaceJob.objects.create(
            team=team, space=team.spaces.get(number=9), kind=SpaceJob.Kind.SNAPSHOT
        ),
        crowd=crowd,
        plan=Grouping.objects.create(
            space=crowd.space, gallery=crowd, state=JobState.READY, plan=[pks]
        ),
    )


# The action, what it does in the scene, and the type of what its entry names as its target.
ACTIONS: dict[str, tuple[Callable[[Scene], object], str]] = {
    "account.sign_in": (lambda s: accounts.signed_in(actor=s.actor, user=s.alice), "user"),
    "account.sign_out": (lambda s: accounts.signed_out(actor=s.actor, user=s.alice), "user"),
    "account.refused": (
        lambda s: accounts.failed_to_sign_in(actor=s.actor, name=s.alice.username),
        "user",
    ),
    "account.password": (lambda s: accounts.changed_password(actor=s.actor, user=s.alice), "user"),
    "audit.export": (lambda s: auditing.export_audit(actor=s.actor, team=s.team), "team"),
    "audit.verify": (lambda s: auditing.verify_audit(actor=s.actor, team=s.team), "team"),
    "photo.download": (
        lambda s: photos.record_original(actor=s.actor, photo=s.photo),
        "photo",
    ),
    "face.name": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label="Nobody"),
        "face",
    ),
    "face.reject": (
        lambda s: faces.reject_person(actor=s.actor, face=s.known, person=s.known.person),
        "face",
    ),
    "face.ignore": (lambda s: faces.ignore_face(actor=s.actor, face=s.unknown), "face"),
    "face.clear": (lambda s: faces.clear_decision(actor=s.actor, face=s.known), "face"),
    "face.draw": (lambda s: s.draw(), "face"),
    "face.erase": (lambda s: faces.erase_face(actor=s.actor, face=s.drawn), "face"),
    "faces.name": (
        lambda s: faces.name_faces(actor=s.actor, faces=[s.unknown], label="Nobody"),
        "person",
    ),
    "faces.confirm": (lambda s: faces.confirm_faces(actor=s.actor, faces=[s.known]), "person"),
    "faces.reject": (
        lambda s: faces.reject_faces(actor=s.actor, faces=[s.known], person=s.ada),
        "person",
    ),
    "faces.ignore": (lambda s: faces.ignore_faces(actor=s.actor, faces=[s.unknown]), "change"),
    "change.undo": (lambda s: changes.undo(actor=s.actor, change=s.change), "change"),
    "grouping.start": (
        lambda s: groups.start_grouping(actor=s.actor, space=s.crowd.space),
        "grouping",
    ),
    "grouping.threshold": (
        lambda s: groups.change_threshold(actor=s.actor, grouping=s.plan, threshold=0.5),
        "grouping",
    ),
    "grouping.make": (
        lambda s: groups.make_groups(actor=s.actor, grouping=s.plan),
        "grouping",
    ),
    "grouping.cancel": (
        lambda s: groups.cancel_grouping(actor=s.actor, grouping=s.plan),
        "grouping",
    ),
    "gallery.create": (
        lambda s: galleries.create_gallery(
            actor=s.actor, team=s.team, name="Sea", space=s.space, slug="sea"
        ),
        "gallery",
    ),
    "gallery.rename": (
        lambda s: galleries.rename_gallery(actor=s.actor, gallery=s.gallery, name="Sea"),
        "gallery",
    ),
    "gallery.recognise": (
        lambda s: photos.recognise_gallery_again(actor=s.actor, gallery=s.gallery),
        "gallery",
    ),
    "person.rename": (
        lambda s: people.rename_person(actor=s.actor, person=s.ada, label="Ada L."),
        "person",
    ),
    "person.cover": (
        lambda s: people.choose_cover(actor=s.actor, person=s.ada, face=s.known),
        "person",
    ),
    "person.hide": (
        lambda s: people.hide_person(actor=s.actor, person=s.ada, hidden=True),
        "person",
    ),
    "person.notes": (
        lambda s: people.set_notes(actor=s.actor, person=s.ada, notes="Met in Paris."),
        "person",
    ),
    "person.merge": (
        lambda s: people.merge_people(actor=s.actor, person=s.ada, into=s.nobody),
        "person",
    ),
    "person.split": (
        lambda s: people.split_person(
            actor=s.actor, person=s.ada, faces=[s.known], label="Somebody else"
        ),
        "person",
    ),
    "people.differ": (
        lambda s: people.different_people(actor=s.actor, one=s.ada, other=s.nobody),
        "person",
    ),
    "people.same": (
        lambda s: people.forget_difference(actor=s.actor, likeness=s.apart),
        "person",
    ),
    "person.remove": (
        lambda s: people.remove_empty_person(actor=s.actor, person=s.nobody),
        "person",
    ),
    "person.sync": (lambda s: people.retry_sync(actor=s.actor, person=s.ada), "person"),
    "enrolment.remove": (
        lambda s: people.remove_enrolment(actor=s.actor, enrolment=s.enrolment),
        "enrolment",
    ),
    "enrolment.retry": (
        lambda s: people.retry_enrolment(actor=s.actor, enrolment=s.failed),
        "enrolment",
    ),
    "photo.upload": (lambda s: s.upload(), "photo"),
    "photo.recognise": (
        lambda s: photos.recognise_photo_again(actor=s.actor, photo=s.photo),
        "photo",
    ),
    "space.policy": (lambda s: s.policy(threshold=0.45), "space"),
    "space.snapshot": (
        lambda s: snapshots.take_snapshot(actor=s.actor, space=s.space),
        "space",
    ),
    "space.empty": (
        lambda s: snapshots.truncate_space(actor=s.actor, space=s.space, typed="Space 0"),
        "space",
    ),
    "space.restore": (
        lambda s: snapshots.restore_space(actor=s.actor, snapshot=s.saved, space=s.space),
        "space",
    ),
    "snapshot.upload": (
        lambda s: s.bring_in(),
        "spacejob",
    ),
    "snapshot.download": (
        lambda s: snapshots.note_download(actor=s.actor, snapshot=s.saved),
        "spacejob",
    ),
    "snapshot.delete": (
        lambda s: snapshots.delete_snapshot(actor=s.actor, snapshot=s.saved),
        "spacejob",
    ),
    "job.cancel": (lambda s: snapshots.cancel_job(actor=s.actor, job=s.waiting), "spacejob"),
    "job.retry": (lambda s: snapshots.retry_job(actor=s.actor, job=s.waiting), "spacejob"),
    "gallery.close": (
        lambda s: sharing.set_openness(actor=s.actor, gallery=s.gallery, is_open=False),
        "gallery",
    ),
    "gallery.open": (
        lambda s: sharing.set_openness(actor=s.actor, gallery=s.secret, is_open=True),
        "gallery",
    ),
    "gallery.member": (
        lambda s: sharing.set_gallery_role(
            actor=s.actor, gallery=s.gallery, user=s.bob.user, role=Role.VIEWER
        ),
        "gallery",
    ),
    "gallery.unmember": (
        lambda s: sharing.remove_gallery_member(actor=s.actor, member=s.inside),
        "gallery",
    ),
    "link.create": (
        lambda s: sharing.make_link(actor=s.actor, gallery=s.gallery),
        "sharelink",
    ),
    "link.revoke": (lambda s: sharing.revoke_link(actor=s.actor, link=s.link), "sharelink"),
    "photos.recognise": (
        lambda s: photos.recognise_photos_again(actor=s.actor, gallery=s.gallery, pks=[s.photo.pk]),
        "gallery",
    ),
    "photos.download": (
        lambda s: photos.record_download(actor=s.actor, gallery=s.gallery, pks=[s.photo.pk]),
        "gallery",
    ),
    "photo.trash": (
        lambda s: trash.trash_photos(actor=s.actor, gallery=s.gallery, pks=[s.photo.pk]),
        "photo",
    ),
    "photo.restore": (
        lambda s: trash.restore_photos(
            actor=s.actor, photos=Photo.everything.filter(pk=s.trashed.pk)
        ),
        "photo",
    ),
    "trash.empty": (
        lambda s: trash.empty_trash(actor=s.actor, team=s.team),
        "team",
    ),
    "photos.move": (
        lambda s: moving.move_photos(
            actor=s.actor,
            gallery=s.gallery,
            into=s.elsewhere,
            pks=[s.photo.pk],
        ),
        "gallery",
    ),
    "key.create": (
        lambda s: keys.create_key(actor=s.actor, team=s.team, name="door"),
        "apikey",
    ),
    "key.revoke": (lambda s: keys.revoke_key(actor=s.actor, key=s.key), "apikey"),
    "team.settings": (
        lambda s: teams.change_settings(
            actor=s.actor, team=s.team, monthly_budget=Decimal("12.5"), keep_probes=True
        ),
        "team",
    ),
    "team.create": (
        lambda s: teams.create_team(actor=s.actor, name="Second", owner=s.alice),
        "team",
    ),
    "invitation.create": (
        lambda s: teams.invite_member(
            actor=s.actor, team=s.team, email="x@example.org", role=Role.EDITOR
        ),
        "invitation",
    ),
    "invitation.revoke": (
        lambda s: teams.revoke_invitation(actor=s.actor, invitation=s.invitation),
        "invitation",
    ),
    "invitation.accept": (
        lambda s: teams.accept_invitation(actor=s.actor, invitation=s.invitation, user=s.newcomer),
        "invitation",
    ),
    "member.role": (
        lambda s: teams.change_role(actor=s.actor, membership=s.bob, role=Role.VIEWER),
        "user",
    ),
    "member.remove": (lambda s: teams.remove_member(actor=s.actor, membership=s.bob), "user"),
}

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
    "a name with a direction mark": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label="Ada\u202eadA"),
        "invisible control characters",
    ),
    "a name with a NUL": (
        lambda s: faces.name_face(actor=s.actor, face=s.unknown, label="Ada\0"),
        "invisible control characters",
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
        lambda s: keys.create_key(actor=s.actor, team=s.team, name="door", methods=["drop"]),
        "is no method",
    ),
    "a key for space 10": (
        lambda s: keys.create_key(actor=s.actor, team=s.team, name="door", spaces=[10]),
        "0 to 9",
    ),
    "a key for no image a day": (
        lambda s: keys.create_key(actor=s.actor, team=s.team, name="door", daily_images=0),
        "at least one image",
    ),
    "a key that has expired": (
        lambda s: keys.create_key(
            actor=s.actor, team=s.team, name="door", expires_at=timezone.now()
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

    def test_rings_no_bell_and_leaves_no_entry_when_its_caller_rolls_back(
        self,
        scene: Scene,
        action: str,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        before = everything()
        with django_capture_on_commit_callbacks() as bells, transaction.atomic():
            ACTIONS[action][0](scene)
            transaction.set_rollback(True)
        assert bells == []
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
