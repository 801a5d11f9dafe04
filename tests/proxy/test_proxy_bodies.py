"""Bodies that Go's multipart reader accepts give the same parts as strictly valid ones."""

from __future__ import annotations

import io
import json

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.test import RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multipart import MultipartError, ParserError

from persons.proxy.bodies import Strict
from persons.proxy.reading import ParsedBody, _Parser, read_body
from persons.vision.meta import BadMeta

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

BOUNDARY = "xx-line"
MARK = BOUNDARY.encode()
META = json.dumps({"space": "5", "images": [{"name": "a"}]}).encode()

Parts = list[tuple[list[bytes], bytes]]


def joined(
    parts: Parts, end: bytes = b"\r\n", gap: bytes = b"", before: bytes = b"", after: bytes = b""
) -> bytes:
    found = before
    for head, data in parts:
        found += b"--" + MARK + gap + end + end.join(head) + end + end + data + end
    return found + b"--" + MARK + b"--" + gap + after


def parts_of(body: bytes, step: int) -> Parts:
    source = io.BytesIO(body)
    strict = Strict(lambda size: source.read(min(size, step)), BOUNDARY)
    found: Parts = []
    parser = _Parser(strict.boundary, header_charset="latin-1", max_header_count=16)
    for piece in parser.parse_blocking(strict.read, 4096):
        if piece is None:
            continue
        if isinstance(piece, bytes | bytearray):
            found[-1] = (found[-1][0], found[-1][1] + piece)
        else:
            heads = [f"{name}: {value}".encode("latin-1") for name, value in piece.headerlist]
            found.append((heads, b""))
    return found


HEADS = st.sampled_from(
    [
        [b'Content-Disposition: form-data; name="meta"'],
        [
            b'Content-Disposition: form-data; name="a"; filename="a.jpg"',
            b"Content-Type: image/jpeg",
        ],
        [b'Content-Disposition: form-data; name="a"; filename=""', b"X-Odd: \xff\xfe"],
    ]
)
# Full of what could be taken for a delimiter.
CONTENT = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"\r\n",
            b"-",
            b"--",
            MARK,
            b"--" + MARK,
            b"\r\n--" + MARK,
            b"x",
            b" ",
            b"\0",
        ]
    ),
    max_size=12,
).map(b"".join) | st.binary(max_size=200)


def is_plain(data: bytes) -> bool:
    """No frame of any kind is in it, nor begins with its end or ends with its beginning."""
    whole = b"\r\n" + data + b"\r\n"
    return all(b"\n--" + MARK + after not in whole for after in (b" ", b"\t", b"\r", b"\n", b"--"))


@PATIENT
@given(
    st.lists(st.tuples(HEADS, CONTENT.filter(is_plain)), min_size=1, max_size=3),
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([b"", b" ", b" \t  "]),
    st.sampled_from([b"", b"a preamble\r\n", b"\n", b"--xx\n", b"y" * 9000 + b"\r\n"]),
    st.sampled_from([b"", b"\r\n", b"\n", b"\r\nan epilogue"]),
    st.integers(1, 300),
)
def test_every_way_of_writing_the_frame_gives_the_same_parts(
    parts: Parts, end: bytes, gap: bytes, before: bytes, after: bytes, step: int
) -> None:
    if end == b"\n":
        parts = [(head, data.removesuffix(b"\r")) for head, data in parts]
    expected = parts_of(joined(parts), 10_000)
    assert expected == parts
    assert parts_of(joined(parts, end, gap, before, after), step) == expected


@PATIENT
@given(st.binary(max_size=300) | CONTENT, st.integers(1, 50))
def test_any_bytes_give_parts_or_an_error(body: bytes, step: int) -> None:
    for content in (body, b"--" + MARK + b"\r\n" + body, b"--" + MARK + b"\n" + body):
        try:
            parts_of(content, step)
        except MultipartError:
            continue


@PATIENT
@given(
    st.lists(st.tuples(HEADS, st.binary(max_size=90)), min_size=1, max_size=2),
    st.integers(1, 40),
)
def test_it_makes_no_difference_in_which_pieces_a_body_comes(parts: Parts, step: int) -> None:
    def outcome(size: int) -> Parts | str:
        try:
            return parts_of(joined(parts), size)
        except MultipartError:
            return "refused"

    assert outcome(step) == outcome(100_000)


