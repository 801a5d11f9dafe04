"""The API's limits: requests beyond them are refused, in time and in little memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from persons.models import Call, Meter, Team
from persons.vision.limits import MAX_REQUEST_BYTES
from tests.support import wire
from tests.support.wire import Ask, Gunicorn, file, meta, part, pictures

pytestmark = [pytest.mark.any_database, pytest.mark.thorough]

SMALL = wire.encoded(Pillow.new("RGB", (8, 8)), "JPEG")
MB = 1_000_000
UNKNOWN = "The memory contains data of an unknown image type"
TOGETHER = "the images together are larger than 50000000 bytes"
MOST = 50 * MB
"""Of one image and of all, for the embedded recogniser: what may be uploaded. Of the cloud's limits
see test_proxy_fit.py."""


@pytest.fixture
def token(team: Team) -> str:
    return wire.make_key(team)[1]


@pytest.fixture
def ask(token: str) -> Ask:
    return wire.in_process(token)


@pytest.fixture
def remote(server: Gunicorn, transactional_db: None, token: str) -> Ask:
    return wire.over_http(server.address, token)


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path_factory.mktemp("limits")) as server:
        yield server


def padded(size: int) -> bytes:
    """A picture in so many bytes: what follows a JPEG's end is not looked at."""
    return SMALL + bytes(size - len(SMALL))


def recognize(ask: Ask, *data: bytes, **more: Any) -> wire.Got:
    names = [f"file_{number}" for number in range(len(data))]
    files = [file(name, one) for name, one in zip(names, data, strict=True)]
    return ask("recognize", *files, meta(pictures(*names, **more)))


def error_of(got: wire.Got) -> str:
    """The only image's, which is permanent; the request itself is in order."""
    (entry,) = got.body["objects"]
    assert entry["status"] == 1
    return str(entry["error"])


# --- Number and bytes ----------------------------------------------------------------------------


def test_an_image_of_50_mb_is_taken_and_one_byte_more_is_not(ask: Ask) -> None:
    got = recognize(ask, padded(MOST))
    assert got.body["objects"] == [{"status": 0, "name": "file_0"}]
    got = recognize(ask, padded(MOST + 1))
    assert got.outcome == (400, "image file_0 is larger than 50000000 bytes")
    assert Call.objects.count() == 1


def test_50_mb_together_are_taken_and_one_byte_more_is_not(ask: Ask) -> None:
    got = recognize(ask, padded(MAX_REQUEST_BYTES), padded(20 * MB))
    assert [entry["status"] for entry in got.body["objects"]] == [0, 0]
    got = recognize(ask, padded(24 * MB), padded(24 * MB), padded(2 * MB + 1))
    assert got.outcome == (400, TOGETHER)
    assert Call.objects.count() == 1


