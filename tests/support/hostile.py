"""Strategies for hostile requests to the proxy, and a judge of its answers."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.support.wire import (
    BOUNDARY,
    ENVELOPE,
    METHODS,
    MULTIPART,
    check_schema,
    file,
    meta,
    multipart,
)

TIMEOUT = 10.0
KEY = "KEY"
"""Placeholder for a valid API key in a query or a header."""

PICTURES = [
    b"",
    b"x",
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x02\x00\x00\x00",
    b"II*\x00\x08\x00\x00\x00\xff\xff",
    b"MM\x00*" + bytes(40),
    b"GIF89a" + bytes(20),
    bytes(70_000),
    # A whole PNG of one pixel.
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
        "0000000a49444154789c6360000000020001"
        "48afa4710000000049454e44ae426082"
    ),
]


@dataclass(frozen=True)
class Request:
    """One HTTP request. `chunk` is the size of chunks in bytes.

    `framing` is "length", "chunked" or "none"; or "short" or "long" for a body that is shorter or
    longer than its Content-Length.
    """

    method: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    framing: str = "length"
    chunk: int = 1000

    def raw(self, token: str) -> bytes:
        lines = [
            f"POST /api/v1/persons/{self.method}?{self.query} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        size = len(self.body)
        match self.framing:
            case "chunked":
                lines.append("Transfer-Encoding: chunked")
            case "short":
                lines.append(f"Content-Length: {size + 100}")
            case "long":
                lines.append(f"Content-Length: {max(size - 10, 0)}")
            case "none":
                pass
            case _:
                lines.append(f"Content-Length: {size}")
        head = "\r\n".join([*lines, "", ""]).replace(KEY, token).encode("latin-1", "replace")
        return head + (self._chunks() if self.framing == "chunked" else self.body)

    def _chunks(self) -> bytes:
        parts = [
            self.body[start : start + self.chunk] for start in range(0, len(self.body), self.chunk)
        ]
        return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# --- Strategies ----------------------------------------------------------------------------------

_text = st.text(max_size=12)
_names = st.sampled_from(
    ["file", "file_0", "a/b.jpg", "meta", "", "ф", 'q"uote', "a\\b", "x" * 400]
)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | _text
    | st.sampled_from(["", "5", "\0", "\ud800", "1" * 400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=10,
)
_spaces: SearchStrategy[Any] = st.sampled_from(
    [str(number) for number in range(10)]
) | st.sampled_from(
    ["", "-1", "10", "00", "+5", "5 ", "\u0665", "9" * 50, None, 5, 5.5, True, [], {}]
)
_person_ids = st.sampled_from([1, 2, 3, 2**31, 2**62, 2**63 - 1, 2**63, 0, -1, "1", 1.5, None])
_entries = st.fixed_dictionaries(
    {"name": _names | _text}, optional={"person_id": _person_ids, "odd": _json}
)


@st.composite
def metas(draw: st.DrawFn) -> bytes:
    """`meta` parts, from valid ones to ones that are no JSON at all."""
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(st.binary(max_size=200))
    if how == 1:
        return json.dumps(draw(_json)).encode()
    if how == 2:
        return str(draw(_json)).encode("utf-8", "replace")
    told: dict[str, Any] = {
        "space": draw(_spaces),
        "images": draw(st.lists(_entries, max_size=4) | _json),
    }
    told |= draw(
        st.dictionaries(
            st.sampled_from(["create_new", "update_embedding", "searcher", "labels"]) | _text,
            st.booleans() | st.integers(-1, 2) | _json,
            max_size=3,
        )
    )
    raw = json.dumps(told, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return draw(mutated(raw)) if how == 3 else raw


@st.composite
def mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes with some of them removed, doubled, changed or inserted."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        to = min(len(raw), at + draw(st.sampled_from([0, 1, 2, 10, 100, 5000])))
        middle = draw(
            st.sampled_from(
                [b"", b"\r\n", b"\n", b"--", b"\0", b'"', b"\xff", BOUNDARY.encode(), b";", b"="]
            )
            | st.just(raw[at:to] * 2)
            | st.binary(max_size=8)
        )
        raw = raw[:at] + middle + raw[to:]
    return raw


_dispositions = st.sampled_from(
    [
        'form-data; name="{0}"; filename="a.jpg"',
        "form-data; name={0}; filename=a.jpg",
        "form-data; name={0}; filename=a.jpg; filename*=utf-8''%D1%84.jpg",
        "form-data; name*=utf-8''{0}; filename*=utf-8''a",
        "form-data; name*=nonsense''{0}; filename*=nonsense''%ff",
        "form-data; name*=utf-8'; filename*=x",
        'form-data; name="{0}"; name="other"; filename="a"; filename="b"',
        'form-data; name="{0}; filename="a',
        'form-data; filename="{0}"',
        'form-data; name="{0}"; filename=""',
        'form-data; name="{0}"; filename="../../{0}"',
        'attachment; name="{0}"; filename="a"',
        "; ; ;={0};;",
        "{0}",
        "form-data; name=\"{0}\"; filename*0=a; filename*1*=b''c",
    ]
)
_part_headers = st.sampled_from(
    [
        "Content-Type: image/jpeg",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Type: text/plain; charset=nonsense",
        "Content-Type: multipart/mixed; boundary=inner",
        "Content-Type:",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Transfer-Encoding: x",
        "Content-Length: 5",
        "Content-Length: -5",
        "Content-Length: 99999999999999999999",
        "Content-Disposition: form-data; name=again",
        "X-Long: " + "y" * 2000,
        "no colon",
        ": ",
        "",
    ]
)


@st.composite
def parts(draw: st.DrawFn) -> bytes:
    """A multipart part, well-formed or not."""
    lines = ["Content-Disposition: " + draw(_dispositions).format(draw(_names | _text))]
    lines += draw(st.lists(_part_headers, max_size=3))
    head = "\r\n".join(draw(st.permutations(lines))).encode("utf-8", "surrogatepass")
    between = draw(st.sampled_from([b"\r\n\r\n", b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n", b""]))
    data = draw(st.sampled_from(PICTURES) | st.binary(max_size=100) | metas())
    return head + between + data


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Request bodies: some reach the recogniser or the ledger, some are no multipart at all."""
    how = draw(st.integers(0, 15))
    if how == 0:
        return draw(st.binary(max_size=2000))
    listed = draw(st.lists(parts(), max_size=3)) if how < 10 else []
    if how <= 4 or how >= 7:
        # Include the files that `meta` names, else no request would pass the first check.
        listed += [
            file(name, draw(st.sampled_from(PICTURES)), filename="a.jpg")
            for name in ("file", "file_0")
        ]
        raw = draw(metas()) if how <= 4 else good_meta(draw)
        listed.append(meta(raw))
        listed = draw(st.permutations(listed))
    body = multipart(*listed)
    return draw(mutated(body)) if how in (4, 6, 7) else body


