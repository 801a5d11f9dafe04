"""Pictures that a recogniser can't take as they are: a copy is sent, and boxes are mapped back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from pytest_django import Settings

from persons import decoding, images
from persons.backends import cloud
from persons.chain import records
from persons.images import Fitted
from persons.models import (
    ApiKey,
    AuditEntry,
    Call,
    Enrolment,
    Finding,
    KeyDay,
    Recognition,
    Team,
    User,
)
from persons.vision.tokens import Secret
from persons.vision.types import Box
from tests.support import wire
from tests.support.misbehaving import Misbehaving, answer
from tests.support.wire import file, meta, people, pictures

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SignIn = Callable[[User], Client]

pytestmark = [pytest.mark.django_db, pytest.mark.any_database, pytest.mark.thorough]


def turned(image: Pillow.Image, turn: int, kind: str = "JPEG", **options: Any) -> bytes:
    """A file that is shown as `image`, stored as a camera that was held otherwise stores it."""
    undo = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT, 3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM, 5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90, 7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Pillow.Exif()
    exif[274] = turn
    stored = image.transpose(undo[turn]) if turn in undo else image
    return wire.encoded(stored, kind, exif=exif, **options)


def portrait(size: tuple[int, int] | None = None) -> Pillow.Image:
    image = Pillow.open(io.BytesIO(wire.photo("macron_2"))).convert("RGB")
    return image.resize(size) if size else image


# --- The way back ---


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_box_leads_back_to_the_pixels_that_it_was_seen_in(turn: int) -> None:
    shown = Pillow.new("RGB", (90, 60), "white")
    shown.paste("red", (10, 20, 40, 50))
    data = turned(shown, turn, "PNG")
    made = images.fitted(data, whole=True)
    if turn == 1:
        assert made is None
        return
    assert made is not None
    assert (made.width, made.height) == (90, 60)
    stored = Pillow.open(io.BytesIO(data)).convert("RGB")
    assert (made.own_width, made.own_height) == stored.size
    box = made.to_own(Box(10, 20, 40, 50))
    assert stored.getpixel((box.left, box.top)) == (255, 0, 0)
    assert stored.getpixel((box.right - 1, box.bottom - 1)) == (255, 0, 0)
    assert {stored.getpixel((box.left - 1, box.top)), stored.getpixel((box.right, box.top))} == {
        (255, 255, 255)
    }
    assert (box.right - box.left) * (box.bottom - box.top) == 900


@PATIENT
@given(
    st.integers(1, 8), st.integers(5, 9000), st.integers(5, 9000),
    st.tuples(*[st.integers(-50, 4000)] * 4),
)  # fmt: skip
def test_every_box_lands_inside(
    turn: int, wide: int, high: int, edges: tuple[int, int, int, int]
) -> None:
    box = Fitted(b"", 3840, 2160, wide, high, turn).to_own(Box(*edges))
    assert 0 <= box.left <= box.right <= wide
    assert 0 <= box.top <= box.bottom <= high


# --- The embedded recogniser ---


@pytest.fixture
def ask(team: Team) -> wire.Ask:
    return wire.in_process(wire.make_key(team)[1])


def coord_of(got: wire.Got) -> list[int]:
    (entry,) = got.body["objects"]
    (person,) = entry["persons"]
    found: list[int] = person["coord"]
    return found


def check_near(one: list[int], other: list[int], within: float) -> None:
    assert all(abs(a - b) <= within for a, b in zip(one, other, strict=True)), (one, other)


def test_a_phone_s_photo_is_taken_with_boxes_in_its_own_pixels(ask: wire.Ask) -> None:
    small = portrait((970, 1300))
    box = coord_of(ask("recognize", file("file", wire.encoded(small, "PNG")), meta(pictures())))
    large = portrait((970 * 3, 1300 * 3))
    data = wire.encoded(large, "JPEG", quality=92)
    told = coord_of(ask("recognize", file("file", data), meta(pictures())))
    check_near(told, [3 * edge for edge in box], 60)
    row = Recognition.objects.order_by("-pk")[0]
    assert (row.own_width, row.width) == (0, 0)


@pytest.mark.parametrize("turn", [3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_a_camera_stored_lying_is_recognised_upright(
    ask: wire.Ask, kind: str, turn: int
) -> None:
    image = portrait()
    box = coord_of(ask("recognize", file("file", wire.encoded(image, "PNG")), meta(pictures())))
    got = ask("recognize", file("file", turned(image, turn, kind)), meta(pictures()))
    wide, high = image.size
    left, top, right, bottom = box
    stored = {
        3: [wide - right, high - bottom, wide - left, high - top],
        6: [top, wide - right, bottom, wide - left],
        8: [high - bottom, left, high - top, right],
    }[turn]
    check_near(coord_of(got), stored, 12)
    row = Recognition.objects.order_by("-pk")[0]
    assert (row.width, row.height) == image.size
    assert (row.own_width, row.own_height) == (image.size if turn == 3 else image.size[::-1])


@pytest.mark.parametrize("kind", ["WEBP", "HEIF", "AVIF", "BMP", "JPEG2000"])
def test_every_format_that_may_be_uploaded_is_taken(ask: wire.Ask, kind: str) -> None:
    options = {"quality": 95} if kind in ("WEBP", "HEIF", "AVIF") else {}
    data = wire.encoded(portrait(), kind, **options)
    box = coord_of(
        ask("recognize", file("file", wire.encoded(portrait(), "PNG")), meta(pictures()))
    )
    check_near(coord_of(ask("recognize", file("file", data), meta(pictures()))), box, 12)
    assert ask("set", file("file", data), meta(people())).body["objects"][0]["status"] == 0


@pytest.mark.parametrize("text", ["tEXt", "iCCP"])
def test_a_png_with_more_text_than_pillow_unpacks_is_taken(ask: wire.Ask, text: str) -> None:
    """As it may be uploaded."""
    image = portrait()
    plain = wire.encoded(image, "PNG")
    if text == "iCCP":
        large = wire.encoded(image, "PNG", icc_profile=bytes(5_000_000))
    else:
        info = PngInfo()
        for number in range(70):
            info.add_text(f"note {number}", "x" * 1_000_000, zip=True)
        large = wire.encoded(image, "PNG", pnginfo=info)
    box = coord_of(ask("recognize", file("file", plain), meta(pictures())))
    assert coord_of(ask("recognize", file("file", large), meta(pictures()))) == box


def test_an_avif_s_own_turn_is_part_of_its_layout(ask: wire.Ask) -> None:
    image = portrait()
    box = coord_of(ask("recognize", file("file", wire.encoded(image, "PNG")), meta(pictures())))
    got = ask("recognize", file("file", turned(image, 6, "AVIF", quality=95)), meta(pictures()))
    check_near(coord_of(got), box, 12)


def test_what_is_enrolled_is_kept_as_every_vision_takes_it(ask: wire.Ask) -> None:
    large = wire.encoded(portrait((3000, 4000)), "JPEG", quality=90)
    assert ask("set", file("file", large), meta(people())).body["objects"][0]["status"] == 0
    enrolment = Enrolment.objects.get()
    from django.core.files.storage import default_storage

    with default_storage.open(enrolment.image) as kept:
        data = kept.read()
    size = images.pixel_size(data)
    assert size is not None and size[0] <= 3840 and size[1] <= 2160
    row = Recognition.objects.get()
    assert (row.own_width, row.own_height) == (3000, 4000)
    assert row.sha256 == enrolment.sha256


# --- The cloud, by a real upstream ---


@pytest.fixture
def upstream(settings: Settings) -> Iterator[Misbehaving]:
    with Misbehaving() as server:
        settings.VISION_URL = server.url
        settings.VISION_TOKEN = Secret("service-token")
        cloud.cloud.cache_clear()
        yield server
    cloud.cloud.cache_clear()


def answers(server: Misbehaving, *coords: list[float]) -> bytes:
    objects = [
        {
            "status": 0, "name": f"file_{number}",
            "persons": [{"tag": "undefined", "coord": coord, "confidence": 0.9, "similarity": 0.1}],
        }
        for number, coord in enumerate(coords)
    ]  # fmt: skip
    body = {"objects": objects, "aliases_changed": False}
    # Spaces and an order of its own: to the byte is to the byte.
    raw = json.dumps(
        {"last_modified": 0, "htmlencoded": False, "body": body, "status": 200}, indent=1
    ).encode()
    server.script.append(answer(raw))
    return raw


def send(team: Team, *data: bytes, fit: bool, **limits: Any) -> tuple[Any, ApiKey]:
    key, text = wire.make_key(team, fit=fit, **limits)
    names = [f"file_{number}" for number in range(len(data))]
    parts = [file(name, one) for name, one in zip(names, data, strict=True)]
    body = wire.multipart(*parts, meta(pictures(*names)))
    got = Client().generic(
        "POST", f"{wire.path('recognize')}?oauth_token={text}", body, wire.MULTIPART
    )
    return got, key


SMALL = wire.encoded(Pillow.new("RGB", (640, 480), "gray"), "JPEG")
LARGE = wire.encoded(Pillow.new("RGB", (4000, 3000), "gray"), "JPEG")


def test_a_picture_that_is_too_large_is_sent_as_a_copy_and_its_boxes_come_back(
    team: Team, alice: User, sign_in: SignIn, upstream: Misbehaving
) -> None:
    raw = answers(upstream, [10, 20, 30, 40], [100, 200, 300, 400])
    got, _ = send(team, SMALL, LARGE, fit=True)
    told = got.json()
    assert told["body"]["objects"][0]["persons"][0]["coord"] == [10, 20, 30, 40]
    scale = 3000 / 2160
    mapped = told["body"]["objects"][1]["persons"][0]["coord"]
    check_near(mapped, [round(edge * scale) for edge in (100, 200, 300, 400)], 1)
    (received,) = upstream.received
    _, files = received.parts()
    assert files["file_0"].read() == SMALL
    assert Pillow.open(files["file_1"]).size == (2880, 2160)
    call = Call.objects.get()
    assert call.answer == raw.decode()
    first, second = Recognition.objects.order_by("position")
    assert (first.own_width, first.width) == (0, 0)
    assert (second.width, second.height) == (2880, 2160)
    assert (second.own_width, second.own_height) == (4000, 3000)
    finding = Finding.objects.get(recognition=second)
    assert (finding.left, finding.bottom) == (100, 400)
    entry = AuditEntry.objects.get(action="call.recognize")
    for stored, rows, findings in records.stored([call.pk]):
        assert records.digest_of(stored, rows, findings) == entry.after["record"]
        rows[1].own_width += 1
        assert records.digest_of(stored, rows, findings) != entry.after["record"]
    client = sign_in(alice)
    page = client.get(reverse("call", args=[team.slug, call.pk])).text
    assert "2880 \N{MULTIPLICATION SIGN} 2160 pixels, a copy of 4000" in page
    card = reverse("evidence", args=[team.slug, call.pk, second.pk, 0])
    assert "4000 \N{MULTIPLICATION SIGN} 3000" in client.get(card).text
    told = client.get(card, {"format": "json"}).json()["face"]
    assert (told["sent_size"], told["own_size"]) == ([2880, 2160], [4000, 3000])


def test_where_nothing_is_too_large_the_answer_is_the_cloud_s_to_the_byte(
    team: Team, upstream: Misbehaving
) -> None:
    for fit in (True, False):
        shade = Pillow.new("RGB", (640, 480), (9 if fit else 99, 0, 0))
        raw = answers(upstream, [1, 2, 3, 4])
        got, _ = send(team, wire.encoded(shade, "JPEG"), fit=fit)
        assert got.content == raw
    assert not Recognition.objects.exclude(own_width=0).exists()


@pytest.mark.parametrize("fit", [True, False])
def test_pictures_within_the_limits_cost_one_question_to_a_helper_together(
    team: Team, upstream: Misbehaving, monkeypatch: pytest.MonkeyPatch, fit: bool
) -> None:
    asked: list[str] = []
    ask = decoding.ask

    def counted(operation: str, *args: Any, **options: Any) -> decoding.Reply:
        asked.append(operation)
        return ask(operation, *args, **options)

    monkeypatch.setattr(decoding, "ask", counted)
    answers(upstream, [10, 20, 30, 40], [100, 200, 300, 400])
    got, _ = send(team, SMALL, SMALL, fit=fit)
    assert got.json()["status"] == 200
    assert asked == ["sizes"]


def test_without_the_option_a_large_picture_is_refused_as_before(
    team: Team, upstream: Misbehaving
) -> None:
    got, _ = send(team, SMALL, LARGE, fit=False)
    said = "image file_1 is 4000x3000 pixels, must be 5x5 to 3840x2160"
    assert (got.json()["status"], got.json()["body"]) == (400, said)
    got, _ = send(team, SMALL + bytes(15_000_000), fit=False)
    assert got.json()["body"] == "image file_0 is larger than 15000000 bytes"
    assert upstream.received == []


def test_a_heavy_picture_of_another_format_that_lies_comes_back_to_its_own_pixels(
    team: Team, upstream: Misbehaving
) -> None:
    shown = Pillow.new("RGB", (1000, 2000), "gray")
    data = turned(shown, 6, "WEBP")
    answers(upstream, [100, 200, 300, 400])
    got, _ = send(team, data, fit=True)
    _, files = upstream.received[0].parts()
    assert Pillow.open(files["file_0"]).size == (1000, 2000)
    coord = got.json()["body"]["objects"][0]["persons"][0]["coord"]
    assert coord == [200, 1000 - 300, 400, 1000 - 100]


def test_what_can_t_be_opened_is_told_as_before(team: Team, upstream: Misbehaving) -> None:
    data = wire.encoded(Pillow.new("RGB", (64, 64)), "ICO")
    got, _ = send(team, data, fit=True)
    assert got.json()["body"] == "image file_0 is an icon, must be JPEG, PNG or TIFF"
    assert upstream.received == []


def test_what_stays_too_heavy_is_refused_and_costs_nothing(
    team: Team, upstream: Misbehaving
) -> None:
    got, key = send(team, bytes(15_000_001), fit=True, daily_images=5)
    assert got.json()["body"] == "image file_0 is larger than 15000000 bytes"
    assert upstream.received == []
    assert KeyDay.objects.get(key=key).images == 0


# --- The option ---


def test_new_keys_fit_and_the_command_and_the_page_can_turn_it_off(
    team: Team, alice: User, sign_in: SignIn, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("create_api_key", "--team", team.slug, "--name", "on")
    call_command("create_api_key", "--team", team.slug, "--name", "off", "--no-fit")
    client = sign_in(alice)
    page = client.get(f"/t/{team.slug}/keys/").text
    assert 'name="fit" value="1" checked' in page
    client.post(f"/t/{team.slug}/keys/make", {"name": "page on", "methods": "set", "fit": "1"})
    client.post(f"/t/{team.slug}/keys/make", {"name": "page off", "methods": "set"})
    assert dict(ApiKey.objects.values_list("name", "fit")) == {
        "on": True, "off": False, "page on": True, "page off": False,
    }  # fmt: skip
    assert AuditEntry.objects.filter(action="key.create", after__fit=False).count() == 2
