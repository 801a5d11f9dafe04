"""Uploads: one file a request from a script, or many from a plain form."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import FilePayload, Page, expect
from pytest_django import DjangoAssertNumQueries, Settings

from dashboard.pages.galleries.uploads import LONGEST_PATH, MOST_ASKED
from persons.actions.upload_dedup import SentFile
from persons.models import Arrival, Gallery, Photo, PhotoState, Team, User
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

SignIn = Callable[[User], Client]
JSON = {"Accept": "application/json"}


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Harbour", slug="harbour")


def url(name: str = "gallery") -> str:
    return reverse(name, args=["trip", "harbour"])


def picture(name: str = "one.jpg", red: int = 90) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, jpeg((red, 120, 150)), "image/jpeg")


def send(client: Client, *files: SimpleUploadedFile, script: bool = True) -> Any:
    return client.post(url("upload"), {"files": list(files)}, headers=JSON if script else {})


def unread(length: int) -> dict[str, Any]:
    """What makes a request fail its test when its body is read."""

    class Unread(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("the body was read")

    return {"CONTENT_LENGTH": str(length), "wsgi.input": Unread()}


def stored_files(data: Path) -> list[Path]:
    return [path for path in (data / "media").rglob("*") if path.is_file()]


# --- One file a request ---


def test_a_file_becomes_a_tile(
    gallery: Gallery, bob: User, sign_in: SignIn, data_folder: Path
) -> None:
    response = send(sign_in(bob), picture("café.jpg"))
    assert response.status_code == 201
    photo = Photo.objects.get()
    answer = response.json()
    assert answer["new"] is True
    assert answer["photo"] == photo.pk
    assert f'id="photo-{photo.pk}"' in answer["tile"]
    assert (photo.file_name, photo.uploaded_by) == ("café.jpg", bob)
    assert len(stored_files(data_folder)) == 1


def test_the_same_bytes_twice_are_one_photo_and_the_sender_is_told(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    first = send(client, picture())
    again = send(client, picture("other name.jpg"))
    assert again.status_code == 200
    assert again.json()["new"] is False
    assert again.json()["photo"] == first.json()["photo"]
    assert Photo.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "empty"),
        ("notes.jpg", b"this is text", "not a picture"),
        ("cut.jpg", jpeg()[:200], "damaged"),
        ("drawing.jpg", b"<svg width='1'/>", "SVG"),
    ],
)
def test_a_file_that_can_t_go_in_says_why_and_leaves_nothing(
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    data_folder: Path,
    name: str,
    content: bytes,
    reason: str,
) -> None:
    response = send(sign_in(bob), SimpleUploadedFile(name, content))
    assert response.status_code == 422
    assert reason in response.json()["error"]
    assert not Photo.objects.exists()
    assert not stored_files(data_folder)
    assert not list((data_folder / "incoming").iterdir())


def test_a_file_beyond_the_limit_is_let_go_as_it_streams_in(
    gallery: Gallery, bob: User, sign_in: SignIn, settings: Settings, data_folder: Path
) -> None:
    settings.UPLOAD_MAX_BYTES = 100_000
    response = send(sign_in(bob), SimpleUploadedFile("big.jpg", b"\xff\xd8\xff" * 100_000))
    assert response.status_code == 413
    assert "too large" in response.json()["error"]
    assert not Photo.objects.exists()
    assert not list((data_folder / "incoming").iterdir())


def test_an_endless_body_is_not_even_read(
    gallery: Gallery, bob: User, sign_in: SignIn, settings: Settings
) -> None:
    response = sign_in(bob).generic(
        "POST",
        url("upload"),
        content_type="multipart/form-data; boundary=x",
        headers=JSON,
        **unread(10**12),
    )
    assert response.status_code == 413


@pytest.mark.parametrize(("who", "status"), [("vera", 403), ("charlie", 404)])
def test_access_is_asked_before_a_byte_is_read(
    gallery: Gallery, vera: User, charlie: User, sign_in: SignIn, who: str, status: int
) -> None:
    response = sign_in({"vera": vera, "charlie": charlie}[who]).generic(
        "POST",
        url("upload"),
        content_type="multipart/form-data; boundary=x",
        **unread(1000),
    )
    assert response.status_code == status


def test_a_script_whose_session_ended_is_told_so(gallery: Gallery, client: Client) -> None:
    response = send(client, picture())
    assert response.status_code == 401
    assert "signed out" in response.json()["error"]


def test_an_upload_may_not_come_from_elsewhere(gallery: Gallery, bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert send(client, picture()).status_code == 403
    assert not Photo.objects.exists()


# --- What has arrived ---


def told(name: str = "one.jpg", modified: object = 1_700_000_000_123) -> dict[str, Any]:
    return {"path": name, "modified": str(modified)}


def send_told(client: Client, red: int = 90, **values: Any) -> Any:
    data = told(**values)
    return client.post(url("upload"), {"files": picture(red=red), **data}, headers=JSON)


def ask(client: Client, *files: object, **raw: str) -> Any:
    body = raw.get("body") or json.dumps({"files": files})
    return client.post(url("upload_known"), body, content_type="application/json", headers=JSON)


def a_file(name: str = "one.jpg", red: int = 90, modified: int = 1_700_000_000_123) -> list[Any]:
    return [name, len(jpeg((red, 120, 150))), modified]


def places(response: Any) -> list[int]:
    assert response.status_code == 200, response.content
    return [arrived["file"] for arrived in response.json()["arrived"]]


def test_what_has_arrived_is_known_by_name_size_and_date_together(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    photo = send_told(client).json()["photo"]
    name, size, modified = a_file()
    answer = ask(
        client,
        ["two.jpg", size, modified],
        [name, size, modified],
        [name, size + 1, modified],
        [name, size, modified + 1],
        [f"folder/{name}", size, modified],
    )
    page = reverse("photo", args=["trip", photo])
    assert answer.json() == {
        "arrived": [{"file": 1, "photo": photo, "url": page, "trashed": False}]
    }


def test_what_somebody_else_has_sent_is_not_taken_for_one_s_own(
    gallery: Gallery, alice: User, bob: User, sign_in: SignIn
) -> None:
    send_told(sign_in(bob))
    assert places(ask(sign_in(alice), a_file())) == []


def test_what_is_in_another_gallery_is_not_here(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    send_told(client)
    Photo.objects.update(gallery=GalleryFactory.create(team=gallery.team))
    assert places(ask(client, a_file())) == []


def test_a_refused_file_has_not_arrived(gallery: Gallery, bob: User, sign_in: SignIn) -> None:
    client = sign_in(bob)
    bad = SimpleUploadedFile("one.jpg", b"text")
    client.post(url("upload"), {"files": bad, **told()}, headers=JSON)
    assert places(ask(client, ["one.jpg", 4, 1_700_000_000_123])) == []


def test_every_file_that_is_one_photo_is_known(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    for name in ("one.jpg", "copy of one.jpg", "one.jpg"):
        assert send_told(client, name=name).status_code in (200, 201)
    assert places(ask(client, a_file("one.jpg"), a_file("copy of one.jpg"))) == [0, 1]
    assert Photo.objects.count() == 1
    assert Arrival.objects.count() == 2


def test_what_lies_in_the_trash_is_said_to_and_sent_again_it_comes_back(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    send_told(client)
    Photo.objects.update(trashed_at=timezone.now())
    assert [one["trashed"] for one in ask(client, a_file()).json()["arrived"]] == [True]
    again = send_told(client)
    assert (again.status_code, again.json()["restored"]) == (200, True)
    assert [one["trashed"] for one in ask(client, a_file()).json()["arrived"]] == [False]


def test_what_left_the_trash_or_is_deleted_is_to_be_sent_again(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    send_told(client)
    Photo.objects.update(trashed_at=timezone.now() - timedelta(days=30))
    assert places(ask(client, a_file())) == []
    Photo.everything.all().delete()
    assert places(ask(client, a_file())) == []
    assert send_told(client).status_code == 201


def test_names_are_known_whatever_they_are_made_of(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    names = ["Zoë 🏖/été.jpg", "'; drop table --", "a" * LONGEST_PATH]
    for number, name in enumerate(names):
        assert send_told(client, name=name, red=number * 9, modified=-number).status_code == 201
    asked = [a_file(name, number * 9, -number) for number, name in enumerate(names)]
    assert places(ask(client, *asked, ["nul\0\ud800", 1, 1])) == [0, 1, 2]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"files": {}}',
        '{"files": [1]}',
        '{"files": [["a.jpg", 1]]}',
        '{"files": [["", 1, 1]]}',
        '{"files": [[null, 1, 1]]}',
        '{"files": [["a.jpg", "1", 1]]}',
        '{"files": [["a.jpg", true, 1]]}',
        '{"files": [["a.jpg", -1, 1]]}',
        '{"files": [["a.jpg", 1, 1.5]]}',
        '{"files": [["a.jpg", 1, NaN]]}',
        '{"files": [["a.jpg", 1, %s]]}' % ("9" * 30),
        '{"files": [["a.jpg", 1, %s]]}' % ("9" * 5000),
        '{"files": [["%s", 1, 1]]}' % ("a" * (LONGEST_PATH + 1)),
        json.dumps({"files": [["a.jpg", 1, 1]] * (MOST_ASKED + 1)}),
        "[" * 100_000,
        '{"files": ["%s"]}' % ("a" * 3_000_000),
    ],
    ids=lambda body: body[:40],
)
def test_a_question_that_can_t_be_understood_is_refused(
    gallery: Gallery, bob: User, sign_in: SignIn, body: str
) -> None:
    response = ask(sign_in(bob), body=body or " ")
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.parametrize(
    ("path", "modified"), [("a.jpg", ""), ("a.jpg", "x"), ("a" * 1001, "1"), ("a.jpg", "9" * 5000)]
)
def test_a_file_of_which_nonsense_is_told_is_refused_before_it_is_kept(
    gallery: Gallery, bob: User, sign_in: SignIn, path: str, modified: str
) -> None:
    response = send_told(sign_in(bob), name=path, modified=modified)
    assert response.status_code == 400
    assert not Photo.objects.exists()


def test_asking_about_many_asks_the_database_no_more_often(
    gallery: Gallery,
    bob: User,
    sign_in: SignIn,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = sign_in(bob)
    photos = [PhotoFactory.create(gallery=gallery, sha256=f"{n:064}") for n in range(MOST_ASKED)]
    files = [a_file(f"{number}.jpg") for number in range(MOST_ASKED)]
    Arrival.objects.bulk_create(
        Arrival(photo=photo, key=SentFile(*file).key(bob))
        for photo, file in zip(photos, files, strict=True)
    )
    ask(client)
    with CaptureQueriesContext(connection) as queries:
        ask(client, files[0])
    with django_assert_num_queries(len(queries)):
        assert places(ask(client, *files)) == list(range(MOST_ASKED))


def test_asking_takes_a_session_and_the_check_for_forgery(gallery: Gallery, bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert ask(client, a_file()).status_code == 403
    response = ask(Client(), a_file())
    assert response.status_code == 401
    assert "signed out" in response.json()["error"]


# --- A plain form ---


def test_a_plain_form_takes_many_files_and_one_bad_one_stops_no_other(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    send(client, picture("old.jpg", red=10))
    files = [
        picture("a.jpg", red=60),
        SimpleUploadedFile("bad<i>.jpg", b"text"),
        picture("b.jpg", red=110),
        picture("old.jpg", red=10),
    ]
    response = send(client, *files, script=False)
    assert response.status_code == 303
    page = client.get(response["Location"]).text
    assert "2 photos added." in page
    assert "1 photo was here already." in page
    assert "bad&lt;i&gt;.jpg: This is not a picture" in page
    assert set(Photo.objects.values_list("file_name", flat=True)) == {"old.jpg", "a.jpg", "b.jpg"}


def test_a_plain_form_tells_of_a_file_that_is_too_large_and_keeps_the_rest(
    gallery: Gallery, bob: User, sign_in: SignIn, settings: Settings
) -> None:
    settings.UPLOAD_MAX_BYTES = 100_000
    client = sign_in(bob)
    big = SimpleUploadedFile("big.jpg", b"\xff\xd8\xff" * 100_000)
    response = send(client, big, picture(), script=False)
    page = client.get(response["Location"]).text
    assert "big.jpg: this file has more than" in page
    assert "1 photo added." in page


def test_a_plain_form_without_a_file_says_what_to_do(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    assert (
        "Choose one or more photos first" in client.get(send(client, script=False)["Location"]).text
    )


def test_a_hundred_files_never_live_in_memory(
    gallery: Gallery, bob: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []

    def see(**given: Any) -> Any:
        kinds.append(type(given["file"]).__name__)
        raise AssertionError

    monkeypatch.setattr("dashboard.pages.galleries.uploads.add_photo", see)
    with pytest.raises(AssertionError):
        send(sign_in(bob), picture())
    assert kinds == ["IncomingFile"]


# --- In a browser ---


def chosen(name: str, content: bytes | None = None) -> FilePayload:
    content = jpeg() if content is None else content
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


@pytest.fixture
def at_gallery(page: Page, live: str, gallery: Gallery, bob: User, sign_in: SignIn) -> Page:
    session = sign_in(bob).cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live}])
    page.goto(live + url())
    return page


@pytest.mark.django_db(transaction=True)
def test_each_chosen_file_has_its_own_outcome(at_gallery: Page) -> None:
    page = at_gallery
    page.set_input_files(
        "#files",
        [chosen("good.jpg"), chosen("bad.jpg", b"text"), chosen("same.jpg")],
    )
    expect(page.locator("[data-role=title]")).to_have_text("Upload finished")
    expect(page.locator("#tiles .tile")).to_have_count(1)
    rows = page.locator(".upload-row")
    expect(rows.filter(has_text="bad.jpg")).to_contain_text("This is not a picture")
    told = page.locator("#uploads .uploads-head").inner_text()
    assert "1 new, 1 was here already, 1 refused" in told


@pytest.mark.django_db(transaction=True)
def test_a_tile_gets_its_faces_without_a_reload(at_gallery: Page, gallery: Gallery) -> None:
    page = at_gallery
    page.set_input_files("#files", [chosen("good.jpg")])
    expect(page.locator(".tile.is-busy")).to_have_count(1)
    photo = Photo.objects.get()
    anna = PersonFactory.create(space=gallery.space, label="Anna")
    FaceFactory.create(photo=photo, person=anna)
    Photo.objects.filter(pk=photo.pk).update(state=PhotoState.DONE)
    expect(page.locator(".tile-names")).to_have_text("Anna")
    expect(page.locator(".tile.is-busy")).to_have_count(0)


@pytest.mark.django_db(transaction=True)
def test_a_folder_can_be_dropped_on_the_page(at_gallery: Page) -> None:
    page = at_gallery
    content = json.dumps(list(jpeg()))
    page.evaluate(
        """async (content) => {
            const file = (name) => new File([new Uint8Array(JSON.parse(content))], name);
            const asFile = (name) => ({ isFile: true, name, file: (done) => done(file(name)) });
            const told = [[asFile("in.jpg"), asFile("Thumbs.db")], []];
            const folder = {
              isFile: false, isDirectory: true, name: "trip",
              createReader: () => ({ readEntries: (done) => done(told.shift()) }),
            };
            const event = new Event("drop", { cancelable: true });
            event.dataTransfer = {
              types: ["Files"], files: [],
              items: [{ webkitGetAsEntry: () => folder }],
            };
            window.dispatchEvent(event);
        }""",
        content,
    )
    expect(page.locator("[data-role=title]")).to_have_text("Upload finished")
    expect(page.locator("#uploads .uploads-head")).to_contain_text("1 other file left out")
    expect(page.locator("#tiles .tile")).to_have_count(1)
