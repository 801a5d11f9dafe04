"""Crops of one face: its thumbnail, and the picture that is enrolled."""

from __future__ import annotations

import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from persons.images import crop_face, enrolment_crop
from persons.vision.types import Box

GREY = (128, 128, 128)


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def photo(faces: dict[str, Box], size: tuple[int, int] = (1000, 800)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    for colour, box in faces.items():
        image.paste(colour, (box.left, box.top, box.right, box.bottom))
    return image


def share(image: Image.Image, colour: tuple[int, int, int]) -> float:
    """The part of the pixels that have about this colour."""
    pixels = image.width * image.height
    near = 0
    for count, found in image.getcolors(pixels) or ():
        assert isinstance(found, tuple)
        if all(abs(a - b) < 40 for a, b in zip(found, colour, strict=True)):
            near += count
    return near / pixels


def test_a_face_in_the_middle_gets_a_square_thumbnail_with_a_margin() -> None:
    box = Box(400, 300, 600, 540)
    image = decoded(crop_face(photo({"red": box}), box))
    assert image.size == (256, 256)
    assert 0.2 < share(image, (255, 0, 0)) < 0.35


@pytest.mark.parametrize(
    "box", [Box(0, 0, 200, 200), Box(800, 600, 1000, 800), Box(-50, 700, 150, 900)]
)
def test_a_face_at_the_edge_gets_a_square_thumbnail_without_a_border(box: Box) -> None:
    image = decoded(crop_face(photo({"red": box}), box))
    assert image.width == image.height
    assert share(image, (255, 0, 0)) + share(image, (255, 255, 255)) > 0.95


def test_a_face_that_fills_the_photo_is_shown_whole() -> None:
    image = decoded(crop_face(Image.new("RGB", (300, 900), "red"), Box(0, 0, 300, 900)))
    assert image.size == (85, 256)


def test_a_small_face_keeps_its_pixels() -> None:
    assert decoded(crop_face(photo({}), Box(500, 500, 520, 520))).size == (34, 34)


def test_a_close_neighbour_makes_the_thumbnail_tighter() -> None:
    me, neighbour = Box(300, 300, 500, 500), Box(480, 300, 600, 500)
    image = photo({"blue": neighbour, "red": me})
    alone = share(decoded(crop_face(image, me)), (255, 0, 0))
    assert share(decoded(crop_face(image, me, [neighbour, me])), (255, 0, 0)) > alone


def test_the_enrolled_picture_has_room_around_the_face() -> None:
    box = Box(400, 300, 600, 500)
    image = decoded(enrolment_crop(photo({"red": box}), box))
    assert image.size == (440, 440)
    assert share(image, (255, 0, 0)) == pytest.approx(200**2 / 440**2, abs=0.01)


def test_every_other_face_is_painted_out_and_this_one_is_whole() -> None:
    me = Box(400, 300, 600, 500)
    others = [Box(560, 320, 760, 520), Box(300, 200, 420, 320), Box(0, 0, 50, 50), me]
    image = photo({"blue": others[0], "lime": others[1], "red": me})
    enrolled = decoded(enrolment_crop(image, me, others))
    assert share(enrolled, (0, 0, 255)) == share(enrolled, (0, 255, 0)) == 0
    assert share(enrolled, GREY) > 0.1
    assert share(enrolled, (255, 0, 0)) == pytest.approx(200**2 / 440**2, abs=0.01)


def test_a_face_inside_the_other_is_left_rather_than_holed() -> None:
    me, inner = Box(300, 200, 600, 600), Box(400, 300, 450, 350)
    enrolled = decoded(enrolment_crop(photo({"red": me, "blue": inner}), me, [inner]))
    assert share(enrolled, GREY) == 0


def test_a_small_face_is_enlarged_to_120_pixels() -> None:
    box = Box(500, 400, 530, 440)
    image = decoded(enrolment_crop(photo({"red": box}), box))
    assert image.size == (264, 352)


def test_a_large_face_is_shrunk_to_1200_pixels() -> None:
    image = decoded(enrolment_crop(Image.new("RGB", (3000, 3000)), Box(500, 500, 2000, 2300)))
    assert max(image.size) == 1200


@pytest.mark.parametrize("cut", [crop_face, enrolment_crop])
@pytest.mark.parametrize("box", [Box(1000, 0, 1100, 90), Box(-90, 0, 0, 90), Box(5, 5, 5, 9)])
def test_a_box_outside_the_photo_is_an_error(cut: object, box: Box) -> None:
    with pytest.raises(ValueError, match="outside"):
        cut(photo({}), box)  # type: ignore[operator]


box_anywhere = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.integers(-20, 99),
    st.integers(-20, 79),
    st.integers(21, 90),
    st.integers(21, 90),
)


@given(me=box_anywhere, others=st.lists(box_anywhere, max_size=4))
def test_any_faces_give_a_picture_within_bounds_and_never_touch_this_face(
    me: Box, others: list[Box]
) -> None:
    image = Image.new("RGB", (100, 80), "red")
    enrolled = decoded(enrolment_crop(image, me, others))
    assert min(enrolled.size) >= 5
    assert max(enrolled.size) <= 1200
    assert max(decoded(crop_face(image, me, others)).size) <= 256
    left, top, right, bottom = (
        max(me.left, 0),
        max(me.top, 0),
        min(me.right, 100),
        min(me.bottom, 80),
    )
    # Of a sliver of a face at the photo's edge, enlarging would blend the neighbours' paint in.
    assume(min(right - left, bottom - top) >= 6)
    x, y = round((right - left) * 0.6), round((bottom - top) * 0.6)
    window = (min(right + x, 100) - max(left - x, 0)) * (min(bottom + y, 80) - max(top - y, 0))
    face = (right - left) * (bottom - top)
    assert share(enrolled, (255, 0, 0)) >= 0.9 * face / window - 0.02
