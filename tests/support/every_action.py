"""Every audited action, with a scene in which it can be run."""

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
from persons.faces.identity import resolve_identities
from persons.files.storage import stored
from persons.models import (
    ApiKey,
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
    Role,
    ShareLink,
    Source,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.changes import ChangeKind
from persons.pipeline.spaces.snapshot_writer import Pieces, contents_of
from persons.vision.types import Box
from tests.support.factories import (
    FaceFactory,
    GalleryFactory,
    PersonFactory,
    PhotoFactory,
    UserFactory,
    jpeg,
)


@dataclass(frozen=True)
class Scene:
    """A team in which every action has a target."""

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
    known = FaceFactory.create(photo=photo, person=ada, resolved__skip=True)
    other = FaceFactory.create(photo=photo, left=40, right=60, resolved__skip=True)
    drawn = FaceFactory.create(photo=photo, left=0, right=9, is_drawn=True, resolved__skip=True)
    crowd = GalleryFactory.create(team=team, slug="crowd", space=team.spaces.get(number=1))
    alike = PhotoFactory.create(gallery=crowd)
    pks = [FaceFactory.create(photo=alike, left=left, resolved__skip=True).pk for left in (0, 30)]
    # Resolve all at once: identity resolution is half of the scene's cost, and 240 tests make it.
    with transaction.atomic():
        resolve_identities([photo.pk, alike.pk])
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


# By action: a function that runs it in the scene, and its audit entry's target type.
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
    "key.scopes": (
        lambda s: keys.set_scopes(actor=s.actor, key=s.key, scopes=["create"]),
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
