"""Wherever an untrusted picture is opened, its decoder process may die without further harm."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pillow_heif
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from persons import decoding, pictures, pipeline
from persons.actions.sharing import LinkOptions, make_link
from persons.audit import Actor
from persons.backends.embedded import weights
from persons.decoding import slots
from persons.engine.faces import face_reader
from persons.engine.picture import read_picture
from persons.images import ImageRefused, Refusal
from persons.models import (
    Enrolment,
    EnrolmentState,
    Face,
    Gallery,
    KeyDay,
    Photo,
    PhotoState,
    Source,
    SyncState,
    Team,
    User,
)
from persons.pipeline.recognition.describing import described
from persons.vision.types import Box
from tests.support import wire
from tests.support.broken_decoder import asks_for, misbehaving
from tests.support.factories import FaceFactory, GalleryFactory, PersonFactory, PhotoFactory, jpeg
from tests.support.fakes import due_now
from tests.support.hostile_pictures import heic_of, lossless_jpeg, png_of, webp_of
from tests.support.processes import ROOT
from tests.support.spaces import enrolled

pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

SignIn = Callable[[User], Client]
GOOD = jpeg((30, 140, 90), (64, 48))
MISDEEDS = ["abort", "loop", "eat", "noise"]


@pytest.fixture(autouse=True)
def broken(tmp_path: Path) -> Iterator[None]:
    """Real helpers, but for pictures that ask for something else."""
    with misbehaving(folder=tmp_path / "slots", seconds=1.0):
        yield


@pytest.fixture
def gallery(team: Team) -> Gallery:
    return GalleryFactory.create(team=team, name="Lake", slug="lake")


def bad(what: str) -> bytes:
    return asks_for(what, GOOD)


def is_told(text: str) -> bool:
    return text.startswith("This picture can't be opened: ") and text.endswith(".")


# --- Uploads ---


def send(client: Client, *files: bytes) -> Any:
    address = reverse("upload", args=["trip", "lake"])
    chosen = [SimpleUploadedFile(f"{n}.jpg", data) for n, data in enumerate(files)]
    return client.post(address, {"files": chosen}, headers={"Accept": "application/json"})


@pytest.mark.parametrize("what", MISDEEDS)
def test_an_upload_is_refused_and_the_next_is_taken(
    what: str, gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    response = send(client, bad(what))
    assert (response.status_code, response.json()["code"]) == (422, "unreadable")
    assert is_told(response.json()["error"])
    assert not Photo.objects.exists()
    assert send(client, GOOD).status_code == 201


def test_programs_are_told_the_same(gallery: Gallery, bob: User, sign_in: SignIn) -> None:
    address = "/rest/teams/trip/galleries/lake/photos/"
    for what in MISDEEDS:
        file = SimpleUploadedFile("one.jpg", bad(what))
        response = sign_in(bob).post(address, {"file": file})
        assert (response.status_code, response.json()["code"]) == (422, "unreadable")
        assert is_told(response.json()["detail"])


def test_an_upload_that_finds_no_helper_free_may_come_again(
    gallery: Gallery, bob: User, sign_in: SignIn
) -> None:
    client = sign_in(bob)
    with _all_busy():
        response = send(client, GOOD)
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert "Try again" in response.json()["error"]
        file = SimpleUploadedFile("one.jpg", GOOD)
        response = client.post("/rest/teams/trip/galleries/lake/photos/", {"file": file})
        assert (response.status_code, response.json()["code"]) == (503, "busy")
    assert not Photo.objects.exists()
    assert send(client, GOOD).status_code == 201


def _all_busy() -> Any:
    """One helper for the machine, which somebody else has."""
    folder = decoding.configure(at_once=1, patience=0.01).folder
    return slots.slot(folder, 1, 1)


# --- Workers ---


def waiting(gallery: Gallery, content: bytes, **columns: Any) -> Photo:
    photo: Photo = PhotoFactory.create(
        gallery=gallery, state=PhotoState.NEW, with_file=content, **columns
    )
    return photo


@pytest.mark.parametrize("what", MISDEEDS)
def test_a_worker_fails_the_photo_and_prepares_the_next(what: str, gallery: Gallery) -> None:
    photo, next_one = waiting(gallery, bad(what)), waiting(gallery, GOOD)
    assert pipeline.prepare(photo.pk) is None
    assert pipeline.prepare(next_one.pk) is not None
    photo.refresh_from_db()
    next_one.refresh_from_db()
    assert (photo.state, next_one.state) == (PhotoState.FAILED, PhotoState.QUEUED)
    assert is_told(photo.error)
    assert photo.interruptions == 0, "the worker was not cut off"


def test_a_photo_waits_for_a_helper_without_an_attempt(gallery: Gallery) -> None:
    photo = waiting(gallery, GOOD)
    with _all_busy():
        assert pipeline.prepare(photo.pk) is None
    photo.refresh_from_db()
    assert (photo.state, photo.claim, photo.attempts) == (PhotoState.NEW, "", 0)
    due_now()
    assert pipeline.prepare(photo.pk) is not None


def named(gallery: Gallery, content: bytes) -> Enrolment:
    """A face of a photo with this content whose crop is to be enrolled."""
    photo = waiting(gallery, content)
    person = PersonFactory.create(space=gallery.space, sync_state=SyncState.QUEUED)
    box = {"left": 10, "top": 8, "right": 34, "bottom": 38}
    face = FaceFactory.create(photo=photo, person=person, **box)
    return Enrolment.objects.create(person=person, face=face, state=EnrolmentState.QUEUED)


@pytest.mark.parametrize("what", MISDEEDS)
def test_a_face_of_it_is_not_enrolled(
    what: str, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.use(monkeypatch, wire.Vision())
    enrolment = named(gallery, bad(what))
    pipeline.sync(enrolment.person_id)
    enrolment.refresh_from_db()
    assert enrolment.state == EnrolmentState.FAILED
    assert "This picture can't be opened" in enrolment.error


def test_a_face_is_enrolled_when_a_helper_is_free(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.use(monkeypatch, wire.Vision())
    enrolment = named(gallery, GOOD)
    with _all_busy():
        pipeline.sync(enrolment.person_id)
    enrolment.refresh_from_db()
    assert (enrolment.state, enrolment.person.attempts) == (EnrolmentState.QUEUED, 0)


def test_a_face_of_it_is_not_described(gallery: Gallery) -> None:
    for what in MISDEEDS:
        face = FaceFactory.create(photo=waiting(gallery, bad(what)))
        assert described(face.photo, [face], face_reader(weights())) == [b""]


# --- The proxy ---


@pytest.fixture
def ask(team: Team) -> wire.Ask:
    return wire.in_process(wire.make_key(team)[1])


def recognize(ask: wire.Ask, *data: bytes) -> wire.Got:
    names = [f"file_{number}" for number in range(len(data))]
    files = [wire.file(name, one) for name, one in zip(names, data, strict=True)]
    return ask("recognize", *files, wire.meta(wire.pictures(*names)))


@pytest.mark.parametrize("what", MISDEEDS)
def test_a_client_is_told_of_its_image_and_gets_the_others(what: str, ask: wire.Ask) -> None:
    first, second = recognize(ask, bad(what), GOOD).body["objects"]
    assert first["status"] == 1
    assert is_told(first["error"])
    assert second == {"status": 0, "name": "file_1"}


def test_a_client_is_told_to_come_again(ask: wire.Ask) -> None:
    with _all_busy():
        got = recognize(ask, GOOD)
    assert got.outcome[0] == 500
    assert "Try again" in str(got.outcome[1])


def test_the_cloud_is_asked_about_what_no_helper_survives(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that is a picture, the cloud says; one that is too large stays one."""
    ask = wire.in_process(wire.make_key(team, fit=False)[1])
    vision = wire.use(monkeypatch, wire.Vision())
    monkeypatch.setattr(type(vision), "name", "cloud", raising=False)
    recognize(ask, bad("abort"), GOOD)
    assert len(vision.asked) == 1
    got = recognize(ask, bad("abort"), jpeg((1, 2, 3), (4000, 100)))
    assert got.outcome == (
        400,
        "image file_1 is 4000x100 pixels, must be 5x5 to 3840x2160",
    )
    assert len(vision.asked) == 1


