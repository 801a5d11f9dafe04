"""Data beyond a team's retention periods is deleted, and nothing else."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from persons import access, pipeline
from persons.actions.holds import hold_gallery, hold_person, release_hold
from persons.actions.retention import Rules, change_retention
from persons.calls import cache as answer_cache
from persons.calls import evidence
from persons.calls import log as call_log
from persons.chain.checking import check
from persons.errors import Refused
from persons.models import (
    AuditEntry,
    Call,
    Erasure,
    Face,
    FaceVector,
    Finding,
    Gallery,
    Grouping,
    JobState,
    Person,
    Recognition,
    RetentionRun,
    Space,
    Team,
    User,
)
from persons.pipeline.audit.sealing import seal_audit
from persons.pipeline.identity.grouping import faces_of
from persons.pipeline.privacy import retention
from persons.vision.types import Box
from persons.work import Work
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by, die, entries, in_a_worker_that_may_die
from tests.support.waiting import swept

OLD = timedelta(days=100)


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    return found


@pytest.fixture
def space(gallery: Gallery) -> Space:
    return gallery.space


def rules(team: Team, **days: int | None) -> None:
    Team.objects.filter(pk=team.pk).update(**{f"{name}_days": n for name, n in days.items()})


def a_call(space: Space, *, age: timedelta = OLD, image: str = "", told: int = 1) -> Call:
    """A client's recognition of one picture in which that person was found."""
    call = Call.objects.create(
        team=space.team,
        space=space,
        method="recognize",
        source="client",
        backend="fake",
        actor_text="key door",
        meta={"space": "0", "images": [{"name": "Ada at the door.jpg"}]},
        answer=f'{{"tag": "person{told}"}}',
        question="q" * 64,
        image_count=1,
        outcome="done",
        started_at=timezone.now() - age,
    )
    row = Recognition.objects.create(
        call=call,
        position=0,
        name="Ada at the door.jpg",
        sha256="a" * 64,
        image=image,
        status=0,
        result={"name": "x", "persons": [{"tag": f"person{told}", "similarity": 0.9}]},
        face_count=1,
    )
    Finding.objects.create(
        team=space.team, call=call, recognition=row, position=0, told_id=told, similarity=0.9
    )
    return call


def kept(key: str) -> str:
    default_storage.save(key, ContentFile(b"picture"))
    return key


def run(team: Team) -> RetentionRun:
    """As the next day's sweep and its tasks do."""
    RetentionRun.objects.update(finished_at=timezone.now() - timedelta(days=2))
    for pk in swept(Work.RETENTION):
        while pipeline.keep_rules(pk):
            pass
    found = RetentionRun.objects.filter(team=team).first()
    assert found is not None
    return found


# --- The rules ---


def test_rules_are_set_in_days_and_audited(alice: User, team: Team) -> None:
    change_retention(actor=by(alice), team=team, rules=Rules(7, None, 365, 14))
    team.refresh_from_db()
    assert (team.probe_days, team.unknown_days, team.history_days) == (7, None, 365)
    (entry,) = entries(team, "team.retention")
    assert entry.before == {"probe_days": None, "history_days": None, "trash_days": 30}
    assert entry.after == {"probe_days": 7, "history_days": 365, "trash_days": 14}
    with pytest.raises(Refused, match="from 1"):
        change_retention(actor=by(alice), team=team, rules=Rules(0, None, None, 14))


def test_a_team_without_rules_has_no_runs_and_loses_nothing(team: Team, space: Space) -> None:
    a_call(space)
    assert swept(Work.RETENTION) == []
    assert Call.objects.exclude(answer="").count() == 1


