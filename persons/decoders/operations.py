"""The closed list of operations that a helper performs on a picture.

Each takes the open file and plain values, and returns a JSON object and bytes to go with it.
`persons.pictures` and `persons.engine.picture` are the client side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from persons import images
from persons.decoding.errors import NotInside
from persons.decoding.memory import Buffer
from persons.decoding.records import as_json
from persons.images import budget, shrinking
from persons.images.copies import map_box
from persons.vision.types import Box

from . import pixels
from .rows import Rows

Answer = tuple[dict[str, Any], Sequence[Buffer | Rows]]


def prepare(most: int) -> None:
    """Set the memory budget, before the limits apply."""
    budget.limit_to(most)


def _done(pieces: Sequence[Buffer | Rows] = (), **facts: Any) -> Answer:
    return {"done": facts}, pieces


def inspect(file: BinaryIO, *, max_bytes: int, sha256: str) -> Answer:
    return _done(**as_json(images.inspect(file, max_bytes=max_bytes, sha256=sha256)))


def copies(file: BinaryIO) -> Answer:
    """Renditions for pages and the copy for Vision, from one decoding."""
    size, at_least = shrinking.sizes(file)
    picture = images.open_oriented(file, at_least=at_least)
    made = images.renditions(picture)
    sent = images.sent_copy(picture, original=size)
    facts = {name: value for name, value in as_json(sent).items() if name != "data"}
    return _done([*made.values(), sent.data], names=list(made), sent=facts)


def _boxes(values: Sequence[Sequence[int]]) -> list[Box]:
    return [Box(*value) for value in values]


def crops(
    file: BinaryIO,
    *,
    frame: tuple[int, int],
    boxes: Sequence[Sequence[int]],
    wanted: Sequence[int],
) -> Answer:
    """Face crops for pages. `boxes` are in pixels of `frame`, `wanted` are indexes into them.
    Boxes outside the picture are left out."""
    picture = pixels.plain(file)
    scaled = [map_box(box, (frame[0], frame[1]), picture.size) for box in _boxes(boxes)]
    made: dict[int, bytes] = {}
    for at in wanted:
        others = [other for place, other in enumerate(scaled) if place != at]
        try:
            made[at] = images.crop_face(picture, scaled[at], others)
        except ValueError:
            continue
    return _done(list(made.values()), made=list(made))


def face(file: BinaryIO, *, box: Sequence[int]) -> Answer:
    """Crop one face of a sent picture, whose pixels are as stored."""
    picture = pixels.plain(file)
    return _done([_inside(lambda: images.crop_face(picture, Box(*box)))])


def enrolment(
    file: BinaryIO, *, box: Sequence[int], others: Sequence[Sequence[int]], margin: float
) -> Answer:
    picture = images.open_oriented(file)
    return _done(
        [_inside(lambda: images.enrolment_crop(picture, Box(*box), _boxes(others), margin=margin))]
    )


def _inside(cut: Callable[[], bytes]) -> bytes:
    try:
        return cut()
    except ValueError as error:
        raise NotInside(str(error)) from error


def stripped(file: BinaryIO, *, kind: str, keep: str) -> Answer:
    made = images.stripped(file.read(), kind, images.Keep(keep))
    return _done([made.data], suffix=made.suffix, is_new=made.is_new)


def whole(file: BinaryIO, *, kind: str) -> Answer:
    """The original unchanged if all readers orient it alike, else a converted copy."""
    made = images.shared_whole(file.read(), kind)
    return _done([made.data], suffix=made.suffix, is_new=made.is_new)


def full(file: BinaryIO) -> Answer:
    """A full-resolution JPEG for browsers; nothing if the file itself can be served."""
    made = images.full_size(file)
    return _done([] if made is None else [made])


def taken(file: BinaryIO, *, kind: str) -> Answer:
    moment = images.taken_at_of(file, kind)
    return _done(at=None if moment is None else moment.isoformat())


def facts(file: BinaryIO) -> Answer:
    return _done(**as_json(images.camera_facts(file)))


def sizes(file: BinaryIO, *, lengths: Sequence[int]) -> Answer:
    """Sizes of several pictures, concatenated in one file; null for those that aren't pictures."""
    found = [images.pixel_size(file.read(length)) for length in lengths]
    return _done(sizes=[None if one is None else list(one) for one in found])


def fitted(file: BinaryIO, *, whole: bool) -> Answer:
    """A copy within a recogniser's limits; none if the picture can be sent as it is."""
    made = images.fitted(file.read(), whole=whole)
    if made is None:
        return _done()
    facts = {name: value for name, value in as_json(made).items() if name != "data"}
    return _done([made.data], copy=facts)


def cuts(
    file: BinaryIO,
    *,
    frame: tuple[int, int],
    boxes: Sequence[Sequence[int]],
    margin: float,
    oriented: bool,
) -> Answer:
    """The pixels around each box, and the box within them; nothing for a box with too little
    left."""
    picture = images.open_oriented(file) if oriented else pixels.plain(file)
    pieces: list[Buffer | Rows] = []
    facts: list[dict[str, Any] | None] = []
    for box in _boxes(boxes):
        inside = map_box(box, (frame[0], frame[1]), picture.size)
        around = pixels.around(inside, margin, picture.size)
        if around is None:
            facts.append(None)
            continue
        cut = picture.crop((around.left, around.top, around.right, around.bottom))
        pieces.append(Rows(cut))
        left, top = around.left, around.top
        facts.append(
            {
                "size": list(cut.size),
                "box": [
                    *(inside.left - left, inside.top - top),
                    *(inside.right - left, inside.bottom - top),
                ],
            }
        )
    return _done(pieces, cuts=facts)


def header(file: BinaryIO, *, formats: Sequence[str]) -> Answer:
    return _done(size=list(pixels.size(file, formats)))


def decoded(file: BinaryIO, *, formats: Sequence[str], at_least: tuple[int, int] | None) -> Answer:
    """RGB pixels as stored; a JPEG may be decoded smaller, but not below `at_least`."""
    image = pixels.decoded(file, formats, at_least)
    return _done([Rows(image)], size=list(image.size))


OPERATIONS: Final[Mapping[str, Callable[..., Answer]]] = {
    "inspect": inspect,
    "copies": copies,
    "crops": crops,
    "face": face,
    "enrolment": enrolment,
    "stripped": stripped,
    "whole": whole,
    "full": full,
    "taken": taken,
    "facts": facts,
    "sizes": sizes,
    "fitted": fitted,
    "cuts": cuts,
    "header": header,
    "decoded": decoded,
}
