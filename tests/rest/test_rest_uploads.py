"""Uploading photos to a gallery through REST."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from persons import pictures
from persons.files.unfinished import IncomingFile
from persons.models import AuditEntry, Gallery, Photo, PhotoState, Team, User
from tests.support import factories

if TYPE_CHECKING:
    from pytest_django import Settings

ADDRESS = "/rest/teams/trip/galleries/walk/photos/"


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return factories.GalleryFactory.create(team=team, slug="walk")


@pytest.fixture
def client(bob: User, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(bob)


def picture(name: str = "new.jpg", content: bytes | None = None) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, factories.jpeg() if content is None else content)


def send(client: Client, *files: SimpleUploadedFile) -> Any:
    return client.post(ADDRESS, {"file": list(files)})


def test_a_new_photo_is_kept_and_waits_to_be_prepared(
    client: Client, gallery: Gallery, bob: User
) -> None:
    content = factories.jpeg((7, 8, 9), (80, 60))
    response = send(client, picture("harbour.jpg", content))
    assert response.status_code == 201
    said = response.json()
    assert (said["file"], said["is_new"]) == ("harbour.jpg", True)
    photo = Photo.objects.get()
    assert said["photo"] == {
        "id": photo.pk,
        "gallery": "walk",
        "file_name": "harbour.jpg",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "format": "JPEG",
        "width": 80,
        "height": 60,
        "taken_at": None,
        "notes": [],
        "uploaded_by": str(bob),
        "uploaded_at": said["photo"]["uploaded_at"],
        "state": PhotoState.NEW,
        "error": "",
        "recognised_at": None,
        "media": {
            "original": f"http://testserver/t/trip/media/photo/{photo.pk}/original",
            "thumb": None,
            "medium": None,
            "large": None,
        },
    }
    with default_storage.open(photo.original) as kept:
        assert kept.read() == content


def test_a_duplicate_is_answered_by_the_photo_that_is_there(
    client: Client, gallery: Gallery
) -> None:
    first = send(client, picture("first.jpg")).json()
    response = send(client, picture("second.jpg"))
    assert response.status_code == 200
    second = response.json()
    assert (second["file"], second["is_new"]) == ("second.jpg", False)
    assert second["photo"] == first["photo"]
    assert Photo.objects.count() == 1


def test_a_refused_file_is_answered_by_why_and_leaves_no_trace(
    client: Client, gallery: Gallery, data_folder: Path
) -> None:
    response = send(client, picture("notes.jpg", b"Not a picture at all."))
    assert response.status_code == 422
    said = response.json()
    assert set(said) == {"code", "detail", "file"}
    assert (said["code"], said["file"]) == ("not_an_image", "notes.jpg")
    assert said["detail"].endswith(".")
    assert not Photo.objects.exists() and not AuditEntry.objects.exists()
    assert not list((data_folder / "incoming").iterdir())


def test_an_empty_file_is_refused(client: Client, gallery: Gallery) -> None:
    response = send(client, picture("empty.jpg", b""))
    assert (response.status_code, response.json()["code"]) == (422, "empty")


def test_of_several_files_each_has_its_own_answer_and_none_stops_another(
    client: Client, gallery: Gallery, data_folder: Path
) -> None:
    response = send(
        client,
        picture("one.jpg", factories.jpeg((1, 1, 1))),
        picture("broken.jpg", b"nothing"),
        picture("again.jpg", factories.jpeg((1, 1, 1))),
        picture("two.jpg", factories.jpeg((2, 2, 2))),
    )
    assert response.status_code == 207
    results = response.json()["results"]
    assert [(one["file"], one["status"], one.get("is_new")) for one in results] == [
        ("one.jpg", 201, True),
        ("broken.jpg", 422, None),
        ("again.jpg", 200, False),
        ("two.jpg", 201, True),
    ]
    assert results[1]["code"] == "not_an_image" and "photo" not in results[1]
    assert results[0]["photo"]["id"] == results[2]["photo"]["id"]
    assert Photo.objects.count() == 2
    assert not list((data_folder / "incoming").iterdir())


def test_a_file_is_on_the_disk_and_not_in_memory_when_it_is_looked_at(
    client: Client, gallery: Gallery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
    seen: list[str] = []
    inspect = pictures.inspect

    def watched(file: Any, **options: Any) -> Any:
        seen.append(str(Path(f"/proc/self/fd/{file.fileno()}").readlink()))
        return inspect(file, **options)

    monkeypatch.setattr(pictures, "inspect", watched)
    assert send(client, picture()).status_code == 201
    (name,) = seen
    assert Path(name).parent == Path(settings.FILE_UPLOAD_TEMP_DIR)
    # Without a name there: it goes with its process.
    assert name.endswith(" (deleted)")


def open_files() -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(one.readlink()))
    return found


def test_each_file_of_many_is_let_go_before_the_next(
    client: Client, gallery: Gallery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    close = IncomingFile.close

    def watched(file: IncomingFile) -> None:
        close(file)
        left.append(sum(settings.FILE_UPLOAD_TEMP_DIR in name for name in open_files()))

    monkeypatch.setattr(IncomingFile, "close", watched)
    send(client, *(picture(f"{n}.jpg", factories.jpeg((n, n, n))) for n in range(3)))
    assert left[:3] == [2, 1, 0]


def test_a_file_that_is_too_large_is_refused_with_its_size_and_is_not_written_in_full(
    client: Client, gallery: Gallery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.UPLOAD_MAX_BYTES = 1_000_000
    blocks: list[int] = []
    complete = IncomingFile.close

    def watched(file: IncomingFile) -> None:
        if not file.closed:
            file.flush()
            blocks.append(os.fstat(file.fileno()).st_blocks * 512)
        complete(file)

    monkeypatch.setattr(IncomingFile, "close", watched)
    response = send(client, picture("large.jpg", b"\xff\xd8\xff" + bytes(6_000_000)))
    assert response.status_code == 422
    said = response.json()
    assert said["code"] == "too_large_bytes" and "6.0 MB" in said["detail"]
    assert blocks and max(blocks) < 1_500_000


def test_a_request_that_is_too_large_as_a_whole_is_not_read(
    client: Client, gallery: Gallery, settings: Settings
) -> None:
    settings.UPLOAD_MAX_BYTES = 1000
    response = send(client, picture("large.jpg", bytes(30_000)))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert response.wsgi_request._read_started is False


def test_more_files_than_one_request_may_have_are_refused(
    client: Client, gallery: Gallery, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    response = send(client, *(picture(f"{n}.jpg") for n in range(3)))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert not Photo.objects.exists()


@pytest.mark.parametrize("body", [{}, {"photo": "x"}, {"file": "text"}])
def test_a_form_without_a_file_is_told_what_it_lacks(
    client: Client, gallery: Gallery, body: dict[str, Any]
) -> None:
    response = client.post(ADDRESS, body)
    assert response.status_code == 400
    assert set(response.json()["fields"]) == {"file"}


def test_a_body_that_is_no_form_is_refused(client: Client, gallery: Gallery) -> None:
    response = client.post(ADDRESS, factories.jpeg(), content_type="image/jpeg")
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_broken_form_is_refused(client: Client, gallery: Gallery) -> None:
    response = client.post(ADDRESS, b"--x", content_type="multipart/form-data")
    assert (response.status_code, response.json()["code"]) == (400, "parse_error")


@pytest.mark.parametrize("name", ["../../etc/passwd.jpg", "a" * 300 + ".jpg", "x\u202egpj.exe"])
def test_a_hostile_file_name_does_no_harm(client: Client, gallery: Gallery, name: str) -> None:
    response = send(client, picture(name))
    assert response.status_code == 201
    kept = Photo.objects.get().file_name
    assert "/" not in kept and "\u202e" not in kept and len(kept) <= 200