def good_meta(draw: st.DrawFn) -> bytes:
    ids = st.sampled_from([1, 2, 3, 2**31, 2**62, 2**63 - 1])
    told = {
        "space": draw(st.sampled_from([str(number) for number in range(10)])),
        "images": [
            {"name": name, "person_id": draw(ids)}
            for name in draw(st.permutations(["file", "file_0"]))
        ],
        "create_new": draw(st.booleans()),
        "update_embedding": draw(st.booleans()),
        "labels": draw(st.booleans()),
    }
    return json.dumps(told).encode()


_content_types = st.sampled_from(
    [MULTIPART] * 70
    + [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\xff",
        f"multipart/form-data; boundary={'b' * 300}",
        f'Multipart/Form-Data; charset=nonsense; boundary="{BOUNDARY}"',
        f"multipart/form-data; charset=utf-16; boundary={BOUNDARY}",
        f"multipart/form-data; boundary*=utf-8''{BOUNDARY}",
        f"multipart/form-data; boundary={BOUNDARY}; boundary=x",
        f"multipart/mixed; boundary={BOUNDARY}",
        "application/json",
        "",
        ";",
        "multipart/form-data; ; =; boundary",
    ]
)
_latin = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
)
_headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Authorization",
                "Accept",
                "X-Forwarded-For",
                "Cookie",
                "Origin",
                "Referer",
                "HX-Request",
            ]
        ),
        _latin | st.sampled_from([f"Bearer {KEY}", "Bearer", "Basic eDp5", "a=b; csrftoken=x"]),
    ),
    max_size=2,
)
_queries = st.sampled_from(
    [f"oauth_token={KEY}&oauth_provider=mcs"] * 60
    + [
        f"oauth_token={KEY}",
        f"oauth_token={KEY}&oauth_token=other",
        f"oauth_token=other&oauth_token={KEY}&oauth_provider=mr",
        f"oauth_token={KEY}&" + "&".join(["a=b"] * 500),
        f"oauth_token={KEY}%00",
        "oauth_token=%ff%fe",
        "oauth_token=%D0%BA",
        "oauth_token=",
        "oauth_token",
        "&&==%&%zz",
        "",
    ]
)
_framings = st.sampled_from(["length"] * 20 + ["chunked"] * 4 + ["short", "long", "none"])


