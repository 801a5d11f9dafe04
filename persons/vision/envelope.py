"""The envelope around every answer: building it, and parsing it once, at the border.

`{"status", "body", "htmlencoded": false, "last_modified": 0}`, where `status` is 200 with an object
as `body`, or 400, 403 or 500 with a text. Source: VK Cloud Vision documentation, "Face
recognition", and its OpenAPI description 1.0.3.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .errors import VisionRejected, VisionTemporary, VisionUnauthorized
from .types import Answer, Box, Envelope, FoundPerson, ImageResult, ImageStatus, Method

UNDEFINED = "undefined"
MISSING = "Vision sent no answer for this image"
CONTRADICTORY = "Vision sent two different answers for this image"

_ID_MAX = 2**63 - 1
_TEXT_MAX = 500
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

MAX_DEPTH = 40
"""Maximum nesting of lists and objects, envelope included: `recognize` has seven levels."""

# "person1" on the wire, "person_1" in the OpenAPI description's example.
_TAG = re.compile(r"person_?([0-9]{1,19})")
_SECRET = re.compile(r"(\w*(?:token|secret)\w*=)[^&\s\"'<>]+", re.IGNORECASE)


# Building


def success(body: Mapping[str, Any]) -> bytes:
    """An envelope of status 200."""
    return _dump(200, body)


def failure(status: int, text: str) -> bytes:
    """An envelope of status 400, 403 or 500."""
    return _dump(status, text)


def done(name: str) -> dict[str, Any]:
    """An entry of `body.objects` for an image that was processed."""
    return {"status": int(ImageStatus.DONE), "name": name}


def failed(name: str, error: str, status: ImageStatus = ImageStatus.PERMANENT) -> dict[str, Any]:
    """An entry of `body.objects` for an image that failed."""
    return {"status": int(status), "error": error, "name": name}


def tag_of(person_id: int | None) -> str:
    return UNDEFINED if person_id is None else f"person{person_id}"


def _dump(status: int, body: Mapping[str, Any] | str) -> bytes:
    envelope = {"status": status, "body": body, "htmlencoded": False, "last_modified": 0}
    # ASCII escapes: a name with a lone surrogate could not be encoded otherwise.
    return json.dumps(envelope, allow_nan=False).encode("ascii")


# Parsing


class _Malformed(ValueError):
    """The JSON is not what the documentation describes; the text says where."""


def parse(method: Method, answer: Answer) -> Envelope:
    """Parse a successful answer.

    Errors follow the envelope, with the vendor's text, and not the HTTP code. Raises
    VisionRejected for 400 and other 4xx, VisionUnauthorized for 401 and 403, and VisionTemporary
    for 429, 5xx and anything that isn't a well-formed envelope (a gateway's HTML page, a truncated
    body).
    """
    envelope = _load(answer)
    status, body = envelope.get("status"), envelope.get("body")
    if type(status) is not int:
        raise VisionTemporary(f"Vision's answer has no status (HTTP {answer.http_status})")
    if status != 200:
        _raise_failure(status, body)
    try:
        return _envelope(method, body)
    except _Malformed as error:
        raise VisionTemporary(f"Vision's answer is malformed: {error}") from None


def match_objects(names: Sequence[str], envelope: Envelope) -> list[ImageResult]:
    """One result for each name, in the given order, regardless of the order of the answers.

    A name without an answer, or with two that differ, is a temporary error. Identical duplicates
    count once; unknown names are ignored.
    """
    answers: dict[str, list[ImageResult]] = {}
    for result in envelope.objects:
        answers.setdefault(result.name, []).append(result)

    def one(name: str) -> ImageResult:
        found = answers.get(name)
        if not found:
            return ImageResult(name, ImageStatus.TEMPORARY, MISSING)
        if any(other.raw != found[0].raw for other in found):
            return ImageResult(name, ImageStatus.TEMPORARY, CONTRADICTORY)
        return found[0]

    return [one(name) for name in names]


def clip(box: Box, width: int, height: int) -> Box | None:
    """The part of `box` inside a picture of `width` by `height` pixels, if any."""
    left, right = (min(max(x, 0), width) for x in (box.left, box.right))
    top, bottom = (min(max(y, 0), height) for y in (box.top, box.bottom))
    return Box(left, top, right, bottom) if left < right and top < bottom else None


def person_id_of(tag: str) -> int | None:
    """The id in `person<id>`; None for "undefined" and for an unknown form."""
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    person_id = int(match[1])
    return person_id if person_id <= _ID_MAX else None


def _load(answer: Answer) -> Mapping[str, Any]:
    try:
        envelope = json.loads(answer.raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The body is not quoted: a gateway's error page may repeat the URL, token included.
        raise VisionTemporary(f"Vision's answer is not JSON (HTTP {answer.http_status})") from None
    if not isinstance(envelope, dict):
        raise VisionTemporary(f"Vision's answer is no envelope (HTTP {answer.http_status})")
    return {storable(key): storable(value) for key, value in envelope.items()}


def storable(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A copy of parsed JSON without values that no database stores: NULs, lone surrogates,
    infinite numbers, and lists and objects nested deeper than `depth`."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [storable(inner, depth - 1) for inner in value] if depth else []
    if isinstance(value, dict):
        if not depth:
            return {}
        return {storable(key): storable(inner, depth - 1) for key, inner in value.items()}
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_failure(status: int, body: object) -> NoReturn:
    text = body if isinstance(body, str) and body.strip() else f"Vision answered {status}"
    text = _plain(text)
    if status in (401, 403):
        raise VisionUnauthorized(text)
    if 400 <= status < 500 and status != 429:
        raise VisionRejected(text)
    raise VisionTemporary(text)


def _plain(text: str) -> str:
    """An error's text, cleaned for display."""
    return _SECRET.sub(r"\1***", text)[:_TEXT_MAX]


