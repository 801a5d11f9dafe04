"""Snapshots of a space, and emptying and restoring it, on its page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django import DjangoAssertNumQueries, Settings

from persons.backends import cloud
from persons.files.storage import stored
from persons.models import (
    AuditEntry,
    Enrolment,
    EnrolmentState,
    Person,
    Space,
    SpaceJob,
    Team,
    User,
)
from persons.models.work import JobState
from persons.pipeline.spaces.snapshots import opened
from persons.vision.tokens import Secret
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory
from tests.support.fakes import FakeVision, use
from tests.support.spaces import enrolled, ledger_of, run, snapshot_of, truncated

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> FakeVision:
    return use(monkeypatch, FakeVision())


@pytest.fixture
def space(team: Team) -> Space:
    space = team.spaces.get(number=3)
    Space.objects.filter(pk=space.pk).update(name="Front door")
    for label in ("Anna", "Boris"):
        enrolled(PersonFactory.create(space=space, label=label), label.encode())
    space.refresh_from_db()
    return space


def url(space: Space, rest: str = "?view=snapshots") -> str:
    return f"/t/{space.team.slug}/spaces/{space.number}/{rest}"


def upload(data: bytes, name: str = "door.zip") -> dict[str, Any]:
    return {"file": SimpleUploadedFile(name, data, "application/zip")}


def bytes_of(job: SpaceJob) -> bytes:
    with stored(job.file) as file:
        return file.read()


# --- The list ---


def test_an_owner_takes_a_snapshot_and_finds_it_in_the_list(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    client = sign_in(alice)
    assert "No snapshot yet" in client.get(url(space)).text
    page = client.post(url(space, "snapshots/take"), follow=True).text
    assert "The snapshot is being written" in page
    assert "Writing a snapshot" in page
    run(SpaceJob.objects.get())
    page = client.get(url(space)).text
    for text in ("2 people, 2 pictures", "by Alice", "Restore…", "Download", "Empty…"):
        assert text in page
    assert "Writing a snapshot" not in page


def test_a_viewer_sees_them_and_can_do_nothing(
    space: Space, alice: User, vera: User, audrey: User, sign_in: SignIn
) -> None:
    job = snapshot_of(space, alice)
    for user in (vera, audrey):
        client = sign_in(user)
        page = client.get(url(space)).text
        assert "2 people, 2 pictures" in page
        for text in ("Take a snapshot", "Restore…", "/download", "Empty…", "Bring one in"):
            assert text not in page
        assert client.get(url(space, f"snapshots/{job.pk}/download")).status_code == 403
    assert not AuditEntry.objects.filter(action="snapshot.download").exists()


def test_a_download_is_the_file_and_is_in_the_audit(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    job = snapshot_of(space, alice)
    client = sign_in(alice)
    address = url(space, f"snapshots/{job.pk}/download")
    # A link that says `download` would save the question for a reason as a file.
    assert f'href="{address}" title="Download"' in client.get(url(space)).text
    response = client.get(address)
    data = b"".join(response.streaming_content)  # type: ignore[attr-defined]
    assert data == bytes_of(job)
    assert response["Content-Type"] == "application/zip"
    assert response["Content-Disposition"].startswith('attachment; filename="trip-space-3-20')
    assert "no-store" in response["Cache-Control"]
    entry = AuditEntry.objects.get(action="snapshot.download")
    assert (entry.actor, entry.target_id) == (alice, str(job.pk))


def test_behind_nginx_the_file_is_sent_by_it(
    space: Space, alice: User, sign_in: SignIn, settings: Settings
) -> None:
    settings.X_ACCEL_PREFIX = "/protected/"
    job = snapshot_of(space, alice)
    response = sign_in(alice).get(url(space, f"snapshots/{job.pk}/download"))
    assert response["X-Accel-Redirect"] == f"/protected/{job.file}"
    assert response.content == b""


def test_a_snapshot_of_another_space_is_not_found_under_this_one(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    job = snapshot_of(space, alice)
    other = space.team.spaces.get(number=6)
    assert sign_in(alice).get(url(other, f"snapshots/{job.pk}/restore")).status_code == 404


def test_a_deleted_one_is_gone_from_the_list(space: Space, alice: User, sign_in: SignIn) -> None:
    job = snapshot_of(space, alice)
    client = sign_in(alice)
    page = client.post(url(space, f"snapshots/{job.pk}/delete"), follow=True).text
    assert "The snapshot is deleted" in page
    assert "No snapshot yet" in page
    assert client.get(url(space, f"snapshots/{job.pk}/download")).status_code == 404


@pytest.mark.parametrize("count", [1, 15])
def test_the_list_asks_the_same_number_of_queries_for_any_number(
    space: Space,
    alice: User,
    sign_in: SignIn,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for kind in (SpaceJob.Kind.SNAPSHOT, SpaceJob.Kind.RESTORE):
        SpaceJob.objects.bulk_create(
            SpaceJob(
                team=space.team,
                space=space,
                kind=kind,
                state=JobState.DONE,
                file="one.zip",
                requested_by=alice,
                finished_at=timezone.now(),
            )
            for _ in range(count)
        )
    client = sign_in(alice)
    with django_assert_num_queries(11):
        client.get(url(space))


# --- Uploading ---


def test_an_uploaded_snapshot_is_looked_through_first(
    space: Space, alice: User, sign_in: SignIn, vision: FakeVision
) -> None:
    data = bytes_of(snapshot_of(space, alice))
    other = space.team.spaces.get(number=6)
    client = sign_in(alice)
    page = client.post(url(other, "snapshots/upload"), upload(data), follow=True).text
    assert "Looking through an uploaded snapshot" in page
    job = run(SpaceJob.objects.get(space=other))
    page = client.get(url(other)).text
    assert "door.zip" in page
    assert "Of team trip, space 3 (Front door)" in page
    assert f"snapshots/{job.pk}/restore" in page


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_no_snapshot_is_refused_in_words(
    space: Space, alice: User, sign_in: SignIn, data: bytes
) -> None:
    page = sign_in(alice).post(url(space, "snapshots/upload"), upload(data), follow=True).text
    assert ("it is no zip" in page) or ("Choose a snapshot file first" in page)
    assert not SpaceJob.objects.exists()


def test_a_file_beyond_the_limit_is_refused_unread(
    space: Space, alice: User, sign_in: SignIn, settings: Settings
) -> None:
    settings.SNAPSHOT_MAX_BYTES = 1000
    client = sign_in(alice)
    for size in (2000, 2_000_000):
        page = client.post(url(space, "snapshots/upload"), upload(bytes(size)), follow=True).text
        assert "This file is too large" in page
    assert not SpaceJob.objects.exists()


def test_without_the_check_for_forgery_nothing_is_uploaded(space: Space, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post(url(space, "snapshots/upload"), upload(b"PK")).status_code == 403


# --- Emptying ---


def test_emptying_says_what_goes_and_wants_the_name_typed(
    space: Space, alice: User, sign_in: SignIn, vision: FakeVision
) -> None:
    client = sign_in(alice)
    page = client.get(url(space, "truncate")).text
    for text in ("2 enrolled pictures", "2 people", "What stays", "Front door"):
        assert text in page
    refused = client.post(url(space, "truncate"), {"name": "Back door"})
    assert refused.status_code == 422
    assert "Type “Front door”" in refused.text
    assert 'value="Back door"' in refused.text
    assert not SpaceJob.objects.exists()

    page = client.post(url(space, "truncate"), {"name": " front  DOOR "}, follow=True).text
    assert "Writing a snapshot, then emptying the space" in page
    for job in SpaceJob.objects.order_by("pk"):
        run(job)
    assert ledger_of(space) == []
    page = client.get(url(space, "")).text
    assert "This space was emptied" in page
    snapshot = SpaceJob.objects.snapshots().get()
    assert f"snapshots/{snapshot.pk}/restore" in page


def test_people_whom_vision_made_and_no_snapshot_holds_are_named_beforehand(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    Space.objects.filter(pk=space.pk).update(drift=3)
    PersonFactory.create(space=space, label="")
    page = sign_in(alice).get(url(space, "truncate")).text
    assert "1 person without a name was made by Vision itself" in page
    assert "3 recognitions wrote to this space" in sign_in(alice).get(url(space)).text


def test_restoring_is_offered_until_something_was_restored(
    space: Space, alice: User, vera: User, sign_in: SignIn, vision: FakeVision
) -> None:
    job = truncated(space, alice)
    assert "This space was emptied" not in sign_in(vera).get(url(space, "")).text
    client = sign_in(alice)
    assert job.snapshot is not None
    page = client.post(url(space, f"snapshots/{job.snapshot.pk}/restore"), {}, follow=True).text
    assert "is being restored" in page
    assert "This space was emptied" not in page
    run(SpaceJob.objects.get(kind=SpaceJob.Kind.RESTORE))
    assert len(ledger_of(space)) == 2
    assert "This space was emptied" not in client.get(url(space, "")).text


# --- Restoring ---


def test_a_restore_says_beforehand_what_it_would_do(
    space: Space, alice: User, sign_in: SignIn, vision: FakeVision
) -> None:
    job = snapshot_of(space, alice)
    client = sign_in(alice)
    here = client.get(url(space, f"snapshots/{job.pk}/restore")).text
    assert "2 are known to Vision already" in here
    other = space.team.spaces.get(number=6)
    PersonFactory.create(space=other, label="anna", person_id=40)
    gallery = GalleryFactory.create(team=space.team, space=other)
    FaceFactory.create(photo=PhotoFactory.create(gallery=gallery))
    page = client.get(url(space, f"snapshots/{job.pk}/restore"), {"to": "6"}).text
    for text in (
        "What will happen to Space 6",
        "Anna was person1; here anna is person40, and gets the pictures.",
        "1 person is somebody else here",
        "Then looked at again",
        "none: Rollcall",
    ):
        assert text in page
    assert SpaceJob.objects.count() == 1


def test_a_restore_at_the_cloud_says_what_it_costs(
    space: Space, alice: User, sign_in: SignIn, settings: Settings
) -> None:
    job = snapshot_of(space, alice)
    settings.VISION_URL, settings.VISION_TOKEN = "https://cloud.example", Secret("t" * 20)
    cloud.cloud.cache_clear()
    try:
        page = sign_in(alice).get(url(space, f"snapshots/{job.pk}/restore")).text
    finally:
        cloud.cloud.cache_clear()
    assert "about <strong>0.12" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_a_snapshot_that_is_damaged_or_gone_says_so(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    job = snapshot_of(space, alice)
    default_storage.delete(job.file)
    client = sign_in(alice)
    assert "file is gone" in client.get(url(space, f"snapshots/{job.pk}/restore")).text
    posted = client.post(url(space, f"snapshots/{job.pk}/restore"), {"to": "6"})
    assert posted.status_code == 422


def test_the_target_may_be_none_but_a_space_of_the_team(
    space: Space, alice: User, sign_in: SignIn, vision: FakeVision
) -> None:
    job = snapshot_of(space, alice)
    client = sign_in(alice)
    page = client.get(url(space, f"snapshots/{job.pk}/restore"), {"to": ""})
    assert "What will happen to Front door" in page.text
    for to in ("x", "10", "-1", "²"):
        page = client.get(url(space, f"snapshots/{job.pk}/restore"), {"to": to})
        assert page.status_code == 400
        assert '<code class="mono">to</code>' in page.text


def test_progress_is_shown_with_its_pace_and_end(
    space: Space, alice: User, vera: User, sign_in: SignIn
) -> None:
    now = timezone.now()
    marks = [[(now - timedelta(seconds=100)).isoformat(), 10_000], [now.isoformat(), 12_345]]
    job = SpaceJob.objects.create(
        team=space.team,
        space=space,
        kind=SpaceJob.Kind.RESTORE,
        total=75_000,
        done=12_345,
        requested_by=alice,
        error="the gateway is tired",
        after=now + timedelta(minutes=1),
        report={"people": {"new": 1}, "marks": marks},
    )
    page = sign_in(alice).get(url(space, "")).text
    ends = timezone.localtime(now + timedelta(seconds=(75_000 - 12_345) / 23.45))
    for text in (
        "12,345 of 75,000 pictures",
        "23 a second",
        f"done at {ends:%H:}",
        "the gateway is tired",
        "Try now",
        "Cancel",
        "every 2s",
    ):
        assert text in page
    theirs = sign_in(vera).get(url(space, "")).text
    assert "12,345 of 75,000" in theirs
    assert f"jobs/{job.pk}/cancel" not in theirs


def test_a_restore_is_cancelled_from_the_page(space: Space, alice: User, sign_in: SignIn) -> None:
    job = SpaceJob.objects.create(team=space.team, space=space, kind=SpaceJob.Kind.RESTORE)
    page = sign_in(alice).post(url(space, f"jobs/{job.pk}/cancel"), follow=True).text
    assert "Cancelled. What was done until now stays." in page
    job.refresh_from_db()
    assert (job.state, job.finished_at is None) == (JobState.CANCELLED, False)


def test_a_report_lists_conflicts_and_what_vision_refused(
    space: Space, alice: User, vera: User, audrey: User, sign_in: SignIn
) -> None:
    job = SpaceJob.objects.create(
        team=space.team,
        space=space,
        kind=SpaceJob.Kind.RESTORE,
        state=JobState.DONE,
        finished_at=timezone.now(),
        report={
            "people": {"new": 4, "known": 0},
            "conflicts": [["id", 3, "Zoe", 41, "Zoe"], ["renamed", 5, "Ann", 5, "Anna"]],
            "there": 7,
            "corrected": 0,
            "accepted": 9,
            "refused": 1,
        },
    )
    person = Person.objects.get(label="Anna")
    Enrolment.objects.create(
        person=person, job=job, state=EnrolmentState.FAILED, error="only one face per image"
    )
    page = sign_in(vera).get(url(space, f"jobs/{job.pk}/")).text
    for text in (
        "Zoe was person3, which is somebody else here: now person41.",
        "Ann (person5) is called Anna by now, and stays so.",
        "only one face per image",
        "known to Vision before",
    ):
        assert text in page
    assert sign_in(audrey).get(url(space, f"jobs/{job.pk}/")).status_code == 403


# --- The two bars ---


def test_the_bars_come_with_the_faces_of_now(space: Space, alice: User, sign_in: SignIn) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    anna = Person.objects.get(label="Anna")
    for similarity in (0.42, 0.45, 0.63, 1.0):
        photo = PhotoFactory.create(gallery=gallery)
        FaceFactory.create(photo=photo, person=anna, similarity=similarity)
    FaceFactory.create(photo=photo, left=40, right=60)
    FaceFactory.create(photo=photo, left=70, right=90, person=anna, decision="named")
    client = sign_in(alice)
    assert f'hx-get="{url(space, "zones")}"' in client.get(url(space, "?view=policy")).text
    part = client.get(url(space, "zones")).text
    counts = {
        zone: part.split(f'data-count="{zone}">')[1].split("<")[0]
        for zone in ("below", "between", "above")
    }
    assert counts == {"below": "1", "between": "2", "above": "2"}


def test_a_changed_bar_goes_through_the_faces_in_the_background(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    anna = Person.objects.get(label="Anna")
    face = FaceFactory.create(
        photo=PhotoFactory.create(gallery=gallery), person=anna, similarity=0.6
    )
    assert face.review == ""
    form = {"name": "", "threshold": "0.4", "confirm_threshold": "0.7", "searcher": "0"}
    client = sign_in(alice)
    page = client.post(url(space, ""), form, follow=True).text
    assert "gone through in the background" in page
    assert "Working out who everybody is" in page
    face.refresh_from_db()
    assert face.review == "", "not in the request"
    run(SpaceJob.objects.get(kind=SpaceJob.Kind.REBUILD))
    face.refresh_from_db()
    assert (face.review, face.person) == ("weak", anna)
    client.post(url(space, ""), form | {"name": "Door"})
    assert SpaceJob.objects.count() == 1, "a name is no threshold"


def test_a_second_bar_below_the_first_is_refused_at_its_field(
    space: Space, alice: User, sign_in: SignIn
) -> None:
    form = {"name": "", "threshold": "0.6", "confirm_threshold": "0.5", "searcher": "0"}
    response = sign_in(alice).post(url(space, ""), form)
    assert response.status_code == 422
    assert "At least as high as the bar from which a match is suggested." in response.text
    assert 'value="0.6"' in response.text


# --- In a browser ---


@pytest.fixture
def owner(page: Page, live: str, alice: User, sign_in: SignIn) -> Page:
    cookie = sign_in(alice).cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live}])
    return page


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_space_is_emptied_and_taken_back_on_its_page(
    space: Space, owner: Page, live: str, vision: FakeVision, eager: None
) -> None:
    before = ledger_of(space)
    owner.goto(live + url(space))
    owner.get_by_role("link", name="Empty…").click()
    button = owner.get_by_role("button", name="Empty Front door")
    expect(button).to_be_disabled()
    owner.get_by_label("Type Front door to go on").fill("front door")
    expect(button).to_be_enabled()
    button.click()
    expect(owner.get_by_text("This space was emptied")).to_be_visible()
    assert ledger_of(space) == []
    owner.get_by_role("link", name="Restore", exact=True).click()
    expect(owner.get_by_role("heading", name="What will happen to Front door")).to_be_visible()
    owner.get_by_role("button", name="Restore 2 pictures").click()
    expect(owner.get_by_text("Restored 2 pictures")).to_be_visible()
    assert ledger_of(space) == before


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_what_is_done_in_the_background_appears_by_itself(
    space: Space, owner: Page, live: str, vision: FakeVision
) -> None:
    owner.goto(live + url(space))
    owner.get_by_role("button", name="Take a snapshot").click()
    expect(owner.get_by_text("Writing a snapshot")).to_be_visible()
    expect(owner.get_by_text("No snapshot yet")).to_be_visible()
    run(SpaceJob.objects.get())
    expect(owner.get_by_text("2 people, 2 pictures")).to_be_visible()
    expect(owner.get_by_text("No snapshot yet")).to_have_count(0)
    expect(owner.locator("#space-live[data-poll]")).to_have_count(0)


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_snapshot_is_downloaded_and_brought_into_another_space(
    space: Space, owner: Page, live: str, tmp_path: Path, vision: FakeVision, eager: None
) -> None:
    owner.goto(live + url(space))
    owner.get_by_role("button", name="Take a snapshot").click()
    with owner.expect_download() as download:
        owner.get_by_role("link", name="Download").click()
    path = tmp_path / "door.zip"
    download.value.save_as(path)
    with path.open("rb") as file, opened(file) as found:
        assert len(found.manifest.pictures) == 2
    other = space.team.spaces.get(number=6)
    owner.goto(live + url(other))
    owner.get_by_label("Snapshot file").set_input_files(path)
    owner.get_by_role("button", name="Upload").click()
    expect(owner.get_by_text("2 people, 2 pictures")).to_be_visible()
    owner.get_by_role("link", name="Restore…").click()
    owner.get_by_role("button", name="Restore 2 pictures").click()
    expect(owner.get_by_text("Restored 2 pictures")).to_be_visible()
    assert ledger_of(other) == ledger_of(space)


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_wrong_file_is_refused_on_the_spot(
    space: Space, owner: Page, live: str, tmp_path: Path
) -> None:
    path = tmp_path / "door.zip"
    path.write_bytes(b"no zip at all")
    owner.goto(live + url(space))
    owner.get_by_label("Snapshot file").set_input_files(path)
    owner.get_by_role("button", name="Upload").click()
    expect(owner.get_by_text("it is no zip")).to_be_visible()


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_the_picture_of_the_bars_moves_while_they_are_typed(
    space: Space, owner: Page, live: str
) -> None:
    gallery = GalleryFactory.create(team=space.team, space=space)
    anna = Person.objects.get(label="Anna")
    for similarity in (0.42, 0.45, 0.63, 0.9):
        FaceFactory.create(
            photo=PhotoFactory.create(gallery=gallery), person=anna, similarity=similarity
        )
    owner.goto(live + url(space, "?view=policy"))
    between, above = (owner.locator(f'[data-count="{zone}"]') for zone in ("between", "above"))
    expect(between).to_have_text("2")
    owner.get_by_label("It counts by itself from").fill("0.7")
    expect(between).to_have_text("3")
    expect(above).to_have_text("1")
    owner.get_by_label("Suggest a match from").fill("0.8")
    expect(between).to_have_text("3")  # no bars that a space can have: the picture stays


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [320, 390, 1440])
def test_no_page_of_a_space_scrolls_sideways(
    space: Space,
    browser: Browser,
    live: str,
    alice: User,
    sign_in: SignIn,
    vision: FakeVision,
    width: int,
) -> None:
    Space.objects.filter(pk=space.pk).update(name="W" * 60)
    job = truncated(Space.objects.get(pk=space.pk), alice)
    context = browser.new_context(viewport={"width": width, "height": 800})
    cookie = sign_in(alice).cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live}])
    page = context.new_page()
    for rest in (
        "",
        "?view=policy",
        "?view=snapshots",
        "truncate",
        f"snapshots/{job.snapshot_id}/restore",
        f"jobs/{job.pk}/",
    ):
        page.goto(live + url(space, rest))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), rest
    context.close()
