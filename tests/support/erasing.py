"""A team whose people have left traces everywhere, for tests that erase one of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.messages import constants
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from dashboard.pages.photos.media import box_of, make_crops
from persons import pipeline
from persons.actions.consent import ConsentTerms, record_consent
from persons.actions.erasing import erase_person
from persons.actions.faces import (
    confirm_faces,
    name_face,
    name_faces,
    reject_person,
)
from persons.actions.groups import start_grouping
from persons.actions.merging import merge_people
from persons.actions.people import (
    choose_cover,
    different_people,
    rename_person,
    set_notes,
    split_person,
)
from persons.actions.photos import add_photo
from persons.actions.snapshots import add_snapshot, take_snapshot
from persons.calls import log as call_log
from persons.files.storage import stored
from persons.models import (
    Call,
    EngineEmbedding,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    FaceVector,
    Gallery,
    JobState,
    Person,
    Photo,
    Recognition,
    Source,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.people.enrolments import picture_key
from persons.vision.types import Answer, Method
from tests.support import wire
from tests.support.fakes import (
    FakeVision,
    by,
)
from tests.support.portraits import PHOTOS, version_of, work
from tests.support.traces import places, slices, spelled

GONE = "Jaċinda Qwünsch-Zerase"
GONE_BEFORE = "Jacky Quondam"
GONE_TOO = "Ardëna Twinnedname"
GONE_NOTES = "Allergic to vintage zeppelins"
GONE_FILE = "holiday-snap-of-jzq.jpg"
GONE_PAPER = "Form 77-B of the Zerase estate"
STAYS = "Emmanuél Keepwell-Stayer"
STAYS_NOTES = "Collects marzipan lighthouses"
CLIENT_ID = 4711
OTHER_CLIENT_ID = 4712


@dataclass
class World:
    """A team before an erasure of `person`.

    `gone` and `stays` are byte strings that are found now. After the erasure, none of `gone` and
    all of `stays` must be found.
    """

    team: Team
    owner: User
    gallery: Gallery
    person: Person
    other: Person
    client: Person
    gone: set[bytes] = field(default_factory=set)
    stays: set[bytes] = field(default_factory=set)


def run_jobs() -> None:
    for pk in SpaceJob.objects.filter(state=JobState.QUEUED).values_list("pk", flat=True):
        while pipeline.work(pk).jobs:
            pass


def finish(erasure: Erasure, most: int = 300) -> Erasure:
    """Run the erasure to its end as workers would, without their pauses."""
    for _ in range(most):
        Erasure.objects.filter(pk=erasure.pk).update(after=timezone.now() - timedelta(seconds=1))
        pipeline.erase(erasure.pk)
        erasure.refresh_from_db()
        if erasure.state in (JobState.DONE, JobState.FAILED):
            return erasure
    raise AssertionError(f"The erasure does not end: {erasure.step}, {erasure.error}")


def build(owner: User, gallery: Gallery) -> World:
    """Do everything that the product can do with people to two of them."""
    actor = by(owner)
    Team.objects.filter(pk=gallery.team_id).update(keep_probes=True)
    team = gallery.team
    team.refresh_from_db()
    for name in ("ardern_1", "ardern_2", "macron_1", "macron_2", "obama_1", "sunak_1"):
        _upload(owner, gallery, f"{name}-0.jpg", version_of(name, 0))
    _upload(owner, gallery, "group_1.jpg", (PHOTOS / "group_1.jpg").read_bytes())
    work(gallery)
    _, token = wire.make_key(team)
    ask = wire.in_process(token)
    # Before anybody is enrolled; the same picture is asked about again later.
    _ask_about(ask, gallery, "theirs.jpg", version_of("ardern_1", 3))
    first, twin, other = _name_and_merge(owner, gallery)
    _decide_on_what_was_found(owner, gallery, first, other)
    _consent(owner, first)
    _client_calls(ask, gallery)
    look_at_pages(gallery)
    _say(owner)
    _group(owner, gallery)
    take_snapshot(actor=actor, space=gallery.space)
    run_jobs()
    saved = SpaceJob.objects.get(kind=SpaceJob.Kind.SNAPSHOT)
    with stored(saved.file) as file:
        add_snapshot(actor=actor, space=gallery.space, file=io.BytesIO(file.read()))
    run_jobs()
    first.refresh_from_db()
    client = Person.objects.get(space=gallery.space, person_id=CLIENT_ID)
    world = World(team, owner, gallery, first, other, client)
    world.gone = _traces([first, twin], [GONE, GONE_BEFORE, GONE_TOO, GONE_NOTES, GONE_PAPER])
    world.stays = _traces([other], [STAYS, STAYS_NOTES], but=[first.tag, twin.tag])
    return world


def _name_and_merge(owner: User, gallery: Gallery) -> tuple[Person, Person, Person]:
    """The person to erase, the one merged into them, and the one who stays.

    The person to erase was also renamed, and split from a third one who is marked as different.
    """
    actor = by(owner)
    first = name_face(actor=actor, face=_face(gallery, "ardern_1"), label=GONE_BEFORE).person
    other = name_face(actor=actor, face=_face(gallery, "macron_1"), label=STAYS).person
    work(gallery)
    rename_person(actor=actor, person=first, label=GONE)
    set_notes(actor=actor, person=first, notes=GONE_NOTES)
    set_notes(actor=actor, person=other, notes=STAYS_NOTES)
    twin = name_face(actor=actor, face=_face(gallery, "ardern_2"), label=GONE_TOO).person
    third = name_face(actor=actor, face=_face(gallery, "obama_1"), label=GONE).person
    assert third == first
    split_person(
        actor=actor, person=first, faces=[_face(gallery, "obama_1")], label="Somebody Third"
    )
    different_people(actor=actor, one=Person.objects.get(label="Somebody Third"), other=first)
    work(gallery)
    merge_people(actor=actor, person=twin, into=first)
    work(gallery)
    first.refresh_from_db()
    return first, twin, other


def _decide_on_what_was_found(owner: User, gallery: Gallery, first: Person, other: Person) -> None:
    actor = by(owner)
    sunak = _face(gallery, "sunak_1")
    name_face(actor=actor, face=sunak, label=GONE)
    sunak.refresh_from_db()
    reject_person(actor=actor, face=sunak, person=Person.objects.get(pk=first.pk))
    work(gallery)
    found = list(Face.objects.filter(person=first, decision=""))
    confirm_faces(actor=actor, faces=found)
    faces = list(Face.objects.filter(person=other, decision=""))
    if faces:
        name_faces(actor=actor, faces=faces, label=STAYS)
    choose_cover(actor=actor, person=first, face=Face.objects.filter(person=first)[0])
    work(gallery)


def _upload(owner: User, gallery: Gallery, name: str, data: bytes) -> None:
    add_photo(actor=by(owner), gallery=gallery, file=io.BytesIO(data), file_name=name)


def _face(gallery: Gallery, name: str) -> Face:
    photo = Photo.objects.get(gallery=gallery, file_name=f"{name}-0.jpg")
    return photo.faces.select_related("photo__gallery__space__team", "person").get()


def _consent(owner: User, person: Person) -> None:
    given = ConsentTerms("Recognition on our trips", GONE_PAPER, timezone.now() - timedelta(days=1))
    record_consent(actor=by(owner), person=person, given=given)


def _ask_about(ask: wire.Ask, gallery: Gallery, name: str, data: bytes) -> None:
    number = str(gallery.space.number)
    ask("recognize", wire.file(name, data), wire.meta(wire.pictures(name, space=number)))


def _client_calls(ask: wire.Ask, gallery: Gallery) -> None:
    """A client of the proxy asks about both of them, and enrols one under an id of its own."""
    number = str(gallery.space.number)
    for name, data in (
        ("theirs.jpg", version_of("ardern_1", 3)),
        ("others.jpg", version_of("macron_1", 3)),
        ("both.jpg", version_of("group_1", 3)),
    ):
        _ask_about(ask, gallery, name, data)
    for name, person_id, data in (
        (GONE_FILE, CLIENT_ID, version_of("collins_1", 0)),
        ("whoever.jpg", OTHER_CLIENT_ID, version_of("macron_2", 5)),
    ):
        ask(
            "set",
            wire.file(name, data),
            wire.meta(wire.people(name, space=number, person_id=person_id)),
        )


def look_at_pages(gallery: Gallery) -> None:
    """Make and store the crops, as pages do."""
    for photo in Photo.objects.filter(gallery=gallery).select_related("gallery"):
        make_crops(photo)


def _say(owner: User) -> None:
    """Store a message that waits for its page, as the session keeps it."""
    session = SessionStore()
    session["_auth_user_id"] = str(owner.pk)
    session["_messages"] = f'[["__json_message",0,{constants.SUCCESS},"{GONE} is hidden.",""]]'
    session.create()


def _group(owner: User, gallery: Gallery) -> None:
    grouping = start_grouping(actor=by(owner), space=gallery.space, gallery=gallery)
    while pipeline.group_faces(grouping.pk):
        pass


def _traces(people: list[Person], texts: list[str], but: Collection[str] = ()) -> set[bytes]:
    """Those traces of these people and texts that are found somewhere now.

    Leaves out pictures from clients that also show somebody with a tag in `but`.
    """
    pks = [person.pk for person in people]
    ids = [person.person_id for person in people]
    needles: set[bytes] = set()
    for text in texts:
        needles |= spelled(text)
    for row in Enrolment.objects.filter(person__in=pks).exclude(image=""):
        needles.add(row.sha256.encode())
        with stored(row.image) as file:
            needles |= slices(file.read())
    for face in Face.objects.filter(person__in=pks).select_related("photo__gallery"):
        for key in _crops(face):
            with stored(key) as file:
                needles |= slices(file.read(), 4)
    vectors = [
        *EngineEmbedding.objects.filter(person_id__in=ids).values_list("vector", flat=True),
        *FaceVector.objects.filter(face__person__in=pks).values_list("vector", flat=True),
    ]
    needles |= {bytes(vector)[:64] for vector in vectors}
    tags = {person.tag for person in people}
    for asked in Recognition.objects.exclude(image=""):
        on_it = {face.get("tag") for face in asked.result.get("persons", [])}
        if on_it & tags and not on_it & set(but):
            needles.add(asked.sha256.encode())
            with stored(asked.image) as file:
                needles |= slices(file.read(), 4)
    found = places(needles, Path(settings.DATA_DIR))
    return {needle for needle, where in found.items() if where}


def _crops(face: Face) -> list[str]:
    key = face.photo.crop_key(box_of(face))
    return [key] if default_storage.exists(key) else []


def enrol(person: Person, data: bytes, state: str = EnrolmentState.DONE) -> Enrolment:
    digest = hashlib.sha256(data).hexdigest()
    key = picture_key(person.space.team_id, digest)
    default_storage.save(key, ContentFile(data))
    call = ended_call(person.space, Method.SET)
    return Enrolment.objects.create(
        person=person,
        sha256=digest,
        image=key,
        state=state,
        call=call,
        done_at=timezone.now() if state == EnrolmentState.DONE else None,
    )


def ended_call(space: Space, method: Method) -> Call:
    call = call_log.begin(
        space=space,
        vision=FakeVision(),
        method=method,
        meta={},
        images=[],
        origin=call_log.Origin(source=Source.WORKER),
    )
    call_log.end(call, Answer(b""), None)
    return call


def erase(person: Person, user: User, **more: Any) -> Erasure:
    return finish(erase_person(actor=by(user), person=person, **more))