def test_a_hundred_images_of_300_kb_are_taken(ask: Ask) -> None:
    got = recognize(ask, *[padded(MAX_REQUEST_BYTES // 100)] * 100)
    assert [entry["status"] for entry in got.body["objects"]] == [0] * 100


def test_101_images_are_refused_however_small(ask: Ask) -> None:
    got = recognize(ask, *[SMALL] * 101)
    assert got.outcome == (400, "too many images: 101, at most 100 in a request")


def test_files_that_nobody_named_are_not_without_end(ask: Ask) -> None:
    stray = [file(f"stray_{number}", b"x") for number in range(121)]
    got = ask("truncate", *stray, meta({"space": "5"}))
    assert got.outcome == (400, "there are too many files, at most 100 in a request")
    assert ask("truncate", *stray[:120], meta({"space": "5"})).outcome == (200, {})
    large = [file(f"stray_{number}", bytes(10 * MB + 1)) for number in range(5)]
    assert ask("truncate", *large, meta({"space": "5"})).outcome == (400, TOGETHER)


def test_a_body_that_says_it_is_too_large_is_not_read(ask: Ask, token: str) -> None:
    """Its length alone is enough."""
    from django.test import Client

    class Body(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1, /) -> bytes:
            Body.asked += size or 0
            return b""

    environ: dict[str, Any] = {
        "CONTENT_TYPE": wire.MULTIPART,
        "CONTENT_LENGTH": "300000000",
        "wsgi.input": Body(),
    }
    response = Client().generic("POST", f"{wire.path('set')}?oauth_token={token}", **environ)
    assert response.json() == wire.envelope(400, TOGETHER)
    assert Body.asked == 0


# --- Pixels and formats --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size", [(5, 5), (970, 2204), (30_000, 5), (6000, 4000)])
def test_the_smallest_and_the_largest_picture_are_taken(
    ask: Ask, kind: str, size: tuple[int, int]
) -> None:
    got = recognize(ask, wire.encoded(Pillow.new("L", size), kind))
    assert got.body["objects"] == [{"status": 0, "name": "file_0"}]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size", [(4, 5), (5, 4), (30_001, 5)])
def test_a_picture_outside_the_sizes_is_told_so(ask: Ask, kind: str, size: tuple[int, int]) -> None:
    got = recognize(ask, wire.encoded(Pillow.new("L", size), kind))
    width, height = size
    wanted = f"the image is {width}x{height} pixels, must be 5x5 to 30000x30000"
    assert error_of(got) == wanted
    set_ = ask("set", file("file", wire.encoded(Pillow.new("L", size), kind)), meta(wire.people()))
    assert error_of(set_) == wanted


@pytest.mark.parametrize("kind", ["ICO", "PDF"])
def test_a_picture_of_another_format_is_told_so(ask: Ask, kind: str) -> None:
    assert error_of(recognize(ask, wire.encoded(Pillow.new("RGB", (64, 64)), kind))) == UNKNOWN


@pytest.mark.parametrize(
    "data",
    [b"x", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", SMALL[:-400], b"<svg/>", bytes(5000)],
)
def test_a_broken_picture_is_its_own_error_and_nobody_elses(ask: Ask, data: bytes) -> None:
    got = recognize(ask, SMALL, data)
    good, bad = got.body["objects"]
    assert good == {"status": 0, "name": "file_0"}
    assert bad == {"status": 1, "error": UNKNOWN, "name": "file_1"}


WHATEVER = {
    "GIF": "a GIF",
    "BMP": "a BMP",
    "WEBP": "a WebP",
    "ICO": "an icon",
    "PDF": "a PDF",
    "HEIF": "a HEIC",
    "JPEG2000": "a JPEG 2000",
}


@pytest.mark.parametrize("method", ["set", "recognize"])
@pytest.mark.parametrize("kind", WHATEVER)
def test_the_cloud_is_sent_no_picture_of_another_format(
    team: Team, monkeypatch: pytest.MonkeyPatch, kind: str, method: str
) -> None:
    data = wire.encoded(Pillow.new("RGB", (64, 64)), kind)
    wanted = f"image b is {WHATEVER[kind]}, must be JPEG, PNG or TIFF"
    assert_not_sent(team, monkeypatch, method, data, wanted)


@pytest.mark.parametrize("method", ["set", "recognize"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size", [(4, 5), (5, 4), (3841, 2160), (2160, 3840)])
def test_the_cloud_is_sent_no_picture_outside_the_sizes(
    team: Team, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], kind: str, method: str
) -> None:
    data = wire.encoded(Pillow.new("L", size), kind)
    wanted = f"image b is {size[0]}x{size[1]} pixels, must be 5x5 to 3840x2160"
    assert_not_sent(team, monkeypatch, method, data, wanted)


def assert_not_sent(
    team: Team, monkeypatch: pytest.MonkeyPatch, method: str, data: bytes, wanted: str
) -> None:
    """Nor paid, nor taken from the key's day: two images fit, and still do."""
    vision = wire.use(monkeypatch, wire.Vision())
    ask = wire.in_process(wire.make_key(team, daily_images=2, fit=False)[1])
    parts = [file("a", SMALL), file("b", data), meta(wire.people("a", "b"))]
    assert ask(method, *parts).outcome == (400, wanted)
    assert vision.asked == [] and not Call.objects.exists() and not Meter.objects.exists()
    parts[1] = file("b", SMALL + b"more")
    assert ask(method, *parts).told["status"] == 200
    assert len(vision.asked) == 1


# --- A bomb --------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that says it has so many pixels, and has a good part of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress(bytes((width + 1) * min(height, 2000)), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_001, 10_000), (15_000, 15_000), (60_000, 60_000)])
def test_nothing_is_decoded_before_its_size_is_known_to_be_sane(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    from PIL.PngImagePlugin import PngImageFile

    def load(self: PngImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImageFile, "load", load)
    monkeypatch.setattr(PngImageFile, "load_prepare", load)
    said = error_of(recognize(ask, bomb(*size)))
    assert "pixels" in said


@pytest.mark.processes
def test_a_hundred_bombs_cost_neither_time_nor_memory(remote: Ask, server: Gunicorn) -> None:
    one = bomb(30_000, 2000)
    assert len(one) < 100_000
    recognize(remote, SMALL)
    server.forget_peak()
    before = server.peak_bytes()
    got = recognize(remote, *[one] * 100)
    assert got.outcome == (400, "the images together have more than 829440000 pixels")
    # One of them decoded is 60 MB. The request itself is 6 MB.
    assert server.peak_bytes() - before < 45 * MB


# --- While it streams in -------------------------------------------------------------------------


def head(token: str, *lines: str) -> bytes:
    first = f"POST {wire.path('recognize')}?oauth_token={token}&oauth_provider=mcs HTTP/1.1"
    usual = [first, "Host: 127.0.0.1", f"Content-Type: {wire.MULTIPART}", *lines]
    return "\r\n".join([*usual, "", ""]).encode()


def endless(part: bytes, pieces: int) -> Iterator[bytes]:
    """One file part that goes on for as many megabytes."""
    yield b"--" + wire.BOUNDARY.encode() + b"\r\n" + part
    for _ in range(pieces):
        yield bytes(MB)


def chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


@pytest.mark.processes
@pytest.mark.parametrize("gentle", [True, False])
@pytest.mark.parametrize("key", ["good", "unknown"])
@pytest.mark.parametrize("how", ["length", "chunked", "many parts", "nameless"])
def test_300_mb_are_refused_while_they_come(
    server: Gunicorn, transactional_db: None, token: str, how: str, key: str, gentle: bool
) -> None:
    """After about as much as is allowed, and in the memory of about as much.

    A client that looks for an answer while it sends gets one at once. One that sends all before it
    reads is let send a little more than a request may have, and then the connection is closed.
    """
    wire.over_http(server.address, token)("truncate", meta({"space": "5"}))
    server.forget_peak()
    before = server.peak_bytes()

    def pieces() -> Iterator[bytes]:
        text = token if key == "good" else "unknown"
        start = file("file", b"")
        if how == "length":
            yield head(text, f"Content-Length: {300 * MB}")
            yield from endless(start, 299)
            return
        yield head(text, "Transfer-Encoding: chunked")
        if how == "chunked":
            yield from chunked(endless(start, 300))
            return
        one = part("", bytes(10 * MB)) if how == "nameless" else file("file", bytes(10 * MB))
        ten_mb = b"--" + wire.BOUNDARY.encode() + b"\r\n" + one + b"\r\n"
        yield from chunked(ten_mb for _ in range(30))

    answer, sent = wire.exchange(server.address, pieces(), gentle=gentle)
    # 50 MB and what the sockets hold.
    assert sent < 75 * MB
    assert server.peak_bytes() - before < 80 * MB
    # The connection may be cut before an answer was read by one who is still sending.
    assert answer or not gentle
    if answer:
        status, told = wire.told_by(answer)
        said = {
            ("good", "length"): (400, TOGETHER),
            ("good", "chunked"): (400, "image file is larger than 50000000 bytes"),
            ("good", "many parts"): (400, TOGETHER),
            ("good", "nameless"): (
                400,
                "there are too many parts, or a part that is no file is too large",
            ),
        }
        wanted = said.get((key, how), (403, "the oauth_token is unknown"))
        assert (status, told["status"], told["body"]) == (200, *wanted)
    # And it goes on for others.
    assert wire.over_http(server.address, token)("truncate", meta({"space": "5"})).body == {}


@pytest.mark.processes
@pytest.mark.parametrize("key", ["good", "unknown"])
def test_a_client_that_sends_all_before_it_reads_gets_its_answer(
    server: Gunicorn, transactional_db: None, token: str, key: str
) -> None:
    """If it is not much above the limits: were nobody to read it, the connection would be reset."""
    body = wire.multipart(file("file", bytes(MOST + 500_000)), meta(pictures()))
    text = token if key == "good" else "unknown"
    pieces = iter([head(text, f"Content-Length: {len(body)}", "Connection: close"), body])
    answer, sent = wire.exchange(server.address, pieces, gentle=False)
    assert sent > len(body)
    said = "image file is larger than 50000000 bytes", "the oauth_token is unknown"
    wanted = wire.envelope(400, said[0]) if key == "good" else wire.envelope(403, said[1])
    assert wire.told_by(answer) == (200, wanted)


@pytest.mark.processes
def test_a_client_that_goes_away_half_way_leaves_nothing(
    server: Gunicorn, transactional_db: None, token: str
) -> None:
    """Nobody is enrolled by half a picture."""

    def half() -> Iterator[bytes]:
        yield head(token, f"Content-Length: {MB}").replace(b"/recognize", b"/set")
        yield b"--" + wire.BOUNDARY.encode() + b"\r\n" + meta(wire.people()) + b"\r\n"
        yield (
            b"--" + wire.BOUNDARY.encode() + b"\r\n" + file("file", wire.photo("obama_1")[:50_000])
        )

    import socket
    from urllib.parse import urlsplit

    address = urlsplit(server.address)
    with socket.create_connection((address.hostname or "", address.port or 0)) as link:
        link.sendall(b"".join(half()))
        link.shutdown(socket.SHUT_WR)
        link.settimeout(15)
        # Head and body of the answer may come one after the other.
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    said = wire.envelope(400, "the body ended before its Content-Length")
    assert wire.told_by(answer) == (200, said)
    assert not Call.objects.exists()
    assert wire.over_http(server.address, token)("truncate", meta({"space": "5"})).body == {}


HEAD_CUT = b"POST /api/v1/persons/set HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-"


@pytest.mark.processes
@pytest.mark.parametrize("where", ["in the head", "in the body"])
def test_clients_that_fall_silent_half_way_keep_nobody_out(
    where: str, transactional_db: None, token: str, tmp_path: Path
) -> None:
    """More of them than there are threads, and none hangs up: as where a network is gone."""
    import socket
    from contextlib import ExitStack
    from urllib.parse import urlsplit

    begun = HEAD_CUT
    if where == "in the body":
        begun = head(token, f"Content-Length: {MB}") + b"--" + wire.BOUNDARY.encode() + b"\r\n"
    silent = Gunicorn(tmp_path, threads=2, ROLLCALL_CLIENT_SECONDS="1")
    with silent as server, ExitStack() as stack:
        address = urlsplit(server.address)
        where_to = (address.hostname or "", address.port or 0)
        links = [stack.enter_context(socket.create_connection(where_to, 20)) for _ in range(5)]
        for link in links:
            link.sendall(begun)
        ask = wire.over_http(server.address, token)
        assert ask("truncate", meta({"space": "5"})).outcome == (200, {})
        answers = []
        for link in links:
            with link.makefile("rb") as stream:
                answers.append(stream.read())
    told = wire.envelope(500, "the request could not be read or kept")
    for answer in answers:
        assert where == "in the head" or wire.told_by(answer) == (200, told)
