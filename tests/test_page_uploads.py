"""Photos come in: by a script, one a request, or by a plain form, many at once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from playwright.sync_api import FilePayload, Page, expect
from pytest_django import Settings

from persons.models import Gallery, Photo, PhotoState, Team, User
from tests.factories import FaceFactory, GalleryFactory, PersonFactory, jpeg

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
        ("move.gif", b"GIF89a" + b"\0" * 20, "GIF"),
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

    monkeypatch.setattr("dashboard.pages.uploads.add_photo", see)
    with pytest.raises(AssertionError):
        send(sign_in(bob), picture())
    assert kinds == ["TemporaryUploadedFile"]


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
    assert "1 added, 1 already here, 1 refused" in told


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
              isFile: false, name: "trip",
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
