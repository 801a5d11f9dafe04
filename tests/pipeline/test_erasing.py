"""Erasing a person: what is deleted, what stays, what blocks it, and what must not come back."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from persons import pipeline
from persons.actions.erasing import erase_person, plan_of, retry_erasure
from persons.actions.faces import confirm_faces, name_face
from persons.actions.holds import hold_gallery, hold_person
from persons.actions.merging import merge_people
from persons.actions.people import rename_person, set_notes
from persons.chain import signing
from persons.chain.checking import check
from persons.errors import Refused
from persons.models import (
    AuditEntry,
    Call,
    Decision,
    Enrolment,
    EnrolmentState,
    Erasure,
    Face,
    FaceVector,
    Finding,
    Gallery,
    Grouping,
    JobState,
    Person,
    Photo,
    PhotoState,
    Recognition,
    Rejection,
    Run,
    Space,
    SyncState,
    Team,
    User,
)
from persons.pipeline.audit.sealing import seal_audit
from persons.pipeline.privacy.erasing import replay, work
from persons.privacy import erased, erasure_journal
from persons.vision.errors import VisionRejected, VisionUnavailable
from persons.vision.types import Method
from persons.work import Work
from tests.support import tampering, wire
from tests.support.erasing import ended_call, enrol, erase, finish
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import (
    FakeVision,
    answer,
    by,
    die,
    entries,
    found,
    in_a_worker_that_may_die,
    lease_is_over,
    once,
    seen,
    use,
    waiting_photo,
)
from tests.support.waiting import swept

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    return Space.objects.get(team=team, number=0)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team)


@pytest.fixture
def zoe(space: Space, alice: User) -> Person:
    """With a picture that Vision has."""
    zoe = tampering.named(PersonFactory.create(space=space, label="Zoë Erased"))
    enrol(zoe, b"a picture of zoe")
    return zoe


@pytest.fixture
def ann(space: Space) -> Person:
    ann = tampering.named(PersonFactory.create(space=space, label="Ann Stays"))
    enrol(ann, b"a picture of ann")
    return ann


# --- Whom, and who says so ---


def test_their_row_and_pictures_are_gone_and_others_are_not(
    vision: FakeVision, zoe: Person, ann: Person, alice: User
) -> None:
    kept, gone = (one.enrolments.get().image for one in (ann, zoe))
    erasure = erase(zoe, alice)
    assert erasure.state == JobState.DONE
    assert list(Person.objects.all()) == [ann]
    assert default_storage.exists(kept) and not default_storage.exists(gone)


def test_vision_forgets_them_and_is_asked_whether_it_has(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    erasure = erase(zoe, alice)
    deleted, probed = vision.asked
    assert (deleted.method, deleted.person_ids) == (Method.DELETE, [zoe.person_id])
    assert probed.method == Method.RECOGNIZE
    assert probed.meta["update_embedding"] is False
    assert [image.data for image in probed.images] == [b"a picture of zoe"]
    assert erasure.certificate["probe"]["confirmed"] is True


def test_who_was_merged_into_them_goes_with_them(
    vision: FakeVision, zoe: Person, ann: Person, alice: User
) -> None:
    merge_people(actor=by(alice), person=ann, into=zoe)
    zoe.refresh_from_db()
    erasure = erase(zoe, alice)
    assert not Person.objects.exists()
    assert sorted(vision.asked[0].person_ids) == sorted([zoe.person_id, ann.person_id])
    assert erasure.certificate["merged"] == [ann.person_id]


@pytest.fixture
def chain(zoe: Person, ann: Person, alice: User) -> Person:
    """Eve, who was merged into Ann, who was merged into Zoë."""
    eve: Person = PersonFactory.create(space=zoe.space, label="Eve")
    merge_people(actor=by(alice), person=eve, into=ann)
    merge_people(actor=by(alice), person=ann, into=zoe)
    return eve


def test_a_chain_of_merged_people_goes_as_a_whole(
    vision: FakeVision, zoe: Person, chain: Person, alice: User
) -> None:
    erase(zoe, alice)
    assert not Person.objects.exists()


def test_whoever_a_backup_brought_back_goes_with_their_subtree_but_not_with_their_survivor(
    vision: FakeVision, zoe: Person, ann: Person, chain: Person
) -> None:
    """They were parted from Zoë after the backup, and then erased."""
    now = timezone.now()
    line = erasure_journal.Line(
        "E-1", zoe.space.team.slug, 0, ann.person_id, (ann.person_id,), now, "", ()
    )
    assert replay._again(line) is not None
    finish(Erasure.objects.get())
    people = Person.objects.order_by("pk").values_list("pk", "merged_into", "canonical")
    assert list(people) == [(zoe.pk, None, zoe.pk)]


def test_who_was_merged_is_erased_with_whom_they_are(
    vision: FakeVision, zoe: Person, ann: Person, alice: User
) -> None:
    merge_people(actor=by(alice), person=ann, into=zoe)
    ann.refresh_from_db()
    with pytest.raises(Refused, match="Erase Zoë Erased: that erases both"):
        erase_person(actor=by(alice), person=ann)


def test_the_name_has_to_be_typed(zoe: Person, alice: User) -> None:
    for typed in ("", "Zoe Erased", "Ann"):
        with pytest.raises(Refused, match="Type “Zoë Erased”"):
            erase_person(actor=by(alice), person=zoe, typed=typed)
    erase_person(actor=by(alice), person=zoe, typed="  zoë  erased ")


def test_the_reason_names_nobody_since_it_is_kept(zoe: Person, alice: User) -> None:
    for reason in ("Zoë Erased asked for it", "as ZOË ERASED wrote"):
        with pytest.raises(Refused, match="must not name them"):
            erase_person(actor=by(alice), person=zoe, reason=reason)
    assert not Erasure.objects.exists()


def test_a_legal_hold_on_them_or_on_a_gallery_refuses(
    zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=ann)
    hold_person(actor=by(alice), person=zoe, reason="Case 1")
    hold_gallery(actor=by(alice), gallery=gallery, reason="Case 2")
    for person in (zoe, ann):
        assert "legal hold" in plan_of(person).held
        with pytest.raises(Refused, match="legal hold"):
            erase_person(actor=by(alice), person=person)
    assert Person.objects.filter(label__in=["Zoë Erased", "Ann Stays"]).count() == 2


def test_they_are_found_by_nobody_from_the_first_moment(
    vision: FakeVision, zoe: Person, gallery: Gallery, alice: User
) -> None:
    erase_person(actor=by(alice), person=zoe)
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery))
    named = name_face(actor=by(alice), face=face, label="Zoë Erased")
    assert named.is_new and named.person.pk != zoe.pk
    with pytest.raises(Refused, match="already, or are gone"):
        erase_person(actor=by(alice), person=zoe)


# --- Faces and photos ---


def test_their_faces_become_boxes_of_nobody(
    vision: FakeVision, zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    theirs = FaceFactory.create(photo=photo, person=zoe, attributes={"age": 30})
    FaceVector.objects.create(face=theirs, model="m", vector=b"v" * 512)
    other = FaceFactory.create(photo=photo, person=ann, left=40, right=60, attributes={"age": 4})
    erase(zoe, alice)
    theirs.refresh_from_db()
    assert (theirs.decision, theirs.person, theirs.found_person) == (Decision.ERASED, None, None)
    assert (theirs.tag, theirs.similarity, theirs.attributes) == ("undefined", 0.0, {})
    assert not FaceVector.objects.exists()
    other.refresh_from_db()
    assert (other.person, other.attributes) == (ann, {"age": 4})


def test_faces_that_were_theirs_until_their_consent_ended_go_as_well(
    vision: FakeVision, zoe: Person, gallery: Gallery, alice: User
) -> None:
    """They have had no name since, as the next recognition named nobody."""
    enrolment = zoe.enrolments.get()
    enrolment.state = EnrolmentState.WAITING
    enrolment.save(update_fields=["state"])
    photo = PhotoFactory.create(gallery=gallery, width=100, height=100)
    boxes = [{"left": n, "top": 10, "right": n + 20, "bottom": 30} for n in (0, 25, 50, 75)]
    theirs, rejected, other, nobody = (
        FaceFactory.create(photo=photo, attributes={"age": 30}, **box) for box in boxes
    )
    Rejection.objects.create(face=rejected, person=zoe)
    call = ended_call(zoe.space, Method.RECOGNIZE)
    asked = Recognition.objects.create(
        call=call, position=0, name="p", photo=photo, sha256="a" * 64, width=100, height=100
    )
    matched = [enrolment.sha256, enrolment.sha256, "f" * 64, ""]
    for position, (box, digest) in enumerate(zip(boxes, matched, strict=True)):
        Finding.objects.create(
            team=zoe.space.team,
            call=call,
            recognition=asked,
            position=position,
            told_id=None if position == 3 else zoe.person_id,
            similarity=0.8,
            matched_sha256=digest,
            **box,
        )
    done = erase(zoe, alice)
    assert done.state == JobState.DONE
    faces = [Face.everything.get(pk=face.pk) for face in (theirs, rejected, other, nobody)]
    assert [face.decision == Decision.ERASED for face in faces] == [True, False, False, False]
    assert [face.attributes for face in faces] == [{}, *[{"age": 30}] * 3]


def test_what_the_engine_only_thought_is_taken_back_and_the_face_stays(
    vision: FakeVision, zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    face = FaceFactory.create(
        photo=PhotoFactory.create(gallery=gallery),
        person=ann,
        found_person=zoe,
        decision=Decision.NAMED,
        decided_person=ann,
    )
    erase(zoe, alice)
    face.refresh_from_db()
    assert (face.person, face.decision) == (ann, Decision.NAMED)
    assert (face.found_person, face.tag) == (None, "undefined")


def test_a_later_recognition_leaves_their_box_alone(
    vision: FakeVision, zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    photo = waiting_photo(gallery)
    vision.show(photo, found(zoe.person_id))
    assert pipeline.recognise_batch(gallery.space_id)
    erase(zoe, alice)
    face = Face.objects.get()
    for seen_now in (found(None), found(ann.person_id, similarity=0.99)):
        vision.show(photo, seen_now | {"age": 41})
        Photo.objects.update(state=PhotoState.QUEUED)
        assert pipeline.recognise_batch(gallery.space_id)
        again = Face.objects.get()
        assert (again.pk, again.decision, again.person) == (face.pk, Decision.ERASED, None)
        assert (again.attributes, again.review, again.similarity) == ({}, "", 0.0)
    photo.refresh_from_db()
    assert photo.unknown_count == 0


def test_nobody_decides_on_their_box_any_more(
    vision: FakeVision, zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=zoe)
    erase(zoe, alice)
    face.refresh_from_db()
    with pytest.raises(Refused, match="gone"):
        name_face(actor=by(alice), face=face, label="Zoë Erased")
    assert confirm_faces(actor=by(alice), faces=[face]) is None


@pytest.mark.parametrize(("photos", "left"), [("keep", 3), ("alone", 2), ("all", 1)])
def test_photos_go_by_choice(
    vision: FakeVision,
    zoe: Person,
    ann: Person,
    gallery: Gallery,
    alice: User,
    photos: str,
    left: int,
) -> None:
    alone, shared, other = (PhotoFactory.create(gallery=gallery, with_file=True) for _ in range(3))
    for photo in (alone, shared):
        FaceFactory.create(photo=photo, person=zoe)
    for photo in (shared, other):
        FaceFactory.create(photo=photo, person=ann, left=40, right=60)
    recognised = ended_call(gallery.space, Method.RECOGNIZE)
    asked = Recognition.objects.create(
        call=recognised, position=0, name="photo1", photo=alone, sha256="a" * 64
    )
    erasure = erase(zoe, alice, photos=photos)
    there = list(Photo.everything.order_by("pk"))
    assert there == [alone, shared, other][3 - left :]
    for photo in (alone, shared, other):
        assert default_storage.exists(photo.original) == (photo in there)
    asked.refresh_from_db()
    assert asked.sha256 == ("a" * 64 if photos == "keep" else "")
    counts = {one["place"]: one["counts"] for one in erasure.certificate["destroyed"]}
    assert counts.get("photos", {}).get("photos", 0) == 3 - left


def test_a_picture_of_theirs_that_somebody_else_had_by_mistake_is_gone(
    vision: FakeVision, zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    """Taken back from the other, or about to be; what the other has now stays."""
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=zoe)
    same = enrol(ann, b"a picture of zoe", EnrolmentState.REMOVED)
    cut = enrol(ann, b"a crop of zoe", EnrolmentState.REMOVING)
    Enrolment.objects.filter(pk=cut.pk).update(face=face)
    shared = enrol(zoe, b"a picture of both", EnrolmentState.DONE)
    kept = enrol(ann, b"a picture of both")
    erasure = erase(zoe, alice)
    for row in (same, cut):
        key = row.image
        row.refresh_from_db()
        assert (row.image, row.sha256) == ("", "") and not default_storage.exists(key)
    kept.refresh_from_db()
    assert kept.image == shared.image and default_storage.exists(kept.image)
    assert any("somebody else's as well" in text for text in erasure.certificate["out_of_reach"])


def test_open_work_for_them_stops(
    vision: FakeVision, zoe: Person, gallery: Gallery, alice: User
) -> None:
    queued = enrol(zoe, b"another picture", EnrolmentState.QUEUED)
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=zoe)
    Run.objects.create(space=zoe.space, person=zoe, reason="Looking for Zoë Erased", photo_count=1)
    Person.objects.filter(pk=zoe.pk).update(sync_state=SyncState.QUEUED)
    grouping = Grouping.objects.create(
        space=zoe.space, state=JobState.READY, plan=[[face.pk, 999], [1, 2]]
    )
    erase_person(actor=by(alice), person=zoe)
    assert pipeline.sync(zoe.pk) is None
    assert vision.asked == []
    finish(Erasure.objects.get())
    grouping.refresh_from_db()
    assert (grouping.state, grouping.plan) == (JobState.CANCELLED, [])
    assert not Run.objects.exists() and not Enrolment.objects.filter(pk=queued.pk).exists()
    assert Method.SET not in {asked.method for asked in vision.asked}


# --- Vision ---


def test_while_vision_is_down_what_needs_it_waits_and_the_rest_is_gone(
    vision: FakeVision, zoe: Person, gallery: Gallery, alice: User
) -> None:
    face = FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=zoe)
    circuit = VisionUnavailable("The circuit is open")
    circuit.pause = 30
    vision.script.extend([circuit] * 20)
    erasure = erase_person(actor=by(alice), person=zoe)
    for _ in range(12):
        Erasure.objects.update(after=timezone.now())
        pipeline.erase(erasure.pk)
    erasure.refresh_from_db()
    assert (erasure.state, erasure.step) == (JobState.QUEUED, "vision")
    assert "circuit is open" in erasure.error
    assert erasure.after > timezone.now() + timedelta(seconds=20)
    face.refresh_from_db()
    assert face.decision == Decision.ERASED
    row = Person.objects.get(pk=zoe.pk)
    assert (row.person_id, row.label) == (zoe.person_id, "")
    assert default_storage.exists(row.enrolments.get().image)
    vision.script.clear()
    finish(erasure)
    assert erasure.state == JobState.DONE and not Person.objects.exists()


def test_they_are_deleted_once_more_while_vision_still_knows_them(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    vision.script.extend(
        [
            lambda asked: answer({"status": 0, "name": asked.names[0]}),
            lambda asked: answer(seen(asked.names[0], found(zoe.person_id))),
        ]
    )
    erasure = erase(zoe, alice)
    assert vision.methods() == ["delete", "recognize", "delete", "recognize"]
    assert erasure.certificate["probe"]["confirmed"] is True


def test_where_vision_never_forgets_them_somebody_has_to_act(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    vision.faces["probe"] = [found(zoe.person_id)]
    erasure = erase(zoe, alice)
    assert erasure.state == JobState.FAILED
    assert "still recognises them" in erasure.error
    assert Person.objects.filter(pk=zoe.pk).exists()
    vision.faces.clear()
    retry_erasure(actor=by(alice), erasure=erasure)
    finish(erasure)
    assert erasure.state == JobState.DONE


def test_a_second_number_of_the_same_human_is_told(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    vision.faces["probe"] = [found(77)]
    erasure = erase(zoe, alice)
    assert erasure.certificate["probe"]["others"] == [77]
    assert "somebody else: person77" in erasure.certificate["probe"]["text"]


def test_the_probe_itself_leaves_nothing_of_them(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    vision.faces["probe"] = [found(77)]
    erase(zoe, alice)
    probed = Call.objects.filter(method="recognize").latest("pk")
    assert (probed.answer, probed.outcome) == ("", "done")
    row = probed.recognitions.get()
    assert (row.sha256, row.image, row.result, row.face_count) == ("", "", {}, 0)
    assert not probed.findings.exists()


def test_a_refusal_of_the_probe_is_told_and_ends_nothing(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    vision.script.extend([vision._answer, VisionRejected("No such picture")])
    erasure = erase(zoe, alice)
    assert erasure.state == JobState.DONE
    assert erasure.certificate["probe"]["confirmed"] is False
    assert "refused" in erasure.certificate["probe"]["text"]


# --- What does not bring them back ---


def test_a_recognition_that_was_under_way_does_not_bring_them_back(
    vision: FakeVision, zoe: Person, gallery: Gallery, alice: User
) -> None:
    """The worker has its answer when everything is over."""
    photo = waiting_photo(gallery)
    vision.show(photo, found(zoe.person_id) | {"age": 33})

    def meanwhile() -> None:
        erasure = erase_person(actor=by(alice), person=zoe)
        for _ in range(15):
            Erasure.objects.update(after=timezone.now())
            pipeline.erase(erasure.pk)
        erasure.refresh_from_db()
        # It waits for this very call.
        assert (erasure.state, erasure.step) == (JobState.QUEUED, "calls")

    once(vision, meanwhile)
    pipeline.recognise_batch(gallery.space_id)
    erasure = finish(Erasure.objects.get())
    assert erasure.state == JobState.DONE
    assert not Person.objects.filter(person_id=zoe.person_id).exists()
    face = Face.objects.get()
    assert (face.person, face.attributes) == (None, {})
    assert zoe.tag not in json.dumps(list(Call.objects.values_list("answer", flat=True)))
    assert not Recognition.objects.filter(result__icontains=f'"{zoe.tag}"').exists()


def test_an_answer_that_comes_long_after_makes_nobody(
    vision: FakeVision, zoe: Person, gallery: Gallery, alice: User
) -> None:
    erase(zoe, alice)
    photo = waiting_photo(gallery)
    vision.show(photo, found(zoe.person_id))
    pipeline.recognise_batch(gallery.space_id)
    assert not Person.objects.exists()
    face = Face.objects.get()
    assert (face.tag, face.similarity, face.person) == ("undefined", 0.0, None)


def test_an_enrolment_that_was_under_way_is_taken_back(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    picture = enrol(zoe, b"another picture", EnrolmentState.QUEUED)
    Person.objects.filter(pk=zoe.pk).update(sync_state=SyncState.QUEUED)
    begun: list[Erasure] = []

    def meanwhile() -> None:
        begun.append(erase_person(actor=by(alice), person=zoe))
        for _ in range(15):
            Erasure.objects.update(after=timezone.now())
            pipeline.erase(begun[0].pk)

    once(vision, meanwhile)
    pipeline.sync(zoe.pk)
    finish(begun[0])
    # Set by the worker, which did not know; then deleted, and not before.
    assert vision.methods() == ["set", "delete", "recognize"]
    assert not default_storage.exists(picture.image)
    assert not Person.objects.exists()


def test_a_client_may_not_enrol_a_picture_of_theirs_again(
    monkeypatch: pytest.MonkeyPatch, vision: FakeVision, zoe: Person, alice: User
) -> None:
    monkeypatch.setattr("persons.proxy.answering.vision_for", lambda space: vision)
    erase(zoe, alice)
    vision.asked.clear()
    _, token = wire.make_key(zoe.space.team)
    ask = wire.in_process(token)
    got = ask(
        "set",
        wire.file("old", b"a picture of zoe"),
        wire.file("new", wire.photo("obama_1")),
        wire.meta(
            {
                "space": "0",
                "images": [
                    {"name": "old", "person_id": zoe.person_id},
                    {"name": "new", "person_id": zoe.person_id},
                ],
            }
        ),
    )
    refused, done = got.body["objects"]
    assert refused == {"status": 1, "error": erased.REFUSED, "name": "old"}
    assert done == {"status": 0, "name": "new"}
    assert [asked.names for asked in vision.asked] == [["new"]]
    # The number is the client's: by a new picture it is somebody else's now.
    somebody = Person.objects.get(person_id=zoe.person_id)
    assert somebody.label == "" and not somebody.erasing
    digest = hashlib.sha256(b"a picture of zoe").hexdigest()
    assert not Recognition.objects.filter(sha256=digest).exists()


def test_a_client_waits_while_they_are_being_erased(
    monkeypatch: pytest.MonkeyPatch, vision: FakeVision, zoe: Person, alice: User
) -> None:
    monkeypatch.setattr("persons.proxy.answering.vision_for", lambda space: vision)
    erase_person(actor=by(alice), person=zoe)
    _, token = wire.make_key(zoe.space.team)
    got = wire.in_process(token)(
        "set",
        wire.file("new", wire.photo("obama_1")),
        wire.meta(wire.people("new", space="0", person_id=zoe.person_id)),
    )
    assert got.body["objects"][0]["error"] == erased.BUSY
    assert vision.asked == []


# --- Records ---


def test_of_an_answer_about_several_only_their_part_goes(
    vision: FakeVision, zoe: Person, ann: Person, gallery: Gallery, alice: User
) -> None:
    photo = waiting_photo(gallery)
    vision.show(
        photo,
        found(zoe.person_id, box=(10, 10, 90, 90)) | {"age": 33},
        found(ann.person_id, box=(150, 10, 230, 90)) | {"age": 44, "aliases": [zoe.tag]},
    )
    pipeline.recognise_batch(gallery.space_id)
    call = Call.objects.get(method="recognize")
    erase(zoe, alice)
    call.refresh_from_db()
    kept = {
        "tag": ann.tag,
        "coord": [150, 10, 230, 90],
        "age": 44,
        "aliases": [],
    }
    for told in (json.loads(call.answer)["body"]["objects"][0], call.recognitions.get().result):
        gone, stays = told["persons"]
        assert gone == {"tag": "erased"}
        assert stays | kept == stays
    assert call.erased_at is not None and call.question == ""
    assert call.recognitions.get().sha256 == photo.sent_sha256


def test_the_audit_keeps_that_something_was_done_and_loses_the_words(
    vision: FakeVision, zoe: Person, ann: Person, space: Space, team: Team, alice: User
) -> None:
    rename_person(actor=by(alice), person=zoe, label="Zoë Renamed")
    set_notes(actor=by(alice), person=zoe, notes="Sings")
    set_notes(actor=by(alice), person=ann, notes="Paints")
    namesake = tampering.named(
        PersonFactory.create(space=Space.objects.get(team=team, number=1), label="Zoë Renamed")
    )
    set_notes(actor=by(alice), person=namesake, notes="Somebody else altogether")
    seal_audit()
    erase(zoe, alice)
    by_target = {
        (entry.action, entry.target_id): entry
        for entry in AuditEntry.objects.filter(target_type="person")
    }
    for action in ("person.rename", "person.notes"):
        entry = by_target[action, str(zoe.pk)]
        gone = {"erased"}
        assert entry.target_text == "" and entry.reason == ""
        assert set(entry.before.values()) <= gone | {""} and set(entry.after.values()) == gone
        assert entry.erased_at is not None and entry.hash and entry.actor_text == "Alice"
    for person in (ann, namesake):
        entry = by_target["person.notes", str(person.pk)]
        assert entry.erased_at is None and entry.target_text == person.label
    seal_audit()
    assert check(team).problem == ""
    begun, ended = entries(team, "person.erase") + entries(team, "person.erased")
    told = json.dumps([begun.after, ended.after, begun.target_text, ended.target_text])
    assert "Zo" not in told and begun.after["person_id"] == zoe.person_id


def test_the_certificate_is_signed_names_nobody_and_ends(
    vision: FakeVision, zoe: Person, team: Team, alice: User, settings: Any
) -> None:
    settings.CERTIFICATE_DAYS = 10
    digest = zoe.enrolments.get().sha256
    erasure = erase(zoe, alice, reason="Asked for by letter")
    told = erasure.certificate
    assert signing.verify(told, erasure.key, erasure.signature)
    assert not signing.verify(told | {"person": 2}, erasure.key, erasure.signature)
    text = json.dumps(told, ensure_ascii=False)
    assert "Zo" not in text and digest not in text and erased.keyed(digest) not in text
    assert (told["space"], told["person"], told["reason"]) == (0, 1, "Asked for by letter")
    assert [entry["sequence"] is not None for entry in told["log"]] == [True, True]
    sealed = AuditEntry.objects.get(team=team, action="person.erased")
    assert told["log"][1]["hash"] == sealed.hash != ""
    Erasure.objects.update(keep_until=timezone.now() + timedelta(days=9))
    pipeline.sweep()
    erasure.refresh_from_db()
    assert erasure.certificate == told
    Erasure.objects.update(keep_until=timezone.now())
    pipeline.sweep()
    erasure.refresh_from_db()
    assert (erasure.certificate, erasure.signature) == ({}, "")
    assert entries(team, "certificate.expire")


# --- Cut off ---


def test_a_worker_may_die_after_any_step(
    vision: FakeVision,
    zoe: Person,
    ann: Person,
    gallery: Gallery,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo = PhotoFactory.create(gallery=gallery, with_file=True)
    FaceFactory.create(photo=photo, person=zoe)
    picture = zoe.enrolments.get().image
    erasure = erase_person(actor=by(alice), person=zoe, photos="all")
    for place, (name, step) in enumerate(work.STEPS[:-1]):

        def and_die(held: Any, step: work.Step = step) -> None:
            while step(held) is not None:
                pass
            die()

        steps = [*work.STEPS]
        steps[place] = (name, and_die)

        def go_on(steps: list[tuple[str, work.Step]] = steps) -> None:
            monkeypatch.setattr(work, "STEPS", steps)
            while pipeline.erase(erasure.pk):
                pass

        Erasure.objects.update(after=timezone.now())
        assert in_a_worker_that_may_die(go_on) == -9, name
        lease_is_over()
        pipeline.release_claims()
        monkeypatch.undo()
        use(monkeypatch, vision)
    finish(erasure)
    assert erasure.state == JobState.DONE
    assert list(Person.objects.all()) == [ann]
    assert not Photo.everything.exists() and not default_storage.exists(photo.original)
    assert not default_storage.exists(picture)
    assert erasure.certificate["probe"]["confirmed"] is True
    seal_audit()
    assert check(gallery.team).problem == ""


def test_nothing_is_erased_before_the_journal_has_it(
    vision: FakeVision, zoe: Person, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    erasure = erase_person(actor=by(alice), person=zoe)
    with monkeypatch.context() as patch:
        patch.setattr(erasure_journal, "_append", full)
        assert pipeline.erase(erasure.pk) is False
        assert swept(Work.ERASE) == []
    erasure.refresh_from_db()
    assert (erasure.state, erasure.step) == (JobState.QUEUED, "")
    assert "No space left" in erasure.error and vision.asked == []
    finish(erasure)
    assert erasure_journal.lines().keys() == {erasure.reference}


def test_a_line_that_was_cut_off_takes_no_other_with_it(
    vision: FakeVision, zoe: Person, ann: Person, alice: User
) -> None:
    first = erase(zoe, alice)
    path = erasure_journal.folders()[0] / erasure_journal.NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"reference":"CUT')
    second = erase(ann, alice)
    assert erasure_journal.lines().keys() == {first.reference, second.reference}
    assert swept(Work.ERASE) == []


def test_the_journal_has_a_copy_beside_the_outside_seals(
    vision: FakeVision, zoe: Person, alice: User, settings: Any, tmp_path: Path
) -> None:
    settings.AUDIT_SEALS = str(tmp_path / "outside")
    erasure = erase(zoe, alice)
    own, outside = (folder / erasure_journal.NAME for folder in erasure_journal.folders())
    assert outside.read_text() == own.read_text() and erasure.reference in own.read_text()
    assert "Zo" not in own.read_text()
    # The data folder's own went back to before with a backup, database and all.
    own.unlink()
    Erasure.objects.all().delete()
    assert len(swept(Work.ERASE)) == 1


def test_two_workers_do_not_do_it_twice(vision: FakeVision, zoe: Person, alice: User) -> None:
    erasure = erase_person(actor=by(alice), person=zoe)

    def another() -> None:
        Erasure.objects.update(after=timezone.now())
        assert pipeline.erase(erasure.pk) is False

    once(vision, another)
    finish(erasure)
    assert vision.methods() == ["delete", "recognize"]


def test_the_sweep_rings_for_one_that_was_left(
    vision: FakeVision, zoe: Person, alice: User
) -> None:
    erasure = erase_person(actor=by(alice), person=zoe)
    Erasure.objects.update(state=JobState.RUNNING, claim="dead", claimed_at=timezone.now())
    assert erasure.pk not in swept(Work.ERASE)
    lease_is_over()
    assert erasure.pk in swept(Work.ERASE)
    finish(erasure)
    assert erasure_journal.lines().keys() == {erasure.reference}
