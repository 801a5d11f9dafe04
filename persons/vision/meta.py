"""The `meta` part of a request: frozen types, parsed once from JSON, and built for sending.

Error texts shown in the vendor's documentation are used verbatim; the others are ours. Every error
here means HTTP 200 with an envelope of status 400. Source: VK Cloud Vision documentation, "Face
recognition", its OpenAPI description 1.0.3, and "Limits".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from . import limits
from .errors import VisionRejected
from .types import Image, Method

PERSON_ID_MAX = 2**63 - 1
SEARCH_ALL, SEARCH_NEAREST = 0, 1

MAX_DEPTH = 32
"""Maximum nesting of lists and objects: `meta` has two levels."""

_INTEGER = re.compile(r"[+-]?[0-9]+")


class BadMeta(VisionRejected):
    """The request is invalid; the message is the `body` of the 400 envelope."""


@dataclass(frozen=True, slots=True)
class PersonImage:
    """An image of `set` or `delete`. `delete` sends no file; the name only labels the answer."""

    name: str
    person_id: int


@dataclass(frozen=True, slots=True)
class PersonImagesRequest:
    """What `set` and `delete` have in common: images of people of one space."""

    space: int
    images: tuple[PersonImage, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(image.name for image in self.images)

    def as_meta(self) -> dict[str, Any]:
        return {"space": str(self.space), "images": _person_images(self.images)}


class SetRequest(PersonImagesRequest):
    """A `set` request: each image is enrolled for its person."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RecognizeRequest:
    """A `recognize` request. `update_embedding` defaults to true: by default a recognition is a
    write."""

    space: int
    names: tuple[str, ...]
    create_new: bool = False
    update_embedding: bool = True
    searcher: int = SEARCH_ALL

    def as_meta(self) -> dict[str, Any]:
        return {
            "space": str(self.space),
            "create_new": self.create_new,
            "update_embedding": self.update_embedding,
            "searcher": self.searcher,
            "images": [{"name": name} for name in self.names],
        }


class DeleteRequest(PersonImagesRequest):
    """A `delete` request: each image's person is deleted."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TruncateRequest:
    space: int

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def as_meta(self) -> dict[str, Any]:
        return {"space": str(self.space)}


Request = SetRequest | RecognizeRequest | DeleteRequest | TruncateRequest


def parse_json(raw: str | bytes) -> dict[str, Any]:
    """The JSON object in the `meta` part. Raises BadMeta."""
    try:
        meta = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadMeta("meta is not valid JSON") from None
    if not isinstance(meta, dict):
        raise BadMeta("meta must be a JSON object")
    return meta


def parse(method: Method, meta: Mapping[str, Any]) -> Request:
    """Parse a request. Unknown keys are ignored. Raises BadMeta."""
    space = _space(meta.get("space"))
    match method:
        case Method.SET:
            return SetRequest(space, _parse_person_images(meta))
        case Method.RECOGNIZE:
            names = tuple(_names(_entries(meta)))
            return RecognizeRequest(
                space,
                names,
                create_new=_flag(meta, "create_new", default=False),
                update_embedding=_flag(meta, "update_embedding", default=True),
                searcher=_searcher(meta.get("searcher")),
            )
        case Method.DELETE:
            return DeleteRequest(space, _parse_person_images(meta))
        case Method.TRUNCATE:
            return TruncateRequest(space)


def require_storable(meta: Mapping[str, Any]) -> None:
    """Refuse values that no database stores or other programs can't read back, even under unknown
    keys. Raises BadMeta."""
    level: list[object] = [meta]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, str) and not _is_text(value):
                raise BadMeta("meta must hold valid text")
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise BadMeta(f"meta is nested more than {MAX_DEPTH} levels deep")


def pick_images(
    names: Sequence[str], images: Sequence[Image], sizes: limits.Sizes = limits.WIRE
) -> list[Image]:
    """The file for each name of a `set` or `recognize`, in that order; other files are ignored.

    Raises BadMeta if one is missing, duplicated, empty or too large, or if all together are.
    """
    by_name: dict[str, Image] = {}
    wanted = frozenset(names)
    for image in images:
        if image.name in wanted and image.name in by_name:
            raise BadMeta(f"two files are named {image.name}")
        by_name[image.name] = image
    for name in names:
        if name not in by_name:
            raise BadMeta(f"could not get image by name {name}: http: no such file")
    picked = [by_name[name] for name in names]
    for image in picked:
        if not image.data:
            raise BadMeta("empty image")
        if len(image.data) > sizes.image:
            raise BadMeta(f"image {image.name} is larger than {sizes.image} bytes")
    if sum(len(image.data) for image in picked) > sizes.request:
        raise BadMeta(f"the images together are larger than {sizes.request} bytes")
    return picked


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of all bounds")
    return number


def _is_text(value: str) -> bool:
    """Whether text can be stored: PostgreSQL rejects NUL, and a lone surrogate is no character."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _person_images(images: Sequence[PersonImage]) -> list[dict[str, Any]]:
    return [{"name": image.name, "person_id": image.person_id} for image in images]