def test_a_quota_is_given_back_where_no_helper_was_free(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = wire.in_process(wire.make_key(team, daily_images=5)[1])
    vision = wire.use(monkeypatch, wire.Vision())
    monkeypatch.setattr(type(vision), "name", "cloud", raising=False)
    with _all_busy():
        assert recognize(ask, GOOD).outcome[0] == 500
    assert not vision.asked
    assert KeyDay.objects.get().images == 0


# --- Pages ---


def test_pages_show_what_there_is(gallery: Gallery, vera: User, sign_in: SignIn) -> None:
    client = sign_in(vera)
    for what in MISDEEDS:
        photo = PhotoFactory.create(gallery=gallery, with_file=bad(what))
        default_storage.save(photo.key("large"), ContentFile(bad(what)))
        face = FaceFactory.create(photo=photo, left=10, top=8, right=34, bottom=38)
        crop = client.get(reverse("media_face", args=["trip", face.pk]))
        assert (crop.status_code, crop["Content-Type"]) == (404, "image/svg+xml")
        facts = client.get(reverse("photo_facts", args=["trip", photo.pk]))
        assert facts.status_code == 200


def test_a_page_that_finds_no_helper_free_says_so(
    gallery: Gallery, vera: User, sign_in: SignIn
) -> None:
    photo = PhotoFactory.create(gallery=gallery, with_file=GOOD)
    with _all_busy():
        response = sign_in(vera).get(reverse("photo_facts", args=["trip", photo.pk]))
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "Try again" in response.text


@pytest.mark.parametrize("what", MISDEEDS)
def test_a_public_download_is_refused_and_a_zip_goes_without_it(
    what: str, gallery: Gallery, alice: User
) -> None:
    for content in (bad(what), GOOD):
        photo = PhotoFactory.create(gallery=gallery, with_file=content, prepared_at=timezone.now())
        for name in ("thumb", "medium", "large"):
            default_storage.save(photo.key(name), ContentFile(GOOD))
    hostile = Photo.objects.order_by("pk").first()
    assert hostile is not None
    _, token = make_link(
        actor=Actor(alice, Source.PAGE), gallery=gallery, options=LinkOptions(allow_download=True)
    )
    response = Client().get(f"/s/{token}/photo/{hostile.pk}/original")
    assert response.status_code == 422
    assert is_told(response.text)
    zipped = b"".join(Client().post(f"/s/{token}/zip").streaming_content)  # type: ignore[attr-defined]
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        (only,) = archive.namelist()
        assert archive.read(only)[:2] == b"\xff\xd8"


# --- Commands ---


def test_a_folder_is_imported_around_it(team: Team, tmp_path: Path) -> None:
    for number, what in enumerate(MISDEEDS):
        (tmp_path / f"{number}.jpg").write_bytes(bad(what))
    (tmp_path / "lossless.jpg").write_bytes(lossless_jpeg())
    (tmp_path / "bomb.webp").write_bytes(webp_of(10_000, 10_000))
    (tmp_path / "z.jpg").write_bytes(GOOD)
    out = io.StringIO()
    call_command("import_photos", "--team", "trip", "--gallery", "lake", tmp_path, stdout=out)
    assert out.getvalue() == "1 new, 0 already there, 6 refused\n"


@pytest.mark.django_db(transaction=True)
def test_a_space_is_restored_around_it(team: Team, tmp_path: Path) -> None:
    """By the recogniser that comes with Rollcall, which opens each picture."""
    space = team.spaces.get(number=3)
    for content in (lossless_jpeg(), bad("abort"), wire.photo("macron_1")):
        enrolled(PersonFactory.create(space=space, label=f"{len(content)}"), content)
    where = ("--team", "trip", "--space")
    call_command("space_snapshot", *where, 3, "--out", tmp_path / "a.zip", stdout=io.StringIO())
    out, err = io.StringIO(), io.StringIO()
    call_command("space_restore", *where, 6, tmp_path / "a.zip", stdout=out, stderr=err)
    assert out.getvalue() == ("3 new people, 1 pictures enrolled, 0 there before, 2 refused\n")
    assert "This picture can't be opened" in err.getvalue()


# --- Files that took a server down ---

BOMBS = {
    "lossless": lossless_jpeg(),
    "large lossless": lossless_jpeg(3000, 2000),
    "webp": webp_of(10_000, 10_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_took_a_server_down_is_refused_with_its_reason(
    name: str, gallery: Gallery, bob: User, sign_in: SignIn, ask: wire.Ask
) -> None:
    words = {"webp": "GB of memory"}.get(name, "lossless JPEG")
    response = send(sign_in(bob), BOMBS[name])
    assert response.status_code == 422
    assert words in response.json()["error"]
    photo = waiting(gallery, BOMBS[name])
    assert pipeline.prepare(photo.pk) is None
    photo.refresh_from_db()
    assert words in photo.error
    (entry,) = recognize(ask, BOMBS[name]).body["objects"]
    assert (entry["status"], entry["name"]) == (1, "file_0")
    with pytest.raises(ImageRefused) as caught:
        pictures.copies(io.BytesIO(BOMBS[name]))
    assert caught.value.code != Refusal.UNREADABLE, "no helper died"


def test_the_webp_has_46_bytes() -> None:
    assert len(webp_of(10_000, 10_000)) == 46
    small = pictures.copies(io.BytesIO(webp_of(300, 200)))
    assert (small.sent.width, small.sent.height) == (300, 200)


def test_what_fits_the_budget_is_opened_within_it(tmp_path: Path) -> None:
    """The estimate lets in what a helper can do with what it has, and no more."""
    with misbehaving(folder=tmp_path, memory=600_000_000, seconds=600):
        grey = png_of(5_500, 5_500, depth=16, colour=0)
        assert pictures.copies(io.BytesIO(grey)).sent.original_width == 5_500
        heic = heic_of(4_800, 5_000)
        assert pictures.copies(io.BytesIO(heic)).sent.original_width == 4_800
        with pytest.raises(ImageRefused, match="GB of memory"):
            pictures.copies(io.BytesIO(png_of(6_000, 6_000, colour=6)))


def test_the_recogniser_opens_what_may_be_uploaded_with_the_same_memory(tmp_path: Path) -> None:
    grey = png_of(5_500, 5_500, depth=16, colour=0)
    with misbehaving(folder=tmp_path, memory=600_000_000, seconds=600):
        assert pictures.inspect(io.BytesIO(grey), max_bytes=10**8).width == 5_500
        with decoding.PictureSource(grey) as source:
            picture = read_picture(source, max_width=10_000, max_height=10_000)
            assert picture._decode((5_500, 5_500)).pixels.shape == (5_500, 5_500, 3)


@pytest.mark.parametrize("what", ["16 bits", "clear"])
def test_a_face_of_a_client_s_picture_looks_as_the_picture_does(what: str) -> None:
    """Neither clipped at 8 bits of 16 nor with what is behind a transparent colour."""
    out = io.BytesIO()
    if what == "16 bits":
        Image.new("I;16", (200, 200), 30_000).save(out, "PNG")
    else:
        Image.new("L", (200, 200), 5).save(out, "PNG", transparency=5)
    crop = pictures.crop_of_sent(out, Box(50, 50, 150, 150))
    with Image.open(io.BytesIO(crop)) as image:
        shade = image.convert("L").getpixel((image.width // 2, image.height // 2))
    assert shade == pytest.approx(117 if what == "16 bits" else 255, abs=3)


def test_a_helper_that_needs_more_than_was_estimated_is_an_answer(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path, memory=420_000_000, seconds=600):
        # The estimate is of what is left beside the allowance; here there is less.
        with pytest.raises(ImageRefused) as caught:
            pictures.copies(io.BytesIO(png_of(6_000, 5_000)))
        assert caught.value.code in (Refusal.TOO_MANY_PIXELS, Refusal.UNREADABLE)


# --- Nothing is opened here ---


def test_no_picture_is_opened_in_the_process_that_was_asked(
    gallery: Gallery,
    bob: User,
    alice: User,
    sign_in: SignIn,
    ask: wire.Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def here(*args: object, **more: object) -> None:
        raise AssertionError("a picture was opened in this process")

    for module, name in (
        (Image, "open"),
        (pillow_heif, "open_heif"),
        (pillow_heif, "read_heif"),
        (cv2, "imdecode"),
        (cv2, "imread"),
    ):
        monkeypatch.setattr(module, name, here)
    client = sign_in(bob)
    assert send(client, wire.photo("macron_1")).status_code == 201
    photo = Photo.objects.get()
    assert pipeline.prepare(photo.pk) is not None
    pipeline.recognise_batch(gallery.space_id)
    photo.refresh_from_db()
    face = Face.objects.get()
    crop = client.get(reverse("media_face", args=["trip", face.pk]))
    assert b"".join(crop.streaming_content).startswith(b"RIFF")  # type: ignore[attr-defined]
    assert client.get(reverse("photo_facts", args=["trip", photo.pk])).status_code == 200
    assert len(recognize(ask, wire.photo("macron_1")).body["objects"][0]["persons"]) == 1
    _, token = make_link(
        actor=Actor(alice, Source.PAGE), gallery=gallery, options=LinkOptions(allow_download=True)
    )
    response = Client().get(f"/s/{token}/photo/{photo.pk}/original")
    assert response.status_code == 200
    assert described(photo, [face], face_reader(weights())) != [b""]


@pytest.mark.processes
def test_a_helper_loads_neither_django_nor_the_recogniser() -> None:
    code = (
        "import json, sys; import persons.decoders.serving, persons.decoders.operations; "
        "print(json.dumps(sorted({one.partition('.')[0] for one in sys.modules})))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert not {"django", "celery", "cv2", "dashboard", "requests"} & set(json.loads(out.stdout))