def test_a_run_is_due_once_a_day(team: Team, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    rules(team, history=30)
    (pk,) = swept(Work.RETENTION)
    assert swept(Work.RETENTION) == [pk]
    pipeline.keep_rules(pk)
    assert swept(Work.RETENTION) == []
    tomorrow = timezone.now() + timedelta(days=1, minutes=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    assert len(swept(Work.RETENTION)) == 1


# --- Probes ---


def test_probes_go_after_their_days_and_the_record_stays(team: Team, space: Space) -> None:
    old = a_call(space, image=kept("probes/1/aa/old"))
    new = a_call(space, age=timedelta(days=2), image=kept("probes/1/aa/new"))
    rules(team, probe=30)
    done = run(team)
    assert done.report == {"probes": 1}
    assert not default_storage.exists("probes/1/aa/old")
    assert default_storage.exists("probes/1/aa/new")
    row = old.recognitions.get()
    assert (row.image, row.sha256, row.face_count) == ("", "a" * 64, 1)
    assert evidence.sent_of(row.findings.get()).state == "erased"
    assert row.result
    assert new.recognitions.get().image
    (entry,) = entries(team, "retention.run")
    assert entry.after == {"removed": {"probes": 1}, "rules": {"probes": 30}}


def test_a_picture_that_was_asked_again_lately_stays(team: Team, space: Space) -> None:
    key = kept("probes/1/aa/same")
    a_call(space, image=key)
    a_call(space, age=timedelta(days=1), image=key)
    rules(team, probe=30)
    assert run(team).report == {"probes": 1}
    assert default_storage.exists(key)


# --- Unknown faces ---


def old_face(gallery: Gallery, **columns: Any) -> Face:
    face: Face = FaceFactory.create(
        photo__gallery=gallery, attributes={"age": 30, "frontality": 0.9}, **columns
    )
    Face.everything.filter(pk=face.pk).update(created_at=timezone.now() - OLD)
    FaceVector.objects.create(face=face, model="m", vector=b"1234")
    kept(face.photo.crop_key(Box(face.left, face.top, face.right, face.bottom)))
    return face


def remains_of(face: Face) -> tuple[bool, bool, bool]:
    """Whether vector, crop and attributes are there."""
    face.refresh_from_db()
    crop = face.photo.crop_key(Box(face.left, face.top, face.right, face.bottom))
    vector = FaceVector.objects.filter(face=face).exists()
    return vector, default_storage.exists(crop), bool(face.attributes)


def test_looks_of_faces_without_a_name_go_and_their_boxes_stay(
    team: Team, gallery: Gallery, space: Space
) -> None:
    nobody = old_face(gallery)
    ignored = old_face(gallery, decision="ignored")
    grouped = old_face(gallery, person=PersonFactory.create(space=space, label=""))
    ada = old_face(gallery, person=PersonFactory.create(space=space, label="Ada"))
    new = old_face(gallery)
    Face.everything.filter(pk=new.pk).update(created_at=timezone.now())
    rules(team, unknown=90)
    assert run(team).report == {"unknown": 3}
    for face in (nobody, ignored, grouped):
        assert remains_of(face) == (False, False, False)
        assert face.forgotten_at is not None
    assert remains_of(ada) == remains_of(new) == (True, True, True)
    nobody.photo.refresh_from_db()
    assert (nobody.photo.face_count, nobody.photo.unknown_count) == (1, 1)
    # Once is enough, and they are not described again.
    assert run(team).report == {}
    every = Grouping(space=space, gallery=gallery)
    assert set(faces_of(every)) == {new}


def test_what_a_later_answer_says_of_such_a_face_goes_with_the_next_run(
    team: Team, gallery: Gallery
) -> None:
    face = old_face(gallery)
    rules(team, unknown=90)
    run(team)
    Face.everything.update(attributes={"age": 31})
    assert run(team).report == {"unknown": 1}
    assert remains_of(face)[2] is False


# --- History ---


def test_what_was_asked_and_answered_goes_and_who_asked_when_stays(
    team: Team, space: Space
) -> None:
    person = PersonFactory.create(space=space, label="Ada")
    old, new = a_call(space), a_call(space, age=timedelta(days=3))
    Finding.objects.update(person=person)
    Call.objects.update(error="image Ada.jpg is a GIF")
    Recognition.objects.update(error="image Ada.jpg is a GIF")
    rules(team, history=30)
    assert run(team).report == {"history": 1}
    old.refresh_from_db()
    assert (old.meta, old.answer, old.question, old.error) == ({}, "", "", "")
    assert old.erased_at is not None
    assert (old.actor_text, old.method, old.outcome, old.image_count) == (
        "key door",
        "recognize",
        "done",
        1,
    )
    row = old.recognitions.get()
    assert (row.name, row.result, row.error, row.sha256) == ("image 1", {}, "", "a" * 64)
    finding = old.findings.get()
    assert (finding.told_id, finding.person, finding.similarity) == (None, None, 0.9)
    assert evidence.card_of(finding, access.Visible(finding.team_id)).verdict == "redacted"
    new.refresh_from_db()
    assert new.answer
    assert new.findings.get().told_id == 1
    expired = AuditEntry.objects.get(team=team, action="call.expire")
    assert expired.target_id == str(old.pk)
    assert len(entries(team, "retention.run")) == 1


def test_an_answer_that_has_expired_is_never_told_again(
    team: Team, space: Space, settings: Any
) -> None:
    settings.REUSE_HOURS = 24 * 365
    call = a_call(space)
    assert answer_cache.stored(space, "q" * 64, ["a" * 64])
    rules(team, history=30)
    run(team)
    assert not answer_cache.stored(space, "q" * 64, ["a" * 64])
    assert call.pk


def test_the_audit_vouches_for_what_is_left_of_an_expired_call(team: Team, space: Space) -> None:
    call = a_call(space, image=kept("probes/1/aa/old"))
    # As its end writes it.
    call_log.changed([call.pk], actor=retention.ROBOT, action="call.recognize")
    rules(team, probe=20, history=30)
    run(team)
    seal_audit()
    checked = check(team)
    assert checked.problem == ""
    assert checked.sequence == AuditEntry.objects.filter(team=team).count()
    # And it would have noticed.
    Recognition.objects.filter(call=call).update(face_count=9)
    assert str(call.pk) in check(team).problem


# --- Holds ---


def test_a_hold_on_a_person_suspends_all_of_it(
    alice: User, team: Team, gallery: Gallery, space: Space
) -> None:
    ada = PersonFactory.create(space=space, label="Ada", person_id=7)
    other_space = team.spaces.get(number=3)
    held = a_call(space, image=kept("probes/1/aa/held"), told=7)
    like = a_call(space, image=kept("probes/1/aa/like"), told=77)
    elsewhere = a_call(other_space, image=kept("probes/1/aa/elsewhere"), told=7)
    beside = old_face(gallery)
    FaceFactory.create(photo=beside.photo, person=ada, left=1, right=5)
    hold = hold_person(actor=by(alice), person=ada, reason="Case 12")
    rules(team, probe=30, unknown=30, history=30)
    assert run(team).report == {"probes": 2, "history": 2}
    held.refresh_from_db()
    assert held.answer
    assert held.recognitions.get().image
    assert default_storage.exists("probes/1/aa/held")
    assert remains_of(beside) == (True, True, True)
    for call in (like, elsewhere):
        call.refresh_from_db()
        assert not call.answer
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    assert run(team).report == {"probes": 1, "unknown": 1, "history": 1}


def test_a_hold_on_a_gallery_keeps_what_was_asked_about_its_photos(
    alice: User, team: Team, gallery: Gallery, space: Space
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    held, free = a_call(space), a_call(space)
    held.recognitions.update(photo=photo)
    face = old_face(gallery)
    hold_gallery(actor=by(alice), gallery=gallery, reason="Case 12")
    rules(team, unknown=30, history=30)
    assert run(team).report == {"history": 1}
    held.refresh_from_db()
    free.refresh_from_db()
    assert held.answer
    assert not free.answer
    assert remains_of(face) == (True, True, True)


# --- Runs ---


def test_the_preview_says_what_the_run_then_removes_and_changes_nothing(
    team: Team, gallery: Gallery, space: Space
) -> None:
    a_call(space, image=kept("probes/1/aa/old"))
    old_face(gallery)
    team.refresh_from_db()
    found = retention.preview(team, {"probes": 30, "unknown": 30, "history": 30, "trash": 30})
    assert {one.kind: one.count for one in found} == {
        "probes": 1,
        "unknown": 1,
        "history": 1,
        "trash": 0,
    }
    oldest = next(one.oldest for one in found if one.kind == "history")
    assert isinstance(oldest, datetime)
    assert default_storage.exists("probes/1/aa/old")
    rules(team, probe=30, unknown=30, history=30)
    done = run(team)
    assert done.report == {one.kind: one.count for one in found if one.count}


def test_a_rule_that_was_loosened_meanwhile_counts_at_once(team: Team, space: Space) -> None:
    call = a_call(space)
    rules(team, history=30)
    (pk,) = swept(Work.RETENTION)
    rules(team, history=None)
    pipeline.keep_rules(pk)
    call.refresh_from_db()
    assert call.answer
    assert not entries(team, "retention.run")


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_killed_goes_on_and_counts_each_thing_once(
    team: Team, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        a_call(space, image=kept(f"probes/1/aa/{number}"))
    rules(team, probe=30, history=30)
    (pk,) = swept(Work.RETENTION)

    def deadly() -> None:
        real, count = retention._remove, [0]

        def then_die(*args: Any) -> Any:
            count[0] += 1
            removed = real(*args)
            if count[0] == 2:
                die()
            return removed

        with monkeypatch.context() as patched:
            patched.setattr(retention, "_remove", then_die)
            pipeline.keep_rules(pk)

    assert in_a_worker_that_may_die(deadly) == -9
    found = RetentionRun.objects.get(pk=pk)
    assert found.state == JobState.RUNNING
    assert found.report == {"probes": 2}
    RetentionRun.objects.update(claimed_at=timezone.now() - timedelta(days=1))
    assert swept(Work.RETENTION) == [pk]
    while pipeline.keep_rules(pk):
        pass
    found.refresh_from_db()
    assert found.state == JobState.DONE
    assert found.report == {"probes": 5, "history": 5}
    assert not any(default_storage.exists(f"probes/1/aa/{number}") for number in range(5))
    assert len(entries(team, "retention.run")) == 1


def test_two_teams_keep_their_own_rules(team: Team, space: Space) -> None:
    other = GalleryFactory.create()
    mine, theirs = a_call(space), a_call(other.space)
    rules(team, history=30)
    run(team)
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert not mine.answer
    assert theirs.answer


# --- Certificates ---


def test_a_certificate_goes_when_its_time_is_over_and_the_row_stays(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    erasure = Erasure.objects.create(
        team=team,
        number=0,
        person_id=7,
        reference="R1",
        certificate={"what": "all"},
        signature=hashlib.sha256(b"1").hexdigest(),
        keep_until=timezone.now() + timedelta(days=1096),
        reason="They asked",
    )
    pipeline.sweep()
    erasure.refresh_from_db()
    assert erasure.certificate
    later = timezone.now() + timedelta(days=1097)
    monkeypatch.setattr(timezone, "now", lambda: later)
    pipeline.sweep()
    erasure.refresh_from_db()
    assert (erasure.certificate, erasure.signature, erasure.reason) == ({}, "", "")
    assert len(entries(team, "certificate.expire")) == 1
    pipeline.sweep()
    assert len(entries(team, "certificate.expire")) == 1
    assert Person.objects.count() == 0
