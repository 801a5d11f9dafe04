"""The cloud backend over HTTP: sending requests and classifying answers.

Source: VK Cloud Vision documentation, "Face recognition".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any
from urllib.parse import quote

from .errors import VisionRejected, VisionTemporary, VisionUnauthorized
from .guards import Admission, Circuit, CircuitBreaker, RateLimit
from .limits import MAX_IMAGES
from .tokens import Secret, TokenSource
from .transport import CHUNK, Http, host_of
from .types import Answer, Image, Method

# An error's envelope is one line of text. Anything longer is a success and is not parsed here.
_ERROR_MAX = 64 * 1024
_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif"}
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,60}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class HttpVision:
    """`persons.vision.types.Vision` of smarty.mail.ru, or of any server that speaks the same wire.

    `url` is the server's address, with or without the `/api` of the vendor's OpenAPI description.
    """

    name = "cloud"
    max_batch = MAX_IMAGES

    def __init__(
        self,
        url: str,
        tokens: TokenSource,
        *,
        provider: str = "mcs",
        http: Http | None = None,
        breaker: CircuitBreaker | None = None,
        limit: RateLimit | None = None,
    ) -> None:
        self.model = host_of(url)
        self._url = url.rstrip("/").removesuffix("/api") + "/api/v1/persons/"
        self._tokens = tokens
        self._provider = provider
        self._http = http or Http()
        self._breaker = breaker
        self._limit = limit

    def call(self, method: Method, meta: Mapping[str, Any], images: Sequence[Image]) -> Answer:
        return self.ask(method, meta, images)

    def ask(
        self,
        method: Method,
        meta: Mapping[str, Any],
        images: Sequence[Image],
        circuit: Circuit | None = None,
    ) -> Answer:
        """Send a request, and once more with a new token if this one was refused.

        `circuit` is the breaker's state, if it was read just now. A second refusal is returned as
        it came. If it isn't a valid envelope, VisionUnauthorized is raised, as it is if no token
        can be had.
        """
        body = Multipart(meta, _files(method, meta, images))
        token = self._tokens.token()
        answer = self._send(method, body, token, circuit)
        if not _is_refusal(answer):
            return answer
        try:
            token = self._tokens.renew(token)
        except VisionUnauthorized:
            renewed = False
        else:
            renewed = True
        if renewed:
            answer = self._send(method, body, token)
        if _is_refusal(answer) and envelope_status(answer.raw) is None:
            raise VisionUnauthorized(f"{self.model} refused the token (HTTP {answer.http_status}).")
        return answer

    def _send(
        self, method: Method, body: Multipart, token: Secret, circuit: Circuit | None = None
    ) -> Answer:
        admission = self._breaker.admit(circuit) if self._breaker else None
        try:
            if self._limit:
                self._limit.wait(body.images)
            answer = self._http.post(
                self._url + method.value,
                body,
                query={"oauth_token": token, "oauth_provider": self._provider},
            )
        except VisionTemporary:
            self._learn(admission, ok=False)
            raise
        except BaseException:
            if self._breaker and admission:
                self._breaker.abandoned(admission)
            raise
        self._learn(admission, ok=_is_alive(answer))
        return answer

    def _learn(self, admission: Admission | None, *, ok: bool) -> None:
        if self._breaker and admission:
            (self._breaker.succeeded if ok else self._breaker.failed)(admission)


def envelope_status(raw: bytes) -> int | None:
    """The envelope's status, or None if it isn't an envelope; `envelope.parse` says more."""
    if len(raw) > _ERROR_MAX:
        return 200 if raw.lstrip()[:1] == b"{" else None
    try:
        envelope = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    status = envelope.get("status") if isinstance(envelope, dict) else None
    return status if type(status) is int else None


def _is_refusal(answer: Answer) -> bool:
    return answer.http_status in (401, 403) or envelope_status(answer.raw) in (401, 403)


def _is_alive(answer: Answer) -> bool:
    """Whether the server judged the request; a failure is then the request's fault."""
    if 400 <= answer.http_status < 500:
        return True
    status = envelope_status(answer.raw)
    return answer.http_status < 500 and status is not None and status < 500


def _files(method: Method, meta: Mapping[str, Any], images: Sequence[Image]) -> list[Image]:
    """The images that `meta` names; `delete` and `truncate` send none."""
    if method not in (Method.SET, Method.RECOGNIZE):
        return []
    entries = meta.get("images")
    entries = entries if isinstance(entries, list | tuple) else ()
    names = {entry["name"] for entry in entries if isinstance(entry, Mapping) and "name" in entry}
    return [image for image in images if image.name in names]


# The body


class Multipart:
    """`meta` and the images as multipart/form-data, never joined into one buffer.

    Raises VisionRejected if a name can't be encoded.
    """

    secrets: Sequence[Secret] = ()

    def __init__(self, meta: Mapping[str, Any], images: Sequence[Image]) -> None:
        boundary = token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.images = len(images)
        self._parts: list[bytes] = []
        disposition = f'--{boundary}\r\nContent-Disposition: form-data; name="meta"\r\n\r\n'
        self._parts += [disposition.encode(), json.dumps(meta, allow_nan=False).encode()]
        for image in images:
            self._parts += [_part_head(boundary, image), image.data]
        self._parts.append(f"\r\n--{boundary}--\r\n".encode())

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[memoryview]:
        for part in self._parts:
            view = memoryview(part)
            # In pieces, so that a timeout applies to a piece and not to 15 MB.
            for start in range(0, len(view), CHUNK):
                yield view[start : start + CHUNK]


def _part_head(boundary: str, image: Image) -> bytes:
    known = _CONTENT_TYPE.fullmatch(image.content_type) is not None
    content_type = image.content_type if known else "application/octet-stream"
    # Servers written in Go treat a part as a file only if it has a file name.
    file_name = "image." + _EXTENSIONS.get(content_type, "bin")
    return (
        f"\r\n--{boundary}\r\n"
        f'Content-Disposition: form-data; {_name(image.name)}; filename="{file_name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    ).encode()


def _name(name: str) -> str:
    """`name` as a parameter that Go, Python and Django read back exactly.

    Quotes and backslashes are escaped by a backslash, other text is plain UTF-8 (RFC 7578, 5.1).
    A line break can't be quoted in a header at all: such names take the extended form of RFC 5987.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise VisionRejected("the name of an image must be valid text") from None
    if _CONTROL.search(name):
        return f"name*=UTF-8''{quote(name, safe='')}"
    return 'name="' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