def _envelope(method: Method, body: object) -> Envelope:
    if not isinstance(body, dict):
        raise _Malformed("body is no object")
    if method is Method.TRUNCATE:
        return Envelope(objects=())
    objects = body.get("objects")
    if not isinstance(objects, list):
        raise _Malformed("body.objects is no list")
    return Envelope(
        objects=tuple(_result(entry) for entry in objects),
        aliases_changed=body.get("aliases_changed") is True,
    )


def _result(entry: object) -> ImageResult:
    if not isinstance(entry, dict):
        raise _Malformed("an entry of objects is no object")
    name, status, error = entry.get("name"), entry.get("status"), entry.get("error")
    if not isinstance(name, str):
        raise _Malformed("an entry of objects has no name")
    if type(status) is not int or status not in (0, 1, 2):
        raise _Malformed("an entry of objects has no known status")
    persons = entry.get("persons")
    if persons is None:  # an image without a face has no such key
        persons = []
    if not isinstance(persons, list):
        raise _Malformed("persons is no list")
    return ImageResult(
        name=name,
        status=ImageStatus(status),
        error=_plain(error) if isinstance(error, str) else "",
        persons=tuple(_person(person) for person in persons),
        raw=entry,
    )


def _person(person: object) -> FoundPerson:
    """Parse a person. Tag and box are required; other values count as absent if missing or of a
    wrong type.

    Absent `confidence` and `similarity` become 0, which triggers no action.
    """
    if not isinstance(person, dict):
        raise _Malformed("an entry of persons is no object")
    tag = person.get("tag")
    if not isinstance(tag, str):
        raise _Malformed("a person has no tag")
    return FoundPerson(
        tag=tag,
        person_id=person_id_of(tag),
        box=_box(person.get("coord")),
        confidence=_number(person, "confidence", 0, 1) or 0.0,
        similarity=_number(person, "similarity", 0, 1) or 0.0,
        aliases=_texts(person, "aliases"),
        awesomeness=_number(person, "awesomeness", 0, 1),
        frontality=_number(person, "frontality", -1, 1),
        visibility=_number(person, "visibility", 0, 1),
        sex=_text(person, "sex"),
        age=_number(person, "age", 0, 200),
        emotion=_text(person, "emotion"),
        valence=_number(person, "valence", -1, 1),
        arousal=_number(person, "arousal", -1, 1),
    )


def _box(coord: object) -> Box:
    """[left, top, right, bottom], sorted: an OpenAPI example has the top below the bottom."""
    if not isinstance(coord, list) or len(coord) != 4:
        raise _Malformed("coord is no list of four numbers")
    x1, y1, x2, y2 = (_pixel(value) for value in coord)
    return Box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def _pixel(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Malformed("coord holds something else than numbers")
    if not -1e9 < value < 1e9:
        raise _Malformed("coord is out of all proportion")
    return round(value)


def _number(person: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    """A number clamped to its documented range; None if absent."""
    value = person.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(min(max(value, low), high))


def _text(person: Mapping[str, Any], key: str) -> str | None:
    value = person.get(key)
    return value if isinstance(value, str) and value else None


def _texts(person: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = person.get(key)
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()
