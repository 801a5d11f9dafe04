"""Fits pictures that a recogniser can't accept as they are, and maps boxes back.

The cloud's answer is passed on byte for byte, unless a key's option `fit` is on and a picture was
too large, too heavy or of another format. The embedded recogniser accepts any picture that can be
uploaded: rotated ones are turned, and other formats are converted. The call's record shows which
pictures were copied (`Recognition.own_width`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from persons import pictures as reader
from persons.billing import metering
from persons.images import Fitted
from persons.models import ApiKey
from persons.vision import limits
from persons.vision.types import Box, Image, Method, Vision


@dataclass(frozen=True, slots=True)
class Fitting:
    """The pictures that are sent, in the client's order.

    `copies` has, by image name, what became of the pictures that were copied; `sizes` the width and
    height of those that go as they came, where the headers were read.
    """

    sent: Sequence[Image] = field(repr=False)
    copies: Mapping[str, Fitted] = field(default_factory=dict, repr=False)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def fit(pictures: Sequence[Image], key: ApiKey, vision: Vision, method: Method) -> Fitting:
    """Copy the pictures that this Vision can't take as they are.

    An enrolled picture is kept to be sent again, perhaps to another Vision, so it fits all of them.
    Raises DecodingBusy.
    """
    is_free = vision.name == metering.FREE
    if not is_free and not key.fit:
        return Fitting(pictures)
    sizes = {} if is_free and method != Method.SET else _sizes_within_limits(pictures)
    copies: dict[str, Fitted] = {}
    for picture in pictures:
        made = None
        if picture.name not in sizes and (not is_free or method == Method.SET):
            made = reader.fitted(picture.data)
        if made is None and is_free:
            made = reader.fitted(picture.data, whole=True)
        if made is not None:
            copies[picture.name] = made
    sent = [
        replace(one, data=copies[one.name].data, content_type="image/jpeg")
        if one.name in copies
        else one
        for one in pictures
    ]
    return Fitting(sent, copies, sizes)


def _sizes_within_limits(pictures: Sequence[Image]) -> dict[str, tuple[int, int]]:
    """The sizes of the pictures that the cloud accepts unchanged, read by one helper request."""
    sizes = reader.pixel_sizes([one.data for one in pictures])
    return {
        one.name: size
        for one, size in zip(pictures, sizes, strict=True)
        if size is not None and limits.fits(*size) and len(one.data) <= limits.MAX_IMAGE_BYTES
    }


def own_boxes(raw: bytes, fits: Mapping[str, Fitted]) -> bytes:
    """The answer with boxes of fitted pictures in the originals' pixels, re-encoded. Unchanged if
    there are none."""
    try:
        answer = json.loads(raw)
        objects = answer["body"]["objects"]
        changed = [_mapped(person, made) for person, made in _people(objects, fits)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return raw
    if not any(changed):
        return raw
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode("ascii")


def _people(
    objects: Sequence[Any], fits: Mapping[str, Fitted]
) -> list[tuple[dict[str, Any], Fitted]]:
    return [
        (person, made)
        for entry in objects
        if isinstance(entry, dict) and (made := fits.get(str(entry.get("name")))) is not None
        for person in entry.get("persons") or ()
        if isinstance(person, dict)
    ]


def _mapped(person: dict[str, Any], made: Fitted) -> bool:
    changed = False
    for name in ("coord", "coordinate"):
        coord = person.get(name)
        if isinstance(coord, list) and len(coord) == 4 and all(map(_is_number, coord)):
            box = made.to_own(Box(*(round(edge) for edge in coord)))
            person[name] = [box.left, box.top, box.right, box.bottom]
            changed = True
    return changed


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**31