def test_memory_is_one_line_and_one_piece() -> None:
    strict = Strict(io.BytesIO(b"y" * 3_000_000).read, BOUNDARY)
    assert strict.read(1000) == b""
    assert len(strict._buffer) < 10_000
    endless = Strict(io.BytesIO(b"--" + MARK + b" " * 100_000).read, BOUNDARY)
    assert endless.read(1000) == b""
    assert len(endless._buffer) < 10_000
    begun = b"--" + MARK + b"\r\nX: y\r\n\r\ndata\r\n--" + MARK
    endless = Strict(io.BytesIO(begun + b" " * 100_000).read, BOUNDARY)
    endless.read(1000)
    with pytest.raises(ParserError, match="no end"):
        endless.read(1000)


# --- What a client gets ---


def request(
    body: bytes, content_type: str = f"multipart/form-data; boundary={BOUNDARY}"
) -> ParsedBody:
    made = RequestFactory().generic("POST", "/", body, content_type)
    assert isinstance(made, WSGIRequest)
    return read_body(made)


META_PART = ([b'Content-Disposition: form-data; name="meta"'], META)
PICTURE = b"\xff\xd8picture\r\n--xx"


def a_file(disposition: bytes, data: bytes = PICTURE, *more: bytes) -> tuple[list[bytes], bytes]:
    return [b"Content-Disposition: form-data; " + disposition, *more], data


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("gap", [b"", b" \t"])
def test_lines_may_end_with_lf_and_delimiters_with_spaces(end: bytes, gap: bytes) -> None:
    found = request(joined([META_PART, a_file(b'name="a"; filename="a.jpg"')], end, gap))
    assert found.meta == META
    assert [(image.name, image.data) for image in found.images] == [("a", PICTURE)]


def test_meta_may_have_an_empty_file_name() -> None:
    body = joined([a_file(b'name="meta"; filename=""', META), a_file(b'name="a"; filename="b"')])
    assert request(body).meta == META


def test_a_picture_may_have_an_empty_file_name() -> None:
    body = joined([META_PART, a_file(b'name="a"; filename=""')])
    assert [image.data for image in request(body).images] == [PICTURE]


def test_an_empty_part_with_an_empty_file_name_is_no_picture() -> None:
    body = joined([META_PART, a_file(b'name="a"; filename=""', b"")])
    assert request(body).images == ()


def test_a_file_that_has_a_name_comes_before_one_of_the_same_part_that_has_none() -> None:
    files = [a_file(b'name="a"; filename=""', b"stray"), a_file(b'name="a"; filename="a.jpg"')]
    assert [image.data for image in request(joined([META_PART, *files])).images] == [PICTURE]


def test_a_part_may_be_quoted_printable_as_go_reads_it() -> None:
    code = b"Content-Transfer-Encoding: Quoted-Printable"
    body = joined([META_PART, a_file(b'name="a"; filename="a"', b"=FF=D8a=\r\nb=3D", code)])
    assert [image.data for image in request(body).images] == [b"\xff\xd8ab="]


def test_a_part_s_own_length_says_nothing() -> None:
    body = joined([META_PART, a_file(b'name="a"; filename="a"', PICTURE, b"Content-Length: 5")])
    assert [image.data for image in request(body).images] == [PICTURE]


def test_a_head_may_go_on_in_the_next_line() -> None:
    body = joined([META_PART, a_file(b'name="a";', PICTURE, b'\tfilename="a.jpg"')])
    assert [image.name for image in request(body).images] == ["a"]


@pytest.mark.parametrize(
    "body",
    [
        joined([META_PART]).removesuffix(b"--"),
        joined([META_PART], b"\n").replace(b"\n--xx-line--", b"\r\n--xx-line \r\n"),
        joined([META_PART]).replace(b"--xx-line--", b"--xx-line junk\r\n"),
    ],
)
def test_what_go_refuses_is_refused(body: bytes) -> None:
    with pytest.raises(BadMeta, match="can't be parsed"):
        request(body)
