"""Files with unusual names are never dropped silently, and too many files at once are reported."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persons.files.uploads import _Mended, mended
from persons.models import Gallery, Photo, Team, User
from tests.support.factories import GalleryFactory, jpeg

# What is asked of the database here is asked by tests of actions and of queries as well.
pytestmark = pytest.mark.any_database

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SignIn = Callable[[User], Client]
PAGE, REST = "/t/trip/g/lake/upload", "/rest/teams/trip/galleries/lake/photos/"
TYPE = "multipart/form-data; boundary=line"

NAMES = {
    b'filename="\xf4\xee\xf2\xee.jpg"': "\ufffd\ufffd\ufffd\ufffd.jpg",
    b'filename=".."': "photo",
    b'filename="."': "photo",
    b'filename="/"': "photo",
    b'filename="a/.."': "a",
    b'filename="\\"': "photo",
    b'filename=""': "photo",
    b"filename*=martian''%D1%84.jpg": "ф.jpg",
    b"filename*=utf-8''%FF%FE.jpg": "\ufffd\ufffd.jpg",
    b'filename="\xd8\xb9\xe2\x80\x8c\xd8\xb1.jpg"': "\u0639\u200c\u0631.jpg",
    b'filename="' + b"x" * 3000 + b'.jpg"': "x" * 160 + ".jpg",
    b'filename="con.jpg"': "con.jpg",
}  # fmt: skip


@pytest.fixture
def gallery(team: Team) -> Gallery:
    found: Gallery = GalleryFactory.create(team=team, slug="lake")
    return found


def body(field: str, *files: tuple[bytes, bytes]) -> bytes:
    parts = [
        b'--line\r\nContent-Disposition: form-data; name="' + field.encode() + b'"; ' + name
        + b"\r\nContent-Type: image/jpeg\r\n\r\n" + data + b"\r\n"
        for name, data in files
    ]  # fmt: skip
    return b"".join(parts) + b"--line--\r\n"


def send(client: Client, address: str, content: bytes, **headers: str) -> Any:
    return client.generic("POST", address, content, TYPE, headers=headers)


@pytest.mark.parametrize(("name", "kept"), NAMES.items(), ids=ascii)
def test_a_file_comes_in_whatever_it_is_called(
    gallery: Gallery, bob: User, sign_in: SignIn, name: bytes, kept: str
) -> None:
    client = sign_in(bob)
    first, second = (jpeg((shade, 8, 9)) for shade in (1, 2))
    answer = send(client, PAGE, body("files", (name, first)), Accept="application/json")
    assert answer.status_code == 201, answer.text
    assert Photo.objects.get().file_name == kept
    answer = send(client, REST, body("file", (name, second)))
    assert answer.status_code == 201, answer.text
    assert Photo.objects.order_by("-pk")[0].file_name == kept


def test_of_several_none_is_dropped_in_a_plain_form(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    files = [(name, jpeg((shade * 20, 8, 9))) for shade, name in enumerate(NAMES)]
    send(sign_in(bob), PAGE, body("files", *files))
    assert sorted(Photo.objects.values_list("file_name", flat=True)) == sorted(NAMES.values())


@pytest.mark.parametrize(("address", "field"), [(PAGE, "files"), (REST, "file")])
def test_a_field_in_which_nothing_was_chosen_is_no_file(
    gallery: Gallery, bob: User, sign_in: SignIn, address: str, field: str
) -> None:
    answer = send(sign_in(bob), address, body(field, (b'filename=""', b"")))
    assert answer.status_code in (303, 400)
    assert not Photo.objects.exists()


@pytest.mark.parametrize(("address", "field"), [(PAGE, "files"), (REST, "file")])
def test_too_many_files_are_told_what_the_limit_is(
    gallery: Gallery, bob: User, sign_in: SignIn, address: str, field: str
) -> None:
    files = [(f'filename="{number}.jpg"'.encode(), b"x") for number in range(201)]
    client = sign_in(bob)
    page = send(client, address, body(field, *files))
    assert page.status_code == 413
    assert "At most 200 files" in page.text
    told = send(client, address, body(field, *files), Accept="application/json")
    assert told.status_code == 413
    assert "At most 200 files" in told.json()["detail"]


def test_too_many_fields_are_told_what_the_limit_is(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    address = "/t/trip/g/lake/photos/trash"
    page = client.post(address, {"photo": list(range(6001))})
    assert page.status_code == 413
    assert "At most 6,000 fields" in page.text
    part = client.post(address, {"photo": list(range(6001))}, headers={"HX-Request": "true"})
    assert (part.status_code, part["Content-Type"]) == (413, "text/plain; charset=utf-8")


def test_a_form_that_is_too_large_or_damaged_says_so(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    page = client.post("/t/trip/galleries/new", {"name": "x" * 3_000_000})
    assert page.status_code == 413
    assert "larger than 2.6 MB" in page.text
    page = client.generic("POST", PAGE, b"--", "multipart/form-data; boundary=")
    assert page.status_code == 400
    assert "arrived damaged" in page.text


def test_a_host_that_is_not_served_gets_a_page_with_words(client: Client) -> None:
    page = client.get("/login/", headers={"Host": "elsewhere.example"})
    assert page.status_code == 400
    assert "ROLLCALL_HOSTS" in page.text


# --- The stream ---


@PATIENT
@given(
    st.lists(st.binary(max_size=300), max_size=4),
    st.integers(1, 200),
    st.sampled_from(list(NAMES)),
)
def test_content_goes_through_to_the_byte_in_pieces_of_any_size(
    contents: list[bytes], step: int, name: bytes
) -> None:
    fine = b'filename="a.jpg"'
    plain = body("files", *((fine, data) for data in contents))
    odd = body("files", *((name, data) for data in contents))

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(step, size or step))

    def read(content: bytes) -> bytes:
        stream, found = _Mended(Slow(content), b"line"), b""
        while data := stream.read(step):
            found += data
        return found

    assert read(plain) == plain
    heads = mended(b'\r\nContent-Disposition: form-data; name="files"; ' + name)
    assert read(odd).count(heads) >= len(contents)
    for data in contents:
        assert data in read(odd)


def test_a_head_that_django_reads_stays_as_it_is() -> None:
    head = b'\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\nX: y'
    assert mended(head) == head
