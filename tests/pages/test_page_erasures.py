"""Erasing a person on their page, its progress, the certificate, and the list of all erasures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from persons import pipeline
from persons.actions.erasing import erase_person
from persons.actions.holds import hold_person
from persons.actions.merging import merge_people
from persons.chain import signing
from persons.models import AuditEntry, Erasure, JobState, Person, Photo, Space, Team, User
from persons.vision.errors import VisionUnavailable
from tests.support.erasing import enrol, finish
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, by, use

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]

SignIn = Callable[[User], Client]


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def zoe(team: Team) -> Person:
    space = Space.objects.get(team=team, number=2)
    zoe = PersonFactory.create(space=space, label="Zoë Erased", notes="Sings")
    enrol(zoe, b"a picture of zoe")
    gallery = GalleryFactory.create(team=team, space=space)
    for _ in range(2):
        FaceFactory.create(photo=PhotoFactory.create(gallery=gallery), person=zoe)
    shared = Photo.objects.latest("pk")
    ann = PersonFactory.create(space=space, label="Ann Stays")
    FaceFactory.create(photo=shared, person=ann, left=40, right=60)
    return zoe


@pytest.fixture
def certified(zoe: Person, alice: User, vision: FakeVision) -> Erasure:
    return finish(erase_person(actor=by(alice), person=zoe, reason="Asked by letter"))


def start_of(person: Person) -> str:
    space = person.space
    return f"/t/{space.team.slug}/spaces/{space.number}/people/{person.person_id}/erase"


def url(erasure: Erasure, rest: str = "") -> str:
    return f"/t/{erasure.team.slug}/erasures/{erasure.reference}/{rest}"


FORM = {"photos": "keep", "reason": "", "name": "Zoë Erased"}


# --- Beginning ---


def test_an_owner_finds_the_way_on_the_persons_page_and_nobody_else(
    zoe: Person, alice: User, bob: User, sign_in: SignIn
) -> None:
    page = start_of(zoe).removesuffix("erase")
    assert start_of(zoe) in sign_in(alice).get(page).text
    assert start_of(zoe) not in sign_in(bob).get(page).text


def test_the_page_says_what_goes_and_what_is_out_of_reach(
    zoe: Person, alice: User, sign_in: SignIn
) -> None:
    zoe_too = PersonFactory.create(space=Space.objects.get(team=zoe.space.team, number=5))
    enrol(zoe_too, b"a picture of zoe")
    Photo.objects.filter(faces__person=zoe).update(file_name="Zoë Erased at sea.jpg")
    text = sign_in(alice).get(start_of(zoe)).text
    for words in (
        "Erase Zoë Erased?",
        "<strong>1 enrolment</strong>",
        "<strong>2 faces</strong> on <strong>2 photos</strong>",
        "delete person1",
        "Delete the 1 on which nobody else is known",
        "Delete all 2",
        "No snapshot of this space is kept here",
        "<strong>2 other texts</strong> may name them",
        f"{zoe_too.name}</a> in space 5",
        "Backups that were made before",
    ):
        assert words in text, words


def test_a_typed_name_begins_it_and_leads_to_how_far_it_is(
    zoe: Person, alice: User, sign_in: SignIn
) -> None:
    response = sign_in(alice).post(start_of(zoe), FORM | {"photos": "alone"}, follow=True)
    erasure = Erasure.objects.get()
    assert response.redirect_chain[-1][0] == url(erasure)
    assert (erasure.photos, erasure.requested_by, erasure.person_id) == ("alone", alice, 1)
    assert "They are being erased" in response.text and "step 1 of" in response.text
    entry = AuditEntry.objects.get(action="person.erase")
    assert entry.request_id and entry.actor == alice and entry.source == "page"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "Zoe"}, "Type “Zoë Erased”"),
        ({"name": ""}, "Type “Zoë Erased”"),
        ({"photos": ""}, "what shall become of the photos"),
        ({"photos": "some"}, "what shall become of the photos"),
        ({"reason": "Zoë Erased wants it"}, "must not name them"),
        ({"reason": "x" * 501}, "at most 500"),
    ],
)
def test_a_form_that_is_not_in_order_begins_nothing(
    zoe: Person, alice: User, sign_in: SignIn, changed: dict[str, str], words: str
) -> None:
    response = sign_in(alice).post(start_of(zoe), FORM | changed)
    assert response.status_code == 422 and words in response.text
    assert not Erasure.objects.exists()
    zoe.refresh_from_db()
    assert zoe.label == "Zoë Erased"


def test_a_hold_is_told_and_leaves_no_form(zoe: Person, alice: User, sign_in: SignIn) -> None:
    hold_person(actor=by(alice), person=zoe, reason="Case 7")
    text = sign_in(alice).get(start_of(zoe)).text
    assert "legal hold" in text and 'name="photos"' not in text
    assert sign_in(alice).post(start_of(zoe), FORM).status_code == 422


def test_who_was_merged_is_offered_as_whom_they_are(
    zoe: Person, alice: User, sign_in: SignIn
) -> None:
    ann = Person.objects.get(label="Ann Stays")
    merge_people(actor=by(alice), person=ann, into=zoe)
    response = sign_in(alice).get(start_of(ann))
    assert "Ann Stays is Zoë Erased" in response.text and start_of(zoe) in response.text
    assert sign_in(alice).post(start_of(ann), FORM | {"name": "Ann Stays"}).status_code == 200
    assert not Erasure.objects.exists()


@pytest.mark.parametrize(
    ("who", "status"), [("bob", 403), ("vera", 403), ("audrey", 403), ("charlie", 404)]
)
def test_only_an_owner_may_begin_one(
    zoe: Person, sign_in: SignIn, request: pytest.FixtureRequest, who: str, status: int
) -> None:
    client = sign_in(request.getfixturevalue(who))
    assert client.get(start_of(zoe)).status_code == status
    assert client.post(start_of(zoe), FORM).status_code == status
    assert not Erasure.objects.exists()


def test_other_methods_and_people_who_are_not_there(
    zoe: Person, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    assert client.delete(start_of(zoe)).status_code == 405
    assert client.get(start_of(zoe).replace("/1/", "/999/")).status_code == 404
    assert Client().get(start_of(zoe)).status_code == 302
    erase_person(actor=by(alice), person=zoe)
    assert client.get(start_of(zoe)).status_code == 404
    assert client.get(start_of(zoe).removesuffix("erase")).status_code == 404


# --- How far it is ---


def test_the_page_follows_it_and_becomes_the_certificate(
    zoe: Person, alice: User, vision: FakeVision, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    erasure = erase_person(actor=by(alice), person=zoe)
    htmx: Any = {"HX-Request": "true", "HX-Target": "erasure-live"}
    vision.script.extend([VisionUnavailable("The circuit is open")] * 9)
    for _ in range(9):
        Erasure.objects.update(after=timezone.now())
        pipeline.erase(erasure.pk)
    text = client.get(url(erasure), headers=htmx).text
    assert "Telling Vision to forget them" in text and "The circuit is open" in text
    assert "what needs no Vision is gone already" in text and "hx-get" in text
    vision.script.clear()
    assert client.post(url(erasure, "retry")).status_code == 303
    finish(erasure)
    assert client.get(url(erasure), headers=htmx).headers["HX-Refresh"] == "true"
    assert "Certificate of erasure" in client.get(url(erasure)).text


def test_one_that_can_not_go_on_says_why_and_can_be_gone_on_with(
    zoe: Person, alice: User, audrey: User, sign_in: SignIn
) -> None:
    erasure = erase_person(actor=by(alice), person=zoe)
    Erasure.objects.update(state=JobState.FAILED, error="Vision still recognises them")
    text = sign_in(alice).get(url(erasure)).text
    assert "Vision still recognises them" in text and "Go on" in text
    assert "Go on" not in sign_in(audrey).get(url(erasure)).text
    assert sign_in(audrey).post(url(erasure, "retry")).status_code == 403
    assert sign_in(alice).get(url(erasure, "retry")).status_code == 405
    assert sign_in(alice).post(url(erasure, "retry")).status_code == 303
    erasure.refresh_from_db()
    assert erasure.state == JobState.QUEUED
    assert AuditEntry.objects.filter(action="erasure.retry").exists()


# --- The certificate ---


def test_the_certificate_says_everything_and_names_nobody(
    certified: Erasure, alice: User, sign_in: SignIn
) -> None:
    text = sign_in(alice).get(url(certified)).text
    for words in (
        "person1",
        certified.reference,
        "Asked by letter",
        "2 faces",
        "1 enrolment",
        "named nobody",
        "Signed by this Rollcall",
        "Kept; their faces on them",
        certified.signature,
    ):
        assert words in text, words
    assert "Zo" not in text and "Sings" not in text
    assert "2 of the photos they are on, which were kept" in text


def test_its_file_can_be_checked_elsewhere(
    certified: Erasure, alice: User, sign_in: SignIn
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    response = sign_in(alice).get(url(certified, "certificate.json"))
    assert "attachment" in response["Content-Disposition"]
    told = json.loads(response.text)
    text = json.dumps(
        told["certificate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["public_key"]))
    public.verify(bytes.fromhex(told["signature"]), text.encode())
    assert told["certificate"] == certified.certificate


def test_one_that_was_altered_is_seen_to_be(
    certified: Erasure, alice: User, sign_in: SignIn
) -> None:
    Erasure.objects.update(certificate=certified.certificate | {"person": 2})
    assert "The signature does not fit" in sign_in(alice).get(url(certified)).text


def test_after_its_time_there_is_none(certified: Erasure, alice: User, sign_in: SignIn) -> None:
    Erasure.objects.update(keep_until=timezone.now())
    pipeline.sweep()
    assert "deleted" in sign_in(alice).get(url(certified)).text
    assert sign_in(alice).get(url(certified, "certificate.json")).status_code == 404


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("who", "status"),
    [("alice", 200), ("audrey", 200), ("bob", 403), ("vera", 403), ("charlie", 404)],
)
def test_owners_and_auditors_read_them(
    certified: Erasure,
    sign_in: SignIn,
    request: pytest.FixtureRequest,
    who: str,
    status: int,
) -> None:
    client = sign_in(request.getfixturevalue(who))
    listed = f"/t/{certified.team.slug}/erasures/"
    for address in (listed, url(certified), url(certified, "certificate.json")):
        assert client.get(address).status_code == status, address
        assert client.post(address).status_code == 405
        assert Client().get(address).status_code == 302
    if status == 200:
        assert certified.reference in client.get(listed).text


def test_a_list_of_many_asks_no_more_often(
    certified: Erasure,
    alice: User,
    sign_in: SignIn,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    client = sign_in(alice)
    address = f"/t/{certified.team.slug}/erasures/"
    for number in range(40):
        Erasure.objects.create(
            team=certified.team, number=1, person_id=number, reference=f"R-{number}"
        )
    with django_assert_max_num_queries(12):
        text = client.get(address).text
    assert text.count("of space 1") == 30 and "Older" in text


def test_an_erased_face_is_told_as_such_and_has_no_picture(
    certified: Erasure, alice: User, sign_in: SignIn
) -> None:
    photo = Photo.objects.order_by("pk").first()
    assert photo is not None
    client = sign_in(alice)
    text = client.get(f"/t/{certified.team.slug}/photos/{photo.pk}/").text
    assert "Somebody who was erased" in text
    face = photo.faces.get()
    response = client.get(f"/t/{certified.team.slug}/media/face/{face.pk}")
    assert response.status_code == 404


# --- The command ---


@pytest.mark.thorough
def test_the_command_erases_and_writes_the_certificate(
    zoe: Person, vision: FakeVision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "certificate.json"
    call_command(
        "erase_person",
        *("--team", "trip", "--space", "2", "--person", "1", "--out", str(out)),
        *("--photos", "delete", "--reason", "By letter"),
    )
    told = json.loads(out.read_text(encoding="utf-8"))
    assert signing.verify(told["certificate"], told["key"], told["signature"])
    assert told["certificate"]["asked_by"] == "manage.py erase_person"
    assert told["certificate"]["photos"] == "all" and not Photo.everything.exists()
    assert not Person.objects.filter(person_id=1).exists()
    assert told["certificate"]["reference"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--team", "trip", "--space", "2", "--person", "77"), "Nobody in space 2"),
        (("--team", "none", "--space", "2", "--person", "1"), "no team"),
    ],
)
def test_the_command_says_what_is_wrong(
    zoe: Person, tmp_path: Path, asked: tuple[str, ...], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("erase_person", *asked, "--out", str(tmp_path / "certificate.json"))
    assert not list(tmp_path.iterdir())


def test_the_command_is_refused_by_a_hold(zoe: Person, alice: User, tmp_path: Path) -> None:
    hold_person(actor=by(alice), person=zoe, reason="Case 7")
    with pytest.raises(CommandError, match="legal hold"):
        call_command(
            "erase_person",
            *("--team", "trip", "--space", "2", "--person", "1"),
            *("--out", str(tmp_path / "certificate.json")),
        )
    assert Person.objects.filter(label="Zoë Erased").exists()