def _space(value: object) -> int:
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise BadMeta('space must be a string, such as "5"')
    if not _INTEGER.fullmatch(value):
        # The format of the vendor's text for a missing space; Go quotes as JSON does.
        quoted = json.dumps(value[:40])
        raise BadMeta(
            f"wrong space param {value[:40]}: strconv.Atoi: parsing {quoted}: invalid syntax"
        )
    # Length first: Python's int() refuses thousands of digits.
    if len(value) > 19 or int(value) not in limits.SPACES:
        raise BadMeta(f"wrong space param {value[:40]}: space must be 0 to {limits.SPACES[-1]}")
    return int(value)


def _entries(meta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    images = meta.get("images")
    if images is not None and not isinstance(images, list):
        raise BadMeta("images must be a list")
    if not images:
        raise BadMeta("no images have been provided")
    if len(images) > limits.MAX_IMAGES:
        raise BadMeta(f"too many images: {len(images)}, at most {limits.MAX_IMAGES} in a request")
    for entry in images:
        if not isinstance(entry, dict):
            raise BadMeta("an entry of images must be an object")
    return images


def _names(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    seen: set[str] = set()
    for entry in entries:
        name = entry.get("name")
        if name is None or name == "":
            raise BadMeta("no name has been provided for an image")
        if not isinstance(name, str):
            raise BadMeta("the name of an image must be a string")
        if not _is_text(name):
            raise BadMeta("the name of an image must be valid text")
        if name in seen:
            raise BadMeta(f"two images are named {name}")
        seen.add(name)
    return [entry["name"] for entry in entries]


def _parse_person_images(meta: Mapping[str, Any]) -> tuple[PersonImage, ...]:
    entries = _entries(meta)
    names = _names(entries)
    return tuple(
        PersonImage(name, _person_id(entry.get("person_id")))
        for name, entry in zip(names, entries, strict=True)
    )


def _person_id(value: object) -> int:
    # The vendor's Go code can't tell 0 from an absent number.
    if value is None or (value == 0 and type(value) is int):
        raise BadMeta("no person_id has been provided")
    if type(value) is not int:
        raise BadMeta("person_id must be an integer")
    if not 0 < value <= PERSON_ID_MAX:
        raise BadMeta(f"person_id must be 1 to {PERSON_ID_MAX}")
    return value


def _flag(meta: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = meta.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadMeta(f"{key} must be true or false")
    return value


def _searcher(value: object) -> int:
    if value is None:
        return SEARCH_ALL
    if type(value) is not int or value not in (SEARCH_ALL, SEARCH_NEAREST):
        raise BadMeta("searcher must be 0 (all persons) or 1 (nearest neighbour)")
    return value
