"""The evidence card of a recognised face, its pictures, and the same as JSON."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from persons.actions.faces import name_face
from persons.actions.teams import change_role
from persons.audit import Actor
from persons.calls import log as call_log
from persons.models import (
    AuditEntry,
    Call,
    Enrolment,
    EnrolmentState,
    Face,
    Finding,
    GalleryMember,
    Membership,
    Person,
    Photo,
    Recognition,
    Role,
    Source,
    Team,
    User,
)
from persons.models.calls import Outcome
from persons.pipeline.audit.sealing import seal_audit
from persons.pipeline.privacy.erasing.history import NO_BOX
from persons.vision.envelope import match_objects, parse
from persons.vision.types import Answer, Method
from persons.vision.types import Image as VisionImage
from tests.support.evidence import BOX, SENT, as_json, sha, url
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg
from tests.support.wire import Vision

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
ENROLLED = jpeg((20, 90, 200), (50, 50), "enrolled")


@pytest.fixture
def photo(team: Team) -> Photo:
    photo: Photo = PhotoFactory.create(gallery=GalleryFactory.create(team=team, slug="harbour"))
    default_storage.save(photo.key("sent"), ContentFile(SENT))
    return photo


@pytest.fixture
def person(photo: Photo) -> Person:
    return PersonFactory.create(space=photo.gallery.space, label="Anna Petrova")


@pytest.fixture
def finding(team: Team, photo: Photo, person: Person) -> Finding:
    """By the embedded recogniser, of a photo whose sent copy is there."""
    second = PersonFactory.create(space=person.space, label="Bea Orlova")
    enrolment = Enrolment.objects.create(
        person=person,
        sha256=sha(ENROLLED),
        image="enrolments/one.jpg",
        state=EnrolmentState.DONE,
        done_at=timezone.now() - timedelta(days=2),
    )
    default_storage.save(enrolment.image, ContentFile(ENROLLED))
    call = Call.objects.create(
        team=team,
        space=person.space,
        method="recognize",
        source=Source.WORKER,
        actor_text="Bob",
        address="203.0.113.9",
        request_id="a" * 32,
        reason="case 12",
        backend="embedded",
        model="yunet@49f000ec501f, sface@fb143eea0783",
        outcome=Outcome.DONE,
        threshold=0.4,
        confirm_threshold=0.5,
        space_version=7,
        enrolled_people=12,
        enrolled_pictures=31,
        digest="d" * 64,
    )
    recognition = Recognition.objects.create(
        call=call,
        position=0,
        name=f"photo{photo.pk}",
        photo=photo,
        gallery=photo.gallery,
        sha256=sha(SENT),
        width=64,
        height=48,
        status=0,
    )
    return Finding.objects.create(
        team=team,
        call=call,
        recognition=recognition,
        gallery=photo.gallery,
        position=0,
        told_id=person.person_id,
        person=person,
        similarity=0.812,
        confidence=0.97,
        runner_up=second.person_id,
        runner_up_similarity=0.301,
        matched_sha256=sha(ENROLLED),
        **BOX,
    )


def bytes_of(response: Any) -> bytes:
    """Of a picture that was let through."""
    assert response.status_code == 200
    return bytes(response.getvalue() if response.streaming else response.content)


def pictures_in(page: str) -> list[str]:
    return re.findall(r'<img[^>]* src="(/t/trip/media/evidence/[^"]+)"', page)


def test_it_says_what_was_compared_by_what_and_who_asked(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    page = sign_in(alice).get(url(finding)).text
    for text in (
        "Anna Petrova",
        "0.8120",
        "Bea Orlova",
        "0.3010",
        "0.5110",
        "0.40",
        "0.50",
        "Counted as a match",
        "sface@fb143eea0783",
        "version",
        "12",
        "31",
        "Bob",
        "203.0.113.9",
        "case 12",
        sha(SENT),
        sha(ENROLLED),
        "not sealed yet",
        "The bytes that were sent",
    ):
        assert text in page, text


def test_the_same_is_there_as_json(finding: Finding, alice: User, sign_in: SignIn) -> None:
    found = as_json(sign_in(alice), finding)
    assert found["answer"]["margin"] == 0.511
    assert found["answer"]["verdict"] == "match"
    assert found["sent"] == {
        "picture": "same",
        "sha256": sha(SENT),
        "sha256_now": sha(SENT),
        "erased_at": None,
    }
    assert found["matched"]["known"] == "picture"
    assert found["matched"]["pictures"][0]["sha256"] == sha(ENROLLED)
    assert found["judged_by"]["enrolled_people"] == 12
    assert found["asked"]["reason"] == "case 12"
    told = found["integrity"]
    assert (told["record"], told["record_is"], told["audit_entry"]) == ("d" * 64, "unknown", None)
    assert "when a picture was enrolled" in told["not_vouched_for"]


def test_its_pictures_are_the_face_as_it_was_sent_and_the_one_it_matched(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    face, sent, matched = pictures_in(client.get(url(finding)).text)
    assert bytes_of(client.get(sent)) == SENT
    assert bytes_of(client.get(matched)) == ENROLLED
    with Image.open(io.BytesIO(client.get(face).content)) as crop:
        red, _, blue = crop.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert red > 150 > blue


def test_its_pictures_are_shown_to_nobody_else_and_without_the_card_to_nobody(
    finding: Finding, alice: User, bob: User, charlie: User, sign_in: SignIn
) -> None:
    addresses = pictures_in(sign_in(alice).get(url(finding)).text)
    assert len(addresses) == 3
    for address in addresses:
        assert sign_in(bob).get(address).status_code == 404
        assert sign_in(charlie).get(address).status_code == 404
        assert sign_in(alice).get(address.partition("?")[0]).status_code == 404
        assert sign_in(alice).get(address + "x").status_code == 404
        assert Client().get(address)["Location"].startswith("/login/")
    another = pictures_in(sign_in(alice).get(url(finding)).text)[0]
    wrong = another.replace(f"/{finding.pk}/", f"/{finding.pk + 1}/")
    assert sign_in(alice).get(wrong).status_code == 404


def test_each_opening_is_in_the_audit_once(finding: Finding, alice: User, sign_in: SignIn) -> None:
    client = sign_in(alice)
    page = client.get(url(finding)).text
    for address in pictures_in(page):
        assert bytes_of(client.get(address))
    entries = AuditEntry.objects.filter(action="evidence.open")
    entry = entries.get()
    assert (entry.actor, entry.target_type, entry.target_id) == (
        alice,
        "call",
        str(finding.call_id),
    )
    assert entry.after["recognition"] == finding.recognition_id
    as_json(client, finding)
    assert entries.count() == 2


def test_an_auditor_sees_it_with_its_pictures_though_no_gallery(
    finding: Finding, audrey: User, sign_in: SignIn
) -> None:
    client = sign_in(audrey)
    page = client.get(url(finding)).text
    assert "Anna Petrova" in page
    for address in pictures_in(page):
        assert bytes_of(client.get(address))
    photo = finding.recognition.photo_id
    assert client.get(reverse("media_photo", args=["trip", photo, "sent"])).status_code == 404
    assert reverse("person", args=["trip", 0, finding.told_id]) not in page


def test_evidence_of_a_closed_gallery_is_not_there_for_who_is_not_in_it(
    finding: Finding, photo: Photo, bob: User, alice: User, audrey: User, sign_in: SignIn
) -> None:
    gallery = photo.gallery
    gallery.is_open = False
    gallery.save()
    assert sign_in(bob).get(url(finding)).status_code == 404
    assert sign_in(alice).get(url(finding)).status_code == 200
    assert sign_in(audrey).get(url(finding)).status_code == 200
    # Neither once the photo is gone, nor once it is elsewhere.
    Recognition.objects.update(photo=None)
    assert sign_in(bob).get(url(finding)).status_code == 404
    Recognition.objects.update(photo=photo)
    Finding.objects.update(gallery=GalleryFactory.create(team=gallery.team))
    assert sign_in(bob).get(url(finding)).status_code == 404
    GalleryMember.objects.create(gallery=gallery, user=bob, role=Role.VIEWER)
    assert sign_in(bob).get(url(finding)).status_code == 200


def test_a_picture_of_other_bytes_is_said_to_be_so(
    finding: Finding, photo: Photo, alice: User, sign_in: SignIn
) -> None:
    default_storage.save(photo.key("sent"), ContentFile(jpeg((1, 2, 3))))
    client = sign_in(alice)
    assert "Not the bytes that were sent" in client.get(url(finding)).text
    found = as_json(client, finding)["sent"]
    assert (found["picture"], found["sha256_now"]) == ("other", sha(jpeg((1, 2, 3))))


def test_an_erased_image_is_said_to_be_erased(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    when = timezone.now()
    Recognition.objects.update(erased_at=when, photo=None, sha256="")
    page = sign_in(alice).get(url(finding)).text
    assert "The picture was erased." in page
    assert len(pictures_in(page)) == 1


def test_a_picture_that_was_kept_is_shown_though_somebody_else_on_it_was_erased(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    Recognition.objects.update(erased_at=timezone.now())
    page = sign_in(alice).get(url(finding)).text
    assert "The picture was erased." not in page
    assert len(pictures_in(page)) == 3


def test_a_face_that_was_erased_is_said_to_be_erased_and_not_unknown(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    Call.objects.update(erased_at=timezone.now())
    Finding.objects.update(**NO_BOX)
    client = sign_in(alice)
    page = client.get(url(finding)).text
    assert "What this face was, and where it stood in the picture, was erased." in page
    for wrong in ("undefined", "nobody", "at 0, 0", "no photo of Rollcall", "0.000"):
        assert wrong not in page
    assert pictures_in(page) == []
    said = as_json(client, finding)
    assert said["sent"]["picture"] == "redacted"
    assert (said["matched"]["known"], said["answer"]["verdict"]) == ("redacted", "redacted")


def test_a_face_of_nobody_is_not_erased_because_somebody_else_on_the_picture_was(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    Call.objects.update(erased_at=timezone.now())
    Finding.objects.update(told_id=None, person=None)
    page = sign_in(alice).get(url(finding)).text
    assert "Counted as nobody" in page


def test_a_clients_picture_that_was_not_kept_is_said_to_be_so(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    Recognition.objects.update(photo=None, gallery=None, name="file")
    Finding.objects.update(gallery=None)
    client = sign_in(alice)
    assert "only its digest was written down" in client.get(url(finding)).text
    Recognition.objects.update(image="probes/one")
    assert "not there any more" in client.get(url(finding)).text
    default_storage.save("probes/one", ContentFile(SENT))
    assert as_json(client, finding)["sent"]["picture"] == "same"


def test_the_cloud_tells_neither_match_nor_runner_up_so_those_enrolled_then_are_shown(
    finding: Finding, person: Person, alice: User, sign_in: SignIn
) -> None:
    Call.objects.update(backend="cloud")
    Finding.objects.update(matched_sha256="", runner_up=None, runner_up_similarity=None)
    Enrolment.objects.create(person=person, state=EnrolmentState.QUEUED, sha256="q")
    later = Enrolment.objects.create(
        person=person, state=EnrolmentState.DONE, sha256="later", done_at=timezone.now()
    )
    client = sign_in(alice)
    page = client.get(url(finding)).text
    assert "Vision does not tell" in page
    assert "1 picture of this person was enrolled" in page
    found = as_json(client, finding)["matched"]
    assert found["known"] == "untold"
    assert [one["sha256"] for one in found["pictures"]] == [sha(ENROLLED)]
    assert later.pk not in [one["enrolment"] for one in found["pictures"]]


@pytest.mark.parametrize(
    ("similarity", "told", "verdict"),
    [(0.9, 1, "match"), (0.45, 1, "suggestion"), (0.39, 1, "below"), (0.2, None, "nobody")],
)
def test_it_is_judged_by_the_thresholds_of_then(
    finding: Finding, alice: User, sign_in: SignIn, similarity: float, told: Any, verdict: str
) -> None:
    finding.person.space.confirm_threshold = 0.99  # type: ignore[union-attr]
    finding.person.space.save()  # type: ignore[union-attr]
    Finding.objects.update(similarity=similarity, told_id=told)
    assert as_json(sign_in(alice), finding)["answer"]["verdict"] == verdict


def test_what_was_learned_has_no_picture(finding: Finding, alice: User, sign_in: SignIn) -> None:
    Finding.objects.update(matched_sha256="learned")
    assert "of which there is no picture" in sign_in(alice).get(url(finding)).text


def test_it_says_who_decided_what_since(
    finding: Finding, photo: Photo, person: Person, alice: User, bob: User, sign_in: SignIn
) -> None:
    face: Face = FaceFactory.create(photo=photo, person=person, **BOX)
    name_face(actor=Actor(bob, Source.PAGE), face=face, label="Galina")
    client = sign_in(alice)
    page = client.get(url(finding)).text
    assert re.search(r"<b>Bob</b> named\s+Galina", page)
    since = as_json(client, finding)["since"]
    assert [(one["by"], one["kind"], one["person"]) for one in since] == [("Bob", "name", "Galina")]


def test_what_was_decided_before_it_was_asked_is_told_apart(
    finding: Finding, photo: Photo, person: Person, bob: User, alice: User, sign_in: SignIn
) -> None:
    face: Face = FaceFactory.create(photo=photo, person=person, **BOX)
    name_face(actor=Actor(bob, Source.PAGE), face=face, label="Galina")
    Call.objects.update(started_at=timezone.now())
    client = sign_in(alice)
    page = " ".join(client.get(url(finding)).text.split())
    assert re.search(r"Before it was asked: [-\d: ]+ Bob named Galina\.", page)
    told = as_json(client, finding)
    assert [one["person"] for one in told["before"]] == ["Galina"]
    assert told["since"] == []


def test_the_role_is_the_one_of_then(
    finding: Finding, team: Team, alice: User, bob: User, sign_in: SignIn
) -> None:
    Call.objects.update(actor=bob)
    client = sign_in(alice)
    assert as_json(client, finding)["asked"]["role"] == Role.EDITOR
    membership = Membership.objects.get(user=bob)
    change_role(actor=Actor(alice, Source.PAGE), membership=membership, role=Role.VIEWER)
    assert as_json(client, finding)["asked"]["role"] == Role.EDITOR


def test_the_entry_in_the_chain_is_named(
    finding: Finding, team: Team, alice: User, sign_in: SignIn
) -> None:
    entry = AuditEntry.objects.create(
        team=team,
        source=Source.WORKER,
        action="call.recognize",
        target_type="call",
        target_id=str(finding.call_id),
        sequence=41,
        hash="e" * 64,
    )
    found = as_json(sign_in(alice), finding)["integrity"]
    assert found["audit_entry"] == entry.pk
    assert (found["sequence"], found["hash"]) == (41, "e" * 64)


def test_it_says_whether_the_record_is_what_the_audit_vouches_for(
    team: Team, alice: User, sign_in: SignIn
) -> None:
    """A call as the product writes it, sealed; then one of its rows altered by other hands."""
    space = team.spaces.get(number=5)
    persons = [{"tag": "person3", "coord": [1, 2, 9, 9], "similarity": 0.8, "confidence": 0.9}]
    body = {"objects": [{"status": 0, "name": "file", "persons": persons}]}
    answer = Answer(json.dumps({"status": 200, "body": body}).encode())
    call = call_log.begin(
        space=space,
        vision=Vision(),
        method=Method.RECOGNIZE,
        meta={},
        images=[call_log.Sent(VisionImage("file", b"x"))],
        origin=call_log.Origin(source=Source.CLIENT),
    )
    results = match_objects(["file"], parse(Method.RECOGNIZE, answer))
    call_log.end(call, answer, None, results)
    found = Finding.objects.get(call=call)
    client = sign_in(alice)
    assert as_json(client, found)["integrity"]["record_is"] == "whole"
    assert "not sealed yet" in client.get(url(found)).text
    while seal_audit():
        pass
    assert as_json(client, found)["integrity"]["sequence"] is not None
    assert "in the chain" in client.get(url(found)).text
    Finding.objects.filter(pk=found.pk).update(similarity=0.81)
    assert as_json(client, found)["integrity"]["record_is"] == "altered"
    assert "it was altered since" in client.get(url(found)).text


def test_the_call_page_leads_to_it(finding: Finding, alice: User, sign_in: SignIn) -> None:
    persons = [{"tag": f"person{finding.told_id}", "coord": [10, 8, 34, 38]}]
    Recognition.objects.update(result={"persons": persons})
    page = sign_in(alice).get(reverse("call", args=["trip", finding.call_id])).text
    assert f'href="{url(finding)}"' in page


def test_a_face_on_a_photo_leads_to_what_was_said_of_it_last(
    finding: Finding, photo: Photo, person: Person, alice: User, sign_in: SignIn
) -> None:
    face: Face = FaceFactory.create(
        photo=photo, person=person, recognition=finding.recognition, **BOX
    )
    client = sign_in(alice)
    address = reverse("face_evidence", args=["trip", face.pk])
    assert client.get(address)["Location"] == url(finding)
    assert address in client.get(reverse("photo", args=["trip", photo.pk])).text
    who = reverse("person", args=["trip", 0, person.person_id])
    assert address in client.get(who).text
    Face.objects.filter(pk=face.pk).update(recognition=None)
    assert client.get(address).status_code == 404


def test_there_is_none_of_a_face_that_is_not(
    finding: Finding, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    args = ["trip", finding.call_id, finding.recognition_id, 1]
    assert client.get(reverse("evidence", args=args)).status_code == 404
    args = ["trip", finding.call_id + 1, finding.recognition_id, 0]
    assert client.get(reverse("evidence", args=args)).status_code == 404
    assert not AuditEntry.objects.filter(action="evidence.open").exists()