def requests(body: SearchStrategy[bytes] | None = None) -> SearchStrategy[Request]:
    return st.builds(
        lambda method, query, kind, headers, data, framing, chunk: Request(
            method,
            query,
            (("Content-Type", kind), *((name, value.strip()) for name, value in headers)),
            data,
            framing,
            chunk,
        ),
        st.sampled_from(METHODS),
        _queries,
        _content_types,
        _headers,
        body or bodies(),
        _framings,
        st.sampled_from([1, 3, 1000, 70_000]),
    )


# --- The vendor's description --------------------------------------------------------------------


def from_description(mode: str) -> SearchStrategy[Request]:
    """Requests that schemathesis generates from the vendor's OpenAPI description.

    "positive" ones follow it, "negative" ones don't. It doesn't say that file names must match
    `meta`, nor which spaces exist, so some of the positive ones get both corrected: otherwise none
    would reach Vision.
    """
    import schemathesis
    from schemathesis import GenerationMode

    from tests.support.wire import openapi

    schema = schemathesis.openapi.from_dict(openapi())
    results: list[Any] = list(schema.get_all_operations())
    found: list[Any] = [result.ok() for result in results]
    return st.one_of(
        [
            operation.as_strategy(generation_mode=GenerationMode(mode)).flatmap(_described)
            for operation in found
        ]
    )


@st.composite
def _described(draw: st.DrawFn, case: Any) -> Request:
    import requests as http

    method = case.operation.path.rsplit("/", 1)[1]
    if (
        isinstance(case.body, dict)
        and isinstance(case.body.get("meta"), dict)
        and draw(st.booleans())
    ):
        told = {**case.body["meta"], "space": draw(_spaces)}
        images = told.get("images")
        entries = (
            [entry for entry in images if isinstance(entry, dict)]
            if isinstance(images, list)
            else []
        )
        for number, entry in enumerate(entries):
            entry["name"] = f"file_{number}"
        told["images"] = entries or [{"name": "file_0", "person_id": 1}]
        files = [
            file(f"file_{number}", draw(st.sampled_from(PICTURES)))
            for number in range(len(told["images"]))
        ]
        query = f"oauth_token={KEY}&oauth_provider=mcs"
        raw = multipart(*files, meta(told))
        return Request(method, query, (("Content-Type", MULTIPART),), raw)
    made = case.as_transport_kwargs(base_url="http://127.0.0.1/api")
    known = ("method", "url", "headers", "data", "files", "params", "json")
    ready = http.Request(**{key: made[key] for key in known if key in made}).prepare()
    query = urlsplit(str(ready.url)).query
    if draw(st.integers(0, 9)):
        query = f"{query}&oauth_token={KEY}"  # The last one counts.
    kept = {"content-type", "authorization", "cookie", "accept"}
    headers = tuple(
        (str(name), str(value)) for name, value in ready.headers.items() if name.lower() in kept
    )
    body = ready.body or b""
    return Request(method, query, headers, body.encode() if isinstance(body, str) else body)


# --- The judge -----------------------------------------------------------------------------------


@dataclass
class Judge:
    """Sends requests to one server, checks its answers, and counts the outcomes in `seen`."""

    address: str
    token: str
    seen: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def try_(self, request: Request) -> None:
        """Raises AssertionError if the answer is no valid envelope, or doesn't come in time."""
        import time

        began = time.monotonic()
        raw = self._send(request.raw(self.token), half_open=request.framing == "short")
        self.slowest = max(self.slowest, time.monotonic() - began)
        assert raw, "the connection was closed without an answer"
        while raw.startswith(b"HTTP/1.1 100"):
            raw = raw.partition(b"\r\n\r\n")[2]
        head, _, body = raw.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status == 200, (status, body[:300])
        told = json.loads(body)
        assert list(told) == ENVELOPE, told
        check_schema(request.method, told)
        # 500 is for an unreachable Vision, which the embedded one never is.
        assert told["status"] in (200, 400, 403), told
        self.seen[f"{request.method} {told['status']}"] += 1

    def _send(self, raw: bytes, *, half_open: bool) -> bytes:
        url = urlsplit(self.address)
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=TIMEOUT) as link:
            got = b""
            try:
                link.sendall(raw)
                if half_open:
                    link.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # The server answered before it had read everything.
            try:
                while data := link.recv(64 * 1024):
                    got += data
            except ConnectionResetError:
                pass
            except TimeoutError:
                raise AssertionError(
                    f"no end of the answer after {TIMEOUT} s: {got[:200]!r}"
                ) from None
            return got


Try = Callable[[Request], None]
