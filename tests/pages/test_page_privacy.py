"""The privacy page, and the rights on a person's page: who may see and who may change them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from persons.actions.consent import ConsentTerms, record_consent
from persons.actions.holds import hold_gallery, hold_person, release_hold
from persons.models import (
    Call,
    Consent,
    Enrolment,
    Gallery,
    LegalHold,
    Person,
    Photo,
    Recognition,
    Space,
    Team,
    User,
)
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import by, entries

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
PAGE = "/t/trip/privacy/"


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake", name="Lake")
    return found


@pytest.fixture
def space(gallery: Gallery) -> Space:
    Space.objects.filter(pk=gallery.space_id).update(require_consent=True)
    return Space.objects.get(pk=gallery.space_id)


@pytest.fixture
def ada(space: Space) -> Person:
    found: Person = PersonFactory.create(space=space, label="Ada")
    Enrolment.objects.create(person=found, state="waiting", sha256="1" * 64)
    return found


def page_of(person: Person) -> str:
    return f"/t/trip/spaces/{person.space.number}/people/{person.person_id}/"


def consent_of(user: User, person: Person, days: int | None = None) -> Consent:
    now = timezone.now()
    until = now + timedelta(days=days) if days else None
    given = ConsentTerms("Photos of the club", "Form 7", now - timedelta(days=1), until)
    return record_consent(actor=by(user), person=person, given=given)


def text(response: object) -> str:
    return response.content.decode()  # type: ignore[attr-defined, no-any-return]


# --- Who may ---

WRITES = [
    ("retention", []),
    ("gallery_hold", []),
    ("hold_release", ["hold"]),
    ("person_hold", ["number", "person"]),
]


@pytest.mark.parametrize(("name", "what"), WRITES)
def test_only_owners_set_rules_and_holds(
    sign_in: SignIn,
    everyone: dict[str, User],
    gallery: Gallery,
    ada: Person,
    name: str,
    what: list[str],
) -> None:
    alice = everyone["alice"]
    hold = hold_gallery(actor=by(alice), gallery=gallery, reason="Case 1")
    known = {"hold": hold.pk, "number": ada.space.number, "person": ada.person_id}
    address = reverse(name, args=["trip", *(known[one] for one in what)])
    said = {"reason": "Case 2", "gallery": "lake", "trash_days": "20"}
    assert sign_in(everyone["charlie"]).post(address, said).status_code == 404
    assert sign_in(everyone["vera"]).post(address, said).status_code == 403
    assert sign_in(everyone["bob"]).post(address, said).status_code == 403
    assert sign_in(everyone["audrey"]).post(address, said).status_code in (403, 404)
    assert Client().post(address, said)["Location"].startswith("/login/")
    assert sign_in(alice).get(address).status_code == 405
    assert LegalHold.objects.in_force().count() == 1
    assert Team.objects.get(slug="trip").trash_days == 30
    assert sign_in(alice).post(address, said).status_code == 303


def test_editors_record_and_withdraw_consents_and_others_do_not(
    sign_in: SignIn, alice: User, bob: User, vera: User, audrey: User, charlie: User, ada: Person
) -> None:
    record = f"{page_of(ada)}consent"
    said = {"purpose": "Photos of the club", "document": "Form 7", "given": "2026-01-02"}
    for user, status in ((charlie, 404), (audrey, 404), (vera, 403)):
        assert sign_in(user).post(record, said).status_code == status
    assert not Consent.objects.exists()
    assert sign_in(bob).get(record).status_code == 405
    response = sign_in(bob).post(record, said | {"until": "2099-12-31"})
    assert response.status_code == 303
    row = Consent.objects.get()
    assert (row.purpose, row.document, row.recorded_by) == ("Photos of the club", "Form 7", bob)
    assert row.is_in_force
    withdraw = f"/t/trip/consents/{row.pk}/withdraw"
    for user, status in ((charlie, 404), (audrey, 404), (vera, 403)):
        assert sign_in(user).post(withdraw).status_code == status
    assert sign_in(bob).get(withdraw).status_code == 405
    assert sign_in(bob).post(withdraw).status_code == 303
    row.refresh_from_db()
    assert row.withdrawn_by == bob
    assert len(entries(ada.space.team, "consent.withdraw")) == 1


@pytest.mark.parametrize("said", [{"given": "2026-01-02"}, {"purpose": "x", "given": "no day"}])
def test_a_consent_without_purpose_or_day_is_refused(
    sign_in: SignIn, bob: User, ada: Person, said: dict[str, str]
) -> None:
    response = sign_in(bob).post(f"{page_of(ada)}consent", said, headers={"HX-Request": "true"})
    assert response.status_code == 422
    assert not Consent.objects.exists()


def test_everybody_of_the_team_reads_the_page_and_strangers_do_not(
    sign_in: SignIn, alice: User, bob: User, vera: User, audrey: User, charlie: User, ada: Person
) -> None:
    hold_person(actor=by(alice), person=ada, reason="Case 12")
    for user in (alice, bob, vera, audrey):
        shown = text(sign_in(user).get(PAGE))
        assert "Case 12" in shown
        assert ("Release the hold" in shown) == (user == alice)
        assert (f'href="{page_of(ada)}"' in shown) == (user != audrey)
        assert ('name="trash_days"' in shown) == (user == alice)
    assert sign_in(charlie).get(PAGE).status_code == 404
    assert sign_in(charlie).get(f"{PAGE}due").status_code == 404
    assert sign_in(alice).post(PAGE).status_code == 405
    assert sign_in(alice).post(f"{PAGE}due").status_code == 405
    assert Client().get(PAGE)["Location"].startswith("/login/")


def test_a_hold_on_a_closed_gallery_is_told_only_to_those_who_see_it(
    sign_in: SignIn, alice: User, bob: User, audrey: User, gallery: Gallery
) -> None:
    Gallery.objects.filter(pk=gallery.pk).update(is_open=False)
    hold = hold_gallery(actor=by(alice), gallery=gallery, reason="A secret case")
    for user, is_told in ((alice, True), (bob, False), (audrey, True)):
        assert ("A secret case" in text(sign_in(user).get(PAGE))) == is_told
    release_hold(actor=by(alice), hold=hold, reason="Closed")
    assert "A secret case" not in text(sign_in(bob).get(PAGE))


def test_only_owners_see_what_would_be_removed(
    sign_in: SignIn, bob: User, audrey: User, gallery: Gallery
) -> None:
    for user in (bob, audrey):
        assert sign_in(user).get(f"{PAGE}due").status_code == 403
        assert "next run" not in text(sign_in(user).get(f"{PAGE}?preview=1"))


# --- Retention ---


def test_the_preview_tells_what_typed_days_would_remove(
    sign_in: SignIn, alice: User, gallery: Gallery
) -> None:
    face = FaceFactory.create(photo__gallery=gallery)
    type(face).everything.update(created_at=timezone.now() - timedelta(days=50))
    client = sign_in(alice)
    typed = {"unknown_days": "30", "trash_days": "30"}
    shown = text(client.get(f"{PAGE}due", typed))
    assert "1</b> face without a name" in shown
    assert "With these days the next run would remove" in shown
    assert "removes nothing" in text(client.get(f"{PAGE}due", typed | {"unknown_days": "60"}))
    # Without scripts the page itself says it.
    assert "1</b> face without a name" in text(client.get(PAGE, typed))
    client.post(f"{PAGE}retention", typed)
    team = Team.objects.get(slug="trip")
    assert (team.unknown_days, team.probe_days, team.history_days) == (30, None, None)
    shown = text(client.get(f"{PAGE}due"))
    assert "The next run removes" in shown


def test_days_that_are_none_are_refused_with_what_was_typed(sign_in: SignIn, alice: User) -> None:
    response = sign_in(alice).post(f"{PAGE}retention", {"trash_days": "0", "probe_days": "x"})
    assert response.status_code == 422
    shown = text(response)
    assert 'value="0"' in shown
    assert 'aria-invalid="true"' in shown


# --- Consents and holds ---


def test_the_page_lists_who_lacks_a_consent_and_whose_ends_soon(
    sign_in: SignIn, vera: User, bob: User, space: Space, ada: Person
) -> None:
    bea = PersonFactory.create(space=space, label="Bea")
    Enrolment.objects.create(person=bea, state="done", sha256="2" * 64)
    consent_of(bob, bea, days=10)
    shown = text(sign_in(vera).get(PAGE))
    assert shown.index("Without one") < shown.index("Ada") < shown.index("Ends within 30 days")
    assert shown.index("Ends within 30 days") < shown.index("Bea")


def test_a_space_s_policy_says_beforehand_how_many_lack_one(
    sign_in: SignIn, alice: User, gallery: Gallery
) -> None:
    person = PersonFactory.create(space=gallery.space)
    Enrolment.objects.create(person=person, state="done", sha256="1" * 64)
    client = sign_in(alice)
    address = f"/t/trip/spaces/{gallery.space.number}/?view=policy"
    assert "1 enrolled person has no consent on record" in text(client.get(address))
    values = {"threshold": "0.4", "confirm_threshold": "0.5", "searcher": "0"}
    both = values | {"require_consent": "on", "create_new": "on"}
    assert client.post(address, both).status_code == 422
    assert client.post(address, values | {"require_consent": "on"}).status_code == 303
    assert Space.objects.get(pk=gallery.space_id).require_consent
    assert "1 person waits for a consent" in text(client.get(address))


def test_holds_show_on_the_person_the_gallery_and_the_trash(
    sign_in: SignIn, alice: User, bob: User, gallery: Gallery, ada: Person
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    hold_person(actor=by(alice), person=ada, reason="Case 12")
    hold_gallery(actor=by(alice), gallery=gallery, reason="Case 13")
    client = sign_in(bob)
    assert "Case 12" in text(client.get(page_of(ada)))
    assert "Case 13" in text(client.get("/t/trip/g/lake/"))
    Photo.objects.filter(pk=photo.pk).update(trashed_at=timezone.now())
    assert "Legal hold" in text(client.get("/t/trip/trash/"))
    response = sign_in(alice).post("/t/trip/trash/empty", {"sure": "yes"}, follow=True)
    assert "Everything in the trash is under legal hold" in text(response)


def test_a_waiting_picture_says_what_it_waits_for(sign_in: SignIn, bob: User, ada: Person) -> None:
    shown = text(sign_in(bob).get(f"{page_of(ada)}?view=enrolments"))
    assert "Waits for consent" in shown
    assert "Not enrolled: waits for a consent" in shown
    assert "Record a consent" in shown


def test_the_page_asks_no_more_of_many_than_of_few(
    sign_in: SignIn,
    alice: User,
    bob: User,
    space: Space,
    ada: Person,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    client = sign_in(alice)

    def more(count: int) -> None:
        for number in range(count):
            person = PersonFactory.create(space=space)
            Enrolment.objects.create(person=person, state="waiting", sha256="3" * 64)
            other = PersonFactory.create(space=space)
            consent_of(bob, other, days=3)
            if number % 2:
                hold_person(actor=by(alice), person=other, reason="Case")

    with django_assert_max_num_queries(40) as few:
        client.get(PAGE)
    more(20)
    with django_assert_max_num_queries(40) as many:
        client.get(PAGE)
    assert len(many) <= len(few) + 3


# --- The report ---


def a_call(space: Space, person: Person) -> Recognition:
    call = Call.objects.create(
        team=space.team,
        space=space,
        method="set",
        source="client",
        backend="fake",
        actor_text="key door",
        address="192.0.2.9",
    )
    return Recognition.objects.create(
        call=call, position=0, name="ada.jpg", person_id=person.person_id, status=0
    )


def test_only_owners_have_a_report_made_and_it_is_audited(
    sign_in: SignIn, alice: User, bob: User, vera: User, audrey: User, charlie: User, ada: Person
) -> None:
    for address in (f"{page_of(ada)}report", f"{page_of(ada)}report.json"):
        for user, status in ((charlie, 404), (audrey, 404), (vera, 403), (bob, 403)):
            assert sign_in(user).get(address).status_code == status
        assert sign_in(alice).post(address).status_code == 405
    assert not entries(ada.space.team, "person.report")
    sign_in(alice).get(f"{page_of(ada)}report")
    (entry,) = entries(ada.space.team, "person.report")
    assert (entry.target_text, entry.after) == ("Ada", {"file": False})


def test_a_team_that_demands_reasons_for_exports_demands_one_here(
    sign_in: SignIn, alice: User, ada: Person
) -> None:
    Team.objects.update(require_reasons=["export"])
    client = sign_in(alice)
    client.get(f"{page_of(ada)}report.json")
    assert not entries(ada.space.team, "person.report")
    response = client.get(
        f"{page_of(ada)}report.json",
        headers={"Accept": "application/json", "X-Rollcall-Reason": "She asked for it"},
    )
    assert response.status_code == 200
    (entry,) = entries(ada.space.team, "person.report")
    assert entry.reason == "She asked for it"


def test_the_report_holds_what_is_stored(
    sign_in: SignIn, alice: User, bob: User, gallery: Gallery, space: Space, ada: Person
) -> None:
    from persons.actions.people import merge_people, rename_person

    twin = PersonFactory.create(space=space, label="Twin")
    face = FaceFactory.create(photo__gallery=gallery, person=ada, decision="named")
    trashed = FaceFactory.create(photo__gallery=gallery, person=twin)
    type(face).everything.filter(pk=trashed.pk).update(trashed=True)
    consent_of(bob, ada)
    hold_person(actor=by(alice), person=ada, reason="Case 12")
    rename_person(actor=by(bob), person=ada, label="Ada L.")
    merge_people(actor=by(bob), person=twin, into=ada)
    a_call(space, ada)
    client = sign_in(alice)
    response = client.get(f"{page_of(ada)}report.json")
    assert response["Content-Type"] == "application/json"
    import json

    told = json.loads(b"".join(response.streaming_content))  # type: ignore[attr-defined]
    assert told["person"]["name"] == "Ada L."
    assert told["person"]["names_before"] == ["Ada"]
    assert [one["name"] for one in told["person"]["merged"]] == ["Twin"]
    assert told["legal_hold"] == "Case 12"
    assert [one["to"] for one in told["consents"]] == ["Photos of the club"]
    assert {one["number"] for one in told["faces"]} == {face.pk, trashed.pk}
    assert len(told["enrolments"]) >= 1
    assert [one["address"] for one in told["requests"]] == ["192.0.2.9"]
    assert {"person.rename", "consent.record", "hold.set"} <= {one["what"] for one in told["audit"]}
    shown = text(client.get(f"{page_of(ada)}report"))
    for words in (
        "Ada L.",
        "Names before",
        "Case 12",
        "Photos of the club",
        "Form 7",
        "ada.jpg",
        "Recorded a consent of",
    ):
        assert words in shown


def test_a_report_on_many_faces_is_paged_and_streamed(
    sign_in: SignIn,
    alice: User,
    gallery: Gallery,
    ada: Person,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    photo = PhotoFactory.create(gallery=gallery)
    client = sign_in(alice)
    FaceFactory.create(photo=photo, person=ada)
    with django_assert_max_num_queries(60) as few:
        client.get(f"{page_of(ada)}report")
    faces = [FaceFactory.build(photo=photo, person=ada, found_person=ada) for _ in range(150)]
    for face in faces:
        face.space, face.gallery = gallery.space, gallery
    type(faces[0]).objects.bulk_create(faces)
    with django_assert_max_num_queries(60) as many:
        shown = text(client.get(f"{page_of(ada)}report"))
    assert len(many) <= len(few) + 1
    assert "?part=faces" in shown
    first = text(client.get(f"{page_of(ada)}report?part=faces"))
    assert first.count("media/face/") == 100
    assert client.get(f"{page_of(ada)}report?part=nothing").status_code == 400


# --- Pictures of faces that are forgotten ---


def test_a_forgotten_face_is_cut_for_who_looks_and_kept_nowhere(
    sign_in: SignIn, bob: User, gallery: Gallery
) -> None:
    face = FaceFactory.create(photo__gallery=gallery, photo__with_file=True)
    with default_storage.open(face.photo.original) as file:
        default_storage.save(face.photo.key("large"), ContentFile(file.read()))
    address = reverse("media_face", args=["trip", face.pk])
    client = sign_in(bob)
    type(face).objects.update(forgotten_at=timezone.now())
    response = client.get(address)
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert not default_storage.exists(f"crops/{gallery.team_id}")
    # Once it has a name, it is a picture like any other.
    type(face).objects.update(person=PersonFactory.create(space=gallery.space, label="Ada"))
    client.get(address).close()
    assert default_storage.exists(f"crops/{gallery.team_id}")
